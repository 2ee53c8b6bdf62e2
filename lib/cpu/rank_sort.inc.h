/*
 * Up to 256 numbers ranked in AVX-512 registers.  SPDX-License-Identifier: Apache-2.0
 *
 * Each number becomes 23 bits of its value over 8 bits of its index, so that one sort of unsigned integers orders both,
 * and equal values keep their order.  4, 8 or 16 registers hold them in 16 columns.  First the columns are sorted,
 * comparing register with register; then they merge pairwise, 1 with 1 up to 8 with 8, by Batcher's bitonic merge, the
 * sequence running down the first column, then down the second.  Nothing branches on the data.
 */

typedef __m512i keys;

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

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

/* Every register with its mirror image in a group of `group`: the first step of a merge of sorted halves. */
INLINE void fold_registers(keys *k, const int size, const int group)
{
    UNROLL
    for (int i = 0; i < size; i++)
        if (!(i & group / 2))
            exchange(&k[i], &k[i ^ (group - 1)]);
}

/* Every register with the one `distance` further: the other steps. */
INLINE void halve_registers(keys *k, const int size, const int distance)
{
    UNROLL
    for (int i = 0; i < size; i++)
        if (!(i & distance))
            exchange(&k[i], &k[i + distance]);
}

/* Sorts each column. */
INLINE void sort_registers(keys *k, const int size)
{
    fold_registers(k, size, 2);
    fold_registers(k, size, 4);
    halve_registers(k, size, 1);
    if (size >= 8) {
        fold_registers(k, size, 8);
        halve_registers(k, size, 2);
        halve_registers(k, size, 1);
    }
    if (size >= 16) {
        fold_registers(k, size, 16);
        halve_registers(k, size, 4);
        halve_registers(k, size, 2);
        halve_registers(k, size, 1);
    }
}

/* Sorts each column, which is bitonic. */
INLINE void merge_registers(keys *k, const int size)
{
    if (size >= 16)
        halve_registers(k, size, 8);
    if (size >= 8)
        halve_registers(k, size, 4);
    halve_registers(k, size, 2);
    halve_registers(k, size, 1);
}

/* Columns in groups of 2, 4, 8 and 16 back to front; and columns with their neighbours at distances 1, 2 and 4. */
#define REVERSE_2(a) _mm512_shuffle_epi32(a, _MM_PERM_CDAB)
#define REVERSE_4(a) _mm512_shuffle_epi32(a, _MM_PERM_ABCD)
#define REVERSE_8(a) _mm512_permutexvar_epi32(_mm512_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8), a)
#define REVERSE_16(a) _mm512_permutexvar_epi32(_mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), a)
#define NEIGHBOUR_1(a) _mm512_shuffle_epi32(a, _MM_PERM_CDAB)
#define NEIGHBOUR_2(a) _mm512_shuffle_epi32(a, _MM_PERM_BADC)
#define NEIGHBOUR_4(a) _mm512_shuffle_i64x2(a, a, _MM_PERM_CDAB)

/* The first step of a merge: every number with the one that stands as far from the other end. */
#define FOLD_COLUMNS(reverse, upper)                                                                                   \
    UNROLL                                                                                                             \
    for (int i = 0; i < size / 2; i++) {                                                                               \
        const keys a = k[i], b = k[size - 1 - i];                                                                      \
        k[i] = exchange_columns(a, reverse(b), upper);                                                                 \
        k[size - 1 - i] = exchange_columns(b, reverse(a), upper);                                                      \
    }

#define MERGE_COLUMNS(neighbour, upper)                                                                                \
    UNROLL                                                                                                             \
    for (int i = 0; i < size; i++)                                                                                     \
        k[i] = exchange_columns(k[i], neighbour(k[i]), upper);

INLINE void sort_keys(keys *k, const int size)
{
    sort_registers(k, size);

    FOLD_COLUMNS(REVERSE_2, 0xaaaa)
    merge_registers(k, size);

    FOLD_COLUMNS(REVERSE_4, 0xcccc)
    MERGE_COLUMNS(NEIGHBOUR_1, 0xaaaa)
    merge_registers(k, size);

    FOLD_COLUMNS(REVERSE_8, 0xf0f0)
    MERGE_COLUMNS(NEIGHBOUR_2, 0xcccc)
    MERGE_COLUMNS(NEIGHBOUR_1, 0xaaaa)
    merge_registers(k, size);

    FOLD_COLUMNS(REVERSE_16, 0xff00)
    MERGE_COLUMNS(NEIGHBOUR_4, 0xf0f0)
    MERGE_COLUMNS(NEIGHBOUR_2, 0xcccc)
    MERGE_COLUMNS(NEIGHBOUR_1, 0xaaaa)
    merge_registers(k, size);
}

/* Whether two values are equal, as far as their 23 bits tell. */
INLINE bool has_ties(const keys *k, const int size)
{
    /* the successor of a column's last number is the first one of the next column */
    const keys next = _mm512_alignr_epi32(_mm512_set1_epi32(-1), k[0], 1);
    keys least = _mm512_xor_si512(k[size - 1], next);
    UNROLL
    for (int i = 0; i + 1 < size; i++)
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
INLINE void store_order(const keys *k, const int size, int32_t *order)
{
    keys quads[4], pairs[4];
    const keys index = _mm512_set1_epi32(0xff);
    UNROLL
    for (int i = 0; i < size / 4; i++) {
        const keys *const q = k + 4 * i;
        const keys low = _mm512_ternarylogic_epi32(index, q[0], _mm512_slli_epi32(q[1], 8), 0xca);
        const keys high = _mm512_ternarylogic_epi32(index, q[2], _mm512_slli_epi32(q[3], 8), 0xca);
        quads[i] = _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16));
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
    UNROLL
    for (int i = 0; i < size / 4; i++) {
        int32_t *const to = order + 64 * i;
        _mm512_storeu_si512(to, _mm512_cvtepu8_epi32(_mm512_castsi512_si128(quads[i])));
        _mm512_storeu_si512(to + 16, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(quads[i], 1)));
        _mm512_storeu_si512(to + 32, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(quads[i], 2)));
        _mm512_storeu_si512(to + 48, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(quads[i], 3)));
    }
}

/* The keys of the noise, and greater ones that fill the last registers and are not to look like ties. */
static void make_keys(const plb_ranking *ranking, int size, uint32_t *to)
{
    const uint32_t *const words = ranking->dtype == PLB_I32 ? ranking->noise : NULL;
    float scale = 0, offset = 0;
    const float *const values = words ? NULL : noise_values(ranking, &scale, &offset);
    keys index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int i = 0; i < 16 * size; i += 16) {
        const int left = (int)ranking->length - i;
        const __mmask16 lanes = left >= 16 ? 0xffff : left > 0 ? lanes_below(left) : 0;
        const keys filling = _mm512_or_si512(_mm512_slli_epi32(index, 8), _mm512_set1_epi32((int)0x80000000));
        keys value;
        if (words) {
            value = _mm512_srli_epi32(_mm512_maskz_loadu_epi32(lanes, words + i), 1);
            value = _mm512_and_si512(value, _mm512_set1_epi32(0x7fffff00));
        } else {
            vf t = vf_fma(_mm512_maskz_loadu_ps(lanes, values + i), vf_set(scale), vf_set(offset));
            t = _mm512_min_ps(_mm512_max_ps(t, vf_set(PLB_NOISE_LOW)), vf_set(PLB_NOISE_HIGH));
            value = _mm512_slli_epi32(_mm512_castps_si512(t), 8);
        }
        _mm512_store_si512(to + i, _mm512_mask_or_epi32(filling, lanes, value, index));
        index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
    }
}

/* Sorts `size` registers of keys into the order; returns whether there are ties. */
INLINE bool order_keys(const uint32_t *from, const int size, int32_t *order)
{
    keys k[16];
    UNROLL
    for (int i = 0; i < size; i++)
        k[i] = _mm512_load_si512(from + 16 * i);
    sort_keys(k, size);
    store_order(k, size, order);
    return has_ties(k, size);
}

/* Puts in order what 23 bits could not tell apart. */
static bool sort_ties(plb_ranking *ranking)
{
    int32_t *const order = ranking->order;
    int64_t budget = insertion_budget(ranking->length);
    uint64_t last = 0;
    for (int64_t i = 0; i < ranking->length; i++) {
        const int32_t id = order[i];
        const uint64_t key = plb_noise_key(ranking->noise, ranking->dtype, id);
        if (key >= last) {
            last = key;
            continue;
        }
        int64_t p = i;
        for (; p > 0 && plb_noise_key(ranking->noise, ranking->dtype, order[p - 1]) > key; p--) {
            order[p] = order[p - 1];
            if (--budget < 0)
                return false;
        }
        order[p] = id;
    }
    return true;
}

static bool rank_by_sorting(plb_ranking *ranking)
{
    const int32_t n = (int32_t)ranking->length;
    int32_t *restrict const order = ranking->order, *restrict const rank = ranking->rank;
    uint32_t from[256] __attribute__((aligned(64)));
    bool ties;
    make_keys(ranking, n <= 64 ? 4 : n <= 128 ? 8 : 16, from);
    if (n <= 64)
        ties = order_keys(from, 4, order);
    else if (n <= 128)
        ties = order_keys(from, 8, order);
    else
        ties = order_keys(from, 16, order);
    if (ties && !sort_ties(ranking))
        return false;
    for (int32_t p = 0; p < n; p++)
        rank[order[p]] = p;
    return true;
}
