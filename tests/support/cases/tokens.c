/*
 * Calls of the tokens of an encoder, in both directions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

static void forward(operation *op, poslabel_assemble_tokens_args *args, int64_t many)
{
    args->tokens = add_floats(op, 1, SHAPE(many, N, D));
    args->ids_keep = add_ids(op, N, 2, SHAPE(many, V));
    args->mask_pos = add_ids(op, 2, 3, SHAPE(many, V));
    args->prefix_tokens = add_floats(op, 4, SHAPE(1, D));
    args->pos_embed = add_floats(op, 5, SHAPE(1 + N, D));
    args->mask_token = add_floats(op, 6, SHAPE(D));
    tensor *const places = tensor_new(dtype_i64, SHAPE(many, V));
    for (int64_t i = 0; i < places->count; i++)
        tensor_set(places, i, (double)((i * 3 + 1) % V));
    args->places = add_input(op, places);
    args->x = add_output(op, dtype_f32, SHAPE(many, 1 + V, D));
}
CASES(assemble_tokens, {"", forward});

static void backward(operation *op, poslabel_assemble_tokens_backward_args *args, int64_t many)
{
    args->grad_x = add_floats(op, 1, SHAPE(many, 1 + V, D));
    args->tokens_per_image = N;
    args->prefix_count = 1;
    args->ids_keep = add_ids(op, N, 2, SHAPE(many, V));
    args->mask_pos = add_ids(op, 2, 3, SHAPE(many, V));
    args->grad_tokens = add_output(op, dtype_f32, SHAPE(many, N, D));
    args->grad_mask_token = add_output(op, dtype_f32, SHAPE(D));
    args->grad_prefix_tokens = add_output(op, dtype_f32, SHAPE(1, D));
    args->grad_pos_embed = add_output(op, dtype_f32, SHAPE(1 + N, D));
}
CASES(assemble_tokens_backward, {"", backward});
