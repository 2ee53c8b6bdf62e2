/*
 * Captures and graphs.
 *
 * A graph keeps its tasks in the order in which they were captured, which is one of those that it allows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "stream.h"

#include <algorithm>

namespace emulation
{
std::vector<std::shared_ptr<Capture>> captures;

bool is_capturing(cudaStream_t stream)
{
    return stream_of(stream).capture != nullptr;
}

bool capture_forbids()
{
    bool forbidden = false;
    for (const auto &capture : captures)
        if (capture->mode == cudaStreamCaptureModeGlobal ||
            (capture->mode == cudaStreamCaptureModeThreadLocal && capture->thread == std::this_thread::get_id()))
            forbidden = capture->spoilt = true;
    return forbidden;
}
} // namespace emulation

using namespace emulation;

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode)
{
    EMULATION_CALL(call);
    CUstream_st &stream = stream_of(handle);
    if (!is_stream(&stream))
        return call.result(cudaErrorInvalidResourceHandle);
    if (stream.is_default)
        return call.result(cudaErrorStreamCaptureUnsupported);
    if (stream.capture != nullptr)
        return call.result(cudaErrorIllegalState);
    stream.capture = std::make_shared<Capture>();
    stream.capture->origin = &stream;
    stream.capture->mode = mode;
    stream.capture->thread = std::this_thread::get_id();
    captures.push_back(stream.capture);
    return call.result();
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph)
{
    const Call call;
    CUstream_st &stream = stream_of(handle);
    *graph = nullptr;
    if (!is_stream(&stream) || stream.capture == nullptr)
        return call.result(cudaErrorIllegalState);
    const std::shared_ptr<Capture> capture = stream.capture;
    if (capture->origin != &stream)
        return call.result(cudaErrorStreamCaptureUnmatched);
    if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
        return call.result(cudaErrorStreamCaptureWrongThread);
    captures.erase(std::find(captures.begin(), captures.end(), capture));
    stream.capture = nullptr;
    for (CUstream_st *other : streams)
        if (other->capture == capture)
            other->capture = nullptr;
    if (call.error != cudaSuccess)
        return call.result();
    if (capture->spoilt)
        return call.result(cudaErrorStreamCaptureInvalidated);
    if (!capture->unjoined.empty())
        return call.result(cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st{std::move(capture->tasks)};
    live_objects++;
    return call.result();
}

static cudaStreamCaptureStatus status_of(const CUstream_st &stream)
{
    return stream.capture == nullptr ? cudaStreamCaptureStatusNone
           : stream.capture->spoilt  ? cudaStreamCaptureStatusInvalidated
                                     : cudaStreamCaptureStatusActive;
}

/* Of the default stream, CUDA answers only while no blocking stream captures. */
static cudaError_t implicit(const CUstream_st &stream)
{
    if (stream.is_default)
        for (const auto &capture : captures)
            if (capture->origin->blocking)
                return cudaErrorStreamCaptureImplicit;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status)
{
    EMULATION_CALL(call);
    const CUstream_st &stream = stream_of(handle);
    if (!is_stream(&stream))
        return call.result(cudaErrorInvalidResourceHandle);
    *status = status_of(stream);
    return call.result(implicit(stream));
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long)
{
    EMULATION_CALL(call);
    if (executable == nullptr || graph == nullptr)
        return call.result(cudaErrorInvalidValue);
    *executable = new CUgraphExec_st{graph->tasks};
    live_objects++;
    return call.result();
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags)
{
    return cudaGraphInstantiate(executable, graph, flags);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    EMULATION_CALL(call);
    if (executable == nullptr)
        return call.result(cudaErrorInvalidValue);
    return call.result(submit(stream, [tasks = executable->tasks] {
        for (const Work &task : tasks)
            task();
    }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    const Call call;
    if (graph == nullptr)
        return call.result(cudaErrorInvalidValue);
    delete graph;
    live_objects--;
    return call.result();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    const Call call;
    if (executable == nullptr)
        return call.result(cudaErrorInvalidValue);
    delete executable;
    live_objects--;
    return call.result();
}
