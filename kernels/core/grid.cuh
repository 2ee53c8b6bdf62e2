/*
 * Sums, maxima and barriers of warps, blocks and the grid.
 *
 * The order of a sum depends on the size of the grid alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_GRID_H
#define PLB_CUDA_GRID_H

#include "core/cuda.cuh"

PLB_DEVICE float plb_highest(float a, float b)
{
    return fmaxf(a, b);
}

PLB_DEVICE double plb_highest(double a, double b)
{
    return fmax(a, b);
}

/* All lanes of a warp call these, and every lane gets the result. */
template <typename real> PLB_DEVICE real plb_warp_sum(real value)
{
#pragma unroll
    for (int step = 16; step; step /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

template <typename real> PLB_DEVICE real plb_warp_highest(real value)
{
#pragma unroll
    for (int step = 16; step; step /= 2)
        value = plb_highest(value, __shfl_xor_sync(0xffffffffu, value, step));
    return value;
}

/*
 * Sums over a block, for every thread; `partial` holds COUNT values a warp.  The first barrier keeps a fast warp from
 * overwriting earlier sums that a slow warp still reads.  The second barrier makes all partial sums visible.
 */
template <int COUNT> PLB_DEVICE void plb_block_sums(double (&value)[COUNT], double *partial)
{
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        value[i] = plb_warp_sum(value[i]);
    PLB_BARRIER();
    if (threadIdx.x % 32 == 0)
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            partial[threadIdx.x / 32 * COUNT + i] = value[i];
    PLB_BARRIER();
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        value[i] = 0;
        for (unsigned warp = 0; warp < blockDim.x / 32; warp++)
            value[i] += partial[warp * COUNT + i];
    }
}

PLB_DEVICE double plb_block_sum(double value, double *partial)
{
    double sum[1] = {value};
    plb_block_sums(sum, partial);
    return sum[0];
}

/* The highest value of a block, for every thread; `partial` holds a value a warp. */
PLB_DEVICE double plb_block_highest(double value, double *partial)
{
    value = plb_warp_highest(value);
    PLB_BARRIER();
    if (threadIdx.x % 32 == 0)
        partial[threadIdx.x / 32] = value;
    PLB_BARRIER();
    for (unsigned warp = 0; warp < blockDim.x / 32; warp++)
        value = plb_highest(value, partial[warp]);
    return value;
}

/* Sums over all blocks, each of which stored COUNT numbers.  The order depends on the number of blocks alone. */
template <int COUNT> PLB_DEVICE void plb_sums_of_blocks(double (&sum)[COUNT], const double *stored, double *partial)
{
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        sum[i] = 0;
    for (unsigned block = threadIdx.x; block < gridDim.x; block += blockDim.x)
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            sum[i] += *(const volatile double *)(stored + (long long)block * COUNT + i);
    plb_block_sums(sum, partial);
}

/*
 * A barrier of a cooperative launch in two parts, so that a block can work between them.  After plb_grid_wait() every
 * block sees the writes of all blocks before their last PLB_BARRIER(), and those of threads 0 before they arrived.
 * Thread 0 reads the generation before it arrives.  The generation cannot change in between, because this block is
 * still missing.  The other threads get 0.
 */
PLB_DEVICE unsigned plb_grid_arrive(plb_device_state *state)
{
    unsigned before = 0;
    if (threadIdx.x == 0) {
        before = PLB_LOAD_VOLATILE(unsigned, &state->generation);
        __threadfence();
        if (atomicInc(&state->arrived, gridDim.x - 1) == gridDim.x - 1) { /* the last one; the counter is 0 again */
            __threadfence();
            atomicAdd(&state->generation, 1u);
        }
    }
    return before;
}

PLB_DEVICE void plb_grid_wait(plb_device_state *state, unsigned before)
{
    if (threadIdx.x == 0) {
        while (PLB_LOAD_VOLATILE(unsigned, &state->generation) == before)
            __nanosleep(32);
        __threadfence();
    }
    PLB_BARRIER();
}

/*
 * Whether this is the last block to call this.  The last block sees the writes of all blocks before their last
 * PLB_BARRIER(), and those of threads 0 before this call.  `is_last` is in shared memory and is used once.
 */
PLB_DEVICE bool plb_is_last_block(plb_device_state *state, int *is_last)
{
    if (threadIdx.x == 0) {
        __threadfence();
        *is_last = atomicInc(&state->done, gridDim.x - 1) == gridDim.x - 1; /* the counter is 0 again */
        __threadfence();
    }
    PLB_BARRIER();
    return *is_last;
}

#endif
