/*
 * Functions that cut slots out of the pieces of memory that they lie in, for cut_rows.cuh.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_CUT_H
#define PLB_CUDA_CUT_H

#include "loss/loss.cuh"
#include "core/slots.cuh"

/* Four of the eight elements of a and b, from element `offset` on, which is 0 to 3. */
PLB_DEVICE plb_words<4> plb_cut(const plb_words<4> &a, const plb_words<4> &b, int offset)
{
    const bool by_two = offset & 2, by_one = offset & 1;
    unsigned moved[5];
#pragma unroll
    for (int i = 0; i < 5; i++) {
        const unsigned here = i < 4 ? a.word[i] : b.word[i - 4], there = i < 2 ? a.word[i + 2] : b.word[i - 2];
        moved[i] = by_two ? there : here;
    }
    plb_words<4> cut;
#pragma unroll
    for (int i = 0; i < 4; i++)
        cut.word[i] = by_one ? moved[i + 1] : moved[i];
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

enum { PLB_ANY_SHIFT = -1 };

template <int SHIFT> struct plb_known_shift {
    enum { shift = SHIFT };
};

/* The same from element SHIFT on or, with PLB_ANY_SHIFT, from element `shift` on. */
template <int SHIFT> PLB_DEVICE plb_words<4> plb_cut_by(const plb_words<4> &a, const plb_words<4> &b, int shift)
{
    if constexpr (SHIFT == PLB_ANY_SHIFT)
        return plb_cut(a, b, shift);
    else {
        plb_words<4> cut;
#pragma unroll
        for (int i = 0; i < 4; i++)
            cut.word[i] = i + SHIFT < 4 ? a.word[(i + SHIFT) & 3] : b.word[(i + SHIFT) & 3];
        return cut;
    }
}

template <int SHIFT> PLB_DEVICE plb_words<2> plb_cut_by(const plb_words<2> &a, const plb_words<2> &b, int shift)
{
    if constexpr (SHIFT == PLB_ANY_SHIFT)
        return plb_cut(a, b, shift);
    else {
        const unsigned words[] = {a.word[0], a.word[1], b.word[0], b.word[1]};
        plb_words<2> cut;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int at = i + SHIFT / 2;
            cut.word[i] = SHIFT % 2 ? __funnelshift_r(words[at & 3], words[(at + 1) & 3], 16) : words[at & 3];
        }
        return cut;
    }
}

/* The slots that the warps of a block exchange, if it is one team: one of each warp, and the one after the last. */
template <typename T, int LANES, int SLOTS> struct plb_seams {
    enum { WARPS = LANES / 32 };
    typename plb_slot_bits<T>::words load[SLOTS * WARPS + 1], store[SLOTS * WARPS + 1];
};

/* Lanes of one warp exchange slots by shuffles. */
struct plb_no_seams {
};

template <typename T, int LANES, int SLOTS, bool ARE_CUT> struct plb_seams_of {
    typedef plb_no_seams type;
};

template <typename T, int SLOTS> struct plb_seams_of<T, PLB_LOSS_THREADS, SLOTS, true> {
    typedef plb_seams<T, PLB_LOSS_THREADS, SLOTS> type;
};

/* Rows with this many lanes and slots have more classes than this: see plb_loss_of_dtype(). */
template <int LANES, int SLOTS> static __host__ __device__ constexpr int plb_classes_before()
{
    return PLB_SLOT * (LANES == 8    ? (SLOTS == 8   ? 8 * 7
                                        : SLOTS == 7 ? 8 * 4
                                                     : 0)
                       : LANES == 16 ? (SLOTS == 9   ? 16 * 8
                                        : SLOTS == 8 ? 8 * 8
                                                     : 0)
                       : LANES == 32 ? (SLOTS == 11  ? 32 * 8
                                        : SLOTS == 8 ? 32 * 6
                                        : SLOTS == 6 ? 16 * 9
                                                     : 0)
                                     : 0);
}

#endif
