/*
 * The scaling of gradients in place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

static poslabel_status scale_gradient(poslabel_context *context, void *args)
{
    return poslabel_scale_gradient(context, args);
}

/* grad *= scale: by 1, which must cost nothing; by another number; by one number a row. */
static void measure_scale(bench_run *run, bench_dtype dtype, int64_t images, float value, bool by_row)
{
    const size_t image = 49 * 196 * bench_element(dtype);
    const size_t large = run->max_bytes > (size_t)512 << 20 ? (size_t)512 << 20 : run->max_bytes;
    if (!images)
        images = (int64_t)(large / 2 / image);
    char size[72], operation[64];
    snprintf(size, sizeof size, "%lldx49x196", (long long)images);
    snprintf(operation, sizeof operation, "scale_gradient %s",
             by_row ? "by a number a row" : value == 1 ? "by 1" : "by 0.75");
    if (!bench_wanted(run, operation, size, bench_dtype_name(dtype)))
        return;
    bench_normal(run, dtype);
    const int64_t rows = images * 49;
    float *const scales = bench_map(run, (size_t)rows * 4);
    for (int64_t r = 0; r < rows; r++)
        scales[r] = value;
    bench_tensor grad, scale;
    bench_view(&grad, run->b, dtype, 3, images, 49, 196);
    bench_view(&scale, scales, BENCH_F32, by_row ? 2 : 0, images, 49, 0);
    poslabel_scale_gradient_args args = POSLABEL_SCALE_GRADIENT_ARGS_INIT;
    args.grad = &grad.tensor;
    args.scale = &scale.tensor;
    bench_case measured = {.operation = operation,
                           .size = size,
                           .dtype = bench_dtype_name(dtype),
                           .call = scale_gradient,
                           .args = &args};
    if (value == 1) {
        measured.calls = 100;
    } else {
        measured.read = measured.written = grad.bytes;
        measured.yardstick = BENCH_COPY;
        measured.in_place = true;
        measured.outputs[0] = (bench_output){run->b, dtype, (size_t)rows * 196, 0};
    }
    bench_measure(run, &measured);
    bench_unmap(scales, (size_t)rows * 4);
}

void bench_scale(bench_run *run)
{
    measure_scale(run, BENCH_F32, 64, 1, false);
    measure_scale(run, BENCH_F32, 64, 0.75f, false);
    measure_scale(run, BENCH_F32, 0, 0.75f, false);
    measure_scale(run, BENCH_F32, 0, 0.75f, true);
    measure_scale(run, BENCH_BF16, 0, 0.75f, false);
    measure_scale(run, BENCH_F16, 64, 0.75f, false);
    measure_scale(run, BENCH_F16, 0, 0.75f, false);
}
