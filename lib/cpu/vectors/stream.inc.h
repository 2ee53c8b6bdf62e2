/*
 * Stores past the caches.
 *
 * Outputs larger than the cache go to memory in whole lines of 64 bytes.  A row rarely begins or ends at a line, so the
 * lines at its ends are put together here: their bytes are staged in the L1 cache, at the distance from a line that
 * they will have in memory.  A line that is not complete yet stays at the front of the stage, because the next row most
 * often continues it.
 *
 *     char stage[STREAM_STAGE] __attribute__((aligned(64)));
 *     stream out = {.stage = stage};
 *     char *at = stream_seek(&out, to);        // where to put up to 63 bytes that belong at `to`
 *     ...
 *     stream_run(&out, bytes);                 // send them on
 *     stream_end(&out);                        // once, at the end
 *
 * Needs the vectors of an instruction set (<isa>.h), and elements.inc.h.  Gives stream with the functions above,
 * stream_zeros(), and line_head().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_STREAM_INC_H
#define PLB_CPU_STREAM_INC_H

#include "cpu/vectors/elements.inc.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Room for the open line, for 63 more bytes, and for what whole vectors store past their end. */
enum { STREAM_STAGE = 192 };

typedef struct stream {
    char *stage;  /* aligned to a line */
    char *to;     /* where the next byte goes in memory */
    size_t begin; /* the first byte of the open line that is staged; the bytes before it are not ours */
} stream;

static size_t line_offset(const void *p)
{
    return (uintptr_t)p & 63;
}

/* Writes the staged bytes of the open line. */
static void stream_flush(stream *s)
{
    const size_t end = line_offset(s->to);
    if (end > s->begin)
        memcpy(s->to - (end - s->begin), s->stage + s->begin, end - s->begin);
}

/* Where the stage continues for bytes that go to `to`. */
INLINE char *stream_seek(stream *s, char *to)
{
    if (to != s->to) {
        stream_flush(s);
        s->to = to;
        s->begin = line_offset(to);
    }
    return s->stage + line_offset(to);
}

/* Sends on `bytes` staged bytes, fewer than 64.  They complete the open line or leave it open. */
INLINE void stream_run(stream *s, size_t bytes)
{
    const size_t end = line_offset(s->to) + bytes;
    char *const line = s->to - line_offset(s->to);
    s->to += bytes;
    if (end < 64)
        return;
    if (s->begin)
        memcpy(line + s->begin, s->stage + s->begin, 64 - s->begin);
    else
        v_stream_line(line, s->stage);
    s->begin = 0;
    if (end > 64)
        memcpy(s->stage, s->stage + 64, 64);
}

static void stream_end(stream *s)
{
    stream_flush(s);
    v_stream_done();
}

/* The bytes before the first line that begins in [p, p + bytes); `bytes` if none does. */
static size_t line_head(const void *p, size_t bytes)
{
    const size_t head = (64 - line_offset(p)) & 63;
    return head < bytes ? head : bytes;
}

static void stream_zeros(stream *s, char *to, size_t bytes)
{
    static const char zeros[64];
    size_t at = line_head(to, bytes);
    if (at) {
        memset(stream_seek(s, to), 0, at);
        stream_run(s, at);
    }
    for (; at + 64 <= bytes; at += 64)
        v_stream_line(to + at, zeros);
    if (at < bytes) {
        memset(stream_seek(s, to + at), 0, bytes - at);
        stream_run(s, bytes - at);
    }
}

#endif
