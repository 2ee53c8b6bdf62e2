/*
 * Arguments of the tokens of MAE's decoder that could be right.
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

/* Sizes, and ids that are mostly a permutation: the same in both directions. */
#define DRAW_SIZES                                                                                                     \
    const int64_t b = draw_size(f, 0, 3), n = draw_size(f, 0, 12), d = draw_size(f, 1, 20), p = draw_size(f, 0, 3);    \
    const int64_t k = draw_size(f, 0, n), e = draw_size(f, 0, p);                                                      \
    const poslabel_dtype dtype = a_small_float(f);                                                                     \
    a->prefix_count = p;
#define GIVE_IDS give(f, &a->ids_restore, one_in(f, 3) ? IDS : ORDER, an_id(f), n, SHAPE(b, n));

void fuzz_decoder_tokens(fuzz *f, poslabel_decoder_tokens_args *a)
{
    DRAW_SIZES
    give(f, &a->x, FLOATS, dtype, 0, SHAPE(b, p + k, d));
    GIVE_IDS
    MAYBE give(f, &a->mask_token, FLOATS, dtype, 0, SHAPE(d));
    MAYBE give(f, &a->pos_embed, FLOATS, dtype, 0, SHAPE(e + n, d));
    give(f, &a->out, OUTPUT, dtype, 0, SHAPE(b, p + n, d));
}

void fuzz_decoder_tokens_backward(fuzz *f, poslabel_decoder_tokens_backward_args *a)
{
    DRAW_SIZES
    a->visible_count = one_in(f, 3) ? -1 : k;
    give(f, &a->grad_out, FLOATS, dtype, 0, SHAPE(b, p + n, d));
    GIVE_IDS
    MAYBE give(f, &a->grad_x, OUTPUT, dtype, 0, SHAPE(b, p + k, d));
    MAYBE give(f, &a->grad_mask_token, OUTPUT, dtype, 0, SHAPE(d));
    MAYBE give(f, &a->grad_pos_embed, OUTPUT, dtype, 0, SHAPE(e + n, d));
}
