/*
 * Vectors of 16 floats: AVX-512 F, BW, DQ and VL.  baseline.h says what the functions do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/half.h"

#include <immintrin.h>
#include <stdbool.h>

#define VF_LANES 16

typedef __m512 vf;

static inline __mmask16 lanes_below(int n)
{
    return (__mmask16)((1u << n) - 1u);
}

static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline vf vf_keep(vf a)
{
    __asm__("" : "+v"(a));
    return a;
}

static inline vf vf_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(lanes_below(n), p);
}

static inline void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}

static inline void vf_store_n(float *p, vf a, int n)
{
    _mm512_mask_storeu_ps(p, lanes_below(n), a);
}

static inline vf vf_select_n(vf a, vf b, int n)
{
    return _mm512_mask_blend_ps(lanes_below(n), b, a);
}

static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline vf vf_load_f16_n(const uint16_t *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes_below(n), p));
}

static inline void vf_store_f16(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline void vf_store_f16_n(uint16_t *p, vf a, int n)
{
    _mm256_mask_storeu_epi16(p, lanes_below(n), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline vf widen_bf16(__m256i halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* The bits of a, rounded to bfloat16, which is their upper half. */
static inline __m512i round_bf16(vf a)
{
    const __m512i bits = _mm512_castps_si512(a);
    const __mmask16 is_odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    const __m512i half = _mm512_mask_blend_epi32(is_odd, _mm512_set1_epi32(0x7fff), _mm512_set1_epi32(0x8000));
    return _mm512_mask_or_epi32(_mm512_add_epi32(bits, half), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), bits,
                                _mm512_set1_epi32(0x400000));
}

static inline __m256i narrow_bf16(vf a)
{
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_bf16(a), 16));
}

static inline vf vf_load_bf16(const uint16_t *p)
{
    return widen_bf16(_mm256_loadu_si256((const __m256i *)p));
}

static inline vf vf_load_bf16_n(const uint16_t *p, int n)
{
    return widen_bf16(_mm256_maskz_loadu_epi16(lanes_below(n), p));
}

static inline void vf_store_bf16(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)p, narrow_bf16(a));
}

static inline void vf_store_bf16_n(uint16_t *p, vf a, int n)
{
    _mm256_mask_storeu_epi16(p, lanes_below(n), narrow_bf16(a));
}

static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vf vf_fms(vf a, vf b, vf c)
{
    return _mm512_fmsub_ps(a, b, c);
}

static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

#define VF_EXP_OVERFLOWS 1 /* to infinity */

/* a 2^(i / 32) 2^k: see vf_exp(). */
static const float exp2_fractions[32] __attribute__((aligned(64))) = {
    0x1.edc58cp-1f, 0x1.f89574p-1f, 0x1.01d0fep+0f, 0x1.07763ap+0f, 0x1.0d3b1ap+0f, 0x1.132054p+0f, 0x1.192698p+0f,
    0x1.1f4ea2p+0f, 0x1.25992ep+0f, 0x1.2c06fep+0f, 0x1.3298dap+0f, 0x1.394f88p+0f, 0x1.402bd8p+0f, 0x1.472eap+0f,
    0x1.4e58b2p-1f, 0x1.55aaeep-1f, 0x1.5d2636p-1f, 0x1.64cb6cp-1f, 0x1.6c9b8p-1f,  0x1.74975ep-1f, 0x1.7cbffep-1f,
    0x1.85165ap-1f, 0x1.8d9b72p-1f, 0x1.96504cp-1f, 0x1.9f35f6p-1f, 0x1.a84d7ep-1f, 0x1.b197fep-1f, 0x1.bb1694p-1f,
    0x1.c4ca62p-1f, 0x1.ceb494p-1f, 0x1.d8d65ap-1f, 0x1.e330ecp-1f};

typedef struct vf_exp_kit {
    vf log2e, magic, vertex, c, low, high;
} vf_exp_kit;

/* Compilers would load them anew for every row. */
static inline vf_exp_kit vf_exp_begin(void)
{
    return (vf_exp_kit){
        .log2e = vf_keep(vf_set(0x1.715476p+0f)),
        .magic = vf_keep(vf_set(0x1.8p18f)),
        .vertex = vf_keep(vf_set(0x1.8p18f + 46 / 32.0f)),
        .c = vf_keep(vf_set(0x1.0a66bap+1f)),
        .low = vf_keep(_mm512_load_ps(exp2_fractions)),
        .high = vf_keep(_mm512_load_ps(exp2_fractions + 16)),
    };
}

/* The same, for one row: between rows there are calls, across which compilers keep them in memory, and in loops too. */
static inline vf_exp_kit vf_exp_again(vf_exp_kit kit)
{
    __asm__ volatile("" : "+v"(kit.log2e), "+v"(kit.magic), "+v"(kit.vertex));
    __asm__ volatile("" : "+v"(kit.c), "+v"(kit.low), "+v"(kit.high));
    return kit;
}

/*
 * As in exp.inc.h, by another way, with few instructions, which count where 512 bits take two turns.  With n the
 * multiple of 1/32 nearest to d / log 2 and f the rest, 2^f is a (u^2 + c) with u = f + 46/32, within 1.3e-7: of the
 * polynomials of degree 2 those with their vertex at -46/32 fit nearly as well as any, and u takes no more than f.  The
 * magic number leaves the fraction of n in the last bits, where the permutation looks for it.  The last step multiplies
 * by 2^floor(n - 46/32), so k is 2 for the fractions below 46/32 - 1, else 1.  e^0 is exactly 1.  NaN or infinite for
 * d = -inf and d below -1e26.
 */
static inline vf vf_exp(vf d, const vf_exp_kit *kit)
{
    const vf shifted = _mm512_fmadd_ps(d, kit->log2e, kit->magic);
    const vf n = _mm512_sub_ps(shifted, kit->vertex);
    const vf u = _mm512_fmsub_ps(d, kit->log2e, n);
    const vf t = _mm512_permutex2var_ps(kit->low, _mm512_castps_si512(shifted), kit->high);
    return _mm512_scalef_ps(_mm512_mul_ps(t, _mm512_fmadd_ps(u, u, kit->c)), n);
}

static inline float vf_sum(vf a)
{
    return _mm512_reduce_add_ps(a);
}

static inline bool vf_any_above(vf a, float b)
{
    return _mm512_cmp_ps_mask(a, _mm512_set1_ps(b), _CMP_GT_OQ) != 0;
}

static inline float vf_highest(vf a)
{
    return _mm512_reduce_max_ps(a);
}

static inline void vf_stream(float *p, vf a)
{
    _mm512_stream_ps(p, a);
}

static inline void v_stream_line(void *line, const void *from)
{
    _mm512_stream_si512((__m512i *)line, _mm512_loadu_si512(from));
}

static inline void v_stream_done(void)
{
    _mm_sfence();
}

static inline void vf_add_to_doubles(double *sum, vf a)
{
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
    _mm512_storeu_pd(sum, _mm512_add_pd(_mm512_loadu_pd(sum), low));
    _mm512_storeu_pd(sum + 8, _mm512_add_pd(_mm512_loadu_pd(sum + 8), high));
}

static inline void v_store_line(void *line, __m512i halves, bool past)
{
    if (past)
        _mm512_stream_si512((__m512i *)line, halves);
    else
        _mm512_storeu_si512(line, halves);
}

static inline void v_store_half_line(void *half_line, __m256i halves, bool past)
{
    if (past)
        _mm256_stream_si256((__m256i *)half_line, halves);
    else
        _mm256_storeu_si256((__m256i *)half_line, halves);
}

static inline void vf_store_pair_f16(uint16_t *p, vf a, vf b, bool past)
{
    v_store_half_line(p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), past);
    v_store_half_line(p + VF_LANES, _mm512_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), past);
}

static inline void vf_store_pair_bf16(uint16_t *p, vf a, vf b, bool past)
{
    const __m512i upper_halves = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31,
                                                  29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    v_store_line(p, _mm512_permutex2var_epi16(round_bf16(a), upper_halves, round_bf16(b)), past);
}

static inline __m512i round_bf16_sum(__m512 a)
{
    const __m512i bits = _mm512_castps_si512(a);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
}

static inline void v_add_bf16(uint16_t *to, const uint16_t *a, const uint16_t *b, bool past)
{
    const __m512i x = _mm512_loadu_si512(a), y = _mm512_loadu_si512(b);
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    const __m512i even = round_bf16_sum(
        _mm512_add_ps(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)), _mm512_castsi512_ps(_mm512_slli_epi32(y, 16))));
    const __m512i odd = round_bf16_sum(_mm512_add_ps(_mm512_castsi512_ps(_mm512_and_si512(x, upper)),
                                                     _mm512_castsi512_ps(_mm512_and_si512(y, upper))));
    const __m512i sum = _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(even, 16), odd);
    v_store_line(to, sum, past);
}
