/*
 * A grid at work: blocks, warps and threads.
 *
 * Each host thread that launches has a machine of its own (the stacks, and what runs on them).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_GRID_H
#define EMULATION_GRID_H

#include "fiber.h"
#include "machine.h"
#include "races.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace emulation
{
constexpr unsigned LANES = 32;

enum class State { ready, barrier, warp, done };

struct Block;
struct Thread;

/* Lanes that wait for each other in one operation. */
struct Meeting {
    unsigned mask, arrived;
    Exchange operation;
    Place place; /* of the first to come */
};

struct Warp {
    Thread **threads = nullptr;
    unsigned lanes = 0, exited = 0, at_barrier = 0; /* masks */
    unsigned meetings = 0;
    Meeting meeting[LANES] = {};
};

struct Thread {
    uint3 thread_index = {}, block_index = {};
    Block *block = nullptr;
    Warp *warp = nullptr;
    unsigned lane = 0;
    State state = State::done;
    unsigned atomics = 0;
    Place place = Place("", 0); /* where it waits */
    /* What it asks of its warp. */
    std::uint64_t value = 0, result = 0;
    int source = 0;

    /* At a __syncwarp(): it has come; all have.  At its last fence, and what it saw in atomic operations since. */
    Moment came, met, fenced;
    bool has_fenced = false;
    std::vector<const void *> seen;

    Fiber fiber;
    bool has_stack = false;
};

/* The running thread; NULL while the host runs. */
extern __thread Thread *here EMULATION_STATIC_TLS;
inline bool same(Place a, Place b)
{
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

/* Freed as it was made, so that the sanitizers see its bounds. */
struct Shared {
    const void *key;
    std::unique_ptr<void, decltype(&std::free)> memory;
    std::size_t size;
};

struct Block {
    std::vector<Thread *> threads;
    std::vector<Warp> warps;
    std::vector<unsigned> order; /* in which its threads are let go */
    unsigned running = 0;
    Thread *exited = nullptr; /* any one */
    unsigned arrived = 0, votes = 0;
    int verdict = 0;
    Thread *first_at_barrier = nullptr;
    Moment coming, leaving; /* its barriers */
    std::vector<Shared> shared;
    std::size_t dynamic_size = 0;
};

/* What a launch runs. */
struct Launch {
    dim3 grid, block;
    std::size_t dynamic_bytes;
    bool cooperative;
    const void *kernel;
    std::function<void()> body;
};

/* Runs all of a grid on the calling host thread. */
void run(const Launch &launch);

/* For barrier.cc and warp.cc: the running thread; to wait in a state; and to let a waiting one go. */
Thread &running();
void wait(Thread &thread, State state, Place place);
void release(Thread &thread);

/* Called before a thread ends or waits at a barrier: whether lanes of its warp still wait for it. */
void expect_unawaited(Thread &thread, Place place, const char *deed);
void expect_no_barrier(Thread &thread);

/* "thread (1, 0, 0)" for messages, good until the next eight calls. */
const char *name_of(const Thread &thread);

/* Forgets the atomic operations of another grid. */
void races_restart();

/* Random numbers from the seed; 0 when it is 0, which is the natural order. */
unsigned shuffle_next(unsigned range);
void shuffle_restart();
} // namespace emulation

#endif
