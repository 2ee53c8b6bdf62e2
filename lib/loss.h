/*
 * Losses: what a backend is asked for, and the arguments that all losses read alike.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_LOSS_H
#define PLB_LOSS_H

#include "read.h"

#include <poslabel/loss.h>

/*
 * How the losses of rows become one loss, and how much of its gradient each row gets: what all losses of rows share.
 * The fields have the names of the arguments.
 */
typedef struct plb_reduction {
    int64_t rows;
    int kind;                             /* a poslabel_reduction                  */
    double grad_scale;
    plb_rows mask, weights;               /* one a row                             */
    plb_rows grad_loss;                   /* a scalar, or one a row                */
    plb_rows normalizer;                  /* a scalar                              */
    plb_rows loss;                        /* a scalar; one a row without reduction */
    plb_rows accuracy, weight_sum, flags; /* scalars                               */
} plb_reduction;

/* Which classes cross-entropy holds rows against: several kinds of target for one engine. */
typedef enum plb_target {
    PLB_TARGET_ABSOLUTE, /* label = r mod N                                              */
    PLB_TARGET_RELATIVE, /* label of pair r mod N^2                                      */
    PLB_TARGET_EXPLICIT, /* label = ids[r]                                               */
    PLB_TARGET_GAUSSIAN  /* a Gaussian around ids[r], for sigma > 0                      */
} plb_target;

typedef struct plb_targets {
    plb_target kind;
    int64_t classes;
    poslabel_grid grid;
    plb_rows ids; /* one a row */
    bool has_ignore_index;
    int64_t ignore_index;
    double label_smoothing;
    double sigma;
    plb_rows sigma_scalar; /* in place of sigma: the kind is then PLB_TARGET_GAUSSIAN, and sigma may be 0 */
    int normalization;
} plb_targets;

typedef struct plb_loss_job {
    plb_targets targets;
    plb_reduction reduction;
    plb_rows logits, grad_logits;
    bool in_place; /* grad_logits are the logits */
    bool confidence_filter;
} plb_loss_job;

typedef struct plb_scale_job {
    plb_rows grad;
    plb_rows scale; /* a scalar, or one a row */
} plb_scale_job;

/* Checks what the arguments of a reduction say that is no tensor, and fills it in. */
poslabel_status plb_check_reduction(const plb_call *call, int reduction, double grad_scale, plb_reduction *job);

/* Whether `tensor`, a scalar or one value a row, has one a row.  The rows are those of `rows`, which have `row_rank`. */
bool plb_is_per_row(const poslabel_tensor *tensor, const poslabel_tensor *rows, int row_rank);

/* The entries of a reduction in a table of arguments, after the argument `first` that has the rows: [..., C]. */
#define PLB_REDUCTION_ARGUMENTS(args, first, job)                                                                      \
    {"mask", (args).mask, &(job).mask, PLB_MASKS, PLB_IN, {PLB_DOTS}},                                                 \
        {"weights", (args).weights, &(job).weights, PLB_LOGITS, PLB_IN, {PLB_DOTS}},                                   \
        {"grad_loss", (args).grad_loss, &(job).grad_loss, PLB_SCALARS, PLB_IN,                                         \
         {PLB_NO_REDUCTION(job) && plb_is_per_row((args).grad_loss, first, 1) ? PLB_DOTS : 0}},                        \
        {"normalizer", (args).normalizer, &(job).normalizer, PLB_SCALARS, PLB_IN, {0}},                                \
        {"loss", (args).loss, &(job).loss, PLB_SCALARS, PLB_OUT, {PLB_NO_REDUCTION(job) ? PLB_DOTS : 0}},              \
        {"weight_sum", (args).weight_sum, &(job).weight_sum, PLB_SCALARS, PLB_OUT, {0}},                               \
    {                                                                                                                  \
        "flags", (args).flags, &(job).flags, PLB_FLAGS, PLB_OUT, {0}                                                   \
    }
#define PLB_NO_REDUCTION(job) ((job).kind == POSLABEL_REDUCTION_NONE)

/* The entry of a loss whose rows have a right class. */
#define PLB_ACCURACY_ARGUMENT(args, job)                                                                               \
    {                                                                                                                  \
        "accuracy", (args).accuracy, &(job).accuracy, PLB_SCALARS, PLB_OUT, {0}                                        \
    }

/*
 * A loss whose tensors have been read: checks that a row of logits has a class, and at most 2^31 - 1, and that there is
 * an output; fills in the number of rows.
 */
poslabel_status plb_settle_loss(const plb_call *call, const plb_rows *logits, const plb_rows *grad_logits,
                                plb_reduction *job);

/* The arguments that say which class a row should have been given; the fields have their names. */
typedef struct plb_position_labels {
    poslabel_grid grid;
    int32_t labels;
    const poslabel_tensor *positions;
    int64_t ignore_index;
    double label_smoothing;
} plb_position_labels;

#define PLB_POSITION_LABELS(args)                                                                                      \
    {                                                                                                                  \
        (args).grid, (args).labels, (args).positions, (args).ignore_index, (args).label_smoothing                      \
    }

/*
 * Checks them against the number of rows and targets->classes, and fills in the targets.  Messages about these numbers
 * begin with `rows_of` and `classes_of`: "logits have".
 */
poslabel_status plb_check_position_labels(const plb_call *call, const plb_position_labels *given, int64_t rows,
                                          const char *rows_of, const char *classes_of, plb_targets *targets);

#endif
