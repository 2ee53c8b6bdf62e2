/*
 * The runtime's functions by name, for tests that run on real devices as well.
 *
 * The functions themselves are hidden, so that the module never meets those of a real runtime.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime.h"

#include <cstring>

#define FUNCTION(name) {#name, reinterpret_cast<void *>(name)}

void *emulation_function(const char *name)
{
    static const struct {
        const char *name;
        void *function;
    } table[] = {
        FUNCTION(cudaGetDeviceCount),
        FUNCTION(cudaGetDevice),
        FUNCTION(cudaSetDevice),
        FUNCTION(cudaDeviceSynchronize),
        FUNCTION(cudaGetLastError),
        FUNCTION(cudaPeekAtLastError),
        FUNCTION(cudaMalloc),
        FUNCTION(cudaFree),
        FUNCTION(cudaMemcpy),
        FUNCTION(cudaStreamCreateWithFlags),
        FUNCTION(cudaStreamDestroy),
        FUNCTION(cudaStreamSynchronize),
        FUNCTION(cudaStreamBeginCapture),
        FUNCTION(cudaStreamEndCapture),
        FUNCTION(cudaGraphInstantiateWithFlags),
        FUNCTION(cudaGraphLaunch),
        FUNCTION(cudaGraphExecDestroy),
        FUNCTION(cudaGraphDestroy),
    };
    for (const auto &known : table)
        if (!strcmp(known.name, name))
            return known.function;
    return emulation::driver_function(name);
}
