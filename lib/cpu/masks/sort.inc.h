/*
 * Up to 256 numbers ranked in AVX-512 registers.
 *
 * Each number becomes 23 bits of its value over 8 bits of its index, so that one sort of unsigned integers orders both,
 * and equal values keep their order.  4, 8 or 16 registers hold them in 16 columns.  First the columns are sorted,
 * comparing register with register; then they merge pairwise, 1 with 1 up to 8 with 8, by Batcher's bitonic merge, the
 * sequence running down the first column, then down the second.  Nothing branches on the data.
 *
 * Needs the vectors of AVX-512 (avx512.h).  Gives SORTED_LENGTH and rank_by_sorting().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/masks/insertion.inc.h"
#include "cpu/masks/philox.inc.h"

enum { SORTED_LENGTH = 256 };

typedef __m512i keys;

/*
 * `size` registers of keys.  They must stay in registers, so every loop over them must go, whether the compiler inlines
 * first or unrolls first: all loops count to a constant and leave out what is beyond size.  Clang needs no telling.
 */
enum { MOST_REGISTERS = 16 };

#ifdef __clang__
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define EACH_REGISTER(i)                                                                                               \
    UNROLL                                                                                                             \
    for (int i = 0; i < MOST_REGISTERS; i++)                                                                           \
        if (i < size)

INLINE void exchange(keys *a, keys *b)
{
    const keys low = _mm512_min_epu32(*a, *b);
    *b = _mm512_max_epu32(*a, *b);
    *a = low;
}

/* Between columns: `upper` says which of them keep the greater of a and its partner. */
INLINE keys exchange_columns(keys a, keys partner, __mmask16 upper)
{
    return _mm512_mask_max_epu32(_mm512_min_epu32(a, partner), upper, a, partner);
}

/* Every register with the one `distance` further. */
INLINE void exchange_at(keys *k, const int size, const int distance)
{
    EACH_REGISTER(i)
        if (!(i & distance))
            exchange(&k[i], &k[i + distance]);
}

#define EXCHANGE(a, b) exchange(&k[a], &k[b]);

/*
 * Sorts each column with the fewest exchanges known: 5, 19 and 60, the last Green's (1969).  The first exchanges are at
 * distances 1, 2, 4 and 8, those after them as listed.
 */
INLINE void sort_registers(keys *k, const int size)
{
    if (size == 4) {
        EXCHANGE(0, 1) EXCHANGE(2, 3) EXCHANGE(0, 2) EXCHANGE(1, 3) EXCHANGE(1, 2)
    } else if (size == 8) {
        exchange_at(k, 8, 1);
        exchange_at(k, 8, 2);
        exchange_at(k, 8, 4);
        EXCHANGE(2, 4) EXCHANGE(3, 5) EXCHANGE(1, 4) EXCHANGE(3, 6) EXCHANGE(1, 2) EXCHANGE(3, 4) EXCHANGE(5, 6)
    } else {
        exchange_at(k, 16, 1);
        exchange_at(k, 16, 2);
        exchange_at(k, 16, 4);
        exchange_at(k, 16, 8);
        EXCHANGE(5, 10) EXCHANGE(6, 9) EXCHANGE(3, 12) EXCHANGE(13, 14) EXCHANGE(7, 11) EXCHANGE(4, 8) EXCHANGE(1, 2)
        EXCHANGE(1, 4) EXCHANGE(7, 13) EXCHANGE(2, 8) EXCHANGE(11, 14)
        EXCHANGE(2, 4) EXCHANGE(5, 6) EXCHANGE(9, 10) EXCHANGE(11, 13) EXCHANGE(3, 8) EXCHANGE(7, 12)
        EXCHANGE(6, 8) EXCHANGE(10, 12) EXCHANGE(3, 5) EXCHANGE(7, 9)
        EXCHANGE(3, 4) EXCHANGE(5, 6) EXCHANGE(7, 8) EXCHANGE(9, 10) EXCHANGE(11, 12)
        EXCHANGE(6, 7) EXCHANGE(8, 9)
    }
}

/* Sorts each column, which is bitonic. */
INLINE void merge_registers(keys *k, const int size)
{
    if (size >= 16)
        exchange_at(k, size, 8);
    if (size >= 8)
        exchange_at(k, size, 4);
    exchange_at(k, size, 2);
    exchange_at(k, size, 1);
}

/* Columns in groups of 2, 4, 8 and 16 back to front; and columns with their neighbours at distances 1, 2 and 4. */
#define REVERSE_2(a) _mm512_shuffle_epi32(a, _MM_PERM_CDAB)
#define REVERSE_4(a) _mm512_shuffle_epi32(a, _MM_PERM_ABCD)
#define REVERSE_8(a)                                                                                                   \
    _mm512_permutexvar_epi32(_mm512_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8), a)
#define REVERSE_16(a)                                                                                                  \
    _mm512_permutexvar_epi32(_mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), a)
#define NEIGHBOUR_1(a) REVERSE_2(a)
#define NEIGHBOUR_2(a) _mm512_shuffle_epi32(a, _MM_PERM_BADC)
#define NEIGHBOUR_4(a) _mm512_shuffle_i64x2(a, a, _MM_PERM_CDAB)

/* The first step of a merge: every number with the one that stands as far from the other end. */
#define FOLD_COLUMNS(reverse, upper)                                                                                   \
    EACH_REGISTER(i)                                                                                                   \
        if (i < size / 2) {                                                                                            \
            const keys a = k[i], b = k[size - 1 - i];                                                                  \
            k[i] = exchange_columns(a, reverse(b), upper);                                                             \
            k[size - 1 - i] = exchange_columns(b, reverse(a), upper);                                                  \
        }

#define MERGE_COLUMNS(neighbour, upper)                                                                                \
    EACH_REGISTER(i)                                                                                                   \
        k[i] = exchange_columns(k[i], neighbour(k[i]), upper);

/* A row that has been ordered, and whose ranks are still to be set. */
typedef struct pending_row {
    const uint8_t *order;
    int32_t *rank;
    int length;
} pending_row;

/*
 * The sixteenth number `part` of its ranks.  These are scattered stores, one a cycle, while a sort keeps the vector
 * units busy and the rest of the core idle: so the row before is finished in between the steps of a sort.
 */
INLINE void set_ranks(const pending_row *row, const int part, const int size)
{
    if (part * size >= row->length)
        return;
    EACH_REGISTER(i)
        row->rank[row->order[part * size + i]] = part * size + i;
}

INLINE void sort_keys(keys *k, const int size, const pending_row *pending)
{
    set_ranks(pending, 0, size);
    sort_registers(k, size);

    set_ranks(pending, 1, size);
    FOLD_COLUMNS(REVERSE_2, 0xaaaa)
    merge_registers(k, size);

    set_ranks(pending, 2, size);
    FOLD_COLUMNS(REVERSE_4, 0xcccc)
    set_ranks(pending, 3, size);
    MERGE_COLUMNS(NEIGHBOUR_1, 0xaaaa)
    set_ranks(pending, 4, size);
    merge_registers(k, size);

    set_ranks(pending, 5, size);
    FOLD_COLUMNS(REVERSE_8, 0xf0f0)
    set_ranks(pending, 6, size);
    MERGE_COLUMNS(NEIGHBOUR_2, 0xcccc)
    set_ranks(pending, 7, size);
    MERGE_COLUMNS(NEIGHBOUR_1, 0xaaaa)
    set_ranks(pending, 8, size);
    merge_registers(k, size);

    set_ranks(pending, 9, size);
    FOLD_COLUMNS(REVERSE_16, 0xff00)
    set_ranks(pending, 10, size);
    MERGE_COLUMNS(NEIGHBOUR_4, 0xf0f0)
    set_ranks(pending, 11, size);
    MERGE_COLUMNS(NEIGHBOUR_2, 0xcccc)
    set_ranks(pending, 12, size);
    MERGE_COLUMNS(NEIGHBOUR_1, 0xaaaa)
    set_ranks(pending, 13, size);
    merge_registers(k, size);
    set_ranks(pending, 14, size);
    set_ranks(pending, 15, size);
}

/* Whether two values are equal, as far as their 23 bits tell. */
INLINE bool has_ties(const keys *k, const int size)
{
    /* the successor of a column's last number is the first one of the next column */
    const keys next = _mm512_alignr_epi32(_mm512_set1_epi32(-1), k[0], 1);
    keys least = _mm512_xor_si512(k[size - 1], next);
    EACH_REGISTER(i)
        if (i + 1 < size)
            least = _mm512_min_epu32(least, _mm512_xor_si512(k[i], k[i + 1]));
    return _mm512_cmplt_epu32_mask(least, _mm512_set1_epi32(256)) != 0;
}

/* a0 b0 a1 b1 ... of the lower or the upper halves of a and b. */
INLINE void interleave_32(keys a, keys b, keys *lower, keys *upper)
{
    const keys from = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *lower = _mm512_permutex2var_epi32(a, from, b);
    *upper = _mm512_permutex2var_epi32(a, _mm512_add_epi32(from, _mm512_set1_epi32(8)), b);
}

INLINE void interleave_64(keys a, keys b, keys *lower, keys *upper)
{
    const keys from = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    *lower = _mm512_permutex2var_epi64(a, from, b);
    *upper = _mm512_permutex2var_epi64(a, _mm512_add_epi64(from, _mm512_set1_epi64(4)), b);
}

/* The indices, which are the lowest bytes, down the columns. */
INLINE void store_order(const keys *k, const int size, uint8_t *order)
{
    keys quads[MOST_REGISTERS / 4], pairs[MOST_REGISTERS / 4];
    const keys index = _mm512_set1_epi32(0xff);
    EACH_REGISTER(i)
        if (i % 4 == 0) {
            const keys low = _mm512_ternarylogic_epi32(index, k[i], _mm512_slli_epi32(k[i + 1], 8), 0xca);
            const keys high = _mm512_ternarylogic_epi32(index, k[i + 2], _mm512_slli_epi32(k[i + 3], 8), 0xca);
            quads[i / 4] = _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16));
        }
    if (size == 8) {
        interleave_32(quads[0], quads[1], &pairs[0], &pairs[1]);
        quads[0] = pairs[0];
        quads[1] = pairs[1];
    } else if (size == 16) {
        interleave_32(quads[0], quads[1], &pairs[0], &pairs[1]);
        interleave_32(quads[2], quads[3], &pairs[2], &pairs[3]);
        interleave_64(pairs[0], pairs[2], &quads[0], &quads[1]);
        interleave_64(pairs[1], pairs[3], &quads[2], &quads[3]);
    }
    EACH_REGISTER(i)
        if (i % 4 == 0)
            _mm512_store_si512(order + 16 * i, quads[i / 4]);
}

INLINE keys key_of_words(keys words, keys index)
{
    /* (words >> 1 & ~0xff) | index */
    return _mm512_ternarylogic_epi32(_mm512_srli_epi32(words, 1), _mm512_set1_epi32(0x7fffff00), index, 0xea);
}

INLINE keys key_of_values(vf values, vf scale, vf offset, keys index)
{
    vf t = vf_fma(values, scale, offset);
    t = _mm512_min_ps(_mm512_max_ps(t, vf_set(PLB_NOISE_LOW)), vf_set(PLB_NOISE_HIGH));
    return _mm512_or_si512(_mm512_slli_epi32(_mm512_castps_si512(t), 8), index);
}

/* The keys of the noise; and greater ones that fill the last registers and are not to look like ties. */
static void make_keys(const plb_ranking *ranking, int size, uint32_t *to)
{
    const int n = (int)ranking->length;
    const keys step = _mm512_set1_epi32(16);
    const __mmask16 rest = lanes_below(n % 16);
    keys index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), last = index;
    int i = 0;
    if (ranking->drawn)
        draw_words(&ranking->draw, ranking->values, n);
    if (ranking->dtype == PLB_I32) {
        const uint32_t *const words = ranking->noise;
        for (; i + 16 <= n; i += 16, index = _mm512_add_epi32(index, step))
            _mm512_store_si512(to + i, key_of_words(_mm512_loadu_si512(words + i), index));
        last = key_of_words(_mm512_maskz_loadu_epi32(rest, words + i), index);
    } else {
        float scale_of_all, offset_of_all;
        const float *const values = noise_values(ranking, &scale_of_all, &offset_of_all);
        const vf scale = vf_set(scale_of_all), offset = vf_set(offset_of_all);
        for (; i + 16 <= n; i += 16, index = _mm512_add_epi32(index, step))
            _mm512_store_si512(to + i, key_of_values(vf_load(values + i), scale, offset, index));
        last = key_of_values(_mm512_maskz_loadu_ps(rest, values + i), scale, offset, index);
    }
    const keys beyond = _mm512_set1_epi32((int)0x80000000);
    keys filling = _mm512_or_si512(beyond, _mm512_or_si512(_mm512_slli_epi32(index, 8), index));
    if (i < 16 * size)
        _mm512_store_si512(to + i, _mm512_mask_mov_epi32(filling, rest, last));
    while ((i += 16) < 16 * size) {
        filling = _mm512_add_epi32(filling, _mm512_set1_epi32(16 << 8 | 16));
        _mm512_store_si512(to + i, filling);
    }
}

/* The order as 32-bit numbers; up to 15 more are written. */
INLINE void widen(int32_t *to, const uint8_t *from, int n)
{
    for (int i = 0; i < n; i += 16)
        _mm512_storeu_si512(to + i, _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(from + i))));
}

INLINE void sort_rows(plb_ranking *rows, int count, const int size)
{
    const int n = (int)rows->length;
    keys k[16];
    uint32_t unsorted[SORTED_LENGTH] __attribute__((aligned(64)));
    uint8_t orders[2][SORTED_LENGTH] __attribute__((aligned(64)));
    pending_row pending = {NULL, NULL, 0};
    for (int r = 0; r < count; r++) {
        plb_ranking *const row = &rows[r];
        uint8_t *const order = orders[r % 2];
        make_keys(row, size, unsorted);
        EACH_REGISTER(i)
            k[i] = _mm512_load_si512(unsorted + 16 * i);
        sort_keys(k, size, &pending);
        store_order(k, size, order);
        row->settled = true;
        if (!has_ties(k, size)) {
            widen(row->order, order, (int)row->wanted);
        } else {
            widen(row->order, order, n);
            row->settled = insert(row);
            for (int i = 0; i < n; i++)
                order[i] = (uint8_t)row->order[i];
        }
        pending = (pending_row){order, row->rank, n};
    }
    for (int part = 0; part < 16; part++)
        set_ranks(&pending, part, size);
}

static void rank_by_sorting(plb_ranking *rows, int count)
{
    if (rows->length <= 64)
        sort_rows(rows, count, 4);
    else if (rows->length <= 128)
        sort_rows(rows, count, 8);
    else
        sort_rows(rows, count, 16);
}
