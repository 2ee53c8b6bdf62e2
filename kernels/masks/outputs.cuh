/*
 * From the orders and ranks of an image to its outputs.
 *
 * Order and rank are inverse: order[p] is the index of the number of rank p.  Each output comes from the one of the two
 * that lets neighbouring threads write neighbouring elements, so that only the sort writes to scattered addresses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_MASK_OUTPUTS_H
#define PLB_CUDA_MASK_OUTPUTS_H

#include "masks/masks.cuh"

/* The elements of each output that a thread copies. */
struct plb_items {
    unsigned first, step;
};

PLB_DEVICE void plb_copy_ids(const plb_view_rows &ids, long long image, const int *from, unsigned count, plb_items my)
{
    if (!ids.data)
        return;
    char *const row = plb_view_row(ids, image);
    if (ids.dtype == PLB_I32)
        for (unsigned i = my.first; i < count; i += my.step)
            ((int *)row)[i] = from[i];
    else
        for (unsigned i = my.first; i < count; i += my.step)
            ((long long *)row)[i] = from[i];
}

template <typename Bits>
PLB_DEVICE void plb_copy_bits(char *row, const int *rank, unsigned keep, unsigned count, Bits one, plb_items my)
{
    for (unsigned i = my.first; i < count; i += my.step)
        ((Bits *)row)[i] = (unsigned)rank[i] >= keep ? one : (Bits)0;
}

/* 1 where rank >= keep, else 0, as the bits of an element of any type. */
PLB_DEVICE void plb_copy_mask(const plb_view_rows &mask, long long image, const int *rank, unsigned keep,
                              unsigned count, plb_items my)
{
    if (!mask.data)
        return;
    char *const row = plb_view_row(mask, image);
    switch (mask.dtype) {
    case PLB_F32:
        return plb_copy_bits(row, rank, keep, count, 0x3f800000u, my);
    case PLB_I32:
        return plb_copy_bits(row, rank, keep, count, 1u, my);
    case PLB_F64:
        return plb_copy_bits(row, rank, keep, count, 0x3ff0000000000000ull, my);
    case PLB_I64:
        return plb_copy_bits(row, rank, keep, count, 1ull, my);
    case PLB_F16:
        return plb_copy_bits(row, rank, keep, count, (unsigned short)0x3c00, my);
    case PLB_BF16:
        return plb_copy_bits(row, rank, keep, count, (unsigned short)0x3f80, my);
    default:
        return plb_copy_bits(row, rank, keep, count, (unsigned char)1, my);
    }
}

/*
 * The position whose embedding each visible token gets: its own, or none (-1).  With wrong_positions a token that lost
 * its position gets that of the token that lost its position before it.
 */
PLB_DEVICE void plb_copy_positions(const plb_mask_plan &plan, long long image, const int *visible, const int *order,
                                   const int *rank, plb_items my)
{
    if (!plan.positions.data)
        return;
    char *const row = plb_view_row(plan.positions, image);
    const bool pass_on = plan.wrong_positions && plan.keep - plan.keep_pos > 1;
    for (unsigned r = my.first; r < plan.keep; r += my.step) {
        const unsigned p = (unsigned)rank[r];
        int position = -1;
        if (p < plan.keep_pos)
            position = visible[r];
        else if (pass_on)
            position = visible[order[p > plan.keep_pos ? p - 1 : plan.keep - 1]];
        plb_store_id(row + (size_t)r * (plan.positions.dtype == PLB_I32 ? 4 : 8), plan.positions.dtype, position);
    }
}

/* Copies all outputs of an image.  `order` and `rank` have its three rankings. */
PLB_DEVICE void plb_copy_outputs(const plb_mask_plan &plan, long long image, const int *order, const int *rank,
                                 plb_items my)
{
    const long long positions = plan.rankings[PLB_RANK_POSITIONS].start, places = plan.rankings[PLB_RANK_PLACES].start;
    plb_copy_ids(plan.ids_keep, image, order, plan.keep, my);
    plb_copy_ids(plan.ids_remove, image, order + plan.keep, plan.tokens - plan.keep, my);
    plb_copy_ids(plan.ids_restore, image, rank, plan.tokens, my);
    plb_copy_mask(plan.mask, image, rank, plan.keep, plan.tokens, my);
    plb_copy_ids(plan.ids_keep_pos, image, order + positions, plan.keep_pos, my);
    plb_copy_ids(plan.ids_restore_pos, image, rank + positions, plan.keep, my);
    plb_copy_mask(plan.mask_pos, image, rank + positions, plan.keep_pos, plan.keep, my);
    plb_copy_positions(plan, image, order, order + positions, rank + positions, my);
    plb_copy_ids(plan.places, image, rank + places, plan.keep, my);
}

#endif
