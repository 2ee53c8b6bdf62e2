/*
 * One element at a time, of any dtype.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_NUMBERS_H
#define PLB_CPU_NUMBERS_H

#include "cpu/core/half.h"
#include "dtype.h"

/* One element of a view at `p`, by dtype. */
static inline int64_t plb_load_id(const void *p, plb_dtype dtype)
{
    return dtype == PLB_I32 ? *(const int32_t *)p : *(const int64_t *)p;
}

static inline void plb_store_id(void *p, plb_dtype dtype, int64_t value)
{
    if (dtype == PLB_I32)
        *(int32_t *)p = (int32_t)value;
    else
        *(int64_t *)p = value;
}

static inline double plb_load_number(const void *p, plb_dtype dtype)
{
    switch (dtype) {
    case PLB_F32:
        return *(const float *)p;
    case PLB_F16:
        return plb_from_f16(*(const uint16_t *)p);
    case PLB_BF16:
        return plb_from_bf16(*(const uint16_t *)p);
    case PLB_F64:
        return *(const double *)p;
    case PLB_I32:
        return *(const int32_t *)p;
    case PLB_I64:
        return (double)*(const int64_t *)p;
    default:
        return *(const uint8_t *)p;
    }
}

static inline void plb_store_number(void *p, plb_dtype dtype, double value)
{
    switch (dtype) {
    case PLB_F32:
        *(float *)p = (float)value;
        break;
    case PLB_F16:
        *(uint16_t *)p = plb_to_f16((float)value);
        break;
    case PLB_BF16:
        *(uint16_t *)p = plb_to_bf16((float)value);
        break;
    case PLB_F64:
        *(double *)p = value;
        break;
    case PLB_I32:
        *(int32_t *)p = (int32_t)value;
        break;
    case PLB_I64:
        *(int64_t *)p = (int64_t)value;
        break;
    default:
        *(uint8_t *)p = (uint8_t)value;
        break;
    }
}

#endif
