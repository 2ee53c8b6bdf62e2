/*
 * Calls of the attentive weights.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cases/cases.h"

static void weights(operation *op, poslabel_attentive_weights_args *args, int64_t many)
{
    args->tokens = add_floats(op, 1, SHAPE(many, N, D));
    args->cls = add_floats(op, 2, SHAPE(many, D));
    args->pos_embed = add_floats(op, 3, SHAPE(1 + N, D));
    args->ids_keep = add_ids(op, N, 4, SHAPE(many, V));
    args->attention = add_output(op, dtype_f32, SHAPE(many, N));
    args->weights = add_output(op, dtype_f64, SHAPE(many, V));
}
CASES(attentive_weights, {"", weights});
