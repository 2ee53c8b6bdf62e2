/*
 * Rows at any address.
 *
 * A row of 197 floats begins where the row before it ended, mostly in the middle of an aligned piece of memory.  Each
 * lane loads and stores complete aligned pieces.  A slot is cut out of two of them: the lane's own piece and the next
 * lane's, which comes by a shuffle or, from another warp, by shared memory.  If all rows of a warp have the same
 * distance from an aligned address, the cut is a constant of the compiled code; pass.cuh gives a warp such rows.
 *
 * The pieces at the ends of a row have elements of other rows too.  They are loaded completely, unless they may lie
 * beyond the end of the memory, and are stored element by element.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_CUT_ROWS_H
#define PLB_CUDA_CUT_ROWS_H

#include "loss/lane_rows.cuh"
#include "loss/team.cuh"

template <typename T, int LANES, int SLOTS> struct plb_cut_row {
    typedef plb_lane_row<T, int> lane_row;
    typedef plb_slot_bits<T> slot;
    typedef typename slot::words words;
    enum {
        STEP = LANES * PLB_SLOT,
        WIDTH = LANES < 32 ? LANES : 32,
        WARPS = LANES / WIDTH,
        WORDS = sizeof(words) / sizeof(unsigned),
        IN_WORD = PLB_SLOT / WORDS /* elements */
    };
    typename plb_seams_of<T, LANES, SLOTS, true>::type *seams;

    PLB_DEVICE static int lane()
    {
        return plb_team_lane<LANES>() % WIDTH;
    }

    /* Words FIRST to END - 1 of another lane's piece; the others are not used. */
    template <int FIRST, int END> PLB_DEVICE static words from_lane(const words &of, int source)
    {
        words all = of;
#pragma unroll
        for (int i = FIRST; i < END; i++)
            all.word[i] = __shfl_sync(0xffffffffu, of.word[i], source, WIDTH);
        return all;
    }

    PLB_DEVICE static words choose(bool a_not_b, const words &a, const words &b)
    {
        words chosen;
#pragma unroll
        for (int i = 0; i < WORDS; i++)
            chosen.word[i] = a_not_b ? a.word[i] : b.word[i];
        return chosen;
    }

    /* The shift that all rows of the warp have in common, or PLB_ANY_SHIFT. */
    PLB_DEVICE static int shift_of_warp(int shift)
    {
        if constexpr (WIDTH == 32)
            return shift;
        else
            return __all_sync(0xffffffffu, shift == __shfl_sync(0xffffffffu, shift, 0)) ? shift : PLB_ANY_SHIFT;
    }

    /* Calls act(known), where known.shift is the constant shift of all rows of the warp, or PLB_ANY_SHIFT. */
    template <typename Act> PLB_DEVICE static void by_shift(int shift, Act act)
    {
        switch (shift_of_warp(shift)) {
        case 0:
            return act(plb_known_shift<0>());
        case 1:
            return act(plb_known_shift<1>());
        case 2:
            return act(plb_known_shift<2>());
        case 3:
            return act(plb_known_shift<3>());
        default:
            return act(plb_known_shift<PLB_ANY_SHIFT>());
        }
    }

    /* Whether a row can end before slot k + 1 of a lane begins. */
    PLB_DEVICE static constexpr bool may_end(int k)
    {
        return (k + 1) * STEP > plb_classes_before<LANES, SLOTS>() + 1;
    }

    /* Whether the row has element e of the piece in which slot k of the lane begins. */
    PLB_DEVICE static bool is_of_row(const lane_row &row, int k, int e)
    {
        return k * STEP + e - row.shift < row.left && (k > 0 || !row.is_first || e >= row.shift);
    }

    /*
     * Starts to load the row; `bits` become its pieces.  A row of no classes is a row of zeros.  `is_inside`: the
     * tensor has all elements of the row's last piece.  (Allocations begin at multiples of the size of a piece.)
     */
    PLB_DEVICE void load(const lane_row &row, int classes, bool is_inside, slot (&bits)[SLOTS + 1])
    {
        const T *const pieces = plb_opaque(row.own - row.shift);
        /* from the lane's first piece to the end of the row, or of its last complete piece */
        const int length = classes ? row.left + row.shift - (is_inside ? 0 : PLB_SLOT - 1) : 0;
#pragma unroll
        for (int k = 0; k <= SLOTS; k++) {
            plb_fill_slot(&bits[k], false);
            if (k == SLOTS && plb_team_lane<LANES>() != 0)
                break;
            plb_load_piece_if(k * STEP < length, pieces + k * STEP, k == 0 && row.is_first ? row.shift : 0,
                              row.left + row.shift - k * STEP, &bits[k]);
        }
        if (is_inside || !classes)
            return;
#pragma unroll
        for (int k = 0; k <= SLOTS; k++)
            if (may_end(k) && k * STEP >= length)
#pragma unroll
                for (int e = 0; e < PLB_SLOT; e++)
                    if (is_of_row(row, k, e))
                        bits[k].element[e] = pieces[k * STEP + e];
    }

    /*
     * Waits for the row, and converts it.  It has `classes`, which is `length` or 0; `length` is the same for all
     * lanes.  Values past its end are -inf.
     */
    PLB_DEVICE void open(const lane_row &row, int classes, int length, slot (&bits)[SLOTS + 1],
                         plb_real<T> (&value)[SLOTS][PLB_SLOT])
    {
        const int own = plb_team_lane<LANES>();
        if constexpr (WARPS > 1)
            if (row.shift) { /* all warps have the same row */
#pragma unroll
                for (int k = 0; k <= SLOTS; k++)
                    if (lane() == 0 && k * WARPS + own / WIDTH <= SLOTS * WARPS)
                        seams->load[k * WARPS + own / WIDTH] = bits[k].bits;
                PLB_BARRIER();
            }
        by_shift(row.shift, [&]([[maybe_unused]] auto known) { open_by<known.shift>(row.shift, bits, value); });
        const plb_real<T> beyond = classes ? -(plb_real<T>)INFINITY : (plb_real<T>)0;
        const int left = length - own * PLB_SLOT;
#pragma unroll
        for (int k = 0; k < SLOTS; k++)
            if (may_end(k) && (k + 1) * STEP > length) /* for all lanes or none */
#pragma unroll
                for (int e = 0; e < PLB_SLOT; e++)
                    value[k][e] = k * STEP + e < left ? value[k][e] : beyond;
    }

    template <int SHIFT>
    PLB_DEVICE void open_by(int shift, const slot (&bits)[SLOTS + 1], plb_real<T> (&value)[SLOTS][PLB_SLOT])
    {
        enum { END = SHIFT == PLB_ANY_SHIFT ? WORDS : (SHIFT + IN_WORD - 1) / IN_WORD };
        const int warp = plb_team_lane<LANES>() / WIDTH;
        words of_next = from_lane<0, END>(bits[0].bits, lane() + 1);
#pragma unroll
        for (int k = 0; k < SLOTS; k++) { /* the piece after the last lane's is lane 0's, one slot later */
            const words following = from_lane<0, END>(bits[k + 1].bits, lane() + 1);
            words next = of_next;
            if constexpr (WARPS > 1 && SHIFT != 0) {
                if (lane() == WIDTH - 1)
                    next = seams->load[k * WARPS + warp + 1];
            } else
                next = choose(lane() < WIDTH - 1, of_next, following);
            of_next = following;
            slot mine;
            mine.bits = plb_cut_by<SHIFT>(bits[k].bits, next, shift);
            plb_open_slot(mine, value[k]);
        }
    }

    /* Stores a row of `classes`, which is `length` or 0. */
    PLB_DEVICE void store(const lane_row &to, int classes, int length, const plb_real<T> (&value)[SLOTS][PLB_SLOT])
    {
        slot slots[SLOTS + 1];
#pragma unroll
        for (int k = 0; k < SLOTS; k++)
            plb_close_slot(&slots[k], value[k]);
        if constexpr (WARPS > 1)
            if (to.shift) {
#pragma unroll
                for (int k = 0; k < SLOTS; k++)
                    if (lane() == WIDTH - 1)
                        seams->store[k * WARPS + plb_team_lane<LANES>() / WIDTH + 1] = slots[k].bits;
                PLB_BARRIER();
            }
        T *const pieces = plb_opaque(to.own - to.shift);
        const int end = classes + to.shift, last = (end - 1) / PLB_SLOT; /* the piece in which the row ends */
        slot ends[2]; /* the first and the last piece, in the lanes that have them */
        by_shift(to.shift,
                 [&]([[maybe_unused]] auto known) { store_by<known.shift>(to, pieces, last, length, slots, ends); });
        if (to.is_first && to.shift)
#pragma unroll
            for (int e = 1; e < PLB_SLOT; e++)
                if (e >= to.shift && e < end)
                    pieces[e] = ends[0].element[e];
        if (last % LANES == plb_team_lane<LANES>() && (last > 0 || !to.shift))
#pragma unroll
            for (int e = 0; e < PLB_SLOT - 1; e++)
                if (e < end % PLB_SLOT)
                    pieces[last / LANES * STEP + e] = ends[1].element[e];
    }

    template <int SHIFT>
    PLB_DEVICE void store_by(const lane_row &to, T *pieces, int last, int length, const slot (&slots)[SLOTS + 1],
                             slot (&ends)[2])
    {
        enum {
            FIRST = SHIFT == PLB_ANY_SHIFT ? 0 : WORDS - (SHIFT + IN_WORD - 1) / IN_WORD,
            CUT = SHIFT == PLB_ANY_SHIFT ? SHIFT : (PLB_SLOT - SHIFT) % PLB_SLOT
        };
        const bool is_cut = SHIFT == PLB_ANY_SHIFT ? to.shift != 0 : SHIFT != 0;
        const int source = is_cut ? lane() + WIDTH - 1 : lane(); /* the lane before */
        const int own = plb_team_lane<LANES>(), warp = own / WIDTH, last_complete = to.left + to.shift - PLB_SLOT;
        words of_last = slots[0].bits; /* the last lane's, one slot earlier */
#pragma unroll
        for (int k = 0; k <= SLOTS; k++) {
            if (k == SLOTS && SLOTS * STEP - length >= PLB_SLOT - 1) /* no row ends in this piece */
                break;
            const words of_before = k < SLOTS ? from_lane<FIRST, WORDS>(slots[k].bits, source) : of_last;
            words before = of_before;
            if constexpr (WARPS > 1) {
                if (is_cut && lane() == 0 && k * WARPS + warp <= SLOTS * WARPS)
                    before = seams->store[k * WARPS + warp];
            } else if (is_cut)
                before = choose(lane() > 0, of_before, of_last);
            of_last = of_before;
            slot cut;
            cut.bits = plb_cut_by<CUT>(before, slots[k].bits, (PLB_SLOT - to.shift) % PLB_SLOT);
            if (k * STEP <= last_complete && (k > 0 || !to.is_first || to.shift == 0))
                plb_store_words(pieces + k * STEP, cut.bits);
            if (k == 0)
                ends[0] = cut;
            if (may_end(k))
                ends[1].bits = choose(last - own == k * LANES, cut.bits, ends[1].bits);
        }
    }
};

#endif
