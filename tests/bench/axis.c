/*
 * Per-axis losses, at the sizes of dense relative localisation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

typedef struct axis_case {
    const char *operation;
    int32_t kind;
    bench_dtype dtype;
    int64_t rows, classes;
} axis_case;

static const axis_case cases[] = {
    {"per-axis cycle-back, loss+gradient", POSLABEL_AXIS_LOSS_CYCLE_BACK, BENCH_F32, 4096, 27},
    {"per-axis cross-entropy, loss+gradient", POSLABEL_AXIS_LOSS_CROSS_ENTROPY, BENCH_F32, 4096, 27},
    {"per-axis cycle-back, loss+gradient", POSLABEL_AXIS_LOSS_CYCLE_BACK, BENCH_BF16, 4096, 27},
};

static poslabel_status axis_loss(poslabel_context *context, void *args)
{
    return poslabel_axis_loss(context, args);
}

static void measure_axis(bench_run *run, const axis_case *what)
{
    char size[72];
    snprintf(size, sizeof size, "%lldx%lldx2", (long long)what->rows, (long long)what->classes);
    const char *const dtype = bench_dtype_name(what->dtype);
    if (!bench_wanted(run, what->operation, size, dtype))
        return;
    void *const data = bench_normal(run, what->dtype);
    int64_t *const ids = bench_map(run, (size_t)what->rows * 16);
    uint64_t seed = 7;
    for (int64_t k = 0; k < 2 * what->rows; k++)
        ids[k] = (int64_t)(bench_random(&seed) >> 32) % what->classes;
    bench_tensor logits, grad, targets, loss;
    float value;
    bench_view(&logits, data, what->dtype, 3, what->rows, what->classes, 2);
    bench_view(&grad, run->b, what->dtype, 3, what->rows, what->classes, 2);
    bench_view(&targets, ids, BENCH_I64, 2, what->rows, 2, 0);
    bench_view(&loss, &value, BENCH_F32, 0, 0, 0, 0);
    poslabel_axis_loss_args args = POSLABEL_AXIS_LOSS_ARGS_INIT;
    args.kind = what->kind;
    args.logits = &logits.tensor;
    args.targets = &targets.tensor;
    args.loss = &loss.tensor;
    args.grad_logits = &grad.tensor;
    if (what->dtype != BENCH_F32) /* as trainers scale a loss */
        args.grad_scale = (double)what->rows;
    const bench_case measured = {
        .operation = what->operation,
        .size = size,
        .dtype = dtype,
        .call = axis_loss,
        .args = &args,
        .read = logits.bytes + targets.bytes,
        .written = grad.bytes + loss.bytes,
        .yardstick = BENCH_COPY,
        .outputs = {{run->b, what->dtype, (size_t)(2 * what->rows * what->classes), 0}, {&value, BENCH_F32, 1, 0}},
    };
    bench_measure(run, &measured);
    bench_unmap(ids, (size_t)what->rows * 16);
}

void bench_axis(bench_run *run)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        measure_axis(run, &cases[i]);
}
