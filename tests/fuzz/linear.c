/*
 * Arguments of the loss of a linear head that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

void fuzz_linear_position_loss(fuzz *f, poslabel_linear_position_loss_args *a)
{
    a->labels = (int32_t)draw(f, 3);
    a->grid = a_small_grid(f);
    const bool explicit = a->labels == POSLABEL_LABELS_EXPLICIT, relative = a->labels == POSLABEL_LABELS_RELATIVE;
    const int64_t n = grid_tokens(a->grid), b = draw_size(f, 0, 2), d = draw_size(f, 1, 9);
    const int64_t rows = explicit ? draw_size(f, 1, 20) : relative ? n * n : n;
    const int64_t c = relative ? grid_offsets(a->grid) : n;
    const poslabel_dtype dtype = a_float(f);
    const poslabel_dtype parameters = dtype_is(dtype, dtype_f64) || draw(f, 2) ? dtype : dtype_f32;
    a->label_smoothing = (double)draw(f, 3) / 4;
    a->accumulate = (int32_t)draw(f, 2);
    a->workspace_limit = one_in(f, 2) ? draw(f, 8192) : 0;
    give(f, &a->features, FLOATS, dtype, 0, SHAPE(b, rows, d));
    give(f, &a->weight, FLOATS, dtype, 0, SHAPE(c, d));
    MAYBE give(f, &a->bias, FLOATS, parameters, 0, SHAPE(c));
    if (explicit)
        give(f, &a->positions, IDS, an_id(f), c, SHAPE(b, rows));
    GIVE_REDUCTION(b, rows)
    MAYBE give(f, &a->grad_features, OUTPUT, dtype, 0, SHAPE(b, rows, d));
    MAYBE give(f, &a->grad_weight, OUTPUT, parameters, 0, SHAPE(c, d));
    MAYBE give(f, &a->grad_bias, OUTPUT, parameters, 0, SHAPE(c));
    MAYBE give(f, &a->accuracy, OUTPUT, a_scalar(f), 0, 0, NULL);
}
