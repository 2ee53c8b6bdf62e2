/*
 * Rows in pieces of 16 bytes, whatever their alignment.  SPDX-License-Identifier: Apache-2.0
 *
 * A row of 197 floats begins where the one before it ended, so most rows begin in the middle of an aligned 16-byte slot.
 * A row is therefore counted in the slots of memory that it touches: whole slots are loaded and stored at full width, and
 * only the first and the last element by element.  Element i of the row is element `shift` + i of the slots.
 * Rows have fewer than 2^31 - 4096 elements, so that counting past the end does not overflow.
 */
#ifndef PLB_CUDA_SLOTS_H
#define PLB_CUDA_SLOTS_H

#include "cuda.h"

#include <math.h>

template <typename T> struct plb_slot {
    enum { WIDTH = 16 / sizeof(T) };
};

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

/* 16 bytes as elements. */
template <typename T> union plb_slot_bits {
    uint4 bits;
    T element[plb_slot<T>::WIDTH];
    PLB_DEVICE plb_slot_bits() : bits() {}
};

/* A row of n elements at `row`, and the slots it touches. */
template <typename T> struct plb_slotted {
    T *slots;  /* the first slot, aligned to 16 bytes */
    int shift; /* elements of it that are before the row */
    int end;   /* one past the row's last element, counted from slots[0] */
};

template <typename T> PLB_DEVICE plb_slotted<T> plb_slots_of(char *row, int n)
{
    plb_slotted<T> slotted;
    const int below = (int)((unsigned long long)row % 16);
    slotted.slots = (T *)(row - below);
    slotted.shift = below / (int)sizeof(T);
    slotted.end = slotted.shift + n;
    return slotted;
}

/* Slot `s` of a row; elements that are not of the row are -inf. */
template <typename T, typename real>
PLB_DEVICE void plb_load_slot(real (&value)[plb_slot<T>::WIDTH], const plb_slotted<T> &row, int s)
{
    const int first = s * plb_slot<T>::WIDTH;
    if (first >= row.shift && first + plb_slot<T>::WIDTH <= row.end) {
        plb_slot_bits<T> slot;
        slot.bits = *(const uint4 *)(row.slots + first);
#pragma unroll
        for (int e = 0; e < plb_slot<T>::WIDTH; e++)
            value[e] = plb_widen(slot.element[e]);
        return;
    }
#pragma unroll
    for (int e = 0; e < plb_slot<T>::WIDTH; e++)
        value[e] = first + e >= row.shift && first + e < row.end ? (real)plb_widen(row.slots[first + e]) : -(real)INFINITY;
}

/* Stores what is of the row. */
template <typename T, typename real>
PLB_DEVICE void plb_store_slot(const plb_slotted<T> &row, int s, const real (&value)[plb_slot<T>::WIDTH])
{
    const int first = s * plb_slot<T>::WIDTH;
    if (first >= row.shift && first + plb_slot<T>::WIDTH <= row.end) {
        plb_slot_bits<T> slot;
#pragma unroll
        for (int e = 0; e < plb_slot<T>::WIDTH; e++)
            plb_narrow(&slot.element[e], value[e]);
        *(uint4 *)(row.slots + first) = slot.bits;
        return;
    }
#pragma unroll
    for (int e = 0; e < plb_slot<T>::WIDTH; e++)
        if (first + e >= row.shift && first + e < row.end)
            plb_narrow(row.slots + first + e, value[e]);
}

/* Stores slot `s` of one row to another row of the same length that begins elsewhere in its slots. */
template <typename T, typename real>
PLB_DEVICE void plb_store_shifted(const plb_slotted<T> &to, const plb_slotted<T> &from, int s,
                                  const real (&value)[plb_slot<T>::WIDTH])
{
    const int first = s * plb_slot<T>::WIDTH;
#pragma unroll
    for (int e = 0; e < plb_slot<T>::WIDTH; e++)
        if (first + e >= from.shift && first + e < from.end)
            plb_narrow(to.slots + first + e - from.shift + to.shift, value[e]);
}

#endif
