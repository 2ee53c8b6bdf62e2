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

/* Whether every later call will fail with this error too; other errors are those of one call. */
static bool is_lasting(cudaError_t error)
{
    switch (error) {
    case cudaErrorMemoryAllocation:
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorCooperativeLaunchTooLarge:
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureImplicit:
    case cudaErrorStreamCaptureIsolation:
    case cudaErrorNotSupported:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidResourceHandle:
        return false;
    default:
        return true;
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

/* ---- a call makes the context's device current, and then restores the host's ---- */

static poslabel_status enter(const plb_call *call, int *previous)
{
    const plb_cuda *const cuda = plb_cuda_of(call);
    *previous = cuda->device;
    if (cuda->fault != cudaSuccess)
        return plb_cuda_fail(call, POSLABEL_ERROR_DEVICE, "an earlier fault has lost this context: %s (%s)",
                             cudaGetErrorString(cuda->fault), cudaGetErrorName(cuda->fault));
    cudaError_t error = cudaGetDevice(previous);
    if (error == cudaSuccess && *previous != cuda->device)
        error = cudaSetDevice(cuda->device);
    return plb_cuda_check(call, error, "choosing the device");
}

/* The same where there is no status to return. */
static int borrow_device(const plb_cuda *cuda)
{
    int previous = cuda->device;
    ignore(cudaGetDevice(&previous));
    if (previous != cuda->device)
        ignore(cudaSetDevice(cuda->device));
    return previous;
}

static void leave(const plb_call *call, int previous)
{
    if (previous != plb_cuda_of(call)->device)
        ignore(cudaSetDevice(previous));
}

/* An operation as a function of the backend's table. */
template <typename Job, poslabel_status (*operation)(const plb_call *, const Job *)>
static poslabel_status with_device(const plb_call *call, const Job *job)
{
    int previous;
    PLB_TRY(enter(call, &previous));
    plb_cuda_of(call)->query_error = cudaSuccess;
    const poslabel_status status = operation(call, job);
    leave(call, previous);
    return status;
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

/* `user` is the context's plb_cuda, where this stores an error that lasts. */
static void *default_allocate(void *user, size_t size, void *stream)
{
    void *data = NULL;
    const cudaError_t error = cudaMallocAsync(&data, size, (cudaStream_t)stream);
    if (error == cudaSuccess)
        return data;
    cudaGetLastError();
    if (is_lasting(error))
        ((plb_cuda *)user)->fault = error;
    return NULL;
}

static void default_release(void *user, void *data, size_t size, void *stream)
{
    (void)user, (void)size;
    ignore(cudaFreeAsync(data, (cudaStream_t)stream));
}

static poslabel_status allocate(const plb_call *call, size_t size, void **data)
{
    const poslabel_device_allocator *const allocator = &call->context->device_allocator;
    plb_cuda *const cuda = plb_cuda_of(call);
    int previous;
    bool capturing;
    PLB_TRY(enter(call, &previous));
    poslabel_status status = plb_cuda_is_captured(call, &capturing);
    if (status == POSLABEL_OK && capturing)
        status = plb_cuda_fail(call, POSLABEL_ERROR_INVALID,
                               "the workspace would grow while the stream is captured; call poslabel_context_reserve() "
                               "with %zu bytes before",
                               size);
    if (status == POSLABEL_OK) {
        *data = size == SIZE_MAX ? NULL : allocator->allocate(allocator->user, size, cuda->stream);
        if (!*data && cuda->fault != cudaSuccess)
            status = plb_cuda_check(call, cuda->fault, "allocating a workspace");
        else if (!*data)
            status = plb_cuda_fail(call, POSLABEL_ERROR_MEMORY, "no device memory for a workspace of %zu bytes", size);
    }
    leave(call, previous);
    return status;
}

static void release(poslabel_context *context, void *data, size_t size)
{
    const plb_call call = {context, "context_trim", NULL};
    const plb_cuda *const cuda = plb_cuda_of(&call);
    const int previous = borrow_device(cuda);
    context->device_allocator.release(context->device_allocator.user, data, size, cuda->stream);
    leave(&call, previous);
}

/* ---- contexts ---- */

static void close_context(poslabel_context *context)
{
    plb_cuda *const cuda = (plb_cuda *)context->backend_state;
    const int previous = borrow_device(cuda);
    if (cuda->close_cublas)
        cuda->close_cublas(cuda->cublas);
    if (cuda->state)
        release(context, cuda->state, sizeof *cuda->state);
    if (cuda->event)
        ignore(cudaEventDestroy(cuda->event));
    if (previous != cuda->device)
        ignore(cudaSetDevice(previous));
    context->allocator.release(context->allocator.user, cuda, sizeof *cuda);
}

/* Fills in the members that need the device.  cuda->device is current. */
static cudaError_t prepare(poslabel_context *context, plb_cuda *cuda)
{
    const poslabel_device_allocator *const allocator = &context->device_allocator;
    cudaError_t error = cudaDeviceGetAttribute(&cuda->multiprocessors, cudaDevAttrMultiProcessorCount, cuda->device);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&cuda->event, cudaEventDisableTiming);
    if (error != cudaSuccess)
        return error;
    cuda->state = (plb_device_state *)allocator->allocate(allocator->user, sizeof *cuda->state, cuda->stream);
    if (!cuda->state)
        return cuda->fault != cudaSuccess ? cuda->fault : cudaErrorMemoryAllocation;
    return cudaMemsetAsync(cuda->state, 0, sizeof *cuda->state, cuda->stream);
}

static poslabel_status open_context(poslabel_context *context, const poslabel_context_options *options, char *reason,
                                    size_t reason_size)
{
    int devices = 0, previous = 0;
    cudaError_t error = cudaGetDeviceCount(&devices);
    if (error == cudaSuccess && (options->device.id < 0 || options->device.id >= devices)) {
        snprintf(reason, reason_size, "device id = %d, but there are %d CUDA devices", (int)options->device.id,
                 devices);
        return POSLABEL_ERROR_INVALID;
    }
    plb_cuda *const cuda = (plb_cuda *)context->allocator.allocate(context->allocator.user, sizeof *cuda, 64);
    if (!cuda) {
        snprintf(reason, reason_size, "no memory for a context of %zu bytes", sizeof *cuda);
        return POSLABEL_ERROR_MEMORY;
    }
    memset(cuda, 0, sizeof *cuda);
    cuda->device = options->device.id;
    cuda->stream = (cudaStream_t)options->stream;
    context->backend_state = cuda;
    context->threads = 0;
    context->isa = POSLABEL_ISA_AUTO;
    if (!context->device_allocator.allocate)
        context->device_allocator = poslabel_device_allocator{cuda, default_allocate, default_release};

    if (error == cudaSuccess)
        error = cudaGetDevice(&previous);
    if (error == cudaSuccess && previous != cuda->device)
        error = cudaSetDevice(cuda->device);
    bool capturing = false;
    if (error == cudaSuccess) {
        error = is_capturing(cuda->stream, &capturing);
        if (error == cudaSuccess && !capturing)
            error = prepare(context, cuda);
        if (previous != cuda->device)
            ignore(cudaSetDevice(previous));
    }
    if (capturing) { /* memory that is allocated now would belong to the graph */
        snprintf(reason, reason_size, "the stream is being captured; create the context before");
        close_context(context);
        return POSLABEL_ERROR_INVALID;
    }
    if (error == cudaSuccess)
        return POSLABEL_OK;
    cudaGetLastError();
    snprintf(reason, reason_size, "CUDA device %d: %s (%s)", cuda->device, cudaGetErrorString(error),
             cudaGetErrorName(error));
    close_context(context);
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
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices < 1) {
        cudaGetLastError();
        snprintf(reason, reason_size, "no CUDA device: %s (%s)%s",
                 error == cudaSuccess ? "the driver lists none" : cudaGetErrorString(error), cudaGetErrorName(error),
                 error == cudaErrorInsufficientDriver || error == cudaErrorStubLibrary
                     ? "; install or update the NVIDIA driver"
                     : "");
        return NULL;
    }
    services = given;
    return &backend;
}
