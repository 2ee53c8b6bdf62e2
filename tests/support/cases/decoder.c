/*
 * Calls of the tokens of MAE's decoder, in both directions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

/* A permutation in every other image; in the others visible tokens have no place, or two. */
static const poslabel_tensor *add_restore(operation *op, int64_t many)
{
    tensor *const ids = tensor_new(dtype_i64, SHAPE(many, N));
    for (int64_t i = 0; i < ids->count; i++)
        tensor_set(ids, i, (double)(i * (i / N % 2 ? 4 : 5) % N));
    return add_input(op, ids);
}

static void forward(operation *op, poslabel_decoder_tokens_args *args, int64_t many)
{
    args->x = add_floats(op, 1, SHAPE(many, 1 + V, D));
    args->prefix_count = 1;
    args->ids_restore = add_restore(op, many);
    args->mask_token = add_floats(op, 2, SHAPE(D));
    args->pos_embed = add_floats(op, 3, SHAPE(1 + N, D));
    args->out = add_output(op, dtype_f32, SHAPE(many, 1 + N, D));
}

static void zeros(operation *op, poslabel_decoder_tokens_args *args, int64_t many)
{
    forward(op, args, many);
    args->mask_token = NULL;
}
CASES(decoder_tokens, {"", forward}, {"without a mask token", zeros});

static void backward(operation *op, poslabel_decoder_tokens_backward_args *args, int64_t many)
{
    args->grad_out = add_floats(op, 1, SHAPE(many, 1 + N, D));
    args->prefix_count = 1;
    args->ids_restore = add_restore(op, many);
    args->grad_x = add_output(op, dtype_f32, SHAPE(many, 1 + V, D));
    args->grad_mask_token = add_output(op, dtype_f32, SHAPE(D));
    args->grad_pos_embed = add_output(op, dtype_f32, SHAPE(1 + N, D));
}
CASES(decoder_tokens_backward, {"", backward});
