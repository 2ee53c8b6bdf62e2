/*
 * Arguments of the losses that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

CALL(position_cross_entropy)
CALL(droppos_loss)
CALL(linear_position_loss)

void make_losses(fuzz *f, int which)
{
    const poslabel_grid grid =
        which == 2 ? (poslabel_grid){1 + (int32_t)draw(f, 2), 1 + (int32_t)draw(f, 3)} : a_grid(f);
    const int64_t n = (int64_t)grid.height * grid.width, b = (int64_t)draw(f, 3);
    const int64_t rows = which == 1 ? n : which == 2 ? n * n : 1 + (int64_t)draw(f, 70 / (uint64_t)n + 1);
    const int64_t c = which == 2 ? (2 * (int64_t)grid.height - 1) * (2 * grid.width - 1) : n;
    const poslabel_dtype dtype = a_float(f);
    const int reduction = (int)draw(f, 3);
#define LOSS_TENSORS                                                                                                   \
    a->reduction = reduction;                                                                                          \
    a->grad_scale = (double)draw(f, 4) - 1;                                                                            \
    give(f, &a->logits, FLOATS, dtype, 0, SHAPE(b, rows, c));                                                          \
    if (which == 0 || which == 3)                                                                                      \
        give(f, &a->positions, IDS, an_id(f), c, SHAPE(b, rows));                                                      \
    MAYBE give(f, &a->mask, MASK, a_mask(f), 0, SHAPE(b, rows));                                                       \
    MAYBE give(f, &a->weights, WEIGHTS, a_float(f), 0, SHAPE(b, rows));                                                \
    MAYBE give(f, &a->grad_loss, FLOATS, a_scalar(f), 0, 0, NULL);                                                     \
    MAYBE give(f, &a->normalizer, FLOATS, a_scalar(f), 0, SHAPE(1));                                                   \
    MAYBE give(f, &a->loss, OUTPUT, a_scalar(f), 0, reduction == POSLABEL_REDUCTION_NONE ? 2 : 0,                      \
               (int64_t[]){b, rows});                                                                                  \
    if (one_in(f, 4))                                                                                                  \
        a->grad_logits = a->logits;                                                                                    \
    else                                                                                                               \
        MAYBE give(f, &a->grad_logits, OUTPUT, dtype, 0, SHAPE(b, rows, c));                                           \
    MAYBE give(f, &a->accuracy, OUTPUT, a_scalar(f), 0, 0, NULL);                                                      \
    MAYBE give(f, &a->weight_sum, OUTPUT, a_scalar(f), 0, 0, NULL);                                                    \
    MAYBE give(f, &a->flags, OUTPUT, dtype_i32, 0, 0, NULL);                                                           \
    if (a->grad_logits == a->logits && a->logits && f->count < MOST) { /* an output, too */                            \
        f->slots[f->count] = f->slots[0];                                                                              \
        slot *const same = &f->slots[f->count++];                                                                      \
        same->t.shape = same->shape;                                                                                   \
        same->t.strides = same->strides;                                                                               \
        same->role = OUTPUT;                                                                                           \
        same->at = &a->grad_logits;                                                                                    \
        a->grad_logits = &same->t;                                                                                     \
    }
    if (which == 3) {
        START(droppos_loss, POSLABEL_DROPPOS_LOSS_ARGS_INIT);
        a->grid = grid;
        a->sigma = (double)draw(f, 4) / 2;
        a->normalization = (int32_t)draw(f, 2);
        a->confidence_filter = (int32_t)draw(f, 2);
        LOSS_TENSORS
    } else {
        START(position_cross_entropy, POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT);
        a->grid = grid;
        a->labels = which == 0   ? POSLABEL_LABELS_EXPLICIT
                    : which == 1 ? POSLABEL_LABELS_ABSOLUTE
                                 : POSLABEL_LABELS_RELATIVE;
        a->label_smoothing = (double)draw(f, 3) / 4;
        LOSS_TENSORS
    }
}

void make_linear(fuzz *f)
{
    START(linear_position_loss, POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT);
    const int labels = (int)draw(f, 3);
    const poslabel_grid grid = {1 + (int32_t)draw(f, 2), 1 + (int32_t)draw(f, 3)};
    const int64_t n = (int64_t)grid.height * grid.width, b = (int64_t)draw(f, 3), d = 1 + (int64_t)draw(f, 9);
    const int64_t rows = labels == POSLABEL_LABELS_ABSOLUTE   ? n
                         : labels == POSLABEL_LABELS_RELATIVE ? n * n
                                                              : 1 + (int64_t)draw(f, 20);
    const int64_t c = labels == POSLABEL_LABELS_RELATIVE ? (2 * (int64_t)grid.height - 1) * (2 * grid.width - 1) : n;
    const poslabel_dtype dtype = a_float(f);
    const poslabel_dtype parameters = dtype_is(dtype, dtype_f64) || draw(f, 2) ? dtype : dtype_f32;
    a->grid = grid;
    a->labels = labels;
    a->label_smoothing = (double)draw(f, 3) / 4;
    a->reduction = (int32_t)draw(f, 3);
    a->grad_scale = (double)draw(f, 4) - 1;
    a->accumulate = (int32_t)draw(f, 2);
    a->workspace_limit = one_in(f, 2) ? draw(f, 8192) : 0;
    give(f, &a->features, FLOATS, dtype, 0, SHAPE(b, rows, d));
    give(f, &a->weight, FLOATS, dtype, 0, SHAPE(c, d));
    MAYBE give(f, &a->bias, FLOATS, parameters, 0, SHAPE(c));
    if (labels == POSLABEL_LABELS_EXPLICIT)
        give(f, &a->positions, IDS, an_id(f), c, SHAPE(b, rows));
    MAYBE give(f, &a->mask, MASK, a_mask(f), 0, SHAPE(b, rows));
    MAYBE give(f, &a->weights, WEIGHTS, a_float(f), 0, SHAPE(b, rows));
    MAYBE give(f, &a->grad_loss, FLOATS, a_scalar(f), 0, 0, NULL);
    MAYBE give(f, &a->normalizer, FLOATS, a_scalar(f), 0, SHAPE(1));
    MAYBE give(f, &a->loss, OUTPUT, a_scalar(f), 0, a->reduction == POSLABEL_REDUCTION_NONE ? 2 : 0,
               (int64_t[]){b, rows});
    MAYBE give(f, &a->grad_features, OUTPUT, dtype, 0, SHAPE(b, rows, d));
    MAYBE give(f, &a->grad_weight, OUTPUT, parameters, 0, SHAPE(c, d));
    MAYBE give(f, &a->grad_bias, OUTPUT, parameters, 0, SHAPE(c));
    MAYBE give(f, &a->accuracy, OUTPUT, a_scalar(f), 0, 0, NULL);
    MAYBE give(f, &a->weight_sum, OUTPUT, a_scalar(f), 0, 0, NULL);
    MAYBE give(f, &a->flags, OUTPUT, dtype_i32, 0, 0, NULL);
}
