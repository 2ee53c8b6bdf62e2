/*
 * The functions of the emulated cuBLAS, visible, so that the library finds them as it would the real ones.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_CUBLAS_H
#define EMULATION_CUBLAS_H

#include "core/cublas.cuh"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define EMULATION_AS(member) __typeof__(*((plb_cublas *)NULL)->member)
EMULATION_AS(create) cublasCreate_v2;
EMULATION_AS(destroy) cublasDestroy_v2;
EMULATION_AS(set_stream) cublasSetStream_v2;
EMULATION_AS(set_workspace) cublasSetWorkspace_v2;
EMULATION_AS(set_math_mode) cublasSetMathMode;
EMULATION_AS(set_pointer_mode) cublasSetPointerMode_v2;
EMULATION_AS(status_string) cublasGetStatusString;
EMULATION_AS(gemm) cublasGemmEx;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
