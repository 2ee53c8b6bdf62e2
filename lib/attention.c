/*
 * Attentive weights: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "attention.h"

#include "backend.h"

#include <math.h>
#include <poslabel/attention.h>

/* One class token for every image, or one for all of them. */
static poslabel_status read_cls(const plb_call *call, const poslabel_tensor *tensor, plb_attention_job *job)
{
    poslabel_status status = plb_required(call, "cls", tensor);
    if (status != POSLABEL_OK)
        return status;
    plb_shape each = {2, {job->images, job->channels}}, shared = {1, {job->channels}};
    const bool is_shared = tensor->ndim != 2 || (tensor->shape[0] == 1 && job->images != 1);
    return plb_view(call, "cls", tensor, 1u << job->features.dtype, is_shared ? &shared : &each,
                    is_shared ? PLB_PARAMETER : PLB_EXACT, 1, PLB_INPUT, &job->cls);
}

/* pos_embed begins with at least one row of the prefix, the class token's. */
static poslabel_status read_pos_embed(const plb_call *call, const poslabel_tensor *tensor, plb_attention_job *job)
{
    plb_shape shape = {2, {PLB_UNKNOWN, job->channels}};
    poslabel_status status = plb_view(call, "pos_embed", tensor, 1u << job->features.dtype, &shape, PLB_PARAMETER, 1,
                                      PLB_INPUT, &job->pos_embed);
    if (status == POSLABEL_OK && tensor && shape.dim[0] <= job->tokens)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "pos_embed has %lld rows, must have at least %lld (1 + N)",
                        (long long)shape.dim[0], (long long)job->tokens + 1);
    return status;
}

poslabel_status poslabel_attentive_weights(poslabel_context *context, const poslabel_attentive_weights_args *given)
{
    poslabel_attentive_weights_args args = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
    plb_attention_job job = {0};
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "attentive_weights", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_required(&call, "tokens", args.tokens)) != POSLABEL_OK)
        return status;
    if (!args.attention && !args.weights)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "attention and weights are both NULL, one must be given");
    if (!(args.temperature > 0) || isinf(args.temperature))
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "temperature = %g, must be > 0 and finite", args.temperature);

    plb_shape tokens = {3, {PLB_UNKNOWN, PLB_UNKNOWN, PLB_UNKNOWN}};
    status = plb_view(&call, "tokens", args.tokens, PLB_LOGITS, &tokens, PLB_EXACT, 1, PLB_INPUT, &job.features);
    if (status != POSLABEL_OK)
        return status;
    if (tokens.dim[1] < 1)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "tokens have N = 0, must be at least 1 an image");
    job.images = tokens.dim[0];
    job.tokens = tokens.dim[1];
    job.channels = tokens.dim[2];
    job.temperature = args.temperature;

    plb_shape all = {2, {job.images, job.tokens}}, kept = {2, {job.images, PLB_UNKNOWN}};
    if ((status = read_cls(&call, args.cls, &job)) != POSLABEL_OK ||
        (status = read_pos_embed(&call, args.pos_embed, &job)) != POSLABEL_OK ||
        (status = plb_view(&call, "ids_keep", args.ids_keep, PLB_IDS, &kept, PLB_EXACT, 1, PLB_INPUT, &job.ids_keep)) !=
            POSLABEL_OK ||
        (status = plb_view(&call, "attention", args.attention, PLB_SCALARS, &all, PLB_EXACT, 1, PLB_OUTPUT,
                           &job.attention)) != POSLABEL_OK)
        return status;
    if (!args.ids_keep)
        kept.dim[1] = job.tokens;
    job.visible = kept.dim[1];
    status = plb_view(&call, "weights", args.weights, PLB_SCALARS, &kept, PLB_EXACT, 1, PLB_OUTPUT, &job.weights);
    if (status != POSLABEL_OK)
        return status;

    const plb_rows *const apart[] = {&job.attention, &job.weights,   &job.features,
                                     &job.cls,       &job.pos_embed, &job.ids_keep};
    status = plb_no_overlap(&call, apart, sizeof apart / sizeof *apart);
    return status == POSLABEL_OK ? PLB_RUN(&call, attentive_weights, &job) : status;
}
