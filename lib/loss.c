/*
 * What all losses check alike, and the scaling of gradients.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "loss.h"

#include "backend.h"

#include <math.h>

poslabel_status plb_check_reduction(const plb_call *call, int reduction, double grad_scale, plb_reduction *job)
{
    if (reduction < POSLABEL_REDUCTION_MEAN || reduction > POSLABEL_REDUCTION_NONE)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "reduction = %d, must be mean (0), sum (1) or none (2)",
                        reduction);
    if (!isfinite(grad_scale))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "grad_scale = %g, must be finite", grad_scale);
    job->kind = reduction;
    job->grad_scale = grad_scale;
    return POSLABEL_OK;
}

bool plb_is_per_row(const poslabel_tensor *tensor, const poslabel_tensor *rows, int row_rank)
{
    /* rows are not checked yet, so that their rank may be any number */
    const int rank = rows && rows->ndim > row_rank ? rows->ndim - row_rank : 0;
    return tensor && rank > 0 && tensor->ndim == rank && !(rank == 1 && tensor->shape && tensor->shape[0] == 1);
}

poslabel_status plb_settle_loss(const plb_call *call, const plb_rows *logits, const plb_rows *grad_logits,
                                plb_reduction *job)
{
    if (logits->length < 1 || logits->length > INT32_MAX)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "logits have %lld classes, must be 1 to 2^31 - 1",
                        (long long)logits->length);
    if (!job->loss.data && !grad_logits->data)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "loss and grad_logits are both NULL, one must be given");
    job->rows = logits->count;
    return POSLABEL_OK;
}

poslabel_status poslabel_scale_gradient(poslabel_context *context, const poslabel_scale_gradient_args *given)
{
    poslabel_scale_gradient_args args = POSLABEL_SCALE_GRADIENT_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "scale_gradient", given, &args, sizeof args));
    call.lent = args.workspace;

    enum { C = 1 };
    const bool has_rows = args.grad && args.grad->ndim > 0;
    const bool per_row = has_rows && plb_is_per_row(args.scale, args.grad, 1);
    plb_scale_job job = {.grad = {.data = NULL}};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument arguments[] = {
        {"grad", args.grad, &job.grad, PLB_LOGITS, PLB_OUT | PLB_REQUIRED, {has_rows ? PLB_DOTS : 0, has_rows ? C : 0}},
        {"scale", args.scale, &job.scale, PLB_SCALARS, PLB_IN | PLB_REQUIRED, {per_row ? PLB_DOTS : 0}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    return PLB_RUN(&call, scale_gradient, &job);
}
