/* What all losses check alike.  SPDX-License-Identifier: Apache-2.0 */
#ifndef PLB_LOSS_H
#define PLB_LOSS_H

#include "backend.h"

#include <poslabel/loss.h>

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

#endif
