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

/* Those of float16 have no branches, so that compilers turn loops over them into vectors. */
static inline float plb_from_f16(uint16_t half)
{
    /* the sign, three zeros, and the rest */
    const uint32_t bits = (uint32_t)((int32_t)((uint32_t)half << 16) >> 3) & 0x8fffe000u;
    const uint32_t special = (bits & 0x0f800000u) == 0x0f800000u ? 0x7f800000u : 0; /* inf, NaN */
    /* 2^112 moves the exponent from bias 15 to bias 127 and normalises subnormals on the way */
    return plb_from_bits(plb_to_bits(plb_from_bits(bits) * 0x1p112f) | special);
}

/*
 * Round to nearest, ties to even; above 65504 + half a step: inf; any NaN: the one NaN of its sign.  A power of two is
 * added that leaves the 10 bits of the fraction, or the fewer of a subnormal, at the end of the sum, which rounds.
 */
static inline uint16_t plb_to_f16(float value)
{
    const int32_t bits = (int32_t)plb_to_bits(value), magnitude = bits & 0x7fffffff, exponent = bits & 0x7f800000;
    const float quadruple = plb_from_bits((uint32_t)magnitude) * 0x1p112f * 0x1p-110f; /* inf from 2^16 on */
    const uint32_t power = (uint32_t)(exponent > 0x38800000 ? exponent : 0x38800000) + 0x07800000u; /* times 2^15 */
    const uint32_t sum = plb_to_bits(quadruple + plb_from_bits(power));
    const uint32_t half = (sum >> 13 & 0x7c00u) + (sum & 0xfffu), nan = magnitude > 0x7f800000 ? 0xffffffffu : 0;
    return (uint16_t)(((uint32_t)bits >> 16 & 0x8000u) | (nan & 0x7e00u) | (half & ~nan));
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
