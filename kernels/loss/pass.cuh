/*
 * A pass over all rows of the losses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LOSS_PASS_H
#define PLB_CUDA_LOSS_PASS_H

#include "loss/labels.cuh"
#include "loss/row.cuh"

/* The purpose of a pass over all rows. */
enum plb_loss_purpose {
    PLB_TO_WEIGH,  /* sums the weights */
    PLB_TO_FILTER, /* sums the weights, which depend on the logits */
    PLB_TO_END     /* makes losses and gradients */
};

/* A row of a batch, in the lane that keeps it. */
template <typename real> struct plb_row_of_batch {
    double weight;
    real scale; /* of its gradient */
    int label;  /* -1: the row does not count */
    real logarithm, differences;
    bool correct, confident;
};

template <bool PLAIN> PLB_DEVICE char *plb_row_at(const plb_view_rows &rows, long long r)
{
    return PLAIN ? rows.data + r * rows.inner_stride : plb_view_row(rows, r);
}

/*
 * The distance, in rows, between the rows of a warp.  In a dense tensor the distance of a row from an aligned address
 * repeats every four rows.  Rows four apart let all teams of a warp cut their slots in the same way.
 */
template <int LANES, bool PLAIN> static __host__ __device__ constexpr int plb_row_step()
{
    return !PLAIN && LANES < 32 ? PLB_SLOT : 1;
}

/* The rows of a batch, which the teams take in turns.  `lane_row` is the calling lane's.  `seams`: see cut_rows.cuh. */
template <typename T, int LANES, int SLOTS, bool PLAIN, typename Targets>
PLB_DEVICE void plb_loss_of_batch(const plb_loss_parameters &p, const plb_real<T> *table, long long first, int rows,
                                  bool writes, plb_row_of_batch<plb_real<T>> *lane_row,
                                  plb_row_seams<T, LANES, SLOTS, PLAIN> *seams, plb_team_board<plb_real<T>> *board,
                                  int *turn)
{
    typedef plb_real<T> real;
    enum { IN_WARP = LANES < 32 ? 32 / LANES : 1, STEP = plb_row_step<LANES, PLAIN>() };
    const unsigned all = 0xffffffffu;
    const int lane = (int)threadIdx.x % 32;
#pragma unroll 1
    for (int i = 0; i < rows; i += IN_WARP) {
        const int at = i + lane / LANES;
        const int label = __shfl_sync(all, lane_row->label, at);
        const bool counts = label >= 0, exists = at < rows;
        plb_row_request<real> request = {counts ? label : 0, 0, __shfl_sync(all, lane_row->scale, at), NULL};
        const long long r = exists ? first + at * STEP : first;
        char *const logits = plb_row_at<PLAIN>(p.logits, r);
        plb_row_walk<T, LANES, SLOTS, PLAIN> walk;
        walk.load(logits, p.bias, p.classes, counts, logits < p.inside_end, seams);
        if (counts)
            request.z_label = plb_widen(((const T *)logits)[label]);
        if (!PLAIN && p.bias && counts)
            request.z_label += ((const real *)p.bias)[label];
        if (writes && exists)
            request.grad = plb_row_at<PLAIN>(p.grad, r);
        const plb_row_result<real> result =
            plb_loss_of_row<T, LANES, SLOTS, PLAIN, Targets>(p, walk, request, writes, table, board, turn);

        const int from = lane % IN_WARP * (32 / IN_WARP); /* a lane of the team that worked on this lane's row */
        const real logarithm = __shfl_sync(all, result.logarithm, from);
        const real differences = __shfl_sync(all, result.differences, from);
        const unsigned correct = __ballot_sync(all, result.correct), confident = __ballot_sync(all, result.confident);
        if (lane / IN_WARP * IN_WARP == i) {
            lane_row->logarithm = logarithm;
            lane_row->differences = differences;
            lane_row->correct = correct >> from & 1;
            lane_row->confident = confident >> from & 1;
        }
    }
}

/* Prefetches a line of memory into the L2 cache. */
PLB_DEVICE void plb_prefetch(const void *at)
{
#ifdef __CUDA_ARCH__
    asm volatile("prefetch.global.L2 [%0];" : : "l"(at));
#else
    (void)at;
#endif
}

/*
 * Prefetches the first rows of a block, before the block waits for the sum of weights or makes its targets.  With a
 * mask it does nothing, because masked rows are not read.
 */
template <typename T> PLB_DEVICE void plb_prefetch_rows(const plb_loss_parameters &p)
{
    enum { LINE = 128, MOST_LINES = 64 };
    const long long first = ((long long)blockIdx.x * PLB_LOSS_WARPS + threadIdx.x / 32) * p.batch;
    const long long left = p.reduction.rows - first, rows = left < p.batch ? left : p.batch;
    if (p.reduction.mask.data || p.logits.inner || p.logits.inner_stride != p.classes * (long long)sizeof(T))
        return;
    for (int line = (int)threadIdx.x % 32; line < MOST_LINES && line * LINE < rows * p.logits.inner_stride; line += 32)
        plb_prefetch(p.logits.data + first * p.logits.inner_stride + line * LINE);
}

/*
 * One pass over all rows.  A warp, or a block that is one team, has a batch of up to 32 rows at a time.  Each lane
 * computes the label, the weight and the loss of one row of the batch.  In between, the teams take the rows in turns.
 */
template <typename T, int LANES, int SLOTS, bool PLAIN, typename Targets>
PLB_DEVICE plb_thread_sums plb_loss_pass(const plb_loss_parameters &p, const plb_real<T> *table,
                                         const plb_upstream &upstream, int purpose,
                                         plb_row_seams<T, LANES, SLOTS, PLAIN> *seams,
                                         plb_team_board<plb_real<T>> *board)
{
    typedef plb_real<T> real;
    enum { UNITS = LANES <= 32 ? PLB_LOSS_WARPS : 1, STEP = plb_row_step<LANES, PLAIN>() };
    const int lane = (int)threadIdx.x % 32;
    const long long unit = (long long)blockIdx.x * UNITS + (UNITS > 1 ? threadIdx.x / 32 : 0);
    const bool ends = purpose == PLB_TO_END, filters = !PLAIN && purpose == PLB_TO_FILTER;
    const bool writes = p.grad.data && ends, owns = UNITS > 1 || threadIdx.x < 32;
    const bool reports = owns && (p.reduction.reports || !ends);
    plb_thread_sums sums = {0, 0, 0, 0};
    int turn = 0;
    for (long long first = unit / STEP * STEP * p.batch + unit % STEP; first < p.reduction.rows;
         first += (long long)gridDim.x * UNITS * p.batch) {
        const long long left = (p.reduction.rows - first + STEP - 1) / STEP, r = first + lane * STEP;
        const int rows = left < p.batch ? (int)left : p.batch;
        const bool has_row = owns && lane < rows;
        plb_row_of_batch<real> row = {0, 0, -1, 0, 0, false, false};
        if (lane < rows) {
            const plb_row_use use = plb_use_of_row(p, r, reports);
            const bool counts = use.weight != 0 && !upstream.nothing && (PLAIN || !ends || !p.filter || p.counts[r]);
            if (counts) {
                row.weight = use.weight;
                row.label = use.label;
                row.scale = plb_reduction_scale<real>(p.reduction, upstream, r, use.weight, !PLAIN && writes);
            }
            if (has_row && !filters)
                sums.weight += upstream.nothing ? use.weight : row.weight;
            if (has_row)
                sums.bad += use.is_bad;
        }
        if (!ends && !filters)
            continue;
        plb_loss_of_batch<T, LANES, SLOTS, PLAIN, Targets>(p, table, first, rows, writes, &row, seams, board, &turn);
        if (!has_row)
            continue;
        if (filters) {
            p.counts[r] = !row.confident;
            row.weight = row.confident ? 0 : row.weight;
            sums.weight += row.weight;
        }
        plb_reduction_add(p.reduction, &sums, r, row.weight, (double)row.logarithm - 1024.0 * (double)row.differences,
                          row.correct, !(filters && p.grad.data));
    }
    return sums;
}

#endif
