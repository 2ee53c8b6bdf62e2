/*
 * Calls of the pairs of cells.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

enum { M = 20 };

static void random_pairs(operation *op, poslabel_cell_pairs_args *args, int64_t many)
{
    args->grid = case_grid;
    args->seed = 5;
    args->samples = add_ids(op, 1000000, 4, SHAPE(many));
    args->step_scalar = add_input(op, tensor_scalar(dtype_i64, 17));
    args->cells = add_output(op, dtype_i64, SHAPE(many, M, 2));
}

static void all_pairs(operation *op, poslabel_cell_pairs_args *args, int64_t many)
{
    args->grid = case_grid;
    args->kind = POSLABEL_PAIRS_ALL;
    args->first_sample = 3;
    args->cells = add_output(op, dtype_i32, SHAPE(many, N, 2));
}
CASES(cell_pairs, {"random", random_pairs}, {"all", all_pairs});

static void offsets(operation *op, poslabel_cell_offsets_args *args, int64_t many)
{
    args->grid = case_grid;
    args->normalized = 1;
    args->cells = add_ids(op, N, 1, SHAPE(many, M, 2));
    args->offsets = add_output(op, dtype_f32, SHAPE(many, M, 2));
}
CASES(cell_offsets, {"", offsets});
