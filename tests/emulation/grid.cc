/*
 * Runs grids: takes turns between the threads that are ready.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "traffic.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <numeric>

__thread uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation
{
__thread Thread *here;

/* So many turns in which threads only slept or spun on an atomic mean that nothing will ever come of it. */
static constexpr unsigned long MAX_IDLE = 5000000;
static constexpr unsigned ATOMICS_IN_A_TURN = 32;

namespace
{
struct Machine {
    Fiber scheduler;
    std::vector<std::unique_ptr<Thread>> threads; /* with their stacks, kept between launches */
    std::vector<std::unique_ptr<Block>> blocks;
    std::deque<Thread *> ready;
    const Launch *launch = nullptr;
    Moment launched, ended;
    unsigned long idle = 0;
};
thread_local Machine own_machine;
__thread Machine *machine; /* of this host thread, once it has run something: quicker to come by */

/* The order in which many things happen: an affine walk, which needs no memory. */
struct Walk {
    std::uint64_t at, stride, count;
    explicit Walk(std::uint64_t n) : at(shuffle_next(static_cast<unsigned>(n))), stride(1), count(n)
    {
        if (n > 2 && shuffle_next(1u << 30) != 0)
            do
                stride = 1 + shuffle_next(static_cast<unsigned>(n - 1));
            while (std::gcd(stride, n) != 1);
    }
    std::uint64_t next()
    {
        const std::uint64_t now = at;
        at = (at + stride) % count;
        return now;
    }
};
} // namespace

Thread &running()
{
    if (here == nullptr) {
        fprintf(stderr, "emulation: a device function was called by the host\n");
        abort();
    }
    return *here;
}

const char *name_of(const Thread &thread)
{
    static thread_local char names[8][64];
    static thread_local unsigned next;
    char *name = names[next++ % 8];
    snprintf(name, sizeof names[0], "thread (%u, %u, %u)", thread.thread_index.x, thread.thread_index.y,
             thread.thread_index.z);
    return name;
}

void stop(Place place, const char *format, ...)
{
    fflush(stdout);
    fprintf(stderr, "emulation: %s:%d: ", place.file, place.line);
    if (here != nullptr)
        fprintf(stderr, "block (%u, %u, %u), %s: ", here->block_index.x, here->block_index.y, here->block_index.z,
                name_of(*here));
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    fflush(stderr);
    abort();
}

void wait(Thread &thread, State state, Place place)
{
    thread.state = state;
    thread.place = place;
    thread.fiber.leave_for(machine->scheduler);
}

void release(Thread &thread)
{
    machine->idle = 0;
    thread.state = State::ready;
    machine->ready.push_back(&thread);
}

void sleep(Place place)
{
    const Unwatched unwatched;
    Thread &thread = running();
    if (++machine->idle > MAX_IDLE)
        stop(place, "sleeps or spins here for what never comes");
    machine->ready.push_back(&thread);
    thread.fiber.leave_for(machine->scheduler);
}

void interleave(Place place)
{
    if (++running().atomics % ATOMICS_IN_A_TURN == 0)
        sleep(place);
}

/* One thread of a kernel from beginning to end. */
static void thread_work(void *data)
{
    Thread &thread = *static_cast<Thread *>(data);
    machine->launched.followed();
    machine->launch->body();
    machine->ended.reached();
    const Unwatched unwatched;
    expect_unawaited(thread, thread.place, "exits");
    expect_no_barrier(thread);
    thread.state = State::done;
    thread.warp->exited |= 1u << thread.lane;
    thread.block->exited = &thread;
    thread.block->running--;
    machine->idle = 0;
}

static void start(Block &block, std::uint64_t index, unsigned slot)
{
    const Launch &launch = *machine->launch;
    const unsigned count = launch.block.x * launch.block.y * launch.block.z;
    block.threads.resize(count);
    block.order.resize(count);
    block.running = count;
    block.exited = nullptr;
    block.arrived = block.votes = 0;
    block.shared.clear();
    block.dynamic_size = launch.dynamic_bytes;
    std::iota(block.order.begin(), block.order.end(), 0u);
    for (unsigned i = count; i > 1; i--)
        if (const unsigned other = shuffle_next(i))
            std::swap(block.order[i - 1], block.order[other - 1]);
    block.warps.assign((count + LANES - 1) / LANES, Warp());
    for (std::size_t i = 0; i < block.warps.size(); i++)
        block.warps[i].threads = &block.threads[i * LANES];
    while (machine->threads.size() < static_cast<std::size_t>(slot + 1) * count)
        machine->threads.push_back(std::make_unique<Thread>());
    for (unsigned i = 0; i < count; i++) {
        Thread &thread = *(block.threads[i] = machine->threads[static_cast<std::size_t>(slot) * count + i].get());
        thread.thread_index = {i % launch.block.x, i / launch.block.x % launch.block.y,
                               i / launch.block.x / launch.block.y};
        thread.block_index = {static_cast<unsigned>(index % launch.grid.x),
                              static_cast<unsigned>(index / launch.grid.x % launch.grid.y),
                              static_cast<unsigned>(index / launch.grid.x / launch.grid.y)};
        thread.block = &block;
        thread.warp = &block.warps[i / LANES];
        thread.lane = i % LANES;
        thread.warp->lanes |= 1u << thread.lane;
        thread.atomics = i;
        thread.has_fenced = false;
        thread.seen.clear();
        thread.place = Place("(end of the kernel)", 0);
        if (!thread.has_stack)
            thread.fiber.create(machine->scheduler, thread_work, &thread);
        thread.has_stack = true;
    }
    for (unsigned i : block.order)
        release(*block.threads[i]);
}

static void run_ready()
{
    while (!machine->ready.empty()) {
        Thread &thread = *machine->ready.front();
        machine->ready.pop_front();
        here = &thread;
        threadIdx = thread.thread_index;
        blockIdx = thread.block_index;
        machine->scheduler.leave_for(thread.fiber);
        here = nullptr;
    }
}

/* Nobody is ready: then nobody may be waiting either. */
static void expect_finished(const Block &block)
{
    for (Thread *thread : block.threads)
        if (thread->state != State::done) {
            here = thread;
            stop(thread->place, "waits for a thread that never comes");
        }
}

void run(const Launch &launch)
{
    const std::uint64_t blocks = static_cast<std::uint64_t>(launch.grid.x) * launch.grid.y * launch.grid.z;
    const std::uint64_t threads = static_cast<std::uint64_t>(launch.block.x) * launch.block.y * launch.block.z;
    const std::uint64_t at_once =
        launch.cooperative ? blocks : std::clamp<std::uint64_t>(THREADS_AT_ONCE / threads, 1, BLOCKS_AT_ONCE);
    const Unwatched unwatched;
    machine = &own_machine;
    machine->launched.reached();
    shuffle_restart();
    races_restart();
    blockDim = launch.block;
    gridDim = launch.grid;
    machine->launch = &launch;
    traffic_launch(launch.kernel);
    while (machine->blocks.size() < at_once)
        machine->blocks.push_back(std::make_unique<Block>());
    Walk walk(blocks);
    for (std::uint64_t done = 0; done < blocks; done += at_once) {
        const unsigned now = static_cast<unsigned>(std::min(at_once, blocks - done));
        for (unsigned slot = 0; slot < now; slot++)
            start(*machine->blocks[slot], walk.next(), slot);
        run_ready();
        for (unsigned slot = 0; slot < now; slot++)
            expect_finished(*machine->blocks[slot]);
        for (unsigned slot = 0; slot < now; slot++)
            for (const Warp &warp : machine->blocks[slot]->warps)
                traffic_met(warp);
    }
    traffic_end();
    machine->ended.followed();
    for (auto &block : machine->blocks)
        block->shared.clear();
    machine->launch = nullptr;
}
} // namespace emulation
