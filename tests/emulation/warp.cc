/*
 * Operations of a warp.  SPDX-License-Identifier: Apache-2.0
 *
 * Each lane posts what it asks; the last to come checks that all agree, and answers everybody.
 */
#include "grid.h"

#include <cstring>

namespace emulation
{
static const char *name_of(Exchange operation)
{
    static const char *const names[] = {"__syncwarp", "shuffle", "__ballot_sync", "__any_sync", "__all_sync",
                                        "__match_any_sync"};
    return names[static_cast<int>(operation)];
}

/* The thread of a lane, NULL beyond the block's end. */
static Thread *lane_of(const Thread &thread, unsigned lane)
{
    const std::size_t index = static_cast<std::size_t>(thread.warp) * LANES + lane;
    return index < thread.block->threads.size() ? thread.block->threads[index] : nullptr;
}

void expect_unawaited(Thread &thread, Place place, const char *deed)
{
    for (unsigned lane = 0; lane < LANES; lane++) {
        const Thread *other = lane_of(thread, lane);
        if (other != nullptr && other->state == State::warp && (other->mask >> thread.lane & 1) != 0)
            stop(other->place, "%s (%s:%d), while lane %u waits for it here in %s, mask 0x%08x", deed, place.file,
                 place.line, lane, name_of(other->operation), other->mask);
    }
}

/* That a lane of the mask can still come, and that what it waits for already is the same. */
static void expect_agreement(const Thread &thread, const Thread *other, unsigned lane, Place place)
{
    const char *name = name_of(thread.operation);
    if (other == nullptr)
        stop(place, "%s, mask 0x%08x: the block has no lane %u", name, thread.mask, lane);
    if (other->state == State::done)
        stop(place, "%s, mask 0x%08x: lane %u has exited", name, thread.mask, lane);
    if (other->state == State::barrier)
        stop(place, "%s, mask 0x%08x: lane %u waits at the barrier of %s:%d", name, thread.mask, lane,
             other->place.file, other->place.line);
    if (other->state != State::warp)
        return;
    if (other->mask != thread.mask) {
        if ((other->mask >> thread.lane & 1) != 0)
            stop(place, "%s, mask 0x%08x: lane %u waits with mask 0x%08x", name, thread.mask, lane, other->mask);
    } else if (other->operation != thread.operation ||
               (thread.operation != Exchange::sync &&
                (other->place.line != place.line || strcmp(other->place.file, place.file) != 0)))
        stop(place, "%s, mask 0x%08x: lane %u waits in %s of %s:%d", name, thread.mask, lane,
             name_of(other->operation), other->place.file, other->place.line);
}

/* All have come. */
static void answer(Thread &last)
{
    unsigned ballot = 0;
    Thread *lanes[LANES];
    for (unsigned lane = 0; lane < LANES; lane++) {
        lanes[lane] = (last.mask >> lane & 1) != 0 ? lane_of(last, lane) : nullptr;
        if (lanes[lane] != nullptr && lanes[lane]->value != 0)
            ballot |= 1u << lane;
    }
    for (unsigned lane = 0; lane < LANES; lane++) {
        if (lanes[lane] == nullptr)
            continue;
        Thread &thread = *lanes[lane];
        switch (last.operation) {
        case Exchange::sync:
            break;
        case Exchange::shuffle:
            if (thread.source < 0 || thread.source >= static_cast<int>(LANES) || lanes[thread.source] == nullptr) {
                here = &thread;
                stop(thread.place, "shuffle from lane %d, which is not in mask 0x%08x", thread.source, thread.mask);
            }
            thread.result = lanes[thread.source]->value;
            break;
        case Exchange::ballot:
            thread.result = ballot;
            break;
        case Exchange::any:
            thread.result = ballot != 0;
            break;
        case Exchange::all:
            thread.result = ballot == last.mask;
            break;
        case Exchange::match:
            thread.result = 0;
            for (unsigned other = 0; other < LANES; other++)
                if (lanes[other] != nullptr && lanes[other]->value == thread.value)
                    thread.result |= 1u << other;
            break;
        }
    }
    const unsigned begin = shuffle_next(LANES);
    for (unsigned i = 0; i < LANES; i++) {
        Thread *thread = lanes[(begin + i) % LANES];
        if (thread != nullptr && thread != &last)
            release(*thread);
    }
}

std::uint64_t exchange(Place place, Exchange operation, unsigned mask, std::uint64_t value, int source)
{
    Thread &thread = running();
    thread.operation = operation;
    thread.mask = mask;
    thread.value = value;
    thread.source = source;
    thread.place = place;
    if ((mask >> thread.lane & 1) == 0)
        stop(place, "%s, mask 0x%08x: without the caller, lane %u", name_of(operation), mask, thread.lane);
    bool complete = true;
    for (unsigned lane = 0; lane < LANES; lane++) {
        if ((mask >> lane & 1) == 0 || lane == thread.lane)
            continue;
        const Thread *other = lane_of(thread, lane);
        expect_agreement(thread, other, lane, place);
        complete &= other->state == State::warp && other->mask == mask;
    }
    if (complete)
        answer(thread);
    else
        wait(thread, State::warp, place);
    return thread.result;
}

int lane()
{
    return static_cast<int>(running().lane);
}
} // namespace emulation
