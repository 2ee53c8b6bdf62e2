/*
 * gpu.cu: a CUDA device as a machine for the model: memory, the stream, cuBLAS.  SPDX-License-Identifier: Apache-2.0
 *
 * All work is queued on one stream, in order.  Matrix products are cuBLAS's in the precision of their numbers (no
 * TF32), so that a run follows that of the CPU as far as rounding lets it.
 */
#include "gpu.cuh"

#include <cublas_v2.h>

static struct {
    int device;
    cudaDeviceProp properties;
    cudaStream_t stream;
    cublasHandle_t cublas;
    double *parts;
} gpu;

void gpu_check(cudaError_t error, const char *what)
{
    if (error != cudaSuccess)
        fail("CUDA, %s: %s", what, cudaGetErrorString(error));
}

static void check_cublas(cublasStatus_t status, const char *what)
{
    if (status != CUBLAS_STATUS_SUCCESS)
        fail("cuBLAS, %s: %s", what, cublasGetStatusString(status));
}

cudaStream_t gpu_stream(void)
{
    return gpu.stream;
}

double *gpu_parts(void)
{
    return gpu.parts;
}

/* ---- memory ---- */

static void *gpu_allocate(size_t count, size_t size)
{
    void *data = NULL;
    const size_t bytes = (count > 0 ? count : 1) * size;
    const cudaError_t error = cudaMalloc(&data, bytes);
    if (error == cudaErrorMemoryAllocation)
        fail("no memory on the GPU for %zu x %zu bytes; try a smaller --batch, --dim or --depth", count, size);
    gpu_check(error, "memory");
    gpu_check(cudaMemsetAsync(data, 0, bytes, gpu.stream), "filling memory");
    return data;
}

static void gpu_release(void *data)
{
    gpu_check(cudaFree(data), "freeing memory");
}

static void gpu_upload(void *data, const void *host, size_t size)
{
    gpu_check(cudaMemcpyAsync(data, host, size, cudaMemcpyHostToDevice, gpu.stream), "copying to the GPU");
    gpu_check(cudaStreamSynchronize(gpu.stream), "copying to the GPU");
}

static void gpu_download(void *host, const void *data, size_t size)
{
    gpu_check(cudaMemcpyAsync(host, data, size, cudaMemcpyDeviceToHost, gpu.stream), "copying from the GPU");
    gpu_check(cudaStreamSynchronize(gpu.stream), "copying from the GPU");
}

static void gpu_zero(real *data, size_t count)
{
    gpu_check(cudaMemsetAsync(data, 0, count * sizeof(real), gpu.stream), "filling memory");
}

static void gpu_copy_rows(real *to, size_t to_stride, const real *from, size_t from_stride, size_t width, size_t rows)
{
    gpu_check(cudaMemcpy2DAsync(to, to_stride * sizeof(real), from, from_stride * sizeof(real), width * sizeof(real),
                                rows, cudaMemcpyDeviceToDevice, gpu.stream),
              "copying");
}

/* ---- cuBLAS ---- */

/* cuBLAS reads columns, which makes a row-major matrix its transpose: c^T = b^T a^T. */
void gpu_multiply(gpu_matrices a, gpu_matrices b, gpu_matrices c, size_t m, size_t n, size_t k, real alpha, real beta,
                  size_t count)
{
    const cublasOperation_t op_a = a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
#ifdef PRETRAIN_DOUBLE
    const cublasStatus_t status = cublasDgemmStridedBatched(
#else
    const cublasStatus_t status = cublasSgemmStridedBatched(
#endif
        gpu.cublas, op_b, op_a, (int)n, (int)m, (int)k, &alpha, b.data, (int)b.stride, (long long)b.step, a.data,
        (int)a.stride, (long long)a.step, &beta, const_cast<real *>(c.data), (int)c.stride, (long long)c.step,
        (int)count);
    check_cublas(status, "a matrix product");
}

/* ---- the table ---- */

const backend *gpu_open(void)
{
    static backend table;
    if (table.is_cuda)
        return &table;
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices == 0)
        fail("--device cuda: %s", error != cudaSuccess ? cudaGetErrorString(error) : "there is no CUDA device");
    gpu_check(cudaSetDevice(gpu.device), "the first device");
    gpu_check(cudaGetDeviceProperties(&gpu.properties, gpu.device), "the first device");
    gpu_check(cudaStreamCreateWithFlags(&gpu.stream, cudaStreamNonBlocking), "a stream");
    check_cublas(cublasCreate(&gpu.cublas), "starting");
    check_cublas(cublasSetStream(gpu.cublas, gpu.stream), "starting");
    gpu.parts = (double *)gpu_allocate(GPU_PARTS, sizeof(double));

    table.name = gpu.properties.name;
    table.is_cuda = true;
    table.stream = gpu.stream;
    table.shards = 1;
    table.allocate = gpu_allocate;
    table.release = gpu_release;
    table.upload = gpu_upload;
    table.download = gpu_download;
    table.zero = gpu_zero;
    table.copy_rows = gpu_copy_rows;
    table.linear = gpu_linear;
    table.linear_backward = gpu_linear_backward;
    table.layer_norm = gpu_layer_norm;
    table.layer_norm_backward = gpu_layer_norm_backward;
    table.gelu = gpu_gelu;
    table.gelu_backward = gpu_gelu_backward;
    table.add = gpu_add;
    table.attention = gpu_attention;
    table.attention_backward = gpu_attention_backward;
    table.clip = gpu_clip;
    table.adamw = gpu_adamw;
    return &table;
}
