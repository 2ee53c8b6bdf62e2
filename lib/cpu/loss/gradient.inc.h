/*
 * The second pass over a row: its gradient, from the exponentials.
 *
 * The share of the label's class, or of a window of classes, has been subtracted from the exponentials before; the rest
 * is a multiplication.  Gradients larger than the cache are stored past it, in whole lines straight from registers.
 * Only the lines that a row shares with its neighbours are put together in the stage of a stream.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives row_kind, row_output and HAS_GRAD(); grad_row, which
 * exponentials.inc.h takes along by grad_step(), grad_pair() and grad_rest(); and grad_begin(), grad_end() and
 * grad_zeros() around that.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_LOSS_GRADIENT_INC_H
#define PLB_CPU_LOSS_GRADIENT_INC_H

#include "cpu/vectors/elements.inc.h"
#include "cpu/vectors/stream.inc.h"

#include <string.h>

/* The targets t of a row.  Each kind has its own copy of the loops, so that none pays for another. */
typedef enum row_kind {
    ONE_HOT,  /* t = [c = label]                                                         */
    SMOOTHED, /* t = base + peak [c = label]                                             */
    SOFT,     /* t is a Gaussian, as a row of numbers                                    */
    WINDOWED  /* t is a Gaussian, and 0 outside of a few grid rows: see window.inc.h     */
} row_kind;

typedef enum row_output {
    LOSS_ONLY,
    STORED,  /* gradients too, through the caches */
    STREAMED /* gradients too, past the caches    */
} row_output;

#define HAS_GRAD(output) ((output) >= STORED)

/*
 * A gradient that is being written: scale * e; or scale * (e - base) if SMOOTHED; or scale * e - target_scale * t if
 * SOFT.
 */
typedef struct grad_row {
    const float *exponentials, *targets;
    float scale, base, target_scale;
    char *to;
    int64_t begin, end; /* the classes in whole vectors, and whole lines if STREAMED */
} grad_row;

INLINE vf grad_vector(const grad_row *row, int64_t i, row_kind kind)
{
    const vf scale = vf_set(row->scale), e = vf_load(row->exponentials + i);
    if (kind == SMOOTHED)
        return vf_mul(vf_sub(e, vf_set(row->base)), scale);
    if (kind == SOFT)
        return vf_fma(vf_load(row->targets + i), vf_set(-row->target_scale), vf_mul(e, scale));
    return vf_mul(e, scale);
}

/* The vector of classes i ... */
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

/* The whole vectors from class i on. */
INLINE void grad_rest(const grad_row *row, int64_t i, plb_dtype dtype, row_kind kind, row_output output)
{
    for (; dtype != PLB_F32 && i + 2 * VF_LANES <= row->end; i += 2 * VF_LANES)
        grad_pair(row, i, dtype, kind, output);
    for (; i < row->end; i += VF_LANES)
        grad_step(row, i, dtype, kind, output);
}

/* The classes [first, last) to the stage, which they may overrun. */
INLINE void grad_stage(stream *out, const grad_row *row, int64_t first, int64_t last, plb_dtype dtype, row_kind kind)
{
    const int64_t size = dtype == PLB_F32 ? 4 : 2;
    char *const stage = stream_seek(out, row->to + first * size);
    for (int64_t i = first; i < last; i += VF_LANES)
        store(stage, i - first, dtype, grad_vector(row, i, kind));
}

/*
 * Finds the whole vectors, and stages the classes before them.  A staged line is not sent on before grad_end(): a load
 * that overlaps two stores in flight has to wait for them.
 */
INLINE void grad_begin(stream *out, grad_row *row, int64_t n, plb_dtype dtype, row_kind kind, row_output output)
{
    const int64_t size = dtype == PLB_F32 ? 4 : 2, line = 64 / size;
    row->begin = output == STREAMED ? (int64_t)line_head(row->to, (size_t)(n * size)) / size : 0;
    row->end = row->begin + ((n - row->begin) & (output == STREAMED ? -line : -VF_LANES));
    if (output == STREAMED && row->begin > 0)
        grad_stage(out, row, 0, row->begin, dtype, kind);
}

/* The classes after them. */
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

/* The gradient of a row of weight 0. */
INLINE void grad_zeros(stream *out, void *to, int64_t n, plb_dtype dtype, row_output output)
{
    const size_t bytes = (size_t)n * (dtype == PLB_F32 ? 4 : 2);
    if (output == STREAMED)
        stream_zeros(out, to, bytes);
    else
        memset(to, 0, bytes);
}

#endif
