/* Kernels with one bug each, for the emulation to find.  SPDX-License-Identifier: Apache-2.0 */
#include "right.h"

#include "device.h"

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

__global__ void trap(float *, int count)
{
    if (threadIdx.x == 9 && count > 0)
        __trap();
}

const struct {
    const char *name;
    void (*kernel)(float *, int);
    unsigned threads;
} kernels[] = {
#define KERNEL(name, threads)                                                                                          \
    {                                                                                                                  \
#name, name, threads                                                                                           \
    }
    KERNEL(missing_barrier, 64),
    KERNEL(shared_overrun, 64),
    KERNEL(dynamic_overrun, 64),
    KERNEL(global_overrun, 64),
    KERNEL(misaligned_vector, 1),
    KERNEL(misaligned_access, 1),
    KERNEL(barrier_after_exit, 64),
    KERNEL(exit_before_barrier, 64),
    KERNEL(two_barriers, 64),
    KERNEL(barrier_never_reached, 64),
    KERNEL(shuffle_exited, 64),
    KERNEL(shuffle_left, 64),
    KERNEL(shuffle_outside, 64),
    KERNEL(shuffle_without_caller, 64),
    KERNEL(shuffle_beyond_block, 48),
    KERNEL(mixed_operations, 64),
    KERNEL(mixed_masks, 64),
    KERNEL(warp_and_barrier, 64),
    KERNEL(unwritten_shared, 64),
    KERNEL(too_much_shared, 64),
    KERNEL(trap, 64),
#undef KERNEL
};
} // namespace

cudaError_t wrong_run(const char *name, float *x, int count, cudaStream_t stream)
{
    for (const auto &known : kernels)
        if (strcmp(known.name, name) == 0) {
            cudaLaunchConfig_t config = {};
            config.gridDim = dim3(1);
            config.blockDim = dim3(known.threads);
            config.stream = stream;
            return cudaLaunchKernelEx(&config, known.kernel, x, count);
        }
    return cudaErrorInvalidDeviceFunction;
}
