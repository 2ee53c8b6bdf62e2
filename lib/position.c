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
                                     const char *classes_of, int64_t rows, int64_t classes)
{
    const bool relative = given->labels == POSLABEL_LABELS_RELATIVE;
    PLB_TRY(relative ? plb_check_relative_grid(call, given->grid) : plb_check_grid(call, given->grid));
    if (given->positions)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "positions are given, but labels are not explicit");
    const int64_t h = given->grid.height, w = given->grid.width, n = h * w;
    const int64_t labels = relative ? (2 * h - 1) * (2 * w - 1) : n;
    if (classes != labels)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s %lld classes, must have %lld on a %lld x %lld grid",
                        classes_of, (long long)classes, (long long)labels, (long long)h, (long long)w);
    if ((relative && n > INT32_MAX) || rows % (relative ? n * n : n))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s %lld rows, must be a multiple of %lld on a %lld x %lld grid",
                        rows_of, (long long)rows, (long long)(relative ? n * n : n), (long long)h, (long long)w);
    return POSLABEL_OK;
}

poslabel_status plb_check_position_labels(const plb_call *call, const plb_position_labels *given, int64_t rows,
                                          const char *rows_of, const char *classes_of, plb_targets *targets)
{
    if (!(given->label_smoothing >= 0 && given->label_smoothing <= 1))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "label_smoothing = %g, must be in [0, 1]",
                        given->label_smoothing);
    switch (given->labels) {
    case POSLABEL_LABELS_ABSOLUTE:
    case POSLABEL_LABELS_RELATIVE:
        PLB_TRY(check_implied(call, given, rows_of, classes_of, rows, targets->classes));
        targets->kind = given->labels == POSLABEL_LABELS_ABSOLUTE ? PLB_TARGET_ABSOLUTE : PLB_TARGET_RELATIVE;
        break;
    case POSLABEL_LABELS_EXPLICIT:
        if (!given->positions)
            return plb_fail(call, POSLABEL_ERROR_INVALID, "positions is NULL, must be given");
        targets->kind = PLB_TARGET_EXPLICIT;
        break;
    default:
        return plb_fail(call, POSLABEL_ERROR_INVALID, "labels = %d, must be absolute (0), relative (1) or explicit (2)",
                        (int)given->labels);
    }
    targets->grid = given->grid;
    targets->has_ignore_index = given->labels == POSLABEL_LABELS_EXPLICIT;
    targets->ignore_index = given->ignore_index;
    targets->label_smoothing = given->label_smoothing;
    return POSLABEL_OK;
}

poslabel_status poslabel_position_cross_entropy(poslabel_context *context,
                                                const poslabel_position_cross_entropy_args *given)
{
    poslabel_position_cross_entropy_args args = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    plb_loss_job job = {.confidence_filter = false};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "position_cross_entropy", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_reduction(&call, args.reduction, args.grad_scale, &job.reduction));

    enum { C = 1 };
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument arguments[] = {
        {"logits", args.logits, &job.logits, PLB_LOGITS, PLB_IN | PLB_REQUIRED, {PLB_DOTS, C}},
        {"grad_logits", args.grad_logits, &job.grad_logits, PLB_LIKE_FIRST, PLB_OUT | PLB_IN_PLACE, {PLB_DOTS, C}},
        {"positions", args.positions, &job.targets.ids, PLB_IDS, PLB_IN, {PLB_DOTS}},
        PLB_REDUCTION_ARGUMENTS(args, args.logits, job.reduction),
        PLB_ACCURACY_ARGUMENT(args, job.reduction),
    };
    const plb_position_labels labels = PLB_POSITION_LABELS(args);
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    PLB_TRY(plb_settle_loss(&call, &job.logits, &job.grad_logits, &job.reduction));
    job.targets.classes = job.logits.length;
    job.in_place = plb_is_in_place(&reader, &job.grad_logits);
    PLB_TRY(plb_check_position_labels(&call, &labels, job.logits.count, "logits have", "logits have", &job.targets));
    return PLB_RUN(&call, row_loss, &job);
}
