/*
 * Token assembly, its gradient, attentive weights; 14 x 14 patches.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

enum { GRID = 14, TOKENS = GRID * GRID, CHANNELS = 768 };

static poslabel_status assemble(poslabel_context *context, void *args)
{
    return poslabel_assemble_tokens(context, args);
}

static poslabel_status assemble_backward(poslabel_context *context, void *args)
{
    return poslabel_assemble_tokens_backward(context, args);
}

static poslabel_status attentive_weights(poslabel_context *context, void *args)
{
    return poslabel_attentive_weights(context, args);
}

/* As many images as fit `images`, or, when that is 0, 512 MiB of traffic or --max-bytes. */
static int64_t image_count(const bench_run *run, int64_t images, bench_dtype dtype, int64_t visible)
{
    const size_t token = CHANNELS * bench_element(dtype), large = (size_t)512 << 20;
    const size_t traffic = run->max_bytes < large ? run->max_bytes : large;
    int64_t count = images ? images : (int64_t)(traffic / ((size_t)(2 * visible) * token));
    const int64_t most = (int64_t)(run->max_bytes / 2 / ((TOKENS + 1) * token)); /* what an arena holds */
    if (count > most)
        count = most;
    return count;
}

/* A tensor of normals of its own, cut from the filled arena: small parameters. */
static void copy_normals(bench_run *run, bench_dtype dtype, void *out, size_t bytes)
{
    const unsigned char *const from = bench_normal(run, dtype);
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)out)[i] = from[i];
}

/* The last two have tokens whose channels lie apart, as a convolution leaves them. */
typedef enum token_pass { FORWARD, BACKWARD, BACKWARD_ALL, FORWARD_CHANNELS, BACKWARD_CHANNELS } token_pass;

static void measure_tokens(bench_run *run, token_pass pass, bench_dtype dtype, int64_t wanted, int64_t visible)
{
    static const char *const operations[] = {"assemble_tokens", "assemble_tokens_backward",
                                             "assemble_tokens_backward, pos_embed", "assemble_tokens, channels first",
                                             "assemble_tokens_backward, channels first"};
    const int64_t images = image_count(run, wanted, dtype, visible);
    if (!images || (wanted && images < wanted))
        return;
    char size[72];
    snprintf(size, sizeof size, "%lldx196x768/%lld", (long long)images, (long long)visible);
    if (!bench_wanted(run, operations[pass], size, bench_dtype_name(dtype)))
        return;

    /* the parameters, or, on the way back, their gradients: positions, class token, mask token */
    enum { POSITIONS = (TOKENS + 1) * CHANNELS, PARAMETERS = POSITIONS + 2 * CHANNELS };
    const size_t element = bench_element(dtype);
    unsigned char *const parameters = bench_map(run, PARAMETERS * element);
    int64_t *const ids = bench_map(run, (size_t)(images * visible) * 8);
    uint8_t *const dropped = bench_map(run, (size_t)(images * visible));
    void *const data = bench_normal(run, dtype);
    copy_normals(run, dtype, parameters, PARAMETERS * element);

    bench_tensor tokens, x, ids_keep, mask_pos, prefix, pos_embed, mask;
    bench_view(&ids_keep, ids, BENCH_I64, 2, images, visible, 0);
    bench_view(&mask_pos, dropped, BENCH_U8, 2, images, visible, 0);
    poslabel_droppos_masks_args masks = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    masks.grid = (poslabel_grid){GRID, GRID};
    masks.mask_ratio = 1 - (double)visible / TOKENS;
    masks.ids_keep = &ids_keep.tensor;
    masks.mask_pos = &mask_pos.tensor;
    if (poslabel_droppos_masks(run->context, &masks) != POSLABEL_OK)
        bench_fail("%s", poslabel_context_message(run->context));

    const bool forward = pass == FORWARD || pass == FORWARD_CHANNELS;
    const bool channels_first = pass == FORWARD_CHANNELS || pass == BACKWARD_CHANNELS;
    bench_view(&tokens, forward ? data : run->b, dtype, 3, images, TOKENS, CHANNELS);
    if (channels_first)
        bench_channels_first(&tokens);
    bench_view(&x, forward ? run->b : data, dtype, 3, images, 1 + visible, CHANNELS);
    bench_view(&pos_embed, parameters, dtype, 2, TOKENS + 1, CHANNELS, 0);
    bench_view(&prefix, parameters + POSITIONS * element, dtype, 2, 1, CHANNELS, 0);
    bench_view(&mask, parameters + (POSITIONS + CHANNELS) * element, dtype, 1, CHANNELS, 0, 0);

    poslabel_assemble_tokens_args there = POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT;
    there.tokens = &tokens.tensor;
    there.ids_keep = &ids_keep.tensor;
    there.mask_pos = &mask_pos.tensor;
    there.prefix_tokens = &prefix.tensor;
    there.pos_embed = &pos_embed.tensor;
    there.mask_token = &mask.tensor;
    there.x = &x.tensor;
    poslabel_assemble_tokens_backward_args back = POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT;
    back.grad_x = &x.tensor;
    back.prefix_count = 1;
    back.ids_keep = &ids_keep.tensor;
    back.mask_pos = &mask_pos.tensor;
    back.grad_tokens = &tokens.tensor;
    back.grad_mask_token = &mask.tensor;
    back.grad_prefix_tokens = &prefix.tensor;
    back.grad_pos_embed = pass == BACKWARD_ALL ? &pos_embed.tensor : NULL;

    const size_t kept = (size_t)(images * visible * CHANNELS) * element, ids_bytes = ids_keep.bytes + mask_pos.bytes;
    const size_t of_positions = pos_embed.bytes, of_rest = prefix.bytes + mask.bytes;
    bench_case measured = {.operation = operations[pass], .size = size, .dtype = bench_dtype_name(dtype)};
    measured.yardstick = BENCH_COPY;
    if (forward) {
        measured.call = assemble;
        measured.args = &there;
        measured.read = (channels_first ? tokens.bytes : kept) + ids_bytes + of_positions + of_rest;
        measured.written = x.bytes;
        measured.outputs[0] = (bench_output){x.tensor.data, dtype, x.bytes / element, 0};
    } else {
        measured.call = assemble_backward;
        measured.args = &back;
        measured.read = x.bytes + ids_bytes;
        measured.written = tokens.bytes + of_rest + (pass == BACKWARD_ALL ? of_positions : 0);
        measured.outputs[0] = (bench_output){tokens.tensor.data, dtype, tokens.bytes / element, 0};
        measured.outputs[1] = (bench_output){mask.tensor.data, dtype, CHANNELS, 0};
        measured.outputs[2] = (bench_output){prefix.tensor.data, dtype, CHANNELS, 0};
        if (pass == BACKWARD_ALL)
            measured.outputs[3] = (bench_output){pos_embed.tensor.data, dtype, POSITIONS, 0};
    }
    if (measured.read + measured.written >= (size_t)250 << 20)
        measured.target = (bench_target){BENCH_RATIO_AT_LEAST, channels_first ? 0.5 : 0.8};
    bench_measure(run, &measured);
    bench_unmap(parameters, PARAMETERS * element);
    bench_unmap(ids, (size_t)(images * visible) * 8);
    bench_unmap(dropped, (size_t)(images * visible));
}

static void measure_attention(bench_run *run, bench_dtype dtype, int64_t wanted, bool channels_first)
{
    enum { VISIBLE = 49 };
    const int64_t images = image_count(run, wanted, dtype, TOKENS);
    if (!images || (wanted && images < wanted))
        return;
    char size[72];
    snprintf(size, sizeof size, "%lldx196x768/49", (long long)images);
    const char *const operation = channels_first ? "attentive_weights, channels first" : "attentive_weights";
    if (!bench_wanted(run, operation, size, bench_dtype_name(dtype)))
        return;
    void *const data = bench_normal(run, dtype);
    int64_t *const ids = bench_map(run, (size_t)images * VISIBLE * 8);
    float *const out = bench_map(run, (size_t)images * VISIBLE * 4);
    void *const cls_data = bench_map(run, (size_t)images * CHANNELS * 4);
    copy_normals(run, dtype, cls_data, (size_t)images * CHANNELS * bench_element(dtype));
    uint64_t seed = 5;
    for (int64_t i = 0; i < images * VISIBLE; i++)
        ids[i] = (int64_t)(bench_random(&seed) % TOKENS);
    bench_tensor tokens, cls, ids_keep, weights;
    bench_view(&tokens, data, dtype, 3, images, TOKENS, CHANNELS);
    if (channels_first)
        bench_channels_first(&tokens);
    bench_view(&cls, cls_data, dtype, 2, images, CHANNELS, 0);
    bench_view(&ids_keep, ids, BENCH_I64, 2, images, VISIBLE, 0);
    bench_view(&weights, out, BENCH_F32, 2, images, VISIBLE, 0);
    poslabel_attentive_weights_args args = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
    args.tokens = &tokens.tensor;
    args.cls = &cls.tensor;
    args.ids_keep = &ids_keep.tensor;
    args.weights = &weights.tensor;
    bench_measure(run, &(bench_case){.operation = operation,
                                     .size = size,
                                     .dtype = bench_dtype_name(dtype),
                                     .call = attentive_weights,
                                     .args = &args,
                                     .read = tokens.bytes + cls.bytes + ids_keep.bytes,
                                     .written = weights.bytes,
                                     .yardstick = channels_first ? BENCH_COPY : BENCH_READ,
                                     .outputs = {{out, BENCH_F32, (size_t)images * VISIBLE, 0}}});
    bench_unmap(ids, (size_t)images * VISIBLE * 8);
    bench_unmap(out, (size_t)images * VISIBLE * 4);
    bench_unmap(cls_data, (size_t)images * CHANNELS * 4);
}

void bench_tokens(bench_run *run)
{
    static const struct {
        token_pass pass;
        bench_dtype dtype;
        int64_t images, visible;
    } cases[] = {
        {FORWARD, BENCH_F32, 64, 49},         {FORWARD, BENCH_F32, 64, TOKENS}, {FORWARD, BENCH_F32, 0, 49},
        {FORWARD, BENCH_F32, 0, TOKENS},      {BACKWARD, BENCH_F32, 64, 49},    {BACKWARD, BENCH_F32, 64, TOKENS},
        {BACKWARD, BENCH_F32, 0, 49},         {BACKWARD, BENCH_F32, 0, TOKENS}, {BACKWARD_ALL, BENCH_F32, 0, 49},
        {BACKWARD_ALL, BENCH_F32, 0, TOKENS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        measure_tokens(run, cases[i].pass, cases[i].dtype, cases[i].images, cases[i].visible);
    measure_attention(run, BENCH_F32, 64, false);
    measure_attention(run, BENCH_F32, 0, false);
    measure_tokens(run, FORWARD, BENCH_F16, 0, 49);
    measure_tokens(run, FORWARD, BENCH_F16, 0, TOKENS);
    measure_tokens(run, BACKWARD, BENCH_F16, 0, 49);
    measure_attention(run, BENCH_F16, 0, false);
    measure_tokens(run, FORWARD, BENCH_BF16, 0, 49);
    measure_tokens(run, FORWARD, BENCH_BF16, 0, TOKENS);
    measure_attention(run, BENCH_BF16, 0, false);
    for (int k = 0; k < 2; k++) {
        const bench_dtype dtype = k ? BENCH_F16 : BENCH_F32;
        measure_tokens(run, FORWARD_CHANNELS, dtype, 0, 49);
        measure_tokens(run, FORWARD_CHANNELS, dtype, 0, TOKENS);
        measure_tokens(run, BACKWARD_CHANNELS, dtype, 0, 49);
        measure_tokens(run, BACKWARD_CHANNELS, dtype, 0, TOKENS);
        measure_attention(run, dtype, 0, true);
    }
}
