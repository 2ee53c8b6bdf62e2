/*
 * The kernels of the losses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_LOSS_KERNELS_H
#define PLB_CPU_LOSS_KERNELS_H

#include "cpu/loss/axis_rows.h"
#include "cpu/loss/batch.h"
#include "cpu/loss/gaussian.h"
#include "dtype.h"
#include "size.h"

#include <stdbool.h>

/* What a kernel keeps of each row until it has those of all rows.  The pivot is a logit that they are relative to. */
typedef struct plb_loss_sums {
    double exponentials[PLB_ROW_BATCH];     /* their sum                                                            */
    float pivot[PLB_ROW_BATCH];             /* the label's logit; the maximum of a row that needed care             */
    float pivot_exponential[PLB_ROW_BATCH]; /* its exponential, as those in the sum are                             */
    double label_less_pivot[PLB_ROW_BATCH]; /* the label's logit - pivot                                            */
    double targets[PLB_ROW_BATCH];          /* the sum of t, if they are Gaussian                                   */
    double target_logits[PLB_ROW_BATCH];    /* the sum of t (z - pivot), if they are Gaussian; of z - pivot if base */
} plb_loss_sums;

/* The windows of an axis, made when they are first asked for. */
typedef struct plb_loss_windows {
    float *factors; /* plb_loss_window_floats()                                            */
    uint8_t *has;   /* PLB_MOST_WINDOWS of them: whether the window of a place is there yet */
} plb_loss_windows;

/* Up to PLB_ROW_BATCH rows of a loss. */
typedef struct plb_loss_rows {
    int64_t classes;
    int count;
    const void *logits[PLB_ROW_BATCH];
    void *grad[PLB_ROW_BATCH];      /* NULL throughout: loss only                                               */
    int32_t label[PLB_ROW_BATCH];   /* class, or position of the Gaussian; -1: weight 0, row not read, grad 0   */
    double scale[PLB_ROW_BATCH];    /* of the gradient                                                          */
    const plb_gaussian *gaussian;   /* NULL: one peak over a constant                                           */
    plb_loss_windows y, x;          /* of a Gaussian that has no rows, of this thread                           */
    float *table;                   /* if it has no rows, and not NULL: plb_loss_table_floats(), of this thread */
    uint8_t *has_row;               /* `classes` of them: whether a row of targets is in the table yet          */
    double base, peak;              /* then t = base + peak * [c = label]                                       */
    bool stream;                    /* store gradients past the caches                                          */
    bool accuracy;                  /* whether `correct` is wanted                                              */
    float *scratch;                 /* plb_loss_scratch() bytes, aligned to 64                                  */
    plb_loss_sums sums;             /* the kernel's own                                                         */
    double loss[PLB_ROW_BATCH];     /* out: unweighted                                                          */
    bool correct[PLB_ROW_BATCH];    /* out: the label is the first maximum, if `accuracy`                       */
    bool filter;                    /* whether `confident` is wanted                                            */
    bool confident[PLB_ROW_BATCH];  /* out: p_label >= t_label                                                  */
} plb_loss_rows;

/* Floats from one row of scratch to the next: slack for whole vectors past the end. */
static inline int64_t plb_loss_pitch(int64_t classes)
{
    return (classes + 64) / 16 * 16;
}

/*
 * Where rows of targets differ by more than a shift and a factor, a thread works out those of a position when it first
 * meets it.  A table for all threads would have to be made by one, and the others would wait for it line by line.
 */
static inline int64_t plb_loss_table_pitch(int64_t classes)
{
    return (classes + 31) / 16 * 16; /* 16 zeros past the end at the least */
}

static inline size_t plb_loss_table_floats(int64_t classes)
{
    return (size_t)(classes * plb_loss_table_pitch(classes));
}

/* Sides of the grid of which a thread keeps all windows; of a longer one it keeps the last. */
enum { PLB_MOST_WINDOWS = 64 };

static inline size_t plb_loss_window_floats(int32_t side)
{
    return (side <= PLB_MOST_WINDOWS ? (size_t)side : 1) * (size_t)plb_window_pitch(side);
}

/* Exponentials of two rows: while those of one become gradients, those of the next are made. */
static inline size_t plb_loss_scratch(int64_t classes)
{
    return plb_size_mul(2 * sizeof(float), (size_t)plb_loss_pitch(classes));
}

typedef void plb_loss_kernel(plb_loss_rows *rows);

/* numbers[0 .. count) *= scale. */
typedef void plb_scale_kernel(void *numbers, plb_dtype dtype, int64_t count, double scale);

typedef struct plb_loss_kernels {
    plb_loss_kernel *rows[PLB_F64 + 1]; /* by dtype: float32, float16, bfloat16, float64 */
    plb_axis_kernel *axes[PLB_F64 + 1];  /* by dtype as well */
    plb_scale_kernel *scale;
} plb_loss_kernels;

extern const plb_loss_kernels plb_loss_kernels_reference;

/* Every instruction set uses this one for float64. */
plb_loss_kernel plb_loss_rows_reference_f64;

/* The softmax of the label, in double precision: the confidence filter's answer where float32 cannot tell. */
double plb_loss_probability(const void *logits, plb_dtype dtype, int64_t classes, int64_t label);

#endif
