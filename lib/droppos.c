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
    plb_loss_job job = {.confidence_filter = false};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "droppos_loss", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_grid(&call, args.grid));
    PLB_TRY(plb_check_sigma(&call, args.sigma, args.normalization));
    PLB_TRY(plb_check_flag(&call, "confidence_filter", args.confidence_filter));
    PLB_TRY(plb_check_reduction(&call, args.reduction, args.grad_scale, &job.reduction));

    enum { C = 1 };
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument arguments[] = {
        {"logits", args.logits, &job.logits, PLB_LOGITS, PLB_IN | PLB_REQUIRED, {PLB_DOTS, C}},
        {"grad_logits", args.grad_logits, &job.grad_logits, PLB_LIKE_FIRST, PLB_OUT | PLB_IN_PLACE, {PLB_DOTS, C}},
        {"positions", args.positions, &job.targets.ids, PLB_IDS, PLB_IN | PLB_REQUIRED, {PLB_DOTS}},
        {"sigma_scalar", args.sigma_scalar, &job.targets.sigma_scalar, PLB_SCALARS, PLB_IN, {0}},
        PLB_REDUCTION_ARGUMENTS(args, args.logits, job.reduction),
        PLB_ACCURACY_ARGUMENT(args, job.reduction),
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    PLB_TRY(plb_settle_loss(&call, &job.logits, &job.grad_logits, &job.reduction));
    job.targets.classes = job.logits.length;
    job.in_place = plb_is_in_place(&reader, &job.grad_logits);
    const int64_t n = (int64_t)args.grid.height * args.grid.width;
    if (job.targets.classes != n)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "logits have %lld classes, must have %lld on a %d x %d grid",
                        (long long)job.targets.classes, (long long)n, (int)args.grid.height, (int)args.grid.width);

    job.targets.kind =
        args.sigma_scalar || plb_has_neighbours(args.sigma) ? PLB_TARGET_GAUSSIAN : PLB_TARGET_EXPLICIT;
    job.targets.grid = args.grid;
    job.targets.sigma = args.sigma;
    job.targets.normalization = args.normalization;
    job.confidence_filter = args.confidence_filter;
    return PLB_RUN(&call, row_loss, &job);
}

poslabel_status poslabel_sigma_schedule(poslabel_context *context, const poslabel_sigma_schedule_args *given)
{
    poslabel_sigma_schedule_args args = POSLABEL_SIGMA_SCHEDULE_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "sigma_schedule", given, &args, sizeof args));
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
