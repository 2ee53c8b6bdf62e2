/*
 * Sorting keys: in registers, in shared memory and in device memory.
 *
 * A key has a value in its upper 32 bits and the index of the value in its lower 32 bits.  So no two keys are equal,
 * and an unstable sort orders equal values by their index.  A warp sorts 256 keys in its registers, eight a thread, by
 * Batcher's bitonic merges (AFIPS 1968).  Sorted runs then merge pairwise, by the same code in shared memory and in
 * device memory: each thread finds where its eight keys of the result begin in the two runs and merges just those
 * (Odeh, Green, Mwassi, Shmueli and Birk, "Merge path", IPDPSW 2012).  The time depends on the number of keys alone,
 * not on the distribution of the values.
 *
 * A thread holds its keys in sorted order (thread t of a warp has keys 8 t to 8 t + 7), or in turns, so that a warp
 * accesses memory without gaps (thread t has keys t, t + 32, t + 64 ...).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_RANKS_H
#define PLB_CUDA_RANKS_H

#include "core/cuda.cuh"

typedef unsigned long long plb_key;

enum {
    PLB_THREAD_KEYS = 8,
    PLB_WARP_KEYS = 32 * PLB_THREAD_KEYS,
    PLB_BLOCK_KEYS = 4096, /* the most that a block sorts: 32 KiB of shared memory */
    PLB_BLOCK_THREADS = PLB_BLOCK_KEYS / PLB_THREAD_KEYS
};

/* Fills the room after the last key.  It is greater than every key, since no index is 2^32 - 1. */
#define PLB_NO_KEY (~0ull)

PLB_DEVICE plb_key plb_key_of(unsigned value, unsigned index)
{
    return (plb_key)value << 32 | index;
}

/* The place of key i in shared memory.  Threads access every eighth key at once: in order, those share two banks. */
PLB_DEVICE unsigned plb_slot(unsigned i)
{
    return i ^ (i >> 4 & 7);
}

template <bool shared> PLB_DEVICE plb_key plb_key_at(const plb_key *keys, unsigned i)
{
    return keys[shared ? plb_slot(i) : i];
}

PLB_DEVICE void plb_order(plb_key &a, plb_key &b)
{
    const plb_key low = a < b ? a : b;
    b = a < b ? b : a;
    a = low;
}

/* Batcher's odd-even merge sort of eight: 19 exchanges. */
PLB_DEVICE void plb_sort_thread(plb_key (&k)[PLB_THREAD_KEYS])
{
    plb_order(k[0], k[1]), plb_order(k[2], k[3]), plb_order(k[4], k[5]), plb_order(k[6], k[7]);
    plb_order(k[0], k[2]), plb_order(k[1], k[3]), plb_order(k[4], k[6]), plb_order(k[5], k[7]);
    plb_order(k[1], k[2]), plb_order(k[5], k[6]);
    plb_order(k[0], k[4]), plb_order(k[1], k[5]), plb_order(k[2], k[6]), plb_order(k[3], k[7]);
    plb_order(k[2], k[4]), plb_order(k[3], k[5]);
    plb_order(k[1], k[2]), plb_order(k[3], k[4]), plb_order(k[5], k[6]);
}

/* The lesser or the greater of a thread's key and its partner's. */
PLB_DEVICE plb_key plb_keep(plb_key mine, plb_key other, bool greater)
{
    return (mine < other) != greater ? mine : other;
}

/*
 * Sorts the keys of a warp, of which the first `count` are keys and the others PLB_NO_KEY.  Groups of 2, 4 ... 32
 * threads merge the two sorted halves that they hold, until one group holds all keys.
 */
PLB_DEVICE void plb_sort_warp(plb_key (&k)[PLB_THREAD_KEYS], unsigned count)
{
    const unsigned lane = threadIdx.x % 32;
    plb_sort_thread(k);
#pragma unroll 1
    for (int group = 2; group <= 32 && (unsigned)(group / 2 * PLB_THREAD_KEYS) < count; group *= 2) {
        /* compares each key with its mirror image in the group */
        const bool greater = lane & (unsigned)(group / 2);
#pragma unroll
        for (int j = 0; j < PLB_THREAD_KEYS / 2; j++) {
            const plb_key a = __shfl_xor_sync(0xffffffffu, k[PLB_THREAD_KEYS - 1 - j], group - 1);
            const plb_key b = __shfl_xor_sync(0xffffffffu, k[j], group - 1);
            k[j] = plb_keep(k[j], a, greater);
            k[PLB_THREAD_KEYS - 1 - j] = plb_keep(k[PLB_THREAD_KEYS - 1 - j], b, greater);
        }
#pragma unroll 1
        for (int distance = group / 4; distance; distance /= 2)
#pragma unroll
            for (int j = 0; j < PLB_THREAD_KEYS; j++)
                k[j] = plb_keep(k[j], __shfl_xor_sync(0xffffffffu, k[j], distance), lane & (unsigned)distance);
#pragma unroll
        for (int distance = PLB_THREAD_KEYS / 2; distance; distance /= 2)
#pragma unroll
            for (int j = 0; j < PLB_THREAD_KEYS; j++)
                if (!(j & distance))
                    plb_order(k[j], k[j + distance]);
    }
}

/*
 * Merges pairs of sorted runs of `width` keys, `length` keys in all, for eight keys of the result: those from number
 * `at` on.  PLB_NO_KEY follows the last key.
 */
template <bool shared>
PLB_DEVICE void plb_merge(const plb_key *keys, unsigned at, unsigned width, unsigned length,
                          plb_key (&k)[PLB_THREAD_KEYS])
{
    const unsigned begin = min(at & ~(2 * width - 1), length), middle = min(begin + width, length);
    const unsigned end = min(begin + 2 * width, length), before = min(at, end) - begin;
    /* searches for the number of keys from the first run among the first `before` keys */
    unsigned low = before > end - middle ? before - (end - middle) : 0, high = min(before, middle - begin);
    while (low < high) {
        const unsigned guess = (low + high) / 2;
        if (plb_key_at<shared>(keys, begin + guess) < plb_key_at<shared>(keys, middle + before - 1 - guess))
            low = guess + 1;
        else
            high = guess;
    }
    unsigned a = begin + low, b = middle + before - low;
    plb_key of_a = a < middle ? plb_key_at<shared>(keys, a) : PLB_NO_KEY;
    plb_key of_b = b < end ? plb_key_at<shared>(keys, b) : PLB_NO_KEY;
#pragma unroll
    for (int j = 0; j < PLB_THREAD_KEYS; j++) {
        const bool first = of_a < of_b;
        k[j] = first ? of_a : of_b;
        const unsigned next = first ? ++a : ++b;
        const plb_key key = next < (first ? middle : end) ? plb_key_at<shared>(keys, next) : PLB_NO_KEY;
        if (first)
            of_a = key;
        else
            of_b = key;
    }
}

/* From sorted order to turns and back, through the warp's own 256 keys of shared memory. */
PLB_DEVICE void plb_take_in_turns(const plb_key *warp_keys, plb_key (&k)[PLB_THREAD_KEYS])
{
    __syncwarp(); /* the warp's other threads have written theirs */
#pragma unroll
    for (unsigned j = 0; j < PLB_THREAD_KEYS; j++)
        k[j] = warp_keys[plb_slot(j * 32 + threadIdx.x % 32)];
}

PLB_DEVICE void plb_take_in_order(const plb_key *warp_keys, plb_key (&k)[PLB_THREAD_KEYS])
{
    __syncwarp(); /* the warp's other threads have written theirs */
#pragma unroll
    for (unsigned j = 0; j < PLB_THREAD_KEYS; j++)
        k[j] = warp_keys[plb_slot(threadIdx.x % 32 * PLB_THREAD_KEYS + j)];
}

PLB_DEVICE void plb_put_in_order(plb_key *warp_keys, const plb_key (&k)[PLB_THREAD_KEYS])
{
#pragma unroll
    for (unsigned j = 0; j < PLB_THREAD_KEYS; j++)
        warp_keys[plb_slot(threadIdx.x % 32 * PLB_THREAD_KEYS + j)] = k[j];
}

/*
 * Sorts `length` keys in shared memory, of which each warp has filled 256, from number `warp_at` on.  Parts of a block
 * can sort different keys; `longest` is the greatest length, and the same in all threads.  The result is in k, in
 * turns.
 */
PLB_DEVICE void plb_sort_block(plb_key *keys, unsigned warp_at, unsigned length, unsigned longest,
                               plb_key (&k)[PLB_THREAD_KEYS])
{
    plb_key *const warp_keys = keys + warp_at;
    plb_take_in_order(warp_keys, k);
    plb_sort_warp(k, min(length - min(warp_at, length), (unsigned)PLB_WARP_KEYS));
#pragma unroll 1
    for (unsigned width = PLB_WARP_KEYS; width < longest; width *= 2) {
        plb_put_in_order(warp_keys, k);
        PLB_BARRIER(); /* the runs of this pass are complete */
        if (width < length)
            plb_merge<true>(keys, warp_at + threadIdx.x % 32 * PLB_THREAD_KEYS, width, length, k);
        PLB_BARRIER(); /* and have been read: the next runs replace them */
    }
    plb_put_in_order(warp_keys, k);
    plb_take_in_turns(warp_keys, k);
}

#endif
