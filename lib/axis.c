/*
 * Per-axis losses: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "axis.h"

#include "backend.h"

#include <poslabel/axis.h>

/* The rows of each axis from a tensor [..., n, 2], whose rows are the pairs of a class. */
static void split_axes(const plb_rows *stacked, int64_t n, plb_rows *axes)
{
    if (!stacked->data)
        return;
    for (int a = 0; a < PLB_AXES; a++) {
        plb_rows *const axis = &axes[a];
        *axis = *stacked;
        axis->data += a * stacked->element_stride * plb_dtype_size[stacked->dtype];
        axis->length = n;
        axis->element_stride = stacked->inner_stride;
        axis->count = stacked->count / n;
        axis->inner = stacked->inner / n;
        axis->inner_stride = stacked->inner_stride * n;
        if (axis->inner == 1) { /* the classes were a level of their own */
            axis->inner = axis->count;
            axis->inner_stride = stacked->outer_stride;
        }
    }
}

/* Either one tensor of both axes or one of each, for the logits and for their gradients. */
static poslabel_status check_given(const plb_call *call, const poslabel_axis_loss_args *args)
{
    const bool one = args->logits, y = args->logits_y, x = args->logits_x;
    if (one && (y || x))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "logits and %s are both given, must be the one or the other",
                        y ? "logits_y" : "logits_x");
    if (!one && !y && !x)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "logits is NULL, must be given, or logits_y and logits_x");
    if (y != x)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s is NULL, must be given with %s", y ? "logits_x" : "logits_y",
                        y ? "logits_y" : "logits_x");
    if (args->grad_logits && !one)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "grad_logits is given, must be NULL without logits");
    if ((args->grad_logits_y || args->grad_logits_x) && one)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s is given, must be NULL with logits",
                        args->grad_logits_y ? "grad_logits_y" : "grad_logits_x");
    if (!args->grad_logits_y != !args->grad_logits_x)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s is NULL, must be given with %s",
                        args->grad_logits_y ? "grad_logits_x" : "grad_logits_y",
                        args->grad_logits_y ? "grad_logits_y" : "grad_logits_x");
    return POSLABEL_OK;
}

/* That an axis has a class, and no more than the kernels count. */
static poslabel_status check_classes(const plb_call *call, const char *name, int64_t n)
{
    if (n < 1 || n > INT32_MAX)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s have %lld classes, must be 1 to 2^31 - 1", name,
                        (long long)n);
    return POSLABEL_OK;
}

poslabel_status poslabel_axis_loss(poslabel_context *context, const poslabel_axis_loss_args *given)
{
    poslabel_axis_loss_args args = POSLABEL_AXIS_LOSS_ARGS_INIT;
    plb_axis_job job = {.kind = POSLABEL_AXIS_LOSS_CROSS_ENTROPY};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "axis_loss", given, &args, sizeof args));
    call.lent = args.workspace;
    if (args.kind != POSLABEL_AXIS_LOSS_CROSS_ENTROPY && args.kind != POSLABEL_AXIS_LOSS_CYCLE_BACK)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "kind = %d, must be cross-entropy (0) or cycle-back (1)",
                        (int)args.kind);
    job.kind = args.kind;
    PLB_TRY(plb_check_reduction(&call, args.reduction, args.grad_scale, &job.reduction));
    PLB_TRY(check_given(&call, &args));

    enum { N = 1, N_Y, N_X, TWO };
    enum { LOGITS = PLB_IN | PLB_STRIDED, GRAD = PLB_OUT | PLB_IN_PLACE | PLB_STRIDED };
    plb_rows logits = {.data = NULL}, grad_logits = {.data = NULL};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    reader.size[TWO] = PLB_AXES;
    const plb_argument arguments[] = {
        {"logits", args.logits, &logits, PLB_LOGITS, LOGITS, {PLB_DOTS, N, TWO}},
        {"grad_logits", args.grad_logits, &grad_logits, PLB_LIKE_FIRST, GRAD, {PLB_DOTS, N, TWO}},
        {"logits_y", args.logits_y, &job.logits[0], PLB_LOGITS, LOGITS, {PLB_DOTS, N_Y}},
        {"grad_logits_y", args.grad_logits_y, &job.grad[0], PLB_LIKE_FIRST, GRAD, {PLB_DOTS, N_Y}},
        {"logits_x", args.logits_x, &job.logits[1], PLB_LIKE_FIRST, LOGITS, {PLB_DOTS, N_X}},
        {"grad_logits_x", args.grad_logits_x, &job.grad[1], PLB_LIKE_FIRST, GRAD, {PLB_DOTS, N_X}},
        {"targets", args.targets, &job.targets, PLB_IDS, PLB_IN | PLB_REQUIRED | PLB_STRIDED, {PLB_DOTS, TWO}},
        PLB_REDUCTION_ARGUMENTS(args, args.targets, job.reduction),
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    if (args.logits) {
        PLB_TRY(check_classes(&call, "logits", reader.size[N]));
        split_axes(&logits, reader.size[N], job.logits);
        split_axes(&grad_logits, reader.size[N], job.grad);
    } else {
        PLB_TRY(check_classes(&call, "logits_y", reader.size[N_Y]));
        PLB_TRY(check_classes(&call, "logits_x", reader.size[N_X]));
    }
    if (!job.reduction.loss.data && !job.grad[0].data)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "loss and %s are both NULL, one must be given",
                        args.logits ? "grad_logits" : "grad_logits_y");
    job.reduction.rows = job.targets.count;
    return PLB_RUN(&call, axis_loss, &job);
}
