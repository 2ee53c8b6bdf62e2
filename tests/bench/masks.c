/*
 * Masks: the time of an image.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

typedef enum mask_kind { RANDOM, REGULAR, BLOCK, DROPPOS } mask_kind;

static poslabel_status random_mask(poslabel_context *context, void *args)
{
    return poslabel_random_mask(context, args);
}

static poslabel_status regular_mask(poslabel_context *context, void *args)
{
    return poslabel_regular_mask(context, args);
}

static poslabel_status block_mask(poslabel_context *context, void *args)
{
    return poslabel_block_mask(context, args);
}

static poslabel_status droppos_masks(poslabel_context *context, void *args)
{
    return poslabel_droppos_masks(context, args);
}

/* ids_keep, ids_restore and mask, int64 and float32 as trainers have them; DropPos also mask_pos and positions. */
static void measure_masks(bench_run *run, mask_kind kind, int32_t side, int64_t images, bool given_noise)
{
    static const char *const operations[] = {"random_mask", "regular_mask", "block_mask", "droppos_masks"};
    const poslabel_grid grid = {side, side};
    const int64_t tokens = (int64_t)side * side;
    const int64_t keep = kind == REGULAR ? poslabel_regular_mask_keep(grid)
                         : kind == BLOCK ? poslabel_block_mask_keep(grid, 0.75)
                                         : poslabel_random_mask_keep(tokens, 0.75);
    char operation[64], size[72];
    snprintf(operation, sizeof operation, "%s, %s", operations[kind], given_noise ? "noise given" : "Philox");
    snprintf(size, sizeof size, "%lldx%lld", (long long)images, (long long)tokens);
    if (!bench_wanted(run, operation, size, "int64"))
        return;

    const size_t ids = (size_t)(images * tokens) * 8, floats = (size_t)(images * tokens) * 4;
    int64_t *const keep_data = bench_map(run, ids), *const restore_data = bench_map(run, ids),
                   *const positions_data = bench_map(run, ids);
    float *const mask_data = bench_map(run, floats), *const mask_pos_data = bench_map(run, floats),
                 *const noise_data = bench_map(run, floats), *const pos_noise_data = bench_map(run, floats);
    uint64_t seed = 11;
    for (int64_t i = 0; i < images * tokens; i++) {
        noise_data[i] = (float)(bench_random(&seed) >> 40) * 0x1p-24f;
        pos_noise_data[i] = (float)(bench_random(&seed) >> 40) * 0x1p-24f;
    }
    bench_tensor ids_keep, ids_restore, positions, mask, mask_pos, noise, pos_noise;
    bench_view(&ids_keep, keep_data, BENCH_I64, 2, images, keep, 0);
    bench_view(&ids_restore, restore_data, BENCH_I64, 2, images, tokens, 0);
    bench_view(&mask, mask_data, BENCH_F32, 2, images, tokens, 0);
    bench_view(&positions, positions_data, BENCH_I64, 2, images, keep, 0);
    bench_view(&mask_pos, mask_pos_data, BENCH_F32, 2, images, keep, 0);
    bench_view(&noise, noise_data, BENCH_F32, 2, images, tokens, 0);
    bench_view(&pos_noise, pos_noise_data, BENCH_F32, 2, images, keep, 0);

    poslabel_random_mask_args random = POSLABEL_RANDOM_MASK_ARGS_INIT;
    poslabel_regular_mask_args regular = POSLABEL_REGULAR_MASK_ARGS_INIT;
    poslabel_block_mask_args block = POSLABEL_BLOCK_MASK_ARGS_INIT;
    poslabel_droppos_masks_args droppos = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    random.tokens = tokens;
    random.noise = given_noise ? &noise.tensor : NULL;
    regular.grid = block.grid = droppos.grid = grid;
    droppos.patch_noise = random.noise;
    droppos.pos_noise = given_noise ? &pos_noise.tensor : NULL;
    droppos.mask_pos = &mask_pos.tensor;
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
                           .outputs = {{keep_data, BENCH_I64, (size_t)(images * keep), 0},
                                       {restore_data, BENCH_I64, (size_t)(images * tokens), 0},
                                       {mask_data, BENCH_F32, (size_t)(images * tokens), 0}}};
    if (kind == DROPPOS) {
        droppos.positions = &positions.tensor;
        measured.read += given_noise ? pos_noise.bytes : 0;
        measured.written += mask_pos.bytes + positions.bytes;
        /* positions hold -1, so they are not checked */
        measured.outputs[3] = (bench_output){mask_pos_data, BENCH_F32, (size_t)(images * keep), 0};
    }
    bench_measure(run, &measured);
    bench_unmap(keep_data, ids);
    bench_unmap(restore_data, ids);
    bench_unmap(positions_data, ids);
    bench_unmap(mask_data, floats);
    bench_unmap(mask_pos_data, floats);
    bench_unmap(noise_data, floats);
    bench_unmap(pos_noise_data, floats);
}

void bench_masks(bench_run *run)
{
    static const int32_t sides[] = {7, 14, 24};
    for (int i = 0; i < 3; i++) {
        measure_masks(run, RANDOM, sides[i], 4096, true);
        measure_masks(run, RANDOM, sides[i], 4096, false);
    }
    measure_masks(run, RANDOM, 14, 64, false);
    measure_masks(run, REGULAR, 14, 4096, false);
    measure_masks(run, BLOCK, 14, 4096, false);
    measure_masks(run, DROPPOS, 14, 4096, true);
    measure_masks(run, DROPPOS, 14, 4096, false);
    measure_masks(run, DROPPOS, 24, 4096, false);
    measure_masks(run, DROPPOS, 14, 64, false);
}
