/*
 * Vectors of 8 floats: AVX2, FMA and F16C.  baseline.h says what the functions do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/half.h"

#include <immintrin.h>
#include <stdbool.h>

#define VF_LANES 8

typedef __m256 vf;

static inline __m256i lanes_below(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}

static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline vf vf_keep(vf a)
{
    __asm__("" : "+x"(a));
    return a;
}

static inline vf vf_load_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, lanes_below(n));
}

static inline void vf_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}

static inline void vf_store_n(float *p, vf a, int n)
{
    _mm256_maskstore_ps(p, lanes_below(n), a);
}

static inline vf vf_select_n(vf a, vf b, int n)
{
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(lanes_below(n)));
}

static inline __m128i load_halves_n(const uint16_t *p, int n)
{
    uint16_t whole[8] = {0};
    for (int i = 0; i < n; i++)
        whole[i] = p[i];
    return _mm_loadu_si128((const __m128i *)whole);
}

static inline void store_halves_n(uint16_t *p, __m128i halves, int n)
{
    uint16_t whole[8];
    _mm_storeu_si128((__m128i *)whole, halves);
    for (int i = 0; i < n; i++)
        p[i] = whole[i];
}

static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline vf vf_load_f16_n(const uint16_t *p, int n)
{
    return _mm256_cvtph_ps(load_halves_n(p, n));
}

static inline void vf_store_f16(uint16_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

static inline void vf_store_f16_n(uint16_t *p, vf a, int n)
{
    store_halves_n(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT), n);
}

static inline vf widen_bf16(__m128i halves)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

static inline __m128i narrow_bf16(vf a)
{
    const __m256i bits = _mm256_castps_si256(a);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 is_nan = _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
    const __m256i chosen = _mm256_srli_epi32(
        _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), is_nan)), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(chosen), _mm256_extracti128_si256(chosen, 1));
}

static inline vf vf_load_bf16(const uint16_t *p)
{
    return widen_bf16(_mm_loadu_si128((const __m128i *)p));
}

static inline vf vf_load_bf16_n(const uint16_t *p, int n)
{
    return widen_bf16(load_halves_n(p, n));
}

static inline void vf_store_bf16(uint16_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)p, narrow_bf16(a));
}

static inline void vf_store_bf16_n(uint16_t *p, vf a, int n)
{
    store_halves_n(p, narrow_bf16(a), n);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline vf vf_fms(vf a, vf b, vf c)
{
    return _mm256_fmsub_ps(a, b, c);
}

static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

static inline vf vf_exp2_biased(vf n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(n), 23));
}

static inline float vf_sum(vf a)
{
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    b = _mm_add_ss(b, _mm_movehdup_ps(b));
    return _mm_cvtss_f32(b);
}

static inline bool vf_any_above(vf a, float b)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, _mm256_set1_ps(b), _CMP_GT_OQ)) != 0;
}

static inline float vf_highest(vf a)
{
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    b = _mm_max_ss(b, _mm_movehdup_ps(b));
    return _mm_cvtss_f32(b);
}

static inline void vf_stream(float *p, vf a)
{
    _mm256_stream_ps(p, a);
}

static inline void v_stream_line(void *line, const void *from)
{
    _mm256_stream_si256((__m256i *)line, _mm256_loadu_si256((const __m256i *)from));
    _mm256_stream_si256((__m256i *)line + 1, _mm256_loadu_si256((const __m256i *)from + 1));
}

static inline void v_stream_done(void)
{
    _mm_sfence();
}

static inline void vf_add_to_doubles(double *sum, vf a)
{
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(a)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
    _mm256_storeu_pd(sum, _mm256_add_pd(_mm256_loadu_pd(sum), low));
    _mm256_storeu_pd(sum + 4, _mm256_add_pd(_mm256_loadu_pd(sum + 4), high));
}

static inline void store_halves(uint16_t *p, __m256i halves, bool past)
{
    if (past)
        _mm256_stream_si256((__m256i *)p, halves);
    else
        _mm256_storeu_si256((__m256i *)p, halves);
}

static inline void vf_store_pair_f16(uint16_t *p, vf a, vf b, bool past)
{
    const __m256i halves =
        _mm256_set_m128i(_mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
    store_halves(p, halves, past);
}

static inline void vf_store_pair_bf16(uint16_t *p, vf a, vf b, bool past)
{
    const __m256i halves = _mm256_set_m128i(narrow_bf16(b), narrow_bf16(a));
    store_halves(p, halves, past);
}

static inline __m256i round_bf16_sum(__m256 a)
{
    const __m256i bits = _mm256_castps_si256(a);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
}

static inline void v_add_bf16(uint16_t *to, const uint16_t *a, const uint16_t *b, bool past)
{
    const __m256i x = _mm256_loadu_si256((const __m256i *)a), y = _mm256_loadu_si256((const __m256i *)b);
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000);
    const __m256i even = round_bf16_sum(
        _mm256_add_ps(_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(y, 16))));
    const __m256i odd = round_bf16_sum(_mm256_add_ps(_mm256_castsi256_ps(_mm256_and_si256(x, upper)),
                                                     _mm256_castsi256_ps(_mm256_and_si256(y, upper))));
    const __m256i sum = _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xaa);
    store_halves(to, sum, past);
}
