/*
 * The DropPos loss and its schedule: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "loss.h"

#include "backend.h"
#include "labels.h"

#include <math.h>
#include <poslabel/droppos.h>

poslabel_status poslabel_droppos_loss(poslabel_context *context, const poslabel_droppos_loss_args *given)
{
    poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    plb_loss_job job = {0};
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "droppos_loss", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_check_grid(&call, args.grid)) != POSLABEL_OK ||
        (status = plb_check_sigma(&call, args.sigma, args.normalization)) != POSLABEL_OK)
        return status;
    if (args.confidence_filter != 0 && args.confidence_filter != 1)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "confidence_filter = %d, must be 0 or 1",
                        (int)args.confidence_filter);
    const plb_loss_tensors tensors = PLB_LOSS_TENSORS(args);
    if ((status = plb_read_loss(&call, &tensors, args.reduction, args.grad_scale, &job)) != POSLABEL_OK ||
        (status = plb_required(&call, "positions", args.positions)) != POSLABEL_OK)
        return status;
    const int64_t n = (int64_t)args.grid.height * args.grid.width;
    if (job.classes != n)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "logits have %lld classes, must have %lld on a %d x %d grid",
                        (long long)job.classes, (long long)n, (int)args.grid.height, (int)args.grid.width);

    /* sigma 0 is one-hot; so is any sigma so small that its neighbours' share rounds to nothing */
    job.target = args.sigma > 0 && exp(-1 / (args.sigma * args.sigma)) > 0 ? PLB_TARGET_GAUSSIAN : PLB_TARGET_EXPLICIT;
    job.grid = args.grid;
    job.sigma = args.sigma;
    job.normalization = args.normalization;
    job.confidence_filter = args.confidence_filter;
    return PLB_RUN(&call, row_loss, &job);
}

poslabel_status poslabel_sigma_schedule(poslabel_context *context, const poslabel_sigma_schedule_args *given)
{
    poslabel_sigma_schedule_args args = POSLABEL_SIGMA_SCHEDULE_ARGS_INIT;
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "sigma_schedule", given, &args, sizeof args);
    if (status != POSLABEL_OK)
        return status;
    if (!args.sigma)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "sigma is NULL, must be given");
    if (!(args.sigma_0 >= 0) || isinf(args.sigma_0))
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "sigma_0 = %g, must be >= 0 and finite", args.sigma_0);
    if (!(args.epoch >= 0) || isinf(args.epoch))
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "epoch = %g, must be >= 0 and finite", args.epoch);
    if (!(args.epochs > 0) || isinf(args.epochs))
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "epochs = %g, must be > 0 and finite", args.epochs);
    *args.sigma = args.epoch < args.epochs ? (1 - args.epoch / args.epochs) * args.sigma_0 : 0.0;
    return POSLABEL_OK;
}
