/*
 * Rows of token assembly and of its gradient.
 *
 * There is hardly any arithmetic: these are copies of rows with something added on the way, and what costs is memory.
 * Whole lines of a row that goes past the caches are stored straight from registers; only the lines that it shares
 * with its neighbours are put together in the stage of a stream.  Gathered rows defeat the hardware's prefetchers, so
 * while one row is copied the lines of later ones are asked for: early into the L2 cache, which has more requests in
 * flight than the L1, and shortly before use from there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/tokens/kernels.h"

#include <string.h>

enum { FAR_AHEAD = 8192, NEAR_AHEAD = 2048 }; /* bytes */

/* How many rows ahead that is. */
typedef struct distances {
    int far, near;
} distances;

/* The rows to ask for while one row is worked on; NULL: none. */
typedef struct rows_ahead {
    const char *far, *near;
} rows_ahead;

INLINE distances distances_for(size_t row_bytes)
{
    return (distances){(int)((FAR_AHEAD + row_bytes - 1) / row_bytes), (int)((NEAR_AHEAD + row_bytes - 1) / row_bytes)};
}

INLINE rows_ahead look_ahead(const void *const *rows, int count, int r, distances ahead)
{
    const bool has_far = ahead.far < count - r, has_near = ahead.near < count - r;
    return (rows_ahead){has_far ? rows[r + ahead.far] : NULL, has_near ? rows[r + ahead.near] : NULL};
}

INLINE void ask_for_line(const rows_ahead *next, size_t at)
{
    if (next->far)
        __builtin_prefetch(next->far + at, 0, 2);
    if (next->near)
        __builtin_prefetch(next->near + at, 0, 3);
}

/* to = a + b, or a */
INLINE void add_rows(char *to, const char *a, const char *b, size_t bytes, plb_dtype dtype)
{
    const int64_t n = (int64_t)(bytes / (dtype == PLB_F32 ? 4 : 2));
    int64_t i = 0;
    if (!b) {
        memcpy(to, a, bytes);
        return;
    }
    for (; i + VF_LANES <= n; i += VF_LANES)
        store(to, i, dtype, vf_add(load(a, i, dtype), load(b, i, dtype)));
    if (i < n)
        store_n(to, i, dtype, vf_add(load_n(a, i, dtype, (int)(n - i)), load_n(b, i, dtype, (int)(n - i))),
                (int)(n - i));
}

INLINE void stream_part(stream *out, char *x, const char *a, const char *b, size_t bytes, plb_dtype dtype)
{
    if (bytes) {
        add_rows(stream_seek(out, x), a, b, bytes, dtype);
        stream_run(out, bytes);
    }
}

/* to[0 .. 64) = a + b; if `past`, `to` begins a line. */
INLINE void add_line(char *to, const char *a, const char *b, plb_dtype dtype, bool past)
{
    for (int i = 0; i < 16; i += VF_LANES)
        if (dtype == PLB_F16) {
            v_add_f16((uint16_t *)to + 2 * i, (const uint16_t *)a + 2 * i, (const uint16_t *)b + 2 * i, past);
        } else if (dtype == PLB_BF16) {
            v_add_bf16((uint16_t *)to + 2 * i, (const uint16_t *)a + 2 * i, (const uint16_t *)b + 2 * i, past);
        } else {
            const vf sum = vf_add(vf_load((const float *)a + i), vf_load((const float *)b + i));
            if (past)
                vf_stream((float *)to + i, sum);
            else
                vf_store((float *)to + i, sum);
        }
}

/* to = a + b, or a, for the whole lines of [at, end); gives where they end. */
INLINE size_t add_lines(char *to, const char *a, const char *b, size_t at, size_t end, const rows_ahead *next,
                        plb_dtype dtype, bool past)
{
    for (; at + 64 <= end; at += 64) {
        ask_for_line(next, at);
        if (b)
            add_line(to + at, a + at, b + at, dtype, past);
        else if (past)
            v_stream_line(to + at, a + at);
        else
            memcpy(to + at, a + at, 64);
    }
    return at;
}

INLINE void token_row(stream *out, char *x, const char *a, const char *b, size_t bytes, const rows_ahead *next,
                      plb_dtype dtype)
{
    if (!out) {
        const size_t at = add_lines(x, a, b, 0, bytes, next, dtype, false);
        add_rows(x + at, a + at, b ? b + at : NULL, bytes - at, dtype);
        return;
    }
    const size_t head = line_head(x, bytes);
    stream_part(out, x, a, b, head, dtype);
    const size_t at = add_lines(x, a, b, head, bytes, next, dtype, true);
    stream_part(out, x + at, a + at, b ? b + at : NULL, bytes - at, dtype);
}

INLINE void token_rows(const plb_token_rows *rows, plb_dtype dtype)
{
    const size_t bytes = (size_t)rows->channels * (dtype == PLB_F32 ? 4 : 2);
    const distances ahead = distances_for(bytes);
    char stage[192] __attribute__((aligned(64)));
    stream out = {.stage = stage};

    for (int r = 0; r < rows->count; r++) {
        const char *const token = rows->token[r], *const embedding = rows->embedding[r];
        const rows_ahead next = look_ahead(rows->token, rows->count, r, ahead);
        if (rows->stream && embedding)
            token_row(&out, rows->x[r], token, embedding, bytes, &next, dtype);
        else if (rows->stream)
            token_row(&out, rows->x[r], token, NULL, bytes, &next, dtype);
        else if (embedding)
            token_row(NULL, rows->x[r], token, embedding, bytes, &next, dtype);
        else
            token_row(NULL, rows->x[r], token, NULL, bytes, &next, dtype);
    }
    if (rows->stream)
        stream_end(&out);
}

/* The sum has room for whole vectors. */
INLINE void add_to_sum(double *sum, const char *a, size_t bytes, plb_dtype dtype)
{
    const int64_t n = (int64_t)(bytes / (dtype == PLB_F32 ? 4 : 2));
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_add_to_doubles(sum + i, load(a, i, dtype));
    if (i < n)
        vf_add_to_doubles(sum + i, load_n(a, i, dtype, (int)(n - i)));
}

INLINE void stream_copy(stream *out, char *x, const char *grad, double *sum, size_t bytes, const rows_ahead *next,
                        plb_dtype dtype)
{
    const size_t size = dtype == PLB_F32 ? 4 : 2, head = line_head(x, bytes);
    size_t at = head;
    stream_part(out, x, grad, NULL, head, dtype);
    for (; at + 64 <= bytes; at += 64) {
        ask_for_line(next, at);
        v_stream_line(x + at, grad + at);
        if (sum)
            for (size_t i = 0; i < 64 / size; i += VF_LANES)
                vf_add_to_doubles(sum + at / size + i, load(grad + at, (int64_t)i, dtype));
    }
    stream_part(out, x + at, grad + at, NULL, bytes - at, dtype);
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
    const distances ahead = distances_for(bytes);
    char stage[192] __attribute__((aligned(64)));
    stream out = {.stage = stage};

    /* rows of zeros are not read, so they do not count when looking ahead */
    const void *reads[PLB_TOKEN_BATCH];
    int read_count = 0, read = 0;
    for (int r = 0; r < rows->count; r++)
        if (rows->grad[r])
            reads[read_count++] = rows->grad[r];

    for (int r = 0; r < rows->count; r++) {
        const char *const grad = rows->grad[r];
        const rows_ahead next = look_ahead(reads, read_count, read, ahead);
        read += grad != NULL;
        char *const to = rows->to[r];
        double *const sum = rows->sum[r];
        if (rows->stream && to && grad) {
            stream_copy(&out, to, grad, sum, bytes, &next, dtype);
            continue;
        }
        if (rows->stream && to) {
            stream_zeros(&out, to, bytes);
            continue;
        }
        for (size_t at = 0; at < bytes; at += 64)
            ask_for_line(&next, at);
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

#define TOKEN_ROWS(suffix, dtype)                                                                                      \
    static void token_rows_##suffix(const plb_token_rows *rows)                                                        \
    {                                                                                                                  \
        token_rows(rows, dtype);                                                                                       \
    }                                                                                                                  \
    static void token_grads_##suffix(const plb_token_grads *rows)                                                      \
    {                                                                                                                  \
        token_grads(rows, dtype);                                                                                      \
    }                                                                                                                  \
    static void round_sum_##suffix(void *to, const double *sum, int64_t channels)                                      \
    {                                                                                                                  \
        round_sum(to, sum, channels, dtype);                                                                           \
    }

TOKEN_ROWS(f32, PLB_F32)
TOKEN_ROWS(f16, PLB_F16)
TOKEN_ROWS(bf16, PLB_BF16)

static const plb_token_kernels token_kernels = {
    .rows = {token_rows_f32, token_rows_f16, token_rows_bf16},
    .grads = {token_grads_f32, token_grads_f16, token_grads_bf16},
    .round_sum = {round_sum_f32, round_sum_f16, round_sum_bf16},
};
