/*
 * Softmax cross-entropy of rows: loss and gradient.  SPDX-License-Identifier: Apache-2.0
 *
 * Three passes over rows that the first one brings into the L1 cache: the maximum; the exponentials, kept in scratch,
 * and their sum; the gradient.  Memory sees one read of the logits and one write of the gradient.  Each pass takes a few
 * rows at a time, so that the end of one row, a chain of dependent operations, overlaps the beginning of the next, and
 * the second pass asks for the logits of the rows to come.  The order of every sum depends on the number of classes
 * alone, so a row's bits do not depend on its neighbours or its address.
 */

#define INLINE static inline __attribute__((always_inline))

/*
 * Gradients larger than the cache go to memory in whole lines of 64 bytes.  They are staged in scratch at the distance
 * from a line that they will have in memory; what a run of rows leaves of its last line waits at the front of the stage
 * for the next run.
 */
typedef struct stream {
    char *stage; /* aligned to a line */
    char *to;    /* where the next byte goes in memory */
    size_t open; /* the first byte of the open line that is ours */
} stream;

static size_t line_offset(const void *p)
{
    return (uintptr_t)p & 63;
}

/* Writes what is left of the open line. */
static void stream_flush(stream *s)
{
    const size_t fill = line_offset(s->to);
    if (fill > s->open)
        memcpy(s->to - (fill - s->open), s->stage + s->open, fill - s->open);
}

/* Where the stage continues for a row that goes to `to`. */
static char *stream_seek(stream *s, char *to)
{
    if (to != s->to) {
        stream_flush(s);
        s->to = to;
        s->open = line_offset(to);
    }
    return s->stage + line_offset(to);
}

/* Sends `bytes` staged bytes on. */
static void stream_run(stream *s, size_t bytes)
{
    const size_t fill = line_offset(s->to) + bytes;
    char *line = s->to - line_offset(s->to);
    const char *from = s->stage, *const end = s->stage + fill / 64 * 64;
    s->to += bytes;
    if (from < end && s->open) {
        memcpy(line + s->open, from + s->open, 64 - s->open);
        s->open = 0;
        from += 64;
        line += 64;
    }
    for (; from < end; from += 64, line += 64)
        v_stream_line(line, from);
    if (from != s->stage)
        memcpy(s->stage, from, 64);
}

INLINE vf load(const void *p, int64_t i, plb_dtype dtype)
{
    if (dtype == PLB_F32)
        return vf_load((const float *)p + i);
    if (dtype == PLB_F16)
        return vf_load_f16((const uint16_t *)p + i);
    return vf_load_bf16((const uint16_t *)p + i);
}

INLINE vf load_n(const void *p, int64_t i, plb_dtype dtype, int n)
{
    if (dtype == PLB_F32)
        return vf_load_n((const float *)p + i, n);
    if (dtype == PLB_F16)
        return vf_load_f16_n((const uint16_t *)p + i, n);
    return vf_load_bf16_n((const uint16_t *)p + i, n);
}

INLINE void store(void *p, int64_t i, plb_dtype dtype, vf a)
{
    if (dtype == PLB_F32)
        vf_store((float *)p + i, a);
    else if (dtype == PLB_F16)
        vf_store_f16((uint16_t *)p + i, a);
    else
        vf_store_bf16((uint16_t *)p + i, a);
}

INLINE void store_n(void *p, int64_t i, plb_dtype dtype, vf a, int n)
{
    if (dtype == PLB_F32)
        vf_store_n((float *)p + i, a, n);
    else if (dtype == PLB_F16)
        vf_store_f16_n((uint16_t *)p + i, a, n);
    else
        vf_store_bf16_n((uint16_t *)p + i, a, n);
}

INLINE float load_one(const void *p, int64_t i, plb_dtype dtype)
{
    if (dtype == PLB_F32)
        return ((const float *)p)[i];
    if (dtype == PLB_F16)
        return plb_from_f16(((const uint16_t *)p)[i]);
    return plb_from_bf16(((const uint16_t *)p)[i]);
}

INLINE void store_one(void *p, int64_t i, plb_dtype dtype, float a)
{
    if (dtype == PLB_F32)
        ((float *)p)[i] = a;
    else if (dtype == PLB_F16)
        ((uint16_t *)p)[i] = plb_to_f16(a);
    else
        ((uint16_t *)p)[i] = plb_to_bf16(a);
}

/*
 * e^d for d <= 0, within 2 units in the last place near 0 and 1e-6 at -80; 0 below -104; NaN for NaN.
 * 2^f for |f| <= 1/2 is a minimax polynomial of degree 5 with a relative error of 9e-8, exact at 0.
 */
INLINE vf vf_exp(vf d)
{
    d = vf_max(vf_set(-110.0f), d);
    const vf log2e = vf_set(0x1.715476p+0f);
    const vf n = vf_round(vf_mul(d, log2e));
    const vf f = vf_fma(d, log2e, vf_sub(vf_set(0), n));
    vf p = vf_set(0x1.5bba14p-10f);
    p = vf_fma(p, f, vf_set(0x1.3cea88p-7f));
    p = vf_fma(p, f, vf_set(0x1.c6b752p-5f));
    p = vf_fma(p, f, vf_set(0x1.ebf9bcp-3f));
    p = vf_fma(p, f, vf_set(0x1.62e42ap-1f));
    p = vf_fma(p, f, vf_set(1.0f));
    return vf_scale(p, n);
}

/* Asks for the cache lines of elements i .. i + 2 * VF_LANES - 1. */
INLINE void prefetch(const void *p, int64_t i, plb_dtype dtype)
{
    const int size = dtype == PLB_F32 ? 4 : 2;
    for (int line = 0; line < 2 * VF_LANES * size; line += 64)
        __builtin_prefetch((const char *)p + i * size + line);
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

typedef struct row_sums {
    float exponentials;
    float targets; /* sum of t (z - max), or of z - max, where the kind asks for it */
} row_sums;

typedef enum row_kind {
    ONE_HOT,
    SMOOTHED, /* t = base + peak */
    SOFT      /* t is a row in scratch */
} row_kind;

/* One vector of the second pass; `count` lanes of it count. */
INLINE void row_exp_step(vf z, vf max, float *e, const float *t, row_kind kind, vf *sum, vf *targets, int count)
{
    const bool whole = count == VF_LANES;
    vf d = vf_sub(z, max);
    vf x = vf_exp(d);
    if (!whole)
        x = vf_select_n(x, vf_set(0), count);
    *sum = vf_add(*sum, x);
    if (e)
        vf_store(e, x);
    if (kind == SMOOTHED)
        *targets = vf_add(*targets, whole ? d : vf_select_n(d, vf_set(0), count));
    if (kind == SOFT) /* a class of probability 0 must not make 0 * inf */
        *targets = vf_fma(vf_load(t), vf_max(vf_set(-0x1.fffffep127f), whole ? d : vf_select_n(d, vf_set(0), count)), *targets);
}

INLINE row_sums row_exp(const void *z, const void *next, float max, float *e, const float *t, int64_t n, plb_dtype dtype, row_kind kind)
{
    const vf m = vf_set(max);
    vf sum_a = vf_set(0), sum_b = vf_set(0), targets_a = vf_set(0), targets_b = vf_set(0);
    int64_t i = 0;
    for (; i + 2 * VF_LANES <= n; i += 2 * VF_LANES) {
        prefetch(next, i, dtype);
        row_exp_step(load(z, i, dtype), m, e ? e + i : NULL, t + i, kind, &sum_a, &targets_a, VF_LANES);
        row_exp_step(load(z, i + VF_LANES, dtype), m, e ? e + i + VF_LANES : NULL, t + i + VF_LANES, kind, &sum_b,
                     &targets_b, VF_LANES);
    }
    for (; i + VF_LANES <= n; i += VF_LANES)
        row_exp_step(load(z, i, dtype), m, e ? e + i : NULL, t + i, kind, &sum_a, &targets_a, VF_LANES);
    if (i < n)
        row_exp_step(load_n(z, i, dtype, (int)(n - i)), m, e ? e + i : NULL, t + i, kind, &sum_b, &targets_b,
                     (int)(n - i));
    return (row_sums){vf_sum(vf_add(sum_a, sum_b)), vf_sum(vf_add(targets_a, targets_b))};
}

/* grad = e * a - t * b, or e * a - b where t is constant.  `grad` may be `e` itself, at the front. */
INLINE void row_grad(void *grad, const float *e, const float *t, float a, float b, int64_t n, plb_dtype dtype,
                     row_kind kind)
{
    const vf va = vf_set(a), vb = vf_set(kind == SOFT ? -b : b);
    int64_t i = 0;
    for (; i < n; i += VF_LANES) {
        vf g = vf_load(e + i);
        if (kind == SOFT)
            g = vf_fma(vf_load(t + i), vb, vf_mul(g, va));
        else if (kind == SMOOTHED)
            g = vf_sub(vf_mul(g, va), vb);
        else
            g = vf_mul(g, va);
        if (i + VF_LANES <= n)
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

/* The targets of a position: grid row after grid row; what a vector writes past the end of one, the next overwrites. */
INLINE void row_targets(float *t, const plb_gaussian *g, int32_t y, int32_t x)
{
    const float *factor = g->x_f32 + x * g->x_pitch;
    for (int32_t row = 0; row < g->height; row++, t += g->width) {
        const vf scale = vf_set(g->y_f32[(int64_t)y * g->height + row]);
        for (int32_t i = 0; i < g->width; i += VF_LANES)
            vf_store(t + i, vf_mul(scale, vf_load(factor + i)));
    }
    vf_store(t, vf_set(0)); /* the last vector of the sums reads past the end */
}

INLINE bool is_first_maximum(const void *z, int64_t label, float max, plb_dtype dtype)
{
    if (load_one(z, label, dtype) != max)
        return false;
    for (int64_t i = 0; i < label; i++)
        if (load_one(z, i, dtype) == max)
            return false;
    return true;
}

/* Rows in flight: what the second and the third pass need of each. */
typedef struct group {
    int count, first;
    float max[PLB_GROUP_ROWS];
    row_sums sums[PLB_GROUP_ROWS];
    double total[PLB_GROUP_ROWS]; /* the sum of the targets */
} group;

/* The first two passes over a group of rows; those of weight 0 are left out. */
INLINE void group_exp(const plb_loss_rows *rows, group *g, float *e, float *t, int64_t pitch, plb_dtype dtype,
                      row_kind kind)
{
    const plb_gaussian *const gaussian = rows->gaussian;
    for (int k = 0; k < g->count; k++) {
        const int r = g->first + k, label = rows->label[r];
        g->total[k] = 1;
        if (label < 0)
            continue;
        if (kind == SOFT) {
            const int32_t y = label / gaussian->width, x = label % gaussian->width;
            row_targets(t + k * pitch, gaussian, y, x);
            g->total[k] = gaussian->y_sum[y] * gaussian->x_sum[x];
        }
        g->max[k] = row_max(rows->logits[r], rows->classes, dtype);
    }
    for (int k = 0; k < g->count; k++) {
        const int r = g->first + k, next = r + g->count < rows->count ? r + g->count : rows->count - 1;
        if (rows->label[r] >= 0)
            g->sums[k] = row_exp(rows->logits[r], rows->logits[next], g->max[k], rows->grad[r] ? e + k * pitch : NULL,
                                 t + k * pitch, rows->classes, dtype, kind);
    }
}

INLINE void group_loss(plb_loss_rows *rows, const group *g, const float *t, int64_t pitch, plb_dtype dtype,
                       row_kind kind)
{
    for (int k = 0; k < g->count; k++) {
        const int r = g->first + k, label = rows->label[r];
        rows->loss[r] = 0;
        rows->correct[r] = rows->confident[r] = false;
        if (label < 0)
            continue;
        const float z_label = load_one(rows->logits[r], label, dtype), sum = g->sums[k].exponentials;
        double loss = g->total[k] * log((double)sum);
        if (kind == SOFT)
            loss -= g->sums[k].targets;
        else
            loss -= rows->peak * ((double)z_label - g->max[k]);
        if (kind == SMOOTHED)
            loss -= rows->base * g->sums[k].targets;
        rows->loss[r] = loss;
        rows->correct[r] = sum == sum && is_first_maximum(rows->logits[r], label, g->max[k], dtype);
        if (rows->filter) {
            const double t_label = kind == SOFT ? t[k * pitch + label] : rows->base + rows->peak;
            rows->confident[r] = exp((double)z_label - g->max[k]) / sum >= t_label;
        }
    }
}

/* The gradient of row `k` of the group, to `to`. */
INLINE void group_grad_row(const plb_loss_rows *rows, const group *g, int k, void *to, const float *e, const float *t,
                           plb_dtype dtype, row_kind kind)
{
    const int64_t n = rows->classes;
    const int r = g->first + k, label = rows->label[r];
    if (label < 0) {
        row_zero(to, n, dtype);
        return;
    }
    const double scale = rows->scale[r];
    const float a = (float)(scale * g->total[k] / g->sums[k].exponentials);
    const float b = (float)(kind == SOFT ? scale : scale * rows->base);
    const float e_label = e[label];
    row_grad(to, e, t, a, b, n, dtype, kind);
    if (kind != SOFT)
        store_one(to, label, dtype, e_label * a - (float)(scale * (rows->base + rows->peak)));
}

/*
 * The third pass.  The stage begins a line before the exponentials, and a row of gradients is never longer than one of
 * exponentials, so what is staged overwrites only what has been read.
 */
INLINE void group_grad(const plb_loss_rows *rows, const group *g, const float *e, const float *t, int64_t pitch,
                       stream *out, plb_dtype dtype, row_kind kind)
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
        group_grad_row(rows, g, k, to, e + k * pitch, t + k * pitch, dtype, kind);
    }
    if (stage)
        stream_run(out, staged);
}

INLINE void loss_rows(plb_loss_rows *rows, plb_dtype dtype, row_kind kind)
{
    const int64_t pitch = plb_loss_pitch(rows->classes);
    const int group_rows = plb_loss_group(rows->classes);
    float *const e = (float *)rows->scratch + 16, *const t = e + group_rows * pitch;
    stream out = {.stage = rows->scratch, .to = NULL};
    group g;

    for (g.first = 0; g.first < rows->count; g.first += group_rows) {
        g.count = rows->count - g.first < group_rows ? rows->count - g.first : group_rows;
        group_exp(rows, &g, e, t, pitch, dtype, kind);
        group_loss(rows, &g, t, pitch, dtype, kind);
        if (rows->grad[g.first])
            group_grad(rows, &g, e, t, pitch, &out, dtype, kind);
    }
    if (rows->stream) {
        stream_flush(&out);
        v_stream_done();
    }
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
