/*
 * Rows as the lanes of a team see them, and slots of rows walked in memory.
 *
 * A slot is loaded as the two aligned pieces that it straddles, of which the second is in the L1 cache as the
 * neighbour's first, and stored as pieces that each lane puts together from its own slot and that of the lane before
 * it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LANE_ROWS_H
#define PLB_CUDA_LANE_ROWS_H

#include "loss/cut.cuh"

/*
 * A row as one lane of a team sees it.  Classes are counted from the first one of the lane, so that what a thread adds
 * to an address or compares a number with is known when the kernel is compiled.
 */
template <typename T, typename Count> struct plb_lane_row {
    T *own;        /* the lane's first slot */
    Count left;    /* classes from there to the end of the row; less than 1 past the end */
    int shift;     /* elements between the row and the aligned address before it */
    bool is_first; /* the lane's first slot is the row's */
};

/* Hides from nvcc how an address came about: what is added to it then is part of each instruction. */
template <typename T> PLB_DEVICE T *plb_as_is(T *address)
{
#ifdef __CUDA_ARCH__
    asm("" : "+l"(address));
    __builtin_assume(__isGlobal(address));
#endif
    return address;
}

/* A row of no classes is one of which nothing is loaded or stored. */
template <typename T, typename Count>
PLB_DEVICE plb_lane_row<T, Count> plb_lane_row_of(char *row, int lane, int classes)
{
    plb_lane_row<T, Count> of_lane;
    of_lane.own = (T *)row + lane * PLB_SLOT;
    of_lane.left = (Count)classes - lane * PLB_SLOT;
    of_lane.shift = (int)((unsigned long long)row % (PLB_SLOT * sizeof(T)) / sizeof(T));
    of_lane.is_first = lane == 0;
    return of_lane;
}

/* Whether a slot lies in whole pieces of the row. */
template <typename T, typename Count> PLB_DEVICE bool plb_is_inside(const plb_lane_row<T, Count> &row, Count from_own)
{
    return sizeof(T) <= 4 && (from_own > 0 || !row.is_first || row.shift == 0) &&
           row.left + row.shift - (row.shift ? 2 : 1) * PLB_SLOT >= from_own;
}

/*
 * Loads a piece for its elements from `begin` to before `end`.  The others are another lane's: if it has written
 * gradients there by now, as many bits of them may be found as not, and none is looked at.
 */
template <typename T>
PLB_DEVICE typename plb_slot_bits<T>::words plb_load_piece(const T *piece, [[maybe_unused]] int begin,
                                                           [[maybe_unused]] int end)
{
    typedef typename plb_slot_bits<T>::words words;
#ifndef __CUDA_ARCH__
    if (begin > 0 || end < PLB_SLOT) { /* the others are NaN; where races are watched, nobody reads them */
        plb_slot_bits<T> slot;
        for (unsigned &word : slot.bits.word)
            word = 0xffffffffu;
#ifdef __SANITIZE_THREAD__
        const T *const all = piece;
#else
        plb_slot_bits<T> whole;
        whole.bits = plb_load_words(piece, (words *)NULL);
        const T *const all = whole.element;
#endif
        for (int e = begin; e < end; e++)
            slot.element[e] = all[e];
        return slot.bits;
    }
#endif
    return plb_load_words(piece, (words *)NULL);
}

/* The same where `asks`, of as many elements as a piece has; elsewhere bits stay as they are. */
template <typename T>
PLB_DEVICE void plb_load_piece_if(bool asks, const T *piece, [[maybe_unused]] int begin, [[maybe_unused]] int end,
                                  plb_slot_bits<T> *slot)
{
#ifdef __CUDA_ARCH__
    plb_load_words_if(asks, piece, &slot->bits);
#else
    if (asks)
        slot->bits = plb_load_piece(piece, begin, end < PLB_SLOT ? end : PLB_SLOT);
#endif
}

/*
 * Loads the slot that begins `from_own` classes after the lane's first.  Elements past the end of the row stay as they
 * are.
 */
template <typename T, typename Count>
PLB_DEVICE void plb_load_slot(plb_slot_bits<T> *slot, const plb_lane_row<T, Count> &row, Count from_own)
{
    if constexpr (sizeof(T) <= 4) {
        if (plb_is_inside(row, from_own)) {
            const T *const piece = row.own - row.shift + from_own;
            slot->bits = plb_load_piece(piece, row.shift, PLB_SLOT);
            if (row.shift)
                slot->bits = plb_cut(slot->bits, plb_load_piece(piece + PLB_SLOT, 0, row.shift), row.shift);
            return;
        }
    }
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        if (from_own + e < row.left)
            slot->element[e] = row.own[from_own + e];
}

/*
 * Stores a slot, all lanes of a warp together.  Each lane stores the aligned piece in which its slot begins, and for
 * that gets from the lane before what lies before its slot; what lies in no whole piece, or before the first lane's, is
 * stored element by element.
 */
template <typename T, typename Count>
PLB_DEVICE void plb_store_slot(const plb_lane_row<T, Count> &row, Count from_own, const plb_slot_bits<T> &slot)
{
    const int lane = (int)threadIdx.x % 32;
    bool is_whole = false, next_is_whole = false;
    if constexpr (sizeof(T) <= 4) {
        const bool shifted = row.shift != 0;
        typename plb_slot_bits<T>::words before; /* or, where nothing is to be shifted, the slot itself */
#pragma unroll
        for (int i = 0; i < (int)(sizeof before / sizeof *before.word); i++)
            before.word[i] = __shfl_sync(0xffffffffu, slot.bits.word[i], lane - shifted);
        is_whole = (lane > 0 || !shifted) && row.left + row.shift - PLB_SLOT >= from_own;
        next_is_whole = lane < 31 && row.left + row.shift - 2 * PLB_SLOT >= from_own;
        __syncwarp(); /* in place of logits: the lane before has read what it needs of this piece */
        if (is_whole)
            plb_store_words(row.own - row.shift + from_own,
                            plb_cut(before, slot.bits, (PLB_SLOT - row.shift) % PLB_SLOT));
        if (is_whole && (!shifted || next_is_whole))
            return;
    }
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        if (from_own + e < row.left && !(e < PLB_SLOT - row.shift ? is_whole : next_is_whole))
            row.own[from_own + e] = slot.element[e];
}

#endif
