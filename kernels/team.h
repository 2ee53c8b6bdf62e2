/*
 * A team has a row: one warp, or a whole block.  SPDX-License-Identifier: Apache-2.0
 *
 * The warps of a block tell one another over a board of two sets, used in turn: a set is written again two rounds
 * later, when all have passed the barrier of the round between, and so have read it.
 */
#ifndef PLB_CUDA_TEAM_H
#define PLB_CUDA_TEAM_H

#include "grid.h"
#include "loss.h"

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

#endif
