/*
 * operations.h: one ready call of every operation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_OPERATIONS_H
#define TEST_OPERATIONS_H

#include "support/tensors.h"

enum { OPERATION_TENSORS = 12 };

/*
 * Tests that do the same to every operation (make its allocations fail, call it in a forked child, hand it an older
 * struct) take them from here.  An operation added to the library is added to the table in operations.c.
 */
typedef struct operation {
    const char *name;    /* as in messages: "droppos_loss"  */
    const char *variant; /* which of several calls of it    */
    size_t args_size;
    const void *init; /* what the init macro makes */
    union {
        size_t struct_size;
        poslabel_absolute_labels_args absolute_labels;
        poslabel_relative_labels_args relative_labels;
        poslabel_smoothing_map_args smoothing_map;
        poslabel_random_mask_args random_mask;
        poslabel_regular_mask_args regular_mask;
        poslabel_block_mask_args block_mask;
        poslabel_droppos_masks_args droppos_masks;
        poslabel_assemble_tokens_args assemble_tokens;
        poslabel_assemble_tokens_backward_args assemble_tokens_backward;
        poslabel_attentive_weights_args attentive_weights;
        poslabel_position_cross_entropy_args position_cross_entropy;
        poslabel_linear_position_loss_args linear_position_loss;
        poslabel_droppos_loss_args droppos_loss;
        poslabel_scale_gradient_args scale_gradient;
        poslabel_sigma_schedule_args sigma_schedule;
    } args;
    poslabel_status (*call)(poslabel_context *context, const void *args);
    tensor *inputs[OPERATION_TENSORS], *outputs[OPERATION_TENSORS]; /* the given ones, then NULL */
    double number;                                                  /* where sigma_schedule writes */
} operation;

/* How many calls there are. */
int operation_count(void);

/*
 * Makes call `number` with random inputs; with `many` images or rows about that many, so that a large number puts every
 * thread to work.  The struct must stay where it is until operation_free().
 */
void operation_new(operation *op, int number, int64_t many);
void operation_free(operation *op);

poslabel_status operation_call(poslabel_context *context, const operation *op);

/* Brings in-place inputs back and fills the outputs with the canary. */
void operation_reset(operation *op);

/* Whether no output was written since the reset. */
bool operation_is_untouched(const operation *op);

/* All outputs one after the other, for comparisons; to be freed with free(). */
unsigned char *operation_outputs(const operation *op, size_t *size);

#endif
