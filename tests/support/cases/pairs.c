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

static void features(operation *op, poslabel_pair_features_args *args, int64_t many)
{
    args->features = add_floats(op, 1, SHAPE(many, N, D));
    args->cells = add_ids(op, N, 2, SHAPE(many, M, 2));
    args->pairs = add_output(op, dtype_f32, SHAPE(many, M, 2 * D));
}

/* [B, D, N] seen as [B, N, D]. */
static void features_of_maps(operation *op, poslabel_pair_features_args *args, int64_t many)
{
    tensor *const maps = tensor_laid_out(dtype_f32, SHAPE(many, N, D), (layout){.columns = true});
    tensor_fill_normal(maps, 1, 2);
    args->features = add_input(op, maps);
    args->cells = add_ids(op, N, 2, SHAPE(many, M, 2));
    args->pairs = add_output(op, dtype_f32, SHAPE(many, M, 2 * D));
}
CASES(pair_features, {"", features}, {"maps", features_of_maps});

static void features_backward(operation *op, poslabel_pair_features_backward_args *args, int64_t many)
{
    args->grad_pairs = add_floats(op, 1, SHAPE(many, M, 2 * D));
    args->cells = add_ids(op, N, 2, SHAPE(many, M, 2));
    args->grad_features = add_output(op, dtype_f32, SHAPE(many, N, D));
}
CASES(pair_features_backward, {"", features_backward});
