/*
 * The ranks of the noise of one image.  SPDX-License-Identifier: Apache-2.0
 *
 * Noise is spread evenly, more or less, so one pass over a few times as many buckets as there are numbers all but sorts
 * it, and insertion does the rest.  Where that turns out to be much work, as with noise that crowds in a few places,
 * the row is given up and plb_rank() sorts it in another way: the time stays proportional to its length.  The AVX-512
 * level sorts up to 256 numbers in its registers instead.
 */
#ifdef VF_LANES

/* Sorts an order that is almost right, and sets the ranks.  False: it was not, and what is there now is of no use. */
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

/* A value as an integer below 2^23. */
static inline uint32_t quantize(float value, float scale, float offset)
{
    float t = value * scale + offset;
    t = t > PLB_NOISE_LOW ? t : PLB_NOISE_LOW;
    t = t < PLB_NOISE_HIGH ? t : PLB_NOISE_HIGH;
    return plb_to_bits(t) & 0x7fffffu;
}

/*
 * The table of counts has rows of 32, down which the buckets run: so that sums over the buckets are, but for one row,
 * sums of whole rows.
 */
enum { BUCKET_COLUMNS = 32 };

static inline uint32_t bucket_place(uint32_t bucket, int row_bits)
{
    return (bucket & ((1u << row_bits) - 1)) * BUCKET_COLUMNS + (bucket >> row_bits);
}

static void find_buckets(const plb_ranking *ranking, int bits, uint32_t *restrict place)
{
    const int64_t n = ranking->length;
    const int row_bits = bits - 5;
    if (ranking->dtype == PLB_I32) {
        const uint32_t *const words = ranking->noise;
        for (int64_t i = 0; i < n; i++)
            place[i] = bucket_place(words[i] >> (32 - bits), row_bits);
        return;
    }
    float scale, offset;
    const float *const values = noise_values(ranking, &scale, &offset);
    for (int64_t i = 0; i < n; i++)
        place[i] = bucket_place(quantize(values[i], scale, offset) >> (23 - bits), row_bits);
}

/* From the counts of the buckets to the rank of the first number of each. */
static void sum_buckets(uint16_t *table, int bits)
{
    const int rows = 1 << (bits - 5);
    uint16_t first[BUCKET_COLUMNS] = {0}, sum = 0;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < BUCKET_COLUMNS; c++)
            first[c] = (uint16_t)(first[c] + table[r * BUCKET_COLUMNS + c]);
    for (int c = 0; c < BUCKET_COLUMNS; c++) {
        const uint16_t count = first[c];
        first[c] = sum;
        sum = (uint16_t)(sum + count);
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < BUCKET_COLUMNS; c++) {
            const uint16_t count = table[r * BUCKET_COLUMNS + c];
            table[r * BUCKET_COLUMNS + c] = first[c];
            first[c] = (uint16_t)(first[c] + count);
        }
}

static bool rank_by_buckets(plb_ranking *ranking)
{
    const int64_t n = ranking->length;
    const int bits = plb_bucket_bits(n);
    uint16_t *restrict const table = ranking->scratch;
    uint32_t *restrict const place = (uint32_t *)(table + ((size_t)1 << bits));
    int32_t *restrict const order = ranking->order;
    if (ranking->drawn)
        draw_words(&ranking->draw, ranking->values, n);
    find_buckets(ranking, bits, place);
    memset(table, 0, sizeof *table << bits);
    for (int64_t i = 0; i < n; i++)
        table[place[i]]++;
    sum_buckets(table, bits);
    for (int64_t i = 0; i < n; i++)
        order[table[place[i]]++] = (int32_t)i;
    return insert(ranking);
}

#if VF_LANES == 16
#include "rank_sort.inc.h"
#define SORTED_LENGTH 256
#else
#define SORTED_LENGTH 0
#endif

static void rank_rows(plb_ranking *rows, int count)
{
#if VF_LANES == 16
    if (rows->length <= SORTED_LENGTH) {
        rank_by_sorting(rows, count);
        return;
    }
#endif
    for (int r = 0; r < count; r++)
        rows[r].settled = rows[r].length <= PLB_RANK_BY_BUCKETS && rank_by_buckets(&rows[r]);
}

#else

#define SORTED_LENGTH 0

/* The reference leaves it to plb_rank(). */
static void rank_rows(plb_ranking *rows, int count)
{
    for (int r = 0; r < count; r++)
        rows[r].settled = false;
}

#endif
