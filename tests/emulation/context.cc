/*
 * Contexts, and the functions of the driver that are about them.
 *
 * As in CUDA, a thread begins without a context.  cudaSetDevice() makes the primary one of a device, if it is not
 * there, and so does the first call that needs a context: that of device 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime.h"

#include <cuda.h>

#include <cstring>

struct CUctx_st {
    int device;
    bool is_there; /* a primary context: it has been made */
};

namespace emulation
{
static constexpr int MOST_DEVICES = 8;
static CUctx_st primary[MOST_DEVICES];
static int devices = 1;
static thread_local CUctx_st *current;

bool is_device(int device)
{
    return device >= 0 && device < devices;
}

static void make_current(CUctx_st *context)
{
    current = context;
    if (context != nullptr)
        context->is_there = true;
}

void need_context()
{
    if (current == nullptr)
        make_current(&primary[0]);
}

int current_device()
{
    return current == nullptr ? 0 : current->device;
}

/* ---- the driver, whose errors cudaGetLastError() does not tell ---- */

static CUresult get_current(CUcontext *context)
{
    const Call call(Needs::nothing);
    *context = current;
    return static_cast<CUresult>(call.error);
}

static CUresult set_current(CUcontext context)
{
    const Call call(Needs::nothing);
    if (call.error == cudaSuccess)
        make_current(context);
    return static_cast<CUresult>(call.error);
}

static CUresult create(CUcontext *context, unsigned, CUdevice device)
{
    *context = new CUctx_st{device, true};
    current = *context;
    live_objects++;
    return CUDA_SUCCESS;
}

static CUresult destroy(CUcontext context)
{
    if (current == context)
        current = nullptr;
    delete context;
    live_objects--;
    return CUDA_SUCCESS;
}

static CUresult get_primary_state(CUdevice device, unsigned *flags, int *is_active)
{
    *flags = 0;
    *is_active = primary[device].is_there;
    return CUDA_SUCCESS;
}

void *driver_function(const char *name)
{
    static const struct {
        const char *name;
        void *function;
    } table[] = {
        {"cuCtxGetCurrent", reinterpret_cast<void *>(get_current)},
        {"cuCtxSetCurrent", reinterpret_cast<void *>(set_current)},
        {"cuCtxCreate_v2", reinterpret_cast<void *>(create)},
        {"cuCtxDestroy_v2", reinterpret_cast<void *>(destroy)},
        {"cuDevicePrimaryCtxGetState", reinterpret_cast<void *>(get_primary_state)},
    };
    for (const auto &known : table)
        if (!strcmp(known.name, name))
            return known.function;
    return nullptr;
}
} // namespace emulation

using namespace emulation;

void emulation_devices(int count)
{
    const auto held = hold();
    devices = count < MOST_DEVICES ? count : MOST_DEVICES;
    current = nullptr;
    for (int i = 0; i < MOST_DEVICES; i++)
        primary[i] = {i, false};
}

cudaError_t cudaGetDeviceCount(int *count)
{
    const Call call(Needs::nothing);
    if (call.error != cudaSuccess)
        return call.result();
    *count = devices;
    return call.result(devices > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device)
{
    const Call call(Needs::nothing);
    if (call.error != cudaSuccess)
        return call.result();
    if (!is_device(device))
        return call.result(cudaErrorInvalidDevice);
    primary[device].device = device;
    make_current(&primary[device]);
    return call.result();
}

cudaError_t cudaGetDevice(int *device)
{
    const Call call(Needs::nothing);
    *device = current_device();
    return call.result();
}

static cudaError_t entry_point(const char *name, void **function)
{
    const Call call(Needs::nothing);
    *function = call.error == cudaSuccess ? driver_function(name) : nullptr;
    return call.result();
}

cudaError_t cudaGetDriverEntryPoint(const char *name, void **function, unsigned long long,
                                    cudaDriverEntryPointQueryResult *)
{
    return entry_point(name, function);
}

#if CUDART_VERSION >= 12050
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult *)
{
    return entry_point(name, function);
}
#endif
