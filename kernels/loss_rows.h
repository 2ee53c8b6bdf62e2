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

#include "gaussian.h"
#include "grid.h"
#include "loss.h"
#include "slots.h"

#include <float.h>
#include <poslabel/loss.h>

/* ---- arithmetic in the precision of a row ---- */

PLB_DEVICE float plb_exp(float d)
{
    return exp2f(d * 1.44269504f);
}

PLB_DEVICE double plb_exp(double d)
{
    return exp(d);
}

PLB_DEVICE float plb_log(float x)
{
    return logf(x);
}

PLB_DEVICE double plb_log(double x)
{
    return log(x);
}

PLB_DEVICE float plb_lowest(float)
{
    return -FLT_MAX;
}

PLB_DEVICE double plb_lowest(double)
{
    return -DBL_MAX;
}

/* ---- weights and labels ---- */

/* Label and weight of row r of the chunk; a row whose id or weight is not allowed has weight 0 and is_bad. */
struct plb_row_use {
    double weight;
    int label;
    bool is_bad;
};

/* a mod b; in 32 bits where they fit, since a division in 64 takes about a hundred instructions. */
PLB_DEVICE long long plb_modulo(long long a, long long b)
{
    if ((unsigned long long)(a | b) >> 32)
        return a % b;
    return (unsigned)a % (unsigned)b;
}

PLB_DEVICE int plb_relative_label(const plb_loss_parameters &p, long long row)
{
    const long long n = (long long)p.height * p.width, pair = plb_modulo(row, n * n);
    const int j = (int)plb_modulo(pair, n);
    const int i = pair >> 32 ? (int)(pair / n) : (int)((unsigned)pair / (unsigned)n);
    return (i / p.width - j / p.width + p.height - 1) * (2 * p.width - 1) + (i % p.width - j % p.width + p.width - 1);
}

PLB_DEVICE plb_row_use plb_use_of_row(const plb_loss_parameters &p, long long r, bool report)
{
    r += p.first_row;
    plb_row_use use = {1, 0, false};
    bool is_left_out = p.mask.data && plb_is_zero(plb_view_row(p.mask, r), p.mask.dtype);
    if (p.target == PLB_TARGET_ABSOLUTE)
        use.label = (int)plb_modulo(r, (long long)p.height * p.width);
    else if (p.target == PLB_TARGET_RELATIVE)
        use.label = plb_relative_label(p, r);
    else {
        const long long id = plb_load_id(plb_view_row(p.ids, r), p.ids.dtype);
        if (p.has_ignore_index && id == p.ignore_index)
            is_left_out = true;
        else if (id < 0 || id >= p.classes) {
            use.is_bad = true;
            if (report)
                plb_found(p.state, PLB_FOUND_POSITIONS, r);
        } else
            use.label = (int)id;
    }
    if (p.weights.data) {
        const double weight = plb_load_number(plb_view_row(p.weights, r), p.weights.dtype);
        if (!(weight >= 0 && weight <= DBL_MAX)) {
            use.is_bad = true;
            if (report)
                plb_found(p.state, PLB_FOUND_WEIGHTS, r);
        } else
            use.weight = weight;
    }
    if (use.is_bad || is_left_out)
        use.weight = 0;
    return use;
}

/* ---- a team: one warp, or a whole block ---- */

template <int WARPS> PLB_DEVICE int plb_team_thread()
{
    return (int)threadIdx.x % (WARPS * 32);
}

/* What the warps of a block tell one another; two sets, used in turn, so that one barrier a round is enough. */
struct plb_team_board {
    double value[2][2][PLB_LOSS_WARPS];
    int flag[2][PLB_LOSS_WARPS];
};

template <int WARPS, typename real> PLB_DEVICE real plb_team_highest(real value, plb_team_board *board, int turn)
{
    value = plb_warp_highest(value);
    if (WARPS == 1)
        return value;
    if (threadIdx.x % 32 == 0)
        board->value[turn][0][threadIdx.x / 32] = value;
    PLB_BARRIER();
    for (int warp = 0; warp < WARPS; warp++)
        value = plb_highest(value, (real)board->value[turn][0][warp]);
    return value;
}

template <int WARPS, typename real> PLB_DEVICE void plb_team_sums(real *a, real *b, plb_team_board *board, int turn)
{
    *a = plb_warp_sum(*a);
    *b = plb_warp_sum(*b);
    if (WARPS == 1)
        return;
    if (threadIdx.x % 32 == 0) {
        board->value[turn][0][threadIdx.x / 32] = *a;
        board->value[turn][1][threadIdx.x / 32] = *b;
    }
    PLB_BARRIER();
    *a = *b = 0;
    for (int warp = 0; warp < WARPS; warp++) {
        *a += (real)board->value[turn][0][warp];
        *b += (real)board->value[turn][1][warp];
    }
}

template <int WARPS> PLB_DEVICE bool plb_team_any(bool flag, plb_team_board *board, int turn)
{
    flag = __any_sync(0xffffffffu, flag);
    if (WARPS == 1)
        return flag;
    if (threadIdx.x % 32 == 0)
        board->flag[turn][threadIdx.x / 32] = flag;
    PLB_BARRIER();
    for (int warp = 0; warp < WARPS; warp++)
        flag = flag || board->flag[turn][warp];
    return flag;
}

/* ---- a row in registers, or in memory ---- */

/*
 * Calls `act` with each slot of the row that is this thread's: its place among those it keeps, its number in the row,
 * and its values.
 */
template <typename T, typename real, int WARPS, int SLOTS> struct plb_row_walk {
    enum { HELD = SLOTS > 0 ? SLOTS : 1, TEAM = WARPS * 32 };
    plb_slotted<T> row;
    const real *bias;
    real kept[HELD][PLB_SLOT];

    PLB_DEVICE void load(int k, int s)
    {
        plb_load_slot(kept[k], row, s);
        if (bias)
#pragma unroll
            for (int e = 0; e < PLB_SLOT; e++)
                if (s * PLB_SLOT + e < row.classes)
                    kept[k][e] += bias[s * PLB_SLOT + e];
    }

    PLB_DEVICE void open(char *at, const void *added, int classes)
    {
        row = plb_slots_of<T>(at, classes);
        bias = (const real *)added;
        if (SLOTS > 0)
#pragma unroll
            for (int k = 0; k < HELD; k++)
                load(k, plb_team_thread<WARPS>() + k * TEAM);
    }

    template <typename Act> PLB_DEVICE void walk(Act act)
    {
        if (SLOTS > 0) {
#pragma unroll
            for (int k = 0; k < HELD; k++)
                act(k, plb_team_thread<WARPS>() + k * TEAM, kept[k]);
        } else {
            /* until the warp is past the end, for its lanes store together */
            const int lane = (int)threadIdx.x % 32;
            for (int s = plb_team_thread<WARPS>() - lane; (long long)s * PLB_SLOT < row.classes; s += TEAM) {
                load(0, s + lane);
                act(0, s + lane, kept[0]);
            }
        }
    }
};

/* The Gaussian targets of the classes of a slot; 0 past the end. */
template <typename real>
PLB_DEVICE void plb_targets_of_slot(real (&t)[PLB_SLOT], const plb_gaussian_around<real> &around, int first,
                                    int classes, int width)
{
    int y = (int)((unsigned)first / (unsigned)width), x = first - y * width;
    real factor = first < classes ? around.y[y] : (real)0;
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++, x++) {
        if (x == width) {
            x = 0;
            y++;
            factor = first + e < classes ? around.y[y] : (real)0;
        }
        t[e] = first + e < classes ? factor * around.x[x] : (real)0;
    }
}

/* A quarter of z - max, which may be twice the largest number; a class of probability 0 must not make 0 * inf. */
template <typename real> PLB_DEVICE real plb_quarter_difference(real z, real max)
{
    return plb_highest(plb_lowest(z), z * (real)0.25 - max * (real)0.25);
}

/* What becomes of one row. */
struct plb_row_result {
    double loss;
    bool correct, confident;
};

/*
 * Loss and, where `grad` is given, gradient of one row.  `turn` tells the board's sets apart: a set is written again
 * two rounds later, when all have passed the barrier of the round between and so have read it.
 */
template <typename T, typename real, int WARPS, int SLOTS, bool SOFT>
PLB_DEVICE plb_row_result plb_loss_of_row(const plb_loss_parameters &p, char *logits, char *grad, int label, real scale,
                                          const real *table, bool wants_top, plb_team_board *board, int *turn)
{
    typedef plb_row_walk<T, real, WARPS, SLOTS> row_walk;
    enum { KEEPS_TARGETS = SOFT && SLOTS > 0 && SLOTS <= 2 };
    row_walk walk;
    real targets[KEEPS_TARGETS ? SLOTS : 1][PLB_SLOT];
    const int classes = p.classes, width = p.width;
    const bool is_smoothed = !SOFT && p.base != 0;
    plb_gaussian_around<real> around = {};
    if (SOFT)
        around = plb_gaussian_at(table, p.height, width, label);

    walk.open(logits, p.bias, classes);
    const real z_label = plb_widen(((const T *)logits)[label]) + (walk.bias ? walk.bias[label] : (real)0);
    real max = -(real)INFINITY;
    walk.walk([&](int, int, real(&z)[PLB_SLOT]) {
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++)
            max = plb_highest(max, z[e]);
    });
    max = plb_team_highest<WARPS>(max, board, *turn);
    *turn ^= 1;

    real sum = 0, differences = 0; /* the latter a quarter of sum_j t_j (z_j - max), but for the peak's */
    bool is_beaten = z_label != max;
    walk.walk([&](int k, int s, real(&z)[PLB_SLOT]) {
        real(&t)[PLB_SLOT] = targets[KEEPS_TARGETS ? k : 0];
        if (SOFT)
            plb_targets_of_slot(t, around, s * PLB_SLOT, classes, width);
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++) {
            const int c = s * PLB_SLOT + e;
            if (SOFT)
                differences += t[e] * plb_quarter_difference(z[e], max);
            else if (is_smoothed && c < classes)
                differences += (real)p.base * (z[e] * (real)0.25 - max * (real)0.25);
            if (wants_top && c < label && z[e] == max) /* of equal maxima the first counts */
                is_beaten = true;
            z[e] = plb_exp(z[e] - max);
            sum += z[e];
        }
    });
    plb_team_sums<WARPS>(&sum, &differences, board, *turn);
    *turn ^= 1;
    if (wants_top) {
        is_beaten = plb_team_any<WARPS>(is_beaten, board, *turn);
        *turn ^= 1;
    }

    const real total = SOFT ? around.total : (real)1, top = SOFT ? around.top : (real)(p.base + p.peak);
    if (!SOFT)
        differences += (real)p.peak * (z_label * (real)0.25 - max * (real)0.25);
    plb_row_result result;
    result.loss = (double)(plb_log(sum) * total) - 4.0 * (double)differences;
    result.correct = !is_beaten && sum == sum;
    result.confident = plb_exp(z_label - max) / sum >= top;
    if (!grad)
        return result;

    const plb_slotted<T> to = plb_slots_of<T>(grad, classes);
    const real a = scale * total / sum, b = scale * (real)p.base, at_label = scale * top;
    walk.walk([&](int k, int s, real(&z)[PLB_SLOT]) {
        real(&t)[PLB_SLOT] = targets[KEEPS_TARGETS ? k : 0];
        if (SOFT && !KEEPS_TARGETS)
            plb_targets_of_slot(t, around, s * PLB_SLOT, classes, width);
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++) {
            const real x = SLOTS > 0 ? z[e] : plb_exp(z[e] - max);
            z[e] = x * a - (SOFT ? scale * t[e] : s * PLB_SLOT + e == label ? at_label : b);
        }
        plb_store_slot(to, s, z);
    });
    return result;
}

template <typename T, typename real, int WARPS> PLB_DEVICE void plb_zero_row(char *grad, int classes)
{
    const plb_slotted<T> to = plb_slots_of<T>(grad, classes);
    const real zeros[PLB_SLOT] = {0, 0, 0, 0};
    const int lane = (int)threadIdx.x % 32;
    for (int s = plb_team_thread<WARPS>() - lane; (long long)s * PLB_SLOT < classes; s += WARPS * 32)
        plb_store_slot(to, s + lane, zeros);
}

/* ---- the passes of a launch ---- */

/* What a thread adds up. */
struct plb_thread_sums {
    double weight, loss, correct;
    int bad;
};

/* The weights of the rows r = first, first + step, ...: a thread's share of their sum. */
PLB_DEVICE plb_thread_sums plb_weigh(const plb_loss_parameters &p)
{
    const long long step = (long long)gridDim.x * blockDim.x;
    plb_thread_sums sums = {0, 0, 0, 0};
    for (long long r = (long long)blockIdx.x * blockDim.x + threadIdx.x; r < p.rows; r += step) {
        const plb_row_use use = plb_use_of_row(p, r, true);
        sums.weight += use.weight;
        sums.bad += use.is_bad;
    }
    return sums;
}

/* The sum of one number of every block, in an order that depends on the number of blocks alone. */
PLB_DEVICE double plb_sum_of_blocks(const double *of_block, int stride, double *partial)
{
    double sum = 0;
    for (unsigned block = threadIdx.x; block < gridDim.x; block += blockDim.x)
        sum += *(const volatile double *)(of_block + (long long)block * stride);
    return plb_block_sum(sum, partial);
}

PLB_DEVICE void plb_store_scalar(const plb_scalar &scalar, double value)
{
    if (scalar.at)
        plb_store_number(scalar.at, scalar.dtype, value);
}

PLB_DEVICE void plb_store_results(const plb_loss_parameters &p, const plb_loss_sums &all)
{
    const double norm = p.normalizer.at ? plb_load_number(p.normalizer.at, p.normalizer.dtype) : all.weight;
    if (p.reduction != POSLABEL_REDUCTION_NONE)
        plb_store_scalar(p.loss, p.reduction == POSLABEL_REDUCTION_SUM ? all.loss : norm == 0 ? 0 : all.loss / norm);
    plb_store_scalar(p.accuracy, norm == 0 ? 0 : all.correct / norm);
    plb_store_scalar(p.weight_sum, all.weight);
    plb_store_scalar(p.flags, (norm == 0 ? POSLABEL_LOSS_EMPTY : 0) | (all.bad > 0 ? POSLABEL_LOSS_INVALID : 0));
}

/* What all rows have in common once their weights are known. */
struct plb_loss_scale {
    double upstream;
    bool nothing; /* no row counts */
};

PLB_DEVICE plb_loss_scale plb_scale_of(const plb_loss_parameters &p, double weight)
{
    const double norm = p.normalizer.at ? plb_load_number(p.normalizer.at, p.normalizer.dtype) : weight;
    plb_loss_scale scale = {p.grad_scale, false};
    if (p.reduction == POSLABEL_REDUCTION_MEAN) {
        scale.nothing = norm == 0;
        scale.upstream *= norm == 0 ? 0 : 1 / norm;
    }
    if (p.grad_loss.at)
        scale.upstream *= plb_load_number(p.grad_loss.at, p.grad_loss.dtype);
    return scale;
}

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
template <int SLOTS, bool SOFT> struct plb_loss_blocks {
    enum { LEAST = SLOTS == 0 ? 3 : SLOTS == 1 ? 4 : SLOTS == 2 ? 4 - SOFT : SLOTS == 4 ? 3 - SOFT : 2 };
};

template <typename T, typename real, int WARPS, int SLOTS, bool SOFT>
__global__ void __launch_bounds__(PLB_LOSS_THREADS, plb_loss_blocks<SLOTS, SOFT>::LEAST)
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

/* ---- which kernel ---- */

template <typename T, typename real, int WARPS, int SLOTS, bool SOFT>
static poslabel_status plb_loss_start(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    const plb_loss_parameters *const p = &launch->parameters;
    const poslabel_grid grid = {p->height, p->width};
    const size_t shared =
        SOFT && !p->table ? plb_gaussian_scratch(grid) + plb_gaussian_entries(grid) * sizeof(real) : 0;
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
