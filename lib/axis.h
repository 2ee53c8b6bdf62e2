/*
 * Per-axis losses: what a backend is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_AXIS_H
#define PLB_AXIS_H

#include "loss.h"

enum { PLB_AXES = 2 }; /* y and x */

typedef struct plb_axis_job {
    int kind;                                  /* a poslabel_axis_loss_kind            */
    plb_rows targets;                          /* of y and x                           */
    plb_rows logits[PLB_AXES], grad[PLB_AXES]; /* of each axis; elements may lie apart */
    plb_reduction reduction;
} plb_axis_job;

#endif
