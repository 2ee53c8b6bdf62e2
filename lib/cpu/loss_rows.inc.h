/*
 * Softmax cross-entropy of rows: loss and gradient.  SPDX-License-Identifier: Apache-2.0
 *
 * Two passes over a row: the exponentials, kept in scratch, and their sum; then the gradient, which is worked out along
 * with the exponentials of the next row.  Memory sees one read of the logits and one write of the gradient.
 */
#include "loss_grad.inc.h"

#include "loss_exp.inc.h"

#include "loss_careful.inc.h"
#include "loss_window.inc.h"

/*
 * How far ahead logits are asked for, in bytes: from memory early, into the L2 cache, which has more requests in flight
 * than the L1; from there shortly before they are needed.
 */
enum { NEAR_LOGITS = 4096, FAR_LOGITS = 16384 };

/* The bytes from a row to those `bytes` ahead: where rows are no longer than that, of the row at their end. */
INLINE int64_t bytes_ahead(const plb_loss_rows *rows, int64_t bytes, int64_t row_bytes)
{
    const int64_t step = rows->count > 1 ? (int64_t)((uintptr_t)rows->logits[1] - (uintptr_t)rows->logits[0]) : 0;
    return row_bytes > bytes ? bytes : (bytes + row_bytes - 1) / row_bytes * step;
}

/* What is kept of each row of a batch. */
typedef struct batch {
    int64_t near, far;                 /* bytes to the logits to ask for, as if rows went on evenly             */
    float exponentials[PLB_ROW_BATCH]; /* their sum, relative to some logit or to 0                             */
    float of_label[PLB_ROW_BATCH];     /* the label's, relative to the same; 1 for a row that needed care       */
    float shift[PLB_ROW_BATCH];        /* the label's logit; the maximum for a row that needed care             */
    bool careful[PLB_ROW_BATCH];       /* whether it needed care                                                */
    double above[PLB_ROW_BATCH];       /* the label's logit - shift                                             */
    double total[PLB_ROW_BATCH];       /* the sum of the targets                                                */
    double targets[PLB_ROW_BATCH];     /* the sum of z - shift if SMOOTHED, of t (z - shift) if SOFT or WINDOWED */
} batch;

/* Once more for a row whose sums are not to be trusted.  Gives whether its label is the highest. */
INLINE bool row_again(batch *b, int r, const loss_row *row, float z_label, plb_dtype dtype, row_kind kind)
{
    const careful_sums careful = dtype == PLB_F32   ? row_careful_f32(*row, kind)
                                 : dtype == PLB_F16 ? row_careful_f16(*row, kind)
                                                    : row_careful_bf16(*row, kind);
    b->careful[r] = true;
    b->exponentials[r] = careful.exponentials;
    b->of_label[r] = 1;
    b->shift[r] = careful.max;
    b->above[r] = (double)z_label - careful.max;
    b->targets[r] = careful.targets;
    return z_label == careful.max && careful.exponentials == careful.exponentials;
}

/* The first pass over row r, and the whole vectors of the gradient of the row before it. */
INLINE void row_first(plb_loss_rows *rows, batch *b, int r, const vf_exp_kit *kit, float *e, const grad_row *grad,
                      plb_dtype dtype, row_kind kind, row_output output)
{
    const int32_t label = rows->label[r];
    const loss_row row = {
        .logits = rows->logits[r],
        .near = b->near,
        .far = b->far,
        .classes = rows->classes,
        .label = label,
        .top = rows->accuracy,
        .e = e,
        .t = kind == SOFT ? table_row(rows, label) : NULL,
    };
    const float z_label = load_one(row.logits, label, dtype);
    row_sums sums;
    const bool trusted = row_exp(&sums, &row, kit, grad, dtype, kind, output);
    b->exponentials[r] = sums.exponentials;
    b->of_label[r] = sums.of_label;
    if (kind == SOFT || kind == WINDOWED)
        b->total[r] = rows->gaussian->total[label];
    if (kind == WINDOWED)
        b->shift[r] = z_label;
    if (kind == SMOOTHED || kind == SOFT)
        b->targets[r] = sums.targets - (kind == SOFT ? b->total[r] : (double)row.classes) * z_label;
    if (!trusted)
        sums.is_top = row_again(b, r, &row, z_label, dtype, kind);
    if (HAS_GRAD(output) && (kind == ONE_HOT || kind == SMOOTHED))
        e[label] = (float)(e[label] - rows->peak * b->exponentials[r]);
    if (rows->accuracy)
        rows->correct[r] = sums.is_top && row_max(row.logits, label, dtype) < z_label;
}

/* A row of weight 0. */
INLINE void row_nothing(batch *b, int r)
{
    b->exponentials[r] = b->of_label[r] = 1;
    b->total[r] = b->targets[r] = 0;
}

/* Between the passes: what a window of targets has to do with the row. */
INLINE void row_window(const plb_loss_rows *rows, batch *b, int r, float *e, plb_dtype dtype)
{
    const window w = window_of(rows->gaussian, rows->label[r]);
    const void *const z = rows->logits[r];
    const float scale = b->exponentials[r] / (float)b->total[r]; /* p T - t = (e - t sum / T) T / sum */
    const float sum = window_apply(&w, z, false, 0, e, scale, rows->classes, dtype);
    b->targets[r] = sum - b->total[r] * b->shift[r];
    if (b->careful[r] || sum - sum != 0)
        b->targets[r] = 4 * (double)window_apply(&w, z, true, b->shift[r], NULL, 0, rows->classes, dtype);
}

/* The gradient of row r, whose first pass is done. */
INLINE grad_row grad_of(const plb_loss_rows *rows, const batch *b, int r, const float *e, row_kind kind)
{
    const float sum = b->exponentials[r], scale = (float)rows->scale[r];
    return (grad_row){
        .e = e,
        .t = kind == SOFT ? table_row(rows, rows->label[r]) : NULL,
        .a = (float)(rows->scale[r] * (kind == SOFT || kind == WINDOWED ? b->total[r] : 1) / sum),
        .b = kind == SMOOTHED ? (float)(rows->base * sum) : scale,
        .to = rows->grad[r],
    };
}

INLINE void row_zeros(const plb_loss_rows *rows, int r, stream *out, plb_dtype dtype, row_output output)
{
    const size_t bytes = (size_t)rows->classes * (dtype == PLB_F32 ? 4 : 2);
    if (output == STREAMED)
        stream_zeros(out, rows->grad[r], bytes);
    else
        memset(rows->grad[r], 0, bytes);
}

/*
 * log(sum / part) for sum >= part, within 2e-10; NaN if the sum is NaN or infinite.  A batch of them at a time is a
 * loop that the compiler turns into vectors, which calls of log() are not.
 */
INLINE double log_of_ratio(double sum, double part)
{
    uint64_t bits, part_bits;
    double fraction, n;
    memcpy(&bits, &sum, sizeof bits);
    memcpy(&part_bits, &part, sizeof part_bits);
    uint64_t exponent = (bits - part_bits + ((uint64_t)1 << 51)) >> 52; /* leaves a fraction from 2/3 to 3/2 */
    bits -= exponent << 52;
    exponent |= 0x4330000000000000; /* 2^52 + n, as a double */
    memcpy(&fraction, &bits, sizeof fraction);
    memcpy(&n, &exponent, sizeof n);
    const double s = (fraction - part) / (fraction + part), z = s * s;
    double series = 1.0 / 11;
    series = series * z + 1.0 / 9;
    series = series * z + 1.0 / 7;
    series = series * z + 1.0 / 5;
    series = series * z + 1.0 / 3;
    return (n - 0x1p52) * 0x1.62e42fefa39efp-1 + 2 * (s + s * z * series) + (sum - sum);
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

/* Rows of weight 0 have been given sums that make it 0. */
INLINE void batch_losses(plb_loss_rows *rows, const batch *b, row_kind kind)
{
    const bool is_gaussian = kind == SOFT || kind == WINDOWED;
    for (int r = 0; r < rows->count; r++) {
        double loss = log_of_ratio(b->exponentials[r], b->of_label[r]);
        if (is_gaussian)
            loss = loss * b->total[r] - b->targets[r];
        else
            loss -= rows->peak * b->above[r];
        if (kind == SMOOTHED)
            loss -= rows->base * b->targets[r];
        rows->loss[r] = loss;
    }
    for (int r = 0; rows->filter && r < rows->count; r++) {
        const double p = exp(b->above[r]) * b->of_label[r] / b->exponentials[r];
        rows->confident[r] = rows->label[r] >= 0 && p >= target_of_label(rows, rows->label[r]);
    }
}

INLINE bool has_row(const plb_loss_rows *rows, int r)
{
    return r >= 0 && r < rows->count && rows->label[r] >= 0;
}

/* The first pass over row r, and the gradient of the row before it. */
INLINE void loss_step(plb_loss_rows *rows, batch *b, int r, const vf_exp_kit *kit, stream *out, plb_dtype dtype,
                      row_kind kind, row_output output)
{
    const int64_t n = rows->classes, pitch = plb_loss_pitch(n);
    float *const e = rows->scratch + (r & 1) * pitch, *const e_before = rows->scratch + (~r & 1) * pitch;
    const bool has_grad = HAS_GRAD(output) && has_row(rows, r - 1);
    grad_row grad = {0};
    if (has_grad) {
        grad = grad_of(rows, b, r - 1, e_before, kind);
        grad_begin(out, &grad, n, dtype, kind, output);
    }
    if (has_row(rows, r)) {
        row_first(rows, b, r, kit, e, &grad, dtype, kind, output);
        if (kind == WINDOWED)
            row_window(rows, b, r, HAS_GRAD(output) ? e : NULL, dtype);
    } else {
        for (int64_t k = grad.begin; k < grad.end; k += VF_LANES)
            grad_step(&grad, k, dtype, kind, output);
        if (r < rows->count)
            row_nothing(b, r);
    }
    if (has_grad)
        grad_end(out, &grad, n, dtype, kind, output);
    else if (HAS_GRAD(output) && r > 0)
        row_zeros(rows, r - 1, out, dtype, output);
}

INLINE void loss_rows(plb_loss_rows *rows, plb_dtype dtype, row_kind kind, row_output output)
{
    char stage[192] __attribute__((aligned(64)));
    stream out = {.stage = stage};
    const int64_t n = rows->classes, pitch = plb_loss_pitch(n), row_bytes = n * (dtype == PLB_F32 ? 4 : 2);
    const vf_exp_kit kit = vf_exp_begin();
    batch b;
    b.near = bytes_ahead(rows, NEAR_LOGITS, row_bytes);
    b.far = bytes_ahead(rows, FAR_LOGITS, row_bytes);
    memset(b.careful, 0, sizeof b.careful);
    memset(b.above, 0, sizeof b.above);
    memset(rows->correct, 0, sizeof rows->correct);
    for (int k = 0; k < 2; k++) /* vectors go past the end of a row */
        memset(rows->scratch + k * pitch + n, 0, (size_t)(pitch - n) * sizeof(float));
    for (int r = 0; r < rows->count + HAS_GRAD(output); r++)
        loss_step(rows, &b, r, &kit, &out, dtype, kind, output);
    if (output == STREAMED)
        stream_end(&out);
    batch_losses(rows, &b, kind);
}

/* The kinds and outputs as copies of the loop, so that none pays for another. */
INLINE void loss_rows_of_kind(plb_loss_rows *rows, plb_dtype dtype, row_kind kind)
{
    if (!rows->grad[0])
        loss_rows(rows, dtype, kind, LOSS_ONLY);
    else if (rows->stream)
        loss_rows(rows, dtype, kind, STREAMED);
    else
        loss_rows(rows, dtype, kind, STORED);
}

#define LOSS_ROWS(name, dtype)                                                                                         \
    static void name(plb_loss_rows *rows)                                                                              \
    {                                                                                                                  \
        if (rows->gaussian && rows->table)                                                                             \
            loss_rows_of_kind(rows, dtype, SOFT);                                                                      \
        else if (rows->gaussian)                                                                                       \
            loss_rows_of_kind(rows, dtype, WINDOWED);                                                                  \
        else if (rows->base != 0)                                                                                      \
            loss_rows_of_kind(rows, dtype, SMOOTHED);                                                                  \
        else                                                                                                           \
            loss_rows_of_kind(rows, dtype, ONE_HOT);                                                                   \
    }

LOSS_ROWS(loss_rows_f32, PLB_F32)
LOSS_ROWS(loss_rows_f16, PLB_F16)
LOSS_ROWS(loss_rows_bf16, PLB_BF16)
