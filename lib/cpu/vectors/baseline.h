/*
 * Vectors of 4 floats in the compiler's own vector language, which becomes SSE2 on x86-64 and NEON on AArch64.
 *
 * Each instruction set has such a file.  All define the same: vf, a vector of VF_LANES floats, and the functions below;
 * AVX-512 has vf_exp(), with what exp.inc.h lists, instead of vf_exp2_biased().  The _n forms touch only the first n
 * lanes in memory (0 < n < VF_LANES); loads fill the others with zero.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/half.h"

#include <math.h>
#include <stdbool.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define VF_LANES 4

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));

static inline vf vf_set(float x)
{
    return (vf){x, x, x, x};
}

static inline vf vf_load(const float *p)
{
    vf a;
    memcpy(&a, p, sizeof a);
    return a;
}

/* Keeps a in a register: compilers like to load a memory operand once for each use. */
static inline vf vf_keep(vf a)
{
#ifdef __SSE2__
    __asm__("" : "+x"(a));
#endif
    return a;
}

static inline vf vf_load_n(const float *p, int n)
{
    vf a = {0};
    for (int i = 0; i < n; i++)
        a[i] = p[i];
    return a;
}

static inline void vf_store(float *p, vf a)
{
    memcpy(p, &a, sizeof a);
}

static inline void vf_store_n(float *p, vf a, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = a[i];
}

/* The lanes below n of a, the others of b. */
static inline vf vf_select_n(vf a, vf b, int n)
{
    for (int i = n; i < VF_LANES; i++)
        a[i] = b[i];
    return a;
}

/* As plb_from_f16() and plb_to_f16() do it. */
static inline vf vf_load_f16(const uint16_t *p)
{
    const vu bits = (vu)((vi)((vu){p[0], p[1], p[2], p[3]} << 16) >> 3) & 0x8fffe000u;
    const vu special = (vu)((bits & 0x0f800000u) == 0x0f800000u) & 0x7f800000u;
    return (vf)((vu)((vf)bits * 0x1p112f) | special);
}

static inline vf vf_load_f16_n(const uint16_t *p, int n)
{
    vf a = {0};
    for (int i = 0; i < n; i++)
        a[i] = plb_from_f16(p[i]);
    return a;
}

static inline void vf_store_f16_n(uint16_t *p, vf a, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = plb_to_f16(a[i]);
}

static inline void vf_store_f16(uint16_t *p, vf a)
{
    const vi magnitude = (vi)a & 0x7fffffff, exponent = (vi)a & 0x7f800000, is_larger = exponent > 0x38800000;
    const vf quadruple = (vf)magnitude * 0x1p112f * 0x1p-110f;
    const vu power = (vu)((exponent & is_larger) | (0x38800000 & ~is_larger)) + 0x07800000u;
    const vu sum = (vu)(quadruple + (vf)power), nan = (vu)(magnitude > 0x7f800000);
    const vu half = (((sum >> 13 & 0x7c00u) + (sum & 0xfffu)) & ~nan) | (0x7e00u & nan) | ((vu)a >> 16 & 0x8000u);
    for (int i = 0; i < VF_LANES; i++)
        p[i] = (uint16_t)half[i];
}

static inline vf vf_load_bf16(const uint16_t *p)
{
    return (vf){plb_from_bf16(p[0]), plb_from_bf16(p[1]), plb_from_bf16(p[2]), plb_from_bf16(p[3])};
}

static inline vf vf_load_bf16_n(const uint16_t *p, int n)
{
    vf a = {0};
    for (int i = 0; i < n; i++)
        a[i] = plb_from_bf16(p[i]);
    return a;
}

static inline void vf_store_bf16_n(uint16_t *p, vf a, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = plb_to_bf16(a[i]);
}

static inline void vf_store_bf16(uint16_t *p, vf a)
{
    vf_store_bf16_n(p, a, VF_LANES);
}

static inline vf vf_add(vf a, vf b)
{
    return a + b;
}

static inline vf vf_sub(vf a, vf b)
{
    return a - b;
}

static inline vf vf_mul(vf a, vf b)
{
    return a * b;
}

static inline vf vf_div(vf a, vf b)
{
    return a / b;
}

/* a * b + c, rounded once or twice, as the machine has it. */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}

/* a * b - c. */
static inline vf vf_fms(vf a, vf b, vf c)
{
    return a * b - c;
}

/* The larger one; b where either is NaN. */
static inline vf vf_max(vf a, vf b)
{
    const vi larger = a > b;
    return (vf)(((vi)a & larger) | ((vi)b & ~larger));
}

/* 2^(n - 127) for an integer n in the last bits of a, 0 < n < 255; 0 for n = 0. */
static inline vf vf_exp2_biased(vf a)
{
    return (vf)((vi)a << 23);
}

static inline float vf_sum(vf a)
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}

/* Whether any lane of a is above b. */
static inline bool vf_any_above(vf a, float b)
{
    return a[0] > b || a[1] > b || a[2] > b || a[3] > b;
}

/* The largest lane. */
static inline float vf_highest(vf a)
{
    const float b = a[0] > a[1] ? a[0] : a[1], c = a[2] > a[3] ? a[2] : a[3];
    return b > c ? b : c;
}

/* The aligned vector at p, past the caches where the machine can. */
static inline void vf_stream(float *p, vf a)
{
#ifdef __SSE2__
    _mm_stream_ps(p, (__m128)a);
#else
    vf_store(p, a);
#endif
}

/* 64 bytes from anywhere to a line, past the caches where the machine can. */
static inline void v_stream_line(void *line, const void *from)
{
#ifdef __SSE2__
    for (int i = 0; i < 4; i++)
        _mm_stream_si128((__m128i *)line + i, _mm_loadu_si128((const __m128i *)from + i));
#else
    memcpy(line, from, 64);
#endif
}

/* Once after such stores, before another thread may read what they wrote. */
static inline void v_stream_done(void)
{
#ifdef __SSE2__
    _mm_sfence();
#endif
}

/* sum[0 .. VF_LANES) += a. */
static inline void vf_add_to_doubles(double *sum, vf a)
{
    for (int i = 0; i < VF_LANES; i++)
        sum[i] += (double)a[i];
}

/* Two vectors as 16-bit floats, past the caches if `past`, where the machine can; p is then aligned to their size. */
static inline void vf_store_pair_f16(uint16_t *p, vf a, vf b, bool past)
{
    (void)past;
    vf_store_f16(p, a);
    vf_store_f16(p + VF_LANES, b);
}

static inline void vf_store_pair_bf16(uint16_t *p, vf a, vf b, bool past)
{
    (void)past;
    vf_store_bf16(p, a);
    vf_store_bf16(p + VF_LANES, b);
}

static inline vu round_bf16_sum(vu a)
{
    return a + 0x7fffu + (a >> 16 & 1u);
}

/*
 * to = a + b for 2 * VF_LANES bfloat16, past the caches if `past`.  The numbers at even places stand in the upper
 * halves of words after a shift, those at odd places already do.  A NaN that comes out of a sum of bfloat16 has nothing
 * in its lower half, so rounding cannot carry it away.
 */
static inline void v_add_bf16(uint16_t *to, const uint16_t *a, const uint16_t *b, bool past)
{
    vu x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    const vu even = round_bf16_sum((vu)((vf)(x << 16) + (vf)(y << 16)));
    const vu odd = round_bf16_sum((vu)((vf)(x & 0xffff0000u) + (vf)(y & 0xffff0000u)));
    const vf sum = (vf)(even >> 16 | (odd & 0xffff0000u));
    if (past)
        vf_stream((float *)(void *)to, sum);
    else
        memcpy(to, &sum, sizeof sum);
}
