/*
 * Elements of any 16- or 32-bit float type as vectors of float32.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives INLINE; load() and store(), for a whole vector; load_n()
 * and store_n(), for its first n elements; store_pair(), for two vectors; and load_one().
 *
 * The dtype is a constant wherever these functions are inlined, so that no branch on it is left.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_ELEMENTS_INC_H
#define PLB_CPU_ELEMENTS_INC_H

#include "dtype.h"

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const void *p, int64_t i, plb_dtype dtype)
{
    if (dtype == PLB_F32)
        return vf_load((const float *)p + i);
    if (dtype == PLB_F16)
        return vf_load_f16((const uint16_t *)p + i);
    return vf_load_bf16((const uint16_t *)p + i);
}

INLINE vf load_n(const void *p, int64_t i, plb_dtype dtype, int n)
{
    if (dtype == PLB_F32)
        return vf_load_n((const float *)p + i, n);
    if (dtype == PLB_F16)
        return vf_load_f16_n((const uint16_t *)p + i, n);
    return vf_load_bf16_n((const uint16_t *)p + i, n);
}

INLINE void store(void *p, int64_t i, plb_dtype dtype, vf a)
{
    if (dtype == PLB_F32)
        vf_store((float *)p + i, a);
    else if (dtype == PLB_F16)
        vf_store_f16((uint16_t *)p + i, a);
    else
        vf_store_bf16((uint16_t *)p + i, a);
}

INLINE void store_n(void *p, int64_t i, plb_dtype dtype, vf a, int n)
{
    if (dtype == PLB_F32)
        vf_store_n((float *)p + i, a, n);
    else if (dtype == PLB_F16)
        vf_store_f16_n((uint16_t *)p + i, a, n);
    else
        vf_store_bf16_n((uint16_t *)p + i, a, n);
}

/* Two vectors of 16-bit numbers, which fill a line together. */
INLINE void store_pair(void *p, int64_t i, plb_dtype dtype, vf a, vf b, bool past)
{
    if (dtype == PLB_F16)
        vf_store_pair_f16((uint16_t *)p + i, a, b, past);
    else
        vf_store_pair_bf16((uint16_t *)p + i, a, b, past);
}

INLINE float load_one(const void *p, int64_t i, plb_dtype dtype)
{
    if (dtype == PLB_F32)
        return ((const float *)p)[i];
    if (dtype == PLB_F16)
        return plb_from_f16(((const uint16_t *)p)[i]);
    return plb_from_bf16(((const uint16_t *)p)[i]);
}

#endif
