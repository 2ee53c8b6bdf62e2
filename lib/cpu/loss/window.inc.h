/*
 * Gaussian targets: a few grid rows around the position.
 *
 * On a small grid there is a whole row of targets, either ready or filled once and kept.  On a large one the window is
 * taken into account between the two passes.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives window_of(), window_apply() and window_careful() for
 * windows; target_row() and target_factor() for rows of targets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_LOSS_WINDOW_INC_H
#define PLB_CPU_LOSS_WINDOW_INC_H

#include "cpu/loss/exponentials.inc.h"
#include "cpu/loss/kernels.h"

/* Where a position's targets are not 0: a part of the grid, whose rows are `width` classes apart. */
typedef struct window {
    int64_t begin, width;
    int32_t rows, columns;
    const float *x, *y; /* the factors of its columns and rows */
} window;

/* The factors of the window around place i. */
INLINE const float *axis_window(const plb_loss_windows *windows, const plb_gaussian_axis *axis, int32_t i)
{
    const bool keep = axis->side <= PLB_MOST_WINDOWS;
    float *const factors = windows->factors + (keep ? (int64_t)i * plb_window_pitch(axis->window) : 0);
    if (!keep || !windows->has[i])
        plb_window_fill(factors, axis, i);
    if (keep)
        windows->has[i] = 1;
    return factors;
}

INLINE window window_of(const plb_loss_rows *rows, int32_t label)
{
    const plb_gaussian_axis *const y = &rows->gaussian->y, *const x = &rows->gaussian->x;
    const int32_t row = label / x->side, column = label % x->side;
    return (window){
        .begin = (int64_t)plb_window_first(y, row) * x->side + plb_window_first(x, column),
        .width = x->side,
        .rows = y->window,
        .columns = x->window,
        .x = axis_window(&rows->x, x, column),
        .y = axis_window(&rows->y, y, row),
    };
}

INLINE vf window_logits(const void *z, int64_t i, int64_t n, plb_dtype dtype)
{
    return i + VF_LANES <= n ? load(z, i, dtype) : load_n(z, i, dtype, (int)(n - i));
}

/*
 * Gives the sum of t (z - pivot), not yet across lanes; and subtracts t * scale from the exponentials, where they are
 * given.  A vector may reach past its grid row into the next, where t is 0.  The next is therefore loaded before this
 * one is stored: a load that overlaps a store in flight has to wait for it.
 */
INLINE vf window_apply(const window *w, const logit_row *row, float *exponentials, float scale, plb_dtype dtype)
{
    const vf minus = vf_set(-scale), pivot = vf_set(row->pivot);
    vf sum = vf_set(0);
    for (int32_t c = 0; c < w->columns; c += VF_LANES) {
        const vf x = vf_load(w->x + c);
        int64_t i = w->begin + c;
        vf e = exponentials ? vf_load(exponentials + i) : x;
        for (int32_t r = 0; r < w->rows; r++, i += w->width) {
            const vf t = vf_mul(x, vf_set(w->y[r]));
            sum = vf_fma(t, vf_sub(window_logits(row->logits, i, row->classes, dtype), pivot), sum);
            if (exponentials) {
                const vf next = r + 1 < w->rows ? vf_load(exponentials + i + w->width) : e;
                vf_store(exponentials + i, vf_fma(t, minus, e));
                e = next;
            }
        }
    }
    return sum;
}

/* The sum of t (z - pivot), however large it is. */
INLINE double window_careful(const window *w, const void *z, float pivot, int64_t n, plb_dtype dtype)
{
    const vf quarter = vf_set(0.25f), quarter_pivot = vf_set(pivot * 0.25f);
    vf sum = vf_set(0);
    for (int32_t c = 0; c < w->columns; c += VF_LANES)
        for (int32_t r = 0; r < w->rows; r++) {
            const vf logits = window_logits(z, w->begin + c + r * w->width, n, dtype);
            const vf t = vf_mul(vf_load(w->x + c), vf_set(w->y[r]));
            sum = vf_fma(t, made_finite(vf_fms(logits, quarter, quarter_pivot)), sum);
        }
    return 4 * (double)vf_sum(sum);
}

/*
 * A position's row of this thread's table, which is filled when it is first asked for.  What a vector has too much at
 * the end of its grid row, the next one overwrites.
 */
INLINE const float *table_row(const plb_loss_rows *rows, int32_t label)
{
    const int64_t pitch = plb_loss_table_pitch(rows->classes);
    float *const row = rows->table + label * pitch;
    if (rows->has_row[label])
        return row;
    const window w = window_of(rows, label);
    memset(row, 0, (size_t)pitch * sizeof(float));
    for (int32_t r = 0; r < w.rows; r++)
        for (int32_t c = 0; c < w.columns; c += VF_LANES)
            vf_store(row + w.begin + r * w.width + c, vf_mul(vf_load(w.x + c), vf_set(w.y[r])));
    rows->has_row[label] = 1;
    return row;
}

/* The targets of a position as a row of numbers, but for their factor. */
INLINE const float *target_row(const plb_loss_rows *rows, int32_t label)
{
    return rows->gaussian->rows ? rows->gaussian->rows[label].targets : table_row(rows, label);
}

INLINE double target_factor(const plb_loss_rows *rows, int32_t label, row_kind kind)
{
    return kind == SOFT && rows->gaussian->rows ? rows->gaussian->rows[label].factor : 1;
}

#endif
