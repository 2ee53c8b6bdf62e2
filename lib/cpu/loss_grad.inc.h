/*
 * The second pass over a row: its gradient, from the exponentials.  SPDX-License-Identifier: Apache-2.0
 *
 * What the targets take away from the label's class, or from a window of classes, has been taken from the exponentials;
 * the rest is a multiplication.  Gradients larger than the cache go past it, whole lines straight from registers; only
 * the lines that a row shares with its neighbours are put together in the stage of a stream.
 */

/* grad = a * e, or a * (e - b) if SMOOTHED, or a * e - b * t if SOFT. */
typedef struct grad_row {
    const float *e, *t;
    float a, b;
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

/* The classes [i, end) of the row, to `to`.  `has_slack`: it may be written past its end. */
INLINE void grad_part(char *to, const grad_row *row, int64_t i, int64_t end, bool has_slack, plb_dtype dtype,
                      row_kind kind)
{
    const int64_t first = i;
    for (; i < end; i += VF_LANES)
        if (has_slack || i + VF_LANES <= end)
            store(to, i - first, dtype, grad_vector(row, i, kind));
        else
            store_n(to, i - first, dtype, grad_vector(row, i, kind), (int)(end - i));
}

INLINE void stream_grad_part(stream *out, char *to, const grad_row *row, int64_t i, int64_t end, plb_dtype dtype,
                             row_kind kind)
{
    if (i == end)
        return;
    grad_part(stream_seek(out, to), row, i, end, true, dtype, kind);
    stream_run(out, (size_t)(end - i) * (dtype == PLB_F32 ? 4 : 2));
}

INLINE void stream_grad(stream *out, char *to, const grad_row *row, int64_t n, plb_dtype dtype, row_kind kind)
{
    const int64_t size = dtype == PLB_F32 ? 4 : 2, line = 64 / size;
    int64_t i = (int64_t)line_head(to, (size_t)(n * size)) / size;
    stream_grad_part(out, to, row, 0, i, dtype, kind);
    for (; i + line <= n; i += line)
        for (int64_t k = i; k < i + line; k += VF_LANES)
            stream_vector(to, k, dtype, grad_vector(row, k, kind));
    stream_grad_part(out, to + i * size, row, i, n, dtype, kind);
}
