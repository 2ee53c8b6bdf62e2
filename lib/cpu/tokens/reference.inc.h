/*
 * The kernels of tokens in plain C and double precision: the definition of correct.
 *
 * Gives token_kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/numbers.h"
#include "cpu/tokens/kernels.h"

static void token_rows(const plb_token_rows *rows, plb_dtype dtype, plb_dtype with)
{
    const int64_t size = plb_dtype_size[dtype], size_with = plb_dtype_size[with];
    for (int r = 0; r < rows->count; r++) {
        const char *const token = rows->token[r], *const embedding = rows->embedding[r];
        char *const x = rows->x[r];
        if (!embedding)
            memcpy(x, token, (size_t)(rows->channels * size));
        for (int64_t i = 0; embedding && i < rows->channels; i++)
            plb_store_number(x + i * size, dtype,
                             plb_load_number(token + i * size, dtype) +
                                 plb_load_number(embedding + i * size_with, with));
    }
}

static void token_grads(const plb_token_grads *rows, plb_dtype dtype)
{
    const int64_t size = plb_dtype_size[dtype];
    for (int r = 0; r < rows->count; r++) {
        const char *const grad = rows->grad[r];
        for (int64_t i = 0; grad && rows->sum[r] && i < rows->channels; i++)
            rows->sum[r][i] += plb_load_number(grad + i * size, dtype);
        if (rows->to[r] && grad)
            memcpy(rows->to[r], grad, (size_t)(rows->channels * size));
        else if (rows->to[r])
            memset(rows->to[r], 0, (size_t)(rows->channels * size));
    }
}

static void round_sum(void *to, const double *sum, int64_t channels, plb_dtype dtype)
{
    const int64_t size = plb_dtype_size[dtype];
    for (int64_t i = 0; i < channels; i++)
        plb_store_number((char *)to + i * size, dtype, dtype == PLB_F32 ? sum[i] : plb_round_odd(sum[i]));
}

static void sum_rows(void *to, const void *const *rows, int64_t count, int64_t channels, plb_dtype dtype)
{
    const int64_t size = plb_dtype_size[dtype];
    for (int64_t i = 0; i < channels; i++) {
        double sum = 0;
        for (int64_t r = 0; r < count; r++)
            sum += plb_load_number((const char *)rows[r] + i * size, dtype);
        plb_store_number((char *)to + i * size, dtype, dtype == PLB_F32 ? sum : plb_round_odd(sum));
    }
}

#include "cpu/tokens/table.inc.h"
