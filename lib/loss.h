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

#endif
