/*
 * The second pass over a row: its gradient, from the exponentials.
 *
 * What the targets take away from the label's class, or from a window of classes, has been taken from the exponentials;
 * the rest is a multiplication.  Gradients larger than the cache go past it, whole lines straight from registers; only
 * the lines that a row shares with its neighbours are put together in the stage of a stream.
 *
 * SPDX-License-Identifier: Apache-2.0
 */

typedef enum row_kind {
    ONE_HOT,
    SMOOTHED, /* t = base + peak [c = label]                                              */
    SOFT,     /* t is a Gaussian, as a row of numbers                                     */
    WINDOWED  /* t is a Gaussian, and 0 outside of a few grid rows: see loss_window.inc.h */
} row_kind;

typedef enum row_output {
    LOSS_ONLY,
    STORED,  /* gradients too, through the caches */
    STREAMED /* gradients too, past the caches    */
} row_output;

#define HAS_GRAD(output) ((output) >= STORED)

/* A gradient on its way: a * e, or a * (e - b) if SMOOTHED, or a * e - b * t if SOFT. */
typedef struct grad_row {
    const float *e, *t;
    float a, b;
    char *to;
    int64_t begin, end; /* the classes, whole vectors (and lines, if STREAMED), that row_exp() may take along */
} grad_row;

INLINE vf grad_vector(const grad_row *row, int64_t i, row_kind kind)
{
    const vf a = vf_set(row->a), e = vf_load(row->e + i);
    if (kind == SMOOTHED)
        return vf_mul(vf_sub(e, vf_set(row->b)), a);
    if (kind == SOFT)
        return vf_fma(vf_load(row->t + i), vf_set(-row->b), vf_mul(e, a));
    return vf_mul(e, a);
}

INLINE void grad_step(const grad_row *row, int64_t i, plb_dtype dtype, row_kind kind, row_output output)
{
    if (output == STREAMED && dtype == PLB_F32) /* 16-bit gradients go past the caches in pairs alone */
        vf_stream((float *)(void *)row->to + i, grad_vector(row, i, kind));
    else
        store(row->to, i, dtype, grad_vector(row, i, kind));
}

/* Two vectors of 16-bit gradients. */
INLINE void grad_pair(const grad_row *row, int64_t i, plb_dtype dtype, row_kind kind, row_output output)
{
    store_pair(row->to, i, dtype, grad_vector(row, i, kind), grad_vector(row, i + VF_LANES, kind), output == STREAMED);
}

/* What row_exp() may take along, with class `begin` as class 0: the loop over two rows then has one counter. */
INLINE grad_row grad_from_begin(const grad_row *row, plb_dtype dtype, row_kind kind, row_output output)
{
    grad_row from = *row;
    if (output != STREAMED || row->begin == 0)
        return from;
    from.e += row->begin;
    if (kind == SOFT)
        from.t += row->begin;
    from.to += row->begin * (dtype == PLB_F32 ? 4 : 2);
    from.begin = 0;
    from.end -= row->begin;
    return from;
}

/* All that row_exp() may take along from class i on. */
INLINE void grad_rest(const grad_row *row, int64_t i, plb_dtype dtype, row_kind kind, row_output output)
{
    for (; dtype != PLB_F32 && i + 2 * VF_LANES <= row->end; i += 2 * VF_LANES)
        grad_pair(row, i, dtype, kind, output);
    for (; i < row->end; i += VF_LANES)
        grad_step(row, i, dtype, kind, output);
}

/* The classes [i, end) of the row to the stage, which they may overrun. */
INLINE void grad_stage(stream *out, const grad_row *row, int64_t i, int64_t end, plb_dtype dtype, row_kind kind)
{
    const int64_t size = dtype == PLB_F32 ? 4 : 2;
    char *const stage = stream_seek(out, row->to + i * size);
    for (int64_t k = i; k < end; k += VF_LANES)
        store(stage, k - i, dtype, grad_vector(row, k, kind));
}

/*
 * What comes before the whole vectors; sets which those are.  A line in the stage is not sent on before grad_end(): a
 * load that overlaps two stores in flight has to wait for them.
 */
INLINE void grad_begin(stream *out, grad_row *row, int64_t n, plb_dtype dtype, row_kind kind, row_output output)
{
    const int64_t size = dtype == PLB_F32 ? 4 : 2, line = 64 / size;
    row->begin = output == STREAMED ? (int64_t)line_head(row->to, (size_t)(n * size)) / size : 0;
    row->end = row->begin + ((n - row->begin) & (output == STREAMED ? -line : -VF_LANES));
    if (output == STREAMED && row->begin > 0)
        grad_stage(out, row, 0, row->begin, dtype, kind);
}

/* What comes after them. */
INLINE void grad_end(stream *out, const grad_row *row, int64_t n, plb_dtype dtype, row_kind kind, row_output output)
{
    const size_t size = dtype == PLB_F32 ? 4 : 2;
    if (output == STREAMED && row->begin > 0)
        stream_run(out, (size_t)row->begin * size);
    if (output == STREAMED && row->end < n) {
        grad_stage(out, row, row->end, n, dtype, kind);
        stream_run(out, (size_t)(n - row->end) * size);
    }
    if (output == STORED && row->end < n)
        store_n(row->to, row->end, dtype, grad_vector(row, row->end, kind), (int)(n - row->end));
}
