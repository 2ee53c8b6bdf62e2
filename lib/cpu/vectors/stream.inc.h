/*
 * Stores past the caches.
 *
 * Outputs larger than the cache go to memory in whole lines of 64 bytes.  They are staged in the L1 cache at the
 * distance from a line that they will have in memory; what one run leaves of its last line waits at the front of the
 * stage for the next, which most often continues it.
 *
 *     stream out = {.stage = buffer};          // aligned to a line, with room for a line, a run and a line
 *     char *at = stream_seek(&out, to);        // where to put the bytes that belong at `to`
 *     ...
 *     stream_run(&out, bytes);                 // send them on
 *     stream_end(&out);                        // once, at the end
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
INLINE char *stream_seek(stream *s, char *to)
{
    if (to != s->to) {
        stream_flush(s);
        s->to = to;
        s->open = line_offset(to);
    }
    return s->stage + line_offset(to);
}

static void stream_lines(stream *s, size_t bytes)
{
    const size_t fill = line_offset(s->to) + bytes;
    char *line = s->to - line_offset(s->to);
    const char *from = s->stage, *const end = s->stage + fill / 64 * 64;
    if (from < end && s->open) {
        memcpy(line + s->open, from + s->open, 64 - s->open);
        s->open = 0;
        from += 64;
        line += 64;
    }
    for (; from < end; from += 64, line += 64)
        v_stream_line(line, from);
    if (from != s->stage && fill % 64)
        memcpy(s->stage, from, 64);
}

/* Sends `bytes` staged bytes on.  Most often they leave a line open or complete one. */
INLINE void stream_run(stream *s, size_t bytes)
{
    const size_t fill = line_offset(s->to) + bytes;
    if (fill == 64 && !s->open)
        v_stream_line(s->to - line_offset(s->to), s->stage);
    else if (fill >= 64)
        stream_lines(s, bytes);
    s->to += bytes;
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
