/*
 * Kernels without a bug.
 *
 * nvcc compiles this file as well, so that the emulated language is no other than CUDA's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "right.h"

#include "core/device.cuh"

#ifndef PLB_BARRIER_OR
#define PLB_BARRIER_OR(x) __syncthreads_or(x)
#endif

namespace
{
template <typename... Parameters, typename... Arguments>
cudaError_t start(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                  bool cooperative, Arguments... arguments)
{
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = cooperative ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

__device__ __forceinline__ float warp_sum(float value)
{
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
    return value;
}

__global__ void __launch_bounds__(1024) block_sum(const float *__restrict__ x, float *__restrict__ sums, int length)
{
    PLB_SHARED(float, partial, 32);
    const int threads = static_cast<int>(blockDim.x * blockDim.y);
    const int thread = static_cast<int>(threadIdx.x + threadIdx.y * blockDim.x);
    float sum = 0;
    for (int i = thread; i < length; i += threads)
        sum += __ldg(x + static_cast<size_t>(blockIdx.x) * static_cast<size_t>(length) + i);
    sum = warp_sum(sum);
    if (thread % warpSize == 0)
        partial[thread / warpSize] = sum;
    PLB_BARRIER();
    if (thread < warpSize) {
        sum = warp_sum(thread < threads / warpSize ? partial[thread] : 0.0f);
        if (thread == 0)
            sums[blockIdx.x] = sum;
    }
}

template <typename T> __global__ void warp_rows(const T *x, T *sums, int length)
{
    PLB_SHARED_BYTES(memory);
    T *row = reinterpret_cast<T *>(memory);
    const int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < length; i += warpSize)
        row[i] = x[blockIdx.x * static_cast<unsigned>(length) + static_cast<unsigned>(i)];
    __syncwarp();
    T sum = 0;
    for (int i = lane; i < length; i += warpSize)
        sum += row[length - 1 - i];
    sum = warp_sum(sum);
    if (lane == 0)
        sums[blockIdx.x] = sum;
}

__global__ void warp_operations(unsigned *out)
{
    const unsigned all = 0xFFFFFFFFu, lane = threadIdx.x;
    out += lane * 12;
    out[0] = __shfl_sync(all, lane * 3, 5);
    out[1] = __shfl_up_sync(all, lane, 1);
    out[2] = __shfl_down_sync(all, lane, 2, 8);
    out[3] = __shfl_xor_sync(all, lane, 16);
    out[4] = __ballot_sync(all, lane % 3 == 0);
    out[5] = static_cast<unsigned>(__any_sync(all, lane == 7));
    out[6] = static_cast<unsigned>(__all_sync(all, lane < 31));
    out[7] = __match_any_sync(all, lane / 8);
    const unsigned long long wide = __shfl_sync(all, 0x100000001ull * lane, 31 - static_cast<int>(lane));
    out[8] = static_cast<unsigned>(wide >> 32);
    out[9] = static_cast<unsigned>(__shfl_sync(all, 1.5 * lane, 2));
    if (lane < 16) /* half a warp */
        out[10] = __shfl_xor_sync(0xFFFFu, lane, 8);
    else
        out[10] = __ballot_sync(0xFFFF0000u, lane & 1);
    __syncwarp();
    out[11] = static_cast<unsigned>(PLB_BARRIER_OR(lane == 3));
}

__device__ void grid_barrier(unsigned *state, unsigned blocks)
{
    PLB_BARRIER();
    if (threadIdx.x == 0) {
        __threadfence();
        const unsigned generation = PLB_LOAD_VOLATILE(unsigned, state + 1);
        if (atomicInc(state, blocks - 1) == blocks - 1) {
            __threadfence();
            atomicAdd(state + 1, 1u);
        } else
            while (PLB_LOAD_VOLATILE(unsigned, state + 1) == generation)
                __nanosleep(20);
        __threadfence();
    }
    PLB_BARRIER();
}

__global__ void grid_steps(unsigned *state, unsigned *totals, unsigned *seen, int steps)
{
    for (int step = 0; step < steps; step++) {
        if (threadIdx.x == 0)
            atomicAdd(totals + step, blockIdx.x + 1);
        grid_barrier(state, gridDim.x);
        if (threadIdx.x == blockDim.x - 1)
            seen[step * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x)] = __ldcg(totals + step);
    }
}

__global__ void vectors(const float *x, float *y, int count)
{
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (4 * i >= count)
        return;
    float4 v = __ldcs(reinterpret_cast<const float4 *>(x) + i);
    v = make_float4(__fmaf_rn(2, v.x, 1), fmaf(2, v.y, 1), 2 * v.z + 1, __fadd_rn(__fmul_rn(2, v.w), 1));
    __stcs(reinterpret_cast<float4 *>(y) + i, v);
}

__global__ void halves(const float *x, float *half_out, float *brain_out, int count)
{
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) {
        half_out[i] = __half2float(__float2half_rn(x[i]));
        brain_out[i] = __bfloat162float(__float2bfloat16_rn(x[i]));
    }
}

__global__ void atomics(const unsigned *x, unsigned *result, int count)
{
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= count)
        return;
    atomicAdd(result + 0, x[i]);
    atomicMin(result + 1, x[i]);
    atomicMax(result + 2, x[i]);
    atomicOr(result + 3, x[i]);
    atomicAnd(result + 4, x[i]);
    unsigned old = PLB_LOAD_VOLATILE(unsigned, result + 5);
    for (;;) { /* a sum by compare and swap */
        const unsigned found = atomicCAS(result + 5, old, old + x[i]);
        if (found == old)
            break;
        old = found;
    }
    atomicAdd(reinterpret_cast<unsigned long long *>(result + 6), static_cast<unsigned long long>(x[i]) << 20);
}

__global__ void functions(double *out)
{
    int n = 0;
    out[n++] = __popc(0xF0F0u);
    out[n++] = __clz(1);
    out[n++] = __clz(0);
    out[n++] = __ffs(8);
    out[n++] = __brev(1u);
    out[n++] = __umulhi(0x80000000u, 6u);
    out[n++] = static_cast<double>(__umul64hi(1ull << 63, 6ull));
    out[n++] = __float_as_uint(1.0f);
    out[n++] = static_cast<double>(__uint_as_float(0x40000000u));
    out[n++] = __byte_perm(0x33221100u, 0x77665544u, 0x7410u);
    out[n++] = __funnelshift_l(0x80000000u, 1u, 4);
    out[n++] = __funnelshift_r(0x10u, 1u, 4);
    out[n++] = min(3, 4);
    out[n++] = max(3u, 4u);
    out[n++] = static_cast<double>(max(-1.5f, -2.5f));
    out[n++] = static_cast<double>(rsqrtf(4.0f));
    out[n++] = static_cast<double>(__expf(0.0f));
    out[n++] = static_cast<double>(__fdividef(1.0f, 4.0f));
    out[n++] = __float2int_rn(2.5f);
    out[n++] = __float2int_rz(-2.75f);
    out[n++] = static_cast<double>(exp2f(3.0f));
    out[n++] = static_cast<double>(__logf(1.0f));
    out[n++] = static_cast<double>(__mul64hi(-1ll, 2ll));
    out[n++] = __longlong_as_double(__double_as_longlong(0.1)) == 0.1;
}

__global__ void increment(float *x, int count)
{
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count)
        x[i] += 1;
}

__global__ void shape(unsigned *count)
{
    atomicAdd(count, 1u);
}

unsigned cover(int count, int threads)
{
    return static_cast<unsigned>((count + threads - 1) / threads);
}
} // namespace

cudaError_t right_block_sum(const float *x, float *sums, int blocks, int length, int threads, int rows,
                            cudaStream_t stream)
{
    const dim3 block(static_cast<unsigned>(threads / rows), static_cast<unsigned>(rows));
    return start(block_sum, dim3(static_cast<unsigned>(blocks)), block, 0, stream, false, x, sums, length);
}

cudaError_t right_warp_sum(const float *x, float *sums, int count, int length, size_t shared, cudaStream_t stream)
{
    return start(warp_rows<float>, dim3(static_cast<unsigned>(count)), dim3(32), shared, stream, false, x, sums,
                 length);
}

cudaError_t right_warp_operations(unsigned *out, cudaStream_t stream)
{
    return start(warp_operations, dim3(1), dim3(32), 0, stream, false, out);
}

cudaError_t right_grid_barrier(unsigned *state, unsigned *totals, unsigned *seen, int blocks, int threads, int steps,
                               cudaStream_t stream)
{
    return start(grid_steps, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), 0, stream, true,
                 state, totals, seen, steps);
}

cudaError_t right_vectors(const float *x, float *y, int count, cudaStream_t stream)
{
    return start(vectors, dim3(cover(count / 4, 64)), dim3(64), 0, stream, false, x, y, count);
}

cudaError_t right_halves(const float *x, float *half_out, float *brain_out, int count, cudaStream_t stream)
{
    return start(halves, dim3(cover(count, 64)), dim3(64), 0, stream, false, x, half_out, brain_out, count);
}

cudaError_t right_atomics(const unsigned *x, unsigned *result, int count, cudaStream_t stream)
{
    return start(atomics, dim3(cover(count, 64)), dim3(64), 0, stream, false, x, result, count);
}

cudaError_t right_functions(double *out, cudaStream_t stream)
{
    return start(functions, dim3(1), dim3(1), 0, stream, false, out);
}

cudaError_t right_increment(float *x, int count, cudaStream_t stream)
{
    return start(increment, dim3(cover(count, 64)), dim3(64), 0, stream, false, x, count);
}

cudaError_t right_shape(unsigned *count, dim3 grid, dim3 block, size_t shared, int cooperative, cudaStream_t stream)
{
    return start(shape, grid, block, shared, stream, cooperative != 0, count);
}

cudaError_t right_allow_shared(int bytes)
{
    return cudaFuncSetAttribute(shape, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

cudaError_t right_occupancy(int *blocks, int threads, size_t shared)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, shape, threads, shared);
}
