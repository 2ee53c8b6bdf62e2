/*
 * From the losses of rows to one loss: weights, normaliser, upstream gradient, sums.
 *
 * A kernel of any loss of rows can include this file alone.  Host code calls
 *
 *     plb_reduction_parameters_of()    for the parameters of the kernel
 *     plb_reduction_needs_weights()    if true, sets weigh_first, clears reports, and launches the kernel as
 *                                      PLB_COOPERATIVE with no more blocks than plb_resident_blocks() says
 *     plb_reduction_use()              with plb_reduction_memory() bytes of workspace
 *
 * A kernel with weigh_first calls, in this order,
 *
 *     plb_reduction_weigh()       for each row; the thread adds weights and bad rows to its sums
 *     plb_reduction_arrive()      tells the other blocks the weights
 *     plb_reduction_wait()        gives the sum of all weights; the sums of the thread start again from 0
 *
 * and, with weigh_first or without,
 *
 *     plb_reduction_upstream()    gives the factor of all gradients; if nothing counts, weights below are 0
 *     plb_reduction_weigh()       for each row, as above
 *     plb_reduction_scale()       for each row: the factor of its gradient
 *     plb_reduction_add()         for each row: takes its loss
 *     plb_reduction_end()         adds up the sums of all threads and stores the results
 *
 * All threads of the grid make the calls that are not for a row, once each.  The order of a sum depends on the size of
 * the grid and on the order in which a thread takes its rows.  No sum uses floating-point atomics.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_REDUCTION_H
#define PLB_CUDA_REDUCTION_H

#include "core/grid.cuh"
#include "core/rows.cuh"
#include "loss.h"

#include <float.h>
#include <poslabel/loss.h>

/* A scalar on the device. */
struct plb_scalar {
    char *at; /* NULL: not given */
    int dtype;
};

static inline plb_scalar plb_scalar_of(const plb_rows *rows)
{
    return plb_scalar{rows->data, rows->dtype};
}

/* Sums over the rows of a block, or of several. */
struct plb_loss_sums {
    double weight, loss, correct, bad;
};

/* Numbers in shared memory that a warp needs to add up such sums. */
enum { PLB_LOSS_SUMS = sizeof(plb_loss_sums) / sizeof(double) };

/* Sums over the rows of a thread. */
struct plb_thread_sums {
    double weight, loss, correct;
    int bad; /* rows whose weight, or what else is said of them, is not allowed */
};

struct plb_reduction_parameters {
    plb_view_rows mask, weights, row_grad_loss, row_loss; /* one a row */
    plb_scalar grad_loss, normalizer, loss, accuracy, weight_sum, flags;
    long long rows;
    long long first_row; /* where a launch has a chunk of the rows: the chunk's first row in the tensors above */
    int kind;            /* a poslabel_reduction */
    double grad_scale;
    bool weigh_first;      /* the sum of weights is needed before the first gradient */
    bool reports;          /* the pass that makes losses reports values that are not allowed */
    bool is_last_chunk;    /* stores the results */
    plb_loss_sums *totals; /* of the chunks before this one; this one is added.  NULL: there is one chunk */
    plb_loss_sums *sums;   /* one a block */
    double *weights_of;    /* one a block: the sum of weights before any gradient */
    plb_device_state *state;
};

/* ---- the host's part ---- */

static inline plb_reduction_parameters plb_reduction_parameters_of(const plb_call *call, const plb_reduction *reduction)
{
    plb_reduction_parameters p = {};
    p.mask = plb_view_of(&reduction->mask);
    p.weights = plb_view_of(&reduction->weights);
    if (reduction->kind == POSLABEL_REDUCTION_NONE && reduction->grad_loss.count > 1)
        p.row_grad_loss = plb_view_of(&reduction->grad_loss);
    else
        p.grad_loss = plb_scalar_of(&reduction->grad_loss);
    if (reduction->kind == POSLABEL_REDUCTION_NONE)
        p.row_loss = plb_view_of(&reduction->loss);
    else
        p.loss = plb_scalar_of(&reduction->loss);
    p.normalizer = plb_scalar_of(&reduction->normalizer);
    p.accuracy = plb_scalar_of(&reduction->accuracy);
    p.weight_sum = plb_scalar_of(&reduction->weight_sum);
    p.flags = plb_scalar_of(&reduction->flags);
    p.rows = reduction->rows;
    p.kind = reduction->kind;
    p.grad_scale = reduction->grad_scale;
    p.reports = true;
    p.is_last_chunk = true;
    p.state = plb_cuda_of(call)->state;
    return p;
}

/* Bytes of workspace for a launch of so many blocks. */
static inline size_t plb_reduction_memory(int blocks)
{
    return (size_t)blocks * (sizeof(plb_loss_sums) + sizeof(double));
}

static inline void plb_reduction_use(plb_reduction_parameters *p, void *memory, int blocks)
{
    p->sums = (plb_loss_sums *)memory;
    p->weights_of = (double *)(p->sums + blocks);
}

/*
 * Whether gradients need a sum of weights that only the device can form.  `leaves_rows_out`: the loss gives some rows a
 * weight of 0 by a rule of its own.
 */
static inline bool plb_reduction_needs_weights(const plb_reduction_parameters *p, bool leaves_rows_out)
{
    return (p->mask.data || p->weights.data || leaves_rows_out) && p->kind == POSLABEL_REDUCTION_MEAN &&
           !p->normalizer.at;
}

/* ---- rows ---- */

/* A row whose weight is not allowed has weight 0 and is_bad. */
struct plb_row_weight {
    double weight;
    bool is_bad;
};

/* Row r of the chunk.  Where the mask is 0 the weight may be anything. */
PLB_DEVICE plb_row_weight plb_reduction_weigh(const plb_reduction_parameters &p, long long r, bool reports)
{
    r += p.first_row;
    plb_row_weight row = {1, false};
    if (p.mask.data && plb_is_zero(plb_view_row(p.mask, r), p.mask.dtype))
        row.weight = 0;
    else if (p.weights.data) {
        const double weight = plb_load_number(plb_view_row(p.weights, r), p.weights.dtype);
        if (!(weight >= 0 && weight <= DBL_MAX)) {
            row = plb_row_weight{0, true};
            if (reports)
                plb_found(p.state, PLB_FOUND_WEIGHTS, r);
        } else
            row.weight = weight;
    }
    return row;
}

/* The factor of the gradients of all rows, normaliser included. */
struct plb_upstream {
    double factor;
    bool nothing; /* the normaliser is 0: no row counts */
};

PLB_DEVICE double plb_reduction_norm(const plb_reduction_parameters &p, double weight)
{
    return p.normalizer.at ? plb_load_number(p.normalizer.at, p.normalizer.dtype) : weight;
}

/* `weight`: the sum of the weights of all rows or, without weigh_first, the number of rows. */
PLB_DEVICE plb_upstream plb_reduction_upstream(const plb_reduction_parameters &p, double weight)
{
    const double norm = plb_reduction_norm(p, weight);
    plb_upstream upstream = {p.grad_scale, false};
    if (p.kind == POSLABEL_REDUCTION_MEAN) {
        upstream.nothing = norm == 0;
        upstream.factor *= norm == 0 ? 0 : 1 / norm;
    }
    if (p.grad_loss.at)
        upstream.factor *= plb_load_number(p.grad_loss.at, p.grad_loss.dtype);
    return upstream;
}

/* The factor of the gradient of row r, whose grad_loss is `by_row`, if there is one a row, or shared. */
template <typename real>
PLB_DEVICE real plb_reduction_scale(const plb_reduction_parameters &p, const plb_upstream &upstream, long long r,
                                    double weight, bool by_row)
{
    real scale = (real)upstream.factor * (real)weight;
    if (by_row && p.row_grad_loss.data)
        scale *= (real)plb_load_number(plb_view_row(p.row_grad_loss, p.first_row + r), p.row_grad_loss.dtype);
    return scale;
}

/* Adds the loss of row r, which becomes weighted, to the thread's sums; without reduction, stores it too. */
PLB_DEVICE void plb_reduction_add(const plb_reduction_parameters &p, plb_thread_sums *sums, long long r, double weight,
                                  double loss, bool is_correct, bool stores)
{
    const double weighted = weight == 0 ? 0 : weight * loss;
    sums->loss += weighted;
    sums->correct += is_correct ? weight : 0;
    if (p.row_loss.data && stores)
        plb_store_number(plb_view_row(p.row_loss, p.first_row + r), p.row_loss.dtype, weighted);
}

/* ---- the grid; `partial` is shared memory for PLB_LOSS_SUMS numbers a warp ---- */

/*
 * Tells the other blocks the block's sum of weights.  Gives what plb_reduction_wait() needs; *bad becomes the block's
 * number of bad rows, for plb_reduction_end().
 */
PLB_DEVICE unsigned plb_reduction_arrive(const plb_reduction_parameters &p, const plb_thread_sums &sums,
                                         double *partial, double *bad)
{
    double of_block[] = {sums.weight, (double)sums.bad};
    plb_block_sums(of_block, partial);
    *bad = of_block[1];
    if (threadIdx.x == 0)
        p.weights_of[blockIdx.x] = of_block[0];
    return plb_grid_arrive(p.state);
}

/* Waits for all blocks: the sum of the weights of all rows. */
PLB_DEVICE double plb_reduction_wait(const plb_reduction_parameters &p, unsigned generation, double *partial)
{
    plb_grid_wait(p.state, generation);
    double weight[1];
    plb_sums_of_blocks(weight, p.weights_of, partial);
    return weight[0];
}

PLB_DEVICE void plb_store_scalar(const plb_scalar &scalar, double value)
{
    if (scalar.at)
        plb_store_number(scalar.at, scalar.dtype, value);
}

PLB_DEVICE void plb_store_results(const plb_reduction_parameters &p, const plb_loss_sums &all)
{
    const double norm = plb_reduction_norm(p, all.weight);
    if (p.kind != POSLABEL_REDUCTION_NONE)
        plb_store_scalar(p.loss, p.kind == POSLABEL_REDUCTION_SUM ? all.loss : norm == 0 ? 0 : all.loss / norm);
    plb_store_scalar(p.accuracy, norm == 0 ? 0 : all.correct / norm);
    plb_store_scalar(p.weight_sum, all.weight);
    plb_store_scalar(p.flags, (norm == 0 ? POSLABEL_LOSS_EMPTY : 0) | (all.bad > 0 ? POSLABEL_LOSS_INVALID : 0));
}

/*
 * The last block to get here adds up the sums of all and stores the results.  With weigh_first, `weight` and `bad` are
 * those that plb_reduction_wait() and plb_reduction_arrive() gave.  `is_last` is in shared memory.
 */
PLB_DEVICE void plb_reduction_end(const plb_reduction_parameters &p, const plb_thread_sums &sums, double weight,
                                  double bad, double *partial, int *is_last)
{
    double sum[] = {sums.weight, sums.loss, sums.correct, (double)sums.bad};
    plb_block_sums(sum, partial);
    if (threadIdx.x == 0)
        p.sums[blockIdx.x] = plb_loss_sums{sum[0], sum[1], sum[2], p.weigh_first ? bad : sum[3]};
    if (!plb_is_last_block(p.state, is_last))
        return;
    plb_sums_of_blocks(sum, &p.sums->weight, partial);
    plb_loss_sums all = {sum[0], sum[1], sum[2], sum[3]};
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

#endif
