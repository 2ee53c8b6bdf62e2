/*
 * Rows in slots of four elements, whatever their alignment.
 *
 * Element i of a row belongs to slot i / 4, and one lane has a slot, wherever the row lies in memory.  So the order of
 * every sum, and the bits of every result, do not depend on the address of the row.  Loads and stores move four
 * elements at a time, even for rows that begin in the middle of an aligned piece of memory: see cut_rows.cuh for rows
 * in registers and lane_rows.cuh for rows in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_SLOTS_H
#define PLB_CUDA_SLOTS_H

#include "core/cuda.cuh"

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

/* The type that kernels compute in. */
template <typename T> struct plb_real_of {
    typedef float type;
};

template <> struct plb_real_of<double> {
    typedef double type;
};

template <typename T> using plb_real = typename plb_real_of<T>::type;

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

/*
 * Loads the words if `loads`, else leaves them as they are.  The predicate is in the assembly: nvcc gives a load in a
 * branch other registers, and waits for the load to copy them before it issues the next load.
 */
PLB_DEVICE void plb_load_words_if(bool loads, const void *at, plb_words<4> *words)
{
#ifdef __CUDA_ARCH__
    asm volatile("{\n\t.reg .pred loads;\n\tsetp.ne.u32 loads, %5, 0;\n\t"
                 "@loads ld.global.v4.u32 {%0, %1, %2, %3}, [%4];\n\t}"
                 : "+r"(words->word[0]), "+r"(words->word[1]), "+r"(words->word[2]), "+r"(words->word[3])
                 : "l"(at), "r"((unsigned)loads));
#else
    if (loads)
        *words = plb_load_words(at, (plb_words<4> *)NULL);
#endif
}

PLB_DEVICE void plb_load_words_if(bool loads, const void *at, plb_words<2> *words)
{
#ifdef __CUDA_ARCH__
    asm volatile("{\n\t.reg .pred loads;\n\tsetp.ne.u32 loads, %3, 0;\n\t"
                 "@loads ld.global.v2.u32 {%0, %1}, [%2];\n\t}"
                 : "+r"(words->word[0]), "+r"(words->word[1])
                 : "l"(at), "r"((unsigned)loads));
#else
    if (loads)
        *words = plb_load_words(at, (plb_words<2> *)NULL);
#endif
}

PLB_DEVICE void plb_store_words(void *at, const plb_words<4> &words)
{
    *(uint4 *)at = make_uint4(words.word[0], words.word[1], words.word[2], words.word[3]);
}

PLB_DEVICE void plb_store_words(void *at, const plb_words<2> &words)
{
    *(uint2 *)at = make_uint2(words.word[0], words.word[1]);
}

/* ---- slots ---- */

/* A slot as words and as elements. */
template <typename T> union plb_slot_bits {
    typedef plb_words<sizeof(T) <= 4 ? sizeof(T) : 8> words;
    words bits;
    T element[PLB_SLOT];
    PLB_DEVICE plb_slot_bits() : bits()
    {
    }
};

/* The values of a slot's elements, exact in all dtypes. */
template <typename T, typename real>
PLB_DEVICE void plb_open_slot(const plb_slot_bits<T> &slot, real (&value)[PLB_SLOT])
{
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        value[e] = plb_widen(slot.element[e]);
}

/* A bfloat16 is the upper half of a float.  This is one instruction a value; nvcc would first extract the upper one. */
PLB_DEVICE void plb_open_slot(const plb_slot_bits<__nv_bfloat16> &slot, float (&value)[PLB_SLOT])
{
#pragma unroll
    for (int i = 0; i < PLB_SLOT / 2; i++) {
        value[2 * i] = __uint_as_float(slot.bits.word[i] << 16);
        value[2 * i + 1] = __uint_as_float(slot.bits.word[i] & 0xffff0000u);
    }
}

/* Rounds values to a slot's elements, once, to nearest even. */
PLB_DEVICE void plb_close_slot(plb_slot_bits<float> *slot, const float (&value)[PLB_SLOT])
{
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        slot->element[e] = value[e];
}

PLB_DEVICE void plb_close_slot(plb_slot_bits<double> *slot, const double (&value)[PLB_SLOT])
{
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        slot->element[e] = value[e];
}

PLB_DEVICE void plb_close_slot(plb_slot_bits<__half> *slot, const float (&value)[PLB_SLOT])
{
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e += 2) {
        const __half2 pair = __floats2half2_rn(value[e], value[e + 1]); /* one instruction for both */
        slot->element[e] = pair.x;
        slot->element[e + 1] = pair.y;
    }
}

PLB_DEVICE void plb_close_slot(plb_slot_bits<__nv_bfloat16> *slot, const float (&value)[PLB_SLOT])
{
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e += 2) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(value[e], value[e + 1]);
        slot->element[e] = pair.x;
        slot->element[e + 1] = pair.y;
    }
}

/* Bits of -inf, which need no conversion. */
PLB_DEVICE unsigned plb_infinity_word(const float *, int)
{
    return 0xff800000u;
}

PLB_DEVICE unsigned plb_infinity_word(const __half *, int)
{
    return 0xfc00fc00u;
}

PLB_DEVICE unsigned plb_infinity_word(const __nv_bfloat16 *, int)
{
    return 0xff80ff80u;
}

PLB_DEVICE unsigned plb_infinity_word(const double *, int i)
{
    return i % 2 ? 0xfff00000u : 0u;
}

/* Sets every element to -inf or 0. */
template <typename T> PLB_DEVICE void plb_fill_slot(plb_slot_bits<T> *slot, bool with_infinity)
{
#pragma unroll
    for (int i = 0; i < (int)(sizeof slot->bits / sizeof *slot->bits.word); i++)
        slot->bits.word[i] = with_infinity ? plb_infinity_word((const T *)NULL, i) : 0u;
}

#endif
