/*
 * Rows at any address, by way of shared memory.  SPDX-License-Identifier: Apache-2.0
 *
 * A row of 197 floats begins where the one before it ended, mostly in the middle of an aligned piece of memory.  Whole
 * pieces of it go between global and shared memory, each by one lane, and so do the few elements before the first and
 * after the last of them.  In shared memory each lane finds the elements of its slots one by one.
 */
#ifndef PLB_CUDA_STAGED_ROWS_H
#define PLB_CUDA_STAGED_ROWS_H

#include "lane_rows.h"
#include "team.h"

/* Elements of the buffer of a team, which begins as far from an aligned address as the row does in global memory. */
template <int LANES, int SLOTS> static __host__ __device__ constexpr int plb_stage_pitch()
{
    return (LANES * SLOTS + 1) * PLB_SLOT;
}

/* Whether the piece in which a slot begins lies in the row as a whole. */
template <typename T> PLB_DEVICE bool plb_is_whole(const plb_lane_row<T, int> &row, int from_own)
{
    return (from_own > 0 || !row.is_first || row.shift == 0) && row.left + row.shift - PLB_SLOT >= from_own;
}

/* Between what lanes of a team write to its buffer and what others read of it. */
template <int LANES> PLB_DEVICE void plb_team_meets()
{
    if constexpr (LANES <= 32)
        __syncwarp();
    else
        PLB_BARRIER();
}

/*
 * The element of a row of `classes` that a lane moves besides whole pieces, or -1: lanes 0 to 3 have those before the
 * first piece, lanes 4 to 7 those after the last.  Of a row within one piece lanes 0 to 3 have all.
 */
PLB_DEVICE int plb_edge_of(int shift, int lane, int classes)
{
    const int after = shift && classes + shift < PLB_SLOT ? 0 : (classes + shift) % PLB_SLOT;
    int edge = -1;
    if (lane < PLB_SLOT)
        edge = shift && lane < PLB_SLOT - shift ? lane : -1;
    else if (lane < PLB_SLOT + after)
        edge = classes - after + lane - PLB_SLOT;
    return edge < classes ? edge : -1;
}

template <typename T, int LANES, int SLOTS> struct plb_staged_row {
    typedef plb_lane_row<T, int> lane_row;
    enum { STEP = LANES * PLB_SLOT };
    T *stage;
    int edge;
    T edge_value;
    bool is_empty;

    /* Asks for the row; `bits` are pieces of it from here on.  A row of no classes is one of zeros. */
    PLB_DEVICE void ask(const lane_row &row, int classes, plb_slot_bits<T> (&bits)[SLOTS])
    {
        is_empty = classes == 0;
#pragma unroll
        for (int k = 0; k < SLOTS; k++)
            plb_load_words_if(plb_is_whole(row, k * STEP), row.own - row.shift + k * STEP, &bits[k].bits);
        edge = plb_edge_of(row.shift, plb_team_lane<LANES>(), classes);
        edge_value = T();
        if (edge >= 0)
            edge_value = row.own[edge - plb_team_lane<LANES>() * PLB_SLOT];
    }

    /* Waits for it.  `classes` are those of a row that is not empty; past its end is -inf. */
    PLB_DEVICE void open(const lane_row &row, int classes, const plb_slot_bits<T> (&bits)[SLOTS],
                         plb_real<T> (&value)[SLOTS][PLB_SLOT])
    {
        T *const own = stage + plb_team_lane<LANES>() * PLB_SLOT;
        plb_team_meets<LANES>(); /* nobody reads of the row before any more */
#pragma unroll
        for (int k = 0; k < SLOTS; k++)
            if (is_empty || plb_is_whole(row, k * STEP))
                plb_store_words(own + k * STEP, bits[k].bits);
        if (edge >= 0)
            stage[edge + row.shift] = edge_value;
        plb_team_meets<LANES>();
#pragma unroll
        for (int k = 0; k < SLOTS; k++)
#pragma unroll
            for (int e = 0; e < PLB_SLOT; e++)
                value[k][e] = plb_widen(own[row.shift + k * STEP + e]);
        const plb_real<T> beyond = is_empty ? (plb_real<T>)0 : -(plb_real<T>)INFINITY;
        const int left = classes - plb_team_lane<LANES>() * PLB_SLOT;
#pragma unroll
        for (int k = 0; k < SLOTS; k++)
            if ((k + 1) * STEP > classes) /* for all lanes or none */
#pragma unroll
                for (int e = 0; e < PLB_SLOT; e++)
                    value[k][e] = k * STEP + e < left ? value[k][e] : beyond;
    }

    PLB_DEVICE void store(const lane_row &to, int classes, const plb_real<T> (&value)[SLOTS][PLB_SLOT])
    {
        T *const own = stage + plb_team_lane<LANES>() * PLB_SLOT;
        plb_team_meets<LANES>();
#pragma unroll
        for (int k = 0; k < SLOTS; k++) {
            plb_slot_bits<T> slot;
            plb_close_slot(&slot, value[k]);
#pragma unroll
            for (int e = 0; e < PLB_SLOT; e++) /* there is room for what is past the end */
                own[to.shift + k * STEP + e] = slot.element[e];
        }
        plb_team_meets<LANES>();
#pragma unroll
        for (int k = 0; k < SLOTS; k++)
            if (plb_is_whole(to, k * STEP))
                plb_store_words(to.own - to.shift + k * STEP,
                                plb_load_words(own + k * STEP, (typename plb_slot_bits<T>::words *)NULL));
        const int at = plb_edge_of(to.shift, plb_team_lane<LANES>(), classes);
        if (at >= 0)
            to.own[at - plb_team_lane<LANES>() * PLB_SLOT] = stage[at + to.shift];
    }
};

#endif
