/*
 * Both ways to rank noise begin with the noise as floats, and end with an insertion where the order is almost right.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives noise_values() and insert().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_MASKS_INSERTION_INC_H
#define PLB_CPU_MASKS_INSERTION_INC_H

#include "cpu/masks/kernels.h"
#include "cpu/vectors/elements.inc.h"

/* Sorts an order that is almost right, and sets the ranks.  False: it was not, and both are of no use now. */
INLINE bool insert_dtype(plb_ranking *ranking, plb_dtype dtype)
{
    const int64_t n = ranking->length;
    const void *const noise = ranking->noise;
    int32_t *restrict const order = ranking->order, *restrict const rank = ranking->rank;
    int64_t budget = 2 * n + 64; /* evenly spread noise needs a tenth of n moves, normal noise a third */
    uint64_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = order[i];
        const uint64_t key = plb_noise_key(noise, dtype, id);
        int64_t p = i;
        if (key >= last) {
            rank[id] = (int32_t)i;
            last = key;
            continue;
        }
        for (; p > 0 && plb_noise_key(noise, dtype, order[p - 1]) > key; p--) {
            order[p] = order[p - 1];
            rank[order[p]] = (int32_t)p;
            if (--budget < 0)
                return false;
        }
        order[p] = id;
        rank[id] = (int32_t)p;
    }
    return true;
}

static bool insert(plb_ranking *ranking)
{
    switch (ranking->dtype) {
    case PLB_I32:
        return insert_dtype(ranking, PLB_I32);
    case PLB_F32:
        return insert_dtype(ranking, PLB_F32);
    case PLB_F64:
        return insert_dtype(ranking, PLB_F64);
    default:
        return insert_dtype(ranking, PLB_F16);
    }
}

/*
 * The noise as floats and what to do with them: value * scale + offset.  Equal numbers must become equal floats and
 * greater ones no smaller, whichever lane they are in and whatever the processor does to subnormal numbers.  So all of
 * them take the same instructions, the last few as well, and nothing here is a product and a sum that a compiler may
 * fuse in one place and not in another.
 */
static const float *noise_values(const plb_ranking *ranking, float *scale, float *offset)
{
    const plb_noise_range range = ranking->range;
    const int64_t n = ranking->length;
    float *const values = ranking->values;
    *scale = (float)range.scale;
    *offset = (float)(PLB_NOISE_LOW - range.low * range.scale);
    if (ranking->dtype == PLB_F32)
        return ranking->noise;
    if (ranking->dtype == PLB_F64) {
        /* scaled before they are rounded: noise may crowd closer than float32 can tell */
        const double *const noise = ranking->noise;
        for (int64_t i = 0; i < n; i++)
            values[i] = (float)((noise[i] - range.low) * range.scale);
        *scale = 1;
        *offset = PLB_NOISE_LOW;
        return values;
    }
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store(values + i, load(ranking->noise, i, ranking->dtype));
    if (i < n)
        vf_store(values + i, load_n(ranking->noise, i, ranking->dtype, (int)(n - i)));
    return values;
}

#endif
