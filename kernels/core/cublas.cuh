/*
 * cuBLAS, which the first call that needs it opens: all others work without it.
 *
 * The declarations are those of cublas_v2.h as far as they are used, so that the module builds where there is none.
 * The numbers are part of cuBLAS's ABI, in CUDA 12 and 13 alike.  tests/emulation/cublas_header.cc compares all of it
 * with the real header.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUBLAS_H
#define PLB_CUBLAS_H

#include <driver_types.h>
#include <library_types.h>
#include <stddef.h>

typedef struct cublasContext *cublasHandle_t;
typedef enum {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_ALLOC_FAILED = 3
} cublasStatus_t;
typedef enum { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 } cublasOperation_t;
typedef enum { CUBLAS_POINTER_MODE_HOST = 0, CUBLAS_POINTER_MODE_DEVICE = 1 } cublasPointerMode_t;
typedef enum { CUBLAS_DEFAULT_MATH = 0, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION = 16 } cublasMath_t;
typedef enum { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_64F = 70 } cublasComputeType_t;
typedef enum { CUBLAS_GEMM_DEFAULT = -1 } cublasGemmAlgo_t;

/* The functions, and a handle; NULL: it has not been opened. */
typedef struct plb_cublas {
    cublasHandle_t handle;
    cublasStatus_t (*create)(cublasHandle_t *handle);
    cublasStatus_t (*destroy)(cublasHandle_t handle);
    cublasStatus_t (*set_stream)(cublasHandle_t handle, cudaStream_t stream);
    cublasStatus_t (*set_workspace)(cublasHandle_t handle, void *data, size_t size);
    cublasStatus_t (*set_math_mode)(cublasHandle_t handle, cublasMath_t mode);
    cublasStatus_t (*set_pointer_mode)(cublasHandle_t handle, cublasPointerMode_t mode);
    const char *(*status_string)(cublasStatus_t status);
    cublasStatus_t (*gemm)(cublasHandle_t handle, cublasOperation_t a_operation, cublasOperation_t b_operation, int m,
                           int n, int k, const void *alpha, const void *a, cudaDataType a_type, int a_pitch,
                           const void *b, cudaDataType b_type, int b_pitch, const void *beta, void *c,
                           cudaDataType c_type, int c_pitch, cublasComputeType_t compute, cublasGemmAlgo_t algorithm);
} plb_cublas;

#endif
