/*
 * Sorting keys: in registers, in shared memory and in device memory.
 *
 * A key is 32 bits of a value over the 32 bits of where it stands, so no two are equal, and an unstable sort orders
 * equal values by their place.  A warp sorts 256 keys in its registers, eight a thread, by Batcher's bitonic merges
 * (AFIPS 1968).  Sorted runs then merge pairwise, in shared memory and beyond it in device memory by the same code:
 * every thread finds where its eight keys of the result begin in the two runs and merges just those (Odeh, Green,
 * Mwassi, Shmueli and Birk, "Merge path", IPDPSW 2012).  Nothing depends on how the values are distributed, and the
 * time grows with no steps but those of the number of merges.
 *
 * A thread holds its keys either in sorted order (thread t of a warp has 8 t to 8 t + 7), or in turns, so that
 * a warp's access to memory is one piece (thread t has t, t + 32, t + 64 ...).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_RANKS_H
#define PLB_RANKS_H

#include "core/cuda.cuh"

typedef unsigned long long plb_key;

enum {
    PLB_THREAD_KEYS = 8,
    PLB_WARP_KEYS = 32 * PLB_THREAD_KEYS,
    PLB_BLOCK_KEYS = 4096, /* the most that a block sorts: 32 KiB of shared memory */
    PLB_BLOCK_THREADS = PLB_BLOCK_KEYS / PLB_THREAD_KEYS
};

/* Greater than every key, since no place is 2^32 - 1: fills what lies beyond the last one. */
#define PLB_NO_KEY (~0ull)

PLB_DEVICE plb_key plb_key_of(unsigned value, unsigned place)
{
    return (plb_key)value << 32 | place;
}

/*
 * Where a key lies in shared memory.  Threads access keys eight apart at once, which without this would be of one
 * and the same two banks.
 */
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
 * Sorts the warp's keys, of which the first `count` are keys and the others PLB_NO_KEY: groups of 2, 4 ... 32 threads
 * merge the sorted halves that they hold, and stop at the group that holds them all.
 */
PLB_DEVICE void plb_sort_warp(plb_key (&k)[PLB_THREAD_KEYS], unsigned count)
{
    const unsigned lane = threadIdx.x % 32;
    plb_sort_thread(k);
#pragma unroll 1
    for (int group = 2; group <= 32 && (unsigned)(group / 2 * PLB_THREAD_KEYS) < count; group *= 2) {
        /* every key with the one that stands as far from the other end of the group */
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
 * Eight keys, from number `at` on, of what `length` keys in sorted runs of `width` become when pairs of runs merge.
 * Beyond the last key comes PLB_NO_KEY.
 */
template <bool shared>
PLB_DEVICE void plb_merge(const plb_key *keys, unsigned at, unsigned width, unsigned length,
                          plb_key (&k)[PLB_THREAD_KEYS])
{
    const unsigned begin = min(at & ~(2 * width - 1), length), middle = min(begin + width, length);
    const unsigned end = min(begin + 2 * width, length), before = min(at, end) - begin;
    /* how many of the first `before` keys come from the first run */
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

/* From turns to sorted order and back, through the warp's own 256 keys of shared memory. */
PLB_DEVICE void plb_take_in_turns(const plb_key *warp_keys, plb_key (&k)[PLB_THREAD_KEYS])
{
    __syncwarp(); /* the warp's other threads have written theirs */
#pragma unroll
    for (unsigned j = 0; j < PLB_THREAD_KEYS; j++)
        k[j] = warp_keys[plb_slot(j * 32 + threadIdx.x % 32)];
}

PLB_DEVICE void plb_take_in_order(const plb_key *warp_keys, plb_key (&k)[PLB_THREAD_KEYS])
{
    __syncwarp(); /* the same */
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
 * Sorts `length` keys.  Of their shared memory each warp has filled 256, from number `warp_at` on; `longest` is the
 * greatest length that a part of the block sorts now, and the same in all its threads.  The keys end in turns in k.
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
        PLB_BARRIER(); /* and are read: the next ones take their place */
    }
    plb_put_in_order(warp_keys, k);
    plb_take_in_turns(warp_keys, k);
}

#endif
