/*
 * The part of the runtime's API that is C++.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_LANGUAGE_LAUNCH_H
#define EMULATION_LANGUAGE_LAUNCH_H

#include "machine.h"

#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

template <typename... Parameters, typename... Arguments>
inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Parameters...),
                                      Arguments &&...arguments)
{
    static_assert((0 + ... + sizeof(Parameters)) <= 32764, "a kernel's parameters are limited to 32,764 bytes");
    static_assert((true && ... && std::is_trivially_copyable_v<Parameters>), "parameters are copied as bytes");
    /* Copied now, like CUDA does: the kernel may run much later. */
    auto copies = std::make_shared<const std::tuple<Parameters...>>(std::forward<Arguments>(arguments)...);
    return emulation::launch(*config, reinterpret_cast<const void *>(kernel),
                             [kernel, copies] { std::apply(kernel, *copies); });
}

template <typename... Parameters>
inline cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value)
{
    return ::cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attribute, value);
}

template <typename... Parameters>
inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, void (*kernel)(Parameters...))
{
    return ::cudaFuncGetAttributes(attributes, reinterpret_cast<const void *>(kernel));
}

template <typename... Parameters>
inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void (*kernel)(Parameters...),
                                                                 int threads, size_t dynamic_bytes)
{
    return ::cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, reinterpret_cast<const void *>(kernel), threads,
                                                           dynamic_bytes);
}

template <typename... Parameters>
inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, void (*kernel)(Parameters...),
                                                                          int threads, size_t dynamic_bytes,
                                                                          unsigned flags)
{
    return ::cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, reinterpret_cast<const void *>(kernel),
                                                                    threads, dynamic_bytes, flags);
}

template <typename T> inline cudaError_t cudaMalloc(T **memory, size_t size)
{
    return ::cudaMalloc(reinterpret_cast<void **>(memory), size);
}

template <typename T> inline cudaError_t cudaMallocAsync(T **memory, size_t size, cudaStream_t stream)
{
    return ::cudaMallocAsync(reinterpret_cast<void **>(memory), size, stream);
}

template <typename T>
inline cudaError_t cudaMallocManaged(T **memory, size_t size, unsigned flags = cudaMemAttachGlobal)
{
    return ::cudaMallocManaged(reinterpret_cast<void **>(memory), size, flags);
}

template <typename T> inline cudaError_t cudaMallocHost(T **memory, size_t size, unsigned = 0)
{
    return ::cudaMallocHost(reinterpret_cast<void **>(memory), size);
}

inline cudaError_t cudaEventCreate(cudaEvent_t *event, unsigned flags)
{
    return ::cudaEventCreateWithFlags(event, flags);
}

#endif
