/*
 * The kernel of the per-axis losses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_AXIS_ROWS_H
#define PLB_CPU_AXIS_ROWS_H

#include "axis.h"
#include "cpu/loss/batch.h"
#include "size.h"

#include <stdbool.h>

/* l = (mu - y)^2 / v + LOG_VARIANCE log v, where v is the variance + VARIANCE_FLOOR. */
#define PLB_CYCLE_BACK_VARIANCE_FLOOR 1e-8
#define PLB_CYCLE_BACK_LOG_VARIANCE 1e-3

/* Up to PLB_ROW_BATCH rows that all count, and both axes of each. */
typedef struct plb_axis_rows {
    int kind; /* a poslabel_axis_loss_kind */
    int count;
    int64_t classes[PLB_AXES];
    bool pairs; /* the two axes lie as (y, x) pairs of a class, one after the other, in logits and gradient */
    const char *logits[PLB_AXES][PLB_ROW_BATCH];
    char *grad[PLB_AXES][PLB_ROW_BATCH];               /* may be the logits; NULL throughout: loss only */
    int64_t logit_step[PLB_AXES], grad_step[PLB_AXES]; /* elements from class to class                 */
    int32_t target[PLB_AXES][PLB_ROW_BATCH];
    double scale[PLB_ROW_BATCH]; /* of the gradient                               */
    float *scratch;              /* plb_axis_scratch() bytes, aligned to 64       */
    double loss[PLB_ROW_BATCH];  /* out: of both axes, unweighted                 */
} plb_axis_rows;

/* So many rows are worked on at a time, one in each lane. */
enum { PLB_AXIS_TILE = 16 };

/* Floats from one row to the next before they are turned: slack for whole vectors past the end of each axis. */
static inline size_t plb_axis_pitch(int64_t classes_y, int64_t classes_x)
{
    return (size_t)(classes_y + classes_x + 47) / 16 * 16;
}

/* A tile of rows, and the same turned. */
static inline size_t plb_axis_scratch(int64_t classes_y, int64_t classes_x)
{
    return plb_size_mul(2 * PLB_AXIS_TILE * sizeof(float), plb_axis_pitch(classes_y, classes_x));
}

typedef void plb_axis_kernel(plb_axis_rows *rows);

/* Every instruction set uses this one for float64. */
plb_axis_kernel plb_axis_rows_reference_f64;

#endif
