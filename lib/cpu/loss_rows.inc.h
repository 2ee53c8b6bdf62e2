/*
 * Softmax cross-entropy of rows: loss and gradient.  SPDX-License-Identifier: Apache-2.0
 *
 * Two passes over a row: the exponentials, kept in scratch, and their sum; then the gradient.  Memory sees one read of
 * the logits and one write of the gradient.  Each pass takes a few rows at a time, so that the end of one row, a chain
 * of dependent operations, overlaps the beginning of the next.
 */
#include "loss_exp.inc.h"

#include "loss_careful.inc.h"
#include "loss_grad.inc.h"
#include "loss_window.inc.h"

/* What is kept of each row of a batch. */
typedef struct batch {
    float exponentials[PLB_ROW_BATCH]; /* their sum, relative to some logit or to 0                             */
    float of_label[PLB_ROW_BATCH];     /* the label's, relative to the same; 1 for a row that needed care       */
    float shift[PLB_ROW_BATCH];        /* the label's logit; the maximum for a row that needed care             */
    double above[PLB_ROW_BATCH];       /* the label's logit - shift                                             */
    double total[PLB_ROW_BATCH];       /* the sum of the targets                                                */
    double targets[PLB_ROW_BATCH];     /* the sum of z - shift if SMOOTHED, of t (z - shift) if SOFT or WINDOWED */
} batch;

/* The first pass over row r. */
INLINE void row_first(plb_loss_rows *rows, batch *b, int r, const void *next, float *e, plb_dtype dtype, row_kind kind)
{
    const plb_gaussian *const g = rows->gaussian;
    const int32_t label = rows->label[r];
    const loss_row row = {rows->logits[r], next, rows->classes, label, e, kind == SOFT ? table_row(rows, label) : NULL};
    const float z_label = load_one(row.logits, label, dtype);
    row_sums sums;
    if (row_exp(&sums, &row, dtype, kind)) {
        b->exponentials[r] = sums.exponentials;
        b->of_label[r] = sums.of_label;
        b->shift[r] = z_label;
        b->above[r] = 0;
        b->targets[r] = sums.targets;
    } else {
        const careful_sums careful = dtype == PLB_F32   ? row_careful_f32(row, kind)
                                     : dtype == PLB_F16 ? row_careful_f16(row, kind)
                                                        : row_careful_bf16(row, kind);
        b->exponentials[r] = careful.exponentials;
        b->of_label[r] = 1;
        b->shift[r] = careful.max;
        b->above[r] = (double)z_label - careful.max;
        b->targets[r] = careful.targets;
        sums.is_top = z_label == careful.max && careful.exponentials == careful.exponentials;
    }
    b->total[r] = kind == SOFT || kind == WINDOWED ? g->y_sum[label / g->width] * g->x_sum[label % g->width] : 1;
    if (kind == ONE_HOT || kind == SMOOTHED)
        e[label] = (float)(e[label] - rows->peak * b->exponentials[r]);
    rows->correct[r] = rows->accuracy && sums.is_top && row_max(row.logits, label, dtype) < z_label;
}

/* Between the passes: what a window of targets has to do with the row. */
INLINE void row_window(const plb_loss_rows *rows, batch *b, int r, float *e, plb_dtype dtype)
{
    const window w = window_of(rows->gaussian, rows->label[r]);
    const float scale = b->exponentials[r] / (float)b->total[r]; /* p T - t = (e - t sum / T) T / sum */
    b->targets[r] = 4 * (double)window_apply(&w, rows->logits[r], b->shift[r], e, scale, rows->classes, dtype);
}

/* The second pass over row r. */
INLINE void row_second(const plb_loss_rows *rows, const batch *b, int r, const float *e, stream *out, plb_dtype dtype,
                       row_kind kind)
{
    const int64_t n = rows->classes;
    const size_t bytes = (size_t)n * (dtype == PLB_F32 ? 4 : 2);
    if (rows->label[r] < 0 && rows->stream) {
        stream_zeros(out, rows->grad[r], bytes);
        return;
    }
    if (rows->label[r] < 0) {
        memset(rows->grad[r], 0, bytes);
        return;
    }
    grad_row row = {.e = e, .a = (float)(rows->scale[r] * b->total[r] / b->exponentials[r])};
    if (kind == SMOOTHED)
        row.b = (float)(rows->base * b->exponentials[r]);
    if (kind == SOFT) {
        row.b = (float)rows->scale[r];
        row.t = table_row(rows, rows->label[r]);
    }
    if (rows->stream)
        stream_grad(out, rows->grad[r], &row, n, dtype, kind);
    else
        grad_part(rows->grad[r], &row, 0, n, false, dtype, kind);
}

/*
 * The natural logarithm of a number from 1 to 2^1023, within 1e-13; NaN for NaN and infinity.  A batch of them at a
 * time is a loop that the compiler turns into vectors, which calls of log() are not.
 */
INLINE double log_from_1(double x)
{
    const uint64_t root_half = 0x3fe6a09e667f3bcd; /* the fraction is taken from [sqrt(1/2), sqrt(2)) */
    uint64_t bits, exponent;
    double fraction, n;
    memcpy(&bits, &x, sizeof bits);
    exponent = (bits - root_half) >> 52;
    bits -= exponent << 52;
    exponent |= 0x4330000000000000; /* 2^52 + n, as a double */
    memcpy(&fraction, &bits, sizeof fraction);
    memcpy(&n, &exponent, sizeof n);
    const double s = (fraction - 1) / (fraction + 1), z = s * s;
    double series = 1.0 / 15;
    series = series * z + 1.0 / 13;
    series = series * z + 1.0 / 11;
    series = series * z + 1.0 / 9;
    series = series * z + 1.0 / 7;
    series = series * z + 1.0 / 5;
    series = series * z + 1.0 / 3;
    return (n - 0x1p52) * 0x1.62e42fefa39efp-1 + 2 * (s + s * z * series) + (x - x);
}

/* What the targets give the label itself. */
INLINE double target_of_label(const plb_loss_rows *rows, int32_t label)
{
    const plb_gaussian *const g = rows->gaussian;
    if (!g)
        return rows->base + rows->peak;
    const int64_t y = label / g->width, x = label % g->width;
    return g->y[y * g->height + y] * g->x[x * g->width + x];
}

INLINE void batch_losses(plb_loss_rows *rows, const batch *b, row_kind kind)
{
    const bool is_gaussian = kind == SOFT || kind == WINDOWED;
    for (int r = 0; r < rows->count; r++) {
        double loss = log_from_1((double)b->exponentials[r] / b->of_label[r]);
        if (is_gaussian)
            loss = loss * b->total[r] - b->targets[r];
        else
            loss -= rows->peak * b->above[r];
        if (kind == SMOOTHED)
            loss -= rows->base * b->targets[r];
        rows->loss[r] = rows->label[r] < 0 ? 0 : loss;
    }
    for (int r = 0; rows->filter && r < rows->count; r++) {
        const double p = exp(b->above[r]) * b->of_label[r] / b->exponentials[r];
        rows->confident[r] = rows->label[r] >= 0 && p >= target_of_label(rows, rows->label[r]);
    }
}

INLINE void loss_rows(plb_loss_rows *rows, plb_dtype dtype, row_kind kind)
{
    const int64_t pitch = plb_loss_pitch(rows->classes);
    const int group = plb_loss_group(rows->classes);
    char stage[192] __attribute__((aligned(64)));
    stream out = {.stage = stage};
    batch b;

    for (int first = 0; first < rows->count; first += group) {
        const int end = first + group < rows->count ? first + group : rows->count;
        for (int r = first; r < end; r++) {
            if (rows->label[r] >= 0) {
                row_first(rows, &b, r, rows->logits[r + group < rows->count ? r + group : rows->count - 1],
                          rows->scratch + (r - first) * pitch, dtype, kind);
                continue;
            }
            b.exponentials[r] = b.of_label[r] = 1;
            b.above[r] = b.total[r] = b.targets[r] = 0;
            rows->correct[r] = false;
        }
        for (int r = first; kind == WINDOWED && r < end; r++)
            if (rows->label[r] >= 0)
                row_window(rows, &b, r, rows->grad[r] ? rows->scratch + (r - first) * pitch : NULL, dtype);
        for (int r = first; rows->grad[first] && r < end; r++)
            row_second(rows, &b, r, rows->scratch + (r - first) * pitch, &out, dtype, kind);
    }
    if (rows->stream)
        stream_end(&out);
    batch_losses(rows, &b, kind);
}

/* The kinds as copies of the loop, so that none pays for another. */
#define LOSS_ROWS(name, dtype)                                                                                         \
    static void name(plb_loss_rows *rows)                                                                              \
    {                                                                                                                  \
        if (rows->gaussian && rows->table)                                                                             \
            loss_rows(rows, dtype, SOFT);                                                                              \
        else if (rows->gaussian)                                                                                       \
            loss_rows(rows, dtype, WINDOWED);                                                                          \
        else if (rows->base != 0)                                                                                      \
            loss_rows(rows, dtype, SMOOTHED);                                                                          \
        else                                                                                                           \
            loss_rows(rows, dtype, ONE_HOT);                                                                           \
    }

LOSS_ROWS(loss_rows_f32, PLB_F32)
LOSS_ROWS(loss_rows_f16, PLB_F16)
LOSS_ROWS(loss_rows_bf16, PLB_BF16)
