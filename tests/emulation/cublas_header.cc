/*
 * That core/cublas.cuh declares cuBLAS as its own header does: where there is one, this must compile.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <driver_types.h>
#include <library_types.h>
#include <stddef.h>

namespace ours
{
#include "core/cublas.cuh"
}

#include <cublas_v2.h>

#include <type_traits>

template <typename... Ours, typename... Theirs, typename Result>
static constexpr bool are_alike(Result (*)(Ours...), cublasStatus_t (*)(Theirs...))
{
    return ((sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>)&&...);
}

#define SAME(name) static_assert(static_cast<int>(ours::name) == static_cast<int>(name), #name)
#define ALIKE(member, name) static_assert(are_alike(decltype(ours::plb_cublas::member)(), name), #name)

SAME(CUBLAS_STATUS_SUCCESS);
SAME(CUBLAS_STATUS_NOT_INITIALIZED);
SAME(CUBLAS_STATUS_ALLOC_FAILED);
SAME(CUBLAS_OP_N);
SAME(CUBLAS_OP_T);
SAME(CUBLAS_POINTER_MODE_HOST);
SAME(CUBLAS_POINTER_MODE_DEVICE);
SAME(CUBLAS_DEFAULT_MATH);
SAME(CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
SAME(CUBLAS_COMPUTE_32F);
SAME(CUBLAS_COMPUTE_64F);
SAME(CUBLAS_GEMM_DEFAULT);

ALIKE(create, cublasCreate_v2);
ALIKE(destroy, cublasDestroy_v2);
ALIKE(set_stream, cublasSetStream_v2);
ALIKE(set_workspace, cublasSetWorkspace_v2);
ALIKE(set_math_mode, cublasSetMathMode);
ALIKE(set_pointer_mode, cublasSetPointerMode_v2);
static_assert(std::is_same_v<decltype(cublasGetStatusString(cublasStatus_t())), const char *>);

using gemm = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *,
                                const void *, cudaDataType, int, const void *, cudaDataType, int, const void *, void *,
                                cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
ALIKE(gemm, static_cast<gemm>(cublasGemmEx));
