/*
 * Arguments of the per-axis losses that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

void fuzz_axis_loss(fuzz *f, poslabel_axis_loss_args *a)
{
    const int64_t b = draw_size(f, 0, 2), rows = draw_size(f, 1, 20), n = draw_size(f, 1, 20);
    const int64_t n_x = draw_size(f, 1, 20);
    const bool pair = one_in(f, 2);
    const poslabel_dtype dtype = a_float(f);
    a->kind = (int32_t)draw(f, 2);
    give(f, pair ? &a->logits_y : &a->logits, FLOATS, dtype, 0, pair ? 3 : 4, (int64_t[]){b, rows, n, 2});
    if (one_in(f, 4))
        give_again(f, pair ? &a->grad_logits_y : &a->grad_logits);
    else if (pair || !one_in(f, 3))
        give(f, pair ? &a->grad_logits_y : &a->grad_logits, OUTPUT, dtype, 0, pair ? 3 : 4, (int64_t[]){b, rows, n, 2});
    if (pair) {
        give(f, &a->logits_x, FLOATS, dtype, 0, SHAPE(b, rows, n_x));
        if (one_in(f, 4))
            give_again(f, &a->grad_logits_x);
        else
            give(f, &a->grad_logits_x, OUTPUT, dtype, 0, SHAPE(b, rows, n_x));
    }
    give(f, &a->targets, IDS, an_id(f), pair && n_x < n ? n_x : n, SHAPE(b, rows, 2));
    GIVE_REDUCTION(b, rows)
}
