/*
 * The ranks of the noise of one image, by buckets.
 *
 * Noise is spread evenly, more or less, so one pass over a few times as many buckets as there are numbers all but sorts
 * it, and insertion does the rest.  Where that turns out to be much work, as with noise that crowds in a few places,
 * the row is given up and plb_rank() sorts it in another way: the time stays proportional to its length.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives rank_by_buckets().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/masks/insertion.inc.h"
#include "cpu/masks/philox.inc.h"

/* A value as an integer below 2^23. */
static inline uint32_t quantize(float value, float scale, float offset)
{
    float t = value * scale + offset;
    t = t > PLB_NOISE_LOW ? t : PLB_NOISE_LOW;
    t = t < PLB_NOISE_HIGH ? t : PLB_NOISE_HIGH;
    return plb_to_bits(t) & 0x7fffffu;
}

/*
 * The table of counts has 32 columns, down which the buckets run.  So sums over the buckets are, but for one row, sums
 * of whole rows.
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
