/*
 * The part of a row that a lane has, in registers or in memory.  SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_ROW_WALK_H
#define PLB_CUDA_ROW_WALK_H

#include "lane_rows.h"
#include "team.h"

/* What counts classes: rows that fit in registers are short, and 64 bits take instructions more. */
template <bool FITS> struct plb_class_count {
    typedef int type;
};

template <> struct plb_class_count<false> {
    typedef long long type;
};

/*
 * The slots of a row that are this lane's.  Rows that are not read are rows of zeros.  In registers (SLOTS > 0), or one
 * at a time from memory.  PLAIN: all slots are whole and lie at multiples of their size, and nothing is to be added.
 */
template <typename T, int LANES, int SLOTS, bool PLAIN> struct plb_row_walk {
    typedef plb_real<T> real;
    typedef typename plb_class_count<(SLOTS > 0)>::type count;
    typedef plb_lane_row<T, count> lane_row;
    enum { HELD = SLOTS > 0 ? SLOTS : 1, STEP = LANES * PLB_SLOT };
    lane_row row;
    const real *bias;
    bool reads;
    plb_slot_bits<T> bits[HELD];
    real kept[HELD][PLB_SLOT];

    /* The slot that begins `from_own` classes after the lane's first, to be the k-th kept. */
    PLB_DEVICE void fetch(int k, count from_own)
    {
        plb_fill_slot(&bits[k], reads);
        if constexpr (PLAIN)
            plb_load_words_if(from_own < row.left, row.own + from_own, &bits[k].bits);
        else
            plb_fetch_slot(&bits[k], row, from_own);
    }

    PLB_DEVICE void open_slot(int k, count from_own)
    {
        if constexpr (!PLAIN)
            plb_complete_slot(&bits[k], row, from_own);
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++)
            kept[k][e] = plb_widen(bits[k].element[e]);
    }

    PLB_DEVICE void add_bias(int k, count from_own)
    {
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++)
            if (from_own + e < row.left)
                kept[k][e] += bias[from_own + e];
    }

    PLB_DEVICE void store_slot(const lane_row &to, int k, count from_own, plb_slot_bits<T> *last)
    {
        plb_slot_bits<T> slot;
        plb_close_slot(&slot, kept[k]);
        if constexpr (!PLAIN)
            plb_store_slot<(LANES < 32 ? LANES : 32)>(to, from_own, slot, last);
        else if (from_own < to.left)
            plb_store_words(to.own + from_own, slot.bits);
    }

    /* Asks memory for the row. */
    PLB_DEVICE void ask(char *at, const void *added, int classes, bool reads_row)
    {
        row = plb_lane_row_of<T, count>(at, plb_team_lane<LANES>(), reads_row ? classes : 0);
        bias = added ? (const real *)added + plb_team_lane<LANES>() * PLB_SLOT : NULL;
        reads = reads_row;
        if constexpr (SLOTS > 0)
#pragma unroll
            for (int k = 0; k < SLOTS; k++)
                fetch(k, k * STEP);
    }

    /* Waits for it. */
    PLB_DEVICE void open()
    {
        if constexpr (SLOTS > 0) {
#pragma unroll
            for (int k = 0; k < SLOTS; k++)
                open_slot(k, k * STEP);
            if (!PLAIN && bias)
#pragma unroll
                for (int k = 0; k < SLOTS; k++)
                    add_bias(k, k * STEP);
        }
    }

    /* Calls act(k, from_own, z) with the values z of each slot. */
    template <typename Act> PLB_DEVICE void walk(int classes, Act act)
    {
        if constexpr (SLOTS > 0) {
#pragma unroll
            for (int k = 0; k < SLOTS; k++)
                act(k, (count)(k * STEP), kept[k]);
        } else {
            for (count from_own = 0; from_own < classes; from_own += STEP) { /* all lanes until the last */
                fetch(0, from_own);
                open_slot(0, from_own);
                if (!PLAIN && bias)
                    add_bias(0, from_own);
                act(0, from_own, kept[0]);
            }
        }
    }

    /* Stores what is kept. */
    PLB_DEVICE void store(const lane_row &to)
    {
        plb_slot_bits<T> last;
#pragma unroll
        for (int k = 0; k < HELD; k++)
            store_slot(to, k, k * STEP, LANES <= 32 ? &last : NULL);
    }
};

#endif
