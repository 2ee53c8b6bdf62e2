/*
 * The CUDA backend: contexts, streams, memory and errors.
 *
 * There are two kinds of errors.  An error of a CUDA function is the status of the call.  A value that is not allowed
 * and that only a kernel sees is counted in the context's device state, and synchronize() reports the counts.  A fault
 * of the device loses the context, because CUDA answers every later call with the same error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/cuda.cuh"

#include "core/code.cuh"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const plb_services *services;

poslabel_status plb_cuda_fail(const plb_call *call, poslabel_status status, const char *format, ...)
{
    char text[400];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return services->fail(call, status, "%s", text);
}

poslabel_status plb_cuda_workspace(const plb_call *call, size_t size, void **data)
{
    return services->workspace(call, size, data);
}

/*
 * Whether every later call will fail with this error too: what CUDA says leaves the process in an inconsistent state,
 * what hardware has lost, and the end of the context.  cudaErrorUnknown is not among them: if it lasts, every call will
 * say so, and if it does not, the context is as good as before.
 */
static bool is_lasting(cudaError_t error)
{
    switch ((int)error) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case 226: /* cudaErrorContained, which older headers lack */
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case 721: /* cudaErrorTensorMemoryLeak, likewise */
    case cudaErrorMpsRpcFailure:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
        return true;
    default:
        return false;
    }
}

poslabel_status plb_cuda_check(const plb_call *call, cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return POSLABEL_OK;
    cudaGetLastError(); /* clears an error that does not last: the host's next check must not see it */
    if (error == cudaErrorMemoryAllocation)
        return plb_cuda_fail(call, POSLABEL_ERROR_MEMORY, "%s: the device has no memory left", what);
    if (is_lasting(error))
        plb_cuda_of(call)->fault = error;
    return plb_cuda_fail(call, POSLABEL_ERROR_DEVICE, "%s failed: %s (%s)%s", what, cudaGetErrorString(error),
                         cudaGetErrorName(error), is_lasting(error) ? "; the context is lost" : "");
}

/* Clears an error that cannot be reported any more, so that the host's next check does not see it. */
static void ignore(cudaError_t error)
{
    if (error != cudaSuccess)
        cudaGetLastError();
}

/*
 * ---- a call makes the primary context of its device current, and then restores the host's ----
 *
 * By the driver: cudaSetDevice() would give a thread that had no context one on device 0, and would replace a context
 * of the host's own by a primary one.  The numbers of the driver's errors are those of the runtime.
 */

static cudaError_t enter_context(const plb_cuda *cuda, CUcontext *previous)
{
    *previous = cuda->primary;
    CUresult result = cuda->get_context(previous);
    if (result == CUDA_SUCCESS && *previous != cuda->primary)
        result = cuda->set_context(cuda->primary);
    return (cudaError_t)result;
}

static cudaError_t leave_context(const plb_cuda *cuda, CUcontext previous)
{
    return previous == cuda->primary ? cudaSuccess : (cudaError_t)cuda->set_context(previous);
}

static poslabel_status enter(const plb_call *call, CUcontext *previous)
{
    const plb_cuda *const cuda = plb_cuda_of(call);
    if (cuda->fault != cudaSuccess)
        return plb_cuda_fail(call, POSLABEL_ERROR_DEVICE, "an earlier fault has lost this context: %s (%s)",
                             cudaGetErrorString(cuda->fault), cudaGetErrorName(cuda->fault));
    const poslabel_status status = plb_cuda_check(call, enter_context(cuda, previous), "choosing the device");
    if (status != POSLABEL_OK)
        leave_context(cuda, *previous);
    return status;
}

static poslabel_status leave(const plb_call *call, CUcontext previous, poslabel_status status)
{
    const cudaError_t error = leave_context(plb_cuda_of(call), previous);
    return status != POSLABEL_OK ? status : plb_cuda_check(call, error, "restoring the host's CUDA context");
}

/* An operation as a function of the backend's table. */
template <typename Job, poslabel_status (*operation)(const plb_call *, const Job *)>
static poslabel_status with_device(const plb_call *call, const Job *job)
{
    CUcontext previous;
    PLB_TRY(enter(call, &previous));
    plb_cuda_of(call)->query_error = cudaSuccess;
    return leave(call, previous, operation(call, job));
}

/* ---- memory ---- */

static cudaError_t is_capturing(cudaStream_t stream, bool *capturing)
{
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    const cudaError_t error = cudaStreamIsCapturing(stream, &status);
    *capturing = status != cudaStreamCaptureStatusNone;
    return error;
}

poslabel_status plb_cuda_is_captured(const plb_call *call, bool *captured)
{
    return plb_cuda_check(call, is_capturing(plb_cuda_of(call)->stream, captured),
                          "asking whether the stream is captured");
}

/*
 * The library's own allocator; `user` is the context's plb_cuda, which keeps the error.  A device without memory pools
 * has no allocations in the order of a stream.  There cudaFree() waits until all work of the device is done, so that
 * work that still uses the memory is safe.
 */
static void *default_allocate(void *user, size_t size, void *stream)
{
    plb_cuda *const cuda = (plb_cuda *)user;
    void *data = NULL;
    cuda->refusal = cuda->has_pools ? cudaMallocAsync(&data, size, (cudaStream_t)stream) : cudaMalloc(&data, size);
    ignore(cuda->refusal);
    return cuda->refusal == cudaSuccess ? data : NULL;
}

static void default_release(void *user, void *data, size_t, void *stream)
{
    ignore(((plb_cuda *)user)->has_pools ? cudaFreeAsync(data, (cudaStream_t)stream) : cudaFree(data));
}

static poslabel_status allocate(const plb_call *call, size_t size, void **data)
{
    const poslabel_device_allocator *const allocator = &call->context->device_allocator;
    plb_cuda *const cuda = plb_cuda_of(call);
    CUcontext previous;
    bool capturing;
    PLB_TRY(enter(call, &previous));
    poslabel_status status = plb_cuda_is_captured(call, &capturing);
    if (status == POSLABEL_OK && capturing)
        status = plb_cuda_fail(call, POSLABEL_ERROR_INVALID,
                               "the workspace would grow while the stream is captured; call poslabel_context_reserve() "
                               "with %zu bytes before",
                               size);
    if (status == POSLABEL_OK) {
        cuda->refusal = cudaErrorMemoryAllocation;
        *data = size == SIZE_MAX ? NULL : allocator->allocate(allocator->user, size, cuda->stream);
        if (!*data && cuda->refusal != cudaErrorMemoryAllocation)
            status = plb_cuda_check(call, cuda->refusal, "allocating a workspace");
        else if (!*data)
            status = plb_cuda_fail(call, POSLABEL_ERROR_MEMORY, "no device memory for a workspace of %zu bytes", size);
    }
    leave_context(cuda, previous); /* if it fails, the next call says so; this one has its memory */
    return status;
}

static void release(poslabel_context *context, void *data, size_t size)
{
    const plb_cuda *const cuda = (const plb_cuda *)context->backend_state;
    CUcontext previous;
    ignore(enter_context(cuda, &previous));
    context->device_allocator.release(context->device_allocator.user, data, size, cuda->stream);
    leave_context(cuda, previous);
}

/* ---- contexts ---- */

static void close_context(poslabel_context *context)
{
    plb_cuda *const cuda = (plb_cuda *)context->backend_state;
    CUcontext previous;
    ignore(enter_context(cuda, &previous));
    plb_cublas_close(&cuda->cublas);
    if (cuda->state)
        release(context, cuda->state, sizeof *cuda->state);
    if (cuda->event)
        ignore(cudaEventDestroy(cuda->event));
    leave_context(cuda, previous);
    context->allocator.release(context->allocator.user, cuda, sizeof *cuda);
}

/* A function of the driver, as it was in CUDA 4.0: without linking libcuda, which a machine may lack. */
static cudaError_t find_driver_function(const char *name, void *pointer)
{
#if CUDART_VERSION >= 12050
    const cudaError_t error = cudaGetDriverEntryPointByVersion(name, (void **)pointer, 4000, cudaEnableDefault, NULL);
#else
    const cudaError_t error = cudaGetDriverEntryPoint(name, (void **)pointer, cudaEnableDefault, NULL);
#endif
    return error == cudaSuccess && !*(void **)pointer ? cudaErrorSymbolNotFound : error;
}

/* Fills in the members that need the device, whose primary context is current. */
static cudaError_t prepare(poslabel_context *context, plb_cuda *cuda)
{
    const poslabel_device_allocator *const allocator = &context->device_allocator;
    int has_pools = 0;
    cudaError_t error = plb_load_code();
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&cuda->multiprocessors, cudaDevAttrMultiProcessorCount, cuda->device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&has_pools, cudaDevAttrMemoryPoolsSupported, cuda->device);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&cuda->event, cudaEventDisableTiming);
    if (error != cudaSuccess)
        return error;
    cuda->has_pools = has_pools != 0;
    cuda->refusal = cudaErrorMemoryAllocation;
    cuda->state = (plb_device_state *)allocator->allocate(allocator->user, sizeof *cuda->state, cuda->stream);
    return cuda->state ? cudaMemsetAsync(cuda->state, 0, sizeof *cuda->state, cuda->stream) : cuda->refusal;
}

/* Makes the device's primary context, and what the library needs there. */
static cudaError_t begin(poslabel_context *context, plb_cuda *cuda, bool *capturing)
{
    CUcontext previous;
    cudaError_t error = find_driver_function("cuCtxSetCurrent", &cuda->set_context);
    if (error == cudaSuccess)
        error = find_driver_function("cuCtxGetCurrent", &cuda->get_context);
    if (error == cudaSuccess)
        error = (cudaError_t)cuda->get_context(&previous);
    if (error != cudaSuccess)
        return error;
    error = cudaSetDevice(cuda->device);
    if (error == cudaSuccess)
        error = (cudaError_t)cuda->get_context(&cuda->primary);
    if (error == cudaSuccess)
        error = is_capturing(cuda->stream, capturing);
    if (error == cudaSuccess && !*capturing) /* memory that is allocated during a capture would belong to the graph */
        error = prepare(context, cuda);
    const cudaError_t left = (cudaError_t)cuda->set_context(previous);
    return error == cudaSuccess ? left : error;
}

static poslabel_status open_context(poslabel_context *context, const poslabel_context_options *options, char *reason,
                                    size_t reason_size)
{
    const int device = options->device.id;
    int devices = 0;
    bool capturing = false;
    cudaError_t error = cudaGetDeviceCount(&devices);
    if (error == cudaSuccess && (device < 0 || device >= devices)) {
        snprintf(reason, reason_size, "device id = %d, but there are %d CUDA devices", device, devices);
        return POSLABEL_ERROR_INVALID;
    }
    plb_cuda *const cuda = (plb_cuda *)context->allocator.allocate(context->allocator.user, sizeof *cuda, 64);
    if (!cuda) {
        snprintf(reason, reason_size, "no memory for a context of %zu bytes", sizeof *cuda);
        return POSLABEL_ERROR_MEMORY;
    }
    memset(cuda, 0, sizeof *cuda);
    cuda->device = device;
    cuda->stream = (cudaStream_t)options->stream;
    context->backend_state = cuda;
    context->threads = 0;
    context->isa = POSLABEL_ISA_AUTO;
    if (!context->device_allocator.allocate)
        context->device_allocator = poslabel_device_allocator{cuda, default_allocate, default_release};

    if (error == cudaSuccess)
        error = begin(context, cuda, &capturing);
    if (error == cudaSuccess && !capturing)
        return POSLABEL_OK;
    cudaGetLastError();
    if (cuda->primary)
        close_context(context);
    else
        context->allocator.release(context->allocator.user, cuda, sizeof *cuda);
    if (capturing) {
        snprintf(reason, reason_size, "the stream is being captured; create the context before");
        return POSLABEL_ERROR_INVALID;
    }
    if (plb_is_lack_of_code(error)) {
        plb_tell_lack_of_code(device, error, reason, reason_size);
        return POSLABEL_ERROR_UNSUPPORTED;
    }
    snprintf(reason, reason_size, "CUDA device %d: %s (%s)", device, cudaGetErrorString(error),
             cudaGetErrorName(error));
    return error == cudaErrorMemoryAllocation ? POSLABEL_ERROR_MEMORY : POSLABEL_ERROR_DEVICE;
}

/*
 * Whether the stream is captured, so that it cannot be ordered against another.  While a blocking stream is captured
 * CUDA gives an error for the default stream in place of an answer; that stream cannot be ordered then either.
 */
static cudaError_t is_unordered(cudaStream_t stream, bool *captured)
{
    const cudaError_t error = is_capturing(stream, captured);
    if (error != cudaErrorStreamCaptureImplicit)
        return error;
    cudaGetLastError();
    *captured = true;
    return cudaSuccess;
}

static poslabel_status set_stream_now(const plb_call *call, void *const *stream)
{
    plb_cuda *const cuda = plb_cuda_of(call);
    const cudaStream_t next = (cudaStream_t)*stream;
    bool old_captured = false, next_captured = false;
    if (next == cuda->stream)
        return POSLABEL_OK;
    cudaError_t error = is_unordered(cuda->stream, &old_captured);
    if (error == cudaSuccess)
        error = is_unordered(next, &next_captured);
    if (error == cudaSuccess && !old_captured && !next_captured) {
        error = cudaEventRecord(cuda->event, cuda->stream);
        if (error == cudaSuccess)
            error = cudaStreamWaitEvent(next, cuda->event, 0);
    }
    if (error == cudaSuccess)
        cuda->stream = next;
    return plb_cuda_check(call, error, "changing the stream");
}

static poslabel_status set_stream(const plb_call *call, void *stream)
{
    return with_device<void *, set_stream_now>(call, &stream);
}

/* ---- reports of kernels ---- */

static poslabel_status report(const plb_call *call, const plb_findings *found)
{
    static const char *const rules[PLB_FINDINGS] = {
        "positions of a loss out of range",
        "weights of a loss negative, NaN or infinite",
        "patch_noise NaN",
        "pos_noise NaN",
        "shuffle_noise NaN",
        "ids_keep out of range",
        "positions of tokens out of range",
        "places out of range or given twice",
        "sigma_scalar negative, NaN or infinite",
        "samples of masks out of range",
        "step_scalar out of range",
        "ids_restore out of range",
    };
    char text[400] = "";
    size_t length = 0;
    for (int i = 0; i < PLB_FINDINGS; i++)
        if (found->count[i] && length < sizeof text)
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%s: %llu, the first at index %llu",
                                       length ? "; " : "", rules[i], found->count[i], ~found->first[i]);
    return length ? plb_cuda_fail(call, POSLABEL_ERROR_INVALID, "%s", text) : POSLABEL_OK;
}

static poslabel_status synchronize_now(const plb_call *call, const int *)
{
    const plb_cuda *const cuda = plb_cuda_of(call);
    plb_findings found;
    bool capturing;
    PLB_TRY(plb_cuda_is_captured(call, &capturing));
    if (capturing)
        return plb_cuda_fail(call, POSLABEL_ERROR_INVALID, "the stream is being captured and cannot be waited for");
    memset(&found, 0, sizeof found);
    cudaError_t error =
        cudaMemcpyAsync(&found, &cuda->state->findings, sizeof found, cudaMemcpyDeviceToHost, cuda->stream);
    if (error == cudaSuccess)
        error = cudaMemsetAsync(&cuda->state->findings, 0, sizeof found, cuda->stream);
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(cuda->stream);
    PLB_TRY(plb_cuda_check(call, error, "the work of the stream"));
    return report(call, &found);
}

static poslabel_status synchronize(const plb_call *call)
{
    const int nothing = 0;
    return with_device<int, synchronize_now>(call, &nothing);
}

static constexpr plb_backend make_backend()
{
    plb_backend made = {};
    made.version = PLB_BACKEND_VERSION;
    made.name = "cuda";
    made.open = open_context;
    made.close = close_context;
    made.allocate = allocate;
    made.release = release;
    made.set_stream = set_stream;
    made.synchronize = synchronize;
    /* A discarded statement needs no definition of plb_cuda_##name, even without optimisation. */
#define PLB_JOB(name, job, backends)                                                                                   \
    if constexpr (((backends) & PLB_ON_CUDA) != 0)                                                                     \
        made.name = with_device<job, plb_cuda_##name>;
#include "operations.def"
    return made;
}

static constexpr plb_backend backend = make_backend();

extern "C" __attribute__((visibility("default"))) const plb_backend *
plb_module(uint32_t version, const char *library, const plb_services *given, char *reason, size_t reason_size)
{
    char nowhere[1];
    if (!reason || !reason_size)
        reason = nowhere, reason_size = sizeof nowhere;
    if (version != PLB_BACKEND_VERSION || strcmp(library, PLB_MODULE_VERSION) != 0) {
        snprintf(reason, reason_size,
                 "the CUDA module is of libposlabel " PLB_MODULE_VERSION " (seam %d), the library is %s (seam %u); "
                 "install both from one build",
                 (int)PLB_BACKEND_VERSION, library, (unsigned)version);
        return NULL;
    }
    int devices = 0;
    bool has_code = false;
    cudaError_t error = cudaGetDeviceCount(&devices);
    for (int device = 0; error == cudaSuccess && device < devices && !has_code; device++)
        error = plb_has_code(device, &has_code);
    if (error != cudaSuccess || devices < 1) {
        cudaGetLastError();
        snprintf(reason, reason_size, "no CUDA device: %s (%s)%s",
                 error == cudaSuccess ? "the driver lists none" : cudaGetErrorString(error), cudaGetErrorName(error),
                 error == cudaErrorInsufficientDriver || error == cudaErrorStubLibrary
                     ? "; install or update the NVIDIA driver"
                     : "");
        return NULL;
    }
    if (!has_code) {
        plb_tell_lack_of_code(0, cudaErrorNoKernelImageForDevice, reason, reason_size);
        return NULL;
    }
    services = given;
    return &backend;
}
