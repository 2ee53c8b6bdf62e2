/*
 * Tensors whose elements a kernel writes or changes one by one, in spans.
 *
 * Rows without gaps between them form one span.  A span is cut at multiples of 16 bytes, so that all of it but its ends
 * moves 16 bytes at a time, whatever the layout of the rows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_SPANS_H
#define PLB_CUDA_SPANS_H

#include "core/pieces.cuh"

struct plb_spans {
    plb_view_rows rows;      /* where each span begins */
    long long count, length; /* length: elements of a span */
    long long pieces;        /* of a span, some of which may be empty */
};

static inline plb_spans plb_spans_of(const plb_rows *rows, int size)
{
    plb_spans spans = {plb_view_of(rows), rows->count, rows->length, 0};
    if (rows->count == 0 || rows->length == 0) {
        spans.count = 0;
        return spans;
    }
    if (rows->inner_stride == rows->length) {
        spans.count = rows->count / rows->inner;
        spans.length = rows->length * rows->inner;
        spans.rows.inner = 0;
        spans.rows.inner_stride = spans.rows.outer_stride;
    }
    const plb_view_rows *const view = &spans.rows;
    uintptr_t places = (uintptr_t)view->data;
    if (spans.count > 1)
        places |= (uintptr_t)view->inner_stride | (uintptr_t)(view->inner ? view->outer_stride : 0);
    spans.pieces = plb_pieces_in(spans.length, size) + (places % PLB_PIECE != 0);
    return spans;
}

/* A piece has its elements i in [begin, end).  Element i is number `first` + i of the tensor. */
struct plb_span_piece {
    char *at;
    long long first;
    int begin, end;
};

template <int SIZE> PLB_DEVICE plb_span_piece plb_span_piece_at(const plb_spans &spans, long long index)
{
    long long span = 0, k = index;
    if (spans.count > 1)
        span = plb_divide(index, spans.pieces, &k);
    char *const row = plb_view_row(spans.rows, span);
    const int before = (int)((uintptr_t)row % PLB_PIECE);
    const long long first = (k * PLB_PIECE - before) / SIZE, left = spans.length - first;
    plb_span_piece piece;
    piece.at = row + (k * PLB_PIECE - before);
    piece.first = span * spans.length + first;
    piece.begin = first < 0 ? (int)-first : 0;
    piece.end = left < PLB_PIECE / SIZE ? (int)left : PLB_PIECE / SIZE;
    return piece;
}

template <int SIZE> PLB_DEVICE bool plb_span_piece_is_whole(const plb_span_piece &piece)
{
    return piece.begin == 0 && piece.end == PLB_PIECE / SIZE;
}

template <int SIZE> PLB_DEVICE plb_piece plb_load_span_piece(const plb_span_piece &piece)
{
    return plb_span_piece_is_whole<SIZE>(piece) ? plb_load_whole(piece.at)
                                                : plb_load_part<SIZE>(piece.at, piece.begin, piece.end);
}

template <int SIZE> PLB_DEVICE void plb_store_span_piece(const plb_span_piece &piece, const plb_piece &bits)
{
    if (plb_span_piece_is_whole<SIZE>(piece))
        plb_store_whole(piece.at, bits);
    else
        plb_store_part<SIZE>(piece.at, bits, piece.begin, piece.end);
}

#endif
