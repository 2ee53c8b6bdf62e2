/*
 * The first pass over a row of logits: its exponentials and their sum.
 *
 * The usual way subtracts the maximum from every logit, which costs a pass to find it.  Here the exponentials are those
 * of the logits themselves, and only when one comes near overflow or all near underflow, or something is not finite, is
 * the row done again carefully, the usual way.
 *
 * The order of every sum depends on the number of classes alone, so a row's bits do not depend on its neighbours or its
 * address.
 *
 * SPDX-License-Identifier: Apache-2.0
 */

/* A row of logits on its way. */
typedef struct loss_row {
    const char *logits;
    int64_t near, far; /* how many bytes on are the logits to ask for: from the L2 cache, and from memory */
    int64_t classes, label;
    float *e;       /* out: the exponentials */
    const float *t; /* the targets, if SOFT  */
} loss_row;

/*
 * Sums of a row, not yet across lanes: of exponentials; of z if SMOOTHED, of t z if SOFT; where vf_exp() does not tell
 * that it overflows, the maximum.
 */
typedef struct row_sums {
    vf exponentials, targets, highest;
} row_sums;

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

INLINE void ask_for_logits(const loss_row *row, int64_t i, int count, plb_dtype dtype)
{
    const int size = dtype == PLB_F32 ? 4 : 2;
    for (int k = 0; k < count * size; k += 64) {
        const uintptr_t at = (uintptr_t)row->logits + (uintptr_t)(i * size + k);
        __builtin_prefetch((const void *)(at + (uintptr_t)row->near), 0, 3);
        __builtin_prefetch((const void *)(at + (uintptr_t)row->far), 0, 2);
    }
}

/* A class of probability 0 must not make 0 * inf. */
INLINE vf bounded(vf a)
{
    return vf_max(vf_set(-0x1.fffffep127f), a);
}

/* The vector of classes i ..., of which `count` lanes count. */
INLINE void exp_step(row_sums *sums, const loss_row *row, const vf_exp_kit *kit, int64_t i, int count, plb_dtype dtype,
                     row_kind kind)
{
    const bool whole = count == VF_LANES;
    const vf none = vf_set(-150); /* whose exponential is 0 in float32 */
    const vf z =
        vf_keep(whole ? load(row->logits, i, dtype) : vf_select_n(load_n(row->logits, i, dtype, count), none, count));
    const vf e = vf_exp(z, kit);
    vf_store(row->e + i, e);
    sums->exponentials = vf_add(sums->exponentials, e);
    if (!VF_EXP_OVERFLOWS)
        sums->highest = vf_max(sums->highest, z);
    if (kind == SMOOTHED)
        sums->targets = vf_add(sums->targets, whole ? z : vf_select_n(z, vf_set(0), count));
    if (kind == SOFT)
        sums->targets = vf_fma(vf_load(row->t + i), whole ? z : vf_select_n(z, vf_set(0), count), sums->targets);
}

/*
 * Along with the exponentials goes the gradient of the row before, if it has one: arithmetic and stores then take
 * turns, and neither waits for the other.
 */
INLINE row_sums row_exp(const loss_row *row, const vf_exp_kit *kit, const grad_row *grad, plb_dtype dtype,
                        row_kind kind, row_output output)
{
    const int64_t n = row->classes, whole = n & -VF_LANES;
    row_sums a = {vf_set(0), vf_set(0), vf_set(-150)}, b = a;
    const grad_row taken = grad_from_begin(grad, dtype, kind, output);
    const int64_t both = (n < taken.end ? n : taken.end) & -(2 * VF_LANES);
    int64_t i = 0;
    for (; HAS_GRAD(output) && i < both; i += 2 * VF_LANES) {
        ask_for_logits(row, i, 2 * VF_LANES, dtype);
        exp_step(&a, row, kit, i, VF_LANES, dtype, kind);
        if (dtype == PLB_F32)
            grad_step(&taken, i, dtype, kind, output);
        exp_step(&b, row, kit, i + VF_LANES, VF_LANES, dtype, kind);
        if (dtype == PLB_F32)
            grad_step(&taken, i + VF_LANES, dtype, kind, output);
        else
            grad_pair(&taken, i, dtype, kind, output);
    }
    if (HAS_GRAD(output))
        grad_rest(&taken, i, dtype, kind, output);
    for (; i + 2 * VF_LANES <= n; i += 2 * VF_LANES) {
        ask_for_logits(row, i, 2 * VF_LANES, dtype);
        exp_step(&a, row, kit, i, VF_LANES, dtype, kind);
        exp_step(&b, row, kit, i + VF_LANES, VF_LANES, dtype, kind);
    }
    if (i < n)
        ask_for_logits(row, i, VF_LANES, dtype);
    if (i < whole)
        exp_step(&a, row, kit, i, VF_LANES, dtype, kind);
    if (whole < n)
        exp_step(&b, row, kit, whole, (int)(n - whole), dtype, kind);
    return (row_sums){vf_add(a.exponentials, b.exponentials), vf_add(a.targets, b.targets),
                      vf_max(a.highest, b.highest)};
}

/*
 * Whether the sum of a row's exponentials is to be trusted.  Of one class alone the probability is to be exactly 1,
 * which takes an exponential of exactly 1.
 */
INLINE bool is_safe(float sum, float of_label, int64_t classes)
{
    return (sum >= 0x1p-64f) & (sum <= 0x1p92f) & (of_label >= 0x1p-120f) & (classes > 1);
}
