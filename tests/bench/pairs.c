/*
 * Features of pairs of cells and their gradient; 14 x 14 cells.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

enum { GRID = 14, CELLS = GRID * GRID, CHANNELS = 768 };

static poslabel_status features(poslabel_context *context, void *args)
{
    return poslabel_pair_features(context, args);
}

static poslabel_status features_backward(poslabel_context *context, void *args)
{
    return poslabel_pair_features_backward(context, args);
}

/* How many of the cells of an image are in a pair, summed over the images: what the forward pass must read. */
static size_t cells_read(const int64_t *cells, int64_t images, int64_t pairs)
{
    size_t count = 0;
    for (int64_t b = 0; b < images; b++) {
        bool seen[CELLS] = {false};
        for (int64_t k = 0; k < 2 * pairs; k++) {
            bool *const cell = &seen[cells[2 * pairs * b + k]];
            count += !*cell;
            *cell = true;
        }
    }
    return count;
}

/* So many images, or, when that is 0, what 512 MiB or --max-bytes hold; `pairs` random ones an image, or all. */
static void measure_pairs(bench_run *run, bool forward, bench_dtype dtype, int64_t wanted, int64_t pairs,
                          bool channels_first)
{
    const size_t element = bench_element(dtype), row = CHANNELS * element;
    const size_t large = (size_t)512 << 20, most = run->max_bytes / 2; /* what an arena holds */
    const size_t largest = (size_t)(2 * pairs > CELLS ? 2 * pairs : CELLS) * row;
    int64_t images = wanted ? wanted : (int64_t)(large / ((size_t)(2 * pairs + CELLS) * row));
    if ((size_t)images * largest > most)
        images = (int64_t)(most / largest);
    if (!images || (wanted && images < wanted))
        return;
    char size[72], operation[64];
    snprintf(size, sizeof size, "%lldx196x768/%lld", (long long)images, (long long)pairs);
    snprintf(operation, sizeof operation, "pair_features%s%s", forward ? "" : "_backward",
             channels_first ? ", channels first" : "");
    if (!bench_wanted(run, operation, size, bench_dtype_name(dtype)))
        return;

    const size_t ids_bytes = (size_t)(images * pairs) * 2 * 8;
    int64_t *const ids = bench_map(run, ids_bytes);
    void *const data = bench_normal(run, dtype);
    bench_tensor cells, maps, rows;
    bench_view(&cells, ids, BENCH_I64, 3, images, pairs, 2);
    bench_view(&maps, forward ? data : run->b, dtype, 3, images, CELLS, CHANNELS);
    if (channels_first)
        bench_channels_first(&maps);
    bench_view(&rows, forward ? run->b : data, dtype, 3, images, pairs, 2 * CHANNELS);
    poslabel_cell_pairs_args draw = POSLABEL_CELL_PAIRS_ARGS_INIT;
    draw.grid = (poslabel_grid){GRID, GRID};
    draw.kind = pairs == CELLS ? POSLABEL_PAIRS_ALL : POSLABEL_PAIRS_RANDOM;
    draw.cells = &cells.tensor;
    if (poslabel_cell_pairs(run->context, &draw) != POSLABEL_OK)
        bench_fail("%s", poslabel_context_message(run->context));

    poslabel_pair_features_args there = POSLABEL_PAIR_FEATURES_ARGS_INIT;
    there.features = &maps.tensor;
    there.cells = &cells.tensor;
    there.pairs = &rows.tensor;
    poslabel_pair_features_backward_args back = POSLABEL_PAIR_FEATURES_BACKWARD_ARGS_INIT;
    back.grad_pairs = &rows.tensor;
    back.cells = &cells.tensor;
    back.grad_features = &maps.tensor;

    bench_case measured = {.operation = operation, .size = size, .dtype = bench_dtype_name(dtype)};
    const bench_tensor *const out = forward ? &rows : &maps;
    measured.yardstick = BENCH_COPY;
    measured.call = forward ? features : features_backward;
    measured.args = forward ? (void *)&there : (void *)&back;
    measured.read = ids_bytes + (!forward         ? rows.bytes
                                 : channels_first ? maps.bytes
                                                  : cells_read(ids, images, pairs) * row);
    measured.written = out->bytes;
    measured.outputs[0] = (bench_output){out->tensor.data, dtype, out->bytes / element, 0};
    if (measured.read + measured.written >= (size_t)250 << 20)
        measured.target = (bench_target){BENCH_RATIO_AT_LEAST, channels_first ? 0.5 : 0.6};
    bench_measure(run, &measured);
    bench_unmap(ids, ids_bytes);
}

void bench_pairs(bench_run *run)
{
    for (int forward = 1; forward >= 0; forward--) {
        measure_pairs(run, forward, BENCH_F32, 64, 64, false);
        measure_pairs(run, forward, BENCH_F32, 0, 64, false);
        measure_pairs(run, forward, BENCH_F32, 0, CELLS, false);
        measure_pairs(run, forward, BENCH_F16, 0, 64, false);
        measure_pairs(run, forward, BENCH_BF16, 0, CELLS, false);
        measure_pairs(run, forward, BENCH_F32, 0, 64, true);
        measure_pairs(run, forward, BENCH_F32, 0, CELLS, true);
        measure_pairs(run, forward, BENCH_F16, 0, 64, true);
    }
}
