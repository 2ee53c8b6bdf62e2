/*
 * Arguments of the losses of heads with a hidden layer that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

/* The layers of a head for `d` channels and `c` classes, after the features; their sum is d where nothing is hidden. */
#define GIVE_HEAD(d, c)                                                                                                \
    const poslabel_dtype parameters = dtype_is(dtype, dtype_f64) || draw(f, 2) ? dtype : dtype_f32;                    \
    const bool has_middle = draw(f, 2);                                                                                \
    const int64_t h = has_hidden ? draw_size(f, 1, 9) : (d), m = has_middle ? draw_size(f, 1, 9) : h;                  \
    a->activation = (int32_t)draw(f, 3);                                                                               \
    a->accumulate = (int32_t)draw(f, 2);                                                                               \
    a->workspace_limit = one_in(f, 2) ? draw(f, 65536) : 0;                                                            \
    a->label_smoothing = (double)draw(f, 3) / 4;                                                                       \
    a->grad_scale = (double)draw(f, 4) - 1;                                                                            \
    if (has_hidden) {                                                                                                  \
        give(f, &a->hidden_weight, FLOATS, dtype, 0, SHAPE(h, inputs));                                                \
        MAYBE give(f, &a->hidden_bias, FLOATS, parameters, 0, SHAPE(h));                                               \
        MAYBE give(f, &a->grad_hidden_weight, OUTPUT, parameters, 0, SHAPE(h, inputs));                                \
        MAYBE give(f, &a->grad_hidden_bias, OUTPUT, parameters, 0, SHAPE(h));                                          \
    }                                                                                                                  \
    if (has_middle) {                                                                                                  \
        give(f, &a->middle_weight, FLOATS, dtype, 0, SHAPE(m, h));                                                     \
        MAYBE give(f, &a->middle_bias, FLOATS, parameters, 0, SHAPE(m));                                               \
        MAYBE give(f, &a->grad_middle_weight, OUTPUT, parameters, 0, SHAPE(m, h));                                     \
        MAYBE give(f, &a->grad_middle_bias, OUTPUT, parameters, 0, SHAPE(m));                                          \
    }                                                                                                                  \
    give(f, &a->weight, FLOATS, dtype, 0, SHAPE(c, m));                                                                \
    MAYBE give(f, &a->bias, FLOATS, parameters, 0, SHAPE(c));                                                          \
    MAYBE give(f, &a->grad_weight, OUTPUT, parameters, 0, SHAPE(c, m));                                                \
    MAYBE give(f, &a->grad_bias, OUTPUT, parameters, 0, SHAPE(c));                                                     \
    MAYBE give(f, &a->accuracy, OUTPUT, a_scalar(f), 0, 0, NULL);

void fuzz_mlp_position_loss(fuzz *f, poslabel_mlp_position_loss_args *a)
{
    a->labels = (int32_t)draw(f, 3);
    a->grid = a_small_grid(f);
    const bool explicit = a->labels == POSLABEL_LABELS_EXPLICIT, relative = a->labels == POSLABEL_LABELS_RELATIVE;
    const int64_t n = grid_tokens(a->grid), b = draw_size(f, 0, 2), inputs = draw_size(f, 1, 9);
    const int64_t rows = explicit ? draw_size(f, 1, 20) : relative ? n * n : n;
    const int64_t c = relative ? grid_offsets(a->grid) : n;
    const poslabel_dtype dtype = a_float(f);
    const bool has_hidden = draw(f, 2);
    give(f, &a->features, FLOATS, dtype, 0, SHAPE(b, rows, inputs));
    if (explicit)
        give(f, &a->positions, IDS, an_id(f), c, SHAPE(b, rows));
    GIVE_HEAD(inputs, c)
    GIVE_REDUCTION(b, rows)
    MAYBE give(f, &a->grad_features, OUTPUT, dtype, 0, SHAPE(b, rows, inputs));
}

void fuzz_pair_position_loss(fuzz *f, poslabel_pair_position_loss_args *a)
{
    a->grid = a_small_grid(f);
    const int64_t n = grid_tokens(a->grid), c = grid_offsets(a->grid), b = draw_size(f, 0, 2);
    const poslabel_dtype dtype = a_float(f);
    const bool has_hidden = draw(f, 2);
    const int64_t q = draw_size(f, 1, 9), k = has_hidden ? draw_size(f, 1, 9) : q, inputs = q + k;
    give(f, &a->queries, FLOATS, dtype, 0, SHAPE(b, n, q));
    give(f, &a->keys, FLOATS, dtype, 0, SHAPE(b, n, k));
    GIVE_HEAD(q, c)
    a->reduction = (int32_t)draw(f, 2);
    MAYBE give(f, &a->grad_queries, OUTPUT, dtype, 0, SHAPE(b, n, q));
    MAYBE give(f, &a->grad_keys, OUTPUT, dtype, 0, SHAPE(b, n, k));
    MAYBE give(f, &a->grad_loss, FLOATS, a_scalar(f), 0, 0, NULL);
    MAYBE give(f, &a->normalizer, FLOATS, a_scalar(f), 0, SHAPE(1));
    MAYBE give(f, &a->loss, OUTPUT, a_scalar(f), 0, 0, NULL);
    MAYBE give(f, &a->weight_sum, OUTPUT, a_scalar(f), 0, 0, NULL);
    MAYBE give(f, &a->flags, OUTPUT, dtype_i32, 0, 0, NULL);
}
