/*
 * Philox4x32-10: with AVX2 and AVX-512 for many draws of one image at a time, else one by one.
 *
 * Each 64-bit lane holds one 32-bit number of the state of one draw; only its lower half counts, which is what the
 * multiplication of the vector units reads.  Lanes take the draws in the order in which the final interleaving of
 * 128-bit halves puts their words side by side.
 *
 * Needs nothing, but uses the vectors of AVX2 and AVX-512 (<isa>.h) where they have been included.  Gives draw_words().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_MASKS_PHILOX_INC_H
#define PLB_CPU_MASKS_PHILOX_INC_H

#include "cpu/masks/kernels.h"
#include "random.h"

#if defined(VF_LANES) && VF_LANES == 16

#define DRAWS 8
typedef __m512i draws;
#define draws_set(x) _mm512_set1_epi64((long long)(x))
#define draws_lanes() _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7)
#define draws_add(a, b) _mm512_add_epi64(a, b)
#define draws_mul(a, b) _mm512_mul_epu32(a, b)
#define draws_high(a) _mm512_srli_epi64(a, 32)
#define draws_xor(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0x96)

static inline void draws_store(uint32_t *words, draws c0, draws c1, draws c2, draws c3)
{
    const draws a = _mm512_mask_blend_epi32(0xaaaa, c0, _mm512_slli_epi64(c1, 32));
    const draws b = _mm512_mask_blend_epi32(0xaaaa, c2, _mm512_slli_epi64(c3, 32));
    _mm512_storeu_si512(words, _mm512_unpacklo_epi64(a, b));
    _mm512_storeu_si512(words + 16, _mm512_unpackhi_epi64(a, b));
}

#elif defined(VF_LANES) && VF_LANES == 8

#define DRAWS 4
typedef __m256i draws;
#define draws_set(x) _mm256_set1_epi64x((long long)(x))
#define draws_lanes() _mm256_setr_epi64x(0, 2, 1, 3)
#define draws_add(a, b) _mm256_add_epi64(a, b)
#define draws_mul(a, b) _mm256_mul_epu32(a, b)
#define draws_high(a) _mm256_srli_epi64(a, 32)
#define draws_xor(a, b, c) _mm256_xor_si256(_mm256_xor_si256(a, b), c)

static inline void draws_store(uint32_t *words, draws c0, draws c1, draws c2, draws c3)
{
    const draws a = _mm256_blend_epi32(c0, _mm256_slli_epi64(c1, 32), 0xaa);
    const draws b = _mm256_blend_epi32(c2, _mm256_slli_epi64(c3, 32), 0xaa);
    _mm256_storeu_si256((__m256i *)words, _mm256_unpacklo_epi64(a, b));
    _mm256_storeu_si256((__m256i *)(words + 8), _mm256_unpackhi_epi64(a, b));
}

#endif

#ifdef DRAWS

enum { PHILOX_ROUNDS = 10 };

/* Words 0 .. count - 1; up to 4 * DRAWS - 1 more are written. */
static void draw_words(const plb_draw *draw, uint32_t *words, int64_t count)
{
    const draws multiplier_0 = draws_set(0xD2511F53u), multiplier_1 = draws_set(0xCD9E8D57u);
    draws k0[PHILOX_ROUNDS], k1[PHILOX_ROUNDS];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        k0[round] = draws_set((uint32_t)draw->seed + (uint32_t)round * 0x9E3779B9u);
        k1[round] = draws_set((uint32_t)(draw->seed >> 32) + (uint32_t)round * 0xBB67AE85u);
    }
    for (int64_t n = 0; n < count; n += 4 * DRAWS) {
        draws c0 = draws_set(draw->sample), c1 = draws_add(draws_set(n / 4), draws_lanes());
        draws c2 = draws_set(draw->stream), c3 = draws_set(draw->step);
        for (int round = 0; round < PHILOX_ROUNDS; round++) {
            const draws p0 = draws_mul(multiplier_0, c0), p1 = draws_mul(multiplier_1, c2);
            c0 = draws_xor(draws_high(p1), c1, k0[round]);
            c1 = p1;
            c2 = draws_xor(draws_high(p0), c3, k1[round]);
            c3 = p0;
        }
        draws_store(words + n, c0, c1, c2, c3);
    }
}

#else

static void draw_words(const plb_draw *draw, uint32_t *words, int64_t count)
{
    for (int64_t n = 0; n < count; n += 4)
        plb_philox(draw->seed, draw->sample, (uint32_t)(n / 4), draw->stream, draw->step, words + n);
}

#endif

#endif
