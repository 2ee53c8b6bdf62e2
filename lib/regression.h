/*
 * Regression of small vectors: what a backend is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_REGRESSION_H
#define PLB_REGRESSION_H

#include "loss.h"

typedef struct plb_regression_job {
    int kind; /* a poslabel_regression_kind */
    double beta;
    plb_reduction reduction;
    plb_rows predictions, targets, grad_predictions; /* of one length; the gradient may be the predictions */
} plb_regression_job;

#endif
