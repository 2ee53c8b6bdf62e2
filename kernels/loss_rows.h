/*
 * Softmax cross-entropy of rows: loss and gradient in one launch.  SPDX-License-Identifier: Apache-2.0
 *
 * Fused: weights and their sum, log-softmax, targets, loss, top-1 accuracy, gradient, and the sums over all rows.
 * Memory sees one read of the logits and one write of the gradient.
 *
 * A team of WARPS warps has a row at a time and keeps it in registers, SLOTS slots of four a lane, so that the maximum,
 * the sum of exponentials and the gradient are three walks over registers.  Rows too long for that are walked in
 * memory, where the second and third walk find them in a cache (SLOTS = 0).  The grid is as large as the device holds
 * at once and strides over the rows.
 *
 * Where the gradient needs the sum of weights that only the device knows, the launch is cooperative: each block sums
 * the weights of some rows, all wait for one another once, and each adds up the blocks' sums.  Losses are summed at the
 * end by the last block to get there.  No sum uses floating-point atomics.
 */
#ifndef PLB_CUDA_LOSS_ROWS_H
#define PLB_CUDA_LOSS_ROWS_H

#include "loss_row.h"
#include "loss_weights.h"

/* One pass over the rows of this team.  With `filter` it only decides which rows count. */
template <typename T, typename real, int WARPS, int SLOTS, bool SOFT>
PLB_DEVICE plb_thread_sums plb_loss_pass(const plb_loss_parameters &p, const real *table, const plb_loss_scale &scale,
                                         bool filter, bool report, plb_team_board *board)
{
    const int teams = PLB_LOSS_WARPS / WARPS, team = (int)threadIdx.x / (WARPS * 32);
    const long long step = (long long)gridDim.x * teams;
    const bool gradient = p.grad.data && !filter, first_lane = plb_team_thread<WARPS>() == 0;
    const real upstream = (real)scale.upstream;
    plb_thread_sums sums = {0, 0, 0, 0};
    int turn = 0;
    for (long long r = (long long)blockIdx.x * teams + team; r < p.rows; r += step) {
        const plb_row_use use = plb_use_of_row(p, r, report && first_lane);
        double weight = use.weight;
        if (scale.nothing || (p.filter && !filter && !p.counts[r]))
            weight = 0;
        char *const grad = gradient ? plb_view_row(p.grad, r) : NULL;
        plb_row_result result = {0, false, false};
        if (weight != 0) {
            real row_scale = upstream * (real)weight;
            if (grad && p.row_grad_loss.data)
                row_scale *=
                    (real)plb_load_number(plb_view_row(p.row_grad_loss, p.first_row + r), p.row_grad_loss.dtype);
            result = plb_loss_of_row<T, real, WARPS, SLOTS, SOFT>(
                p, plb_view_row(p.logits, r), grad, use.label, row_scale, table, p.accuracy.at != NULL, board, &turn);
        } else if (grad)
            plb_zero_row<T, real, WARPS>(grad, p.classes);
        if (!first_lane)
            continue;
        if (filter) {
            p.counts[r] = !result.confident;
            weight = result.confident ? 0 : weight;
        }
        const double loss = weight == 0 ? 0 : weight * result.loss;
        sums.weight += scale.nothing ? use.weight : weight;
        sums.loss += loss;
        sums.correct += result.correct ? weight : 0;
        sums.bad += use.is_bad;
        if (p.row_loss.data && !(filter && p.grad.data))
            plb_store_number(plb_view_row(p.row_loss, p.first_row + r), p.row_loss.dtype, loss);
    }
    return sums;
}

/* How many blocks a multiprocessor should hold: rows in flight hide the memory's latency, and registers limit them. */
template <typename real, int SLOTS, bool SOFT> struct plb_loss_blocks {
    enum {
        LEAST = sizeof(real) == 8 ? 2
                : SLOTS == 0      ? 3
                : SLOTS == 1      ? 4
                : SLOTS == 2      ? 4 - SOFT
                : SLOTS == 4      ? 3 - SOFT
                                  : 2
    };
};

template <typename T, typename real, int WARPS, int SLOTS, bool SOFT>
__global__ void __launch_bounds__(PLB_LOSS_THREADS, plb_loss_blocks<real, SLOTS, SOFT>::LEAST)
    plb_loss_kernel(const plb_loss_parameters p)
{
    PLB_SHARED(plb_team_board, board, 1);
    PLB_SHARED(double, partial, PLB_LOSS_WARPS);
    PLB_SHARED(int, is_last, 1);
    PLB_SHARED_BYTES(memory);
    const real *table = (const real *)p.table;
    if (SOFT && !table) {
        double *const scratch = (double *)memory;
        real *const own = (real *)(scratch + 2 * ((long long)p.height + p.width));
        plb_gaussian_fill(own, scratch, p.height, p.width, p.sigma, p.normalization);
        table = own;
    }

    plb_thread_sums sums = {0, 0, 0, 0};
    double weight = (double)p.rows, bad = 0;
    if (p.weigh_first) {
        const plb_loss_scale one = {1, false};
        sums = p.filter ? plb_loss_pass<T, real, WARPS, SLOTS, SOFT>(p, table, one, true, true, board) : plb_weigh(p);
        const double of_block = plb_block_sum(sums.weight, partial);
        bad = plb_block_sum(sums.bad, partial);
        if (threadIdx.x == 0)
            p.weights_of[blockIdx.x] = of_block;
        /* between the sums of weights and their readers; with the filter, between counts[] and its readers too */
        plb_grid_barrier(p.state);
        weight = plb_sum_of_blocks(p.weights_of, 1, partial);
    }

    if (!(p.weigh_first && p.filter && !p.grad.data)) {
        const plb_loss_scale scale = plb_scale_of(p, weight);
        sums = plb_loss_pass<T, real, WARPS, SLOTS, SOFT>(p, table, scale, false, p.reports, board);
    }
    plb_loss_sums of_block;
    of_block.weight = plb_block_sum(sums.weight, partial);
    of_block.loss = plb_block_sum(sums.loss, partial);
    of_block.correct = plb_block_sum(sums.correct, partial);
    of_block.bad = p.weigh_first ? bad : plb_block_sum(sums.bad, partial);
    if (threadIdx.x == 0)
        p.sums[blockIdx.x] = of_block;
    if (!plb_is_last_block(p.state, is_last))
        return;

    plb_loss_sums all;
    const int stride = sizeof(plb_loss_sums) / sizeof(double);
    all.weight = plb_sum_of_blocks(&p.sums->weight, stride, partial);
    all.loss = plb_sum_of_blocks(&p.sums->loss, stride, partial);
    all.correct = plb_sum_of_blocks(&p.sums->correct, stride, partial);
    all.bad = plb_sum_of_blocks(&p.sums->bad, stride, partial);
    if (p.weigh_first)
        all.weight = weight;
    if (threadIdx.x != 0)
        return;
    if (p.totals) {
        plb_loss_sums *const totals = p.totals; /* chunks run one after another */
        all.weight += totals->weight;
        all.loss += totals->loss;
        all.correct += totals->correct;
        all.bad += totals->bad;
        *totals = all;
    }
    if (p.is_last_chunk)
        plb_store_results(p, all);
}

template <typename T, typename real, int WARPS, int SLOTS, bool SOFT>
static poslabel_status plb_loss_start(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    const plb_loss_parameters *const p = &launch->parameters;
    const poslabel_grid grid = {p->height, p->width};
    const size_t shared =
        SOFT && !launch->has_table ? plb_gaussian_scratch(grid) + plb_gaussian_entries(grid) * sizeof(real) : 0;
    if (only_blocks) {
        const long long resident = plb_resident_blocks(
            plb_cuda_of(launch->call), plb_loss_kernel<T, real, WARPS, SLOTS, SOFT>, PLB_LOSS_THREADS, shared);
        const long long teams = PLB_LOSS_WARPS / WARPS, wanted = (p->rows + teams - 1) / teams;
        *blocks = (int)(wanted < 1 ? 1 : wanted < resident ? wanted : resident);
        return POSLABEL_OK;
    }
    return plb_launch(launch->call, p->weigh_first ? PLB_COOPERATIVE : PLB_INDEPENDENT,
                      plb_loss_kernel<T, real, WARPS, SLOTS, SOFT>, *blocks, PLB_LOSS_THREADS, shared, *p);
}

template <typename T, typename real, int WARPS, int SLOTS>
static poslabel_status plb_loss_of_kind(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    return launch->is_soft ? plb_loss_start<T, real, WARPS, SLOTS, true>(launch, only_blocks, blocks)
                           : plb_loss_start<T, real, WARPS, SLOTS, false>(launch, only_blocks, blocks);
}

/* The fewest registers that hold a row: a warp up to 1024 classes, a block up to 8192. */
template <typename T> static poslabel_status plb_loss_of_dtype(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    const int classes = launch->parameters.classes;
    if (classes <= 128)
        return plb_loss_of_kind<T, float, 1, 1>(launch, only_blocks, blocks);
    if (classes <= 256)
        return plb_loss_of_kind<T, float, 1, 2>(launch, only_blocks, blocks);
    if (classes <= 512)
        return plb_loss_of_kind<T, float, 1, 4>(launch, only_blocks, blocks);
    if (classes <= 1024)
        return plb_loss_of_kind<T, float, 1, 8>(launch, only_blocks, blocks);
    if (classes <= 2048)
        return plb_loss_of_kind<T, float, PLB_LOSS_WARPS, 2>(launch, only_blocks, blocks);
    if (classes <= 8192)
        return plb_loss_of_kind<T, float, PLB_LOSS_WARPS, 8>(launch, only_blocks, blocks);
    return plb_loss_of_kind<T, float, PLB_LOSS_WARPS, 0>(launch, only_blocks, blocks);
}

#endif
