/*
 * Rows of token assembly and of its gradient.  SPDX-License-Identifier: Apache-2.0
 *
 * Included after loss_rows.inc.h, whose loads, stores and line stream it uses.  All three streams of a row are memory:
 * there is nothing to hide but latency.  Rows that are gathered defeat the hardware's prefetchers, so the next rows
 * are asked for while one is worked on.  A row that goes past the caches is formed in a piece of the L1 cache first,
 * because a line of memory may hold the end of one row and the beginning of the next.
 */

enum { TOKEN_PIECE = 4096, TOKEN_AHEAD = 4096 };

/* How many rows ahead to ask for: as many as keep about TOKEN_AHEAD bytes on the way. */
INLINE int rows_ahead(size_t row_bytes)
{
    const size_t rows = row_bytes ? TOKEN_AHEAD / row_bytes : 1;
    return rows < 1 ? 1 : rows > 8 ? 8 : (int)rows;
}

INLINE void prefetch(const char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(p + i, 0, 3);
}

INLINE void add_rows(char *to, const char *a, const char *b, int64_t n, plb_dtype dtype)
{
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        store(to, i, dtype, vf_add(load(a, i, dtype), load(b, i, dtype)));
    if (i < n)
        store_n(to, i, dtype, vf_add(load_n(a, i, dtype, (int)(n - i)), load_n(b, i, dtype, (int)(n - i))),
                (int)(n - i));
}

INLINE void token_rows(const plb_token_rows *rows, plb_dtype dtype)
{
    const size_t size = dtype == PLB_F32 ? 4 : 2, bytes = (size_t)rows->channels * size;
    const int ahead = rows_ahead(bytes);
    char piece[TOKEN_PIECE + 64] __attribute__((aligned(64)));
    stream out = {.to = NULL};

    for (int r = 0; r < rows->count; r++) {
        const char *const token = rows->token[r], *const embedding = rows->embedding[r];
        const char *const next = r + ahead < rows->count ? rows->token[r + ahead] : NULL;
        char *const x = rows->x[r];
        for (size_t at = 0; at < bytes; at += TOKEN_PIECE) {
            const size_t part = bytes - at < TOKEN_PIECE ? bytes - at : TOKEN_PIECE;
            char *const to = rows->stream ? piece : x + at;
            if (next)
                prefetch(next + at, part);
            if (embedding)
                add_rows(to, token + at, embedding + at, (int64_t)(part / size), dtype);
            else
                memcpy(to, token + at, part);
            if (rows->stream)
                stream_row(&out, x + at, piece, part);
        }
    }
    if (rows->stream) {
        stream_flush(&out);
        v_stream_done();
    }
}

/* The sum has room for whole vectors. */
INLINE void add_to_sum(double *sum, const char *a, int64_t n, plb_dtype dtype)
{
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_add_to_doubles(sum + i, load(a, i, dtype));
    if (i < n)
        vf_add_to_doubles(sum + i, load_n(a, i, dtype, (int)(n - i)));
}

INLINE void token_grads(const plb_token_grads *rows, plb_dtype dtype)
{
    const size_t size = dtype == PLB_F32 ? 4 : 2, bytes = (size_t)rows->channels * size;
    const int ahead = rows_ahead(bytes);
    char piece[TOKEN_PIECE + 64] __attribute__((aligned(64)));
    stream out = {.to = NULL};

    for (int r = 0; r < rows->count; r++) {
        const char *const grad = rows->grad[r];
        const char *const next = r + ahead < rows->count ? rows->grad[r + ahead] : NULL;
        char *const x = rows->to[r];
        for (size_t at = 0; at < bytes; at += TOKEN_PIECE) {
            const size_t part = bytes - at < TOKEN_PIECE ? bytes - at : TOKEN_PIECE;
            char *const to = rows->stream ? piece : x + at;
            if (next)
                prefetch(next + at, part);
            if (rows->sum[r])
                add_to_sum(rows->sum[r] + at / size, grad + at, (int64_t)(part / size), dtype);
            if (!x)
                continue;
            if (grad)
                memcpy(to, grad + at, part);
            else
                memset(to, 0, part);
            if (rows->stream)
                stream_row(&out, x + at, piece, part);
        }
    }
    if (rows->stream) {
        stream_flush(&out);
        v_stream_done();
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
    }

TOKEN_ROWS(f32, PLB_F32)
TOKEN_ROWS(f16, PLB_F16)
TOKEN_ROWS(bf16, PLB_BF16)
