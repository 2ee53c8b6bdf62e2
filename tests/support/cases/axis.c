/*
 * Calls of the per-axis losses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

static void stacked(operation *op, poslabel_axis_loss_args *args, int64_t many)
{
    args->kind = POSLABEL_AXIS_LOSS_CYCLE_BACK;
    args->logits = add_floats(op, 1, SHAPE(many, V, 2));
    args->targets = add_ids(op, V, 2, SHAPE(many, 2));
    args->mask = add_ids(op, 2, 3, SHAPE(many));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_logits = add_output(op, dtype_f32, SHAPE(many, V, 2));
    args->weight_sum = add_output(op, dtype_f64, 0, NULL);
    args->flags = add_output(op, dtype_i32, 0, NULL);
}

static void pair(operation *op, poslabel_axis_loss_args *args, int64_t many)
{
    args->reduction = POSLABEL_REDUCTION_NONE;
    args->logits_y = add_floats(op, 1, SHAPE(many, V));
    args->logits_x = add_floats(op, 2, SHAPE(many, D));
    args->targets = add_ids(op, V, 3, SHAPE(many, 2));
    args->loss = add_output(op, dtype_f32, SHAPE(many));
    args->grad_logits_y = add_output(op, dtype_f32, SHAPE(many, V));
    args->grad_logits_x = add_output(op, dtype_f32, SHAPE(many, D));
}
CASES(axis_loss, {"stacked", stacked}, {"pair", pair});
