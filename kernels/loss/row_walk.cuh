/*
 * The part of a row that a lane has, in registers or in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_ROW_WALK_H
#define PLB_CUDA_ROW_WALK_H

#include "loss/cut_rows.cuh"

/* The type that counts classes.  Rows that fit in registers are short, and 64 bits take more instructions. */
template <bool FITS> struct plb_class_count {
    typedef int type;
};

template <> struct plb_class_count<false> {
    typedef long long type;
};

/* Shared memory between the warps of a team.  Teams within a warp and slots that are not cut need none. */
template <typename T, int LANES, int SLOTS, bool PLAIN>
using plb_row_seams = typename plb_seams_of<T, LANES, SLOTS, !PLAIN && (SLOTS > 0)>::type;

/*
 * This lane's slots of a row: in registers or, with SLOTS = 0, one at a time from memory.  Rows that are not read are
 * rows of zeros.  PLAIN: all slots are complete and lie at multiples of their size, and there is no bias.  The slots of
 * other rows are cut out of the pieces of memory that they lie in.
 */
template <typename T, int LANES, int SLOTS, bool PLAIN> struct plb_row_walk {
    typedef plb_real<T> real;
    typedef typename plb_class_count<(SLOTS > 0)>::type count;
    typedef plb_lane_row<T, count> lane_row;
    enum { HELD = SLOTS > 0 ? SLOTS : 1, STEP = LANES * PLB_SLOT, IS_CUT = !PLAIN && SLOTS > 0 };
    lane_row row;
    const real *bias;
    bool reads;
    int classes; /* of the row, even if it is not read */
    plb_slot_bits<T> bits[HELD + IS_CUT];
    real kept[HELD][PLB_SLOT];
    plb_cut_row<T, LANES, HELD> cut;

    PLB_DEVICE void add_bias(int k, count from_own)
    {
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++)
            if (from_own + e < row.left)
                kept[k][e] += bias[from_own + e];
    }

    /* Starts to load the row; is_inside: see cut_rows.cuh. */
    PLB_DEVICE void load(char *at, const void *added, int length, bool reads_row, [[maybe_unused]] bool is_inside,
                        plb_row_seams<T, LANES, SLOTS, PLAIN> *seams)
    {
        row = plb_lane_row_of<T, count>(at, plb_team_lane<LANES>(), reads_row ? length : 0);
        bias = added ? (const real *)added + plb_team_lane<LANES>() * PLB_SLOT : NULL;
        reads = reads_row;
        classes = length;
        if constexpr (IS_CUT) {
            cut.seams = seams;
            cut.load(row, reads ? length : 0, is_inside, bits);
        } else if constexpr (SLOTS > 0)
#pragma unroll
            for (int k = 0; k < SLOTS; k++) {
                plb_fill_slot(&bits[k], reads);
                plb_load_words_if(k * STEP < row.left, row.own + k * STEP, &bits[k].bits);
            }
    }

    /* Waits for the row, and converts it. */
    PLB_DEVICE void open()
    {
        if constexpr (IS_CUT) {
            cut.open(row, reads ? classes : 0, classes, bits, kept);
            if (bias)
#pragma unroll
                for (int k = 0; k < SLOTS; k++)
                    add_bias(k, k * STEP);
        } else if constexpr (SLOTS > 0)
#pragma unroll
            for (int k = 0; k < SLOTS; k++)
                plb_open_slot(bits[k], kept[k]);
    }

    PLB_DEVICE void open_from_memory(count from_own)
    {
        plb_fill_slot(&bits[0], reads);
        plb_load_slot(&bits[0], row, from_own);
        plb_open_slot(bits[0], kept[0]);
        if (bias)
            add_bias(0, from_own);
    }

    /* Calls act(k, from_own, z) for each slot k, which begins `from_own` classes after the lane's first and holds z. */
    template <typename Act> PLB_DEVICE void walk(Act act)
    {
        if constexpr (SLOTS > 0) {
#pragma unroll
            for (int k = 0; k < SLOTS; k++)
                act(k, (count)(k * STEP), kept[k]);
        } else {
            for (count from_own = 0; from_own < classes; from_own += STEP) { /* as often for all lanes */
                open_from_memory(from_own);
                act(0, from_own, kept[0]);
            }
        }
    }

    /* Stores all slots, or the current one in a walk over memory. */
    PLB_DEVICE void store(const lane_row &to, count from_own = 0)
    {
        if constexpr (IS_CUT)
            cut.store(to, to.left + plb_team_lane<LANES>() * PLB_SLOT, classes, kept);
        else
#pragma unroll
            for (int k = 0; k < HELD; k++) {
                plb_slot_bits<T> slot;
                plb_close_slot(&slot, kept[k]);
                if constexpr (SLOTS == 0)
                    plb_store_slot(to, from_own, slot);
                else if (k * STEP < to.left)
                    plb_store_words(to.own + k * STEP, slot.bits);
            }
    }
};

#endif
