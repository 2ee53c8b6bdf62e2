/*
 * A linear head and its loss: what a backend is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_LINEAR_H
#define PLB_LINEAR_H

#include "loss.h"

typedef struct plb_linear_job {
    plb_targets targets;
    plb_reduction reduction;
    int64_t channels;         /* D */
    plb_rows features;        /* reduction.rows rows of D */
    plb_rows weight;          /* C rows of D, dtype of the features */
    plb_rows bias;            /* one row of C */
    plb_rows grad_features;   /* dtype of the features */
    plb_rows grad_weight;
    plb_rows grad_bias;       /* one row of C */
    bool accumulate;          /* the last two are added to what is there */
    uint64_t workspace_limit; /* bytes; 0: the default of the header */
} plb_linear_job;

#endif
