/*
 * The language of the kernels.
 *
 * Under nvcc this is CUDA.  With PLB_EMULATED the host's C++ compiler compiles the same sources over a header of the
 * tests, which runs threads as fibers: this checks kernels where there is no GPU.  Kernels write three things by the
 * macros below, because the emulation has to tell them from ordinary variables, calls and loads: shared memory,
 * barriers, and loads of a word that other threads change atomically.
 *
 *     PLB_SHARED(float, partial, 32);         __shared__ float partial[32];
 *     PLB_SHARED_BYTES(memory);               extern __shared__ unsigned char memory[];  (one a kernel, aligned to 16)
 *     PLB_BARRIER();                          __syncthreads();
 *     PLB_LOAD_VOLATILE(unsigned, address)    *(const volatile unsigned *)(address)
 *
 * Kernels are launched with cudaLaunchKernelEx(), which is plain C++.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_DEVICE_H
#define PLB_DEVICE_H

#ifdef PLB_EMULATED
#include "emulation.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define PLB_SHARED(type, name, count) __shared__ type name[count]
#define PLB_SHARED_BYTES(name) extern __shared__ __align__(16) unsigned char name[]
#define PLB_BARRIER() __syncthreads()
#define PLB_LOAD_VOLATILE(type, address) (*(const volatile type *)(address))

#define PLB_CUBLAS_13 "libcublas.so.13"
#define PLB_CUBLAS_12 "libcublas.so.12"
#endif

#endif
