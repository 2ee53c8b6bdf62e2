/*
 * gpu.cuh: what the layers on CUDA are written in.  SPDX-License-Identifier: Apache-2.0
 *
 * There is one device, one stream and one cuBLAS handle, of the whole program.  Kernels that reduce rows have a warp
 * for each row; kernels on single elements have a thread for each.
 */
#ifndef PRETRAIN_GPU_CUH
#define PRETRAIN_GPU_CUH

/*
 * The tests of this repository also compile these kernels for the CPU, where shared memory and barriers have to be
 * macros and kernels are launched without <<<>>>.  In a program of your own, write CUDA's words.
 */
#ifdef PLB_EMULATED
#include "emulation.h"
#define SHARED(type, name, count) PLB_SHARED(type, name, count)
#define BARRIER() PLB_BARRIER()
#else
#include <cuda_runtime.h>
#define SHARED(type, name, count) __shared__ type name[count]
#define BARRIER() __syncthreads()
#endif

#include "gpu.h"
#include "memory.h"

#include <math.h>

/* fail()s with what went wrong unless it is cudaSuccess. */
void gpu_check(cudaError_t error, const char *what);
cudaStream_t gpu_stream(void);

/* Queues a kernel of `blocks` blocks; none is none to do. */
template <typename... Parameters, typename... Arguments>
static void gpu_launch(void (*kernel)(Parameters...), size_t blocks, unsigned threads, Arguments... arguments)
{
    if (blocks == 0)
        return;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)blocks);
    config.blockDim = dim3(threads);
    config.stream = gpu_stream();
    gpu_check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), "a kernel");
}

enum { GPU_THREADS = 256, GPU_WARPS = GPU_THREADS / 32 }; /* of a block */

/* So many blocks that there is a thread, or a warp, for each of `count`. */
static inline size_t gpu_blocks(size_t count, size_t of_a_block)
{
    return (count + of_a_block - 1) / of_a_block;
}

#ifdef __CUDACC__
#define GPU_FUNCTION static __device__ __forceinline__
#else
#define GPU_FUNCTION static inline
#endif

/* The number of this thread in the grid, and that of its warp. */
GPU_FUNCTION size_t gpu_thread()
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

GPU_FUNCTION size_t gpu_warp()
{
    return gpu_thread() / 32;
}

/* The sum, and the largest, of the values of a warp, in each of its lanes. */
template <typename T> GPU_FUNCTION T gpu_warp_sum(T value)
{
    for (int lanes = 16; lanes > 0; lanes /= 2)
        value += __shfl_xor_sync(0xFFFFFFFFu, value, lanes);
    return value;
}

template <typename T> GPU_FUNCTION T gpu_warp_max(T value)
{
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        T other = __shfl_xor_sync(0xFFFFFFFFu, value, lanes);
        value = other > value ? other : value;
    }
    return value;
}

/* Matrices of the same size, the first at data; their rows begin `stride` numbers apart, they themselves `step`. */
struct gpu_matrices {
    const real *data;
    size_t stride, step;
    bool transposed; /* to be read as their transposes */
};

/* c = alpha a b + beta c for `count` matrices c[m, n], a[m, k] and b[k, n]; by cuBLAS. */
void gpu_multiply(gpu_matrices a, gpu_matrices b, gpu_matrices c, size_t m, size_t n, size_t k, real alpha, real beta,
                  size_t count);

void gpu_linear(const real *x, const real *weight, const real *bias, real *y, size_t rows, size_t in, size_t out);
void gpu_linear_backward(const real *x, const real *weight, const real *grad_y, real *grad_x, real *grad_weight,
                         real *grad_bias, size_t rows, size_t in, size_t out);
void gpu_layer_norm(const real *x, const real *scale, const real *shift, real *y, real *mean, real *rstd, size_t rows,
                    size_t dim);
void gpu_layer_norm_backward(const real *x, const real *scale, const real *mean, const real *rstd, const real *grad_y,
                             real *grad_x, real *grad_scale, real *grad_shift, size_t rows, size_t dim);
void gpu_gelu(const real *x, real *y, size_t count);
void gpu_gelu_backward(const real *x, real *grad, size_t count);
void gpu_add(real *sum, const real *x, size_t count);
void gpu_attention(const real *qkv, real *attention, real *y, size_t batch, size_t tokens, size_t dim, size_t heads);
void gpu_attention_backward(const real *qkv, const real *attention, const real *grad_y, real *scores, real *grad_qkv,
                            size_t batch, size_t tokens, size_t dim, size_t heads);
void gpu_clip(const real *gradient, size_t count, real clip, real *factor);
void gpu_adamw(real *weight, const real *gradient, real *moment1, real *moment2, size_t count, const real *factor,
               adamw_step step);

/* GPU_PARTS doubles of scratch on the device, for sums in two steps. */
enum { GPU_PARTS = 1024 };
double *gpu_parts(void);

#endif
