/*
 * Position cross-entropy: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "loss.h"

#include "backend.h"
#include "labels.h"

#include <poslabel/position.h>

/* The implied kinds: there must be the classes and a whole number of images' rows. */
static poslabel_status check_implied(const plb_call *call, const plb_position_labels *given, const char *rows_of,
                                     const char *classes_of, const plb_loss_job *job)
{
    const bool relative = given->labels == POSLABEL_LABELS_RELATIVE;
    poslabel_status status = relative ? plb_check_relative_grid(call, given->grid) : plb_check_grid(call, given->grid);
    if (status != POSLABEL_OK)
        return status;
    if (given->positions)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "positions are given, but labels are not explicit");
    const int64_t h = given->grid.height, w = given->grid.width, n = h * w;
    const int64_t classes = relative ? (2 * h - 1) * (2 * w - 1) : n;
    if (job->classes != classes)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s %lld classes, must have %lld on a %lld x %lld grid",
                        classes_of, (long long)job->classes, (long long)classes, (long long)h, (long long)w);
    if ((relative && n > INT32_MAX) || job->rows % (relative ? n * n : n))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s %lld rows, must be a multiple of %lld on a %lld x %lld grid",
                        rows_of, (long long)job->rows, (long long)(relative ? n * n : n), (long long)h, (long long)w);
    return POSLABEL_OK;
}

poslabel_status plb_read_position_labels(const plb_call *call, const plb_position_labels *given, const char *rows_of,
                                         const char *classes_of, plb_loss_job *job)
{
    poslabel_status status;
    if (!(given->label_smoothing >= 0 && given->label_smoothing <= 1))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "label_smoothing = %g, must be in [0, 1]",
                        given->label_smoothing);
    switch (given->labels) {
    case POSLABEL_LABELS_ABSOLUTE:
        job->target = PLB_TARGET_ABSOLUTE;
        status = check_implied(call, given, rows_of, classes_of, job);
        break;
    case POSLABEL_LABELS_RELATIVE:
        job->target = PLB_TARGET_RELATIVE;
        status = check_implied(call, given, rows_of, classes_of, job);
        break;
    case POSLABEL_LABELS_EXPLICIT:
        job->target = PLB_TARGET_EXPLICIT;
        status = plb_required(call, "positions", given->positions);
        break;
    default:
        return plb_fail(call, POSLABEL_ERROR_INVALID, "labels = %d, must be absolute (0), relative (1) or explicit (2)",
                        (int)given->labels);
    }
    job->grid = given->grid;
    job->has_ignore_index = given->labels == POSLABEL_LABELS_EXPLICIT;
    job->ignore_index = given->ignore_index;
    job->label_smoothing = given->label_smoothing;
    return status;
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
    const plb_loss_tensors tensors = PLB_LOSS_TENSORS(args);
    const plb_position_labels labels = PLB_POSITION_LABELS(args);
    if ((status = plb_read_loss(&call, &tensors, args.reduction, args.grad_scale, &job)) != POSLABEL_OK ||
        (status = plb_read_position_labels(&call, &labels, "logits have", "logits have", &job)) != POSLABEL_OK)
        return status;
    return PLB_RUN(&call, row_loss, &job);
}
