/*
 * Losses on logits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

typedef enum loss_kind { ABSOLUTE, RELATIVE, EXPLICIT, DROPPOS } loss_kind;

enum {
    LOSS_ONLY = 1,
    IN_PLACE = 2,
    FILTER = 4,     /* confidence filter                      */
    SMOOTHING = 8,  /* label smoothing of 0.1                 */
    MASKED = 16,    /* three rows in four count, as in DropPos */
    REFERENCE = 32, /* the normalisation of the published code */
    ROWS = 64,      /* reduction none                         */
    ACCURACY = 128
};

enum { LARGE = 0, LARGEST = -1 }; /* images: as many as make 512 MiB of traffic, or --max-bytes */

typedef struct loss_case {
    const char *operation;
    loss_kind kind;
    int flags;
    bench_dtype dtype;
    int64_t images, visible; /* B, V */
    poslabel_grid grid;      /* N = h * w classes; (2h - 1) * (2w - 1) of them if relative */
} loss_case;

#define ABSOLUTE_GRADIENT "absolute, loss+gradient", ABSOLUTE, 0
#define EXPLICIT_GRADIENT "explicit, loss+gradient", EXPLICIT, 0
#define RELATIVE_GRADIENT "relative, loss+gradient", RELATIVE, 0
#define EXPLICIT_LOSS "explicit, loss only", EXPLICIT, LOSS_ONLY
#define DROPPOS_GRADIENT "droppos sigma 1, loss+gradient", DROPPOS, 0
#define DROPPOS_LOSS "droppos sigma 1, loss only", DROPPOS, LOSS_ONLY

static const loss_case cases[] = {
    {ABSOLUTE_GRADIENT, BENCH_F32, 64, 49, {14, 14}},
    {ABSOLUTE_GRADIENT, BENCH_F32, 64, 144, {24, 24}},
    {ABSOLUTE_GRADIENT, BENCH_F32, 256, 196, {14, 14}},
    {ABSOLUTE_GRADIENT, BENCH_F32, LARGE, 196, {14, 14}},
    {ABSOLUTE_GRADIENT, BENCH_F32, LARGEST, 196, {14, 14}},
    {ABSOLUTE_GRADIENT, BENCH_F32, LARGE, 197, {1, 197}},
    {ABSOLUTE_GRADIENT, BENCH_F32, LARGE, 256, {16, 16}},
    {ABSOLUTE_GRADIENT, BENCH_F32, LARGE, 576, {24, 24}},
    {ABSOLUTE_GRADIENT, BENCH_F32, LARGE, 729, {27, 27}},
    {ABSOLUTE_GRADIENT, BENCH_F32, LARGE, 784, {28, 28}},
    {ABSOLUTE_GRADIENT, BENCH_F32, LARGE, 1024, {32, 32}},
    {ABSOLUTE_GRADIENT, BENCH_F32, LARGEST, 1024, {32, 32}},
    {RELATIVE_GRADIENT, BENCH_F32, 16, 2401, {7, 7}},
    {RELATIVE_GRADIENT, BENCH_F32, LARGE, 2401, {7, 7}},
    {RELATIVE_GRADIENT, BENCH_F32, LARGE, 38416, {14, 14}},
    {EXPLICIT_GRADIENT, BENCH_F32, 64, 49, {14, 14}},
    {EXPLICIT_GRADIENT, BENCH_F32, 64, 144, {24, 24}},
    {EXPLICIT_GRADIENT, BENCH_F32, LARGE, 49, {14, 14}},
    {EXPLICIT_GRADIENT, BENCH_F32, LARGE, 256, {32, 32}},
    {"explicit, in-place gradient", EXPLICIT, IN_PLACE, BENCH_F32, 64, 49, {14, 14}},
    {"explicit, in-place gradient", EXPLICIT, IN_PLACE, BENCH_F32, LARGE, 49, {14, 14}},
    {"explicit, label smoothing", EXPLICIT, SMOOTHING, BENCH_F32, LARGE, 49, {14, 14}},
    {"explicit, with accuracy", EXPLICIT, ACCURACY, BENCH_F32, LARGE, 49, {14, 14}},
    {"explicit, reduction none", EXPLICIT, ROWS, BENCH_F32, LARGE, 49, {14, 14}},
    {EXPLICIT_LOSS, BENCH_F32, 64, 49, {14, 14}},
    {EXPLICIT_LOSS, BENCH_F32, 64, 144, {24, 24}},
    {EXPLICIT_LOSS, BENCH_F32, LARGE, 49, {14, 14}},
    {EXPLICIT_LOSS, BENCH_F32, LARGE, 64, {16, 16}},
    {EXPLICIT_LOSS, BENCH_F32, LARGE, 196, {28, 28}},
    {EXPLICIT_LOSS, BENCH_F32, LARGE, 256, {32, 32}},
    {DROPPOS_GRADIENT, BENCH_F32, 64, 49, {14, 14}},
    {DROPPOS_GRADIENT, BENCH_F32, 64, 144, {24, 24}},
    {DROPPOS_GRADIENT, BENCH_F32, 256, 196, {14, 14}},
    {DROPPOS_GRADIENT, BENCH_F32, LARGE, 49, {14, 14}},
    {DROPPOS_GRADIENT, BENCH_F32, LARGE, 64, {16, 16}},
    {DROPPOS_GRADIENT, BENCH_F32, LARGE, 144, {24, 24}},
    {DROPPOS_GRADIENT, BENCH_F32, LARGE, 182, {27, 27}},
    {DROPPOS_GRADIENT, BENCH_F32, LARGE, 196, {28, 28}},
    {DROPPOS_GRADIENT, BENCH_F32, LARGE, 256, {32, 32}},
    {"droppos, position mask 0.75", DROPPOS, MASKED, BENCH_F32, LARGE, 49, {14, 14}},
    {"droppos, reference normalization", DROPPOS, REFERENCE, BENCH_F32, LARGE, 49, {14, 14}},
    {"droppos, confidence filter", DROPPOS, FILTER, BENCH_F32, 64, 49, {14, 14}},
    {"droppos, confidence filter", DROPPOS, FILTER, BENCH_F32, LARGE, 49, {14, 14}},
    {"droppos, in-place gradient", DROPPOS, IN_PLACE, BENCH_F32, LARGE, 49, {14, 14}},
    {DROPPOS_LOSS, BENCH_F32, 64, 49, {14, 14}},
    {DROPPOS_LOSS, BENCH_F32, LARGE, 49, {14, 14}},
    {DROPPOS_LOSS, BENCH_F32, LARGE, 196, {28, 28}},
    {EXPLICIT_GRADIENT, BENCH_F16, 64, 49, {14, 14}},
    {EXPLICIT_GRADIENT, BENCH_F16, LARGE, 49, {14, 14}},
    {EXPLICIT_GRADIENT, BENCH_F16, LARGE, 196, {28, 28}},
    {EXPLICIT_LOSS, BENCH_F16, LARGE, 49, {14, 14}},
    {DROPPOS_GRADIENT, BENCH_F16, LARGE, 49, {14, 14}},
    {EXPLICIT_GRADIENT, BENCH_BF16, 64, 49, {14, 14}},
    {EXPLICIT_GRADIENT, BENCH_BF16, LARGE, 49, {14, 14}},
    {EXPLICIT_GRADIENT, BENCH_BF16, LARGE, 196, {28, 28}},
    {EXPLICIT_LOSS, BENCH_BF16, LARGE, 49, {14, 14}},
    {DROPPOS_GRADIENT, BENCH_BF16, LARGE, 49, {14, 14}},
};

static poslabel_status position_cross_entropy(poslabel_context *context, void *args)
{
    return poslabel_position_cross_entropy(context, args);
}

static poslabel_status droppos_loss(poslabel_context *context, void *args)
{
    return poslabel_droppos_loss(context, args);
}

/* What targets are set for: float32, and traffic that no cache holds. */
static bool is_large(const loss_case *what, size_t bytes)
{
    const size_t least = what->flags & LOSS_ONLY ? 120 : 250; /* MiB; a loss alone does half of it */
    return what->dtype == BENCH_F32 && bytes >= least << 20;
}

/* The targets of this project for one thread group on a machine whose memory is the limit. */
static bench_target target_of(const loss_case *what, size_t bytes, int64_t classes)
{
    const int variant = what->flags & ~LOSS_ONLY;
    if (!is_large(what, bytes))
        return (bench_target){0};
    if (variant || what->kind == DROPPOS)
        return (bench_target){0};
    if (what->flags & LOSS_ONLY)
        return (bench_target){BENCH_RATIO_AT_LEAST, 0.70};
    if (classes != 196 && classes != 256 && classes < 784)
        return (bench_target){0};
    return (bench_target){BENCH_RATIO_AT_LEAST, classes < 784 ? 0.85 : 0.95};
}

static void measure_loss(bench_run *run, const loss_case *what)
{
    const int flags = what->flags;
    const bool gradient = !(flags & LOSS_ONLY);
    const int64_t tokens = (int64_t)what->grid.height * what->grid.width;
    const int64_t classes =
        what->kind == RELATIVE ? (2 * what->grid.height - 1) * (2 * (int64_t)what->grid.width - 1) : tokens;
    const size_t image = (size_t)(what->visible * classes) * bench_element(what->dtype);
    const size_t large = what->images == LARGE && run->max_bytes > (size_t)512 << 20 ? (size_t)512 << 20
                                                                                    : run->max_bytes;
    const int64_t images = what->images > 0 ? what->images : (int64_t)(large / 2 / image);
    if (!images || (size_t)images * image > run->max_bytes / 2 || (run->quick && what->images == LARGEST))
        return;
    char size[72];
    snprintf(size, sizeof size, "%lldx%lldx%lld", (long long)images, (long long)what->visible, (long long)classes);
    const char *const dtype = bench_dtype_name(what->dtype);
    if (!bench_wanted(run, what->operation, size, dtype))
        return;

    const int64_t rows = images * what->visible;
    void *const data = bench_normal(run, what->dtype);
    int64_t *const ids = bench_map(run, (size_t)rows * 8);
    uint8_t *const counts = bench_map(run, (size_t)rows);
    float *const row_loss = bench_map(run, (size_t)rows * 4);
    uint64_t seed = 7;
    size_t counted = (size_t)rows;
    for (int64_t r = 0; r < rows; r++) {
        const uint64_t draw = bench_random(&seed);
        ids[r] = (int64_t)(draw >> 32) % classes;
        counts[r] = !(flags & MASKED) || draw % 4 > 0;
        counted -= !counts[r];
    }

    bench_tensor logits, grad, positions, mask, loss, accuracy;
    float accuracy_value;
    if (what->kind == ABSOLUTE) /* rows of all images in one dimension: V need not be N */
        bench_view(&logits, data, what->dtype, 2, rows, classes, 0);
    else
        bench_view(&logits, data, what->dtype, 3, images, what->visible, classes);
    grad = logits;
    grad.tensor.data = run->b;
    grad.tensor.shape = grad.shape;
    bench_view(&positions, ids, BENCH_I64, 2, images, what->visible, 0);
    bench_view(&mask, counts, BENCH_U8, 2, images, what->visible, 0);
    bench_view(&loss, row_loss, BENCH_F32, flags & ROWS ? 2 : 0, images, what->visible, 0);
    bench_view(&accuracy, &accuracy_value, BENCH_F32, 0, 0, 0, 0);
    const bool explicit_ids = what->kind == EXPLICIT || what->kind == DROPPOS;
    const poslabel_tensor *const from = flags & IN_PLACE ? &grad.tensor : &logits.tensor;

    poslabel_position_cross_entropy_args hard = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    hard.grid = what->grid;
    hard.labels = what->kind == ABSOLUTE   ? POSLABEL_LABELS_ABSOLUTE
                  : what->kind == RELATIVE ? POSLABEL_LABELS_RELATIVE
                                           : POSLABEL_LABELS_EXPLICIT;
    hard.reduction = flags & ROWS ? POSLABEL_REDUCTION_NONE : POSLABEL_REDUCTION_MEAN;
    hard.logits = from;
    hard.positions = explicit_ids ? &positions.tensor : NULL;
    hard.mask = flags & MASKED ? &mask.tensor : NULL;
    hard.label_smoothing = flags & SMOOTHING ? 0.1 : 0;
    hard.loss = &loss.tensor;
    hard.grad_logits = gradient ? &grad.tensor : NULL;
    hard.accuracy = flags & ACCURACY ? &accuracy.tensor : NULL;

    poslabel_droppos_loss_args soft = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    soft.grid = what->grid;
    soft.normalization = flags & REFERENCE ? POSLABEL_NORMALIZATION_REFERENCE : POSLABEL_NORMALIZATION_ROW;
    soft.confidence_filter = (flags & FILTER) != 0;
    soft.logits = from;
    soft.positions = &positions.tensor;
    soft.mask = hard.mask;
    soft.sigma = 1;
    soft.loss = &loss.tensor;
    soft.grad_logits = hard.grad_logits;

    if (what->dtype != BENCH_F32) /* as trainers scale a loss: 1 / rows of a probability is 0 in float16 */
        hard.grad_scale = soft.grad_scale = (double)rows;

    const size_t row = (size_t)classes * bench_element(what->dtype);
    bench_case measured = {
        .operation = what->operation,
        .size = size,
        .dtype = dtype,
        .call = what->kind == DROPPOS ? droppos_loss : position_cross_entropy,
        .args = what->kind == DROPPOS ? (void *)&soft : &hard,
        .read = counted * row + (explicit_ids ? positions.bytes : 0) + (flags & MASKED ? mask.bytes : 0),
        .written = (gradient ? (size_t)rows * row : 0) + loss.bytes,
        .yardstick = gradient ? BENCH_COPY : BENCH_READ,
        .in_place = (flags & IN_PLACE) != 0,
    };
    if (measured.in_place) { /* the copy restores the logits, no more */
        measured.read = measured.written = (size_t)rows * row;
    }
    measured.target = target_of(what, measured.read + measured.written, classes);
    if (what->kind == DROPPOS && !measured.in_place) {
        measured.rival = position_cross_entropy;
        measured.rival_args = &hard;
        measured.rival_name = "hard labels";
        if (!(flags & FILTER) && is_large(what, measured.read + measured.written))
            measured.rival_target = (bench_target){BENCH_RIVAL_AT_MOST, 1.1};
    }
    int outputs = 0;
    if (gradient)
        measured.outputs[outputs++] = (bench_output){run->b, what->dtype, (size_t)(rows * classes),
                                                     flags & REFERENCE ? 0 : (size_t)classes};
    measured.outputs[outputs++] = (bench_output){row_loss, BENCH_F32, flags & ROWS ? (size_t)rows : 1, 0};
    if (flags & ACCURACY)
        measured.outputs[outputs++] = (bench_output){&accuracy_value, BENCH_F32, 1, 0};
    bench_measure(run, &measured);
    bench_unmap(ids, (size_t)rows * 8);
    bench_unmap(counts, (size_t)rows);
    bench_unmap(row_loss, (size_t)rows * 4);
}

void bench_losses(bench_run *run)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        measure_loss(run, &cases[i]);
}
