/*
 * Calls of the regression of small vectors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

/* Offsets, and what else a reduction can be given. */
static void offsets(operation *op, poslabel_regression_loss_args *args, int64_t many)
{
    args->predictions = add_floats(op, 1, SHAPE(many, V, 2));
    args->targets = add_floats(op, 2, SHAPE(many, V, 2));
    args->mask = add_ids(op, 2, 3, SHAPE(many, V));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_predictions = add_output(op, dtype_f32, SHAPE(many, V, 2));
    args->weight_sum = add_output(op, dtype_f64, 0, NULL);
    args->flags = add_output(op, dtype_i32, 0, NULL);
}

static void squares(operation *op, poslabel_regression_loss_args *args, int64_t many)
{
    args->kind = POSLABEL_REGRESSION_MSE;
    args->reduction = POSLABEL_REDUCTION_NONE;
    args->predictions = add_floats(op, 1, SHAPE(many, N));
    args->targets = add_floats(op, 2, SHAPE(many, N));
    args->loss = add_output(op, dtype_f64, SHAPE(many));
    args->grad_predictions = add_output(op, dtype_f32, SHAPE(many, N));
}

static void smooth(operation *op, poslabel_regression_loss_args *args, int64_t many)
{
    args->kind = POSLABEL_REGRESSION_SMOOTH_L1;
    args->predictions = add_floats(op, 1, SHAPE(10 * many, 3));
    args->targets = add_floats(op, 2, SHAPE(10 * many, 3));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_predictions = add_output(op, dtype_f32, SHAPE(10 * many, 3));
}
CASES(regression_loss, {"", offsets}, {"squares", squares}, {"smooth", smooth});
