/*
 * losses.h: one description for all losses, and their definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_LOSSES_H
#define TEST_LOSSES_H

#include "support/tensors.h"

typedef enum loss_kind {
    LOSS_ABSOLUTE, /* poslabel_position_cross_entropy() with its three kinds of labels */
    LOSS_RELATIVE,
    LOSS_EXPLICIT,
    LOSS_DROPPOS /* poslabel_droppos_loss() */
} loss_kind;

enum { LOSS_KINDS = 4 };
extern const char *const loss_kind_names[LOSS_KINDS];

/* The arguments of both operations; tensors that are NULL are not given. */
typedef struct loss_case {
    loss_kind kind;
    poslabel_grid grid; /* with explicit labels it only gives the number of classes, height * width */
    int reduction, normalization, confidence_filter;
    int64_t ignore_index;
    double label_smoothing, sigma, grad_scale;
    tensor *logits, *positions, *mask, *weights, *grad_loss, *normalizer;
    tensor *sigma_scalar; /* in place of sigma, which the answer goes by */
    tensor *loss, *grad, *accuracy, *weight_sum, *flags; /* grad may be logits */
} loss_case;

/* The rows and classes of a case. */
int64_t loss_rows(const loss_case *c);
int64_t loss_classes(const loss_case *c);

/*
 * A case with normal logits and random positions of `leading` rows, and all outputs but the filter's: float64 scalars
 * (row losses with reduction none) and a gradient laid out like the logits.  Reduction none: a loss for each row.
 */
loss_case loss_case_new(loss_kind kind, poslabel_grid grid, poslabel_dtype dtype, int rank, const int64_t *leading,
                        layout how, int reduction, uint64_t seed);
void loss_case_free(loss_case *c);

/* Adds a random mask, or random weights in [0, 2) of which some are 0. */
void loss_case_add_mask(loss_case *c, poslabel_dtype dtype, uint64_t seed);
void loss_case_add_weights(loss_case *c, poslabel_dtype dtype, uint64_t seed);

/* An integer grid of `classes` patches, as square as it can be. */
poslabel_grid grid_of(int64_t classes);

/* Fills all outputs with the canary, so that what is not written can be told. */
void loss_case_forget_outputs(loss_case *c);
bool loss_case_outputs_untouched(const loss_case *c);

/* The args of a case, for tests that then change them. */
poslabel_droppos_loss_args droppos_args(const loss_case *c);
poslabel_position_cross_entropy_args position_args(const loss_case *c);

poslabel_status loss_call(poslabel_context *context, const loss_case *c);

/*
 * What the headers define, in long double and as plainly as possible: the answer that every level is held against.
 */
typedef struct loss_answer {
    int64_t rows, classes;
    double *row_weight; /* after mask, ignore_index, weights and the filter */
    double *row_loss;   /* weighted: the output of reduction none           */
    double *grad;
    double loss, accuracy, weight_sum;
    int flags;
    double margin; /* with the filter: the smallest |p - t| of a row; a small one means that rounding decides */
} loss_answer;

loss_answer loss_solve(const loss_case *c);
void loss_answer_free(loss_answer *a);

/* The tolerance that poslabel/loss.h promises for logits of a dtype. */
double loss_tolerance(poslabel_dtype dtype);

/*
 * That the outputs of `c` are the answer: relative to the largest value within `tolerance`; a gradient in half
 * precision between the roundings of the ends of that interval; exactly zero in rows of weight 0.
 */
#define expect_answer(c, answer, tolerance) expect_answer_at(__FILE__, __LINE__, (c), (answer), (tolerance))
void expect_answer_at(const char *file, int line, const loss_case *c, const loss_answer *answer, double tolerance);

/* Calls, from outputs that hold nothing, and expects the answer within what the header promises. */
void expect_solved(poslabel_context *context, loss_case *c);

#endif
