/*
 * The device: with very little of everything.  One, unless a test asks for more.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime.h"

#include <cstdio>
#include <cstring>

namespace emulation
{
static bool has_pools = true;
static int capabilities[8];

bool device_has_pools()
{
    return has_pools;
}

int capability_of(int device)
{
    return capabilities[device] != 0 ? capabilities[device] : CAPABILITY;
}
} // namespace emulation

using namespace emulation;

void emulation_pools(int on)
{
    const auto held = hold();
    has_pools = on != 0;
}

void emulation_capability(int device, int capability)
{
    const auto held = hold();
    capabilities[device] = capability;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    EMULATION_QUERY(call);
    *version = CUDART_VERSION;
    return call.result();
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    EMULATION_QUERY(call);
    *version = CUDART_VERSION;
    return call.result();
}

static const struct {
    cudaDeviceAttr attribute;
    int value;
} attributes[] = {
    {cudaDevAttrMaxThreadsPerBlock, 1024},
    {cudaDevAttrMaxBlockDimX, 1024},
    {cudaDevAttrMaxBlockDimY, 1024},
    {cudaDevAttrMaxBlockDimZ, 64},
    {cudaDevAttrMaxGridDimX, 2147483647},
    {cudaDevAttrMaxGridDimY, 65535},
    {cudaDevAttrMaxGridDimZ, 65535},
    {cudaDevAttrMaxSharedMemoryPerBlock, static_cast<int>(SHARED_DEFAULT)},
    {cudaDevAttrMaxSharedMemoryPerBlockOptin, static_cast<int>(SHARED_LIMIT)},
    {cudaDevAttrMaxSharedMemoryPerMultiprocessor, static_cast<int>(SHARED_LIMIT) + 1024},
    {cudaDevAttrReservedSharedMemoryPerBlock, 1024},
    {cudaDevAttrTotalConstantMemory, 65536},
    {cudaDevAttrWarpSize, 32},
    {cudaDevAttrMaxRegistersPerBlock, 65536},
    {cudaDevAttrMaxRegistersPerMultiprocessor, 65536},
    {cudaDevAttrClockRate, 1000000},
    {cudaDevAttrMemoryClockRate, 1000000},
    {cudaDevAttrGlobalMemoryBusWidth, 64},
    {cudaDevAttrL2CacheSize, 1 << 20},
    {cudaDevAttrMultiProcessorCount, MULTIPROCESSORS},
    {cudaDevAttrMaxThreadsPerMultiProcessor, THREADS_OF_MULTIPROCESSOR},
    {cudaDevAttrMaxBlocksPerMultiprocessor, BLOCKS_OF_MULTIPROCESSOR},
    {cudaDevAttrConcurrentKernels, 1},
    {cudaDevAttrUnifiedAddressing, 1},
    {cudaDevAttrManagedMemory, 1},
    {cudaDevAttrCooperativeLaunch, 1},
    {cudaDevAttrStreamPrioritiesSupported, 0},
    {cudaDevAttrComputeMode, cudaComputeModeDefault},
};

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    EMULATION_QUERY(call);
    if (!is_device(device))
        return call.result(cudaErrorInvalidDevice);
    *value = 0; /* what it does not have */
    for (const auto &known : attributes)
        if (known.attribute == attribute)
            *value = known.value;
    if (attribute == cudaDevAttrComputeCapabilityMajor)
        *value = capability_of(device) / 10;
    if (attribute == cudaDevAttrComputeCapabilityMinor)
        *value = capability_of(device) % 10;
    if (attribute == cudaDevAttrMemoryPoolsSupported)
        *value = has_pools;
    return call.result(attribute <= 0 || attribute >= cudaDevAttrMax ? cudaErrorInvalidValue : cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
    EMULATION_QUERY(call);
    if (!is_device(device))
        return call.result(cudaErrorInvalidDevice);
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "emulated device");
    properties->totalGlobalMem = std::size_t{4} << 30;
    properties->sharedMemPerBlock = SHARED_DEFAULT;
    properties->sharedMemPerBlockOptin = SHARED_LIMIT;
    properties->sharedMemPerMultiprocessor = SHARED_LIMIT + 1024;
    properties->reservedSharedMemPerBlock = 1024;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = 2147483647;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->totalConstMem = 65536;
    properties->major = capability_of(device) / 10;
    properties->minor = capability_of(device) % 10;
    properties->multiProcessorCount = MULTIPROCESSORS;
    properties->maxThreadsPerMultiProcessor = THREADS_OF_MULTIPROCESSOR;
    properties->maxBlocksPerMultiProcessor = BLOCKS_OF_MULTIPROCESSOR;
    properties->l2CacheSize = 1 << 20;
    properties->concurrentKernels = properties->unifiedAddressing = properties->managedMemory = 1;
    properties->memoryPoolsSupported = has_pools;
    properties->cooperativeLaunch = 1;
    return call.result();
}

/* Pools: there is the default one, and it does nothing. */
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device)
{
    static char the_pool;
    EMULATION_QUERY(call);
    *pool = reinterpret_cast<cudaMemPool_t>(&the_pool);
    return call.result(is_device(device) ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *)
{
    EMULATION_QUERY(call);
    return call.result();
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t)
{
    EMULATION_QUERY(call);
    return call.result();
}

static const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorStubLibrary, "cudaErrorStubLibrary", "CUDA driver is a stub library"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed in the present state"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorCooperativeLaunchTooLarge, "cudaErrorCooperativeLaunchTooLarge", "too many blocks in cooperative launch"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const char *cudaGetErrorName(cudaError_t error)
{
    for (const auto &known : errors)
        if (known.error == error)
            return known.name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    for (const auto &known : errors)
        if (known.error == error)
            return known.text;
    return "unrecognized error code";
}
