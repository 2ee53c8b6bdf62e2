/*
 * linear.h: the linear head with its loss, and its definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_LINEAR_H
#define TEST_LINEAR_H

#include "support/losses.h"

/*
 * The arguments of a call.  `loss` has all of them but the tensors of the head; its float64 logits and their gradient
 * are the definition's.
 */
typedef struct head {
    loss_case loss;
    int64_t channels;
    int accumulate;
    uint64_t limit;
    tensor *features, *weight, *bias, *grad_features, *grad_weight, *grad_bias;
} head;

/* The bias and the gradients of weight and bias have the dtype `parameters`; all outputs are given. */
head head_new(loss_kind kind, poslabel_grid grid, poslabel_dtype dtype, poslabel_dtype parameters, int rank,
              const int64_t *leading, int64_t channels, layout how, int reduction, uint64_t seed);
void head_free(head *h);

/* The arguments, for a test to change. */
poslabel_linear_position_loss_args head_args(const head *h);

poslabel_status head_call(poslabel_context *context, const head *h);

/* The smallest workspace_limit of a call, from the message that refuses a smaller one. */
uint64_t head_least_limit(poslabel_context *context, head *h);

/* Combinations of arguments that between them have everything. */
typedef struct head_variant {
    loss_kind kind;
    int reduction;
    bool mask, weights, grad_loss, row_grad_loss, normalizer, ignored, no_bias;
    double smoothing, grad_scale;
} head_variant;

enum { HEAD_VARIANTS = 11 };
extern const head_variant head_variants[HEAD_VARIANTS];

/* 72 rows: 12 images of 6 absolute positions, 2 of 36 pairs. */
head head_of_variant(const head_variant *v, poslabel_dtype dtype, poslabel_dtype parameters, layout how, uint64_t seed);

/* The outputs are loss, grad_features, grad_weight, grad_bias, accuracy, weight_sum and flags, in this order. */
enum { HEAD_OUTPUTS = 7 };

/* Fills all outputs with the canary; whether they still hold it. */
void head_forget_outputs(const head *h);
bool head_outputs_untouched(const head *h);

/* Copies of all outputs, to be freed. */
void head_copy_outputs(const head *h, tensor *copies[HEAD_OUTPUTS]);
void head_free_copies(tensor *copies[HEAD_OUTPUTS]);

/* That the outputs which are given hold the same bits as the copies. */
#define expect_same_outputs(h, want) expect_same_outputs_at(__FILE__, __LINE__, (h), (want))
void expect_same_outputs_at(const char *file, int line, const head *h, tensor *const want[HEAD_OUTPUTS]);

/* What the header defines; rows of weight 0 are not looked at. */
typedef struct head_answer {
    loss_answer loss;
    double *grad_features, *grad_weight, *grad_bias;
} head_answer;

/* Also makes the logits of h->loss. */
head_answer head_solve(head *h);
void head_answer_free(head_answer *a);

/*
 * That the outputs are the answer, with errors of float32 sums, or float64, and one rounding to the dtype of the
 * output; gradients of features are exactly zero in rows of weight 0.
 */
#define expect_head(h, answer) expect_head_at(__FILE__, __LINE__, (h), (answer))
void expect_head_at(const char *file, int line, const head *h, const head_answer *a);

#endif
