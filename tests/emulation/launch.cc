/*
 * Launches: limits, occupancy, attributes of kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "grid.h"
#include "stream.h"

#include <cstring>
#include <map>
#include <memory>

namespace emulation
{
static std::map<const void *, std::size_t> allowed; /* dynamic shared memory, where it has been raised */
static long launches;

static std::size_t allowed_bytes(const void *kernel)
{
    const auto found = allowed.find(kernel);
    return found == allowed.end() ? SHARED_DEFAULT : found->second;
}

int blocks_of_multiprocessor(const void *kernel, int threads, std::size_t dynamic_bytes)
{
    if (dynamic_bytes > allowed_bytes(kernel))
        return 0;
    int blocks = THREADS_OF_MULTIPROCESSOR / ((threads + 31) / 32 * 32);
    if (blocks == 0)
        blocks = 1; /* a multiprocessor that is smaller than a block is a quirk of this one */
    const std::size_t by_memory = SHARED_LIMIT / (dynamic_bytes + 1024); /* 1 KiB of each block is the system's */
    if (static_cast<std::size_t>(blocks) > by_memory && dynamic_bytes + 1024 < SHARED_LIMIT)
        blocks = static_cast<int>(by_memory);
    return blocks < BLOCKS_OF_MULTIPROCESSOR ? blocks : BLOCKS_OF_MULTIPROCESSOR;
}

/* The errors that CUDA gives. */
static cudaError_t check(const cudaLaunchConfig_t &config, const void *kernel, bool &cooperative)
{
    const dim3 grid = config.gridDim, block = config.blockDim;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0)
        return cudaErrorInvalidConfiguration;
    if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    if (block.x > 1024 || block.y > 1024 || block.z > 64 ||
        static_cast<std::uint64_t>(block.x) * block.y * block.z > 1024)
        return cudaErrorInvalidConfiguration;
    if (config.dynamicSmemBytes > allowed_bytes(kernel))
        return cudaErrorInvalidValue;
    for (unsigned i = 0; i < config.numAttrs; i++) {
        const cudaLaunchAttribute &attribute = config.attrs[i];
        if (attribute.id == cudaLaunchAttributeCooperative)
            cooperative = attribute.val.cooperative != 0;
        else if (attribute.id == cudaLaunchAttributeClusterDimension &&
                 attribute.val.clusterDim.x * attribute.val.clusterDim.y * attribute.val.clusterDim.z != 1)
            return cudaErrorNotSupported;
    }
    const int threads = static_cast<int>(block.x * block.y * block.z);
    const std::uint64_t room =
        static_cast<std::uint64_t>(MULTIPROCESSORS) *
        static_cast<std::uint64_t>(blocks_of_multiprocessor(kernel, threads, config.dynamicSmemBytes));
    if (cooperative && static_cast<std::uint64_t>(grid.x) * grid.y * grid.z > room)
        return cudaErrorCooperativeLaunchTooLarge;
    return cudaSuccess;
}

cudaError_t launch(const cudaLaunchConfig_t &config, const void *kernel, std::function<void()> body)
{
    EMULATION_CALL(call);
    bool cooperative = false;
    const cudaError_t error = check(config, kernel, cooperative);
    if (error != cudaSuccess)
        return call.result(error);
    const CUstream_st &stream = stream_of(config.stream);
    if (!is_stream(&stream) || (!stream.is_default && stream.device != current_device()))
        return call.result(cudaErrorInvalidResourceHandle);
    const Launch launch = {config.gridDim, config.blockDim, config.dynamicSmemBytes,
                           cooperative,    kernel,          std::move(body)};
    return call.result(submit(config.stream, [launch] {
        launches++;
        run(launch);
    }));
}
} // namespace emulation

using namespace emulation;

long emulation_launches(void)
{
    const auto held = hold();
    return launches;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value)
{
    EMULATION_CALL(call);
    if (kernel == nullptr)
        return call.result(cudaErrorInvalidDeviceFunction);
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
        return call.result();
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        static_cast<std::size_t>(value) > SHARED_LIMIT)
        return call.result(cudaErrorInvalidValue);
    allowed[kernel] = static_cast<std::size_t>(value);
    return call.result();
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *kernel)
{
    EMULATION_CALL(call);
    if (kernel == nullptr)
        return call.result(cudaErrorInvalidDeviceFunction);
    if (capability_of(current_device()) < CAPABILITY)
        return call.result(cudaErrorNoKernelImageForDevice);
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->ptxVersion = attributes->binaryVersion = CAPABILITY;
    attributes->maxDynamicSharedSizeBytes = static_cast<int>(allowed_bytes(kernel));
    return call.result();
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *kernel, int threads,
                                                                   size_t dynamic_bytes, unsigned)
{
    EMULATION_CALL(call);
    if (kernel == nullptr)
        return call.result(cudaErrorInvalidDeviceFunction);
    if (threads <= 0)
        return call.result(cudaErrorInvalidValue);
    *blocks = threads > 1024 ? 0 : blocks_of_multiprocessor(kernel, threads, dynamic_bytes);
    return call.result();
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel, int threads,
                                                          size_t dynamic_bytes)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, kernel, threads, dynamic_bytes, 0);
}
