/*
 * Arguments of the masks that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

/* A ratio of which a few tokens may remain, none or all. */
static double a_ratio(fuzz *f)
{
    return (double)draw(f, 5) / 4;
}

/* How many of the tokens are kept; 0 where the ratio is refused. */
static int64_t kept(int mask, poslabel_grid grid, double ratio)
{
    const int64_t keep = mask == POSLABEL_PATCH_MASK_REGULAR ? poslabel_regular_mask_keep(grid)
                         : mask == POSLABEL_PATCH_MASK_BLOCK ? poslabel_block_mask_keep(grid, ratio)
                                                             : poslabel_random_mask_keep(grid_tokens(grid), ratio);
    return keep < 0 ? 0 : keep;
}

/* Of b images of n tokens, of which k are kept. */
#define GIVE_MASKS                                                                                                     \
    a->seed = draw(f, UINT64_MAX);                                                                                     \
    if (one_in(f, 3))                                                                                                  \
        give(f, &a->samples, IDS, an_id(f), 1000, SHAPE(b));                                                           \
    if (one_in(f, 3))                                                                                                  \
        give(f, &a->step_scalar, IDS, an_id(f), 1000, 0, NULL);                                                        \
    MAYBE give(f, &a->ids_keep, OUTPUT, an_id(f), 0, SHAPE(b, k));                                                     \
    MAYBE give(f, &a->ids_remove, OUTPUT, an_id(f), 0, SHAPE(b, n - k));                                               \
    MAYBE give(f, &a->ids_restore, OUTPUT, an_id(f), 0, SHAPE(b, n));                                                  \
    MAYBE give(f, &a->mask, OUTPUT, a_mask(f), 0, SHAPE(b, n))

void fuzz_random_mask(fuzz *f, poslabel_random_mask_args *a)
{
    const poslabel_grid grid = a_grid(f);
    a->tokens = grid_tokens(grid);
    a->mask_ratio = a_ratio(f);
    const int64_t b = draw_size(f, 0, 3), n = a->tokens, k = kept(POSLABEL_PATCH_MASK_RANDOM, grid, a->mask_ratio);
    MAYBE give(f, &a->noise, FLOATS, a_float(f), 0, SHAPE(b, n));
    GIVE_MASKS;
}

void fuzz_regular_mask(fuzz *f, poslabel_regular_mask_args *a)
{
    a->grid = a_grid(f);
    const int64_t b = draw_size(f, 0, 3), n = grid_tokens(a->grid), k = kept(POSLABEL_PATCH_MASK_REGULAR, a->grid, 0);
    GIVE_MASKS;
}

void fuzz_block_mask(fuzz *f, poslabel_block_mask_args *a)
{
    a->grid = a_grid(f);
    a->mask_ratio = a_ratio(f);
    const int64_t b = draw_size(f, 0, 3), n = grid_tokens(a->grid);
    const int64_t k = kept(POSLABEL_PATCH_MASK_BLOCK, a->grid, a->mask_ratio);
    GIVE_MASKS;
}

void fuzz_droppos_masks(fuzz *f, poslabel_droppos_masks_args *a)
{
    a->grid = a_grid(f);
    a->patch_mask = (int32_t)draw(f, 3);
    a->mask_ratio = a_ratio(f);
    a->wrong_positions = (int32_t)draw(f, 2);
    const int64_t b = draw_size(f, 0, 3), n = grid_tokens(a->grid);
    const int64_t k = kept(a->patch_mask, a->grid, a->mask_ratio);
    GIVE_MASKS;
    MAYBE give(f, &a->patch_noise, FLOATS, a_float(f), 0, SHAPE(b, n));
    MAYBE give(f, &a->pos_noise, FLOATS, a_float(f), 0, SHAPE(b, k));
    MAYBE give(f, &a->shuffle_noise, FLOATS, a_float(f), 0, SHAPE(b, k));
    MAYBE give(f, &a->ids_keep_pos, OUTPUT, an_id(f), 0, SHAPE(b, poslabel_random_mask_keep(k, a->pos_mask_ratio)));
    MAYBE give(f, &a->ids_restore_pos, OUTPUT, an_id(f), 0, SHAPE(b, k));
    MAYBE give(f, &a->mask_pos, OUTPUT, a_mask(f), 0, SHAPE(b, k));
    MAYBE give(f, &a->positions, OUTPUT, an_id(f), 0, SHAPE(b, k));
    MAYBE give(f, &a->places, OUTPUT, an_id(f), 0, SHAPE(b, k));
}
