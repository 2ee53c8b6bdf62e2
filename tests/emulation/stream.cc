/*
 * Streams.
 *
 * Every task has a number.  The default stream waits for all blocking streams and they for it, which is to say that a
 * task runs after those of lower numbers on the other side.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "stream.h"

#include <algorithm>

namespace emulation
{
std::vector<CUstream_st *> streams;
unsigned long last_task;

CUstream_st &stream_of(cudaStream_t handle)
{
    static auto *main = [] {
        auto *stream = new CUstream_st;
        stream->is_default = true;
        return stream;
    }();
    return handle == nullptr || handle == cudaStreamLegacy || handle == cudaStreamPerThread ? *main : *handle;
}

bool is_stream(const CUstream_st *stream)
{
    return stream == &stream_of(nullptr) || std::find(streams.begin(), streams.end(), stream) != streams.end();
}

void drain(CUstream_st &stream, unsigned long last)
{
    while (!stream.queue.empty() && stream.queue.front().number <= last) {
        const Task task = std::move(stream.queue.front());
        stream.queue.pop_front();
        if (stream.is_default) {
            for (CUstream_st *other : streams)
                if (other->blocking)
                    drain(*other, task.number - 1);
        } else if (stream.blocking)
            drain(stream_of(nullptr), task.number - 1);
        const Access access;
        task.work();
    }
}

void finish(cudaStream_t handle)
{
    CUstream_st &stream = stream_of(handle);
    drain(stream, last_task);
    if (stream.is_default)
        for (CUstream_st *other : streams)
            if (other->blocking)
                drain(*other, last_task);
}

void finish_all()
{
    finish(nullptr);
    for (CUstream_st *stream : streams)
        drain(*stream, last_task);
}

cudaError_t submit(cudaStream_t handle, Work work)
{
    CUstream_st &stream = stream_of(handle);
    if (!is_stream(&stream))
        return cudaErrorInvalidResourceHandle;
    if (stream.capture != nullptr) {
        Capture &capture = *stream.capture;
        if (capture.spoilt)
            return cudaErrorStreamCaptureInvalidated;
        capture.tasks.push_back(std::move(work));
        if (&stream != capture.origin)
            capture.unjoined[&stream] = true;
        return cudaSuccess;
    }
    if (stream.is_default)
        for (const auto &capture : captures)
            if (capture->origin->blocking) {
                capture->spoilt = true;
                return cudaErrorStreamCaptureImplicit;
            }
    stream.queue.push_back({++last_task, std::move(work)});
    if (!is_deferred())
        drain(stream, last_task);
    return cudaSuccess;
}
} // namespace emulation

using namespace emulation;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    EMULATION_CALL(call);
    if (stream == nullptr || (flags & ~static_cast<unsigned>(cudaStreamNonBlocking)) != 0)
        return call.result(cudaErrorInvalidValue);
    *stream = new CUstream_st;
    (*stream)->flags = flags;
    (*stream)->device = current_device();
    (*stream)->blocking = (flags & cudaStreamNonBlocking) == 0;
    streams.push_back(*stream);
    live_objects++;
    return call.result();
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int)
{
    return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    const Call call;
    if (stream == nullptr || !is_stream(stream) || &stream_of(stream) == &stream_of(nullptr))
        return call.result(cudaErrorInvalidResourceHandle);
    if (stream->capture != nullptr)
        return call.result(cudaErrorStreamCaptureUnsupported);
    finish(stream);
    streams.erase(std::find(streams.begin(), streams.end(), stream));
    delete stream;
    live_objects--;
    return call.result();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    const Call call;
    if (!is_stream(&stream_of(stream)))
        return call.result(cudaErrorInvalidResourceHandle);
    if (capture_forbids() || is_capturing(stream))
        return call.result(cudaErrorStreamCaptureUnsupported);
    finish(stream);
    return call.result();
}

/* While work is deferred each query does one piece of it, so that who polls gets on. */
cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    const Call call;
    CUstream_st &stream = stream_of(handle);
    if (!is_stream(&stream))
        return call.result(cudaErrorInvalidResourceHandle);
    if (capture_forbids() || stream.capture != nullptr)
        return call.result(cudaErrorStreamCaptureUnsupported);
    if (stream.queue.empty())
        return call.result();
    drain(stream, stream.queue.front().number);
    return call.result(cudaErrorNotReady);
}

cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned *flags)
{
    EMULATION_CALL(call);
    *flags = stream_of(handle).flags;
    return call.result();
}

cudaError_t cudaDeviceSynchronize(void)
{
    const Call call;
    if (capture_forbids())
        return call.result(cudaErrorStreamCaptureUnsupported);
    finish_all();
    return call.result();
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    EMULATION_CALL(call);
    return call.result(submit(stream, [function, data] { function(data); }));
}
