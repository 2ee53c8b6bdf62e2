/*
 * Noise in, masks out: the kernels of masks for one instruction set.
 *
 * The loops below are written for the compiler to vectorise.  Draws and ranks, where it cannot, have their own files.
 *
 * Needs nothing; without the vectors of an instruction set (<isa>.h) ranks are left to plb_rank().  Gives mask_kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/masks/kernels.h"
#include "cpu/masks/philox.inc.h"

#ifdef VF_LANES

#include "cpu/masks/buckets.inc.h"
#if VF_LANES == 16
#include "cpu/masks/sort.inc.h"
#else
enum { SORTED_LENGTH = 0 };
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
enum { SORTED_LENGTH = 0 };

static void rank_rows(plb_ranking *rows, int count)
{
    for (int r = 0; r < count; r++)
        rows[r].settled = false;
}

#endif

/* The bits of a NaN lie above those of infinity: the largest magnitude tells whether there is one. */
#define HAS_NAN(name, type, infinity)                                                                                  \
    static bool name(const type *noise, int64_t count)                                                                 \
    {                                                                                                                  \
        type largest = 0;                                                                                              \
        for (int64_t i = 0; i < count; i++) {                                                                          \
            const type magnitude = (type)(noise[i] & ((type)-1 >> 1));                                                 \
            largest = magnitude > largest ? magnitude : largest;                                                       \
        }                                                                                                              \
        return largest > (infinity);                                                                                   \
    }

HAS_NAN(has_nan_f16, plb_bits16, 0x7c00)
HAS_NAN(has_nan_bf16, plb_bits16, 0x7f80)
HAS_NAN(has_nan_f32, plb_bits32, UINT32_C(0x7f800000))
HAS_NAN(has_nan_f64, plb_bits64, UINT64_C(0x7ff0000000000000))

static bool has_nan(const void *noise, plb_dtype dtype, int64_t count)
{
    switch (dtype) {
    case PLB_F16:
        return has_nan_f16(noise, count);
    case PLB_BF16:
        return has_nan_bf16(noise, count);
    case PLB_F32:
        return has_nan_f32(noise, count);
    default:
        return has_nan_f64(noise, count);
    }
}

static void store_ids(void *to, plb_dtype dtype, const int32_t *ids, int64_t count)
{
    if (dtype == PLB_I32) {
        memcpy(to, ids, (size_t)count * sizeof *ids);
        return;
    }
    int64_t *restrict const wide = to;
    for (int64_t i = 0; i < count; i++)
        wide[i] = ids[i];
}

/* 1 where rank >= keep: as bits of the size of an element, whatever its type. */
#define STORE_MASK(name, type)                                                                                         \
    static void name(type *restrict to, const int32_t *restrict rank, int32_t keep, int64_t count, type one)           \
    {                                                                                                                  \
        for (int64_t i = 0; i < count; i++)                                                                            \
            to[i] = (type)(rank[i] >= keep ? one : 0);                                                                 \
    }

STORE_MASK(store_mask_8, uint8_t)
STORE_MASK(store_mask_16, plb_bits16)
STORE_MASK(store_mask_32, plb_bits32)
STORE_MASK(store_mask_64, plb_bits64)

static void store_mask(void *to, plb_dtype dtype, const int32_t *rank, int64_t keep, int64_t count)
{
    static const uint64_t one[PLB_DTYPES] = {
        [PLB_F32] = 0x3f800000, [PLB_F16] = 0x3c00, [PLB_BF16] = 0x3f80, [PLB_F64] = UINT64_C(0x3ff0000000000000),
        [PLB_I32] = 1,          [PLB_I64] = 1,      [PLB_U8] = 1,        [PLB_BOOL] = 1};
    switch (plb_dtype_size[dtype]) {
    case 1:
        store_mask_8(to, rank, (int32_t)keep, count, (uint8_t)one[dtype]);
        break;
    case 2:
        store_mask_16(to, rank, (int32_t)keep, count, (uint16_t)one[dtype]);
        break;
    case 4:
        store_mask_32(to, rank, (int32_t)keep, count, (uint32_t)one[dtype]);
        break;
    default:
        store_mask_64(to, rank, (int32_t)keep, count, one[dtype]);
        break;
    }
}

static const plb_mask_kernels mask_kernels = {
    .sorted = SORTED_LENGTH,
    .draw_words = draw_words,
    .has_nan = has_nan,
    .rank_rows = rank_rows,
    .store_ids = store_ids,
    .store_mask = store_mask,
};
