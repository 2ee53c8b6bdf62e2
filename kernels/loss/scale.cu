/*
 * Scaling a gradient in place.
 *
 * The kernel reads the scale once and, unless it is 1, reads and writes the gradient once.  The grid is no larger than
 * what the device holds at once, so that a scale of 1 costs one short wave of blocks.  There are no barriers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/spans.cuh"
#include "loss.h"

enum { SCALE_THREADS = 256 };

struct scale_run {
    plb_spans grad;
    plb_view_rows scale;
    long long row_length; /* elements that share a scale, where there is one a row */
};

/* The scales of a piece's elements.  Returns false if all are 1. */
template <int COUNT, typename Number>
PLB_DEVICE bool read_scales(const scale_run &run, const plb_span_piece &piece, Number *scales)
{
    bool any = false;
    long long rest, row = plb_divide(piece.first + piece.begin, run.row_length, &rest);
    double scale = plb_load_number(plb_view_row(run.scale, row), run.scale.dtype);
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        scales[i] = 1;
        if (i < piece.begin || i >= piece.end)
            continue;
        if (rest == run.row_length) {
            rest = 0;
            scale = plb_load_number(plb_view_row(run.scale, ++row), run.scale.dtype);
        }
        rest++;
        scales[i] = (Number)scale;
        any = any || scale != 1;
    }
    return any;
}

template <int DTYPE> PLB_DEVICE plb_piece scaled(const plb_piece &bits, const typename plb_kind<DTYPE>::number *scales)
{
    constexpr int size = plb_kind<DTYPE>::size;
    plb_piece product = {{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < PLB_PIECE / size; i++) /* a scale of 1 keeps all bits, even those of a NaN */
        plb_put<size>(&product, i,
                      scales[i] != 1 ? plb_to_bits<DTYPE>(plb_number_at<DTYPE>(bits, i) * scales[i])
                                     : plb_get<size>(bits, i));
    return product;
}

template <int DTYPE, bool BY_ROW> __global__ void __launch_bounds__(SCALE_THREADS) scale_pieces(const scale_run run)
{
    constexpr int size = plb_kind<DTYPE>::size, count = PLB_PIECE / size, at_once = BY_ROW ? 1 : 4;
    typename plb_kind<DTYPE>::number scales[count];
    if (!BY_ROW) {
        const double scale = plb_load_number(run.scale.data, run.scale.dtype);
        if (scale == 1)
            return;
#pragma unroll
        for (int i = 0; i < count; i++)
            scales[i] = (typename plb_kind<DTYPE>::number)scale;
    }
    const long long pieces = run.grad.count * run.grad.pieces, step = (long long)gridDim.x * SCALE_THREADS;
    for (long long first = (long long)blockIdx.x * SCALE_THREADS + threadIdx.x; first < pieces;
         first += at_once * step) {
        plb_span_piece piece[at_once];
        plb_piece bits[at_once];
#pragma unroll
        for (int k = 0; k < at_once; k++) {
            piece[k].begin = piece[k].end = 0;
            if (first + k * step < pieces)
                piece[k] = plb_span_piece_at<size>(run.grad, first + k * step);
            if (BY_ROW && (piece[k].begin >= piece[k].end || !read_scales<count>(run, piece[k], scales)))
                piece[k].end = piece[k].begin;
            if (piece[k].begin < piece[k].end)
                bits[k] = plb_load_span_piece<size>(piece[k]);
        }
#pragma unroll
        for (int k = 0; k < at_once; k++)
            if (piece[k].begin < piece[k].end)
                plb_store_span_piece<size>(piece[k], scaled<DTYPE>(bits[k], scales));
    }
}

poslabel_status plb_cuda_scale_gradient(const plb_call *call, const plb_scale_job *job)
{
    void *none;
    PLB_TRY(plb_cuda_workspace(call, 0, &none));
    static void (*const kernels[PLB_F64 + 1][2])(scale_run) = {
        {scale_pieces<PLB_F32, false>, scale_pieces<PLB_F32, true>},
        {scale_pieces<PLB_F16, false>, scale_pieces<PLB_F16, true>},
        {scale_pieces<PLB_BF16, false>, scale_pieces<PLB_BF16, true>},
        {scale_pieces<PLB_F64, false>, scale_pieces<PLB_F64, true>},
    };
    const bool by_row = job->scale.count > 1;
    const plb_spans grad = plb_spans_of(&job->grad, plb_dtype_bytes(job->grad.dtype));
    const scale_run run = {grad, plb_view_of(&job->scale), job->grad.length};
    void (*const kernel)(scale_run) = kernels[job->grad.dtype][by_row];
    const long long wanted = (grad.count * grad.pieces + SCALE_THREADS - 1) / SCALE_THREADS;
    const long long resident = plb_resident_blocks(plb_cuda_of(call), kernel, SCALE_THREADS, 0);
    return plb_launch(call, PLB_INDEPENDENT, kernel, wanted < resident ? wanted : resident, SCALE_THREADS, 0, run);
}
