/*
 * Losses: what a backend is asked for, and the arguments that all losses read alike.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_LOSS_H
#define PLB_LOSS_H

#include "tensor.h"

#include <poslabel/loss.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One engine, several kinds of target. */
typedef enum plb_target {
    PLB_TARGET_ABSOLUTE, /* label = r mod N                                              */
    PLB_TARGET_RELATIVE, /* label of pair r mod N^2                                      */
    PLB_TARGET_EXPLICIT, /* label = ids[r]                                               */
    PLB_TARGET_GAUSSIAN  /* a Gaussian around ids[r], for sigma > 0                      */
} plb_target;

typedef struct plb_loss_job {
    plb_target target;
    poslabel_grid grid;
    int64_t rows, classes;
    plb_shape row_shape;      /* the leading shape of the logits, for messages */
    plb_rows logits, grad_logits;
    bool in_place;            /* grad_logits are the logits */
    plb_rows ids;             /* one a row */
    bool has_ignore_index;
    int64_t ignore_index;
    plb_rows mask, weights;   /* one a row */
    double label_smoothing;
    double sigma;
    int normalization;
    bool confidence_filter;
    int reduction;            /* a poslabel_reduction */
    double grad_scale;
    plb_rows grad_loss;       /* a scalar, or one a row */
    plb_rows normalizer;      /* scalars from here on, but loss with reduction none */
    plb_rows loss, accuracy, weight_sum, flags;
} plb_loss_job;

typedef struct plb_scale_job {
    plb_rows grad;
    plb_rows scale; /* a scalar, or one a row */
} plb_scale_job;

/* The tensors that every loss takes; the fields have the names of the arguments. */
typedef struct plb_loss_tensors {
    const poslabel_tensor *logits, *positions, *mask, *weights;
    const poslabel_tensor *grad_loss, *normalizer;
    const poslabel_tensor *loss, *grad_logits, *accuracy, *weight_sum, *flags;
} plb_loss_tensors;

#define PLB_LOSS_TENSORS(args)                                                                                         \
    {                                                                                                                  \
        (args).logits, (args).positions, (args).mask, (args).weights, (args).grad_loss, (args).normalizer,             \
            (args).loss, (args).grad_logits, (args).accuracy, (args).weight_sum, (args).flags                          \
    }

/* Checks them and fills in all of the job but the target; `job` must be zero. */
poslabel_status plb_read_loss(const plb_call *call, const plb_loss_tensors *given, int reduction, double grad_scale,
                              plb_loss_job *job);

/* The part of it that knows no logits: for a loss on `rows` whose logits the caller does not have. */
poslabel_status plb_read_loss_rows(const plb_call *call, const plb_loss_tensors *given, const plb_shape *rows,
                                   int reduction, double grad_scale, plb_loss_job *job);

/* What says which class a row should have been given; the fields have the names of the arguments. */
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
 * Checks it against the rows and classes of the job and fills in the target.  Messages about their numbers begin with
 * `rows_of` and `classes_of`: "logits have".
 */
poslabel_status plb_read_position_labels(const plb_call *call, const plb_position_labels *given, const char *rows_of,
                                         const char *classes_of, plb_loss_job *job);

#ifdef __cplusplus
}
#endif
#endif
