/*
 * CUDA's language for the host's C++ compiler.
 *
 * What kernels may use beyond CUDA's own names:
 *
 *     PLB_SHARED(type, name, count);   PLB_SHARED_BYTES(name);   PLB_BARRIER();
 *     PLB_BARRIER_OR(x)   PLB_BARRIER_AND(x)   PLB_BARRIER_COUNT(x)      __syncthreads_or(x) and its like
 *     PLB_LOAD_VOLATILE(type, address)
 *
 * Not there on purpose: __shared__ and __syncthreads() (the three macros know their place in the source), and atomic
 * operations on floating point, whose sums depend on who comes first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_H
#define EMULATION_H

#include "machine.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector_functions.h>

#define __CUDA_ARCH_LIST__ 900

/* Not cuBLAS's own names: there may be a real one here. */
#define PLB_CUBLAS_13 "libcublas-emulated.so.13"
#define PLB_CUBLAS_12 "libcublas-emulated.so.12"

constexpr int warpSize = 32;

#undef __shared__
#define __shared__ static_assert(false, "__shared__: declare it with PLB_SHARED or PLB_SHARED_BYTES");
#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

/* A declaration is known by the address of a variable that only it has, in each instance of a template. */
#define PLB_SHARED(type, name, count)                                                                                  \
    type(&name)[count] = *static_cast<type(*)[count]>(emulation::shared_memory(                                        \
        [] {                                                                                                           \
            static char key;                                                                                           \
            return &key;                                                                                               \
        }(),                                                                                                           \
        sizeof(type) * (count), alignof(type), emulation::Place(__FILE__, __LINE__)))
#define PLB_SHARED_BYTES(name)                                                                                         \
    unsigned char(&name)[] =                                                                                           \
        *static_cast<unsigned char(*)[]>(emulation::dynamic_memory(__func__, emulation::Place(__FILE__, __LINE__)))

#define PLB_LOAD_VOLATILE(type, address) emulation::load_volatile(static_cast<const type *>(address))
#define PLB_BARRIER() ((void)emulation::barrier(emulation::Place(__FILE__, __LINE__)))
#define PLB_BARRIER_OR(x) emulation::barrier(emulation::Place(__FILE__, __LINE__), emulation::Vote::any, (x) != 0)
#define PLB_BARRIER_AND(x) emulation::barrier(emulation::Place(__FILE__, __LINE__), emulation::Vote::all, (x) != 0)
#define PLB_BARRIER_COUNT(x) emulation::barrier(emulation::Place(__FILE__, __LINE__), emulation::Vote::count, (x) != 0)

#include "language_access.h"
#include "language_atomics.h"
#include "language_bits.h"
#include "language_launch.h"
#include "language_math.h"
#include "language_warp.h"

#endif
