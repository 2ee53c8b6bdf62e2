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

/* The index tensors, which both passes take; fills in V where only ids_keep knows it. */
static poslabel_status read_indices(const plb_call *call, const poslabel_tensor *ids_keep,
                                    const poslabel_tensor *mask_pos, const poslabel_tensor *positions,
                                    const poslabel_tensor *places, plb_token_layout *layout)
{
    if (mask_pos && positions)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "mask_pos and positions are both given, at most one may be");
    plb_shape ids = {2, {layout->images, layout->visible}};
    poslabel_status status =
        plb_view(call, "ids_keep", ids_keep, PLB_IDS, &ids, PLB_EXACT, 1, PLB_INPUT, &layout->ids_keep);
    if (status != POSLABEL_OK)
        return status;
    if (ids.dim[1] == PLB_UNKNOWN)
        ids.dim[1] = layout->tokens;
    layout->visible = ids.dim[1];
    if ((status = plb_view(call, "mask_pos", mask_pos, PLB_MASKS, &ids, PLB_EXACT, 1, PLB_INPUT, &layout->mask_pos)) !=
            POSLABEL_OK ||
        (status = plb_view(call, "positions", positions, PLB_IDS, &ids, PLB_EXACT, 1, PLB_INPUT, &layout->positions)) !=
            POSLABEL_OK)
        return status;
    return plb_view(call, "places", places, PLB_IDS, &ids, PLB_EXACT, 1, PLB_INPUT, &layout->places);
}

/* pos_embed or its gradient, which has rows for the prefix or has none. */
static poslabel_status read_pos_embed(const plb_call *call, const char *name, const poslabel_tensor *tensor,
                                      unsigned dtypes, plb_access access, plb_token_layout *layout, plb_rows *rows)
{
    plb_shape shape = {2, {PLB_UNKNOWN, layout->channels}};
    poslabel_status status = plb_view(call, name, tensor, dtypes, &shape, PLB_PARAMETER, 1, access, rows);
    if (status != POSLABEL_OK || !tensor)
        return status;
    const int64_t n = layout->tokens, with_prefix = layout->prefix + n;
    if (shape.dim[0] != n && shape.dim[0] != with_prefix)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has %lld rows, must have %lld (P + N) or %lld (N)", name,
                        (long long)shape.dim[0], (long long)with_prefix, (long long)n);
    layout->prefix_has_embedding = layout->prefix > 0 && shape.dim[0] == with_prefix;
    return POSLABEL_OK;
}

poslabel_status poslabel_assemble_tokens(poslabel_context *context, const poslabel_assemble_tokens_args *given)
{
    poslabel_assemble_tokens_args args = POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT;
    plb_assemble_job job = {0};
    plb_token_layout *const layout = &job.layout;
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "assemble_tokens", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_required(&call, "tokens", args.tokens)) != POSLABEL_OK ||
        (status = plb_required(&call, "x", args.x)) != POSLABEL_OK)
        return status;

    plb_shape tokens = {3, {PLB_UNKNOWN, PLB_UNKNOWN, PLB_UNKNOWN}};
    status = plb_view(&call, "tokens", args.tokens, PLB_FEATURES, &tokens, PLB_EXACT, 1, PLB_INPUT, &job.tokens);
    if (status != POSLABEL_OK)
        return status;
    layout->images = tokens.dim[0];
    layout->tokens = tokens.dim[1];
    layout->channels = tokens.dim[2];
    layout->visible = args.ids_keep ? PLB_UNKNOWN : layout->tokens;

    const unsigned dtype = 1u << job.tokens.dtype;
    plb_shape prefix = {2, {PLB_UNKNOWN, layout->channels}}, channels = {1, {layout->channels}};
    if ((status = read_indices(&call, args.ids_keep, args.mask_pos, args.positions, args.places, layout)) !=
            POSLABEL_OK ||
        (status = plb_view(&call, "prefix_tokens", args.prefix_tokens, dtype, &prefix, PLB_PARAMETER, 1, PLB_INPUT,
                           &job.prefix_tokens)) != POSLABEL_OK)
        return status;
    layout->prefix = args.prefix_tokens ? prefix.dim[0] : 0;
    if ((status = check_counts(&call, layout)) != POSLABEL_OK)
        return status;
    plb_shape x = {3, {layout->images, layout->prefix + layout->visible, layout->channels}};
    if ((status = read_pos_embed(&call, "pos_embed", args.pos_embed, dtype, PLB_INPUT, layout, &job.pos_embed)) !=
            POSLABEL_OK ||
        (status = plb_view(&call, "mask_token", args.mask_token, dtype, &channels, PLB_PARAMETER, 1, PLB_INPUT,
                           &job.mask_token)) != POSLABEL_OK ||
        (status = plb_view(&call, "x", args.x, dtype, &x, PLB_EXACT, 1, PLB_OUTPUT, &job.x)) != POSLABEL_OK)
        return status;

    const plb_rows *const apart[] = {&job.x,          &job.tokens,        &job.prefix_tokens,
                                     &job.pos_embed,  &job.mask_token,    &layout->ids_keep,
                                     &layout->places, &layout->positions, &layout->mask_pos};
    status = plb_no_overlap(&call, apart, sizeof apart / sizeof *apart);
    return status == POSLABEL_OK ? PLB_RUN(&call, assemble_tokens, &job) : status;
}

/* N: the argument, and what grad_tokens or the missing ids_keep say about it. */
static poslabel_status settle_tokens(const plb_call *call, const poslabel_assemble_tokens_backward_args *args,
                                     plb_token_layout *layout)
{
    layout->tokens = args->tokens_per_image;
    if (layout->tokens < 0)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "tokens_per_image = %lld, must be >= 0",
                        (long long)layout->tokens);
    if (!args->ids_keep) {
        if (layout->tokens != 0 && layout->tokens != layout->visible)
            return plb_fail(call, POSLABEL_ERROR_INVALID,
                            "tokens_per_image = %lld, must be %lld: without ids_keep all tokens of grad_x are kept",
                            (long long)layout->tokens, (long long)layout->visible);
        layout->tokens = layout->visible;
    } else if (layout->tokens == 0) {
        if (!args->grad_tokens)
            return plb_fail(call, POSLABEL_ERROR_INVALID,
                            "tokens_per_image = 0, must be given with ids_keep and without grad_tokens");
        layout->tokens = PLB_UNKNOWN;
    }
    return POSLABEL_OK;
}

poslabel_status poslabel_assemble_tokens_backward(poslabel_context *context,
                                                  const poslabel_assemble_tokens_backward_args *given)
{
    poslabel_assemble_tokens_backward_args args = POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT;
    plb_assemble_backward_job job = {0};
    plb_token_layout *const layout = &job.layout;
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "assemble_tokens_backward", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_required(&call, "grad_x", args.grad_x)) != POSLABEL_OK)
        return status;
    if (!args.grad_tokens && !args.grad_mask_token && !args.grad_prefix_tokens && !args.grad_pos_embed)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "no output is given, at least one must be");

    plb_shape x = {3, {PLB_UNKNOWN, PLB_UNKNOWN, PLB_UNKNOWN}};
    status = plb_view(&call, "grad_x", args.grad_x, PLB_FEATURES, &x, PLB_EXACT, 1, PLB_INPUT, &job.grad_x);
    if (status != POSLABEL_OK)
        return status;
    if (args.prefix_count < 0 || args.prefix_count > x.dim[1])
        return plb_fail(&call, POSLABEL_ERROR_INVALID,
                        "prefix_count = %lld, must be in [0, %lld], of which grad_x has rows an image",
                        (long long)args.prefix_count, (long long)x.dim[1]);
    layout->images = x.dim[0];
    layout->prefix = args.prefix_count;
    layout->visible = x.dim[1] - args.prefix_count;
    layout->channels = x.dim[2];
    if ((status = settle_tokens(&call, &args, layout)) != POSLABEL_OK)
        return status;

    const unsigned dtype = 1u << job.grad_x.dtype;
    plb_shape tokens = {3, {layout->images, layout->tokens, layout->channels}};
    plb_shape channels = {1, {layout->channels}}, prefix = {2, {layout->prefix, layout->channels}};
    status =
        plb_view(&call, "grad_tokens", args.grad_tokens, dtype, &tokens, PLB_EXACT, 1, PLB_OUTPUT, &job.grad_tokens);
    if (status != POSLABEL_OK)
        return status;
    layout->tokens = tokens.dim[1];
    if ((status = check_counts(&call, layout)) != POSLABEL_OK ||
        (status = read_indices(&call, args.ids_keep, args.mask_pos, args.positions, args.places, layout)) !=
            POSLABEL_OK ||
        (status = plb_view(&call, "grad_mask_token", args.grad_mask_token, dtype, &channels, PLB_PARAMETER, 1,
                           PLB_OUTPUT, &job.grad_mask_token)) != POSLABEL_OK ||
        (status = plb_view(&call, "grad_prefix_tokens", args.grad_prefix_tokens, dtype, &prefix, PLB_PARAMETER, 1,
                           PLB_OUTPUT, &job.grad_prefix_tokens)) != POSLABEL_OK ||
        (status = read_pos_embed(&call, "grad_pos_embed", args.grad_pos_embed, dtype, PLB_OUTPUT, layout,
                                 &job.grad_pos_embed)) != POSLABEL_OK)
        return status;

    const plb_rows *const apart[] = {&job.grad_tokens,    &job.grad_mask_token, &job.grad_prefix_tokens,
                                     &job.grad_pos_embed, &job.grad_x,          &layout->ids_keep,
                                     &layout->places,     &layout->positions,   &layout->mask_pos};
    status = plb_no_overlap(&call, apart, sizeof apart / sizeof *apart);
    return status == POSLABEL_OK ? PLB_RUN(&call, assemble_tokens_backward, &job) : status;
}
