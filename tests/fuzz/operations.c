/*
 * Arguments that could be right, of all operations but the losses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

CALL(absolute_labels)
CALL(relative_labels)
CALL(smoothing_map)
CALL(random_mask)
CALL(regular_mask)
CALL(block_mask)
CALL(droppos_masks)
CALL(assemble_tokens)
CALL(assemble_tokens_backward)
CALL(attentive_weights)
CALL(scale_gradient)

void make_labels(fuzz *f, int which)
{
    const poslabel_grid grid = a_grid(f);
    const int64_t b = (int64_t)draw(f, 4), n = (int64_t)grid.height * grid.width;
    if (which == 0) {
        START(absolute_labels, POSLABEL_ABSOLUTE_LABELS_ARGS_INIT);
        a->grid = grid;
        give(f, &a->labels, OUTPUT, an_id(f), 0, SHAPE(b, n));
    } else if (which == 1) {
        START(relative_labels, POSLABEL_RELATIVE_LABELS_ARGS_INIT);
        a->grid = grid;
        give(f, &a->labels, OUTPUT, an_id(f), 0, SHAPE(b, n, n));
    } else {
        START(smoothing_map, POSLABEL_SMOOTHING_MAP_ARGS_INIT);
        a->grid = grid;
        a->sigma = (double)draw(f, 5) / 2;
        a->normalization = (int32_t)draw(f, 2);
        give(f, &a->map, OUTPUT, a_float(f), 0, SHAPE(n, n));
    }
}

void make_masks(fuzz *f, int which)
{
    const poslabel_grid grid = a_grid(f);
    const int64_t b = (int64_t)draw(f, 4), n = (int64_t)grid.height * grid.width;
    const double ratio = (double)draw(f, 5) / 4;
    const int patch_mask = (int)draw(f, 3), kind = which < 3 ? which : patch_mask;
    int64_t k = kind == 0   ? poslabel_random_mask_keep(n, ratio)
                : kind == 1 ? poslabel_regular_mask_keep(grid)
                            : poslabel_block_mask_keep(grid, ratio);
    k = k < 0 ? 0 : k;
#define MASK_OUTPUTS                                                                                                   \
    a->seed = draw(f, UINT64_MAX);                                                                                     \
    MAYBE give(f, &a->ids_keep, OUTPUT, an_id(f), 0, SHAPE(b, k));                                                     \
    MAYBE give(f, &a->ids_remove, OUTPUT, an_id(f), 0, SHAPE(b, n - k));                                               \
    MAYBE give(f, &a->ids_restore, OUTPUT, an_id(f), 0, SHAPE(b, n));                                                  \
    MAYBE give(f, &a->mask, OUTPUT, a_mask(f), 0, SHAPE(b, n))
    if (which == 0) {
        START(random_mask, POSLABEL_RANDOM_MASK_ARGS_INIT);
        a->tokens = n;
        a->mask_ratio = ratio;
        MAYBE give(f, &a->noise, FLOATS, a_float(f), 0, SHAPE(b, n));
        MASK_OUTPUTS;
    } else if (which == 1) {
        START(regular_mask, POSLABEL_REGULAR_MASK_ARGS_INIT);
        a->grid = grid;
        MASK_OUTPUTS;
    } else if (which == 2) {
        START(block_mask, POSLABEL_BLOCK_MASK_ARGS_INIT);
        a->grid = grid;
        a->mask_ratio = ratio;
        MASK_OUTPUTS;
    } else {
        START(droppos_masks, POSLABEL_DROPPOS_MASKS_ARGS_INIT);
        a->grid = grid;
        a->patch_mask = patch_mask;
        a->mask_ratio = ratio;
        a->wrong_positions = (int32_t)draw(f, 2);
        MASK_OUTPUTS;
        MAYBE give(f, &a->patch_noise, FLOATS, a_float(f), 0, SHAPE(b, n));
        MAYBE give(f, &a->pos_noise, FLOATS, a_float(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->shuffle_noise, FLOATS, a_float(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->ids_keep_pos, OUTPUT, an_id(f), 0, SHAPE(b, poslabel_random_mask_keep(k, a->pos_mask_ratio)));
        MAYBE give(f, &a->ids_restore_pos, OUTPUT, an_id(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->mask_pos, OUTPUT, a_mask(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->positions, OUTPUT, an_id(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->places, OUTPUT, an_id(f), 0, SHAPE(b, k));
    }
}

/* Which tokens, with which embeddings, in which order: the same arguments in both directions. */
#define GIVE_LAYOUT                                                                                                    \
    if (!all)                                                                                                          \
        give(f, &a->ids_keep, IDS, an_id(f), n, SHAPE(b, v));                                                          \
    if (draw(f, 2))                                                                                                    \
        give(f, &a->mask_pos, MASK, a_mask(f), 0, SHAPE(b, v));                                                        \
    else                                                                                                               \
        MAYBE give(f, &a->positions, IDS, an_id(f), n, SHAPE(b, v));                                                   \
    MAYBE give(f, &a->places, ORDER, an_id(f), v, SHAPE(b, v));

void make_tokens(fuzz *f, int which)
{
    const int64_t b = (int64_t)draw(f, 4), n = 1 + (int64_t)draw(f, 12), d = 1 + (int64_t)draw(f, 20),
                  p = (int64_t)draw(f, 3);
    const bool all = one_in(f, 4);
    const int64_t v = all ? n : 1 + (int64_t)draw(f, (uint64_t)n);
    const poslabel_dtype halves[] = {dtype_f32, dtype_f16, dtype_bf16}, dtype = halves[draw(f, 3)];
    if (which == 0) {
        START(assemble_tokens, POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT);
        give(f, &a->tokens, FLOATS, dtype, 0, SHAPE(b, n, d));
        GIVE_LAYOUT
        if (p)
            give(f, &a->prefix_tokens, FLOATS, dtype, 0, SHAPE(p, d));
        MAYBE give(f, &a->pos_embed, FLOATS, dtype, 0, SHAPE(draw(f, 2) ? n : p + n, d));
        MAYBE give(f, &a->mask_token, FLOATS, dtype, 0, SHAPE(d));
        give(f, &a->x, OUTPUT, dtype, 0, SHAPE(b, p + v, d));
    } else if (which == 1) {
        START(assemble_tokens_backward, POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT);
        a->tokens_per_image = one_in(f, 3) ? 0 : n;
        a->prefix_count = p;
        give(f, &a->grad_x, FLOATS, dtype, 0, SHAPE(b, p + v, d));
        GIVE_LAYOUT
        MAYBE give(f, &a->grad_tokens, OUTPUT, dtype, 0, SHAPE(b, n, d));
        MAYBE give(f, &a->grad_mask_token, OUTPUT, dtype, 0, SHAPE(d));
        if (p)
            MAYBE give(f, &a->grad_prefix_tokens, OUTPUT, dtype, 0, SHAPE(p, d));
        MAYBE give(f, &a->grad_pos_embed, OUTPUT, dtype, 0, SHAPE(draw(f, 2) ? n : p + n, d));
    } else {
        START(attentive_weights, POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT);
        const poslabel_dtype any = a_float(f);
        give(f, &a->tokens, FLOATS, any, 0, SHAPE(b, n, d));
        if (draw(f, 2))
            give(f, &a->cls, FLOATS, any, 0, SHAPE(d));
        else
            give(f, &a->cls, FLOATS, any, 0, SHAPE(b, d));
        MAYBE give(f, &a->pos_embed, FLOATS, any, 0, SHAPE(1 + p + n, d));
        if (!all)
            give(f, &a->ids_keep, IDS, an_id(f), n, SHAPE(b, v));
        MAYBE give(f, &a->attention, OUTPUT, a_scalar(f), 0, SHAPE(b, n));
        MAYBE give(f, &a->weights, OUTPUT, a_scalar(f), 0, SHAPE(b, v));
    }
}

void make_scale(fuzz *f)
{
    START(scale_gradient, POSLABEL_SCALE_GRADIENT_ARGS_INIT);
    const int64_t b = (int64_t)draw(f, 4), v = 1 + (int64_t)draw(f, 5), c = (int64_t)draw(f, 40);
    give(f, &a->grad, OUTPUT, a_float(f), 0, SHAPE(b, v, c));
    if (draw(f, 2))
        give(f, &a->scale, FLOATS, a_scalar(f), 0, SHAPE(b, v));
    else
        give(f, &a->scale, FLOATS, a_scalar(f), 0, 0, NULL);
}
