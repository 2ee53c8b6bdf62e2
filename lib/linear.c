/*
 * A linear head and its position cross-entropy: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linear.h"

#include "backend.h"

#include <poslabel/linear.h>

enum { LARGEST_SIDE = 1 << 30 }; /* of the weight */

static poslabel_status read_head(const plb_call *call, const poslabel_linear_position_loss_args *args,
                                 plb_linear_job *job)
{
    plb_shape features = {1, {PLB_UNKNOWN}}, weight = {2, {PLB_UNKNOWN, PLB_UNKNOWN}};
    poslabel_status status;
    if ((status = plb_view(call, "features", args->features, PLB_LOGITS, &features, PLB_LEADING, 1, PLB_INPUT,
                           &job->features)) != POSLABEL_OK)
        return status;
    const unsigned same = 1u << job->features.dtype;
    const unsigned or_wider = job->features.dtype == PLB_F64 ? same : same | 1u << PLB_F32;
    weight.dim[1] = features.dim[0];
    if ((status = plb_view(call, "weight", args->weight, same, &weight, PLB_PARAMETER, 1, PLB_INPUT, &job->weight)) !=
        POSLABEL_OK)
        return status;
    if (weight.dim[0] < 1 || weight.dim[0] > LARGEST_SIDE || weight.dim[1] < 1 || weight.dim[1] > LARGEST_SIDE)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "weight has shape [%lld, %lld], C and D must be 1 to 2^30",
                        (long long)weight.dim[0], (long long)weight.dim[1]);
    job->channels = weight.dim[1];
    job->loss.classes = weight.dim[0];
    job->loss.rows = job->features.count;

    plb_shape rows = plb_leading_shape(args->features), all = rows, classes = {1, {weight.dim[0]}};
    all.dim[all.rank++] = job->channels;
    if ((status = plb_view(call, "bias", args->bias, or_wider, &classes, PLB_PARAMETER, 1, PLB_INPUT, &job->bias)) !=
            POSLABEL_OK ||
        (status = plb_view(call, "grad_features", args->grad_features, same, &all, PLB_EXACT, 1, PLB_OUTPUT,
                           &job->grad_features)) != POSLABEL_OK ||
        (status = plb_view(call, "grad_weight", args->grad_weight, or_wider, &weight, PLB_PARAMETER, 1, PLB_OUTPUT,
                           &job->grad_weight)) != POSLABEL_OK ||
        (status = plb_view(call, "grad_bias", args->grad_bias, or_wider, &classes, PLB_PARAMETER, 1, PLB_OUTPUT,
                           &job->grad_bias)) != POSLABEL_OK)
        return status;
    const plb_loss_tensors tensors = {
        .positions = args->positions,
        .mask = args->mask,
        .weights = args->weights,
        .grad_loss = args->grad_loss,
        .normalizer = args->normalizer,
        .loss = args->loss,
        .accuracy = args->accuracy,
        .weight_sum = args->weight_sum,
        .flags = args->flags,
    };
    return plb_read_loss_rows(call, &tensors, &rows, args->reduction, args->grad_scale, &job->loss);
}

poslabel_status poslabel_linear_position_loss(poslabel_context *context,
                                              const poslabel_linear_position_loss_args *given)
{
    poslabel_linear_position_loss_args args = POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT;
    plb_linear_job job = {.channels = 0};
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "linear_position_loss", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_required(&call, "features", args.features)) != POSLABEL_OK ||
        (status = plb_required(&call, "weight", args.weight)) != POSLABEL_OK)
        return status;
    if (!args.loss && !args.grad_features && !args.grad_weight && !args.grad_bias)
        return plb_fail(&call, POSLABEL_ERROR_INVALID,
                        "loss, grad_features, grad_weight and grad_bias are all NULL, one must be given");
    if (args.accumulate != 0 && args.accumulate != 1)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "accumulate = %d, must be 0 or 1", (int)args.accumulate);
    job.accumulate = args.accumulate;
    job.workspace_limit = args.workspace_limit;

    const plb_position_labels labels = PLB_POSITION_LABELS(args);
    if ((status = read_head(&call, &args, &job)) != POSLABEL_OK ||
        (status = plb_read_position_labels(&call, &labels, "features have", "weight has", &job.loss)) != POSLABEL_OK)
        return status;

    const plb_loss_job *const loss = &job.loss;
    const plb_rows *const apart[] = {&job.grad_features, &job.grad_weight,  &job.grad_bias,   &loss->loss,
                                     &loss->accuracy,    &loss->weight_sum, &loss->flags,     &loss->ids,
                                     &loss->mask,        &loss->weights,    &loss->grad_loss, &loss->normalizer,
                                     &job.features,      &job.weight,       &job.bias};
    status = plb_no_overlap(&call, apart, sizeof apart / sizeof *apart);
    if (status != POSLABEL_OK)
        return status;
    return PLB_RUN(&call, linear_loss, &job);
}
