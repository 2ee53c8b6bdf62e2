/*
 * Labels as tensors.
 *
 * These kernels read nothing or little, and write pieces of 16 bytes.  A thread computes the label of the first element
 * of its piece, and counts on from there.
 *
 * The smoothing map t_ij is a product over the two axes of g(distance) / (sum of g around i or j).  A first kernel
 * tabulates g and its sums, h + w of each, and a second one multiplies.  There are no barriers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/spans.cuh"
#include "labels.h"
#include "loss/sigma.cuh"

#include <math.h>
#include <poslabel/labels.h>

enum { LABEL_THREADS = 256 };

static long long blocks_for(long long threads)
{
    return (threads + LABEL_THREADS - 1) / LABEL_THREADS;
}

PLB_DEVICE long long thread_index()
{
    return (long long)blockIdx.x * LABEL_THREADS + threadIdx.x;
}

/* ---- labels ---- */

struct label_run {
    plb_spans labels;
    int height, width;
};

template <int DTYPE> __global__ void __launch_bounds__(LABEL_THREADS) absolute_labels(const label_run run)
{
    constexpr int size = plb_kind<DTYPE>::size;
    if (thread_index() >= run.labels.count * run.labels.pieces)
        return;
    const plb_span_piece piece = plb_span_piece_at<size>(run.labels, thread_index());
    const long long positions = (long long)run.height * run.width;
    long long label;
    plb_piece bits = {{0, 0, 0, 0}};
    plb_divide(piece.first + piece.begin, positions, &label);
#pragma unroll
    for (int i = 0; i < PLB_PIECE / size; i++)
        if (i >= piece.begin && i < piece.end) {
            plb_put<size>(&bits, i, (unsigned long long)label++);
            label = label == positions ? 0 : label;
        }
    plb_store_span_piece<size>(piece, bits);
}

/* A pair of positions: a query and a key. */
struct pair {
    int y, x, key_y, key_x;
};

/* The pair of an element of a [..., N, N] tensor. */
PLB_DEVICE pair pair_at(long long element, int height, int width)
{
    const long long positions = (long long)height * width;
    long long key, query;
    plb_divide(plb_divide(element, positions, &key), positions, &query);
    pair p;
    p.y = (int)((unsigned)query / (unsigned)width);
    p.x = (int)query - p.y * width;
    p.key_y = (int)((unsigned)key / (unsigned)width);
    p.key_x = (int)key - p.key_y * width;
    return p;
}

/* Moves on to the next key; after the last key, to the next query. */
PLB_DEVICE void advance(pair *p, int height, int width)
{
    if (++p->key_x < width)
        return;
    p->key_x = 0;
    if (++p->key_y < height)
        return;
    p->key_y = 0;
    if (++p->x < width)
        return;
    p->x = 0;
    if (++p->y == height)
        p->y = 0;
}

template <int DTYPE> __global__ void __launch_bounds__(LABEL_THREADS) relative_labels(const label_run run)
{
    constexpr int size = plb_kind<DTYPE>::size;
    if (thread_index() >= run.labels.count * run.labels.pieces)
        return;
    const plb_span_piece piece = plb_span_piece_at<size>(run.labels, thread_index());
    pair p = pair_at(piece.first + piece.begin, run.height, run.width);
    plb_piece bits = {{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < PLB_PIECE / size; i++)
        if (i >= piece.begin && i < piece.end) {
            const int row = (p.y - p.key_y + run.height - 1) * (2 * run.width - 1);
            plb_put<size>(&bits, i, (unsigned long long)(row + p.x - p.key_x + run.width - 1));
            advance(&p, run.height, run.width);
        }
    plb_store_span_piece<size>(piece, bits);
}

static poslabel_status fill_labels(const plb_call *call, const plb_labels_job *job, void (*narrow)(label_run),
                                   void (*wide)(label_run))
{
    void *none;
    PLB_TRY(plb_cuda_workspace(call, 0, &none));
    const label_run run = {plb_spans_of(&job->labels, plb_dtype_bytes(job->labels.dtype)), job->grid.height,
                           job->grid.width};
    return plb_launch(call, PLB_INDEPENDENT, job->labels.dtype == PLB_I32 ? narrow : wide,
                      blocks_for(run.labels.count * run.labels.pieces), LABEL_THREADS, 0, run);
}

poslabel_status plb_cuda_absolute_labels(const plb_call *call, const plb_labels_job *job)
{
    return fill_labels(call, job, absolute_labels<PLB_I32>, absolute_labels<PLB_I64>);
}

poslabel_status plb_cuda_relative_labels(const plb_call *call, const plb_labels_job *job)
{
    return fill_labels(call, job, relative_labels<PLB_I32>, relative_labels<PLB_I64>);
}

/* ---- the smoothing map ---- */

struct map_run {
    plb_spans map;
    int height, width;
    plb_sigma sigma; /* 0: the identity */
    bool by_query;
    double *y, *y_sum, *x, *x_sum; /* g by distance, and its sum around each place */
    plb_device_state *state;
};

PLB_DEVICE double gaussian(long long distance, double sigma)
{
    const double d = (double)distance;
    return distance == 0 ? 1 : sigma > 0 ? exp(-d * d / (sigma * sigma)) : 0;
}

/* A thread has a place of an axis.  Beyond 28 sigma g is 0. */
__global__ void __launch_bounds__(LABEL_THREADS) fill_axes(const map_run run)
{
    const long long index = thread_index();
    if (index >= (long long)run.height + run.width)
        return;
    if (index == 0 && plb_is_bad_sigma(run.sigma))
        plb_found(run.state, PLB_FOUND_SIGMA, 0);
    const double sigma = plb_sigma_value(run.sigma);
    const bool is_y = index < run.height;
    const int side = is_y ? run.height : run.width;
    const long long place = is_y ? index : index - run.height;
    const long long reach = 28 * sigma < side ? (long long)(28 * sigma) + 1 : side;
    const long long last = place + reach < side ? place + reach : side - 1;
    double sum = 0;
    for (long long k = place > reach ? place - reach : 0; k <= last; k++)
        sum += gaussian(place - k, sigma);
    (is_y ? run.y : run.x)[place] = gaussian(place, sigma);
    (is_y ? run.y_sum : run.x_sum)[place] = sum;
}

template <int DTYPE> __global__ void __launch_bounds__(LABEL_THREADS) smoothing_map(const map_run run)
{
    constexpr int size = plb_kind<DTYPE>::size;
    if (thread_index() >= run.map.count * run.map.pieces)
        return;
    const plb_span_piece piece = plb_span_piece_at<size>(run.map, thread_index());
    pair p = pair_at(piece.first + piece.begin, run.height, run.width);
    plb_piece bits = {{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < PLB_PIECE / size; i++)
        if (i >= piece.begin && i < piece.end) {
            const double sums =
                run.by_query ? run.y_sum[p.y] * run.x_sum[p.x] : run.y_sum[p.key_y] * run.x_sum[p.key_x];
            const double g = run.y[abs(p.y - p.key_y)] * run.x[abs(p.x - p.key_x)];
            plb_put<size>(&bits, i, plb_to_bits<DTYPE>(g / sums));
            advance(&p, run.height, run.width);
        }
    plb_store_span_piece<size>(piece, bits);
}

poslabel_status plb_cuda_smoothing_map(const plb_call *call, const plb_smoothing_map_job *job)
{
    static void (*const kernels[PLB_F64 + 1])(map_run) = {smoothing_map<PLB_F32>, smoothing_map<PLB_F16>,
                                                          smoothing_map<PLB_BF16>, smoothing_map<PLB_F64>};
    const size_t height = (size_t)job->grid.height, width = (size_t)job->grid.width;
    void *memory;
    PLB_TRY(plb_cuda_workspace(call, 2 * (height + width) * sizeof(double), &memory));
    double *const y = (double *)memory, *const x = y + 2 * height;
    const map_run run = {plb_spans_of(&job->map, plb_dtype_bytes(job->map.dtype)),
                         job->grid.height,
                         job->grid.width,
                         plb_sigma_of(job->sigma, &job->sigma_scalar),
                         job->normalization == POSLABEL_NORMALIZATION_ROW,
                         y,
                         y + height,
                         x,
                         x + width,
                         plb_cuda_of(call)->state};
    PLB_TRY(
        plb_launch(call, PLB_INDEPENDENT, fill_axes, blocks_for((long long)(height + width)), LABEL_THREADS, 0, run));
    return plb_launch(call, PLB_INDEPENDENT, kernels[job->map.dtype], blocks_for(run.map.count * run.map.pieces),
                      LABEL_THREADS, 0, run);
}
