/*
 * Which devices the module has code for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/code.cuh"

#include <stdio.h>

/* The compute capabilities times 100 that the compiler was told, in rising order. */
static const int built[] = {__CUDA_ARCH_LIST__};
enum { BUILT = sizeof built / sizeof *built };

static __global__ void no_work()
{
}

static cudaError_t capability_of(int device, int *major, int *minor)
{
    const cudaError_t error = cudaDeviceGetAttribute(major, cudaDevAttrComputeCapabilityMajor, device);
    return error != cudaSuccess ? error : cudaDeviceGetAttribute(minor, cudaDevAttrComputeCapabilityMinor, device);
}

cudaError_t plb_has_code(int device, bool *has_code)
{
    int major = 0, minor = 0;
    const cudaError_t error = capability_of(device, &major, &minor);
    const int capability = 100 * major + 10 * minor;
    *has_code = capability >= built[BUILT - 1];
    for (int i = 0; i < BUILT; i++)
        if (built[i] / 100 == major && built[i] <= capability)
            *has_code = true;
    return error;
}

cudaError_t plb_load_code()
{
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, no_work);
}

bool plb_is_lack_of_code(cudaError_t error)
{
    switch (error) {
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidKernelImage:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidPtx:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorJitCompilerNotFound:
    case cudaErrorJitCompilationDisabled:
        return true;
    default:
        return false;
    }
}

void plb_tell_lack_of_code(int device, cudaError_t error, char *reason, size_t reason_size)
{
    char list[120] = "";
    int major = 0, minor = 0;
    size_t length = 0;
    capability_of(device, &major, &minor);
    for (int i = 0; i < BUILT && length < sizeof list; i++)
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%d.%d", i ? ", " : "", built[i] / 100,
                                   built[i] / 10 % 10);
    snprintf(reason, reason_size,
             "CUDA device %d has compute capability %d.%d, the CUDA module was built for %s: %s (%s); build it with "
             "-Dcuda-architectures=%d%d",
             device, major, minor, list, cudaGetErrorString(error), cudaGetErrorName(error), major, minor);
}
