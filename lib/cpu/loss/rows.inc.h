/*
 * Softmax cross-entropy of rows: loss and gradient.
 *
 * Two passes over a row: the exponentials, kept in scratch, and their sum (exponentials.inc.h); then the gradient
 * (gradient.inc.h), which is worked out along with the exponentials of the next row.  Memory sees one read of the
 * logits and one write of the gradient.
 *
 * This file has what is done once for each row: it takes the sums of the first pass and prepares the second.  Around
 * that are the loop over rows and, for all rows of a batch at once, the losses.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives loss_kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/axis.inc.h"
#include "cpu/loss/exponentials.inc.h"
#include "cpu/loss/gradient.inc.h"
#include "cpu/loss/kernels.h"
#include "cpu/loss/scale.inc.h"
#include "cpu/loss/window.inc.h"

#include <float.h>

/*
 * How far ahead logits are asked for, in bytes: from memory early, into the L2 cache, which has more requests in flight
 * than the L1; from there shortly before they are needed.
 */
enum { L1_AHEAD = 4096, L2_AHEAD = 16384 };

/* What the rows of a batch have in common. */
typedef struct loss_pass {
    plb_loss_rows *rows;
    vf_exp_kit kit;
    stream *out;
    int64_t l1_ahead, l2_ahead; /* bytes to the logits to ask for, as if rows went on evenly */
} loss_pass;

/* The bytes from a row to those `bytes` ahead; where rows are no longer than that, to the row at their end. */
INLINE int64_t bytes_ahead(const plb_loss_rows *rows, int64_t bytes, int64_t row_bytes)
{
    const int64_t step = rows->count > 1 ? (int64_t)((uintptr_t)rows->logits[1] - (uintptr_t)rows->logits[0]) : 0;
    return row_bytes > bytes ? bytes : (bytes + row_bytes - 1) / row_bytes * step;
}

INLINE bool has_row(const plb_loss_rows *rows, int r)
{
    return r >= 0 && r < rows->count && rows->label[r] >= 0;
}

/* The exponentials of row r.  Those of the row before it are still needed. */
INLINE float *exponentials_of(const plb_loss_rows *rows, int r)
{
    return rows->scratch + (r & 1) * plb_loss_pitch(rows->classes);
}

/* Whether the label is the first maximum: a pass over logits that are in the cache, for calls that ask for it. */
INLINE bool is_top(const logit_row *row, plb_dtype dtype)
{
    const float z = load_one(row->logits, row->label, dtype);
    return row_max(row->logits, row->label, dtype) < z && row_max(row->logits, row->classes, dtype) <= z;
}

/* A row of weight 0: its loss will be 0. */
INLINE void skip_row(plb_loss_sums *sums, int r)
{
    sums->exponentials[r] = sums->pivot_exponential[r] = 1;
    sums->label_less_pivot[r] = sums->targets[r] = sums->target_logits[r] = 0;
}

/* The first pass over row r once more, as its sums are not safe. */
INLINE void redo_row(plb_loss_rows *rows, const logit_row *row, int r, plb_dtype dtype, row_kind kind)
{
    plb_loss_sums *const sums = &rows->sums;
    const careful_sums careful = careful_exponentials(row, dtype, kind);
    sums->exponentials[r] = careful.exponentials;
    sums->pivot[r] = careful.max;
    sums->pivot_exponential[r] = 1;
    sums->label_less_pivot[r] = /* which may be -inf, and does not count in the loss if its factor is 0 */
        rows->peak == 0 ? 0 : (double)load_one(row->logits, row->label, dtype) - careful.max;
    sums->target_logits[r] = target_factor(rows, rows->label[r], kind) * careful.targets;
    if (rows->accuracy)
        rows->correct[r] = careful.exponentials == careful.exponentials && is_top(row, dtype);
}

/* Takes the sums of row r.  If they are not safe, makes them and the exponentials anew, and gives true. */
INLINE bool finish_sums(plb_loss_rows *rows, const logit_row *row, int r, const row_sums *sums_of_row, plb_dtype dtype,
                        row_kind kind)
{
    plb_loss_sums *const sums = &rows->sums;
    const bool has_targets = kind == SMOOTHED || kind == SOFT;
    double sum = vf_sum(sums_of_row->exponentials), targets = has_targets ? vf_sum(sums_of_row->targets) : 0;
    if (__builtin_expect(rows->classes > 2 * SUM_BLOCK, 0)) {
        sum = sum_of_exponentials(row->exponentials, rows->classes);
        if (kind == SMOOTHED)
            targets = sum_of_logits(row->logits, rows->classes, dtype);
    }
    sums->exponentials[r] = sum;
    if (kind == SMOOTHED)
        sums->target_logits[r] = targets - (double)rows->classes * sums->pivot[r];
    if (kind == SOFT)
        sums->target_logits[r] = target_factor(rows, rows->label[r], kind) * targets;
    if (sums_are_safe(sum, sums->pivot_exponential[r], rows->classes) && !(has_targets && targets - targets != 0))
        return false;
    redo_row(rows, row, r, dtype, kind);
    return true;
}

/*
 * The exponential of the label less its share of the sum, which the gradient is to have in its place.  Where the label
 * has most of the sum, both are made from the sum of the others.
 */
INLINE double less_own_share(plb_loss_rows *rows, const logit_row *row, int r)
{
    double *const sum = &rows->sums.exponentials[r];
    const double own = row->exponentials[row->label];
    const double most = rows->classes <= 32 * VF_LANES ? 0.875 : 0.5; /* a sum of few has lost less */
    if (__builtin_expect(own > most * *sum, 0)) {
        const double others = sum_of_others(row->exponentials, row->classes, row->label);
        *sum = own + others;
        return (1 - rows->peak) * *sum - others;
    }
    return own - rows->peak * *sum;
}

/* Takes the window of row r into account: the sum of t z, and the gradient's share. */
INLINE void finish_window(plb_loss_rows *rows, const logit_row *row, int r, bool is_careful, plb_dtype dtype,
                          row_output output)
{
    plb_loss_sums *const sums = &rows->sums;
    const window w = window_of(rows, rows->label[r]);
    float *const exponentials = HAS_GRAD(output) ? row->exponentials : NULL;
    const float scale = (float)sums->exponentials[r] / (float)sums->targets[r]; /* p T - t = (e - t sum / T) T / sum */
    const float targets = vf_sum(window_apply(&w, row, exponentials, scale, dtype));
    sums->target_logits[r] = targets;
    if (is_careful || targets - targets != 0)
        sums->target_logits[r] = window_careful(&w, row->logits, sums->pivot[r], rows->classes, dtype);
}

/* The first pass over row r, and the whole vectors of *grad, the gradient of the row before it. */
INLINE void first_pass(const loss_pass *pass, int r, const grad_row *grad, plb_dtype dtype, row_kind kind,
                       row_output output)
{
    plb_loss_rows *const rows = pass->rows;
    plb_loss_sums *const sums = &rows->sums;
    const logit_row row = {
        .logits = rows->logits[r],
        .l1_ahead = pass->l1_ahead,
        .l2_ahead = pass->l2_ahead,
        .classes = rows->classes,
        .label = rows->label[r],
        .exponentials = exponentials_of(rows, r),
        .targets = kind == SOFT ? target_row(rows, rows->label[r]) : NULL,
        .pivot = load_one(rows->logits[r], rows->label[r], dtype),
    };
    const row_sums sums_of_row = row_exponentials(&row, &pass->kit, grad, dtype, kind, output);
    const bool overflows = !VF_EXP_OVERFLOWS && vf_any_above(sums_of_row.max, 88);
    sums->pivot[r] = row.pivot;
    sums->pivot_exponential[r] = overflows ? 0 : row.exponentials[row.label];
    sums->label_less_pivot[r] = 0;
    if (kind == SOFT || kind == WINDOWED)
        sums->targets[r] = plb_gaussian_sum(rows->gaussian, row.label);
    if (rows->accuracy)
        rows->correct[r] = is_top(&row, dtype);
    const bool is_careful = finish_sums(rows, &row, r, &sums_of_row, dtype, kind);
    const double less_share = less_own_share(rows, &row, r);
    if (kind == WINDOWED)
        finish_window(rows, &row, r, is_careful, dtype, output);
    if (HAS_GRAD(output) && (kind == ONE_HOT || kind == SMOOTHED))
        row.exponentials[row.label] = (float)less_share;
}

/* Whether x is below 2^-126 or 2^127 and above, as an exponent tells; so it may be 0 or not finite. */
INLINE bool leaves_float(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits >> 52 & 0x7ff) - (1023 - 126) > 126 + 126;
}

/*
 * The gradient of a row whose factors leave float32: the scale divided by a sum of exponentials may do so where no
 * gradient does.  It takes the place of the exponentials.
 */
__attribute__((noinline, cold)) static void grad_in_double(float *exponentials, const float *targets, int64_t n,
                                                           double scale, double base, double target_scale)
{
    for (int64_t c = 0; c < n; c++)
        exponentials[c] = (float)((exponentials[c] - base) * scale - (targets ? targets[c] * target_scale : 0));
}

/* The gradient of row r, whose first pass is done. */
INLINE grad_row grad_of(const plb_loss_rows *rows, int r, row_kind kind)
{
    const double sum = rows->sums.exponentials[r];
    float *const exponentials = exponentials_of(rows, r);
    const float *const targets = kind == SOFT ? target_row(rows, rows->label[r]) : NULL;
    double scale = rows->scale[r] * (kind == SOFT || kind == WINDOWED ? rows->sums.targets[r] : 1) / sum;
    double base = kind == SMOOTHED ? rows->base * sum : 0;
    double target_scale = kind == SOFT ? rows->scale[r] * target_factor(rows, rows->label[r], kind) : 0;
    if (__builtin_expect((leaves_float(scale) && scale != 0) || (kind == SOFT && fabs(target_scale) > FLT_MAX), 0)) {
        grad_in_double(exponentials, targets, rows->classes, scale, base, target_scale);
        scale = 1;
        base = target_scale = 0;
    }
    return (grad_row){
        .exponentials = exponentials,
        .targets = targets,
        .scale = (float)scale,
        .base = (float)base,
        .target_scale = (float)target_scale,
        .to = rows->grad[r],
    };
}

/* The first pass over row r, and the gradient *grad of the row before it; *grad becomes that of row r. */
INLINE void loss_step(const loss_pass *pass, int r, grad_row *grad, plb_dtype dtype, row_kind kind, row_output output)
{
    plb_loss_rows *const rows = pass->rows;
    const int64_t n = rows->classes;
    const bool has_grad = HAS_GRAD(output) && has_row(rows, r - 1);
    if (has_grad)
        grad_begin(pass->out, grad, n, dtype, kind, output);
    if (has_row(rows, r)) {
        first_pass(pass, r, grad, dtype, kind, output);
    } else {
        grad_rest(grad, grad->begin, dtype, kind, output);
        if (r < rows->count)
            skip_row(&rows->sums, r);
    }
    if (has_grad)
        grad_end(pass->out, grad, n, dtype, kind, output);
    else if (HAS_GRAD(output) && r > 0)
        grad_zeros(pass->out, rows->grad[r - 1], n, dtype, output);
    *grad = HAS_GRAD(output) && has_row(rows, r) ? grad_of(rows, r, kind) : (grad_row){0};
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

/* The label's own target. */
INLINE double target_of_label(const plb_loss_rows *rows, int32_t label)
{
    return rows->gaussian ? plb_gaussian_target(rows->gaussian, label, label) : rows->base + rows->peak;
}

/* Whether p >= t for the label of row r.  Where float32 cannot tell, double precision does. */
INLINE bool is_confident(const plb_loss_rows *rows, int r, plb_dtype dtype)
{
    const plb_loss_sums *const sums = &rows->sums;
    const double t = target_of_label(rows, rows->label[r]);
    double p = exp(sums->label_less_pivot[r]) * sums->pivot_exponential[r] / sums->exponentials[r];
    if (fabs(p - t) <= 2e-5 * (1 - p) + 0x1p-51)
        p = plb_loss_probability(rows->logits[r], dtype, rows->classes, rows->label[r]);
    return p >= t;
}

/* The losses of a batch, from its sums. */
INLINE void batch_losses(plb_loss_rows *rows, plb_dtype dtype, row_kind kind)
{
    const plb_loss_sums *const sums = &rows->sums;
    for (int r = 0; r < rows->count; r++) {
        double loss = log_of_ratio(sums->exponentials[r], sums->pivot_exponential[r]);
        if (kind == SOFT || kind == WINDOWED)
            loss = loss * sums->targets[r] - sums->target_logits[r];
        else
            loss -= rows->peak * sums->label_less_pivot[r];
        if (kind == SMOOTHED)
            loss -= rows->base * sums->target_logits[r];
        rows->loss[r] = loss;
    }
    for (int r = 0; rows->filter && r < rows->count; r++)
        rows->confident[r] = rows->label[r] >= 0 && is_confident(rows, r, dtype);
}

INLINE void loss_rows(plb_loss_rows *rows, plb_dtype dtype, row_kind kind, row_output output)
{
    char stage[STREAM_STAGE] __attribute__((aligned(64)));
    const int64_t n = rows->classes, pitch = plb_loss_pitch(n), row_bytes = n * (dtype == PLB_F32 ? 4 : 2);
    stream out = {.stage = stage};
    const loss_pass pass = {
        .rows = rows,
        .kit = vf_exp_begin(),
        .out = &out,
        .l1_ahead = bytes_ahead(rows, L1_AHEAD, row_bytes),
        .l2_ahead = bytes_ahead(rows, L2_AHEAD, row_bytes),
    };
    grad_row grad = {0};
    memset(rows->correct, 0, sizeof rows->correct);
    for (int k = 0; k < 2; k++) /* vectors go past the end of a row */
        memset(rows->scratch + k * pitch + n, 0, (size_t)(pitch - n) * sizeof(float));
    for (int r = 0; r < rows->count + HAS_GRAD(output); r++)
        loss_step(&pass, r, &grad, dtype, kind, output);
    if (output == STREAMED)
        stream_end(&out);
    batch_losses(rows, dtype, kind);
}

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
    .axes = {axis_rows_f32, axis_rows_f16, axis_rows_bf16, plb_axis_rows_reference_f64},
    .scale = scale_numbers,
};
