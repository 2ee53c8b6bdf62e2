/*
 * Gaussian targets: a few grid rows around the position.
 *
 * On a small grid there is a whole row of targets, either ready or filled once and kept; on a large one the window is
 * taken into account between the two passes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */

/* Where a position's targets are: a window of the grid, whose rows are `width` classes apart. */
typedef struct window {
    int64_t begin, width;
    int32_t rows, columns;
    const float *x, *y;
} window;

INLINE window window_of(const plb_gaussian *g, int32_t label)
{
    const int32_t y = label / g->width, x = label % g->width;
    return (window){
        .begin = (int64_t)g->first_row[y] * g->width + g->first_column[x],
        .width = g->width,
        .rows = g->window_rows,
        .columns = g->window_columns,
        .x = g->x_window + x * g->x_pitch,
        .y = g->y_window + (int64_t)y * g->window_rows,
    };
}

INLINE vf window_logits(const void *z, int64_t i, int64_t n, plb_dtype dtype)
{
    return i + VF_LANES <= n ? load(z, i, dtype) : load_n(z, i, dtype, (int)(n - i));
}

/*
 * Gives the sum of t z, not yet across lanes; and does e -= t * scale where e is given.  A vector may reach past its
 * grid row into the next, where t is 0; the next is therefore loaded before this one is stored, for a load that
 * overlaps a store in flight has to wait for it.
 */
INLINE vf window_apply(const window *w, const void *z, float *e, float scale, int64_t n, plb_dtype dtype)
{
    const vf minus = vf_set(-scale);
    vf sum = vf_set(0);
    for (int32_t c = 0; c < w->columns; c += VF_LANES) {
        const vf x = vf_load(w->x + c);
        int64_t i = w->begin + c;
        vf row = e ? vf_load(e + i) : x;
        for (int32_t r = 0; r < w->rows; r++, i += w->width) {
            const vf t = vf_mul(x, vf_set(w->y[r]));
            sum = vf_fma(t, window_logits(z, i, n, dtype), sum);
            if (e) {
                const vf next = r + 1 < w->rows ? vf_load(e + i + w->width) : row;
                vf_store(e + i, vf_fma(t, minus, row));
                row = next;
            }
        }
    }
    return sum;
}

/* The sum of t (z - shift), however large it is. */
INLINE double window_careful(const window *w, const void *z, float shift, int64_t n, plb_dtype dtype)
{
    const vf quarter = vf_set(0.25f), less = vf_set(shift * 0.25f);
    vf sum = vf_set(0);
    for (int32_t c = 0; c < w->columns; c += VF_LANES)
        for (int32_t r = 0; r < w->rows; r++) {
            const vf logits = window_logits(z, w->begin + c + r * w->width, n, dtype);
            const vf t = vf_mul(vf_load(w->x + c), vf_set(w->y[r]));
            sum = vf_fma(t, bounded(vf_fms(logits, quarter, less)), sum);
        }
    return 4 * (double)vf_sum(sum);
}

/* A position's row of the table. */
INLINE float *table_at(const plb_loss_rows *rows, int32_t label)
{
    return rows->table + label * plb_loss_table_pitch(rows->classes);
}

/* Once it has been filled.  What a vector has too much at the end of its grid row, the next one overwrites. */
INLINE const float *table_row(const plb_loss_rows *rows, int32_t label)
{
    float *const row = table_at(rows, label);
    if (rows->has_row[label])
        return row;
    const window w = window_of(rows->gaussian, label);
    memset(row, 0, (size_t)plb_loss_table_pitch(rows->classes) * sizeof(float));
    for (int32_t r = 0; r < w.rows; r++)
        for (int32_t c = 0; c < w.columns; c += VF_LANES)
            vf_store(row + w.begin + r * w.width + c, vf_mul(vf_load(w.x + c), vf_set(w.y[r])));
    rows->has_row[label] = 1;
    return row;
}

/* The targets of a position, but for their factor. */
INLINE const float *target_row(const plb_loss_rows *rows, int32_t label)
{
    return rows->gaussian->rows ? rows->gaussian->rows[label].targets : table_row(rows, label);
}

INLINE double target_factor(const plb_loss_rows *rows, int32_t label, row_kind kind)
{
    return kind == SOFT && rows->gaussian->rows ? rows->gaussian->rows[label].factor : 1;
}
