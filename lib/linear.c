/*
 * A linear head and its position cross-entropy: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linear.h"

#include "backend.h"

#include <poslabel/linear.h>

enum { LARGEST_SIDE = 1 << 30 }; /* of the weight */

poslabel_status poslabel_linear_position_loss(poslabel_context *context,
                                              const poslabel_linear_position_loss_args *given)
{
    poslabel_linear_position_loss_args args = POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT;
    plb_linear_job job = {.channels = 0};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "linear_position_loss", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_flag(&call, "accumulate", args.accumulate));
    PLB_TRY(plb_check_reduction(&call, args.reduction, args.grad_scale, &job.reduction));

    enum { C = 1, D };
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const int parameter = PLB_IN | PLB_PARAMETER, gradient = PLB_OUT | PLB_PARAMETER;
    const plb_argument head[] = {
        {"features", args.features, &job.features, PLB_LOGITS, PLB_IN | PLB_REQUIRED, {PLB_DOTS, D}},
        {"weight", args.weight, &job.weight, PLB_LIKE_FIRST, parameter | PLB_REQUIRED, {C, D}},
    };
    PLB_TRY(plb_read(&reader, head, PLB_COUNT(head)));
    const int64_t classes = reader.size[C], channels = reader.size[D];
    if (classes < 1 || classes > LARGEST_SIDE || channels < 1 || channels > LARGEST_SIDE)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "weight has shape [%lld, %lld], C and D must be 1 to 2^30",
                        (long long)classes, (long long)channels);
    if (!args.loss && !args.grad_features && !args.grad_weight && !args.grad_bias)
        return plb_fail(&call, POSLABEL_ERROR_INVALID,
                        "loss, grad_features, grad_weight and grad_bias are all NULL, one must be given");
    const plb_argument others[] = {
        {"bias", args.bias, &job.bias, PLB_LIKE_FIRST_OR_F32, parameter, {C}},
        {"grad_features", args.grad_features, &job.grad_features, PLB_LIKE_FIRST, PLB_OUT, {PLB_DOTS, D}},
        {"grad_weight", args.grad_weight, &job.grad_weight, PLB_LIKE_FIRST_OR_F32, gradient, {C, D}},
        {"grad_bias", args.grad_bias, &job.grad_bias, PLB_LIKE_FIRST_OR_F32, gradient, {C}},
        {"positions", args.positions, &job.targets.ids, PLB_IDS, PLB_IN, {PLB_DOTS}},
        PLB_REDUCTION_ARGUMENTS(args, args.features, job.reduction),
        PLB_ACCURACY_ARGUMENT(args, job.reduction),
    };
    PLB_TRY(plb_read(&reader, others, PLB_COUNT(others)));

    job.channels = channels;
    job.targets.classes = classes;
    job.reduction.rows = job.features.count;
    job.accumulate = args.accumulate;
    job.workspace_limit = args.workspace_limit;
    const plb_position_labels labels = PLB_POSITION_LABELS(args);
    PLB_TRY(plb_check_position_labels(&call, &labels, job.features.count, "features have", "weight has", &job.targets));
    return PLB_RUN(&call, linear_loss, &job);
}
