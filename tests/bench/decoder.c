/*
 * The tokens of MAE's decoder and their gradient; 14 x 14 patches and a class token, 512 channels as in the paper.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

enum { TOKENS = 196, CHANNELS = 512 };

static poslabel_status decoder(poslabel_context *context, void *args)
{
    return poslabel_decoder_tokens(context, args);
}

static poslabel_status decoder_backward(poslabel_context *context, void *args)
{
    return poslabel_decoder_tokens_backward(context, args);
}

/* In MAE the embedding is fixed, so that only the last of these makes its gradient. */
typedef enum decoder_pass { FORWARD, BACKWARD, BACKWARD_ALL } decoder_pass;

/* So many images, or, when that is 0, what 512 MiB of traffic or --max-bytes hold. */
static void measure_decoder(bench_run *run, decoder_pass pass, bench_dtype dtype, int64_t wanted, int64_t visible)
{
    static const char *const operations[] = {"decoder_tokens", "decoder_tokens_backward",
                                             "decoder_tokens_backward, pos_embed"};
    enum { POSITIONS = (1 + TOKENS) * CHANNELS, PARAMETERS = POSITIONS + CHANNELS };
    const size_t element = bench_element(dtype), image_bytes = (1 + TOKENS) * CHANNELS * element;
    const size_t large = (size_t)512 << 20, most = run->max_bytes / 2; /* what an arena holds */
    int64_t images = wanted ? wanted : (int64_t)(large * TOKENS / (size_t)(TOKENS + visible) / image_bytes);
    if ((size_t)images * image_bytes > most)
        images = (int64_t)(most / image_bytes);
    if (!images || (wanted && images < wanted))
        return;
    char size[72];
    snprintf(size, sizeof size, "%lldx196x512/%lld", (long long)images, (long long)visible);
    if (!bench_wanted(run, operations[pass], size, bench_dtype_name(dtype)))
        return;

    /* the parameters, or, on the way back, their gradients */
    unsigned char *const parameters = bench_map(run, PARAMETERS * element);
    int64_t *const ids = bench_map(run, (size_t)images * TOKENS * 8);
    unsigned char *const data = bench_normal(run, dtype);
    for (size_t i = 0; i < PARAMETERS * element; i++)
        parameters[i] = data[i];
    const bool forward = pass == FORWARD;
    bench_tensor x, ids_restore, mask_token, pos_embed, out;
    bench_view(&ids_restore, ids, BENCH_I64, 2, images, TOKENS, 0);
    bench_view(&x, forward ? data : run->b, dtype, 3, images, 1 + visible, CHANNELS);
    bench_view(&out, forward ? run->b : data, dtype, 3, images, 1 + TOKENS, CHANNELS);
    bench_view(&pos_embed, parameters, dtype, 2, 1 + TOKENS, CHANNELS, 0);
    bench_view(&mask_token, parameters + POSITIONS * element, dtype, 1, CHANNELS, 0, 0);
    poslabel_random_mask_args mask = POSLABEL_RANDOM_MASK_ARGS_INIT;
    mask.tokens = TOKENS;
    mask.mask_ratio = 1 - (double)visible / TOKENS;
    mask.ids_restore = &ids_restore.tensor;
    if (poslabel_random_mask(run->context, &mask) != POSLABEL_OK)
        bench_fail("%s", poslabel_context_message(run->context));

    poslabel_decoder_tokens_args there = POSLABEL_DECODER_TOKENS_ARGS_INIT;
    there.x = &x.tensor;
    there.prefix_count = 1;
    there.ids_restore = &ids_restore.tensor;
    there.mask_token = &mask_token.tensor;
    there.pos_embed = &pos_embed.tensor;
    there.out = &out.tensor;
    poslabel_decoder_tokens_backward_args back = POSLABEL_DECODER_TOKENS_BACKWARD_ARGS_INIT;
    back.grad_out = &out.tensor;
    back.prefix_count = 1;
    back.ids_restore = &ids_restore.tensor;
    back.grad_x = &x.tensor;
    back.grad_mask_token = &mask_token.tensor;
    back.grad_pos_embed = pass == BACKWARD_ALL ? &pos_embed.tensor : NULL;

    bench_case measured = {.operation = operations[pass], .size = size, .dtype = bench_dtype_name(dtype)};
    measured.yardstick = BENCH_COPY;
    if (forward) {
        measured.call = decoder;
        measured.args = &there;
        measured.read = x.bytes + ids_restore.bytes + mask_token.bytes + pos_embed.bytes;
        measured.written = out.bytes;
        measured.outputs[0] = (bench_output){out.tensor.data, dtype, out.bytes / element, 0};
    } else {
        measured.call = decoder_backward;
        measured.args = &back;
        measured.read = out.bytes + ids_restore.bytes;
        measured.written = x.bytes + mask_token.bytes + (pass == BACKWARD_ALL ? pos_embed.bytes : 0);
        measured.outputs[0] = (bench_output){x.tensor.data, dtype, x.bytes / element, 0};
        measured.outputs[1] = (bench_output){mask_token.tensor.data, dtype, CHANNELS, 0};
        if (pass == BACKWARD_ALL)
            measured.outputs[2] = (bench_output){pos_embed.tensor.data, dtype, POSITIONS, 0};
    }
    if (measured.read + measured.written >= (size_t)250 << 20)
        measured.target = (bench_target){BENCH_RATIO_AT_LEAST, 0.6};
    bench_measure(run, &measured);
    bench_unmap(parameters, PARAMETERS * element);
    bench_unmap(ids, (size_t)images * TOKENS * 8);
}

void bench_decoder(bench_run *run)
{
    static const bench_dtype dtypes[] = {BENCH_F32, BENCH_F16, BENCH_BF16};
    for (decoder_pass pass = FORWARD; pass <= BACKWARD_ALL; pass++) {
        measure_decoder(run, pass, BENCH_F32, 64, 49);
        for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
            measure_decoder(run, pass, dtypes[i], 0, 49);
    }
    measure_decoder(run, FORWARD, BENCH_F32, 0, 147);
    measure_decoder(run, BACKWARD_ALL, BENCH_F32, 0, 147);
}
