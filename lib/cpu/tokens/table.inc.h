/*
 * The table of a level's kernels of tokens.
 *
 * Those of float64 are the same at every level: compilers make vectors of these loops.  Needs token_rows(),
 * token_grads(), round_sum() and sum_rows() for the other dtypes.  Gives token_kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/tokens/kernels.h"

#include <string.h>

static void token_rows_f64(const plb_token_rows *rows)
{
    for (int r = 0; r < rows->count; r++) {
        const double *const token = rows->token[r], *const embedding = rows->embedding[r];
        double *const x = rows->x[r];
        for (int64_t i = 0; i < rows->channels; i++)
            x[i] = embedding ? token[i] + embedding[i] : token[i];
    }
}

static void token_grads_f64(const plb_token_grads *rows)
{
    const size_t bytes = (size_t)rows->channels * sizeof(double);
    for (int r = 0; r < rows->count; r++) {
        const double *const grad = rows->grad[r];
        double *const sum = rows->sum[r];
        for (int64_t i = 0; grad && sum && i < rows->channels; i++)
            sum[i] += grad[i];
        if (rows->to[r] && grad)
            memcpy(rows->to[r], grad, bytes);
        else if (rows->to[r])
            memset(rows->to[r], 0, bytes);
    }
}

static void round_sum_f64(void *to, const double *sum, int64_t channels)
{
    memcpy(to, sum, (size_t)channels * sizeof(double));
}

static void sum_rows_f64(void *to, const void *const *rows, int64_t count, int64_t channels)
{
    for (int64_t i = 0; i < channels; i++) {
        double sum = ((const double *)rows[0])[i];
        for (int64_t r = 1; r < count; r++)
            sum += ((const double *)rows[r])[i];
        ((double *)to)[i] = sum;
    }
}

/* Tokens of one dtype and embeddings of another. */
#define TOKEN_ROWS_OF(suffix, dtype, with)                                                                             \
    static void token_rows_##suffix(const plb_token_rows *rows)                                                        \
    {                                                                                                                  \
        token_rows(rows, dtype, with);                                                                                 \
    }

#define TOKEN_ROWS(suffix, dtype)                                                                                      \
    TOKEN_ROWS_OF(suffix, dtype, dtype)                                                                                \
    static void token_grads_##suffix(const plb_token_grads *rows)                                                      \
    {                                                                                                                  \
        token_grads(rows, dtype);                                                                                      \
    }                                                                                                                  \
    static void round_sum_##suffix(void *to, const double *sum, int64_t channels)                                      \
    {                                                                                                                  \
        round_sum(to, sum, channels, dtype);                                                                           \
    }                                                                                                                  \
    static void sum_rows_##suffix(void *to, const void *const *rows, int64_t count, int64_t channels)                  \
    {                                                                                                                  \
        sum_rows(to, rows, count, channels, dtype);                                                                    \
    }

TOKEN_ROWS(f32, PLB_F32)
TOKEN_ROWS(f16, PLB_F16)
TOKEN_ROWS(bf16, PLB_BF16)
TOKEN_ROWS_OF(f16_f32, PLB_F16, PLB_F32)
TOKEN_ROWS_OF(bf16_f32, PLB_BF16, PLB_F32)

static const plb_token_kernels token_kernels = {
    .rows = {token_rows_f32, token_rows_f16, token_rows_bf16, token_rows_f64},
    .rows_with_f32 = {[PLB_F16] = token_rows_f16_f32, [PLB_BF16] = token_rows_bf16_f32},
    .grads = {token_grads_f32, token_grads_f16, token_grads_bf16, token_grads_f64},
    .round_sum = {round_sum_f32, round_sum_f16, round_sum_bf16, round_sum_f64},
    .sum_rows = {sum_rows_f32, sum_rows_f16, sum_rows_bf16, sum_rows_f64},
};
