/*
 * Calls of the masks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

static void random_seeded(operation *op, poslabel_random_mask_args *args, int64_t many)
{
    args->tokens = N;
    args->seed = 5;
    args->ids_keep = add_output(op, dtype_i64, SHAPE(many, V));
    args->ids_remove = add_output(op, dtype_i32, SHAPE(many, N - V));
    args->ids_restore = add_output(op, dtype_i64, SHAPE(many, N));
    args->mask = add_output(op, dtype_bool, SHAPE(many, N));
}

static void random_noisy(operation *op, poslabel_random_mask_args *args, int64_t many)
{
    random_seeded(op, args, many);
    args->noise = add_floats(op, 1, SHAPE(many, N));
}
CASES(random_mask, {"", random_seeded}, {"noise", random_noisy});

static void regular(operation *op, poslabel_regular_mask_args *args, int64_t many)
{
    args->grid = case_grid;
    args->ids_keep = add_output(op, dtype_i64, SHAPE(many, 12));
    args->mask = add_output(op, dtype_f32, SHAPE(many, N));
}
CASES(regular_mask, {"", regular});

static void block(operation *op, poslabel_block_mask_args *args, int64_t many)
{
    args->grid = case_grid;
    args->ids_restore = add_output(op, dtype_i64, SHAPE(many, N));
    args->mask = add_output(op, dtype_u8, SHAPE(many, N));
}
CASES(block_mask, {"", block});

static void droppos_seeded(operation *op, poslabel_droppos_masks_args *args, int64_t many)
{
    args->grid = case_grid;
    args->wrong_positions = 1;
    args->ids_keep = add_output(op, dtype_i64, SHAPE(many, V));
    args->ids_restore = add_output(op, dtype_i64, SHAPE(many, N));
    args->ids_keep_pos = add_output(op, dtype_i64, SHAPE(many, 2));
    args->mask_pos = add_output(op, dtype_bool, SHAPE(many, V));
    args->positions = add_output(op, dtype_i64, SHAPE(many, V));
    args->places = add_output(op, dtype_i32, SHAPE(many, V));
}

static void droppos_noisy(operation *op, poslabel_droppos_masks_args *args, int64_t many)
{
    droppos_seeded(op, args, many);
    args->patch_noise = add_floats(op, 1, SHAPE(many, N));
    args->pos_noise = add_floats(op, 2, SHAPE(many, V));
    args->shuffle_noise = add_floats(op, 3, SHAPE(many, V));
}

static void droppos_keyed(operation *op, poslabel_droppos_masks_args *args, int64_t many)
{
    droppos_seeded(op, args, many);
    args->samples = add_ids(op, 1000000, 4, SHAPE(many));
    args->step_scalar = add_input(op, tensor_scalar(dtype_i64, 17));
}
CASES(droppos_masks, {"", droppos_seeded}, {"noise", droppos_noisy}, {"samples and step", droppos_keyed});
