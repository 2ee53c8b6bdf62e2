/*
 * Calls of the losses of logits, and what belongs to them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

static void explicit_labels(operation *op, poslabel_position_cross_entropy_args *args, int64_t many)
{
    args->labels = POSLABEL_LABELS_EXPLICIT;
    args->label_smoothing = 0.1;
    args->reduction = POSLABEL_REDUCTION_NONE;
    args->logits = add_floats(op, 1, SHAPE(many, N));
    args->positions = add_ids(op, N, 2, SHAPE(many));
    args->loss = add_output(op, dtype_f32, SHAPE(many));
    args->grad_logits = add_output(op, dtype_f32, SHAPE(many, N));
    args->flags = add_output(op, dtype_i32, 0, NULL);
}

static void absolute_labels(operation *op, poslabel_position_cross_entropy_args *args, int64_t many)
{
    args->grid = case_grid;
    args->logits = add_floats(op, 1, SHAPE(many / 10 + 1, N, N));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_logits = add_output(op, dtype_f32, SHAPE(many / 10 + 1, N, N));
    args->weight_sum = add_output(op, dtype_f64, 0, NULL);
}

static void relative_labels(operation *op, poslabel_position_cross_entropy_args *args, int64_t many)
{
    args->grid = (poslabel_grid){2, 3};
    args->labels = POSLABEL_LABELS_RELATIVE;
    args->logits = add_floats(op, 1, SHAPE(many, 6, 6, 15));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_logits = add_output(op, dtype_f32, SHAPE(many, 6, 6, 15));
}
CASES(position_cross_entropy, {"explicit", explicit_labels}, {"absolute", absolute_labels},
      {"relative", relative_labels});

static void droppos(operation *op, poslabel_droppos_loss_args *args, int64_t many)
{
    args->grid = case_grid;
    args->sigma = 1;
    args->logits = add_floats(op, 1, SHAPE(many, V, N));
    args->positions = add_ids(op, N, 2, SHAPE(many, V));
    args->mask = add_ids(op, 2, 3, SHAPE(many, V));
    args->loss = add_output(op, dtype_f64, 0, NULL);
    args->grad_logits = add_output(op, dtype_f32, SHAPE(many, V, N));
    args->accuracy = add_output(op, dtype_f64, 0, NULL);
    args->weight_sum = add_output(op, dtype_f64, 0, NULL);
    args->flags = add_output(op, dtype_i32, 0, NULL);
}

static void droppos_filtered(operation *op, poslabel_droppos_loss_args *args, int64_t many)
{
    droppos(op, args, many);
    args->confidence_filter = 1;
}

static void droppos_with_a_scalar(operation *op, poslabel_droppos_loss_args *args, int64_t many)
{
    droppos(op, args, many);
    args->sigma_scalar = add_input(op, tensor_scalar(dtype_f32, 1.5));
}
CASES(droppos_loss, {"", droppos}, {"filter", droppos_filtered}, {"sigma scalar", droppos_with_a_scalar});

static void scale(operation *op, poslabel_scale_gradient_args *args, int64_t many)
{
    args->scale = add_input(op, tensor_scalar(dtype_f32, 0.3));
    args->grad = add_output(op, dtype_f32, SHAPE(many, V, N));
}
CASES(scale_gradient, {"", scale});

static void schedule(operation *op, poslabel_sigma_schedule_args *args, int64_t many)
{
    (void)many;
    args->sigma_0 = 2;
    args->epoch = 30;
    args->epochs = 100;
    args->sigma = &op->number;
}
CASES(sigma_schedule, {"", schedule});
