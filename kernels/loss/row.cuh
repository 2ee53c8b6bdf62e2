/*
 * Loss and gradient of the rows of a warp.
 *
 * There are three walks over a row: for the maximum, for the sums of exponentials and of logits times targets, and for
 * the gradient.  A walk is over registers, or over memory if the row is too long for them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LOSS_ROW_H
#define PLB_CUDA_LOSS_ROW_H

#include "loss/targets.cuh"
#include "loss/row_walk.cuh"

#include <float.h>

/*
 * A logit divided by 1024.  Differences of logits are kept in this form: the difference of two finite numbers can be
 * twice the largest number, and a sum of such differences times targets that are not yet divided by their sum can be
 * larger still.
 */
template <typename real> PLB_DEVICE real plb_part(real z)
{
    return z * (real)(1.0 / 1024);
}

PLB_DEVICE float plb_exp_of_part(float part)
{
    const float power = part * 1477.31972f; /* 1024 / ln 2 */
#ifdef __CUDA_ARCH__
    float result; /* without the scaling of exp2f() for subnormal results: 0 serves as well */
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

/* The logarithm of a sum of exponentials, which is 1 or more. */
PLB_DEVICE float plb_log(float sum)
{
    return logf(sum); /* once a row; the hardware's logarithm is less exact near 1, where losses are small */
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
 * a b + c, rounded once.  nvcc may round such an expression once or twice, and the kernels of plain rows and of other
 * rows have to give the same bits.
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
 * Hides the origin of a number from nvcc.  Else nvcc splits a product that it sees twice and forms it again for every
 * class, or keeps a value in a register, where registers are scarce, that is cheap to compute again.
 */
PLB_DEVICE float plb_opaque(float x)
{
#ifdef __CUDA_ARCH__
    asm volatile("" : "+f"(x));
#endif
    return x;
}

PLB_DEVICE double plb_opaque(double x)
{
    return x;
}

PLB_DEVICE int plb_opaque(int x)
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

/* The result of a row, whose loss is logarithm - 1024 differences. */
template <typename real> struct plb_row_result {
    real logarithm, differences;
    bool correct, confident;
};

/* The work for a row; the same in all lanes of its team. */
template <typename real> struct plb_row_request {
    int label;
    real z_label;
    real scale; /* of the gradient; 0 for rows that do not count */
    char *grad; /* NULL: there is none to write */
};

/*
 * Loss and, if `writes`, gradient of the rows of a warp, one for each team.  All lanes of the warp call this together,
 * those of teams without a row too.
 */
template <typename T, int LANES, int SLOTS, bool PLAIN, typename Targets>
PLB_DEVICE plb_row_result<plb_real<T>>
plb_loss_of_row(const plb_loss_parameters &p, plb_row_walk<T, LANES, SLOTS, PLAIN> &walk,
                const plb_row_request<plb_real<T>> &request, bool writes, const plb_real<T> *table,
                plb_team_board<plb_real<T>> *board, int *turn)
{
    typedef plb_real<T> real;
    typedef typename plb_row_walk<T, LANES, SLOTS, PLAIN>::count count;
    enum { KEEPS = Targets::ARE_KEPT && SLOTS > 0 && SLOTS <= 9 };
    real kept[KEEPS ? SLOTS : 1][PLB_SLOT];
    const int own = plb_team_lane<LANES>() * PLB_SLOT, classes = p.classes;
    const int first = Targets::ARE_SOFT ? plb_opaque(own) : own; /* else nvcc keeps what is cheap to compute again */
    const count ahead = request.label - first, left = classes - first; /* from the lane's first class */
    const bool is_smoothed = !Targets::ARE_SOFT && (real)p.base != 0;
    typename Targets::template row<real, (SLOTS > 0)> targets;
    targets.open(p, table, request.label);

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
    bool is_beaten = request.z_label != max;
    if (wants_top) { /* of several equal maxima the first one counts */
        walk.walk([&](int, count from_own, real(&z)[PLB_SLOT]) {
#pragma unroll
            for (int e = 0; e < PLB_SLOT; e++)
                is_beaten = is_beaten | ((from_own + e < ahead) & (z[e] == max));
        });
        is_beaten = plb_team_highest<LANES>(is_beaten ? (real)1 : (real)0, board, turn) != 0;
    }

    const real part_of_max = plb_part(max);
    real sum = 0, differences = 0; /* differences: sum_j t_j (z_j - max) / 1024 */
    if (is_smoothed)
        walk.walk([&](int, count from_own, real(&z)[PLB_SLOT]) {
#pragma unroll
            for (int e = 0; e < PLB_SLOT; e++)
                if (from_own + e < left)
                    differences = plb_multiply_add((real)p.base, plb_part(z[e]) - part_of_max, differences);
        });
    walk.walk([&](int k, count from_own, real(&z)[PLB_SLOT]) {
        real(&t)[PLB_SLOT] = kept[KEEPS ? k : 0];
        if constexpr (Targets::ARE_SOFT)
            targets.slot(t, first, (int)from_own);
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++) {
            const real q = plb_part(z[e]) - part_of_max;
            if constexpr (Targets::ARE_SOFT)
                if (from_own + e < left) /* 0 times an infinite difference would be NaN */
                    differences = plb_multiply_add(t[e], plb_highest(plb_lowest(q), q), differences);
            z[e] = plb_exp_of_part(q);
            sum += z[e];
        }
    });
    plb_team_sums<LANES>(&sum, &differences, board, turn);

    const real of_label = plb_part(request.z_label) - part_of_max;
    real total = 1, top = (real)(p.base + p.peak), factor = (real)p.base;
    if constexpr (Targets::ARE_SOFT) {
        total = targets.total;
        top = targets.top;
        factor = targets.factor;
        result.differences = factor * differences;
    } else
        result.differences = plb_multiply_add((real)p.peak, of_label, differences);
    result.logarithm = plb_log(sum) * total;
    result.correct = !is_beaten && sum == sum;
    result.confident = !PLAIN && p.filter && plb_exp_of_part(of_label) / sum >= top;
    if (!writes)
        return result;

    /* Gradients may replace the logits in place, and shuffles give no order between these loads and stores. */
    if constexpr (LANES <= 32)
        __syncwarp();
    const plb_lane_row<T, count> to =
        plb_lane_row_of<T, count>(request.grad, plb_team_lane<LANES>(), request.grad ? classes : 0);
    const real a = request.scale * total * plb_inverse(sum), b = plb_opaque(request.scale * factor);
    const int first_again = Targets::ARE_SOFT ? plb_opaque(first) : first;
    const real at_label = plb_opaque(request.scale * top);
    walk.walk([&](int k, count from_own, real(&z)[PLB_SLOT]) {
        real(&t)[PLB_SLOT] = kept[KEEPS ? k : 0];
        if constexpr (Targets::ARE_SOFT && !KEEPS)
            targets.slot(t, first_again, (int)from_own);
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
