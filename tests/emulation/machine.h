/*
 * What a running thread of a kernel asks of the emulated machine.
 *
 * The headers that make up the language (emulation.h) are written over this; kernels do not use it themselves.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_MACHINE_H
#define EMULATION_MACHINE_H

#include "api.h"

#include <cstddef>
#include <cstdint>
#include <functional>

/*
 * Variables rather than macros, since the host's code has members of these names; set whenever another thread goes on.
 * In the static TLS block, since kernels read them all the time.  CUDA has the sizes as dim3, which converts to this.
 */
#define EMULATION_STATIC_TLS __attribute__((tls_model("initial-exec"), visibility("hidden")))
extern __thread uint3 threadIdx EMULATION_STATIC_TLS, blockIdx EMULATION_STATIC_TLS;
extern __thread uint3 blockDim EMULATION_STATIC_TLS, gridDim EMULATION_STATIC_TLS;

namespace emulation
{
/* A line of a kernel.  As a default argument, Place() is the caller's. */
struct Place {
    const char *file;
    int line;
    constexpr Place(const char *f = __builtin_FILE(), int l = __builtin_LINE()) : file(f), line(l)
    {
    }
};

/* Ends the process with a text that names the place and the thread. */
[[noreturn]] void stop(Place place, const char *format, ...) __attribute__((format(printf, 2, 3)));

enum class Vote { none, any, all, count };

/* __syncthreads() and its like. */
int barrier(Place place, Vote vote = Vote::none, bool predicate = false);

enum class Exchange { sync, shuffle, ballot, any, all, match };

/*
 * Waits until every lane of `mask` has come to the same operation.  Gives the value of lane `source` for a shuffle, a
 * mask of lanes for ballot and match, 0 or 1 for any and all.
 */
std::uint64_t exchange(Place place, Exchange operation, unsigned mask, std::uint64_t value = 0, int source = 0);

/* The running thread's lane in its warp. */
int lane();

/* Lets the others run: now, or every so many calls (an atomic operation, which may be what a loop spins on). */
void sleep(Place place);
void interleave(Place place);

/* Fences, and atomic operations that they order: see races.h. */
void fence();
void touched(const void *address);

/* The block's shared memory: that of a declaration, known by `key`; and the dynamic one, of a kernel by its name. */
void *shared_memory(const void *key, std::size_t size, std::size_t alignment, Place place);
void *dynamic_memory(const char *kernel, Place place);

/* Checks a launch and queues it in its stream. */
cudaError_t launch(const cudaLaunchConfig_t &config, const void *kernel, std::function<void()> body);

/* An access that the hardware would refuse. */
inline void expect_aligned(const volatile void *address, std::size_t alignment, Place place)
{
    if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0)
        stop(place, "misaligned access: %p is not a multiple of %zu", const_cast<const void *>(address), alignment);
}
} // namespace emulation

#endif
