/*
 * The kernels of token assembly and its gradient.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_TOKEN_KERNELS_H
#define PLB_CPU_TOKEN_KERNELS_H

#include "dtype.h"

#include <stdbool.h>
#include <stddef.h>

/* Up to PLB_TOKEN_BATCH rows of assembled tokens: the kernels look ahead in the list. */
enum { PLB_TOKEN_BATCH = 256 };

typedef struct plb_token_rows {
    int64_t channels;
    int count;
    bool stream; /* store x past the caches                                          */
    const void *token[PLB_TOKEN_BATCH];
    const void *embedding[PLB_TOKEN_BATCH]; /* NULL: the token as it is                                         */
    void *x[PLB_TOKEN_BATCH];               /* token + embedding                                                */
} plb_token_rows;

typedef void plb_token_kernel(const plb_token_rows *rows);

/* Up to PLB_TOKEN_BATCH rows of a gradient, each copied to one place and added to one sum. */
typedef struct plb_token_grads {
    int64_t channels;
    int count;
    bool stream;                       /* store the copies past the caches                                      */
    const void *grad[PLB_TOKEN_BATCH]; /* NULL: zeros, and no sum                                               */
    void *to[PLB_TOKEN_BATCH];         /* NULL: not copied                                                      */
    double *sum[PLB_TOKEN_BATCH];      /* plb_sum_pitch(channels) numbers; NULL: not added                      */
} plb_token_grads;

typedef void plb_token_grad_kernel(const plb_token_grads *rows);

/* Hands the rows that were collected to the kernel. */
static inline void plb_flush_grads(plb_token_grad_kernel *kernel, plb_token_grads *rows)
{
    kernel(rows);
    rows->count = 0;
}

/* Collects a row; one that goes nowhere is left out. */
static inline void plb_push_grad(plb_token_grad_kernel *kernel, plb_token_grads *rows, const void *grad, void *to,
                                 double *sum)
{
    if (!to && !sum)
        return;
    const int i = rows->count++;
    rows->grad[i] = grad;
    rows->to[i] = to;
    rows->sum[i] = sum;
    if (rows->count == PLB_TOKEN_BATCH)
        plb_flush_grads(kernel, rows);
}

/* to = such a sum, rounded once. */
typedef void plb_round_kernel(void *to, const double *sum, int64_t channels);

/* to = the sum of `count` >= 1 rows in their order, in float32 (float64: in float64), rounded once. */
typedef void plb_row_sum_kernel(void *to, const void *const *rows, int64_t count, int64_t channels);

/* Doubles from one sum to the next: whole vectors are added. */
static inline size_t plb_sum_pitch(int64_t channels)
{
    return ((size_t)channels + 15) / 16 * 16;
}

typedef struct plb_token_kernels {
    plb_token_kernel *rows[PLB_F64 + 1];           /* by dtype: float32, float16, bfloat16, float64 */
    plb_token_kernel *rows_with_f32[PLB_BF16 + 1]; /* embeddings in float32, tokens in 16 bits */
    plb_token_grad_kernel *grads[PLB_F64 + 1];
    plb_round_kernel *round_sum[PLB_F64 + 1];
    plb_row_sum_kernel *sum_rows[PLB_F64 + 1];
} plb_token_kernels;

#endif
