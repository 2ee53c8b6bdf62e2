/*
 * Calls of the loss of a linear head.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

static void explicit_labels(operation *op, poslabel_linear_position_loss_args *args, int64_t many)
{
    args->labels = POSLABEL_LABELS_EXPLICIT;
    args->workspace_limit = 100000;
    args->features = add_floats(op, 1, SHAPE(many, D));
    args->weight = add_floats(op, 2, SHAPE(N, D));
    args->bias = add_floats(op, 3, SHAPE(N));
    args->positions = add_ids(op, N, 4, SHAPE(many));
    args->mask = add_ids(op, 2, 5, SHAPE(many));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_features = add_output(op, dtype_f32, SHAPE(many, D));
    args->grad_weight = add_output(op, dtype_f32, SHAPE(N, D));
    args->grad_bias = add_output(op, dtype_f32, SHAPE(N));
    args->accuracy = add_output(op, dtype_f32, 0, NULL);
    args->weight_sum = add_output(op, dtype_f64, 0, NULL);
    args->flags = add_output(op, dtype_i32, 0, NULL);
}

static void absolute_labels(operation *op, poslabel_linear_position_loss_args *args, int64_t many)
{
    args->grid = case_grid;
    args->features = add_floats(op, 1, SHAPE(many, N, D));
    args->weight = add_floats(op, 2, SHAPE(N, D));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_features = add_output(op, dtype_f32, SHAPE(many, N, D));
    args->grad_weight = add_output(op, dtype_f32, SHAPE(N, D));
}
CASES(linear_position_loss, {"explicit", explicit_labels}, {"absolute", absolute_labels});
