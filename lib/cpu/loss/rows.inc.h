/*
 * Softmax cross-entropy of rows: loss and gradient.
 *
 * Two passes over a row: the exponentials, kept in scratch, and their sum; then the gradient, which is worked out along
 * with the exponentials of the next row.  Memory sees one read of the logits and one write of the gradient.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/kernels.h"

#include <math.h>
#include <string.h>

#include "cpu/loss/loss_grad.inc.h"

#include "cpu/loss/loss_exp.inc.h"

#include "cpu/loss/loss_careful.inc.h"
#include "cpu/loss/loss_window.inc.h"

#include "cpu/loss/loss_settle.inc.h"

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

/* What a window of targets has to do with row r: the sum of t z, and the gradient's share. */
INLINE vf row_window(const plb_loss_rows *rows, const batch *b, int r, plb_dtype dtype, row_output output)
{
    const window w = window_of(rows->gaussian, rows->label[r]);
    if (!HAS_GRAD(output))
        return window_apply(&w, rows->logits[r], NULL, 0, rows->classes, dtype);
    const float scale = b->exponentials[r] / (float)b->total[r]; /* p T - t = (e - t sum / T) T / sum */
    return window_apply(&w, rows->logits[r], e_of(rows, r), scale, rows->classes, dtype);
}

/* The first pass over row r, and the whole vectors of the gradient of the row before it. */
INLINE void row_first(plb_loss_rows *rows, batch *b, int r, const vf_exp_kit *kit, const grad_row *grad,
                      plb_dtype dtype, row_kind kind, row_output output)
{
    const loss_row row = row_of(rows, b, r, kind);
    const row_sums sums = row_exp(&row, kit, grad, dtype, kind, output);
    b->of_label[r] = VF_EXP_OVERFLOWS || !vf_any_above(sums.highest, 88) ? row.e[row.label] : 0;
    b->shift[r] = load_one(row.logits, row.label, dtype);
    b->above[r] = 0;
    b->careful[r] = false;
    if (kind == SOFT || kind == WINDOWED)
        b->total[r] = rows->gaussian->total[row.label];
    if (rows->accuracy)
        rows->correct[r] = is_top(&row, dtype);
    if (!HAS_GRAD(output)) {
        vf_store(b->lanes[r % SETTLED], sums.exponentials);
        if (kind != ONE_HOT)
            vf_store(b->target_lanes[r % SETTLED],
                     kind == WINDOWED ? row_window(rows, b, r, dtype, output) : sums.targets);
        return;
    }
    row_settle(rows, b, r, vf_sum(sums.exponentials), kind == SMOOTHED || kind == SOFT ? vf_sum(sums.targets) : 0,
               dtype, kind);
    if (kind == WINDOWED)
        window_settle(rows, b, r, vf_sum(row_window(rows, b, r, dtype, output)), dtype);
    if (kind == ONE_HOT || kind == SMOOTHED)
        row.e[row.label] = (float)(row.e[row.label] - rows->peak * b->exponentials[r]);
}

/* The gradient of row r, whose first pass is done. */
INLINE grad_row grad_of(const plb_loss_rows *rows, const batch *b, int r, row_kind kind)
{
    const float sum = b->exponentials[r];
    return (grad_row){
        .e = e_of(rows, r),
        .t = kind == SOFT ? target_row(rows, rows->label[r]) : NULL,
        .a = (float)(rows->scale[r] * (kind == SOFT || kind == WINDOWED ? b->total[r] : 1) / sum),
        .b = (float)(kind == SMOOTHED ? rows->base * sum : rows->scale[r] * target_factor(rows, rows->label[r], kind)),
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

/* The first pass over row r, and *grad, the gradient of the row before it; *grad becomes that of row r. */
INLINE void loss_step(plb_loss_rows *rows, batch *b, int r, const vf_exp_kit *kit, grad_row *grad, stream *out,
                      plb_dtype dtype, row_kind kind, row_output output)
{
    const int64_t n = rows->classes;
    const bool has_grad = HAS_GRAD(output) && has_row(rows, r - 1);
    if (has_grad)
        grad_begin(out, grad, n, dtype, kind, output);
    if (has_row(rows, r)) {
        row_first(rows, b, r, kit, grad, dtype, kind, output);
    } else {
        grad_rest(grad, grad->begin, dtype, kind, output);
        if (r < rows->count)
            row_nothing(b, r);
    }
    if (has_grad)
        grad_end(out, grad, n, dtype, kind, output);
    else if (HAS_GRAD(output) && r > 0)
        row_zeros(rows, r - 1, out, dtype, output);
    *grad = HAS_GRAD(output) && has_row(rows, r) ? grad_of(rows, b, r, kind) : (grad_row){0};
}

INLINE void loss_rows(plb_loss_rows *rows, plb_dtype dtype, row_kind kind, row_output output)
{
    char stage[192] __attribute__((aligned(64)));
    stream out = {.stage = stage};
    const int64_t n = rows->classes, pitch = plb_loss_pitch(n), row_bytes = n * (dtype == PLB_F32 ? 4 : 2);
    const vf_exp_kit kit = vf_exp_begin();
    grad_row grad = {0};
    _Static_assert(sizeof(batch) <= PLB_LOSS_WORK, "a batch does not fit");
    batch *const b = rows->work;
    b->near = bytes_ahead(rows, NEAR_LOGITS, row_bytes);
    b->far = bytes_ahead(rows, FAR_LOGITS, row_bytes);
    memset(rows->correct, 0, sizeof rows->correct);
    for (int k = 0; k < 2; k++) /* vectors go past the end of a row */
        memset(rows->scratch + k * pitch + n, 0, (size_t)(pitch - n) * sizeof(float));
    for (int r = 0; r < rows->count + HAS_GRAD(output); r++) {
        loss_step(rows, b, r, &kit, &grad, &out, dtype, kind, output);
        if (!HAS_GRAD(output) && (r % SETTLED == SETTLED - 1 || r == rows->count - 1))
            settle(rows, b, r / SETTLED * SETTLED, r + 1, dtype, kind);
    }
    if (output == STREAMED)
        stream_end(&out);
    batch_losses(rows, b, kind);
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
        if (rows->gaussian && (rows->gaussian->rows || rows->table))                                                   \
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

static const plb_loss_kernels loss_kernels = {
    .rows = {loss_rows_f32, loss_rows_f16, loss_rows_bf16, plb_loss_rows_reference_f64},
};
