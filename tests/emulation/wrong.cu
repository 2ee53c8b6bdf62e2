/*
 * Kernels with one bug each, for the emulation to find.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "right.h"

#include "core/device.cuh"

#include <cstring>

namespace
{
constexpr unsigned ALL = 0xFFFFFFFFu;

__global__ void missing_barrier(float *x, int count)
{
    PLB_SHARED(float, copy, 64);
    copy[threadIdx.x] = x[threadIdx.x];
    x[threadIdx.x] = copy[(static_cast<int>(threadIdx.x) + 1) % count];
}

__global__ void shared_overrun(float *x, int count)
{
    PLB_SHARED(float, copy, 63);
    float *p = copy;
    p[threadIdx.x] = x[threadIdx.x] + static_cast<float>(count);
}

__global__ void dynamic_overrun(float *x, int count)
{
    PLB_SHARED_BYTES(memory); /* of no bytes */
    reinterpret_cast<float *>(memory)[threadIdx.x] = x[threadIdx.x] + static_cast<float>(count);
}

__global__ void dynamic_unlisted(float *x, int count)
{
    PLB_SHARED_BYTES(memory); /* of more than kernels/shared.def knows */
    x[threadIdx.x] = reinterpret_cast<float *>(memory)[0] + static_cast<float>(count);
}

__global__ void global_overrun(float *x, int count)
{
    x[threadIdx.x + 1] = static_cast<float>(count);
}

__global__ void misaligned_vector(float *x, int)
{
    const float4 v = __ldg(reinterpret_cast<const float4 *>(x + 1));
    x[0] = v.x;
}

__global__ void misaligned_access(float *x, int)
{
    float4 *vector = reinterpret_cast<float4 *>(x + 1);
    *vector = make_float4(1, 2, 3, 4);
    vector->x += 1; /* clang checks accesses to members, not the copy of the whole */
}

__global__ void barrier_after_exit(float *x, int)
{
    if (threadIdx.x == 5)
        return;
    PLB_BARRIER();
    x[threadIdx.x] = 1;
}

__global__ void exit_before_barrier(float *x, int)
{
    if (threadIdx.x != 63) /* all the others wait when it exits */
        PLB_BARRIER();
    x[threadIdx.x] = 1;
}

__global__ void two_barriers(float *x, int)
{
    if (threadIdx.x < 32)
        PLB_BARRIER();
    else
        PLB_BARRIER();
    x[threadIdx.x] = 1;
}

__global__ void barrier_never_reached(float *x, int)
{
    if (threadIdx.x < 32)
        PLB_BARRIER();
    else
        while (*static_cast<volatile float *>(x) == 0)
            __nanosleep(100);
}

__global__ void shuffle_exited(float *x, int)
{
    if (threadIdx.x % 32 == 3)
        return;
    x[threadIdx.x] = __shfl_sync(ALL, x[threadIdx.x], 3);
}

__global__ void shuffle_left(float *x, int)
{
    if (threadIdx.x % 32 != 31)
        x[threadIdx.x] = __shfl_sync(ALL, x[threadIdx.x], 3);
}

__global__ void shuffle_outside(float *x, int)
{
    if (threadIdx.x % 32 < 16)
        x[threadIdx.x] = __shfl_sync(0xFFFFu, x[threadIdx.x], 20);
}

__global__ void shuffle_without_caller(float *x, int)
{
    x[threadIdx.x] = __shfl_sync(0xFFFFu, x[threadIdx.x], 0);
}

__global__ void shuffle_beyond_block(float *x, int)
{
    x[threadIdx.x] = __shfl_sync(ALL, x[threadIdx.x], 0);
}

__global__ void mixed_operations(float *x, int)
{
    if (threadIdx.x % 2 == 0)
        x[threadIdx.x] = __shfl_sync(ALL, x[threadIdx.x], 0);
    else
        x[threadIdx.x] = static_cast<float>(__any_sync(ALL, 1));
}

__global__ void mixed_masks(float *x, int)
{
    x[threadIdx.x] = __shfl_sync(threadIdx.x % 32 < 16 ? ALL : 0xFFFF0001u | 1u << 20, x[threadIdx.x], 20);
}

__global__ void warp_and_barrier(float *x, int)
{
    if (threadIdx.x < 16)
        x[threadIdx.x] = __shfl_sync(ALL, x[threadIdx.x], 0);
    PLB_BARRIER();
}

__global__ void unwritten_shared(float *x, int)
{
    PLB_SHARED(float, copy, 64);
    if (threadIdx.x % 2 == 0)
        copy[threadIdx.x] = 1;
    PLB_BARRIER();
    x[threadIdx.x] = copy[threadIdx.x];
}

__global__ void too_much_shared(float *x, int)
{
    PLB_SHARED(float, first, 8 * 1024);
    PLB_SHARED(float, second, 4 * 1024 + 1);
    first[threadIdx.x] = second[threadIdx.x] = x[threadIdx.x];
}

/* Lanes of a warp see each other's memory after __syncwarp() alone. */
__global__ void shuffle_for_barrier(float *x, int)
{
    PLB_SHARED(float, copy, 32);
    copy[threadIdx.x] = x[threadIdx.x];
    const float sum = __shfl_xor_sync(ALL, x[threadIdx.x], 1);
    x[threadIdx.x] = sum + copy[threadIdx.x ^ 1];
}

/* Each of these blocks writes what the last one to come reads: x[0] is a counter. */
__device__ bool comes_last(float *x, bool fences_before, bool fences_after)
{
    PLB_SHARED(int, is_last, 1);
    if (fences_before)
        __threadfence();
    PLB_BARRIER();
    if (threadIdx.x == 0)
        *is_last = atomicInc(reinterpret_cast<unsigned *>(x), gridDim.x - 1) == gridDim.x - 1;
    PLB_BARRIER();
    if (*is_last && fences_after)
        __threadfence();
    return *is_last;
}

__device__ void add_up(float *x)
{
    float sum = 0;
    for (unsigned block = 0; block < gridDim.x; block++)
        sum += x[1 + block];
    x[1 + gridDim.x] = sum;
}

__global__ void no_fence_before(float *x, int)
{
    if (threadIdx.x == 0)
        x[1 + blockIdx.x] = 1;
    if (comes_last(x, false, true) && threadIdx.x == 0)
        add_up(x);
}

__global__ void no_fence_after(float *x, int)
{
    if (threadIdx.x == 0)
        x[1 + blockIdx.x] = 1;
    if (comes_last(x, true, false) && threadIdx.x == 0)
        add_up(x);
}

__global__ void write_after_fence(float *x, int)
{
    __threadfence();
    if (threadIdx.x == 0)
        x[1 + blockIdx.x] = 1;
    if (comes_last(x, false, true) && threadIdx.x == 0)
        add_up(x);
}

__global__ void same_place(float *x, int)
{
    if (threadIdx.x == blockIdx.x)
        x[0] = 1;
}

__global__ void reset_of_counter(float *x, int)
{
    unsigned *const counter = reinterpret_cast<unsigned *>(x);
    if (threadIdx.x == 0 && atomicAdd(counter, 1u) == gridDim.x - 1)
        *counter = 0;
}

__global__ void trap(float *, int count)
{
    if (threadIdx.x == 9 && count > 0)
        __trap();
}

const struct {
    const char *name;
    void (*kernel)(float *, int);
    unsigned threads, blocks, dynamic_bytes;
} kernels[] = {
#define KERNEL(name, ...)                                                                                              \
    {                                                                                                                  \
#name, name, __VA_ARGS__                                                                                       \
    }
    KERNEL(missing_barrier, 64, 1),
    KERNEL(shared_overrun, 64, 1),
    KERNEL(dynamic_overrun, 64, 1),
    KERNEL(dynamic_unlisted, 64, 1, 256),
    KERNEL(global_overrun, 64, 1),
    KERNEL(misaligned_vector, 1, 1),
    KERNEL(misaligned_access, 1, 1),
    KERNEL(barrier_after_exit, 64, 1),
    KERNEL(exit_before_barrier, 64, 1),
    KERNEL(two_barriers, 64, 1),
    KERNEL(barrier_never_reached, 64, 1),
    KERNEL(shuffle_exited, 64, 1),
    KERNEL(shuffle_left, 64, 1),
    KERNEL(shuffle_outside, 64, 1),
    KERNEL(shuffle_without_caller, 64, 1),
    KERNEL(shuffle_beyond_block, 48, 1),
    KERNEL(mixed_operations, 64, 1),
    KERNEL(mixed_masks, 64, 1),
    KERNEL(warp_and_barrier, 64, 1),
    KERNEL(unwritten_shared, 64, 1),
    KERNEL(too_much_shared, 64, 1),
    KERNEL(shuffle_for_barrier, 32, 1),
    KERNEL(no_fence_before, 32, 2),
    KERNEL(no_fence_after, 32, 2),
    KERNEL(write_after_fence, 32, 2),
    KERNEL(same_place, 32, 2),
    KERNEL(reset_of_counter, 32, 2),
    KERNEL(trap, 64, 1),
#undef KERNEL
};
} // namespace

cudaError_t wrong_run(const char *name, float *x, int count, cudaStream_t stream)
{
    for (const auto &known : kernels)
        if (strcmp(known.name, name) == 0) {
            cudaLaunchConfig_t config = {};
            config.gridDim = dim3(known.blocks);
            config.dynamicSmemBytes = known.dynamic_bytes;
            config.blockDim = dim3(known.threads);
            config.stream = stream;
            return cudaLaunchKernelEx(&config, known.kernel, x, count);
        }
    return cudaErrorInvalidDeviceFunction;
}
