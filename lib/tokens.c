/*
 * Token assembly and its gradient: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tokens.h"

#include "backend.h"

#include <poslabel/tokens.h>

/* Places and ids are kept as 32-bit numbers inside. */
static poslabel_status check_counts(const plb_call *call, const plb_token_layout *layout)
{
    if (layout->tokens > INT32_MAX - layout->prefix || layout->visible > INT32_MAX - layout->prefix)
        return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED,
                        "%lld prefix, %lld tokens and %lld visible tokens an image, P + N and P + V must be below 2^31",
                        (long long)layout->prefix, (long long)layout->tokens, (long long)layout->visible);
    return POSLABEL_OK;
}

/* The entries of the index tensors, which both passes take: [B, v], where ids_keep alone may tell v. */
#define INDEX_ARGUMENTS(args, layout, v)                                                                               \
    {"ids_keep", (args).ids_keep, &(layout).ids_keep, PLB_IDS, PLB_IN, {B, v}},                                        \
        {"mask_pos", (args).mask_pos, &(layout).mask_pos, PLB_MASKS, PLB_IN, {B, v}},                                  \
        {"positions", (args).positions, &(layout).positions, PLB_IDS, PLB_IN, {B, v}},                                 \
    {                                                                                                                  \
        "places", (args).places, &(layout).places, PLB_IDS, PLB_IN,                                                    \
        {                                                                                                              \
            B, v                                                                                                       \
        }                                                                                                              \
    }

static poslabel_status check_positions(const plb_call *call, const poslabel_tensor *mask_pos,
                                       const poslabel_tensor *positions)
{
    if (mask_pos && positions)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "mask_pos and positions are both given, at most one may be");
    return POSLABEL_OK;
}

/* pos_embed or its gradient, which has rows for the prefix but its registers, or, without registers, may have none. */
static poslabel_status settle_pos_embed(const plb_call *call, const plb_rows *pos_embed, int64_t registers,
                                        plb_token_layout *layout)
{
    const int64_t n = layout->tokens, embedded = layout->prefix - registers;
    if (registers < 0 || registers > layout->prefix)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "register_count = %lld, must be in [0, %lld] (P)",
                        (long long)registers, (long long)layout->prefix);
    if (!pos_embed->data)
        return POSLABEL_OK;
    if (registers && pos_embed->count != embedded + n)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has %lld rows, must have %lld (P - register_count + N)",
                        pos_embed->name, (long long)pos_embed->count, (long long)(embedded + n));
    if (pos_embed->count != n && pos_embed->count != embedded + n)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has %lld rows, must have %lld (P + N) or %lld (N)",
                        pos_embed->name, (long long)pos_embed->count, (long long)(embedded + n), (long long)n);
    layout->embedded = pos_embed->count - n;
    return POSLABEL_OK;
}

/* Images, tokens, visible tokens, prefix tokens, channels. */
enum { B = 1, N, V, P, D };

poslabel_status poslabel_assemble_tokens(poslabel_context *context, const poslabel_assemble_tokens_args *given)
{
    poslabel_assemble_tokens_args args = POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "assemble_tokens", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(check_positions(&call, args.mask_pos, args.positions));

    const int v = args.ids_keep ? V : N, parameter = PLB_IN | PLB_PARAMETER;
    plb_assemble_job job = {.layout = {.images = 0}};
    plb_token_layout *const layout = &job.layout;
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    if (!args.prefix_tokens)
        reader.size[P] = 0;
    const plb_argument arguments[] = {
        {"tokens", args.tokens, &job.tokens, PLB_LOGITS, PLB_IN | PLB_REQUIRED | PLB_STRIDED, {B, N, D}},
        INDEX_ARGUMENTS(args, *layout, v),
        {"prefix_tokens", args.prefix_tokens, &job.prefix_tokens, PLB_LIKE_FIRST_OR_F32, parameter, {P, D}},
        {"pos_embed", args.pos_embed, &job.pos_embed, PLB_LIKE_FIRST_OR_F32, parameter, {PLB_ANY, D}},
        {"mask_token", args.mask_token, &job.mask_token, PLB_LIKE_FIRST_OR_F32, parameter, {D}},
        {"x", args.x, &job.x, PLB_LIKE_FIRST, PLB_OUT | PLB_REQUIRED, {B, PLB_SUM(P, v), D}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    layout->images = reader.size[B];
    layout->tokens = reader.size[N];
    layout->visible = reader.size[v];
    layout->prefix = reader.size[P];
    layout->channels = reader.size[D];
    PLB_TRY(check_counts(&call, layout));
    PLB_TRY(settle_pos_embed(&call, &job.pos_embed, args.register_count, layout));
    return PLB_RUN(&call, assemble_tokens, &job);
}

poslabel_status plb_check_prefix(const plb_call *call, int64_t prefix, const char *name, int64_t rows)
{
    if (prefix < 0 || prefix > rows)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "prefix_count = %lld, must be in [0, %lld], of which %s has rows an image", (long long)prefix,
                        (long long)rows, name);
    return POSLABEL_OK;
}

/* N: the argument, or what grad_tokens or the missing ids_keep say about it. */
static poslabel_status settle_tokens(const plb_call *call, const poslabel_assemble_tokens_backward_args *args,
                                     int64_t visible, int64_t *tokens)
{
    *tokens = args->tokens_per_image;
    if (*tokens < 0)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "tokens_per_image = %lld, must be >= 0", (long long)*tokens);
    if (!args->ids_keep) {
        if (*tokens != 0 && *tokens != visible)
            return plb_fail(call, POSLABEL_ERROR_INVALID,
                            "tokens_per_image = %lld, must be %lld: without ids_keep all tokens of grad_x are kept",
                            (long long)*tokens, (long long)visible);
        *tokens = visible;
    } else if (*tokens == 0) {
        if (!args->grad_tokens)
            return plb_fail(call, POSLABEL_ERROR_INVALID,
                            "tokens_per_image = 0, must be given with ids_keep and without grad_tokens");
        *tokens = PLB_UNKNOWN;
    }
    return POSLABEL_OK;
}

poslabel_status poslabel_assemble_tokens_backward(poslabel_context *context,
                                                  const poslabel_assemble_tokens_backward_args *given)
{
    poslabel_assemble_tokens_backward_args args = POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "assemble_tokens_backward", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(check_positions(&call, args.mask_pos, args.positions));

    enum { ROWS = D + 1 }; /* P + V */
    plb_assemble_backward_job job = {.layout = {.images = 0}};
    plb_token_layout *const layout = &job.layout;
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument grad_x = {"grad_x", args.grad_x, &job.grad_x, PLB_LOGITS, PLB_IN | PLB_REQUIRED, {B, ROWS, D}};
    PLB_TRY(plb_read(&reader, &grad_x, 1));
    if (!args.grad_tokens && !args.grad_mask_token && !args.grad_prefix_tokens && !args.grad_pos_embed)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "no output is given, at least one must be");
    PLB_TRY(plb_check_prefix(&call, args.prefix_count, "grad_x", reader.size[ROWS]));
    reader.size[P] = args.prefix_count;
    reader.size[V] = reader.size[ROWS] - args.prefix_count;
    PLB_TRY(settle_tokens(&call, &args, reader.size[V], &reader.size[N]));

    const int parameter = PLB_OUT | PLB_PARAMETER;
    const plb_argument arguments[] = {
        {"grad_tokens", args.grad_tokens, &job.grad_tokens, PLB_LIKE_FIRST, PLB_OUT | PLB_STRIDED, {B, N, D}},
        INDEX_ARGUMENTS(args, *layout, V),
        {"grad_mask_token", args.grad_mask_token, &job.grad_mask_token, PLB_LIKE_FIRST_OR_F32, parameter, {D}},
        {"grad_prefix_tokens",
         args.grad_prefix_tokens,
         &job.grad_prefix_tokens,
         PLB_LIKE_FIRST_OR_F32,
         parameter,
         {P, D}},
        {"grad_pos_embed", args.grad_pos_embed, &job.grad_pos_embed, PLB_LIKE_FIRST_OR_F32, parameter, {PLB_ANY, D}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    layout->images = reader.size[B];
    layout->tokens = reader.size[N];
    layout->visible = reader.size[V];
    layout->prefix = reader.size[P];
    layout->channels = reader.size[D];
    PLB_TRY(check_counts(&call, layout));
    PLB_TRY(settle_pos_embed(&call, &job.grad_pos_embed, args.register_count, layout));
    return PLB_RUN(&call, assemble_tokens_backward, &job);
}
