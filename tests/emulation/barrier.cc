/*
 * Barriers of a block, and its shared memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime.h"
#include "traffic.h"

#include <cstring>

namespace emulation
{
/*
 * The hardware counts arrivals; a kernel that arrives at two barriers of the source at once is wrong even where that
 * happens to work, and one that arrives after a thread has left may hang on some devices.
 */
int barrier(Place place, Vote vote, bool predicate)
{
    const Unwatched unwatched;
    Thread &thread = running();
    Block &block = *thread.block;
    if (block.exited != nullptr)
        stop(place, "a barrier that %s will not reach: it has exited", name_of(*block.exited));
    expect_unawaited(thread, place, "comes to a barrier");
    if (block.arrived == 0) {
        block.first_at_barrier = &thread;
        thread.place = place;
    } else if (!same(block.first_at_barrier->place, place)) {
        const Place other = block.first_at_barrier->place;
        stop(place, "a barrier, while %s waits at the one of %s:%d", name_of(*block.first_at_barrier), other.file,
             other.line);
    }
    block.coming.reached();
    block.votes += predicate;
    if (++block.arrived < block.running) {
        thread.warp->at_barrier |= 1u << thread.lane;
        wait(thread, State::barrier, place);
        block.leaving.followed();
        return block.verdict;
    }
    block.verdict = vote == Vote::any   ? block.votes != 0
                    : vote == Vote::all ? block.votes == block.arrived
                                        : static_cast<int>(block.votes);
    block.arrived = block.votes = 0;
    block.coming.followed();
    block.leaving.reached();
    for (Warp &warp : block.warps) {
        warp.at_barrier = 0;
        traffic_met(warp);
    }
    /* The last to arrive goes on first; the others from anywhere in the block's order. */
    const std::size_t count = block.order.size(), begin = shuffle_next(static_cast<unsigned>(count));
    for (std::size_t i = 0; i < count; i++) {
        Thread &other = *block.threads[block.order[(begin + i) % count]];
        if (other.state == State::barrier)
            release(other);
    }
    return block.verdict;
}

void expect_no_barrier(Thread &thread)
{
    const Block &block = *thread.block;
    if (block.arrived != 0)
        stop(block.first_at_barrier->place, "exits, while %s waits for it at this barrier",
             name_of(*block.first_at_barrier));
}

/* At its exact size, so that AddressSanitizer sees an overrun; and of bytes that read as NaN until they are written. */
static void *allocate(Block &block, const void *key, std::size_t size, std::size_t alignment, Place place)
{
    void *memory = nullptr;
    if (posix_memalign(&memory, alignment < 16 ? 16 : alignment, size) != 0)
        stop(place, "no memory for %zu bytes of shared memory", size);
    memset(memory, 0xFF, size);
    block.shared.push_back({key, {memory, &std::free}, size});
    return memory;
}

/* Of static and dynamic memory together, without cudaFuncSetAttribute() and with it. */
static std::size_t most_shared(const Block &block)
{
    return block.dynamic_size <= SHARED_DEFAULT ? SHARED_DEFAULT : SHARED_LIMIT;
}

void *shared_memory(const void *key, std::size_t size, std::size_t alignment, Place place)
{
    const Unwatched unwatched;
    Block &block = *running().block;
    std::size_t used = size;
    for (const Shared &shared : block.shared) {
        if (shared.key == key)
            return shared.memory.get();
        if (shared.key != nullptr)
            used += shared.size;
    }
    if (used > SHARED_DEFAULT || used + block.dynamic_size > most_shared(block))
        stop(place, "%zu bytes of static and %zu of dynamic shared memory are more than a block can have", used,
             block.dynamic_size);
    return allocate(block, key, size, alignment, place);
}

/* What kernels may have, the library's by its own list. */
static std::size_t most_dynamic(const char *kernel)
{
    static const struct {
        const char *kernel;
        std::size_t most;
    } table[] = {
        {"warp_rows", SHARED_LIMIT}, /* of right.cu */
#define PLB_DYNAMIC(kernel, most) {#kernel, most},
#include "shared.def"
    };
    for (const auto &known : table)
        if (!strcmp(known.kernel, kernel))
            return known.most;
    return 0;
}

void *dynamic_memory(const char *kernel, Place place)
{
    const Unwatched unwatched;
    Block &block = *running().block;
    if (block.dynamic_size > most_dynamic(kernel))
        stop(place, "%s has %zu bytes of dynamic shared memory, at most %zu by kernels/shared.def", kernel,
             block.dynamic_size, most_dynamic(kernel));
    for (const Shared &shared : block.shared)
        if (shared.key == nullptr)
            return shared.memory.get();
    return allocate(block, nullptr, block.dynamic_size, 16, place);
}
} // namespace emulation
