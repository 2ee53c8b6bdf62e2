/*
 * The ranks of the noise of one image: what the kernels leave.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/masks/ranks.h"

#include "cpu/core/numbers.h"

#include <float.h>
#include <math.h>

/* The scale stays a normal float: a scale of 0 or infinity would make NaNs of infinite noise. */
static plb_noise_range range_of(double low, double high)
{
    plb_noise_range range = {low, 1};
    if (low < high) {
        range.scale = ((double)PLB_NOISE_HIGH - PLB_NOISE_LOW) / (high - low);
        range.scale = range.scale < FLT_MIN ? FLT_MIN : range.scale > FLT_MAX ? FLT_MAX : range.scale;
    }
    return range;
}

/* The range of what is finite, and some more, because the next images will have other extremes. */
static plb_noise_range range_of_noise(const plb_ranking *ranking)
{
    const char *noise = ranking->noise;
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < ranking->length; i++) {
        const double x = plb_load_number(noise + i * plb_dtype_size[ranking->dtype], ranking->dtype);
        if (!isfinite(x))
            continue;
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    if (low > high)
        return range_of(0, 1);
    const double margin = (high - low) / 4;
    return isfinite(low - margin) && isfinite(high + margin) ? range_of(low - margin, high + margin)
                                                             : range_of(low, high);
}

static inline __attribute__((always_inline)) void rank_dtype_by_digits(plb_ranking *ranking, plb_dtype dtype, int width)
{
    const int64_t n = ranking->length;
    const void *const noise = ranking->noise;
    int32_t *order = ranking->order, *next = ranking->scratch;
    for (int64_t i = 0; i < n; i++)
        order[i] = (int32_t)i;
    for (int shift = 0; shift < width; shift += 8) {
        uint32_t place[256] = {0}, sum = 0;
        for (int64_t i = 0; i < n; i++)
            place[plb_noise_key(noise, dtype, i) >> shift & 255]++;
        if (place[plb_noise_key(noise, dtype, 0) >> shift & 255] == n)
            continue;
        for (int d = 0; d < 256; d++) {
            const uint32_t count = place[d];
            place[d] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++)
            next[place[plb_noise_key(noise, dtype, order[i]) >> shift & 255]++] = order[i];
        int32_t *const swap = order;
        order = next;
        next = swap;
    }
    if (order != ranking->order)
        memcpy(ranking->order, order, (size_t)n * sizeof *order);
    for (int64_t p = 0; p < n; p++)
        ranking->rank[ranking->order[p]] = (int32_t)p;
}

/* Sorts stably by 8 bits at a time: any noise, in a time proportional to its length. */
static void rank_by_digits(plb_ranking *ranking)
{
    switch (ranking->dtype) {
    case PLB_I32:
        rank_dtype_by_digits(ranking, PLB_I32, 32);
        break;
    case PLB_F32:
        rank_dtype_by_digits(ranking, PLB_F32, 32);
        break;
    case PLB_F64:
        rank_dtype_by_digits(ranking, PLB_F64, 64);
        break;
    default:
        rank_dtype_by_digits(ranking, PLB_F16, 16);
        break;
    }
}

void plb_rank(const plb_mask_kernels *kernels, plb_ranking *rows, int count, plb_noise_range *range)
{
    /* noise is most often drawn from [0, 1) */
    if (!(range->scale > 0))
        *range = range_of(0, 1);
    for (int r = 0; r < count; r++)
        rows[r].range = *range;
    kernels->rank_rows(rows, count);
    for (int r = 0; r < count; r++) {
        plb_ranking *const row = &rows[r];
        if (row->settled)
            continue;
        if (row->drawn) {
            kernels->draw_words(&row->draw, row->values, row->length);
        } else {
            /* it may lie elsewhere, and so may that of the images to come */
            row->range = *range = range_of_noise(row);
            kernels->rank_rows(row, 1);
        }
        if (!row->settled)
            rank_by_digits(row);
    }
}
