/*
 * The tokens of MAE's decoder and their gradient: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "decoder.h"

#include "backend.h"
#include "tokens.h"

#include <poslabel/decoder.h>

/* Images, tokens, prefix tokens, channels, the rows of an image in x and in out. */
enum { B = 1, N, P, D, X_ROWS, OUT_ROWS };

/* What the sizes say together; `pos_embed` is that or its gradient. */
static poslabel_status settle(const plb_call *call, const plb_reader *reader, const plb_rows *pos_embed,
                              plb_decoder_layout *layout)
{
    const int64_t prefix = reader->size[P], n = reader->size[N], visible = reader->size[X_ROWS] - prefix;
    if (n > INT32_MAX - prefix) /* ids are kept as 32-bit numbers inside */
        return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED,
                        "%lld prefix and %lld other tokens an image, P + N must be below 2^31", (long long)prefix,
                        (long long)n);
    if (visible < 0 || visible > n)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "%lld rows of an image with prefix_count = %lld leave K = %lld visible tokens, must be in "
                        "[0, %lld] (N)",
                        (long long)reader->size[X_ROWS], (long long)prefix, (long long)visible, (long long)n);
    layout->images = reader->size[B];
    layout->tokens = n;
    layout->visible = visible;
    layout->prefix = prefix;
    layout->channels = reader->size[D];
    if (!pos_embed->data)
        return POSLABEL_OK;
    if (pos_embed->count < n || pos_embed->count > prefix + n)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has %lld rows, must have %lld (N) to %lld (P + N)",
                        pos_embed->name, (long long)pos_embed->count, (long long)n, (long long)(prefix + n));
    layout->embedded = pos_embed->count - n;
    return POSLABEL_OK;
}

poslabel_status poslabel_decoder_tokens(poslabel_context *context, const poslabel_decoder_tokens_args *given)
{
    poslabel_decoder_tokens_args args = POSLABEL_DECODER_TOKENS_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "decoder_tokens", given, &args, sizeof args));
    call.lent = args.workspace;

    const int parameter = PLB_IN | PLB_PARAMETER;
    plb_decoder_job job = {.layout = {.images = 0}};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument x = {"x", args.x, &job.x, PLB_FEATURES, PLB_IN | PLB_REQUIRED, {B, X_ROWS, D}};
    PLB_TRY(plb_read(&reader, &x, 1));
    PLB_TRY(plb_check_prefix(&call, args.prefix_count, "x", reader.size[X_ROWS]));
    reader.size[P] = args.prefix_count;
    const plb_argument arguments[] = {
        {"ids_restore", args.ids_restore, &job.layout.ids_restore, PLB_IDS, PLB_IN | PLB_REQUIRED, {B, N}},
        {"mask_token", args.mask_token, &job.mask_token, PLB_LIKE_FIRST, parameter, {D}},
        {"pos_embed", args.pos_embed, &job.pos_embed, PLB_LIKE_FIRST, parameter, {PLB_ANY, D}},
        {"out", args.out, &job.out, PLB_LIKE_FIRST, PLB_OUT | PLB_REQUIRED, {B, PLB_SUM(P, N), D}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    PLB_TRY(settle(&call, &reader, &job.pos_embed, &job.layout));
    return PLB_RUN(&call, decoder_tokens, &job);
}

/* P + K: by the argument, or -1, and then grad_x must tell, or nobody asks. */
static poslabel_status settle_visible(const plb_call *call, const poslabel_decoder_tokens_backward_args *args,
                                      plb_reader *reader)
{
    const int64_t visible = args->visible_count, n = reader->size[N];
    if (visible < -1 || visible > n)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "visible_count = %lld, must be in [0, %lld], or -1: as grad_x says", (long long)visible,
                        (long long)n);
    if (visible < 0 && !args->grad_x && args->grad_mask_token)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "visible_count = -1, must be given with grad_mask_token and without grad_x");
    if (visible >= 0)
        reader->size[X_ROWS] = reader->size[P] + visible;
    else if (!args->grad_x)
        reader->size[X_ROWS] = reader->size[P];
    return POSLABEL_OK;
}

poslabel_status poslabel_decoder_tokens_backward(poslabel_context *context,
                                                 const poslabel_decoder_tokens_backward_args *given)
{
    poslabel_decoder_tokens_backward_args args = POSLABEL_DECODER_TOKENS_BACKWARD_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "decoder_tokens_backward", given, &args, sizeof args));
    call.lent = args.workspace;

    const int parameter = PLB_OUT | PLB_PARAMETER;
    plb_decoder_backward_job job = {.layout = {.images = 0}};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument grad_out = {"grad_out",   args.grad_out,         &job.grad_out,
                                   PLB_FEATURES, PLB_IN | PLB_REQUIRED, {B, OUT_ROWS, D}};
    PLB_TRY(plb_read(&reader, &grad_out, 1));
    PLB_TRY(plb_check_prefix(&call, args.prefix_count, "grad_out", reader.size[OUT_ROWS]));
    reader.size[P] = args.prefix_count;
    reader.size[N] = reader.size[OUT_ROWS] - args.prefix_count;
    PLB_TRY(settle_visible(&call, &args, &reader));
    const plb_argument arguments[] = {
        {"ids_restore", args.ids_restore, &job.layout.ids_restore, PLB_IDS, PLB_IN | PLB_REQUIRED, {B, N}},
        {"grad_x", args.grad_x, &job.grad_x, PLB_LIKE_FIRST, PLB_OUT, {B, X_ROWS, D}},
        {"grad_mask_token", args.grad_mask_token, &job.grad_mask_token, PLB_LIKE_FIRST, parameter, {D}},
        {"grad_pos_embed", args.grad_pos_embed, &job.grad_pos_embed, PLB_LIKE_FIRST, parameter, {PLB_ANY, D}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    if (!plb_has_output(arguments, PLB_COUNT(arguments)))
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "no output is given, at least one must be");
    PLB_TRY(settle(&call, &reader, &job.grad_pos_embed, &job.layout));
    return PLB_RUN(&call, decoder_tokens_backward, &job);
}
