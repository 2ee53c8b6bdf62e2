/*
 * The part of cuBLAS that the library calls, in plain loops.
 *
 * Sums run in the order of their index, in the type of the computation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cublas.h"
#include "runtime.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

/* The file that this is in, unless the user names another. */
__attribute__((constructor)) static void name_this_file()
{
    Dl_info info;
    if (dladdr(reinterpret_cast<void *>(name_this_file), &info) != 0)
        setenv("POSLABEL_CUBLAS", info.dli_fname, 0);
}

struct cublasContext {
    cudaStream_t stream = nullptr;
    cublasPointerMode_t pointers = CUBLAS_POINTER_MODE_HOST;
};

using namespace emulation;

static constexpr auto OTHER_FAILURE = static_cast<cublasStatus_t>(7); /* an invalid value */

static cublasStatus_t status_of(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return CUBLAS_STATUS_SUCCESS;
    case cudaErrorMemoryAllocation:
        return CUBLAS_STATUS_ALLOC_FAILED;
    default:
        return OTHER_FAILURE;
    }
}

#define CUBLAS_CALL(call, handle)                                                                                      \
    const Call call;                                                                                                   \
    if ((call).error != cudaSuccess)                                                                                   \
        return status_of((call).result());                                                                             \
    if ((handle) == nullptr)                                                                                           \
    return CUBLAS_STATUS_NOT_INITIALIZED

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle)
{
    CUBLAS_CALL(call, handle);
    if (capture_forbids())
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new cublasContext;
    live_objects++;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    const Call call;
    if (handle == nullptr)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    delete handle;
    live_objects--;
    return status_of(call.result());
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    CUBLAS_CALL(call, handle);
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *memory, size_t size)
{
    CUBLAS_CALL(call, handle);
    return size != 0 && memory_at(memory, size).type != cudaMemoryTypeDevice ? OTHER_FAILURE : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t)
{
    CUBLAS_CALL(call, handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t mode)
{
    CUBLAS_CALL(call, handle);
    handle->pointers = mode;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "success" : "a failure of the emulated cuBLAS";
}

/* A matrix, in columns; and whether it is to be read as its transpose. */
struct Matrix {
    const void *data;
    cudaDataType type;
    std::int64_t leading;
    bool transposed;

    double at(std::int64_t row, std::int64_t column) const
    {
        const std::int64_t i = transposed ? column + row * leading : row + column * leading;
        switch (type) {
        case CUDA_R_16F:
            return static_cast<double>(__half2float(static_cast<const __half *>(data)[i]));
        case CUDA_R_16BF:
            return static_cast<double>(__bfloat162float(static_cast<const __nv_bfloat16 *>(data)[i]));
        case CUDA_R_32F:
            return static_cast<double>(static_cast<const float *>(data)[i]);
        default:
            return static_cast<const double *>(data)[i];
        }
    }
};

template <typename T> static void store(void *data, cudaDataType type, std::int64_t i, T value)
{
    switch (type) {
    case CUDA_R_16F:
        static_cast<__half *>(data)[i] = __float2half_rn(static_cast<float>(value));
        break;
    case CUDA_R_16BF:
        static_cast<__nv_bfloat16 *>(data)[i] = __float2bfloat16_rn(static_cast<float>(value));
        break;
    case CUDA_R_32F:
        static_cast<float *>(data)[i] = static_cast<float>(value);
        break;
    default:
        static_cast<double *>(data)[i] = static_cast<double>(value);
    }
}

static std::int64_t size_of(cudaDataType type)
{
    return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2;
}

/* C = alpha A B + beta C, computed in T.  What beta = 0 multiplies is not read. */
template <typename T> struct Product {
    std::int64_t m, n, k;
    Matrix a, b, c;
    const T *alpha, *beta;
    bool scales_on_device;
    T alpha_value, beta_value;

    void run() const
    {
        const T scale = scales_on_device ? *alpha : alpha_value, keep = scales_on_device ? *beta : beta_value;
        void *result = const_cast<void *>(c.data);
        for (std::int64_t column = 0; column < n; column++)
            for (std::int64_t row = 0; row < m; row++) {
                T sum = 0;
                if (scale != 0)
                    for (std::int64_t i = 0; i < k; i++)
                        sum += static_cast<T>(a.at(row, i)) * static_cast<T>(b.at(i, column));
                sum *= scale;
                if (keep != 0)
                    sum += keep * static_cast<T>(c.at(row, column));
                store(result, c.type, row + column * c.leading, sum);
            }
    }
};

template <typename T>
static cublasStatus_t multiply(cublasHandle_t handle, std::int64_t m, std::int64_t n, std::int64_t k, const void *alpha,
                               Matrix a, Matrix b, const void *beta, Matrix c)
{
    CUBLAS_CALL(call, handle);
    if (m < 0 || n < 0 || k < 0 || alpha == nullptr || beta == nullptr ||
        a.leading < std::max<std::int64_t>(1, a.transposed ? k : m) ||
        b.leading < std::max<std::int64_t>(1, b.transposed ? n : k) || c.leading < std::max<std::int64_t>(1, m))
        return OTHER_FAILURE;
    const bool same = a.type == b.type, narrow = a.type == CUDA_R_16F || a.type == CUDA_R_16BF;
    const bool known = sizeof(T) == 8 ? a.type == CUDA_R_64F && c.type == CUDA_R_64F
                                      : (narrow && (c.type == a.type || c.type == CUDA_R_32F)) ||
                                            (a.type == CUDA_R_32F && c.type == CUDA_R_32F);
    if (!same || !known)
        return OTHER_FAILURE;
    for (const Matrix &matrix : {a, b, c})
        if (reinterpret_cast<std::uintptr_t>(matrix.data) % static_cast<std::uintptr_t>(size_of(matrix.type)) != 0)
            return OTHER_FAILURE;
    if (m == 0 || n == 0)
        return CUBLAS_STATUS_SUCCESS;
    Product<T> product = {m,
                          n,
                          k,
                          a,
                          b,
                          c,
                          static_cast<const T *>(alpha),
                          static_cast<const T *>(beta),
                          handle->pointers == CUBLAS_POINTER_MODE_DEVICE,
                          0,
                          0};
    if (!product.scales_on_device) {
        product.alpha_value = *product.alpha;
        product.beta_value = *product.beta;
    }
    return status_of(call.result(submit(handle->stream, [product] { product.run(); })));
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t a_op, cublasOperation_t b_op, int m, int n, int k,
                            const void *alpha, const void *a, cudaDataType a_type, int lda, const void *b,
                            cudaDataType b_type, int ldb, const void *beta, void *c, cudaDataType c_type, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t)
{
    const Matrix left = {a, a_type, lda, a_op != CUBLAS_OP_N}, right = {b, b_type, ldb, b_op != CUBLAS_OP_N};
    const Matrix result = {c, c_type, ldc, false};
    switch (compute) {
    case CUBLAS_COMPUTE_32F:
        return multiply<float>(handle, m, n, k, alpha, left, right, beta, result);
    case CUBLAS_COMPUTE_64F:
        return multiply<double>(handle, m, n, k, alpha, left, right, beta, result);
    default:
        return OTHER_FAILURE;
    }
}
