/*
 * Loss and gradient of the rows of a warp.
 *
 * A row is walked three times: for the maximum, for the sum of exponentials with what the targets take from the loss,
 * and for the gradient.  The walks are over registers, or over memory when the row is too long for them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LOSS_ROW_H
#define PLB_CUDA_LOSS_ROW_H

#include "loss/targets.cuh"
#include "loss/row_walk.cuh"

#include <float.h>

/*
 * Differences of logits are held as 1024ths: that of two finite numbers may be twice the largest, and a sum of products
 * with targets that are yet to be divided by their sum would overflow all the more.
 */
template <typename real> PLB_DEVICE real plb_part(real z)
{
    return z * (real)(1.0 / 1024);
}

PLB_DEVICE float plb_exp_of_part(float part)
{
    const float power = part * 1477.31972f; /* 1024 / ln 2 */
#ifdef __CUDA_ARCH__
    float result; /* exp2f() scales for subnormal results, which nobody misses */
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(power));
    return result;
#else
    return exp2f(power);
#endif
}

PLB_DEVICE double plb_exp_of_part(double part)
{
    return exp(1024 * part);
}

/* Of sums of exponentials, which are 1 or more. */
PLB_DEVICE float plb_log(float sum)
{
    return logf(sum); /* once a row; the device's own is not as exact near 1, where losses are small */
}

PLB_DEVICE double plb_log(double sum)
{
    return log(sum);
}

PLB_DEVICE float plb_inverse(float sum)
{
#ifdef __CUDA_ARCH__
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(sum));
    return result;
#else
    return 1 / sum;
#endif
}

PLB_DEVICE double plb_inverse(double sum)
{
    return 1 / sum;
}

/*
 * a b + c, rounded once.  Written out, for nvcc may round an expression once or twice, and the kernels of aligned rows
 * and of others are to give the same bits.
 */
PLB_DEVICE float plb_multiply_add(float a, float b, float c)
{
    return fmaf(a, b, c);
}

PLB_DEVICE double plb_multiply_add(double a, double b, double c)
{
    return fma(a, b, c);
}

/*
 * Hides from nvcc how a number came about: it takes products apart that it sees twice, to form them again for every
 * class, and keeps what could be worked out again until registers run out.
 */
PLB_DEVICE float plb_as_is(float x)
{
#ifdef __CUDA_ARCH__
    asm volatile("" : "+f"(x));
#endif
    return x;
}

PLB_DEVICE double plb_as_is(double x)
{
    return x;
}

PLB_DEVICE int plb_as_is(int x)
{
#ifdef __CUDA_ARCH__
    asm volatile("" : "+r"(x));
#endif
    return x;
}

PLB_DEVICE float plb_lowest(float)
{
    return -FLT_MAX;
}

PLB_DEVICE double plb_lowest(double)
{
    return -DBL_MAX;
}

/* What becomes of one row: its loss is logarithm - 1024 differences. */
template <typename real> struct plb_row_result {
    real logarithm, differences;
    bool correct, confident;
};

/* What is asked of a row, for each lane of its team. */
template <typename real> struct plb_row_question {
    int label;
    real z_label;
    real scale; /* of the gradient; 0 for rows that do not count */
    char *grad; /* NULL: no row at all */
};

/*
 * Loss and, where `writes`, gradient of the rows of a warp, one for each team.  All lanes are here together, and those
 * of teams without a row, too.
 */
template <typename T, int LANES, int SLOTS, bool PLAIN, typename Targets>
PLB_DEVICE plb_row_result<plb_real<T>>
plb_loss_of_row(const plb_loss_parameters &p, plb_row_walk<T, LANES, SLOTS, PLAIN> &walk,
                const plb_row_question<plb_real<T>> &question, bool writes, const plb_real<T> *table,
                plb_team_board<plb_real<T>> *board, int *turn)
{
    typedef plb_real<T> real;
    typedef typename plb_row_walk<T, LANES, SLOTS, PLAIN>::count count;
    enum { KEEPS = Targets::ARE_KEPT && SLOTS > 0 && SLOTS <= 9 };
    real targets[KEEPS ? SLOTS : 1][PLB_SLOT];
    const int own = plb_team_lane<LANES>() * PLB_SLOT, classes = p.classes;
    const int first = Targets::ARE_SOFT ? plb_as_is(own) : own; /* else nvcc would keep what it can work out again */
    const count ahead = question.label - first, left = classes - first; /* of the lane's first class */
    const bool is_smoothed = !Targets::ARE_SOFT && (real)p.base != 0;
    typename Targets::template row<real, (SLOTS > 0)> around;
    around.open(p, table, question.label);

    walk.open();
    real max = -(real)INFINITY;
    walk.walk([&](int, count, real(&z)[PLB_SLOT]) {
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++)
            max = plb_highest(max, z[e]);
    });
    max = plb_team_highest<LANES>(max, board, turn);

    plb_row_result<real> result;
    const bool wants_top = p.reduction.accuracy.at != NULL;
    bool is_beaten = question.z_label != max;
    if (wants_top) { /* of equal maxima the first counts */
        walk.walk([&](int, count from_own, real(&z)[PLB_SLOT]) {
#pragma unroll
            for (int e = 0; e < PLB_SLOT; e++)
                is_beaten = is_beaten | ((from_own + e < ahead) & (z[e] == max));
        });
        is_beaten = plb_team_highest<LANES>(is_beaten ? (real)1 : (real)0, board, turn) != 0;
    }

    const real part_of_max = plb_part(max);
    real sum = 0, differences = 0; /* the latter sum_j t_j (z_j - max), as 1024ths */
    if (is_smoothed)
        walk.walk([&](int, count from_own, real(&z)[PLB_SLOT]) {
#pragma unroll
            for (int e = 0; e < PLB_SLOT; e++)
                if (from_own + e < left)
                    differences = plb_multiply_add((real)p.base, plb_part(z[e]) - part_of_max, differences);
        });
    walk.walk([&](int k, count from_own, real(&z)[PLB_SLOT]) {
        real(&t)[PLB_SLOT] = targets[KEEPS ? k : 0];
        if constexpr (Targets::ARE_SOFT)
            around.targets(t, first, (int)from_own);
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++) {
            const real q = plb_part(z[e]) - part_of_max;
            if constexpr (Targets::ARE_SOFT)
                if (from_own + e < left) /* a target of 0 must not meet an infinite difference */
                    differences = plb_multiply_add(t[e], plb_highest(plb_lowest(q), q), differences);
            z[e] = plb_exp_of_part(q);
            sum += z[e];
        }
    });
    plb_team_sums<LANES>(&sum, &differences, board, turn);

    const real of_label = plb_part(question.z_label) - part_of_max;
    real total = 1, top = (real)(p.base + p.peak), factor = (real)p.base;
    if constexpr (Targets::ARE_SOFT) {
        total = around.total;
        top = around.top;
        factor = around.factor;
        result.differences = factor * differences;
    } else
        result.differences = plb_multiply_add((real)p.peak, of_label, differences);
    result.logarithm = plb_log(sum) * total;
    result.correct = !is_beaten && sum == sum;
    result.confident = !PLAIN && p.filter && plb_exp_of_part(of_label) / sum >= top;
    if (!writes)
        return result;

    /* In place of logits: where shuffles alone lie between reading and writing, nothing keeps the order. */
    if constexpr (LANES <= 32)
        __syncwarp();
    const plb_lane_row<T, count> to =
        plb_lane_row_of<T, count>(question.grad, plb_team_lane<LANES>(), question.grad ? classes : 0);
    const real a = question.scale * total * plb_inverse(sum), b = plb_as_is(question.scale * factor);
    const int first_again = Targets::ARE_SOFT ? plb_as_is(first) : first;
    const real at_label = plb_as_is(question.scale * top);
    walk.walk([&](int k, count from_own, real(&z)[PLB_SLOT]) {
        real(&t)[PLB_SLOT] = targets[KEEPS ? k : 0];
        if constexpr (Targets::ARE_SOFT && !KEEPS)
            around.targets(t, first_again, (int)from_own);
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++) {
            const real x = SLOTS > 0 ? z[e] : plb_exp_of_part(plb_part(z[e]) - part_of_max);
            if constexpr (Targets::ARE_SOFT)
                z[e] = plb_multiply_add(x, a, -(b * t[e]));
            else
                z[e] = plb_multiply_add(x, a, -(from_own + e == ahead ? at_label : b));
        }
        if constexpr (SLOTS == 0)
            walk.store(to, from_own);
    });
    if constexpr (SLOTS > 0)
        walk.store(to);
    return result;
}

#endif
