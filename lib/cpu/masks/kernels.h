/*
 * The kernels of masks: noise and its ranks.
 *
 * A mask is the order of an image's noise: order = argsort(noise), ascending and stable, and rank, its inverse.  Floats
 * are compared as integers that sort in the same way, so the result does not depend on the floating-point environment.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_MASK_KERNELS_H
#define PLB_CPU_MASK_KERNELS_H

#include "dtype.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * A guess at where the noise lies: low and above become [2^23, 2^24) by (noise - low) * scale + 2^23.  Rounding keeps
 * the order, and what lies outside goes to the ends, so the guess decides how fast an image is ranked and nothing else.
 */
typedef struct plb_noise_range {
    double low, scale;
} plb_noise_range;

#define PLB_NOISE_LOW 0x1p23f
#define PLB_NOISE_HIGH 0x1.fffffep23f /* the last integer below 2^24 */

/* Which words to draw: the counters of Philox but for the index of the draw. */
typedef struct plb_draw {
    uint64_t seed;
    uint32_t sample, stream, step;
} plb_draw;

/* The noise of one image, to be ranked. */
typedef struct plb_ranking {
    int64_t length;
    int64_t wanted;        /* how much of the order will be read                                                  */
    const void *noise;
    plb_dtype dtype;       /* a float type; PLB_I32 stands for words, which compare without sign                  */
    bool drawn;            /* noise is `values`, where the words of `draw` are put first                          */
    plb_draw draw;
    plb_noise_range range;
    int32_t *order, *rank; /* out: plb_rank_pitch() numbers each, of which those past the length mean nothing      */
    bool settled;          /* out: false when the kernel gave up, because the range fits the noise too badly       */
    void *values;          /* scratch, which images may share: plb_rank_pitch() numbers of 4 bytes                 */
    void *scratch;         /* the same: plb_rank_scratch() bytes                                                   */
} plb_ranking;

/* How many images a kernel can rank at a time.  They share length, dtype and scratch. */
enum { PLB_RANK_ROWS = 6 };

/* Elements of the caller's tensors seen as bits. */
typedef uint16_t __attribute__((may_alias)) plb_bits16;
typedef uint32_t __attribute__((may_alias)) plb_bits32;
typedef uint64_t __attribute__((may_alias)) plb_bits64;

/* Above this the counts of the buckets would not fit 16 bits. */
enum { PLB_RANK_BY_BUCKETS = 65536 };

/* Numbers with room for whole vectors. */
static inline size_t plb_rank_pitch(int64_t length)
{
    return ((size_t)length + 31) / 32 * 32;
}

/* 2^bits buckets: five for each number or more, but three to six of them where that would take more than 8 KiB. */
static inline int plb_bucket_bits(int64_t length)
{
    int bits = 5;
    while ((int64_t)1 << bits < 5 * length)
        bits++;
    return bits > 12 && (int64_t)1 << bits > 6 * length ? bits - 1 : bits;
}

/*
 * Scratch for any number up to `length`: the counts of the buckets, and the bucket of each number; or a second order.
 * `sorted` is that of the kernels.
 */
static inline size_t plb_rank_scratch(int64_t length, int64_t sorted)
{
    const int64_t most = length < PLB_RANK_BY_BUCKETS ? length : PLB_RANK_BY_BUCKETS;
    const size_t second = plb_rank_pitch(length) * sizeof(int32_t);
    const size_t buckets = plb_rank_pitch(most) * sizeof(int32_t) + ((size_t)2 << plb_bucket_bits(most));
    return length <= sorted || second > buckets ? second : buckets;
}

/* Bits whose integer order is that of the floats they stand for; -0 is +0. */
static inline uint64_t plb_sortable(uint64_t bits, int width)
{
    const uint64_t sign = (uint64_t)1 << (width - 1), all = sign | (sign - 1);
    if (bits == sign)
        bits = 0;
    return bits & sign ? bits ^ all : bits | sign;
}

/* Number i of the noise as an integer that sorts like it. */
static inline uint64_t plb_noise_key(const void *noise, plb_dtype dtype, int64_t i)
{
    switch (dtype) {
    case PLB_I32:
        return ((const plb_bits32 *)noise)[i];
    case PLB_F32:
        return plb_sortable(((const plb_bits32 *)noise)[i], 32);
    case PLB_F64:
        return plb_sortable(((const plb_bits64 *)noise)[i], 64);
    default:
        return plb_sortable(((const plb_bits16 *)noise)[i], 16);
    }
}

/* What is compiled for each instruction set; see rows.inc.h. */
typedef struct plb_mask_kernels {
    int64_t sorted; /* up to this length PLB_RANK_ROWS images are best ranked together */
    /* `count` words from word 0 on; up to 31 more may be written. */
    void (*draw_words)(const plb_draw *draw, uint32_t *words, int64_t count);
    bool (*has_nan)(const void *noise, plb_dtype dtype, int64_t count);
    void (*rank_rows)(plb_ranking *rows, int count);
    void (*store_ids)(void *to, plb_dtype dtype, const int32_t *ids, int64_t count);
    void (*store_mask)(void *to, plb_dtype dtype, const int32_t *rank, int64_t keep, int64_t count);
} plb_mask_kernels;

#endif
