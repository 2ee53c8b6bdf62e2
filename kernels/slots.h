/*
 * Rows in slots of four elements, whatever their alignment.  SPDX-License-Identifier: Apache-2.0
 *
 * Element i of a row belongs to slot i / 4, and a slot to one lane, wherever the row lies in memory: the order of every
 * sum, and so the bits of a row, do not depend on its address.  Memory is nevertheless touched four elements at a time.
 * A row of 197 floats begins where the one before it ended, mostly in the middle of an aligned piece of memory.  Its
 * slots are then loaded as the two pieces that they straddle, of which the second is in the L1 cache as the neighbour's
 * first, and stored as pieces that each lane puts together from its own slot and that of the lane before it.
 */
#ifndef PLB_CUDA_SLOTS_H
#define PLB_CUDA_SLOTS_H

#include "cuda.h"

#include <math.h>

enum { PLB_SLOT = 4 };

PLB_DEVICE float plb_widen(float x)
{
    return x;
}

PLB_DEVICE double plb_widen(double x)
{
    return x;
}

PLB_DEVICE float plb_widen(__half x)
{
    return __half2float(x);
}

PLB_DEVICE float plb_widen(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

PLB_DEVICE void plb_narrow(float *to, float x)
{
    *to = x;
}

PLB_DEVICE void plb_narrow(double *to, double x)
{
    *to = x;
}

PLB_DEVICE void plb_narrow(__half *to, float x)
{
    *to = __float2half_rn(x);
}

PLB_DEVICE void plb_narrow(__nv_bfloat16 *to, float x)
{
    *to = __float2bfloat16_rn(x);
}

/* ---- four elements as words of 32 bits ---- */

template <int SIZE> struct plb_words {
    unsigned word[SIZE];
};

PLB_DEVICE plb_words<4> plb_load_words(const void *at, plb_words<4> *)
{
    const uint4 bits = *(const uint4 *)at;
    return plb_words<4>{{bits.x, bits.y, bits.z, bits.w}};
}

PLB_DEVICE plb_words<2> plb_load_words(const void *at, plb_words<2> *)
{
    const uint2 bits = *(const uint2 *)at;
    return plb_words<2>{{bits.x, bits.y}};
}

PLB_DEVICE void plb_store_words(void *at, const plb_words<4> &words)
{
    *(uint4 *)at = make_uint4(words.word[0], words.word[1], words.word[2], words.word[3]);
}

PLB_DEVICE void plb_store_words(void *at, const plb_words<2> &words)
{
    *(uint2 *)at = make_uint2(words.word[0], words.word[1]);
}

/* The four elements that begin `offset` elements, 0 to 3, into the eight of a and b. */
PLB_DEVICE plb_words<4> plb_cut(const plb_words<4> &a, const plb_words<4> &b, int offset)
{
    plb_words<4> cut;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const unsigned at_0 = a.word[i], at_1 = i < 3 ? a.word[i + 1] : b.word[0];
        const unsigned at_2 = i < 2 ? a.word[i + 2] : b.word[i - 2], at_3 = i < 1 ? a.word[3] : b.word[i - 1];
        cut.word[i] = offset < 2 ? (offset == 0 ? at_0 : at_1) : (offset == 2 ? at_2 : at_3);
    }
    return cut;
}

PLB_DEVICE plb_words<2> plb_cut(const plb_words<2> &a, const plb_words<2> &b, int offset)
{
    const bool by_word = offset >= 2;
    const unsigned first = by_word ? a.word[1] : a.word[0], second = by_word ? b.word[0] : a.word[1];
    const unsigned third = by_word ? b.word[1] : b.word[0];
    const unsigned bits = offset % 2 * 16;
    return plb_words<2>{{__funnelshift_r(first, second, bits), __funnelshift_r(second, third, bits)}};
}

/* ---- rows ---- */

template <typename T> struct plb_slotted {
    T *row;
    int classes;
    int shift; /* elements between the row and the aligned address before it */
};

template <typename T> PLB_DEVICE plb_slotted<T> plb_slots_of(char *row, int classes)
{
    plb_slotted<T> slotted;
    slotted.row = (T *)row;
    slotted.classes = classes;
    slotted.shift = (int)((unsigned long long)row % (PLB_SLOT * sizeof(T)) / sizeof(T));
    return slotted;
}

/* What counts the elements of rows that fit in registers, and of others: 64 bits take instructions more. */
template <bool FITS> struct plb_slot_index {
    typedef int type;
};

template <> struct plb_slot_index<false> {
    typedef long long type;
};

/* The memory of a slot, on its way. */
template <typename T> union plb_slot_bits {
    typedef plb_words<sizeof(T) <= 4 ? sizeof(T) : 8> words;
    words bits;
    T element[PLB_SLOT];
    PLB_DEVICE plb_slot_bits() : bits()
    {
    }
};

/* Whether slot `s` lies in whole pieces of the row. */
template <typename T, typename Index> PLB_DEVICE bool plb_is_inside(const plb_slotted<T> &row, Index s)
{
    const Index begin = s * PLB_SLOT - row.shift;
    return sizeof(T) <= 4 && begin >= 0 && begin + (row.shift ? 2 : 1) * PLB_SLOT <= row.classes;
}

/*
 * Asks for slot `s`.  Slots are opened only when all of them have been asked for: a value that is looked at is waited
 * for, and one wait at a time would be a trip to memory for each.
 */
template <typename T, typename Index>
PLB_DEVICE void plb_fetch_slot(plb_slot_bits<T> *slot, const plb_slotted<T> &row, Index s)
{
    if constexpr (sizeof(T) <= 4)
        if (plb_is_inside(row, s))
            slot->bits = plb_load_words(row.row + (s * PLB_SLOT - row.shift), (typename plb_slot_bits<T>::words *)NULL);
}

/* The values of a slot that was asked for; elements past the end of the row are -inf. */
template <typename T, typename real, typename Index>
PLB_DEVICE void plb_open_slot(real (&value)[PLB_SLOT], plb_slot_bits<T> slot, const plb_slotted<T> &row, Index s)
{
    const Index first = s * PLB_SLOT;
    if constexpr (sizeof(T) <= 4) {
        if (plb_is_inside(row, s)) {
            if (row.shift) /* the second piece is in the L1 cache, as a neighbour's first */
                slot.bits = plb_cut(
                    slot.bits,
                    plb_load_words(row.row + (first - row.shift + PLB_SLOT), (typename plb_slot_bits<T>::words *)NULL),
                    row.shift);
#pragma unroll
            for (int e = 0; e < PLB_SLOT; e++)
                value[e] = (real)plb_widen(slot.element[e]);
            return;
        }
    }
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        value[e] = first + e < row.classes ? (real)plb_widen(row.row[first + e]) : -(real)INFINITY;
}

/*
 * Stores slot `s`, all lanes of a warp together, lane l with a slot l above that of lane 0.  Lane l stores the aligned
 * piece in which its slot begins, but for lane 0, which does not have the elements before; what lies in no whole piece
 * is stored element by element.
 */
template <typename T, typename real, typename Index>
PLB_DEVICE void plb_store_slot(const plb_slotted<T> &row, Index s, const real (&value)[PLB_SLOT])
{
    plb_slot_bits<T> slot;
    const int lane = (int)threadIdx.x % 32;
    const Index first = s * PLB_SLOT, begin = first - row.shift;
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        plb_narrow(&slot.element[e], value[e]);

    bool is_whole = false, next_is_whole = false;
    if constexpr (sizeof(T) <= 4) {
        const bool shifted = row.shift != 0;
        is_whole = (lane > 0 || !shifted) && begin + PLB_SLOT <= row.classes;
        next_is_whole = lane < 31 && begin + 2 * PLB_SLOT <= row.classes;
        typename plb_slot_bits<T>::words piece = slot.bits;
        if (shifted) {
            typename plb_slot_bits<T>::words before;
#pragma unroll
            for (int i = 0; i < (int)(sizeof piece / sizeof *piece.word); i++)
                before.word[i] = __shfl_up_sync(0xffffffffu, slot.bits.word[i], 1);
            piece = plb_cut(before, slot.bits, PLB_SLOT - row.shift);
        }
        if (is_whole)
            plb_store_words(row.row + begin, piece);
    }
    if (is_whole && (row.shift == 0 || next_is_whole))
        return;
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        if (first + e < row.classes && !(e < PLB_SLOT - row.shift ? is_whole : next_is_whole))
            row.row[first + e] = slot.element[e];
}

#endif
