/*
 * The first pass for rows whose logits are very large, very small or not finite.
 *
 * Exponentials are relative to the maximum here.  Differences are scaled so that neither two finite logits, which may
 * be twice the largest float apart, nor a sum of such overflows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */

typedef struct careful_sums {
    float exponentials;
    float max;
    double targets; /* the sum of z - max if SMOOTHED, of t (z - max) if SOFT */
} careful_sums;

INLINE void careful_step(row_sums *sums, const loss_row *row, const vf_exp_kit *kit, int64_t i, vf max, float scale,
                         int count, plb_dtype dtype, row_kind kind)
{
    const vf none = vf_set(-150), zero = vf_set(0);
    const vf z = count == VF_LANES ? load(row->logits, i, dtype) : load_n(row->logits, i, dtype, count);
    const vf e = vf_exp(vf_max(none, vf_sub(z, max)), kit);
    const vf d = vf_fms(z, vf_set(scale), vf_mul(max, vf_set(scale)));
    vf_store(row->e + i, e);
    sums->exponentials = vf_add(sums->exponentials, count == VF_LANES ? e : vf_select_n(e, zero, count));
    if (kind == SMOOTHED)
        sums->targets = vf_add(sums->targets, count == VF_LANES ? d : vf_select_n(d, zero, count));
    if (kind == SOFT)
        sums->targets =
            vf_fma(vf_load(row->t + i), bounded(count == VF_LANES ? d : vf_select_n(d, zero, count)), sums->targets);
}

INLINE careful_sums row_careful(const loss_row *row, plb_dtype dtype, row_kind kind)
{
    const int64_t n = row->classes;
    const float highest = row_max(row->logits, n, dtype), scale = 0.25f / (float)n;
    const vf max = vf_set(highest);
    const vf_exp_kit kit = vf_exp_begin();
    row_sums sums = {vf_set(0), vf_set(0), vf_set(0)};
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        careful_step(&sums, row, &kit, i, max, scale, VF_LANES, dtype, kind);
    if (i < n)
        careful_step(&sums, row, &kit, i, max, scale, (int)(n - i), dtype, kind);
    return (careful_sums){vf_sum(sums.exponentials), highest, (double)vf_sum(sums.targets) / scale};
}

/* Functions of their own, for they are rare; the row is a copy, so that it need not be in memory before. */
#define CAREFUL(name, dtype)                                                                                           \
    __attribute__((noinline, cold)) static careful_sums name(loss_row row, row_kind kind)                              \
    {                                                                                                                  \
        return row_careful(&row, dtype, kind);                                                                         \
    }

CAREFUL(row_careful_f32, PLB_F32)
CAREFUL(row_careful_f16, PLB_F16)
CAREFUL(row_careful_bf16, PLB_BF16)
