/*
 * Labels and the smoothing map as tensors: all they do is write.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

static poslabel_status absolute_labels(poslabel_context *context, void *args)
{
    return poslabel_absolute_labels(context, args);
}

static poslabel_status relative_labels(poslabel_context *context, void *args)
{
    return poslabel_relative_labels(context, args);
}

static poslabel_status smoothing_map(poslabel_context *context, void *args)
{
    return poslabel_smoothing_map(context, args);
}

/* Writes [n0, n1] or [n0, n1, n2] into arena b. */
static void measure_writer(bench_run *run, const char *operation, bench_call *call, void *args,
                           const poslabel_tensor **place, bench_dtype dtype, int ndim, const int64_t *shape)
{
    char size[72];
    if (ndim == 2)
        snprintf(size, sizeof size, "%lldx%lld", (long long)shape[0], (long long)shape[1]);
    else
        snprintf(size, sizeof size, "%lldx%lldx%lld", (long long)shape[0], (long long)shape[1], (long long)shape[2]);
    bench_tensor out;
    bench_view(&out, run->b, dtype, ndim, shape[0], shape[1], shape[2]);
    if (out.bytes > run->arena_bytes || !bench_wanted(run, operation, size, bench_dtype_name(dtype)))
        return;
    *place = &out.tensor;
    bench_measure(run, &(bench_case){.operation = operation,
                                       .size = size,
                                       .dtype = bench_dtype_name(dtype),
                                       .call = call,
                                       .args = args,
                                       .written = out.bytes,
                                       .yardstick = BENCH_FILL,
                                       .outputs = {{run->b, dtype, out.bytes / bench_element(dtype), 0}}});
    *place = NULL;
}

void bench_labels(bench_run *run)
{
    poslabel_absolute_labels_args absolute = POSLABEL_ABSOLUTE_LABELS_ARGS_INIT;
    poslabel_relative_labels_args relative = POSLABEL_RELATIVE_LABELS_ARGS_INIT;
    poslabel_smoothing_map_args map = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
    absolute.grid = relative.grid = map.grid = (poslabel_grid){14, 14};
    map.sigma = 1;
    const int64_t few[] = {64, 196, 0}, many[] = {131072, 196, 0}, pairs[] = {1, 196, 196}, batch[] = {640, 196, 196};
    const int64_t table[] = {196, 196, 0}, large_table[] = {1024, 1024, 0};
    measure_writer(run, "absolute_labels", absolute_labels, &absolute, &absolute.labels, BENCH_I64, 2, few);
    measure_writer(run, "absolute_labels", absolute_labels, &absolute, &absolute.labels, BENCH_I64, 2, many);
    measure_writer(run, "relative_labels", relative_labels, &relative, &relative.labels, BENCH_I64, 3, pairs);
    measure_writer(run, "relative_labels", relative_labels, &relative, &relative.labels, BENCH_I64, 3, batch);
    measure_writer(run, "smoothing_map", smoothing_map, &map, &map.map, BENCH_F32, 2, table);
    map.grid = (poslabel_grid){32, 32};
    measure_writer(run, "smoothing_map", smoothing_map, &map, &map.map, BENCH_F32, 2, large_table);
}
