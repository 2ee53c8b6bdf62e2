/*
 * The regression of small vectors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

static poslabel_status regression_loss(poslabel_context *context, void *args)
{
    return poslabel_regression_loss(context, args);
}

/* Loss and gradient of [rows, 2], the offsets of pairs of cells; the targets have the dtype of the predictions. */
static void measure_regression(bench_run *run, const char *name, int32_t kind, bench_dtype dtype, int64_t rows)
{
    char size[72], operation[64];
    snprintf(size, sizeof size, "%lldx2", (long long)rows);
    snprintf(operation, sizeof operation, "regression_loss %s", name);
    if (!bench_wanted(run, operation, size, bench_dtype_name(dtype)))
        return;
    char *const numbers = bench_normal(run, dtype);
    bench_tensor predictions, targets, grad, loss;
    float *const sum = bench_map(run, sizeof *sum);
    bench_view(&predictions, numbers, dtype, 2, rows, 2, 0);
    bench_view(&targets, numbers + predictions.bytes, dtype, 2, rows, 2, 0);
    bench_view(&grad, run->b, dtype, 2, rows, 2, 0);
    bench_view(&loss, sum, BENCH_F32, 0, 0, 0, 0);
    poslabel_regression_loss_args args = POSLABEL_REGRESSION_LOSS_ARGS_INIT;
    args.kind = kind;
    args.predictions = &predictions.tensor;
    args.targets = &targets.tensor;
    args.loss = &loss.tensor;
    args.grad_predictions = &grad.tensor;
    args.grad_scale = (double)rows; /* 1 / rows is 0 in float16 */
    const bench_case measured = {.operation = operation,
                                 .size = size,
                                 .dtype = bench_dtype_name(dtype),
                                 .call = regression_loss,
                                 .args = &args,
                                 .read = predictions.bytes + targets.bytes,
                                 .written = grad.bytes,
                                 .yardstick = BENCH_COPY,
                                 .calls = rows < 100000 ? 20 : 1,
                                 .outputs = {{run->b, dtype, (size_t)rows * 2, 0}, {sum, BENCH_F32, 1, 0}}};
    bench_measure(run, &measured);
    bench_unmap(sum, sizeof *sum);
}

/* 128 images with 64 pairs each, and what no cache holds. */
void bench_regression(bench_run *run)
{
    const int64_t few = 128 * 64, many = run->quick ? few : 4 << 20;
    measure_regression(run, "l1", POSLABEL_REGRESSION_L1, BENCH_F32, few);
    measure_regression(run, "l1", POSLABEL_REGRESSION_L1, BENCH_F16, few);
    if (many == few)
        return;
    measure_regression(run, "l1", POSLABEL_REGRESSION_L1, BENCH_F32, many);
    measure_regression(run, "smooth l1", POSLABEL_REGRESSION_SMOOTH_L1, BENCH_F32, many);
    measure_regression(run, "mse", POSLABEL_REGRESSION_MSE, BENCH_F32, many);
    measure_regression(run, "l1", POSLABEL_REGRESSION_L1, BENCH_F16, many);
    measure_regression(run, "l1", POSLABEL_REGRESSION_L1, BENCH_BF16, many);
}
