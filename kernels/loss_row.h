/*
 * Loss and gradient of one row.  SPDX-License-Identifier: Apache-2.0
 *
 * A row is walked three times: for the maximum, for the sum of exponentials with what the targets take from the loss,
 * and for the gradient.  The walks are over registers, or over memory when the row is too long for them.
 */
#ifndef PLB_CUDA_LOSS_ROW_H
#define PLB_CUDA_LOSS_ROW_H

#include "gaussian.h"
#include "slots.h"
#include "team.h"

#include <float.h>

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

/*
 * Calls `act` with each slot of the row that is this thread's: its place among those it keeps, its number in the row,
 * and its values.
 */
template <typename T, typename real, int WARPS, int SLOTS> struct plb_row_walk {
    enum { HELD = SLOTS > 0 ? SLOTS : 1, TEAM = WARPS * 32 };
    plb_slotted<T> row;
    const real *bias;
    real kept[HELD][PLB_SLOT];

    typedef typename plb_slot_index<(SLOTS > 0)>::type slot_index;

    PLB_DEVICE void open_slot(int k, int s, const plb_slot_bits<T> &slot)
    {
        plb_open_slot(kept[k], slot, row, (slot_index)s);
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
        if (SLOTS > 0) {
            plb_slot_bits<T> slots[HELD];
#pragma unroll
            for (int k = 0; k < HELD; k++)
                plb_fetch_slot(&slots[k], row, plb_team_thread<WARPS>() + k * TEAM);
#pragma unroll
            for (int k = 0; k < HELD; k++)
                open_slot(k, plb_team_thread<WARPS>() + k * TEAM, slots[k]);
        }
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
                plb_slot_bits<T> slot;
                plb_fetch_slot(&slot, row, (slot_index)s + lane);
                open_slot(0, s + lane, slot);
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
        plb_store_slot(to, (typename row_walk::slot_index)s, z);
    });
    return result;
}

template <typename T, typename real, int WARPS> PLB_DEVICE void plb_zero_row(char *grad, int classes)
{
    const plb_slotted<T> to = plb_slots_of<T>(grad, classes);
    const real zeros[PLB_SLOT] = {0, 0, 0, 0};
    const int lane = (int)threadIdx.x % 32;
    for (int s = plb_team_thread<WARPS>() - lane; (long long)s * PLB_SLOT < classes; s += WARPS * 32)
        plb_store_slot(to, (long long)s + lane, zeros);
}

#endif
