/*
 * Losses on logits, on the device.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cuda.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum loss_kind { EXPLICIT, ABSOLUTE, DROPPOS } loss_kind;

enum {
    LOSS_ONLY = 1,
    GRAPH = 2,      /* replayed from a graph                                  */
    NO_RIVAL = 4,   /* DropPos without hard labels beside it                  */
    NO_TARGET = 8,
    NEAR_IDEAL = 16, /* held against the time that its bytes take in a large copy */
    PAST_2_31 = 32,      /* rows at the end of 2^31 elements are looked at, too    */
    IN_PLACE = 64
};

enum { FEW = 16 }; /* rows that are compared with the CPU's */

typedef struct loss_case {
    const char *operation;
    loss_kind kind;
    int flags;
    bench_dtype dtype;
    int64_t rows; /* 0: as many as no cache holds */
    poslabel_grid grid;
} loss_case;

static poslabel_status position_cross_entropy(poslabel_context *context, void *args)
{
    return poslabel_position_cross_entropy(context, args);
}

static poslabel_status droppos_loss(poslabel_context *context, void *args)
{
    return poslabel_droppos_loss(context, args);
}

/* Both losses over the same tensors. */
typedef struct losses {
    poslabel_position_cross_entropy_args hard;
    poslabel_droppos_loss_args soft;
} losses;

static losses losses_of(const loss_case *what, const bench_tensor *logits, const bench_tensor *positions,
                        const bench_tensor *loss, const bench_tensor *grad, double grad_scale)
{
    losses both = {POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT, POSLABEL_DROPPOS_LOSS_ARGS_INIT};
    both.hard.grid = both.soft.grid = what->grid;
    both.hard.labels = what->kind == ABSOLUTE ? POSLABEL_LABELS_ABSOLUTE : POSLABEL_LABELS_EXPLICIT;
    both.hard.logits = both.soft.logits = &logits->tensor;
    both.hard.positions = what->kind == ABSOLUTE ? NULL : &positions->tensor;
    both.soft.positions = &positions->tensor;
    both.soft.sigma = 1;
    both.hard.loss = both.soft.loss = &loss->tensor;
    both.hard.grad_logits = both.soft.grad_logits = grad ? &grad->tensor : NULL;
    both.hard.grad_scale = both.soft.grad_scale = grad_scale;
    return both;
}

/* ---- right? ---- */

static double element(const void *data, bench_dtype dtype, int64_t i)
{
    if (dtype == BENCH_F32)
        return (double)((const float *)data)[i];
    const uint16_t half = ((const uint16_t *)data)[i];
    if (dtype == BENCH_BF16) {
        const uint32_t bits = (uint32_t)half << 16;
        float value;
        memcpy(&value, &bits, 4);
        return (double)value;
    }
    const int exponent = half >> 10 & 31, fraction = half & 0x3ff;
    const double size = ldexp(fraction + (exponent ? 1024 : 0), (exponent ? exponent : 1) - 25);
    return half & 0x8000 ? -size : size;
}

/* Rows [first, first + count) of the gradient against those of the CPU. */
static void compare_rows(cuda_run *run, const loss_case *what, const bench_tensor *logits, const int64_t *ids,
                         const bench_tensor *grad, double grad_scale, int64_t first, int64_t count)
{
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    const size_t bytes = (size_t)(count * classes) * bench_element(what->dtype);
    const size_t offset = (size_t)(first * classes) * bench_element(what->dtype);
    char *const z = malloc(bytes), *const expected = malloc(bytes), *const got = malloc(bytes);
    int64_t *const positions_data = malloc((size_t)count * 8);
    float loss_value;
    if (!z || !expected || !got || !positions_data)
        bench_fail("no memory");
    CUDA(cudaMemcpy(z, (char *)logits->tensor.data + offset, bytes, cudaMemcpyDeviceToHost));
    CUDA(cudaMemcpy(got, (char *)grad->tensor.data + offset, bytes, cudaMemcpyDeviceToHost));
    for (int64_t r = 0; r < count; r++)
        positions_data[r] = what->kind == ABSOLUTE ? (first + r) % classes : ids[first + r];
    bench_tensor some, positions, loss, some_grad;
    bench_view(&some, z, what->dtype, 2, count, classes, 0);
    bench_view(&some_grad, expected, what->dtype, 2, count, classes, 0);
    bench_view(&positions, positions_data, BENCH_I64, 1, count, 0, 0);
    bench_view(&loss, &loss_value, BENCH_F32, 0, 0, 0, 0);
    loss_case explicit_case = *what;
    if (what->kind == ABSOLUTE)
        explicit_case.kind = EXPLICIT;
    losses both = losses_of(&explicit_case, &some, &positions, &loss, &some_grad, grad_scale / (double)rows);
    both.hard.reduction = both.soft.reduction = POSLABEL_REDUCTION_SUM;
    const poslabel_status status = what->kind == DROPPOS ? poslabel_droppos_loss(run->host, &both.soft)
                                                         : poslabel_position_cross_entropy(run->host, &both.hard);
    if (status != POSLABEL_OK)
        bench_fail("%s", poslabel_context_message(run->host));
    double largest = 0, error = 0;
    for (int64_t i = 0; i < count * classes; i++) {
        const double right = element(expected, what->dtype, i), difference = fabs(element(got, what->dtype, i) - right);
        largest = fmax(largest, fabs(right));
        error = difference <= error ? error : difference; /* a NaN stays */
    }
    const double tolerance = what->dtype == BENCH_F32 ? 2e-5 : what->dtype == BENCH_F16 ? 0x1p-9 : 0x1p-7;
    if (!(error <= tolerance * largest))
        bench_fail("%s %lldx%lld %s: rows %lld to %lld differ from the CPU's by %.3g of the largest value", what->operation,
                   (long long)rows, (long long)classes, bench_dtype_name(what->dtype), (long long)first,
                   (long long)(first + count - 1), error / largest);
    free(z);
    free(expected);
    free(got);
    free(positions_data);
}

/* ---- one line ---- */

static bench_target target_of(const loss_case *what, size_t bytes, size_t large)
{
    const int classes = what->grid.height * what->grid.width;
    if (what->flags & NEAR_IDEAL)
        return (bench_target){BENCH_MICROSECONDS_ABOVE_IDEAL_AT_MOST, 6};
    if (what->flags || what->kind == DROPPOS || what->dtype == BENCH_F16 || bytes < large / 16 * 15)
        return (bench_target){0};
    if (classes == 197 || classes == 729)
        return (bench_target){BENCH_RATIO_AT_LEAST, 0.85};
    if (classes == 196 || classes == 256 || classes == 576 || classes == 1024)
        return (bench_target){BENCH_RATIO_AT_LEAST, 0.90};
    return (bench_target){0};
}

static bench_result *measure_loss(cuda_run *run, const loss_case *what)
{
    const bool gradient = !(what->flags & LOSS_ONLY);
    const int64_t classes = (int64_t)what->grid.height * what->grid.width;
    const size_t row = (size_t)classes * bench_element(what->dtype);
    int64_t rows = what->rows;
    if (!rows)
        rows = (int64_t)((gradient ? run->large / 2 : run->large) / row) + 1;
    if (what->kind == ABSOLUTE)
        rows = (rows + classes - 1) / classes * classes;
    char size[72];
    snprintf(size, sizeof size, "%lldx%lld", (long long)rows, (long long)classes);
    const char *const dtype = bench_dtype_name(what->dtype);
    if (!cuda_fits(run, (size_t)rows * row) || !bench_wanted(&run->base, what->operation, size, dtype))
        return NULL;

    int64_t *const ids = malloc((size_t)rows * 8);
    if (!ids)
        bench_fail("no memory");
    uint64_t seed = 7;
    for (int64_t r = 0; r < rows; r++)
        ids[r] = (int64_t)(bench_random(&seed) >> 32) % classes;
    int64_t *const ids_there = cuda_upload(run, ids, (size_t)rows * 8);
    float *const loss_there = cuda_new(run, 4);

    bench_tensor logits, grad, positions, loss;
    cuda_view(&logits, cuda_normal(run, what->dtype), what->dtype, 2, rows, classes, 0);
    cuda_view(&grad, run->b, what->dtype, 2, rows, classes, 0);
    cuda_view(&positions, ids_there, BENCH_I64, 1, rows, 0, 0);
    cuda_view(&loss, loss_there, BENCH_F32, 0, 0, 0, 0);
    const bool in_place = what->flags & IN_PLACE;
    const double grad_scale = what->dtype == BENCH_F32 ? 1 : (double)rows; /* 1 / rows is 0 in float16 */
    losses both = losses_of(what, in_place ? &grad : &logits, &positions, &loss, gradient ? &grad : NULL, grad_scale);

    bench_case measured = {
        .operation = what->operation,
        .size = size,
        .dtype = dtype,
        .call = what->kind == DROPPOS ? droppos_loss : position_cross_entropy,
        .args = what->kind == DROPPOS ? (void *)&both.soft : &both.hard,
        .read = (size_t)rows * row + (what->kind == ABSOLUTE ? 0 : positions.bytes),
        .written = (gradient ? (size_t)rows * row : 0) + loss.bytes,
        .yardstick = BENCH_COPY,
        .in_place = in_place,
    };
    if (in_place) /* the copy restores the logits, no more */
        measured.read = measured.written = (size_t)rows * row;
    if (!(what->flags & NO_TARGET))
        measured.target = target_of(what, measured.read + measured.written, run->large);
    if (what->kind == DROPPOS && !(what->flags & NO_RIVAL)) {
        measured.rival = position_cross_entropy;
        measured.rival_args = &both.hard;
        measured.rival_name = "explicit labels";
        measured.rival_target = (bench_target){BENCH_RIVAL_AT_MOST, 1.05};
    }
    if (gradient)
        measured.outputs[0] = (bench_output){run->b, what->dtype, (size_t)(rows * classes), (size_t)classes};
    measured.outputs[gradient] = (bench_output){loss_there, BENCH_F32, 1, 0};

    bench_result *result = NULL;
    if (gradient && !in_place && cuda_try(run, measured.call, measured.args, what->operation)) {
        const int64_t few = rows < FEW ? rows : FEW, middle = (what->flags & PAST_2_31 ? (1ll << 31) / classes : rows / 2) - few / 2;
        compare_rows(run, what, &logits, ids, &grad, grad_scale, 0, few);
        if (middle >= 0 && middle + few <= rows)
            compare_rows(run, what, &logits, ids, &grad, grad_scale, middle, few);
        compare_rows(run, what, &logits, ids, &grad, grad_scale, rows - few, few);
    }
    result = what->flags & GRAPH ? cuda_measure_graph(run, &measured) : cuda_measure(run, &measured);
    CUDA(cudaFree(ids_there));
    CUDA(cudaFree(loss_there));
    free(ids);
    return result;
}

/* ---- what is measured ---- */

#define HARD_GRADIENT "explicit, loss+gradient", EXPLICIT, 0
#define IMPLIED_GRADIENT "absolute, loss+gradient", ABSOLUTE, 0
#define SOFT_GRADIENT "droppos sigma 1, loss+gradient", DROPPOS, 0

static void measure_classes(cuda_run *run, bench_dtype dtype)
{
    static const poslabel_grid grids[] = {{14, 14}, {1, 197}, {16, 16}, {24, 24}, {27, 27}, {32, 32}};
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        measure_loss(run, &(loss_case){HARD_GRADIENT, dtype, 0, grids[i]});
        measure_loss(run, &(loss_case){IMPLIED_GRADIENT, dtype, 0, grids[i]});
        measure_loss(run, &(loss_case){SOFT_GRADIENT, dtype, 0, grids[i]});
        measure_loss(run, &(loss_case){"explicit, loss only", EXPLICIT, LOSS_ONLY, dtype, 0, grids[i]});
        measure_loss(run, &(loss_case){"droppos sigma 1, loss only", DROPPOS, LOSS_ONLY, dtype, 0, grids[i]});
    }
    measure_loss(run, &(loss_case){"explicit, in-place gradient", EXPLICIT, IN_PLACE, dtype, 0, {14, 14}});
}

/* A batch of 512 images of which 49 patches are visible: small enough that the launch shows. */
static void measure_batch(cuda_run *run, bench_dtype dtype)
{
    const int64_t rows = run->smoke ? 20 : 25088;
    measure_loss(run, &(loss_case){"droppos sigma 1, one batch", DROPPOS, NEAR_IDEAL, dtype, rows, {14, 14}});
    measure_loss(run, &(loss_case){"droppos sigma 1, one batch, graph", DROPPOS, NEAR_IDEAL | NO_RIVAL | GRAPH, dtype, rows,
                                   {14, 14}});
}

/* Whether the time of a row depends on how many there are. */
static void measure_rows(cuda_run *run, bench_dtype dtype)
{
    double each[8];
    int count = 0;
    for (int i = 0; i < 8; i++) {
        const int64_t rows = 1ll << (run->smoke ? i / 2 + 2 : i + 15);
        const bench_result *const result = measure_loss(
            run, &(loss_case){"explicit, by rows", EXPLICIT, NO_TARGET, dtype, rows, {14, 14}});
        if (result)
            each[count++] = result->seconds.median / (double)rows;
    }
    if (count > 1)
        cuda_report_spread(run, "explicit, by rows: time of a row", "196", bench_dtype_name(dtype), each, count, 0.05);
}

/* Whether it falls off where the kernel changes its ways. */
static void measure_cliffs(cuda_run *run, bench_dtype dtype)
{
    static const int32_t classes[] = {1023, 1024, 1025, 1026, 2048, 2049, 4097, 16129};
    enum { COUNT = sizeof classes / sizeof *classes };
    double each[COUNT];
    int count = 0;
    for (int i = 0; i < COUNT; i++) {
        const bench_result *const result = measure_loss(
            run, &(loss_case){"explicit, by classes", EXPLICIT, NO_TARGET, dtype, 0, {1, classes[i]}});
        if (result)
            each[count++] = result->seconds.median / (double)(result->read + result->written);
    }
    if (count > 1)
        cuda_report_spread(run, "explicit, by classes: time of a byte", "1023 to 16129", bench_dtype_name(dtype), each, count,
                           0.25);
}

void cuda_losses(cuda_run *run)
{
    static const bench_dtype dtypes[] = {BENCH_F32, BENCH_BF16, BENCH_F16};
    for (int i = 0; i < 3; i++)
        measure_classes(run, dtypes[i]);
    for (int i = 0; i < 2; i++) {
        measure_batch(run, dtypes[i]);
        measure_rows(run, dtypes[i]);
        measure_cliffs(run, dtypes[i]);
    }
    const int64_t rows = run->smoke ? 64 : (1ll << 31) / 196 + 1000;
    measure_loss(run, &(loss_case){"explicit, past 2^31 elements", EXPLICIT, NO_TARGET | PAST_2_31, BENCH_BF16, rows, {14, 14}});
    measure_loss(run, &(loss_case){"droppos, past 2^31 elements", DROPPOS, NO_TARGET | NO_RIVAL | PAST_2_31, BENCH_BF16, rows,
                                   {14, 14}});
}
