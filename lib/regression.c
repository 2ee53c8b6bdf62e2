/*
 * Regression of small vectors: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "regression.h"

#include "backend.h"

#include <math.h>
#include <poslabel/regression.h>

static poslabel_status check_numbers(const plb_call *call, const poslabel_regression_loss_args *args)
{
    if (args->kind < POSLABEL_REGRESSION_L1 || args->kind > POSLABEL_REGRESSION_MSE)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "kind = %d, must be l1 (0), smooth_l1 (1) or mse (2)",
                        (int)args->kind);
    if (!(args->beta > 0) || isinf(args->beta))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "beta = %g, must be > 0 and finite", args->beta);
    return POSLABEL_OK;
}

/* What can be said once the tensors have been read. */
static poslabel_status check_rows(const plb_call *call, const plb_regression_job *job)
{
    if (job->predictions.length < 1)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "predictions have %lld elements in a row, must have at least 1",
                        (long long)job->predictions.length);
    if (!job->reduction.loss.data && !job->grad_predictions.data)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "loss and grad_predictions are both NULL, one must be given");
    return POSLABEL_OK;
}

poslabel_status poslabel_regression_loss(poslabel_context *context, const poslabel_regression_loss_args *given)
{
    poslabel_regression_loss_args args = POSLABEL_REGRESSION_LOSS_ARGS_INIT;
    plb_regression_job job = {.kind = 0};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "regression_loss", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(check_numbers(&call, &args));
    PLB_TRY(plb_check_reduction(&call, args.reduction, args.grad_scale, &job.reduction));

    enum { C = 1 };
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument arguments[] = {
        {"predictions", args.predictions, &job.predictions, PLB_LOGITS, PLB_IN | PLB_REQUIRED, {PLB_DOTS, C}},
        {"grad_predictions",
         args.grad_predictions,
         &job.grad_predictions,
         PLB_LIKE_FIRST,
         PLB_OUT | PLB_IN_PLACE,
         {PLB_DOTS, C}},
        {"targets", args.targets, &job.targets, PLB_LOGITS, PLB_IN | PLB_REQUIRED, {PLB_DOTS, C}},
        PLB_REDUCTION_ARGUMENTS(args, args.predictions, job.reduction),
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    PLB_TRY(check_rows(&call, &job));
    job.kind = args.kind;
    job.beta = args.beta;
    job.reduction.rows = job.predictions.count;
    return PLB_RUN(&call, regression_loss, &job);
}
