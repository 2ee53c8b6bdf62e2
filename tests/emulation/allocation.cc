/*
 * Memory of the device.
 *
 * It is the host's, each allocation at its exact size, so that AddressSanitizer sees who leaves it, and filled with
 * bytes that read as NaN.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime.h"

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <sanitizer/asan_interface.h>

namespace emulation
{
static constexpr std::size_t ALIGNMENT = 256, DEVICE_BYTES = std::size_t{4} << 30;

struct Allocation {
    std::size_t size;
    cudaMemoryType type;
};
static std::map<const char *, Allocation> allocations;
static std::size_t used;

/* Hidden memory is poisoned while the host runs. */
static bool hides = true;
static int accesses;

static void poison(const char *memory, const Allocation &allocation, bool poisoned)
{
    if (allocation.type != cudaMemoryTypeDevice)
        return;
    if (poisoned)
        ASAN_POISON_MEMORY_REGION(memory, allocation.size);
    else
        ASAN_UNPOISON_MEMORY_REGION(memory, allocation.size);
}

static void poison_all(bool poisoned)
{
    for (const auto &[memory, allocation] : allocations)
        poison(memory, allocation, poisoned);
}

Access::Access()
{
    if (accesses++ == 0 && hides)
        poison_all(false);
}

Access::~Access()
{
    if (--accesses == 0 && hides)
        poison_all(true);
}

Memory memory_at(const void *address, std::size_t size)
{
    const char *begin = static_cast<const char *>(address);
    auto next = allocations.upper_bound(begin);
    if (next != allocations.begin()) {
        const auto &[base, allocation] = *std::prev(next);
        const std::size_t offset = static_cast<std::size_t>(begin - base);
        if (offset <= allocation.size && size <= allocation.size - offset && (size == 0 || offset < allocation.size))
            return {allocation.type, const_cast<char *>(base), allocation.size};
    }
    return {cudaMemoryTypeUnregistered, nullptr, 0};
}

static cudaError_t allocate(void **memory, std::size_t size, cudaMemoryType type)
{
    if (memory == nullptr)
        return cudaErrorInvalidValue;
    *memory = nullptr;
    if (size == 0)
        return cudaSuccess;
    if (size > DEVICE_BYTES - used || posix_memalign(memory, ALIGNMENT, size) != 0)
        return cudaErrorMemoryAllocation;
    memset(*memory, 0xFF, size);
    poison(static_cast<const char *>(*memory), allocations[static_cast<const char *>(*memory)] = {size, type},
           hides && accesses == 0);
    used += size;
    return cudaSuccess;
}

static bool is_allocation(void *memory, bool pinned)
{
    const auto found = allocations.find(static_cast<const char *>(memory));
    return found != allocations.end() && (found->second.type == cudaMemoryTypeHost) == pinned;
}

static void release(void *memory)
{
    const auto found = allocations.find(static_cast<const char *>(memory));
    used -= found->second.size;
    poison(found->first, found->second, false);
    allocations.erase(found);
    free(memory);
}
} // namespace emulation

using namespace emulation;

void emulation_hide_memory(int on)
{
    const auto held = hold();
    hides = on != 0;
    poison_all(hides);
}

long emulation_live_allocations(void)
{
    const auto held = hold();
    return static_cast<long>(allocations.size());
}

static cudaError_t allocate_now(void **memory, std::size_t size, cudaMemoryType type)
{
    EMULATION_CALL(call);
    if (capture_forbids())
        return call.result(cudaErrorStreamCaptureUnsupported);
    return call.result(allocate(memory, size, type));
}

/* Freeing waits for everything that is under way. */
static cudaError_t free_now(void *memory, bool pinned)
{
    const Call call;
    if (memory == nullptr)
        return call.result();
    if (!is_allocation(memory, pinned))
        return call.result(cudaErrorInvalidValue);
    if (capture_forbids())
        return call.result(cudaErrorStreamCaptureUnsupported);
    finish_all();
    release(memory);
    return call.result();
}

cudaError_t cudaMalloc(void **memory, size_t size)
{
    return allocate_now(memory, size, cudaMemoryTypeDevice);
}

cudaError_t cudaMallocManaged(void **memory, size_t size, unsigned)
{
    return allocate_now(memory, size, cudaMemoryTypeManaged);
}

cudaError_t cudaMallocHost(void **memory, size_t size)
{
    return allocate_now(memory, size, cudaMemoryTypeHost);
}

cudaError_t cudaHostAlloc(void **memory, size_t size, unsigned)
{
    return allocate_now(memory, size, cudaMemoryTypeHost);
}

cudaError_t cudaFree(void *memory)
{
    return free_now(memory, false);
}

cudaError_t cudaFreeHost(void *memory)
{
    return free_now(memory, true);
}

/* The address is known at once; nothing checks that other streams wait for it. */
cudaError_t cudaMallocAsync(void **memory, size_t size, cudaStream_t stream)
{
    EMULATION_CALL(call);
    if (!device_has_pools())
        return call.result(cudaErrorNotSupported);
    if (is_capturing(stream)) {
        capture_forbids();
        return call.result(cudaErrorStreamCaptureUnsupported);
    }
    return call.result(allocate(memory, size, cudaMemoryTypeDevice));
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream)
{
    const Call call;
    if (memory == nullptr)
        return call.result();
    if (!device_has_pools())
        return call.result(cudaErrorNotSupported);
    if (is_capturing(stream)) {
        capture_forbids();
        return call.result(cudaErrorStreamCaptureUnsupported);
    }
    if (!is_allocation(memory, false))
        return call.result(cudaErrorInvalidValue);
    return call.result(submit(stream, [memory] { release(memory); }));
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    EMULATION_CALL(call);
    *free_bytes = DEVICE_BYTES - used;
    *total = DEVICE_BYTES;
    return call.result();
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *address)
{
    EMULATION_CALL(call);
    const Memory memory = memory_at(address, 1);
    *attributes = {};
    attributes->type = memory.type;
    attributes->device = memory.type == cudaMemoryTypeUnregistered ? -2 : 0; /* cudaInvalidDeviceId */
    if (memory.type != cudaMemoryTypeUnregistered)
        attributes->devicePointer = const_cast<void *>(address);
    if (memory.type != cudaMemoryTypeDevice)
        attributes->hostPointer = const_cast<void *>(address);
    return call.result();
}
