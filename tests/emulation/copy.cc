/*
 * Copies and fills.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime.h"

#include <cstring>
#include <memory>
#include <vector>

namespace emulation
{
/* Rows of bytes, one row if it is not a matter of two dimensions. */
struct Copy {
    char *to;
    std::size_t to_pitch;
    const char *from;
    std::size_t from_pitch, width, height;
    cudaMemcpyKind kind;

    std::size_t to_size() const
    {
        return height == 0 ? 0 : (height - 1) * to_pitch + width;
    }
    std::size_t from_size() const
    {
        return height == 0 ? 0 : (height - 1) * from_pitch + width;
    }
    void run() const
    {
        for (std::size_t row = 0; row < height; row++)
            memmove(to + row * to_pitch, from + row * from_pitch, width);
    }
};

static bool is_device(cudaMemoryType type)
{
    return type == cudaMemoryTypeDevice || type == cudaMemoryTypeManaged;
}

/* That the addresses are where the kind says, within one allocation. */
static cudaError_t check(const Copy &copy)
{
    if (copy.width == 0 || copy.height == 0)
        return cudaSuccess;
    if (copy.width > copy.to_pitch || copy.width > copy.from_pitch)
        return cudaErrorInvalidPitchValue;
    const bool to = is_device(memory_at(copy.to, copy.to_size()).type);
    const bool from = is_device(memory_at(copy.from, copy.from_size()).type);
    switch (copy.kind) {
    case cudaMemcpyHostToDevice:
        return to ? cudaSuccess : cudaErrorInvalidValue;
    case cudaMemcpyDeviceToHost:
        return from ? cudaSuccess : cudaErrorInvalidValue;
    case cudaMemcpyDeviceToDevice:
        return to && from ? cudaSuccess : cudaErrorInvalidValue;
    case cudaMemcpyHostToHost:
    case cudaMemcpyDefault:
        return cudaSuccess;
    default:
        return cudaErrorInvalidMemcpyDirection;
    }
}

/*
 * CUDA copies from memory that is not pinned before the call returns, and to such memory as well: only the others are
 * queued, unless a capture records them.
 */
static cudaError_t copy_queued(const Copy &copy, cudaStream_t stream)
{
    EMULATION_CALL(call);
    const cudaError_t error = check(copy);
    if (error != cudaSuccess || copy.width == 0 || copy.height == 0)
        return call.result(error);
    if (is_capturing(stream) || !is_deferred())
        return call.result(submit(stream, [copy] { copy.run(); }));
    if (memory_at(copy.to, copy.to_size()).type == cudaMemoryTypeUnregistered) {
        const cudaError_t submitted = submit(stream, [copy] { copy.run(); });
        finish(stream);
        return call.result(submitted);
    }
    if (memory_at(copy.from, copy.from_size()).type == cudaMemoryTypeUnregistered) {
        auto staged = std::make_shared<std::vector<char>>(copy.from, copy.from + copy.from_size());
        return call.result(submit(stream, [copy, staged] {
            Copy from_staging = copy;
            from_staging.from = staged->data();
            from_staging.run();
        }));
    }
    return call.result(submit(stream, [copy] { copy.run(); }));
}

static cudaError_t copy_now(const Copy &copy)
{
    EMULATION_CALL(call);
    if (capture_forbids())
        return call.result(cudaErrorStreamCaptureUnsupported);
    const cudaError_t error = check(copy);
    if (error == cudaSuccess) {
        finish(nullptr);
        const Access access;
        copy.run();
    }
    return call.result(error);
}

static Copy line(void *to, const void *from, std::size_t size, cudaMemcpyKind kind)
{
    return {static_cast<char *>(to), size, static_cast<const char *>(from), size, size, 1, kind};
}

static cudaError_t check_fill(const void *memory, std::size_t size)
{
    return size == 0 || memory_at(memory, size).type != cudaMemoryTypeUnregistered ? cudaSuccess
                                                                                   : cudaErrorInvalidValue;
}
} // namespace emulation

using namespace emulation;

cudaError_t cudaMemcpy(void *to, const void *from, size_t size, cudaMemcpyKind kind)
{
    return copy_now(line(to, from, size, kind));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, cudaMemcpyKind kind, cudaStream_t stream)
{
    return copy_queued(line(to, from, size, kind), stream);
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                         cudaMemcpyKind kind)
{
    return copy_now(
        {static_cast<char *>(to), to_pitch, static_cast<const char *>(from), from_pitch, width, height, kind});
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream)
{
    return copy_queued(
        {static_cast<char *>(to), to_pitch, static_cast<const char *>(from), from_pitch, width, height, kind}, stream);
}

cudaError_t cudaMemset(void *memory, int value, size_t size)
{
    EMULATION_CALL(call);
    if (capture_forbids())
        return call.result(cudaErrorStreamCaptureUnsupported);
    const cudaError_t error = check_fill(memory, size);
    if (error == cudaSuccess && size != 0) {
        finish(nullptr);
        const Access access;
        memset(memory, value, size);
    }
    return call.result(error);
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t size, cudaStream_t stream)
{
    EMULATION_CALL(call);
    const cudaError_t error = check_fill(memory, size);
    if (error != cudaSuccess || size == 0)
        return call.result(error);
    return call.result(submit(stream, [memory, value, size] { memset(memory, value, size); }));
}

cudaError_t cudaMemset2DAsync(void *memory, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream)
{
    EMULATION_CALL(call);
    if (width == 0 || height == 0)
        return call.result();
    const cudaError_t error = check_fill(memory, (height - 1) * pitch + width);
    if (error != cudaSuccess)
        return call.result(error);
    return call.result(submit(stream, [memory, pitch, value, width, height] {
        for (std::size_t row = 0; row < height; row++)
            memset(static_cast<char *>(memory) + row * pitch, value, width);
    }));
}
