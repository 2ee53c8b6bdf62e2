/*
 * A linear head with its loss, against its three matrix products alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <string.h>

#ifdef BENCH_HAVE_CBLAS
#include <cblas.h>
#ifdef _OPENMP
#include <omp.h>
#endif

typedef struct linear_case {
    bool relative, masked; /* masked: one row in four counts */
    bench_dtype dtype;
    int64_t images, channels;
    poslabel_grid grid;
} linear_case;

static const linear_case cases[] = {
    {false, false, BENCH_F32, 64, 192, {14, 14}}, {false, false, BENCH_F32, 64, 768, {14, 14}},
    {false, false, BENCH_F32, 8, 768, {32, 32}},  {false, false, BENCH_BF16, 64, 768, {14, 14}},
    {false, true, BENCH_F32, 64, 768, {14, 14}},  {true, false, BENCH_F32, 16, 384, {7, 7}},
};

static poslabel_status linear_position_loss(poslabel_context *context, void *args)
{
    return poslabel_linear_position_loss(context, args);
}

/* What the head costs without a loss: all rows at once, float32. */
typedef struct products {
    int rows, classes, channels;
    const float *features, *weight;
    float *logits, *grad_features, *grad_weight;
} products;

static poslabel_status three_products(poslabel_context *context, void *args)
{
    const products *const p = args;
    (void)context;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->rows, p->classes, p->channels, 1, p->features, p->channels,
                p->weight, p->channels, 0, p->logits, p->classes);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, p->classes, p->channels, p->rows, 1, p->logits, p->classes,
                p->features, p->channels, 0, p->grad_weight, p->channels);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, p->rows, p->channels, p->classes, 1, p->logits, p->classes,
                p->weight, p->channels, 0, p->grad_features, p->channels);
    return POSLABEL_OK;
}

static void measure_linear(bench_run *run, const linear_case *what)
{
    const int64_t n = (int64_t)what->grid.height * what->grid.width, channels = what->channels;
    const int64_t classes = what->relative ? (2 * what->grid.height - 1) * (2 * (int64_t)what->grid.width - 1) : n;
    const int64_t image_rows = what->relative ? n * n : n;
    /* the products read and write float32 features in the arenas, whatever the head's dtype */
    const int64_t fit = (int64_t)(run->max_bytes / 2 / (size_t)(image_rows * channels * 4));
    const int64_t wanted = run->quick ? 1 : what->images, images = wanted < fit ? wanted : fit;
    char size[72], operation[64];
    snprintf(size, sizeof size, "%lldx%lldx%lld->%lld", (long long)images, (long long)image_rows, (long long)channels,
             (long long)classes);
    snprintf(operation, sizeof operation, "linear %s, loss+gradients%s", what->relative ? "relative" : "absolute",
             what->masked ? ", 1/4" : "");
    if (!images || !bench_wanted(run, operation, size, bench_dtype_name(what->dtype)))
        return;

    const int64_t rows = images * image_rows;
    const size_t element = bench_element(what->dtype), weights = (size_t)(classes * channels);
    const void *const data = bench_normal(run, what->dtype);
    float *const floats = bench_map(run, weights * 4), *const grad_weight = bench_map(run, weights * 4);
    uint16_t *const halves = bench_map(run, weights * 2);
    float *const logits = bench_map(run, (size_t)(rows * classes) * 4);
    uint8_t *const counts = bench_map(run, (size_t)rows);
    uint64_t seed = 7;
    float loss_value;
    int64_t counted = rows;
    for (size_t i = 0; i < weights; i++) { /* uniform, and small enough for logits of an ordinary size */
        const float value = (float)((double)(bench_random(&seed) >> 11) * 0x1p-53 - 0.5) / 16;
        uint32_t bits;
        floats[i] = value;
        memcpy(&bits, &value, 4);
        halves[i] = (uint16_t)(bits >> 16);
    }
    for (int64_t r = 0; r < rows; r++) {
        counts[r] = !what->masked || bench_random(&seed) % 4 == 0;
        counted -= !counts[r];
    }

    bench_tensor features, weight, mask, loss, grads, matrix;
    bench_view(&features, (void *)data, what->dtype, 2, rows, channels, 0);
    bench_view(&grads, run->b, what->dtype, 2, rows, channels, 0);
    bench_view(&weight, what->dtype == BENCH_F32 ? (void *)floats : halves, what->dtype, 2, classes, channels, 0);
    bench_view(&matrix, grad_weight, BENCH_F32, 2, classes, channels, 0);
    bench_view(&mask, counts, BENCH_U8, 1, rows, 0, 0);
    bench_view(&loss, &loss_value, BENCH_F32, 0, 0, 0, 0);
    poslabel_linear_position_loss_args args = POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT;
    args.grid = what->grid;
    args.labels = what->relative ? POSLABEL_LABELS_RELATIVE : POSLABEL_LABELS_ABSOLUTE;
    args.features = &features.tensor;
    args.weight = &weight.tensor;
    args.mask = what->masked ? &mask.tensor : NULL;
    args.loss = &loss.tensor;
    args.grad_features = &grads.tensor;
    args.grad_weight = &matrix.tensor;
    products alone = {(int)rows, (int)classes, (int)channels,   (const float *)data,
                      floats,    logits,       (float *)run->b, grad_weight};
    const bench_case measured = {
        .operation = operation,
        .size = size,
        .dtype = bench_dtype_name(what->dtype),
        .call = linear_position_loss,
        .args = &args,
        .read = (size_t)(counted * channels) * element,
        .written = (size_t)(rows * channels) * element,
        .yardstick = BENCH_NONE,
        .rival = three_products,
        .rival_args = &alone,
        .rival_name = "the three products",
        .outputs = {{run->b, what->dtype, (size_t)(rows * channels), 0},
                    {grad_weight, BENCH_F32, weights, 0},
                    {&loss_value, BENCH_F32, 1, 0}},
    };
    bench_measure(run, &measured);
    bench_unmap(floats, weights * 4);
    bench_unmap(grad_weight, weights * 4);
    bench_unmap(halves, weights * 2);
    bench_unmap(logits, (size_t)(rows * classes) * 4);
    bench_unmap(counts, (size_t)rows);
}

void bench_linear(bench_run *run)
{
#ifdef _OPENMP
    omp_set_num_threads(run->threads); /* for the products alone */
#endif
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        measure_linear(run, &cases[i]);
}

#else

void bench_linear(bench_run *run)
{
    (void)run;
}

#endif
