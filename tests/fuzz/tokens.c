/*
 * Arguments of the tokens of an encoder that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

static poslabel_dtype a_small_float(fuzz *f)
{
    const poslabel_dtype all[] = {dtype_f32, dtype_f16, dtype_bf16};
    return all[draw(f, 3)];
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

void fuzz_assemble_tokens(fuzz *f, poslabel_assemble_tokens_args *a)
{
    const int64_t b = draw_size(f, 0, 3), n = draw_size(f, 1, 12), d = draw_size(f, 1, 20), p = draw_size(f, 0, 2);
    const bool all = one_in(f, 4);
    const int64_t v = all ? n : draw_size(f, 1, n);
    const poslabel_dtype dtype = a_small_float(f);
    give(f, &a->tokens, FLOATS, dtype, 0, SHAPE(b, n, d));
    GIVE_LAYOUT
    if (p)
        give(f, &a->prefix_tokens, FLOATS, dtype, 0, SHAPE(p, d));
    MAYBE give(f, &a->pos_embed, FLOATS, dtype, 0, SHAPE(draw(f, 2) ? n : p + n, d));
    MAYBE give(f, &a->mask_token, FLOATS, dtype, 0, SHAPE(d));
    give(f, &a->x, OUTPUT, dtype, 0, SHAPE(b, p + v, d));
}

void fuzz_assemble_tokens_backward(fuzz *f, poslabel_assemble_tokens_backward_args *a)
{
    const int64_t b = draw_size(f, 0, 3), n = draw_size(f, 1, 12), d = draw_size(f, 1, 20), p = draw_size(f, 0, 2);
    const bool all = one_in(f, 4);
    const int64_t v = all ? n : draw_size(f, 1, n);
    const poslabel_dtype dtype = a_small_float(f);
    a->tokens_per_image = one_in(f, 3) ? 0 : n;
    a->prefix_count = p;
    give(f, &a->grad_x, FLOATS, dtype, 0, SHAPE(b, p + v, d));
    GIVE_LAYOUT
    MAYBE give(f, &a->grad_tokens, OUTPUT, dtype, 0, SHAPE(b, n, d));
    MAYBE give(f, &a->grad_mask_token, OUTPUT, dtype, 0, SHAPE(d));
    if (p)
        MAYBE give(f, &a->grad_prefix_tokens, OUTPUT, dtype, 0, SHAPE(p, d));
    MAYBE give(f, &a->grad_pos_embed, OUTPUT, dtype, 0, SHAPE(draw(f, 2) ? n : p + n, d));
}
