/*
 * Switches, faults and random orders.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "grid.h"
#include "runtime.h"

#include <cstdlib>

namespace emulation
{
static std::recursive_mutex &lock()
{
    static auto *mutex = new std::recursive_mutex; /* outlives the exit handlers of others */
    return *mutex;
}

long live_objects;
static long fault_points, fail_at;
static cudaError_t fail_with, broken;
static bool deferred;
static thread_local cudaError_t last_error;

static unsigned &seed()
{
    static unsigned value = [] {
        const char *text = getenv("EMULATION_SEED");
        return text == nullptr ? 0u : static_cast<unsigned>(strtoul(text, nullptr, 10));
    }();
    return value;
}

std::unique_lock<std::recursive_mutex> hold()
{
    return std::unique_lock<std::recursive_mutex>(lock());
}

Call::Call(Needs needs) : error(cudaSuccess), lock_(lock())
{
    if (needs == Needs::context)
        need_context();
    fault_points++;
    if (fail_at > 0 && --fail_at == 0)
        error = fail_with;
    if (broken != cudaSuccess)
        error = broken;
}

cudaError_t Call::result(cudaError_t own) const
{
    const cudaError_t what = error != cudaSuccess ? error : own;
    if (what != cudaSuccess && what != cudaErrorNotReady)
        last_error = what;
    return what;
}

bool is_deferred()
{
    return deferred;
}

static thread_local std::uint64_t random_state;

void shuffle_restart()
{
    static thread_local std::uint64_t launches;
    random_state = seed() == 0 ? 0 : seed() * 0x9E3779B97F4A7C15ull + ++launches;
}

/* SplitMix64. */
unsigned shuffle_next(unsigned range)
{
    if (random_state == 0 || range == 0)
        return 0;
    std::uint64_t z = random_state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return static_cast<unsigned>((z ^ z >> 31) % range);
}
} // namespace emulation

using namespace emulation;

long emulation_fault_points(void)
{
    const auto held = hold();
    return fault_points;
}

void emulation_fail_at(long n, int error)
{
    const auto held = hold();
    fail_at = n;
    fail_with = static_cast<cudaError_t>(error);
}

void emulation_break_device(int error)
{
    const auto held = hold();
    broken = static_cast<cudaError_t>(error);
}

void emulation_defer(int on)
{
    const auto held = hold();
    if (!on)
        finish_all();
    deferred = on != 0;
}

void emulation_shuffle(unsigned value)
{
    const auto held = hold();
    seed() = value;
}

long emulation_live_objects(void)
{
    const auto held = hold();
    return live_objects;
}

cudaError_t cudaGetLastError(void)
{
    const auto held = hold();
    const cudaError_t error = broken != cudaSuccess ? broken : last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    const auto held = hold();
    return broken != cudaSuccess ? broken : last_error;
}
