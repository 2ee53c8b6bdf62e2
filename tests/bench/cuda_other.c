/*
 * Masks, tokens, attention, labels, scaling a gradient: on the device.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cuda.h"

#include <stdlib.h>

enum { GRID = 14, TOKENS = GRID * GRID, CHANNELS = 768, VISIBLE = 49 };

#define OPERATION(name)                                                                                                \
    static poslabel_status name(poslabel_context *context, void *args)                                                \
    {                                                                                                                  \
        return poslabel_##name(context, args);                                                                         \
    }
OPERATION(random_mask)
OPERATION(regular_mask)
OPERATION(block_mask)
OPERATION(droppos_masks)
OPERATION(assemble_tokens)
OPERATION(assemble_tokens_backward)
OPERATION(attentive_weights)
OPERATION(absolute_labels)
OPERATION(relative_labels)
OPERATION(smoothing_map)
OPERATION(scale_gradient)
OPERATION(linear_position_loss)

/* ---- masks ---- */

typedef enum mask_kind { RANDOM, REGULAR, BLOCK, DROPPOS } mask_kind;

static void measure_masks(cuda_run *run, mask_kind kind, int32_t side, int64_t images, bool given_noise)
{
    static const char *const operations[] = {"random_mask", "regular_mask", "block_mask", "droppos_masks"};
    const poslabel_grid grid = {side, side};
    const int64_t tokens = (int64_t)side * side;
    const int64_t keep = kind == REGULAR ? poslabel_regular_mask_keep(grid)
                         : kind == BLOCK ? poslabel_block_mask_keep(grid, 0.75)
                                         : poslabel_random_mask_keep(tokens, 0.75);
    if (run->smoke)
        images = images < 2 ? images : 2;
    char operation[64], size[72];
    snprintf(operation, sizeof operation, "%s, %s", operations[kind], given_noise ? "noise given" : "Philox");
    snprintf(size, sizeof size, "%lldx%lld", (long long)images, (long long)tokens);
    if ((run->smoke && tokens > 600) || !bench_wanted(&run->base, operation, size, "int64"))
        return;

    const size_t ids = (size_t)(images * tokens) * 8, floats = (size_t)(images * tokens) * 4;
    float *const uniform = malloc(floats);
    if (!uniform)
        bench_fail("no memory");
    uint64_t seed = 11;
    for (int64_t i = 0; i < images * tokens; i++)
        uniform[i] = (float)(bench_random(&seed) >> 40) * 0x1p-24f;
    void *const memory[] = {cuda_new(run, ids),    cuda_new(run, ids),    cuda_new(run, ids),
                            cuda_new(run, floats), cuda_new(run, floats), cuda_upload(run, uniform, floats)};
    free(uniform);
    bench_tensor ids_keep, ids_restore, positions, mask, mask_pos, noise, pos_noise;
    cuda_view(&ids_keep, memory[0], BENCH_I64, 2, images, keep, 0);
    cuda_view(&ids_restore, memory[1], BENCH_I64, 2, images, tokens, 0);
    cuda_view(&positions, memory[2], BENCH_I64, 2, images, keep, 0);
    cuda_view(&mask, memory[3], BENCH_F32, 2, images, tokens, 0);
    cuda_view(&mask_pos, memory[4], BENCH_F32, 2, images, keep, 0);
    cuda_view(&noise, memory[5], BENCH_F32, 2, images, tokens, 0);
    cuda_view(&pos_noise, memory[5], BENCH_F32, 2, images, keep, 0);

    poslabel_random_mask_args random = POSLABEL_RANDOM_MASK_ARGS_INIT;
    poslabel_regular_mask_args regular = POSLABEL_REGULAR_MASK_ARGS_INIT;
    poslabel_block_mask_args block = POSLABEL_BLOCK_MASK_ARGS_INIT;
    poslabel_droppos_masks_args droppos = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    random.tokens = tokens;
    regular.grid = block.grid = droppos.grid = grid;
    random.noise = droppos.patch_noise = given_noise ? &noise.tensor : NULL;
    droppos.pos_noise = given_noise ? &pos_noise.tensor : NULL;
    droppos.mask_pos = &mask_pos.tensor;
    droppos.positions = &positions.tensor;
    random.seed = regular.seed = block.seed = droppos.seed = 1;
    random.ids_keep = regular.ids_keep = block.ids_keep = droppos.ids_keep = &ids_keep.tensor;
    random.ids_restore = regular.ids_restore = block.ids_restore = droppos.ids_restore = &ids_restore.tensor;
    random.mask = regular.mask = block.mask = droppos.mask = &mask.tensor;

    bench_call *const calls[] = {random_mask, regular_mask, block_mask, droppos_masks};
    void *const args[] = {&random, &regular, &block, &droppos};
    bench_case measured = {.operation = operation,
                           .size = size,
                           .dtype = "int64",
                           .call = calls[kind],
                           .args = args[kind],
                           .read = given_noise ? noise.bytes : 0,
                           .written = ids_keep.bytes + ids_restore.bytes + mask.bytes,
                           .items = images,
                           .outputs = {{memory[0], BENCH_I64, (size_t)(images * keep), 0},
                                       {memory[1], BENCH_I64, (size_t)(images * tokens), 0},
                                       {memory[3], BENCH_F32, (size_t)(images * tokens), 0}}};
    if (kind == DROPPOS) { /* positions hold -1, so they are not checked */
        measured.read += given_noise ? pos_noise.bytes : 0;
        measured.written += mask_pos.bytes + positions.bytes;
        measured.outputs[3] = (bench_output){memory[4], BENCH_F32, (size_t)(images * keep), 0};
    }
    cuda_measure(run, &measured);
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        CUDA(cudaFree(memory[i]));
}

/* ---- tokens ---- */

typedef enum token_pass { FORWARD, BACKWARD, BACKWARD_ALL } token_pass;

static void measure_tokens(cuda_run *run, token_pass pass, bench_dtype dtype, int64_t visible)
{
    static const char *const operations[] = {"assemble_tokens", "assemble_tokens_backward",
                                             "assemble_tokens_backward, pos_embed"};
    enum { POSITIONS = (TOKENS + 1) * CHANNELS, PARAMETERS = POSITIONS + 2 * CHANNELS };
    const size_t one = bench_element(dtype), token = CHANNELS * one;
    int64_t images = run->smoke ? 1 : (int64_t)(run->large / ((size_t)(2 * visible) * token)) + 1;
    char size[72];
    snprintf(size, sizeof size, "%lldx196x768/%lld", (long long)images, (long long)visible);
    if (!cuda_fits(run, (size_t)images * (TOKENS + 1) * token) ||
        !bench_wanted(&run->base, operations[pass], size, bench_dtype_name(dtype)))
        return;

    /* the CPU draws what is visible and what lost its position */
    bench_tensor ids_keep, mask_pos;
    int64_t *const ids = malloc((size_t)(images * visible) * 8);
    uint8_t *const dropped = malloc((size_t)(images * visible));
    if (!ids || !dropped)
        bench_fail("no memory");
    bench_view(&ids_keep, ids, BENCH_I64, 2, images, visible, 0);
    bench_view(&mask_pos, dropped, BENCH_U8, 2, images, visible, 0);
    poslabel_droppos_masks_args masks = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    masks.grid = (poslabel_grid){GRID, GRID};
    masks.mask_ratio = 1 - (double)visible / TOKENS;
    masks.ids_keep = &ids_keep.tensor;
    masks.mask_pos = &mask_pos.tensor;
    if (poslabel_droppos_masks(run->host, &masks) != POSLABEL_OK)
        bench_fail("%s", poslabel_context_message(run->host));
    void *const ids_there = cuda_upload(run, ids, ids_keep.bytes);
    void *const dropped_there = cuda_upload(run, dropped, mask_pos.bytes);
    free(ids);
    free(dropped);
    unsigned char *const data = cuda_normal(run, dtype);
    unsigned char *const parameters = cuda_new(run, PARAMETERS * one);
    if (PARAMETERS * one <= run->arena_bytes)
        CUDA(cudaMemcpy(parameters, data, PARAMETERS * one, cudaMemcpyDeviceToDevice));
    CUDA(cudaDeviceSynchronize());

    const bool forward = pass == FORWARD;
    bench_tensor tokens, x, prefix, pos_embed, mask;
    cuda_view(&ids_keep, ids_there, BENCH_I64, 2, images, visible, 0);
    cuda_view(&mask_pos, dropped_there, BENCH_U8, 2, images, visible, 0);
    cuda_view(&tokens, forward ? data : run->b, dtype, 3, images, TOKENS, CHANNELS);
    cuda_view(&x, forward ? run->b : data, dtype, 3, images, 1 + visible, CHANNELS);
    cuda_view(&pos_embed, parameters, dtype, 2, TOKENS + 1, CHANNELS, 0);
    cuda_view(&prefix, parameters + POSITIONS * one, dtype, 2, 1, CHANNELS, 0);
    cuda_view(&mask, parameters + (POSITIONS + CHANNELS) * one, dtype, 1, CHANNELS, 0, 0);

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

    const size_t ids_bytes = ids_keep.bytes + mask_pos.bytes, of_rest = prefix.bytes + mask.bytes;
    bench_case measured = {.operation = operations[pass], .size = size, .dtype = bench_dtype_name(dtype)};
    if (forward) {
        measured.call = assemble_tokens;
        measured.args = &there;
        measured.read = (size_t)(images * visible) * token + ids_bytes + pos_embed.bytes + of_rest;
        measured.written = x.bytes;
        measured.outputs[0] = (bench_output){x.tensor.data, dtype, x.bytes / one, 0};
    } else {
        measured.call = assemble_tokens_backward;
        measured.args = &back;
        measured.read = x.bytes + ids_bytes;
        measured.written = tokens.bytes + of_rest + (pass == BACKWARD_ALL ? pos_embed.bytes : 0);
        measured.outputs[0] = (bench_output){tokens.tensor.data, dtype, tokens.bytes / one, 0};
        measured.outputs[1] = (bench_output){mask.tensor.data, dtype, CHANNELS, 0};
        measured.outputs[2] = (bench_output){prefix.tensor.data, dtype, CHANNELS, 0};
        if (pass == BACKWARD_ALL)
            measured.outputs[3] = (bench_output){pos_embed.tensor.data, dtype, POSITIONS, 0};
    }
    cuda_measure(run, &measured);
    CUDA(cudaFree(ids_there));
    CUDA(cudaFree(dropped_there));
    CUDA(cudaFree(parameters));
}

static void measure_attention(cuda_run *run, bench_dtype dtype)
{
    const size_t token = CHANNELS * bench_element(dtype);
    const int64_t images = run->smoke ? 1 : (int64_t)(run->large / (TOKENS * token)) + 1;
    char size[72];
    snprintf(size, sizeof size, "%lldx196x768/49", (long long)images);
    if (!cuda_fits(run, (size_t)images * TOKENS * token) ||
        !bench_wanted(&run->base, "attentive_weights", size, bench_dtype_name(dtype)))
        return;
    int64_t *const ids = malloc((size_t)images * VISIBLE * 8);
    if (!ids)
        bench_fail("no memory");
    uint64_t seed = 5;
    for (int64_t i = 0; i < images * VISIBLE; i++)
        ids[i] = (int64_t)(bench_random(&seed) % TOKENS);
    void *const ids_there = cuda_upload(run, ids, (size_t)images * VISIBLE * 8);
    free(ids);
    unsigned char *const data = cuda_normal(run, dtype);
    bench_tensor tokens, cls, ids_keep, weights;
    cuda_view(&tokens, data, dtype, 3, images, TOKENS, CHANNELS);
    cuda_view(&cls, data + 8 * token, dtype, 2, images, CHANNELS, 0); /* any of the numbers will do */
    cuda_view(&ids_keep, ids_there, BENCH_I64, 2, images, VISIBLE, 0);
    cuda_view(&weights, run->b, BENCH_F32, 2, images, VISIBLE, 0);
    poslabel_attentive_weights_args args = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
    args.tokens = &tokens.tensor;
    args.cls = &cls.tensor;
    args.ids_keep = &ids_keep.tensor;
    args.weights = &weights.tensor;
    cuda_measure(run, &(bench_case){.operation = "attentive_weights",
                                    .size = size,
                                    .dtype = bench_dtype_name(dtype),
                                    .call = attentive_weights,
                                    .args = &args,
                                    .read = tokens.bytes + cls.bytes + ids_keep.bytes,
                                    .written = weights.bytes,
                                    .outputs = {{run->b, BENCH_F32, (size_t)images * VISIBLE, 0}}});
    CUDA(cudaFree(ids_there));
}

/* ---- what only writes, and what scales ---- */

static void measure_writer(cuda_run *run, const char *operation, bench_call *call, void *args, const poslabel_tensor **place,
                           bench_dtype dtype, int ndim, const int64_t *shape)
{
    char size[72];
    snprintf(size, sizeof size, ndim == 2 ? "%lldx%lld" : "%lldx%lldx%lld", (long long)shape[0], (long long)shape[1],
             (long long)shape[2]);
    bench_tensor out;
    cuda_view(&out, run->b, dtype, ndim, shape[0], shape[1], shape[2]);
    if (!cuda_fits(run, out.bytes) || !bench_wanted(&run->base, operation, size, bench_dtype_name(dtype)))
        return;
    *place = &out.tensor;
    cuda_measure(run, &(bench_case){.operation = operation,
                                    .size = size,
                                    .dtype = bench_dtype_name(dtype),
                                    .call = call,
                                    .args = args,
                                    .written = out.bytes,
                                    .outputs = {{run->b, dtype, out.bytes / bench_element(dtype), 0}}});
    *place = NULL;
}

static void measure_labels(cuda_run *run)
{
    poslabel_absolute_labels_args absolute = POSLABEL_ABSOLUTE_LABELS_ARGS_INIT;
    poslabel_relative_labels_args relative = POSLABEL_RELATIVE_LABELS_ARGS_INIT;
    poslabel_smoothing_map_args map = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
    absolute.grid = relative.grid = map.grid = (poslabel_grid){GRID, GRID};
    map.sigma = 1;
    const int64_t many[] = {run->smoke ? 2 : (int64_t)(run->large / (TOKENS * 8)) + 1, TOKENS, 0};
    const int64_t pairs[] = {run->smoke ? 1 : (int64_t)(run->large / (TOKENS * TOKENS * 8)) + 1, TOKENS, TOKENS};
    const int64_t table[] = {TOKENS, TOKENS, 0}, large_table[] = {1024, 1024, 0};
    measure_writer(run, "absolute_labels", absolute_labels, &absolute, &absolute.labels, BENCH_I64, 2, many);
    measure_writer(run, "relative_labels", relative_labels, &relative, &relative.labels, BENCH_I64, 3, pairs);
    measure_writer(run, "smoothing_map", smoothing_map, &map, &map.map, BENCH_F32, 2, table);
    map.grid = (poslabel_grid){32, 32};
    if (!run->smoke)
        measure_writer(run, "smoothing_map", smoothing_map, &map, &map.map, BENCH_F32, 2, large_table);
}

static void measure_scaling(cuda_run *run, bench_dtype dtype, float value)
{
    const int64_t rows = (int64_t)(run->large / 2 / (TOKENS * bench_element(dtype))) + 1;
    const char *const operation = value == 1 ? "scale_gradient by 1" : "scale_gradient by 0.5";
    char size[72];
    snprintf(size, sizeof size, "%lldx196", (long long)rows);
    if (!bench_wanted(&run->base, operation, size, bench_dtype_name(dtype)))
        return;
    cuda_normal(run, dtype);
    void *const factor = cuda_upload(run, &value, 4);
    bench_tensor grad, scale;
    cuda_view(&grad, run->b, dtype, 2, rows, TOKENS, 0);
    cuda_view(&scale, factor, BENCH_F32, 0, 0, 0, 0);
    poslabel_scale_gradient_args args = POSLABEL_SCALE_GRADIENT_ARGS_INIT;
    args.grad = &grad.tensor;
    args.scale = &scale.tensor;
    cuda_measure(run, &(bench_case){.operation = operation,
                                    .size = size,
                                    .dtype = bench_dtype_name(dtype),
                                    .call = scale_gradient,
                                    .args = &args,
                                    .read = grad.bytes,
                                    .written = grad.bytes,
                                    .in_place = true,
                                    .outputs = {{run->b, dtype, (size_t)(rows * TOKENS), 0}}});
    CUDA(cudaFree(factor));
}

/* The head and its loss without the logits, from [rows, 768]: limited by arithmetic, so the copy is only a scale. */
static void measure_linear(cuda_run *run, bench_dtype dtype)
{
    const size_t one = bench_element(dtype);
    const int64_t rows = (run->smoke ? 1 : 256) * TOKENS;
    char size[72];
    snprintf(size, sizeof size, "%lldx768x196", (long long)rows);
    if (!cuda_fits(run, (size_t)rows * CHANNELS * one) ||
        !bench_wanted(&run->base, "linear_position_loss, absolute", size, bench_dtype_name(dtype)))
        return;
    unsigned char *const data = cuda_normal(run, dtype);
    void *const loss_there = cuda_new(run, 4), *const grad_there = cuda_new(run, TOKENS * CHANNELS * 4);
    bench_tensor features, weight, loss, grad_features, grad_weight;
    cuda_view(&features, data, dtype, 2, rows, CHANNELS, 0);
    cuda_view(&weight, data, dtype, 2, TOKENS, CHANNELS, 0); /* any of the numbers will do */
    cuda_view(&loss, loss_there, BENCH_F32, 0, 0, 0, 0);
    cuda_view(&grad_features, run->b, dtype, 2, rows, CHANNELS, 0);
    cuda_view(&grad_weight, grad_there, BENCH_F32, 2, TOKENS, CHANNELS, 0);
    poslabel_linear_position_loss_args args = POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT;
    args.grid = (poslabel_grid){GRID, GRID};
    args.features = &features.tensor;
    args.weight = &weight.tensor;
    args.loss = &loss.tensor;
    args.grad_features = &grad_features.tensor;
    args.grad_weight = &grad_weight.tensor;
    cuda_measure(run, &(bench_case){.operation = "linear_position_loss, absolute",
                                    .size = size,
                                    .dtype = bench_dtype_name(dtype),
                                    .call = linear_position_loss,
                                    .args = &args,
                                    .read = features.bytes + weight.bytes,
                                    .written = loss.bytes + grad_features.bytes + grad_weight.bytes,
                                    .outputs = {{run->b, dtype, (size_t)(rows * CHANNELS), 0},
                                                {loss_there, BENCH_F32, 1, 0},
                                                {grad_there, BENCH_F32, TOKENS * CHANNELS, 0}}});
    CUDA(cudaFree(loss_there));
    CUDA(cudaFree(grad_there));
}

void cuda_other(cuda_run *run)
{
    static const struct {
        int32_t side;
        int64_t images;
    } masks[] = {{14, 4096}, {24, 4096}, {64, 256}, {256, 16}};
    for (int i = 0; i < 4; i++) {
        measure_masks(run, RANDOM, masks[i].side, masks[i].images, true);
        measure_masks(run, RANDOM, masks[i].side, masks[i].images, false);
        measure_masks(run, DROPPOS, masks[i].side, masks[i].images, false);
    }
    measure_masks(run, RANDOM, 14, 512, false);
    measure_masks(run, DROPPOS, 14, 512, false);
    measure_masks(run, REGULAR, 14, 4096, false);
    measure_masks(run, BLOCK, 14, 4096, false);
    for (int i = 0; i < 2; i++) {
        const bench_dtype dtype = i ? BENCH_BF16 : BENCH_F32;
        for (int k = 0; k < 2; k++) {
            measure_tokens(run, FORWARD, dtype, k ? TOKENS : VISIBLE);
            measure_tokens(run, BACKWARD, dtype, k ? TOKENS : VISIBLE);
            measure_tokens(run, BACKWARD_ALL, dtype, k ? TOKENS : VISIBLE);
        }
        measure_attention(run, dtype);
        measure_linear(run, dtype);
        measure_scaling(run, dtype, 0.5f);
        measure_scaling(run, dtype, 1);
    }
    measure_labels(run);
}
