/*
 * Between a caller's rows and matrices in the workspace.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/mlp/copies.h"

#include "cpu/core/numbers.h"

#include <string.h>

void plb_copy_in(const plb_matrix *matrix, int64_t to, const plb_rows *rows, int64_t from)
{
    char *const target = plb_matrix_row(matrix, to);
    float *const f = (float *)(void *)target;
    const char *const source = plb_row(rows, from);
    const uint16_t *const half = (const uint16_t *)(const void *)source;
    if (rows->dtype == matrix->dtype)
        memcpy(target, source, (size_t)(rows->length * plb_dtype_size[rows->dtype]));
    else if (rows->dtype == PLB_F16)
        for (int64_t i = 0; i < rows->length; i++)
            f[i] = plb_from_f16(half[i]);
    else
        for (int64_t i = 0; i < rows->length; i++)
            f[i] = plb_from_bf16(half[i]);
}

void plb_copy_out(const plb_matrix *matrix, int64_t from, const plb_rows *rows, int64_t to, bool add)
{
    const char *const source = plb_matrix_row(matrix, from);
    const float *const f = (const float *)(const void *)source;
    const double *const d = (const double *)(const void *)source;
    char *const target = plb_row(rows, to);
    uint16_t *const half = (uint16_t *)(void *)target;
    if (!add && rows->dtype == matrix->dtype)
        memcpy(target, source, (size_t)(rows->length * plb_dtype_size[rows->dtype]));
    else if (rows->dtype == PLB_F16)
        for (int64_t i = 0; i < rows->length; i++)
            half[i] = plb_to_f16(add ? plb_from_f16(half[i]) + f[i] : f[i]);
    else if (rows->dtype == PLB_BF16)
        for (int64_t i = 0; i < rows->length; i++)
            half[i] = plb_to_bf16(add ? plb_from_bf16(half[i]) + f[i] : f[i]);
    else if (rows->dtype == PLB_F32)
        for (int64_t i = 0; i < rows->length; i++)
            ((float *)(void *)target)[i] += f[i];
    else
        for (int64_t i = 0; i < rows->length; i++)
            ((double *)(void *)target)[i] += d[i];
}
