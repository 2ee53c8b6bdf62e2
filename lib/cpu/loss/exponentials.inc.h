/*
 * The first pass over a row of logits: its exponentials, which are kept, and their sum.
 *
 * The usual way subtracts the maximum from every logit, which costs a pass to find it.  Here the exponentials are those
 * of the logits themselves.  Only when one comes near overflow or all come near underflow, or something is not finite,
 * is the row done once more the usual way: the careful pass.
 *
 * The order of every sum depends on the number of classes alone, so a row's bits do not depend on its neighbours or its
 * address.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives logit_row; row_exponentials() and
 * sums_are_safe(); careful_exponentials(); SUM_BLOCK and sums in blocks; row_max() and made_finite().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_LOSS_EXPONENTIALS_INC_H
#define PLB_CPU_LOSS_EXPONENTIALS_INC_H

#include "cpu/loss/gradient.inc.h"
#include "cpu/vectors/elements.inc.h"
#include "cpu/vectors/exp.inc.h"

#include <math.h>

typedef struct logit_row {
    const char *logits;
    int64_t l1_ahead, l2_ahead; /* how many bytes further lie the logits to ask for, from the L1 and the L2 cache */
    int64_t classes, label;
    float *exponentials;        /* out */
    const float *targets;       /* if SOFT */
    float pivot;                /* the label's logit */
} logit_row;

/*
 * Sums of a row, not yet across lanes: of exponentials; of z if SMOOTHED, of t (z - pivot) if SOFT.  And its maximum,
 * where vf_exp() does not tell that it overflows.
 */
typedef struct row_sums {
    vf exponentials, targets, max;
} row_sums;

/*
 * Classes that one vector sums in float32, so that a lane adds 128 numbers.  That costs no more than 4e-6 of their sum:
 * the error is largest where nearly all are equal and rounded the same way.  row_exponentials() has two such vectors;
 * the sums of a row too long for them are made once more, block by block.
 */
enum { SUM_BLOCK = 128 * VF_LANES };

/* The maximum; a NaN may be overlooked here, but not by the exponentials. */
INLINE float row_max(const void *z, int64_t n, plb_dtype dtype)
{
    const vf lowest = vf_set(-INFINITY);
    vf a = lowest, b = lowest, c = lowest, d = lowest;
    int64_t i = 0;
    for (; i + 4 * VF_LANES <= n; i += 4 * VF_LANES) {
        a = vf_max(a, load(z, i, dtype));
        b = vf_max(b, load(z, i + VF_LANES, dtype));
        c = vf_max(c, load(z, i + 2 * VF_LANES, dtype));
        d = vf_max(d, load(z, i + 3 * VF_LANES, dtype));
    }
    for (; i + VF_LANES <= n; i += VF_LANES)
        a = vf_max(a, load(z, i, dtype));
    if (i < n)
        b = vf_max(b, vf_select_n(load_n(z, i, dtype, (int)(n - i)), lowest, (int)(n - i)));
    return vf_highest(vf_max(vf_max(a, b), vf_max(c, d)));
}

INLINE void prefetch_logits(const logit_row *row, int64_t i, int count, plb_dtype dtype)
{
    const int size = dtype == PLB_F32 ? 4 : 2;
    for (int k = 0; k < count * size; k += 64) {
        const uintptr_t at = (uintptr_t)row->logits + (uintptr_t)(i * size + k);
        __builtin_prefetch((const void *)(at + (uintptr_t)row->l1_ahead), 0, 3);
        __builtin_prefetch((const void *)(at + (uintptr_t)row->l2_ahead), 0, 2);
    }
}

/* -inf as a finite number: a class of probability 0 must not make 0 * inf. */
INLINE vf made_finite(vf a)
{
    return vf_max(vf_set(-0x1.fffffep127f), a);
}

/* The vector of classes i ..., of which `count` lanes count. */
INLINE void exp_step(row_sums *sums, const logit_row *row, const vf_exp_kit *kit, int64_t i, int count, plb_dtype dtype,
                     row_kind kind)
{
    const bool whole = count == VF_LANES;
    const vf minus_150 = vf_set(-150); /* whose exponential is 0 in float32 */
    const vf z = vf_keep(whole ? load(row->logits, i, dtype)
                               : vf_select_n(load_n(row->logits, i, dtype, count), minus_150, count));
    const vf e = vf_exp(z, kit);
    vf_store(row->exponentials + i, e);
    sums->exponentials = vf_add(sums->exponentials, e);
    if (!VF_EXP_OVERFLOWS)
        sums->max = vf_max(sums->max, z);
    if (kind == SMOOTHED)
        sums->targets = vf_add(sums->targets, whole ? z : vf_select_n(z, vf_set(0), count));
    if (kind == SOFT) { /* the differences, of which t z and t pivot would lose what a small loss consists of */
        const vf d = vf_sub(z, vf_set(row->pivot));
        sums->targets =
            vf_fma(vf_load(row->targets + i), whole ? d : vf_select_n(d, vf_set(0), count), sums->targets);
    }
}

/*
 * Along with the exponentials goes the gradient of the row before, if it has one: arithmetic and stores then take
 * turns, and neither waits for the other.
 */
INLINE row_sums row_exponentials(const logit_row *row, const vf_exp_kit *kit_of_rows, const grad_row *grad,
                                 plb_dtype dtype, row_kind kind, row_output output)
{
    const vf_exp_kit own_kit = vf_exp_again(*kit_of_rows), *const kit = &own_kit;
    const int64_t n = row->classes, whole = n & -VF_LANES;
    row_sums even = {vf_set(0), vf_set(0), vf_set(-150)}, odd = even;
    const int64_t begin = output == STREAMED ? grad->begin : 0, whole_of_grad = grad->end - begin;
    const int64_t common = (n < whole_of_grad ? n : whole_of_grad) & -(2 * VF_LANES); /* classes of both rows */
    int64_t i = 0;
    for (; HAS_GRAD(output) && i < common; i += 2 * VF_LANES) {
        prefetch_logits(row, i, 2 * VF_LANES, dtype);
        exp_step(&even, row, kit, i, VF_LANES, dtype, kind);
        if (dtype == PLB_F32)
            grad_step(grad, begin + i, dtype, kind, output);
        exp_step(&odd, row, kit, i + VF_LANES, VF_LANES, dtype, kind);
        if (dtype == PLB_F32)
            grad_step(grad, begin + i + VF_LANES, dtype, kind, output);
        else
            grad_pair(grad, begin + i, dtype, kind, output);
    }
    if (HAS_GRAD(output))
        grad_rest(grad, begin + i, dtype, kind, output);
    for (; i + 2 * VF_LANES <= n; i += 2 * VF_LANES) {
        prefetch_logits(row, i, 2 * VF_LANES, dtype);
        exp_step(&even, row, kit, i, VF_LANES, dtype, kind);
        exp_step(&odd, row, kit, i + VF_LANES, VF_LANES, dtype, kind);
    }
    if (i < n)
        prefetch_logits(row, i, VF_LANES, dtype);
    if (i < whole)
        exp_step(&even, row, kit, i, VF_LANES, dtype, kind);
    if (whole < n)
        exp_step(&odd, row, kit, whole, (int)(n - whole), dtype, kind);
    return (row_sums){vf_add(even.exponentials, odd.exponentials), vf_add(even.targets, odd.targets),
                      vf_max(even.max, odd.max)};
}

/*
 * Whether the sum of a row's exponentials is to be trusted.  Of one class alone the probability is to be exactly 1,
 * which takes an exponential of exactly 1.
 */
INLINE bool sums_are_safe(double sum, float label_exponential, int64_t classes)
{
    return (sum >= 0x1p-64) & (sum <= 0x1p92) & (label_exponential >= 0x1p-120f) & (classes > 1);
}

typedef struct careful_sums {
    double exponentials; /* relative to the maximum */
    double targets;      /* the sum of z - max if SMOOTHED, of t (z - max) if SOFT */
    float max;
} careful_sums;

/*
 * Differences are scaled so that neither two finite logits, which may be twice the largest float apart, nor a sum of
 * such overflows.  The scale is a power of two: both products are exact, so that a fused subtraction gives what two
 * roundings give, and a logit less an equal one is 0.
 */
INLINE void careful_step(row_sums *sums, const logit_row *row, const vf_exp_kit *kit, int64_t i, vf max, float scale,
                         int count, plb_dtype dtype, row_kind kind)
{
    const bool whole = count == VF_LANES;
    const vf zero = vf_set(0);
    const vf z = whole ? load(row->logits, i, dtype) : load_n(row->logits, i, dtype, count);
    const vf e = vf_exp(vf_max(vf_set(-150), vf_sub(z, max)), kit);
    const vf difference = vf_fms(z, vf_set(scale), vf_mul(max, vf_set(scale)));
    const vf d = whole ? difference : vf_select_n(difference, zero, count);
    vf_store(row->exponentials + i, e);
    sums->exponentials = vf_add(sums->exponentials, whole ? e : vf_select_n(e, zero, count));
    if (kind == SMOOTHED)
        sums->targets = vf_add(sums->targets, d);
    if (kind == SOFT)
        sums->targets = vf_fma(vf_load(row->targets + i), made_finite(d), sums->targets);
}

INLINE careful_sums careful_pass(const logit_row *row, plb_dtype dtype, row_kind kind)
{
    const int64_t n = row->classes;
    int exponent;
    frexp((double)n, &exponent);
    const float max = row_max(row->logits, n, dtype), scale = ldexpf(0.25f, -exponent);
    const vf_exp_kit kit = vf_exp_begin();
    const row_sums none = {vf_set(0), vf_set(0), vf_set(0)};
    row_sums sums = none;
    double exponentials = 0, targets = 0;
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) {
        if (i % SUM_BLOCK == 0) {
            exponentials += (double)vf_sum(sums.exponentials);
            targets += (double)vf_sum(sums.targets);
            sums = none;
        }
        careful_step(&sums, row, &kit, i, vf_set(max), scale, VF_LANES, dtype, kind);
    }
    if (i < n)
        careful_step(&sums, row, &kit, i, vf_set(max), scale, (int)(n - i), dtype, kind);
    exponentials += (double)vf_sum(sums.exponentials);
    targets += (double)vf_sum(sums.targets);
    return (careful_sums){exponentials, targets / scale, max};
}

/* Functions of their own, for they are rare; the row is a copy, so that it need not be in memory before. */
#define CAREFUL_EXPONENTIALS(suffix, dtype)                                                                            \
    __attribute__((noinline, cold)) static careful_sums careful_exponentials_##suffix(logit_row row, row_kind kind)    \
    {                                                                                                                  \
        return careful_pass(&row, dtype, kind);                                                                        \
    }

CAREFUL_EXPONENTIALS(f32, PLB_F32)
CAREFUL_EXPONENTIALS(f16, PLB_F16)
CAREFUL_EXPONENTIALS(bf16, PLB_BF16)

INLINE careful_sums careful_exponentials(const logit_row *row, plb_dtype dtype, row_kind kind)
{
    return dtype == PLB_F32   ? careful_exponentials_f32(*row, kind)
           : dtype == PLB_F16 ? careful_exponentials_f16(*row, kind)
                              : careful_exponentials_bf16(*row, kind);
}

/* The sum, across no lanes yet, of whole vectors of logits or exponentials; no more than a block. */
INLINE vf sum_of_vectors(const void *numbers, int64_t i, int64_t end, plb_dtype dtype)
{
    vf a = vf_set(0), b = a, c = a, d = a;
    for (; i + 4 * VF_LANES <= end; i += 4 * VF_LANES) {
        a = vf_add(a, load(numbers, i, dtype));
        b = vf_add(b, load(numbers, i + VF_LANES, dtype));
        c = vf_add(c, load(numbers, i + 2 * VF_LANES, dtype));
        d = vf_add(d, load(numbers, i + 3 * VF_LANES, dtype));
    }
    for (; i < end; i += VF_LANES)
        a = vf_add(a, load(numbers, i, dtype));
    return vf_add(vf_add(a, b), vf_add(c, d));
}

/* The sum of n numbers, block by block. */
INLINE double sum_in_blocks(const void *numbers, int64_t n, plb_dtype dtype)
{
    const int64_t whole = n & -VF_LANES;
    double sum = 0;
    for (int64_t i = 0; i < whole; i += SUM_BLOCK)
        sum += (double)vf_sum(sum_of_vectors(numbers, i, i + SUM_BLOCK < whole ? i + SUM_BLOCK : whole, dtype));
    return whole < n ? sum + (double)vf_sum(load_n(numbers, whole, dtype, (int)(n - whole))) : sum;
}

__attribute__((noinline, cold)) static double sum_of_logits(const void *logits, int64_t n, plb_dtype dtype)
{
    return dtype == PLB_F32   ? sum_in_blocks(logits, n, PLB_F32)
           : dtype == PLB_F16 ? sum_in_blocks(logits, n, PLB_F16)
                              : sum_in_blocks(logits, n, PLB_BF16);
}

__attribute__((noinline, cold)) static double sum_of_exponentials(const float *exponentials, int64_t n)
{
    return sum_in_blocks(exponentials, n, PLB_F32);
}

/*
 * The sum of a row's exponentials without the label's.  Where the label has most of the sum, this is what loss and
 * gradient consist of, and the sum of all has lost digits of it.  It is nothing but additions, for taking the label out
 * of a sum would leave the same error.
 */
__attribute__((noinline)) static double sum_of_others(const float *exponentials, int64_t n, int64_t label)
{
    const int64_t whole = n & -VF_LANES, own = label & -VF_LANES; /* the label's vector begins at `own` */
    const int lane = (int)(label - own);
    const vf zero = vf_set(0);
    const vf rest = whole < n ? vf_load_n(exponentials + whole, (int)(n - whole)) : zero;
    const vf v = own < whole ? vf_load(exponentials + own) : rest;
    const vf below = vf_select_n(v, zero, lane), above = vf_sub(v, vf_select_n(v, zero, lane + 1));
    vf sum = vf_add(vf_add(below, above), own < whole ? rest : zero);
    double total = 0;
    for (int64_t i = 0; i < whole; i += SUM_BLOCK) {
        const int64_t end = i + SUM_BLOCK < whole ? i + SUM_BLOCK : whole;
        const int64_t before = own < i || own >= end ? end : own;
        sum = vf_add(sum, sum_of_vectors(exponentials, i, before, PLB_F32));
        if (before < end)
            sum = vf_add(sum, sum_of_vectors(exponentials, before + VF_LANES, end, PLB_F32));
        total += (double)vf_sum(sum);
        sum = zero;
    }
    return whole ? total : (double)vf_sum(sum);
}

#endif
