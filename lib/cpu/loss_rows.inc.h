/*
 * Softmax cross-entropy of rows: loss and gradient.  SPDX-License-Identifier: Apache-2.0
 *
 * Two passes over a row: the exponentials, kept in scratch, and their sum; then the gradient.  The exponent of every
 * class is taken relative to the label's logit, which is there at once, and not to the maximum, which would cost a pass
 * of its own; only when an exponential comes near overflow, because the label is less likely than e^-64, or a logit is not
 * finite, is the row done again the usual way.  Memory sees one read of the logits and one write of the gradient.
 *
 * Each pass takes a few rows at a time, so that the end of one row, a chain of dependent operations, overlaps the
 * beginning of the next, and the first pass asks for the logits of the rows to come.  The order of every sum depends on
 * the number of classes alone, so a row's bits do not depend on its neighbours or its address.
 */

/*
 * e^d for d < 88, within 2 units in the last place near 0 and 1e-6 at -80 and 80; 0 below -104; NaN for NaN.
 * 2^f for |f| <= 1/2 is a minimax polynomial of degree 5 with a relative error of 9e-8, exact at 0.
 */
INLINE vf vf_exp(vf d)
{
    d = vf_max(vf_set(-110.0f), d);
    const vf log2e = vf_set(0x1.715476p+0f);
    const vf n = vf_round(vf_mul(d, log2e));
    const vf f = vf_fms(d, log2e, n);
    vf p = vf_set(0x1.5bba14p-10f);
    p = vf_fma(p, f, vf_set(0x1.3cea88p-7f));
    p = vf_fma(p, f, vf_set(0x1.c6b752p-5f));
    p = vf_fma(p, f, vf_set(0x1.ebf9bcp-3f));
    p = vf_fma(p, f, vf_set(0x1.62e42ap-1f));
    p = vf_fma(p, f, vf_set(1.0f));
    return vf_scale(p, n);
}

/* The maximum; a NaN may be overlooked here, but not by the exponentials. */
INLINE float row_max(const void *z, int64_t n, plb_dtype dtype)
{
    const vf lowest = vf_set(-INFINITY);
    vf a = lowest, b = lowest, c = lowest, d = lowest;
    int64_t i = 0;
    for (; i + 4 * VF_LANES <= n; i += 4 * VF_LANES) {
        a = vf_max(a, load(z, i, dtype));
        b = vf_max(b, load(z, i + VF_LANES, dtype));
        c = vf_max(c, load(z, i + 2 * VF_LANES, dtype));
        d = vf_max(d, load(z, i + 3 * VF_LANES, dtype));
    }
    for (; i + VF_LANES <= n; i += VF_LANES)
        a = vf_max(a, load(z, i, dtype));
    if (i < n)
        b = vf_max(b, vf_select_n(load_n(z, i, dtype, (int)(n - i)), lowest, (int)(n - i)));
    return vf_highest(vf_max(vf_max(a, b), vf_max(c, d)));
}

typedef enum row_kind {
    ONE_HOT,
    SMOOTHED, /* t = base + peak                                          */
    SOFT      /* t is a Gaussian, and 0 outside of a few grid rows         */
} row_kind;

typedef struct row_sums {
    float shift; /* what was subtracted from the logits */
    float exponentials;
    float targets; /* a quarter of the sum of t (z - shift), or of base (z - shift), where the kind asks for it */
    bool is_top;   /* no class is above the label, and none before it is its equal */
    bool is_safe;  /* no exponential came near overflow */
} row_sums;

typedef struct row_accumulators {
    vf exponentials, differences, highest;
} row_accumulators;

/* A quarter of z - shift: the difference of two finite floats may be twice the largest one. */
INLINE vf quarter_difference(vf z, vf shift)
{
    const vf quarter = vf_set(0.25f);
    return vf_fms(z, quarter, vf_mul(shift, quarter));
}

/* One vector of the first pass; `count` lanes of it count. */
INLINE void exp_step(row_accumulators *sums, vf z, vf shift, float base, float *e, row_kind kind, int count)
{
    const bool whole = count == VF_LANES;
    const vf d = whole ? vf_sub(z, shift) : vf_select_n(vf_sub(z, shift), vf_set(0), count);
    const vf x = whole ? vf_exp(d) : vf_select_n(vf_exp(d), vf_set(0), count);
    sums->exponentials = vf_add(sums->exponentials, x);
    sums->highest = vf_max(sums->highest, d);
    if (e)
        vf_store(e, x);
    if (kind == SMOOTHED) {
        const vf q = quarter_difference(z, shift);
        sums->differences =
            vf_fma(whole ? q : vf_select_n(q, vf_set(0), count), vf_set(base), sums->differences);
    }
}

/* The first pass over a row, for a given shift.  On the way it asks for the logits of the row `next`. */
INLINE row_sums row_exp_shifted(const void *z, const void *next, float shift, float base, float *e, int64_t n,
                                plb_dtype dtype, row_kind kind)
{
    const size_t size = dtype == PLB_F32 ? 4 : 2;
    const vf s = vf_set(shift);
    const row_accumulators none = {vf_set(0), vf_set(0), vf_set(0)};
    row_accumulators a = none, b = none;
    int64_t i = 0;
    for (; i + 2 * VF_LANES <= n; i += 2 * VF_LANES) {
        prefetch((const char *)next + (size_t)i * size, 2 * VF_LANES * size);
        exp_step(&a, load(z, i, dtype), s, base, e ? e + i : NULL, kind, VF_LANES);
        exp_step(&b, load(z, i + VF_LANES, dtype), s, base, e ? e + i + VF_LANES : NULL, kind, VF_LANES);
    }
    if (i + VF_LANES <= n) {
        exp_step(&a, load(z, i, dtype), s, base, e ? e + i : NULL, kind, VF_LANES);
        i += VF_LANES;
    }
    if (i < n)
        exp_step(&b, load_n(z, i, dtype, (int)(n - i)), s, base, e ? e + i : NULL, kind, (int)(n - i));
    return (row_sums){
        .shift = shift,
        .exponentials = vf_sum(vf_add(a.exponentials, b.exponentials)),
        .targets = kind == SMOOTHED ? vf_sum(vf_add(a.differences, b.differences)) : 0,
        .is_top = !vf_any_above(vf_max(a.highest, b.highest), 0),
        .is_safe = !vf_any_above(vf_max(a.highest, b.highest), 64),
    };
}

INLINE row_sums row_exp(const void *z, const void *next, int64_t label, float base, float *e, int64_t n,
                        plb_dtype dtype, row_kind kind)
{
    const float z_label = load_one(z, label, dtype);
    row_sums sums = row_exp_shifted(z, next, z_label, base, e, n, dtype, kind);
    if (!sums.is_safe || sums.exponentials != sums.exponentials) {
        const float max = row_max(z, n, dtype);
        sums = row_exp_shifted(z, next, max, base, e, n, dtype, kind);
        sums.is_top = z_label == max && sums.exponentials == sums.exponentials;
    }
    sums.is_top = sums.is_top && row_max(z, label, dtype) < z_label;
    return sums;
}

/* Where a position's Gaussian targets are: a window of the grid, whose rows are `width` classes apart. */
typedef struct window {
    int64_t begin, width;
    int32_t rows, columns;
    const float *x, *y;
    double total; /* the sum of all targets */
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
        .total = g->y_sum[y] * g->x_sum[x],
    };
}

/*
 * Gives a quarter of the sum of t (z - shift), and does e -= t * scale where e is given.  A vector may reach past its grid row into the
 * next, where t is 0; the next is therefore loaded before this one is stored, for a load that overlaps a store in flight
 * has to wait for it.
 */
INLINE float window_apply(const window *w, const void *z, float shift, float *e, float scale, int64_t n, plb_dtype dtype)
{
    const vf s = vf_set(shift), minus = vf_set(-scale);
    const vf lowest = vf_set(-0x1.fffffep127f); /* a class of probability 0 must not make 0 * inf */
    vf sum = vf_set(0);
    for (int32_t c = 0; c < w->columns; c += VF_LANES) {
        const vf x = vf_load(w->x + c);
        int64_t i = w->begin + c;
        vf row = e ? vf_load(e + i) : x;
        for (int32_t r = 0; r < w->rows; r++, i += w->width) {
            const vf t = vf_mul(x, vf_set(w->y[r]));
            const vf logits = i + VF_LANES <= n ? load(z, i, dtype) : load_n(z, i, dtype, (int)(n - i));
            sum = vf_fma(t, vf_max(lowest, quarter_difference(logits, s)), sum);
            if (e) {
                const vf next = r + 1 < w->rows ? vf_load(e + i + w->width) : row;
                vf_store(e + i, vf_fma(t, minus, row));
                row = next;
            }
        }
    }
    return vf_sum(sum);
}

/* grad = e * a - b.  `has_slack`: it may be written past the end of the row. */
INLINE void row_grad(void *grad, bool has_slack, const float *e, float a, float b, int64_t n, plb_dtype dtype,
                     row_kind kind)
{
    const vf va = vf_set(a), vb = vf_set(b);
    for (int64_t i = 0; i < n; i += VF_LANES) {
        vf g = vf_mul(vf_load(e + i), va);
        if (kind == SMOOTHED)
            g = vf_sub(g, vb);
        if (has_slack || i + VF_LANES <= n)
            store(grad, i, dtype, g);
        else
            store_n(grad, i, dtype, g, (int)(n - i));
    }
}

INLINE void row_zero(void *grad, int64_t n, plb_dtype dtype)
{
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        store(grad, i, dtype, vf_set(0));
    if (i < n)
        store_n(grad, i, dtype, vf_set(0), (int)(n - i));
}

/* Rows in flight: what the second pass needs of each. */
typedef struct group {
    int count, first;
    row_sums sums[PLB_GROUP_ROWS];
    double total[PLB_GROUP_ROWS]; /* the sum of the targets, of the soft kind */
} group;

/* The first pass over a group of rows; those of weight 0 are left out. */
INLINE void group_exp(const plb_loss_rows *rows, group *g, float *e, int64_t pitch, plb_dtype dtype, row_kind kind)
{
    for (int k = 0; k < g->count; k++) {
        const int r = g->first + k, next = r + g->count < rows->count ? r + g->count : rows->count - 1;
        const int32_t label = rows->label[r];
        if (label < 0)
            continue;
        g->sums[k] = row_exp(rows->logits[r], rows->logits[next], label, (float)rows->base,
                             rows->grad[r] ? e + k * pitch : NULL, rows->classes, dtype, kind);
    }
    for (int k = 0; kind == SOFT && k < g->count; k++) {
        const int r = g->first + k, label = rows->label[r];
        if (label < 0)
            continue;
        row_sums *const sums = &g->sums[k];
        const window w = window_of(rows->gaussian, label);
        g->total[k] = w.total;
        /* p T - t = (e - t sum / T) T / sum */
        sums->targets = window_apply(&w, rows->logits[r], sums->shift, rows->grad[r] ? e + k * pitch : NULL,
                                     sums->exponentials / (float)w.total, rows->classes, dtype);
    }
}

/* What the targets give the label itself. */
INLINE double target_of_label(const plb_loss_rows *rows, int32_t label, row_kind kind)
{
    const plb_gaussian *const g = rows->gaussian;
    if (kind != SOFT)
        return rows->base + rows->peak;
    const int64_t y = label / g->width, x = label % g->width;
    return g->y[y * g->height + y] * g->x[x * g->width + x];
}

INLINE void group_loss(plb_loss_rows *rows, const group *g, plb_dtype dtype, row_kind kind)
{
    for (int k = 0; k < g->count; k++) {
        const int r = g->first + k, label = rows->label[r];
        rows->loss[r] = 0;
        rows->correct[r] = rows->confident[r] = false;
        if (label < 0)
            continue;
        const row_sums *const sums = &g->sums[k];
        const double above = (double)load_one(rows->logits[r], label, dtype) - sums->shift;
        double loss = log((double)sums->exponentials);
        if (kind == SOFT)
            loss = loss * g->total[k] - 4.0 * sums->targets;
        else
            loss -= rows->peak * above;
        if (kind == SMOOTHED)
            loss -= 4.0 * sums->targets;
        rows->loss[r] = loss;
        rows->correct[r] = sums->is_top;
        if (rows->filter)
            rows->confident[r] = exp(above) / sums->exponentials >= target_of_label(rows, label, kind);
    }
}

/* The gradient of row `k` of the group, to `to`. */
INLINE void group_grad_row(const plb_loss_rows *rows, const group *g, int k, void *to, const float *e, plb_dtype dtype,
                           row_kind kind)
{
    const int64_t n = rows->classes;
    const int r = g->first + k, label = rows->label[r];
    if (label < 0) {
        row_zero(to, n, dtype);
        return;
    }
    const double scale = rows->scale[r], total = kind == SOFT ? g->total[k] : 1;
    const float a = (float)(scale * total / g->sums[k].exponentials);
    const float e_label = e[label];
    row_grad(to, rows->stream, e, a, (float)(scale * rows->base), n, dtype, kind);
    if (kind != SOFT)
        store_one(to, label, dtype, e_label * a - (float)(scale * (rows->base + rows->peak)));
}

/*
 * The second pass.  The stage begins a line before the exponentials, and a row of gradients is never longer than one of
 * exponentials, so what is staged overwrites only what has been read.
 */
INLINE void group_grad(const plb_loss_rows *rows, const group *g, float *e, int64_t pitch, stream *out, plb_dtype dtype,
                       row_kind kind)
{
    const size_t bytes = (size_t)rows->classes * (dtype == PLB_F32 ? 4 : 2);
    size_t staged = 0;
    char *stage = NULL;
    for (int k = 0; k < g->count; k++) {
        char *to = rows->grad[g->first + k];
        if (rows->stream) {
            if (!stage || to != out->to + staged) {
                if (stage)
                    stream_run(out, staged);
                stage = stream_seek(out, to);
                staged = 0;
            }
            to = stage + staged;
            staged += bytes;
        }
        group_grad_row(rows, g, k, to, e + k * pitch, dtype, kind);
    }
    if (stage)
        stream_run(out, staged);
}

INLINE void loss_rows(plb_loss_rows *rows, plb_dtype dtype, row_kind kind)
{
    const int64_t pitch = plb_loss_pitch(rows->classes);
    const int group_rows = plb_loss_group(rows->classes);
    float *const e = (float *)rows->scratch + 16;
    stream out = {.stage = rows->scratch, .to = NULL};
    group g;

    for (g.first = 0; g.first < rows->count; g.first += group_rows) {
        g.count = rows->count - g.first < group_rows ? rows->count - g.first : group_rows;
        group_exp(rows, &g, e, pitch, dtype, kind);
        group_loss(rows, &g, dtype, kind);
        if (rows->grad[g.first])
            group_grad(rows, &g, e, pitch, &out, dtype, kind);
    }
    if (rows->stream)
        stream_end(&out);
}

/* The three kinds as three copies of the loop, so that none pays for another. */
#define LOSS_ROWS(name, dtype)                                                                                         \
    static void name(plb_loss_rows *rows)                                                                              \
    {                                                                                                                  \
        if (rows->gaussian)                                                                                            \
            loss_rows(rows, dtype, SOFT);                                                                              \
        else if (rows->base != 0)                                                                                      \
            loss_rows(rows, dtype, SMOOTHED);                                                                          \
        else                                                                                                           \
            loss_rows(rows, dtype, ONE_HOT);                                                                           \
    }

LOSS_ROWS(loss_rows_f32, PLB_F32)
LOSS_ROWS(loss_rows_f16, PLB_F16)
LOSS_ROWS(loss_rows_bf16, PLB_BF16)
