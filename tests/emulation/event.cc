/*
 * Events.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "stream.h"

#include <chrono>

using namespace emulation;

static double now()
{
    using Milliseconds = std::chrono::duration<double, std::milli>;
    return std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static bool is_pending(const CUevent_st &event)
{
    return event.milliseconds != nullptr && *event.milliseconds < 0;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    EMULATION_CALL(call);
    if (event == nullptr)
        return call.result(cudaErrorInvalidValue);
    *event = new CUevent_st;
    (*event)->timing = (flags & cudaEventDisableTiming) == 0;
    live_objects++;
    return call.result();
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    const Call call;
    if (event == nullptr)
        return call.result(cudaErrorInvalidResourceHandle);
    delete event;
    live_objects--;
    return call.result();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle)
{
    EMULATION_CALL(call);
    CUstream_st &stream = stream_of(handle);
    if (event == nullptr || !is_stream(&stream))
        return call.result(cudaErrorInvalidResourceHandle);
    event->stream = &stream;
    event->capture = stream.capture;
    if (stream.capture != nullptr) { /* orders the streams of the capture, and leaves nothing to run */
        event->milliseconds = nullptr;
        return call.result(stream.capture->spoilt ? cudaErrorStreamCaptureInvalidated : cudaSuccess);
    }
    auto when = std::make_shared<double>(-1);
    event->milliseconds = when;
    const cudaError_t error = submit(handle, [when] { *when = now(); });
    event->task = last_task;
    return call.result(error);
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned)
{
    return cudaEventRecord(event, stream);
}

static cudaError_t join(CUstream_st &stream, const CUevent_st &event)
{
    Capture &capture = *event.capture;
    if (capture.spoilt)
        return cudaErrorStreamCaptureInvalidated;
    if (stream.capture == nullptr)
        stream.capture = event.capture;
    if (stream.capture != event.capture) {
        capture.spoilt = stream.capture->spoilt = true;
        return cudaErrorStreamCaptureMerge;
    }
    if (&stream == capture.origin)
        capture.unjoined.erase(event.stream);
    else
        capture.unjoined[&stream] = true;
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned)
{
    EMULATION_CALL(call);
    CUstream_st &stream = stream_of(handle);
    if (event == nullptr || !is_stream(&stream))
        return call.result(cudaErrorInvalidResourceHandle);
    if (event->capture != nullptr)
        return call.result(join(stream, *event));
    if (stream.capture != nullptr) {
        if (event->stream == nullptr)
            return call.result();
        stream.capture->spoilt = true;
        return call.result(cudaErrorStreamCaptureIsolation);
    }
    if (event->stream == nullptr || event->stream == &stream)
        return call.result();
    return call.result(submit(handle, [other = event->stream, task = event->task] {
        if (is_stream(other))
            drain(*other, task);
    }));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    const Call call;
    if (event == nullptr)
        return call.result(cudaErrorInvalidResourceHandle);
    if (event->capture != nullptr)
        return call.result(cudaErrorCapturedEvent);
    if (capture_forbids())
        return call.result(cudaErrorStreamCaptureUnsupported);
    if (is_pending(*event))
        drain(*event->stream, event->task);
    return call.result();
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    const Call call;
    if (event == nullptr)
        return call.result(cudaErrorInvalidResourceHandle);
    if (event->capture != nullptr)
        return call.result(cudaErrorCapturedEvent);
    if (capture_forbids())
        return call.result(cudaErrorStreamCaptureUnsupported);
    if (!is_pending(*event))
        return call.result();
    drain(*event->stream, event->stream->queue.front().number);
    return call.result(cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    EMULATION_CALL(call);
    if (start == nullptr || end == nullptr || !start->timing || !end->timing || start->milliseconds == nullptr ||
        end->milliseconds == nullptr)
        return call.result(cudaErrorInvalidResourceHandle);
    if (is_pending(*start) || is_pending(*end))
        return call.result(cudaErrorNotReady);
    *milliseconds = static_cast<float>(*end->milliseconds - *start->milliseconds);
    return call.result();
}
