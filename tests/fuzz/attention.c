/*
 * Arguments of the attentive weights that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

void fuzz_attentive_weights(fuzz *f, poslabel_attentive_weights_args *a)
{
    const int64_t b = draw_size(f, 0, 3), n = draw_size(f, 1, 12), d = draw_size(f, 1, 20), p = draw_size(f, 0, 2);
    const bool all = one_in(f, 4);
    const int64_t v = all ? n : draw_size(f, 1, n);
    const poslabel_dtype dtype = a_float(f);
    give(f, &a->tokens, FLOATS, dtype, 0, SHAPE(b, n, d));
    if (draw(f, 2))
        give(f, &a->cls, FLOATS, dtype, 0, SHAPE(d));
    else
        give(f, &a->cls, FLOATS, dtype, 0, SHAPE(b, d));
    MAYBE give(f, &a->pos_embed, FLOATS, dtype, 0, SHAPE(1 + p + n, d));
    if (!all)
        give(f, &a->ids_keep, IDS, an_id(f), n, SHAPE(b, v));
    MAYBE give(f, &a->attention, OUTPUT, a_scalar(f), 0, SHAPE(b, n));
    MAYBE give(f, &a->weights, OUTPUT, a_scalar(f), 0, SHAPE(b, v));
}
