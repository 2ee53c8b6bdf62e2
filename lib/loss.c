/*
 * What all losses check alike, and the scaling of gradients.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "loss.h"

#include "backend.h"

#include <math.h>

poslabel_status plb_read_loss_rows(const plb_call *call, const plb_loss_tensors *given, const plb_shape *shape,
                                   int reduction, double grad_scale, plb_loss_job *job)
{
    if (reduction < POSLABEL_REDUCTION_MEAN || reduction > POSLABEL_REDUCTION_NONE)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "reduction = %d, must be mean (0), sum (1) or none (2)",
                        reduction);
    if (!isfinite(grad_scale))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "grad_scale = %g, must be finite", grad_scale);

    poslabel_status status;
    plb_shape rows = *shape;
    job->row_shape = rows;
    job->reduction = reduction;
    job->grad_scale = grad_scale;
    const bool none = reduction == POSLABEL_REDUCTION_NONE;
    const bool row_gradients = none && given->grad_loss && given->grad_loss->ndim == rows.rank && rows.rank > 0 &&
                               !(rows.rank == 1 && given->grad_loss->shape && given->grad_loss->shape[0] == 1);
    if ((status = plb_view(call, "positions", given->positions, PLB_IDS, &rows, PLB_EXACT, 0, PLB_INPUT, &job->ids)) !=
            POSLABEL_OK ||
        (status = plb_view(call, "mask", given->mask, PLB_MASKS, &rows, PLB_EXACT, 0, PLB_INPUT, &job->mask)) !=
            POSLABEL_OK ||
        (status = plb_view(call, "weights", given->weights, PLB_LOGITS, &rows, PLB_EXACT, 0, PLB_INPUT,
                           &job->weights)) != POSLABEL_OK ||
        (status = row_gradients ? plb_view(call, "grad_loss", given->grad_loss, PLB_SCALARS, &rows, PLB_EXACT, 0,
                                           PLB_INPUT, &job->grad_loss)
                                : plb_view_scalar(call, "grad_loss", given->grad_loss, PLB_SCALARS, PLB_INPUT,
                                                  &job->grad_loss)) != POSLABEL_OK ||
        (status = plb_view_scalar(call, "normalizer", given->normalizer, PLB_SCALARS, PLB_INPUT, &job->normalizer)) !=
            POSLABEL_OK ||
        (status = none ? plb_view(call, "loss", given->loss, PLB_SCALARS, &rows, PLB_EXACT, 0, PLB_OUTPUT, &job->loss)
                       : plb_view_scalar(call, "loss", given->loss, PLB_SCALARS, PLB_OUTPUT, &job->loss)) !=
            POSLABEL_OK ||
        (status = plb_view_scalar(call, "accuracy", given->accuracy, PLB_SCALARS, PLB_OUTPUT, &job->accuracy)) !=
            POSLABEL_OK ||
        (status = plb_view_scalar(call, "weight_sum", given->weight_sum, PLB_SCALARS, PLB_OUTPUT, &job->weight_sum)) !=
            POSLABEL_OK ||
        (status = plb_view_scalar(call, "flags", given->flags, PLB_FLAGS, PLB_OUTPUT, &job->flags)) != POSLABEL_OK)
        return status;
    return POSLABEL_OK;
}

poslabel_status plb_read_loss(const plb_call *call, const plb_loss_tensors *given, int reduction, double grad_scale,
                              plb_loss_job *job)
{
    poslabel_status status = plb_required(call, "logits", given->logits);
    if (status != POSLABEL_OK)
        return status;
    if (!given->loss && !given->grad_logits)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "loss and grad_logits are both NULL, one must be given");
    plb_shape logits = {1, {PLB_UNKNOWN}};
    status = plb_view(call, "logits", given->logits, PLB_LOGITS, &logits, PLB_LEADING, 1, PLB_INPUT, &job->logits);
    if (status != POSLABEL_OK)
        return status;
    if (logits.dim[0] < 1 || logits.dim[0] > INT32_MAX)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "logits have %lld classes, must be 1 to 2^31 - 1",
                        (long long)logits.dim[0]);
    plb_shape rows = plb_leading_shape(given->logits), whole = rows;
    whole.dim[whole.rank++] = logits.dim[0];
    job->rows = job->logits.count;
    job->classes = logits.dim[0];
    if ((status = plb_view(call, "grad_logits", given->grad_logits, 1u << job->logits.dtype, &whole, PLB_EXACT, 1,
                           PLB_OUTPUT, &job->grad_logits)) != POSLABEL_OK ||
        (status = plb_read_loss_rows(call, given, &rows, reduction, grad_scale, job)) != POSLABEL_OK)
        return status;

    job->in_place = job->grad_logits.data && plb_same_rows(&job->logits, &job->grad_logits);
    const plb_rows *const apart[] = {&job->grad_logits, &job->loss,       &job->accuracy, &job->weight_sum,
                                     &job->flags,       &job->ids,        &job->mask,     &job->weights,
                                     &job->grad_loss,   &job->normalizer, &job->logits};
    const int count = sizeof apart / sizeof *apart;
    if (!job->in_place)
        return plb_no_overlap(call, apart, count);
    return plb_no_overlap(call, apart, count - 1); /* what does not overlap the gradient misses the logits too */
}

poslabel_status poslabel_scale_gradient(poslabel_context *context, const poslabel_scale_gradient_args *given)
{
    poslabel_scale_gradient_args args = POSLABEL_SCALE_GRADIENT_ARGS_INIT;
    plb_scale_job job;
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "scale_gradient", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_required(&call, "grad", args.grad)) != POSLABEL_OK ||
        (status = plb_required(&call, "scale", args.scale)) != POSLABEL_OK)
        return status;

    plb_shape any = {0, {0}};
    const int row_rank = args.grad->ndim > 0;
    const bool per_row = row_rank && args.scale->ndim == args.grad->ndim - 1 && args.scale->ndim > 0 &&
                         !(args.scale->ndim == 1 && args.scale->shape[0] == 1);
    plb_shape rows = {0, {0}};
    if (row_rank)
        rows = plb_leading_shape(args.grad);
    if ((status = plb_view(&call, "grad", args.grad, PLB_LOGITS, &any, PLB_LEADING, row_rank, PLB_OUTPUT, &job.grad)) !=
            POSLABEL_OK ||
        (status = per_row
                      ? plb_view(&call, "scale", args.scale, PLB_SCALARS, &rows, PLB_EXACT, 0, PLB_INPUT, &job.scale)
                      : plb_view_scalar(&call, "scale", args.scale, PLB_SCALARS, PLB_INPUT, &job.scale)) != POSLABEL_OK)
        return status;
    const plb_rows *const apart[] = {&job.grad, &job.scale};
    status = plb_no_overlap(&call, apart, 2);
    return status == POSLABEL_OK ? PLB_RUN(&call, scale_gradient, &job) : status;
}
