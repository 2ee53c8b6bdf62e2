/*
 * float16 and bfloat16, one value at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_HALF_H
#define PLB_CPU_HALF_H

#include <stdint.h>
#include <string.h>

static inline float plb_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t plb_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float plb_from_bf16(uint16_t half)
{
    return plb_from_bits((uint32_t)half << 16);
}

/* Round to nearest, ties to even; a NaN stays a (quiet) NaN. */
static inline uint16_t plb_to_bf16(float value)
{
    const uint32_t bits = plb_to_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline float plb_from_f16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) /* inf, NaN */
        return plb_from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    /* 2^112 moves the exponent from bias 15 to bias 127 and normalises subnormals on the way */
    return plb_from_bits(sign | plb_to_bits(plb_from_bits(magnitude << 13) * 0x1p112f));
}

/* Round to nearest, ties to even; above 65504 + half a step: inf. */
static inline uint16_t plb_to_f16(float value)
{
    const uint32_t bits = plb_to_bits(value), magnitude = bits & 0x7fffffffu;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u)
        return sign | 0x7e00u;
    if (magnitude >= 0x477ff000u)
        return sign | 0x7c00u;
    if (magnitude < 0x38800000u) {
        /* subnormal: adding 0.5 leaves the value, rounded to a multiple of 2^-24, in the low bits */
        const float shifted = plb_from_bits(magnitude) + 0.5f;
        return sign | (uint16_t)(plb_to_bits(shifted) - 0x3f000000u);
    }
    return sign | (uint16_t)((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
}

/* A double on its way to a half: to float32, to odd if that is not exact, so that the second rounding is right. */
static inline float plb_round_odd(double value)
{
    const float nearest = (float)value;
    const uint32_t inexact = (double)nearest != value;
    const uint32_t away = ((double)nearest > value) == (value > 0); /* then the neighbour towards 0 is meant */
    return plb_from_bits((plb_to_bits(nearest) - (inexact & away)) | inexact);
}

#endif
