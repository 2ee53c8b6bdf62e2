/*
 * Calls of the labels and of the smoothing map.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

static void absolute(operation *op, poslabel_absolute_labels_args *args, int64_t many)
{
    args->grid = case_grid;
    args->labels = add_output(op, dtype_i64, SHAPE(many, N));
}
CASES(absolute_labels, {"", absolute});

static void relative(operation *op, poslabel_relative_labels_args *args, int64_t many)
{
    args->grid = case_grid;
    args->labels = add_output(op, dtype_i32, SHAPE(many / 10 + 1, N, N));
}
CASES(relative_labels, {"", relative});

static void smoothing(operation *op, poslabel_smoothing_map_args *args, int64_t many)
{
    args->grid = many > 100 ? (poslabel_grid){15, 20} : case_grid;
    const int64_t n = (int64_t)args->grid.height * args->grid.width;
    args->sigma = 1.5;
    args->map = add_output(op, dtype_f32, SHAPE(n, n));
}

static void smoothing_with_a_scalar(operation *op, poslabel_smoothing_map_args *args, int64_t many)
{
    smoothing(op, args, many);
    args->sigma_scalar = add_input(op, tensor_scalar(dtype_f64, 0.8));
}
CASES(smoothing_map, {"", smoothing}, {"sigma scalar", smoothing_with_a_scalar});
