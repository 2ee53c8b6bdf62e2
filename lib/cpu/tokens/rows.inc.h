/*
 * Rows of token assembly and of its gradient.
 *
 * There is hardly any arithmetic: these are copies of rows with something added on the way, and what costs is memory.
 * Whole lines of a row that goes past the caches are stored straight from registers; only the lines that it shares
 * with its neighbours are put together in the stage of a stream.  Gathered rows defeat the hardware's prefetchers, so
 * while one row is copied the lines of later ones are asked for: early into the L2 cache, which has more requests in
 * flight than the L1, and shortly before use from there.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives token_kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/tokens/kernels.h"
#include "cpu/vectors/elements.inc.h"
#include "cpu/vectors/stream.inc.h"

#include <string.h>

/* How many bytes ahead rows are asked for, from the L1 and from the L2 cache. */
enum { TOKEN_L1_AHEAD = 2048, TOKEN_L2_AHEAD = 8192 };

/* How many rows that is. */
typedef struct prefetch_distance {
    int l1, l2;
} prefetch_distance;

/* The rows to ask for while one row is worked on; NULL: none. */
typedef struct rows_ahead {
    const char *l1, *l2;
} rows_ahead;

INLINE prefetch_distance distance_for(size_t row_bytes)
{
    return (prefetch_distance){(int)((TOKEN_L1_AHEAD + row_bytes - 1) / row_bytes),
                               (int)((TOKEN_L2_AHEAD + row_bytes - 1) / row_bytes)};
}

INLINE rows_ahead rows_ahead_of(const void *const *rows, int count, int r, prefetch_distance distance)
{
    const bool has_l1 = distance.l1 < count - r, has_l2 = distance.l2 < count - r;
    return (rows_ahead){has_l1 ? rows[r + distance.l1] : NULL, has_l2 ? rows[r + distance.l2] : NULL};
}

INLINE void prefetch_line(const rows_ahead *ahead, size_t at)
{
    if (ahead->l2)
        __builtin_prefetch(ahead->l2 + at, 0, 2);
    if (ahead->l1)
        __builtin_prefetch(ahead->l1 + at, 0, 3);
}

/* The embedding of what is `at` bytes into the row of a token; NULL: none. */
INLINE const char *embedding_at(const char *b, size_t at, plb_dtype dtype, plb_dtype with)
{
    return b ? b + (with == dtype ? at : 2 * at) : NULL;
}

/* to = a + b, or a where b is NULL; the dtype of b is `with`. */
INLINE void add_rows(char *to, const char *a, const char *b, size_t bytes, plb_dtype dtype, plb_dtype with)
{
    const int64_t n = (int64_t)(bytes / (dtype == PLB_F32 ? 4 : 2));
    int64_t i = 0;
    if (!b) {
        memcpy(to, a, bytes);
        return;
    }
    for (; i + VF_LANES <= n; i += VF_LANES)
        store(to, i, dtype, vf_add(load(a, i, dtype), load(b, i, with)));
    if (i < n)
        store_n(to, i, dtype, vf_add(load_n(a, i, dtype, (int)(n - i)), load_n(b, i, with, (int)(n - i))),
                (int)(n - i));
}

/* The same past the caches for less than a line. */
INLINE void stream_part(stream *out, char *x, const char *a, const char *b, size_t bytes, plb_dtype dtype,
                        plb_dtype with)
{
    if (bytes) {
        add_rows(stream_seek(out, x), a, b, bytes, dtype, with);
        stream_run(out, bytes);
    }
}

/* to[0 .. 64) = a + b; if `past`, `to` begins a line. */
INLINE void add_line(char *to, const char *a, const char *b, plb_dtype dtype, plb_dtype with, bool past)
{
    const int64_t in_line = 64 / (dtype == PLB_F32 ? 4 : 2), step = dtype == PLB_F32 ? VF_LANES : 2 * VF_LANES;
    for (int64_t i = 0; i < in_line; i += step) {
        if (with == PLB_BF16) {
            v_add_bf16((uint16_t *)to + i, (const uint16_t *)a + i, (const uint16_t *)b + i, past);
            continue;
        }
        const vf sum = vf_add(load(a, i, dtype), load(b, i, with));
        if (dtype != PLB_F32)
            store_pair(to, i, dtype, sum, vf_add(load(a, i + VF_LANES, dtype), load(b, i + VF_LANES, with)), past);
        else if (past)
            vf_stream((float *)to + i, sum);
        else
            vf_store((float *)to + i, sum);
    }
}

/* The same, or to = a where b is NULL, for the whole lines of [at, end).  Gives where they end. */
INLINE size_t add_lines(char *to, const char *a, const char *b, size_t at, size_t end, const rows_ahead *ahead,
                        plb_dtype dtype, plb_dtype with, bool past)
{
    for (; at + 64 <= end; at += 64) {
        prefetch_line(ahead, at);
        if (b)
            add_line(to + at, a + at, embedding_at(b, at, dtype, with), dtype, with, past);
        else if (past)
            v_stream_line(to + at, a + at);
        else
            memcpy(to + at, a + at, 64);
    }
    return at;
}

/* x = a + b, or a where b is NULL; past the caches where `out` is given. */
INLINE void token_row(stream *out, char *x, const char *a, const char *b, size_t bytes, const rows_ahead *ahead,
                      plb_dtype dtype, plb_dtype with)
{
    if (!out) {
        const size_t at = add_lines(x, a, b, 0, bytes, ahead, dtype, with, false);
        add_rows(x + at, a + at, embedding_at(b, at, dtype, with), bytes - at, dtype, with);
        return;
    }
    const size_t head = line_head(x, bytes);
    stream_part(out, x, a, b, head, dtype, with);
    const size_t at = add_lines(x, a, b, head, bytes, ahead, dtype, with, true);
    stream_part(out, x + at, a + at, embedding_at(b, at, dtype, with), bytes - at, dtype, with);
}

INLINE void token_rows(const plb_token_rows *rows, plb_dtype dtype, plb_dtype with)
{
    const size_t bytes = (size_t)rows->channels * (dtype == PLB_F32 ? 4 : 2);
    const prefetch_distance distance = distance_for(bytes);
    char stage[STREAM_STAGE] __attribute__((aligned(64)));
    stream out = {.stage = stage};

    for (int r = 0; r < rows->count; r++) {
        const rows_ahead ahead = rows_ahead_of(rows->token, rows->count, r, distance);
        token_row(rows->stream ? &out : NULL, rows->x[r], rows->token[r], rows->embedding[r], bytes, &ahead, dtype,
                  with);
    }
    if (rows->stream)
        stream_end(&out);
}

/* sum += a; the sum has room for whole vectors. */
INLINE void add_to_sum(double *sum, const char *a, size_t bytes, plb_dtype dtype)
{
    const int64_t n = (int64_t)(bytes / (dtype == PLB_F32 ? 4 : 2));
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_add_to_doubles(sum + i, load(a, i, dtype));
    if (i < n)
        vf_add_to_doubles(sum + i, load_n(a, i, dtype, (int)(n - i)));
}

/* x = grad past the caches, and sum += grad. */
INLINE void stream_copy(stream *out, char *x, const char *grad, double *sum, size_t bytes, const rows_ahead *ahead,
                        plb_dtype dtype)
{
    const size_t size = dtype == PLB_F32 ? 4 : 2, head = line_head(x, bytes);
    size_t at = head;
    stream_part(out, x, grad, NULL, head, dtype, dtype);
    for (; at + 64 <= bytes; at += 64) {
        prefetch_line(ahead, at);
        v_stream_line(x + at, grad + at);
        if (sum)
            for (size_t i = 0; i < 64 / size; i += VF_LANES)
                vf_add_to_doubles(sum + at / size + i, load(grad + at, (int64_t)i, dtype));
    }
    stream_part(out, x + at, grad + at, NULL, bytes - at, dtype, dtype);
    if (sum) {
        /* the lines at the ends: not whole vectors of the sum, so one by one */
        for (size_t i = 0; i < head / size; i++)
            sum[i] += load_one(grad, (int64_t)i, dtype);
        for (size_t i = at / size; i < bytes / size; i++)
            sum[i] += load_one(grad, (int64_t)i, dtype);
    }
}

INLINE void token_grads(const plb_token_grads *rows, plb_dtype dtype)
{
    const size_t bytes = (size_t)rows->channels * (dtype == PLB_F32 ? 4 : 2);
    const prefetch_distance distance = distance_for(bytes);
    char stage[STREAM_STAGE] __attribute__((aligned(64)));
    stream out = {.stage = stage};

    /* rows of zeros are not read, so they do not count when rows ahead are asked for */
    const void *reads[PLB_TOKEN_BATCH];
    int read_count = 0, read = 0;
    for (int r = 0; r < rows->count; r++)
        if (rows->grad[r])
            reads[read_count++] = rows->grad[r];

    for (int r = 0; r < rows->count; r++) {
        const char *const grad = rows->grad[r];
        const rows_ahead ahead = rows_ahead_of(reads, read_count, read, distance);
        read += grad != NULL;
        char *const to = rows->to[r];
        double *const sum = rows->sum[r];
        if (rows->stream && to && grad) {
            stream_copy(&out, to, grad, sum, bytes, &ahead, dtype);
            continue;
        }
        if (rows->stream && to) {
            stream_zeros(&out, to, bytes);
            continue;
        }
        for (size_t at = 0; at < bytes; at += 64)
            prefetch_line(&ahead, at);
        if (sum)
            add_to_sum(sum, grad, bytes, dtype);
        if (to && grad)
            memcpy(to, grad, bytes);
        else if (to)
            memset(to, 0, bytes);
    }
    if (rows->stream)
        stream_end(&out);
}

/* to = sum, rounded once: to 16 bits by way of a float32 that was rounded to odd. */
INLINE void round_sum(char *to, const double *sum, int64_t n, plb_dtype dtype)
{
    for (int64_t i = 0; i < n; i += VF_LANES) {
        float whole[VF_LANES]; /* a sum has room for whole vectors */
        for (int k = 0; k < VF_LANES; k++)
            whole[k] = dtype == PLB_F32 ? (float)sum[i + k] : plb_round_odd(sum[i + k]);
        if (n - i >= VF_LANES)
            store(to, i, dtype, vf_load(whole));
        else
            store_n(to, i, dtype, vf_load(whole), (int)(n - i));
    }
}

/* to = the sum of the rows. */
INLINE void sum_rows(char *to, const void *const *rows, int64_t count, int64_t n, plb_dtype dtype)
{
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) {
        vf sum = load(rows[0], i, dtype);
        for (int64_t r = 1; r < count; r++)
            sum = vf_add(sum, load(rows[r], i, dtype));
        store(to, i, dtype, sum);
    }
    if (i < n) {
        vf sum = load_n(rows[0], i, dtype, (int)(n - i));
        for (int64_t r = 1; r < count; r++)
            sum = vf_add(sum, load_n(rows[r], i, dtype, (int)(n - i)));
        store_n(to, i, dtype, sum, (int)(n - i));
    }
}

#include "cpu/tokens/table.inc.h"
