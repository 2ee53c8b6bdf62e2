/*
 * Calls of the losses of heads with a hidden layer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

enum { HIDDEN = 20, MIDDLE = 12, HEIGHT = 4, WIDTH = 2, TOKENS = 8, OFFSETS = 21 };

static void rows(operation *op, poslabel_mlp_position_loss_args *args, int64_t many)
{
    args->labels = POSLABEL_LABELS_EXPLICIT;
    args->features = add_floats(op, 1, SHAPE(many, D));
    args->hidden_weight = add_floats(op, 2, SHAPE(HIDDEN, D));
    args->hidden_bias = add_floats(op, 3, SHAPE(HIDDEN));
    args->middle_weight = add_floats(op, 4, SHAPE(MIDDLE, HIDDEN));
    args->middle_bias = add_floats(op, 5, SHAPE(MIDDLE));
    args->weight = add_floats(op, 6, SHAPE(N, MIDDLE));
    args->bias = add_floats(op, 7, SHAPE(N));
    args->positions = add_ids(op, N, 8, SHAPE(many));
    args->mask = add_ids(op, 2, 9, SHAPE(many));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_features = add_output(op, dtype_f32, SHAPE(many, D));
    args->grad_hidden_weight = add_output(op, dtype_f32, SHAPE(HIDDEN, D));
    args->grad_hidden_bias = add_output(op, dtype_f32, SHAPE(HIDDEN));
    args->grad_middle_weight = add_output(op, dtype_f32, SHAPE(MIDDLE, HIDDEN));
    args->grad_middle_bias = add_output(op, dtype_f32, SHAPE(MIDDLE));
    args->grad_weight = add_output(op, dtype_f32, SHAPE(N, MIDDLE));
    args->grad_bias = add_output(op, dtype_f32, SHAPE(N));
    args->accuracy = add_output(op, dtype_f32, 0, NULL);
}
CASES(mlp_position_loss, {"", rows});

static void pairs(operation *op, poslabel_pair_position_loss_args *args, int64_t many)
{
    args->grid = (poslabel_grid){HEIGHT, WIDTH};
    args->queries = add_floats(op, 1, SHAPE(many, TOKENS, D));
    args->keys = add_floats(op, 2, SHAPE(many, TOKENS, V));
    args->hidden_weight = add_floats(op, 3, SHAPE(HIDDEN, D + V));
    args->weight = add_floats(op, 4, SHAPE(OFFSETS, HIDDEN));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_queries = add_output(op, dtype_f32, SHAPE(many, TOKENS, D));
    args->grad_keys = add_output(op, dtype_f32, SHAPE(many, TOKENS, V));
    args->grad_hidden_weight = add_output(op, dtype_f32, SHAPE(HIDDEN, D + V));
    args->grad_weight = add_output(op, dtype_f32, SHAPE(OFFSETS, HIDDEN));
    args->weight_sum = add_output(op, dtype_f64, 0, NULL);
    args->flags = add_output(op, dtype_i32, 0, NULL);
}
CASES(pair_position_loss, {"", pairs});
