/*
 * A lane's view of a row, and the slots of rows that are walked in memory.
 *
 * A lane loads a slot as the two aligned pieces that it straddles.  The second piece is the next lane's first one, so
 * it is in the L1 cache.  A lane stores the piece that it puts together from its own slot and the slot of the lane
 * before it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LANE_ROWS_H
#define PLB_CUDA_LANE_ROWS_H

#include "loss/cut.cuh"

/*
 * A lane's view of a row.  Classes are counted from the lane's first one, so that offsets and the numbers to compare
 * with are constants of the compiled kernel.
 */
template <typename T, typename Count> struct plb_lane_row {
    T *own;        /* the lane's first slot */
    Count left;    /* classes from there to the end of the row; less than 1 past the end */
    int shift;     /* elements from the aligned address before the row to the row */
    bool is_first; /* the lane's first slot is the row's */
};

/* Hides the origin of an address from nvcc, so that an offset to it is part of each load or store. */
template <typename T> PLB_DEVICE T *plb_opaque(T *address)
{
#ifdef __CUDA_ARCH__
    asm("" : "+l"(address));
    __builtin_assume(__isGlobal(address));
#endif
    return address;
}

/* With 0 classes nothing of the row is loaded or stored. */
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

/* Whether the row covers all pieces that the slot lies in. */
template <typename T, typename Count> PLB_DEVICE bool plb_is_inside(const plb_lane_row<T, Count> &row, Count from_own)
{
    return sizeof(T) <= 4 && (from_own > 0 || !row.is_first || row.shift == 0) &&
           row.left + row.shift - (row.shift ? 2 : 1) * PLB_SLOT >= from_own;
}

/*
 * Loads a piece for its elements in [begin, end).  The other elements belong to another lane, which may be storing
 * gradients there.  The load may see any of those bits, and nobody uses them.
 */
template <typename T>
PLB_DEVICE typename plb_slot_bits<T>::words plb_load_piece(const T *piece, [[maybe_unused]] int begin,
                                                           [[maybe_unused]] int end)
{
    typedef typename plb_slot_bits<T>::words words;
#ifndef __CUDA_ARCH__
    if (begin > 0 || end < PLB_SLOT) { /* the others become NaN; under ThreadSanitizer they are not even read */
        plb_slot_bits<T> slot;
        for (unsigned &word : slot.bits.word)
            word = 0xffffffffu;
#ifdef __SANITIZE_THREAD__
        const T *const all = piece;
#else
        plb_slot_bits<T> loaded;
        loaded.bits = plb_load_words(piece, (words *)NULL);
        const T *const all = loaded.element;
#endif
        for (int e = begin; e < end; e++)
            slot.element[e] = all[e];
        return slot.bits;
    }
#endif
    return plb_load_words(piece, (words *)NULL);
}

/* The same if `loads`, with `end` cut down to the size of a piece; else bits stay as they are. */
template <typename T>
PLB_DEVICE void plb_load_piece_if(bool loads, const T *piece, [[maybe_unused]] int begin, [[maybe_unused]] int end,
                                  plb_slot_bits<T> *slot)
{
#ifdef __CUDA_ARCH__
    plb_load_words_if(loads, piece, &slot->bits);
#else
    if (loads)
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
 * Stores a slot.  All lanes of a warp call this together.  Each lane stores the aligned piece in which its slot begins,
 * and gets the elements before its slot from the lane before.  Elements that lie in an incomplete piece, or before the
 * first lane's piece, are stored one by one.
 */
template <typename T, typename Count>
PLB_DEVICE void plb_store_slot(const plb_lane_row<T, Count> &row, Count from_own, const plb_slot_bits<T> &slot)
{
    const int lane = (int)threadIdx.x % 32;
    bool is_complete = false, next_is_complete = false;
    if constexpr (sizeof(T) <= 4) {
        const bool shifted = row.shift != 0;
        typename plb_slot_bits<T>::words before; /* the slot of the lane before; without a shift, this slot */
#pragma unroll
        for (int i = 0; i < (int)(sizeof before / sizeof *before.word); i++)
            before.word[i] = __shfl_sync(0xffffffffu, slot.bits.word[i], lane - shifted);
        is_complete = (lane > 0 || !shifted) && row.left + row.shift - PLB_SLOT >= from_own;
        next_is_complete = lane < 31 && row.left + row.shift - 2 * PLB_SLOT >= from_own;
        __syncwarp(); /* gradients may replace logits in place: the lane before has read its part of this piece */
        if (is_complete)
            plb_store_words(row.own - row.shift + from_own,
                            plb_cut(before, slot.bits, (PLB_SLOT - row.shift) % PLB_SLOT));
        if (is_complete && (!shifted || next_is_complete))
            return;
    }
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        if (from_own + e < row.left && !(e < PLB_SLOT - row.shift ? is_complete : next_is_complete))
            row.own[from_own + e] = slot.element[e];
}

#endif
