/*
 * What is compiled once for each instruction set.  SPDX-License-Identifier: Apache-2.0
 *
 * The *_rows.inc.h files hold the kernels, written over the vectors of simd_*.h; simd_<isa>.c includes them and exports
 * one table, everything else in it being static, so that no function compiled with ISA flags can be called from
 * elsewhere.  simd_reference.c fills the same table in plain C and double precision: the definition of correct, and
 * what float64 runs on at every level.
 */
#ifndef PLB_CPU_SIMD_H
#define PLB_CPU_SIMD_H

#include "../backend.h"

enum { PLB_ROW_BATCH = 64 };

/* Factors of the Gaussian targets: t_ij = y[y_i][y_j] * x[x_i][x_j], each axis already normalised. */
typedef struct plb_gaussian {
    int32_t height, width;
    const double *y, *x;         /* height x height and width x width                                        */
    const double *y_sum, *x_sum; /* sums of their rows: sum_j t_ij = y_sum[y_i] * x_sum[x_i]                  */
    const float *y_f32;          /* y                                                                         */
    const float *x_f32;          /* x, rows of x_pitch floats, zero past width                                */
    int64_t x_pitch;             /* a multiple of 16                                                          */
} plb_gaussian;

/* Up to PLB_ROW_BATCH rows of a loss. */
typedef struct plb_loss_rows {
    int64_t classes;
    int count;
    const void *logits[PLB_ROW_BATCH];
    void *grad[PLB_ROW_BATCH];      /* NULL throughout: loss only                                               */
    int32_t label[PLB_ROW_BATCH];   /* class, or position of the Gaussian; -1: weight 0, row not read, grad 0   */
    double scale[PLB_ROW_BATCH];    /* of the gradient                                                          */
    const plb_gaussian *gaussian;   /* NULL: one peak over a constant                                           */
    double base, peak;              /* then t = base + peak * [c = label]                                       */
    bool stream;                    /* store gradients past the caches                                          */
    void *scratch;                  /* plb_loss_scratch() bytes, aligned to 64                                  */
    double loss[PLB_ROW_BATCH];     /* out: unweighted                                                          */
    bool correct[PLB_ROW_BATCH];    /* out: the label is the first maximum                                      */
    bool filter;                    /* whether `confident` is wanted                                            */
    bool confident[PLB_ROW_BATCH];  /* out: p_label >= t_label                                                  */
} plb_loss_rows;

/* Rows that a kernel has in flight: as many as leave room in the L1 cache for logits, exponentials and targets. */
enum { PLB_GROUP_ROWS = 8 };

static inline int plb_loss_group(int64_t classes)
{
    return classes > 1024 ? 1 : classes <= 2048 / PLB_GROUP_ROWS ? PLB_GROUP_ROWS : (int)(2048 / classes);
}

/* Floats from one row of scratch to the next: slack for whole vectors past the end. */
static inline int64_t plb_loss_pitch(int64_t classes)
{
    return (classes + 64) / 16 * 16;
}

/* A line, and a row of exponentials, which become gradients, and one of targets for each row in flight. */
static inline size_t plb_loss_scratch(int64_t classes)
{
    return 64 + plb_size_mul(2 * sizeof(float) * (size_t)plb_loss_group(classes), (size_t)plb_loss_pitch(classes));
}

typedef void plb_loss_kernel(plb_loss_rows *rows);

typedef struct plb_simd {
    poslabel_isa isa;
    plb_loss_kernel *loss_rows[PLB_F64 + 1]; /* by dtype: float32, float16, bfloat16, float64 */
} plb_simd;

/* What every level uses for float64. */
plb_loss_kernel plb_loss_rows_reference_f64;

extern const plb_simd plb_simd_reference, plb_simd_baseline;
#ifdef PLB_HAVE_X86
extern const plb_simd plb_simd_avx2, plb_simd_avx512;
#endif

#endif
