/* Position cross-entropy: checks.  SPDX-License-Identifier: Apache-2.0 */
#include "loss.h"

#include <poslabel/position.h>

/* The implied kinds: the logits must have the classes and a whole number of images' rows. */
static poslabel_status check_implied(const plb_call *call, const poslabel_position_cross_entropy_args *args,
                                     const plb_loss_job *job)
{
    const bool relative = args->labels == POSLABEL_LABELS_RELATIVE;
    poslabel_status status = relative ? plb_check_relative_grid(call, args->grid) : plb_check_grid(call, args->grid);
    if (status != POSLABEL_OK)
        return status;
    if (args->positions)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "positions are given, but labels are not explicit");
    const int64_t h = args->grid.height, w = args->grid.width, n = h * w;
    const int64_t classes = relative ? (2 * h - 1) * (2 * w - 1) : n;
    if (job->classes != classes)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "logits have %lld classes, must have %lld on a %lld x %lld grid",
                        (long long)job->classes, (long long)classes, (long long)h, (long long)w);
    if ((relative && n > INT32_MAX) || job->rows % (relative ? n * n : n))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "logits have %lld rows, must be a multiple of %lld on a %lld x %lld grid",
                        (long long)job->rows, (long long)(relative ? n * n : n), (long long)h, (long long)w);
    return POSLABEL_OK;
}

poslabel_status poslabel_position_cross_entropy(poslabel_context *context,
                                                const poslabel_position_cross_entropy_args *given)
{
    poslabel_position_cross_entropy_args args = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    plb_loss_job job = {0};
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "position_cross_entropy", given, &args, sizeof args);
    if (status != POSLABEL_OK)
        return status;
    if (!(args.label_smoothing >= 0 && args.label_smoothing <= 1))
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "label_smoothing = %g, must be in [0, 1]", args.label_smoothing);
    const plb_loss_tensors tensors = PLB_LOSS_TENSORS(args);
    status = plb_read_loss(&call, &tensors, args.reduction, args.grad_scale, &job);
    if (status != POSLABEL_OK)
        return status;

    switch (args.labels) {
    case POSLABEL_LABELS_ABSOLUTE:
        job.target = PLB_TARGET_ABSOLUTE;
        status = check_implied(&call, &args, &job);
        break;
    case POSLABEL_LABELS_RELATIVE:
        job.target = PLB_TARGET_RELATIVE;
        status = check_implied(&call, &args, &job);
        break;
    case POSLABEL_LABELS_EXPLICIT:
        job.target = PLB_TARGET_EXPLICIT;
        status = plb_required(&call, "positions", args.positions);
        break;
    default:
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "labels = %d, must be absolute (0), relative (1) or explicit (2)",
                        (int)args.labels);
    }
    if (status != POSLABEL_OK)
        return status;
    job.grid = args.grid;
    job.has_ignore_index = args.labels == POSLABEL_LABELS_EXPLICIT;
    job.ignore_index = args.ignore_index;
    job.label_smoothing = args.label_smoothing;
    return context->backend->row_loss(&call, &job);
}
