/*
 * The emulated runtime inside: what every function of its API begins with, and the queue.
 *
 * One lock is held by a call from beginning to end, kernels included: the emulated device does one thing at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_RUNTIME_H
#define EMULATION_RUNTIME_H

#include "api.h"
#include "control.h"

#include <cstddef>
#include <functional>
#include <mutex>

namespace emulation
{
/* Takes the lock, counts a fault point, knows whether the call has to fail there, and makes a context for it. */
enum class Needs { nothing, context };

class Call
{
  public:
    explicit Call(Needs needs = Needs::context);
    Call(const Call &) = delete;
    Call &operator=(const Call &) = delete;

    /* The injected fault, or what the call makes of itself; remembered for cudaGetLastError(). */
    cudaError_t error;
    cudaError_t result(cudaError_t own = cudaSuccess) const;

  private:
    std::unique_lock<std::recursive_mutex> lock_;
};

/* Takes the lock only. */
std::unique_lock<std::recursive_mutex> hold();

/* Begins a function that does nothing when it fails. */
#define EMULATION_CALL(call)                                                                                           \
    const emulation::Call call;                                                                                        \
    if ((call).error != cudaSuccess)                                                                                   \
    return (call).result()

/* The same, of a function that needs no context. */
#define EMULATION_QUERY(call)                                                                                          \
    const emulation::Call call(emulation::Needs::nothing);                                                             \
    if ((call).error != cudaSuccess)                                                                                   \
    return (call).result()

/* Queues work, or records it while the stream captures; runs it unless deferred. */
cudaError_t submit(cudaStream_t stream, std::function<void()> work);

/* Runs what a stream, or every stream, has queued. */
void finish(cudaStream_t stream);
void finish_all();

/* The calling thread's; and a context for it, if it has none. */
int current_device();
void need_context();

bool is_device(int device);
bool device_has_pools();

/* 10 times the compute capability of a device, and of the code that there is. */
int capability_of(int device);
constexpr int CAPABILITY = 90;

/* A function of the driver; NULL: there is none of that name. */
void *driver_function(const char *name);

bool is_capturing(cudaStream_t stream);
bool is_deferred();

/*
 * Whether this thread may not make a call that waits for the device or changes its memory, since a stream captures;
 * such a call also spoils the capture.
 */
bool capture_forbids();

/* What is known of memory: whether the bytes lie within one live allocation, and of which type. */
struct Memory {
    cudaMemoryType type;
    void *base;
    std::size_t size;
};
Memory memory_at(const void *address, std::size_t size);

/* While one of these lives, memory of the device can be touched: see emulation_hide_memory(). */
struct Access {
    Access();
    ~Access();
    Access(const Access &) = delete;
    Access &operator=(const Access &) = delete;
};

/* How many blocks of so many threads and bytes fit the emulated device at once. */
constexpr int MULTIPROCESSORS = 2, THREADS_OF_MULTIPROCESSOR = 512, BLOCKS_OF_MULTIPROCESSOR = 16;
/* Of shared memory it has what the smallest of the devices has. */
constexpr std::size_t SHARED_LIMIT = 64 * 1024, SHARED_DEFAULT = 48 * 1024;
int blocks_of_multiprocessor(const void *kernel, int threads, std::size_t dynamic_bytes);

extern long live_objects;
} // namespace emulation

#endif
