/*
 * Rows in pieces of 16 bytes, the size of the widest load and store.
 *
 * A thread works on one piece of a row at a time.  A piece is one access where all rows of an operation begin at
 * multiples of 16 bytes and have only whole pieces.  Elsewhere each element is an access.  A thread has the same
 * elements in both cases, so results do not depend on the layout of tensors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_PIECES_H
#define PLB_CUDA_PIECES_H

#include "core/rows.cuh"

#include <stdint.h>

enum { PLB_PIECE = 16 /* bytes */ };

struct plb_piece {
    unsigned words[4];
};

/* The number type for arithmetic on a dtype, and the bytes of an element. */
template <int DTYPE> struct plb_kind {
    typedef float number;
    static constexpr int size = 2;
};

template <> struct plb_kind<PLB_F32> {
    typedef float number;
    static constexpr int size = 4;
};

template <> struct plb_kind<PLB_I32> {
    typedef int number;
    static constexpr int size = 4;
};

template <> struct plb_kind<PLB_I64> {
    typedef long long number;
    static constexpr int size = 8;
};

template <> struct plb_kind<PLB_F64> {
    typedef double number;
    static constexpr int size = 8;
};

/* Quotient and remainder.  A 64-bit division takes about a hundred instructions, and few numbers need it. */
PLB_DEVICE long long plb_divide(long long number, long long by, long long *rest)
{
    if (((unsigned long long)number | (unsigned long long)by) >> 32) {
        const long long quotient = number / by;
        *rest = number - quotient * by;
        return quotient;
    }
    const unsigned quotient = (unsigned)number / (unsigned)by;
    *rest = (unsigned)number - quotient * (unsigned)by;
    return quotient;
}

/* The bits of element i.  plb_put() needs them to be 0 before. */
template <int SIZE> PLB_DEVICE unsigned long long plb_get(const plb_piece &piece, int i)
{
    if constexpr (SIZE == 2)
        return piece.words[i / 2] >> 16 * (i % 2) & 0xffff;
    else if constexpr (SIZE == 4)
        return piece.words[i];
    else
        return piece.words[2 * i] | (unsigned long long)piece.words[2 * i + 1] << 32;
}

template <int SIZE> PLB_DEVICE void plb_put(plb_piece *piece, int i, unsigned long long bits)
{
    if constexpr (SIZE == 2) {
        piece->words[i / 2] |= (unsigned)bits << 16 * (i % 2);
    } else if constexpr (SIZE == 4) {
        piece->words[i] = (unsigned)bits;
    } else {
        piece->words[2 * i] = (unsigned)bits;
        piece->words[2 * i + 1] = (unsigned)(bits >> 32);
    }
}

PLB_DEVICE plb_piece plb_load_whole(const char *at)
{
    const uint4 words = *(const uint4 *)at;
    return plb_piece{{words.x, words.y, words.z, words.w}};
}

PLB_DEVICE void plb_store_whole(char *at, const plb_piece &piece)
{
    *(uint4 *)at = make_uint4(piece.words[0], piece.words[1], piece.words[2], piece.words[3]);
}

/* Elements [begin, end) of the piece at `at`.  A load sets the others to 0; a store leaves them as they are. */
template <int SIZE> PLB_DEVICE plb_piece plb_load_part(const char *at, int begin, int end)
{
    plb_piece piece = {{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < PLB_PIECE / SIZE; i++)
        if (i >= begin && i < end)
            plb_put<SIZE>(&piece, i,
                          SIZE == 2   ? ((const unsigned short *)at)[i]
                          : SIZE == 4 ? ((const unsigned *)at)[i]
                                      : ((const unsigned long long *)at)[i]);
    return piece;
}

template <int SIZE> PLB_DEVICE void plb_store_part(char *at, const plb_piece &piece, int begin, int end)
{
#pragma unroll
    for (int i = 0; i < PLB_PIECE / SIZE; i++)
        if (i >= begin && i < end) {
            if constexpr (SIZE == 2)
                ((unsigned short *)at)[i] = (unsigned short)plb_get<SIZE>(piece, i);
            else if constexpr (SIZE == 4)
                ((unsigned *)at)[i] = (unsigned)plb_get<SIZE>(piece, i);
            else
                ((unsigned long long *)at)[i] = plb_get<SIZE>(piece, i);
        }
}

template <int DTYPE> PLB_DEVICE typename plb_kind<DTYPE>::number plb_from_bits(unsigned long long bits)
{
    if constexpr (DTYPE == PLB_F32) {
        return __uint_as_float((unsigned)bits);
    } else if constexpr (DTYPE == PLB_F64) {
        return __longlong_as_double((long long)bits);
    } else if constexpr (DTYPE == PLB_BF16) {
        return __uint_as_float((unsigned)bits << 16);
    } else {
        __half_raw raw;
        raw.x = (unsigned short)bits;
        return __half2float(__half(raw));
    }
}

/* Rounds once, from a float or a double. */
template <int DTYPE, typename Number> PLB_DEVICE unsigned long long plb_to_bits(Number value)
{
    if constexpr (DTYPE == PLB_F32) {
        return __float_as_uint((float)value);
    } else if constexpr (DTYPE == PLB_F64) {
        return (unsigned long long)__double_as_longlong((double)value);
    } else if constexpr (DTYPE == PLB_BF16) {
        const __nv_bfloat16_raw raw = sizeof(Number) == 4 ? __float2bfloat16((float)value) : __double2bfloat16(value);
        return raw.x;
    } else {
        const __half_raw raw = sizeof(Number) == 4 ? __float2half((float)value) : __double2half(value);
        return raw.x;
    }
}

template <int DTYPE> PLB_DEVICE typename plb_kind<DTYPE>::number plb_number_at(const plb_piece &piece, int i)
{
    return plb_from_bits<DTYPE>(plb_get<plb_kind<DTYPE>::size>(piece, i));
}

/* Bytes of an element, for the host. */
static inline int plb_dtype_bytes(int dtype)
{
    static const int sizes[PLB_DTYPES] = {4, 2, 2, 8, 4, 8, 1, 1};
    return sizes[dtype];
}

/* Pieces in a row of `length` elements; the last one can be a partial piece. */
static inline long long plb_pieces_in(int64_t length, int size)
{
    return (length * size + PLB_PIECE - 1) / PLB_PIECE;
}

/* ---- tensors of [images, rows, channels]: row k of image b; of [images, rows]: element k ---- */

struct plb_images {
    char *data;           /* NULL: not given */
    long long image, row; /* bytes from one to the next */
    int dtype;
};

/* All rows of an image have one stride and so have all images, whatever levels the tensor folds to. */
static inline plb_images plb_images_of(const plb_rows *rows, int64_t rows_per_image)
{
    const plb_view_rows view = plb_view_of(rows);
    plb_images images = {view.data, 0, view.inner_stride, view.dtype};
    images.image = view.inner ? view.outer_stride : rows_per_image * view.inner_stride;
    return images;
}

static inline plb_images plb_image_elements_of(const plb_rows *rows)
{
    const plb_view_rows view = plb_view_of(rows);
    return plb_images{view.data, view.inner_stride, plb_dtype_bytes(rows->dtype), view.dtype};
}

PLB_DEVICE char *plb_image_row(const plb_images &images, long long image, long long k)
{
    return images.data + image * images.image + k * images.row;
}

/* Whether every row begins at a multiple of 16 bytes. */
static inline bool plb_images_are_aligned(const plb_images *images)
{
    return !images->data ||
           (((uintptr_t)images->data | (uintptr_t)images->image | (uintptr_t)images->row) % PLB_PIECE) == 0;
}

/*
 * How the threads of a block share rows.  A group of `lanes` threads has one row, a piece each.  The number of groups
 * is a power of two.  Longer rows are cut into chunks, one a block.  All depends on the bytes of a row alone.
 */
struct plb_sharing {
    long long pieces; /* of a row */
    int lanes, groups, chunks, threads;
};

static inline plb_sharing plb_sharing_of(long long pieces)
{
    enum { THREADS = 256, MOST_LANES = 128 };
    plb_sharing sharing = {pieces, 1, 1, 1, THREADS};
    if (pieces < 1)
        return sharing;
    sharing.chunks = (int)((pieces + MOST_LANES - 1) / MOST_LANES);
    sharing.lanes = (int)((pieces + sharing.chunks - 1) / sharing.chunks);
    while (2 * sharing.groups * sharing.lanes <= THREADS)
        sharing.groups *= 2;
    sharing.threads = (sharing.groups * sharing.lanes + 31) / 32 * 32;
    return sharing;
}

#endif
