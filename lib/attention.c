/*
 * Attentive weights: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "attention.h"

#include "backend.h"

#include <math.h>
#include <poslabel/attention.h>

/* One class token for all images, or one for each. */
static bool is_shared(const poslabel_tensor *cls)
{
    return cls && (cls->ndim != 2 || !cls->shape || cls->shape[0] == 1);
}

poslabel_status poslabel_attentive_weights(poslabel_context *context, const poslabel_attentive_weights_args *given)
{
    poslabel_attentive_weights_args args = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "attentive_weights", given, &args, sizeof args));
    call.lent = args.workspace;
    if (!args.attention && !args.weights)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "attention and weights are both NULL, one must be given");
    if (!(args.temperature > 0) || isinf(args.temperature))
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "temperature = %g, must be > 0 and finite", args.temperature);

    enum { B = 1, N, D, KEPT };
    const int v = args.ids_keep ? KEPT : N, parameter = PLB_IN | PLB_PARAMETER | PLB_REQUIRED;
    plb_attention_job job = {.temperature = args.temperature};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument tokens = {"tokens", args.tokens, &job.features, PLB_LOGITS, PLB_IN | PLB_REQUIRED | PLB_STRIDED,
                                 {B, N, D}};
    PLB_TRY(plb_read(&reader, &tokens, 1));
    if (reader.size[N] < 1)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "tokens have N = 0, must be at least 1 an image");
    const plb_argument others[] = {
        is_shared(args.cls) ? (plb_argument){"cls", args.cls, &job.cls, PLB_LIKE_FIRST, parameter, {D}}
                            : (plb_argument){"cls", args.cls, &job.cls, PLB_LIKE_FIRST, PLB_IN | PLB_REQUIRED, {B, D}},
        {"pos_embed", args.pos_embed, &job.pos_embed, PLB_LIKE_FIRST, PLB_IN | PLB_PARAMETER, {PLB_ANY, D}},
        {"ids_keep", args.ids_keep, &job.ids_keep, PLB_IDS, PLB_IN, {B, KEPT}},
        {"attention", args.attention, &job.attention, PLB_SCALARS, PLB_OUT, {B, N}},
        {"weights", args.weights, &job.weights, PLB_SCALARS, PLB_OUT, {B, v}},
    };
    PLB_TRY(plb_read(&reader, others, PLB_COUNT(others)));
    job.images = reader.size[B];
    job.tokens = reader.size[N];
    job.channels = reader.size[D];
    job.visible = reader.size[v];
    if (args.pos_embed && job.pos_embed.count <= job.tokens) /* it begins with the class token's */
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "pos_embed has %lld rows, must have at least %lld (1 + N)",
                        (long long)job.pos_embed.count, (long long)job.tokens + 1);
    return PLB_RUN(&call, attentive_weights, &job);
}
