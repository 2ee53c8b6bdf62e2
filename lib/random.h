/*
 * Philox4x32-10 where the compiler can inline it, on the device too.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_RANDOM_H
#define PLB_RANDOM_H

#include <poslabel/random.h>

#ifdef __CUDACC__
#define PLB_HOST_DEVICE __host__ __device__
#else
#define PLB_HOST_DEVICE
#endif

PLB_HOST_DEVICE static inline void plb_philox(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                              uint32_t words[4])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* the Weyl sequences of the golden ratio and of sqrt(3) - 1 */
        k1 += 0xBB67AE85u;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

/* Indices of images are below this. */
#define PLB_SAMPLES ((int64_t)1 << 56)

/* counter[2] of the draws that an image takes from a stream; counter[0] is the low half of its index. */
PLB_HOST_DEVICE static inline uint32_t plb_stream_of(uint32_t task, int64_t sample)
{
    return task + ((uint32_t)((uint64_t)sample >> 32) << 8);
}

PLB_HOST_DEVICE static inline uint32_t plb_random_below(uint32_t word, uint32_t n)
{
    return (uint32_t)((uint64_t)word * n >> 32);
}

#endif
