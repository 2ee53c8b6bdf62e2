/*
 * Scaling numbers in place: loops that the compiler turns into vectors of whatever instruction set it may use.
 *
 * Conversions of 16-bit numbers are those of half.h at every level, so that the bits are the same, those of a NaN too.
 *
 * Gives scale_numbers().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/half.h"
#include "dtype.h"

static void scale_numbers(void *numbers, plb_dtype dtype, int64_t count, double scale)
{
    const float s = (float)scale;
    float *const single = numbers;
    double *const wide = numbers;
    uint16_t *const half = numbers;
    if (dtype == PLB_F32)
        for (int64_t i = 0; i < count; i++)
            single[i] *= s;
    else if (dtype == PLB_F64)
        for (int64_t i = 0; i < count; i++)
            wide[i] *= scale;
    else if (dtype == PLB_F16)
        for (int64_t i = 0; i < count; i++)
            half[i] = plb_to_f16(plb_from_f16(half[i]) * s);
    else
        for (int64_t i = 0; i < count; i++)
            half[i] = plb_to_bf16(plb_from_bf16(half[i]) * s);
}
