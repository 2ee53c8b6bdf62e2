/*
 * Teams: the 8, 16 or 32 lanes of a warp, or all threads of a block, that work on one row.
 *
 * All lanes of a warp execute each step together, whatever rows their teams have: if one team needs a step, all teams
 * of the warp take it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_TEAM_H
#define PLB_CUDA_TEAM_H

#include "core/grid.cuh"
#include "loss/loss.cuh"

template <int LANES> PLB_DEVICE int plb_team_lane()
{
    return (int)threadIdx.x % LANES;
}

/*
 * The values that the warps of a block exchange.  There are two sets, used in turns, so that one barrier a round is
 * enough: a set is written again two rounds later, and by then all warps have passed the barrier of the round between
 * and have read it.
 */
template <typename real> struct plb_team_board {
    real value[2][2][PLB_LOSS_WARPS];
};

/* The largest value of all lanes of the team, for every lane. */
template <int LANES, typename real> PLB_DEVICE real plb_team_highest(real value, plb_team_board<real> *board, int *turn)
{
#pragma unroll
    for (int step = (LANES < 32 ? LANES : 32) / 2; step; step /= 2)
        value = plb_highest(value, __shfl_xor_sync(0xffffffffu, value, step));
    if constexpr (LANES > 32) {
        real *const of_warp = board->value[ *turn ^= 1][0];
        if (threadIdx.x % 32 == 0)
            of_warp[threadIdx.x / 32] = value;
        PLB_BARRIER();
        for (int warp = 0; warp < LANES / 32; warp++)
            value = plb_highest(value, of_warp[warp]);
    }
    return value;
}

/* Two sums over all lanes of the team, for every lane. */
template <int LANES, typename real>
PLB_DEVICE void plb_team_sums(real *a, real *b, plb_team_board<real> *board, int *turn)
{
#pragma unroll
    for (int step = (LANES < 32 ? LANES : 32) / 2; step; step /= 2) {
        *a += __shfl_xor_sync(0xffffffffu, *a, step);
        *b += __shfl_xor_sync(0xffffffffu, *b, step);
    }
    if constexpr (LANES > 32) {
        real(*const of_warp)[PLB_LOSS_WARPS] = board->value[ *turn ^= 1];
        if (threadIdx.x % 32 == 0) {
            of_warp[0][threadIdx.x / 32] = *a;
            of_warp[1][threadIdx.x / 32] = *b;
        }
        PLB_BARRIER();
        *a = *b = 0;
        for (int warp = 0; warp < LANES / 32; warp++) {
            *a += of_warp[0][warp];
            *b += of_warp[1][warp];
        }
    }
}

#endif
