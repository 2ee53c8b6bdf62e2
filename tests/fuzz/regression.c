/*
 * Arguments of the regression of small vectors that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

void fuzz_regression_loss(fuzz *f, poslabel_regression_loss_args *a)
{
    a->kind = (int32_t)draw(f, 3);
    a->beta = (double)(1 + draw(f, 4)) / 2;
    const int64_t b = draw_size(f, 0, 2), rows = draw_size(f, 1, 70), n = draw_size(f, 1, 4);
    const poslabel_dtype dtype = a_float(f);
    give(f, &a->predictions, FLOATS, dtype, 0, SHAPE(b, rows, n));
    if (one_in(f, 4))
        give_again(f, &a->grad_predictions);
    else
        MAYBE give(f, &a->grad_predictions, OUTPUT, dtype, 0, SHAPE(b, rows, n));
    give(f, &a->targets, FLOATS, a_float(f), 0, SHAPE(b, rows, n));
    GIVE_REDUCTION(b, rows)
}
