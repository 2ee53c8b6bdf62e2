/*
 * Arguments of the losses of logits, and of what belongs to them, that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

void fuzz_position_cross_entropy(fuzz *f, poslabel_position_cross_entropy_args *a)
{
    a->labels = (int32_t)draw(f, 3);
    a->label_smoothing = (double)draw(f, 3) / 4;
    const bool explicit = a->labels == POSLABEL_LABELS_EXPLICIT, relative = a->labels == POSLABEL_LABELS_RELATIVE;
    a->grid = relative ? a_small_grid(f) : a_grid(f);
    const int64_t n = grid_tokens(a->grid), b = draw_size(f, 0, 2);
    const int64_t rows = explicit ? draw_size(f, 1, 70 / n + 1) : relative ? n * n : n;
    const int64_t c = relative ? grid_offsets(a->grid) : n;
    GIVE_LOGITS(b, rows, c)
    if (explicit)
        give(f, &a->positions, IDS, an_id(f), c, SHAPE(b, rows));
    GIVE_REDUCTION(b, rows)
    MAYBE give(f, &a->accuracy, OUTPUT, a_scalar(f), 0, 0, NULL);
}

void fuzz_droppos_loss(fuzz *f, poslabel_droppos_loss_args *a)
{
    a->grid = a_grid(f);
    a->sigma = (double)draw(f, 4) / 2;
    a->normalization = (int32_t)draw(f, 2);
    a->confidence_filter = (int32_t)draw(f, 2);
    const int64_t c = grid_tokens(a->grid), b = draw_size(f, 0, 2), rows = draw_size(f, 1, 70 / c + 1);
    GIVE_LOGITS(b, rows, c)
    give(f, &a->positions, IDS, an_id(f), c, SHAPE(b, rows));
    if (one_in(f, 3))
        give(f, &a->sigma_scalar, WEIGHTS, a_scalar(f), 0, 0, NULL);
    GIVE_REDUCTION(b, rows)
    MAYBE give(f, &a->accuracy, OUTPUT, a_scalar(f), 0, 0, NULL);
}

void fuzz_scale_gradient(fuzz *f, poslabel_scale_gradient_args *a)
{
    const int64_t b = draw_size(f, 0, 3), v = draw_size(f, 1, 5), c = draw_size(f, 0, 39);
    give(f, &a->grad, OUTPUT, a_float(f), 0, SHAPE(b, v, c));
    if (draw(f, 2))
        give(f, &a->scale, FLOATS, a_scalar(f), 0, SHAPE(b, v));
    else
        give(f, &a->scale, FLOATS, a_scalar(f), 0, 0, NULL);
}

void fuzz_sigma_schedule(fuzz *f, poslabel_sigma_schedule_args *a)
{
    a->sigma_0 = (double)draw(f, 8) / 2;
    a->epochs = (double)draw(f, 20);
    a->epoch = (double)draw(f, 25);
    a->sigma = &f->number;
    f->kept = &a->sigma;
}
