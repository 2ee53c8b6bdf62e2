/*
 * Operations of a warp.
 *
 * Each lane posts what it asks; the last to come checks that all agree, and answers everybody.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "traffic.h"

namespace emulation
{
static const char *name_of(Exchange operation)
{
    static const char *const names[] = {"__syncwarp", "shuffle",    "__ballot_sync",
                                        "__any_sync", "__all_sync", "__match_any_sync"};
    return names[static_cast<int>(operation)];
}

void expect_unawaited(Thread &thread, Place place, const char *deed)
{
    const Warp &warp = *thread.warp;
    for (unsigned i = 0; i < warp.meetings; i++) {
        const Meeting &meeting = warp.meeting[i];
        if ((meeting.mask >> thread.lane & 1) != 0)
            stop(meeting.place, "%s (%s:%d), while lane %d waits for it here in %s, mask 0x%08x", deed, place.file,
                 place.line, __builtin_ctz(meeting.arrived), name_of(meeting.operation), meeting.mask);
    }
}

/* That all lanes of the mask can come. */
static void expect_possible(const Thread &thread, const char *name, unsigned mask, Place place)
{
    const Warp &warp = *thread.warp;
    if ((mask >> thread.lane & 1) == 0)
        stop(place, "%s, mask 0x%08x: without the caller, lane %u", name, mask, thread.lane);
    if ((mask & ~warp.lanes) != 0)
        stop(place, "%s, mask 0x%08x: the block has no lane %d", name, mask, __builtin_ctz(mask & ~warp.lanes));
    if ((mask & warp.exited) != 0)
        stop(place, "%s, mask 0x%08x: lane %d has exited", name, mask, __builtin_ctz(mask & warp.exited));
    if ((mask & warp.at_barrier) != 0) {
        const int other = __builtin_ctz(mask & warp.at_barrier);
        const Place barrier = warp.threads[other]->place;
        stop(place, "%s, mask 0x%08x: lane %d waits at the barrier of %s:%d", name, mask, other, barrier.file,
             barrier.line);
    }
}

/*
 * The meeting that a lane comes to.  Lanes that wait for each other must ask the same; lanes of one warp that do not
 * are free to be at different places.
 */
static Meeting &meeting_of(const Thread &thread, Exchange operation, unsigned mask, Place place)
{
    Warp &warp = *thread.warp;
    for (unsigned i = 0; i < warp.meetings; i++) {
        Meeting &meeting = warp.meeting[i];
        const int first = __builtin_ctz(meeting.arrived);
        if (meeting.mask != mask) {
            if ((meeting.mask >> thread.lane & 1) != 0 && (meeting.arrived & mask) != 0)
                stop(place, "%s, mask 0x%08x: lane %d waits with mask 0x%08x", name_of(operation), mask,
                     __builtin_ctz(meeting.arrived & mask), meeting.mask);
            continue;
        }
        if (meeting.operation != operation || (operation != Exchange::sync && !same(meeting.place, place)))
            stop(place, "%s, mask 0x%08x: lane %d waits in %s of %s:%d", name_of(operation), mask, first,
                 name_of(meeting.operation), meeting.place.file, meeting.place.line);
        return meeting;
    }
    return warp.meeting[warp.meetings++] = {mask, 0, operation, place};
}

/* Calls with each lane of a mask. */
template <typename Do> static void each(unsigned mask, Do what)
{
    for (; mask != 0; mask &= mask - 1)
        what(static_cast<unsigned>(__builtin_ctz(mask)));
}

static unsigned ballot(Thread *const *threads, unsigned mask)
{
    unsigned lanes = 0;
    each(mask, [&](unsigned lane) { lanes |= static_cast<unsigned>(threads[lane]->value != 0) << lane; });
    return lanes;
}

static std::uint64_t shuffled(Thread *const *threads, unsigned mask, Thread &thread)
{
    if (thread.source < 0 || thread.source >= static_cast<int>(LANES) || (mask >> thread.source & 1) == 0) {
        here = &thread;
        stop(thread.place, "shuffle from lane %d, which is not in mask 0x%08x", thread.source, mask);
    }
    return threads[thread.source]->value;
}

static std::uint64_t matches(Thread *const *threads, unsigned mask, const Thread &thread)
{
    unsigned lanes = 0;
    each(mask, [&](unsigned lane) { lanes |= static_cast<unsigned>(threads[lane]->value == thread.value) << lane; });
    return lanes;
}

/* All have come. */
static void answer(Thread *const *threads, unsigned mask, Exchange operation)
{
    const unsigned votes = operation == Exchange::sync ? 0 : ballot(threads, mask);
    each(mask, [&](unsigned lane) {
        Thread &thread = *threads[lane];
        switch (operation) {
        case Exchange::sync:
            break;
        case Exchange::shuffle:
            thread.result = shuffled(threads, mask, thread);
            break;
        case Exchange::ballot:
            thread.result = votes;
            break;
        case Exchange::any:
            thread.result = votes != 0;
            break;
        case Exchange::all:
            thread.result = votes == mask;
            break;
        case Exchange::match:
            thread.result = matches(threads, mask, thread);
            break;
        }
    });
}

std::uint64_t exchange(Place place, Exchange operation, unsigned mask, std::uint64_t value, int source)
{
    const Unwatched unwatched;
    Thread &thread = running();
    Warp &warp = *thread.warp;
    thread.value = value;
    thread.source = source;
    thread.place = place;
    expect_possible(thread, name_of(operation), mask, place);
    Meeting &meeting = meeting_of(thread, operation, mask, place);
    meeting.arrived |= 1u << thread.lane;
    if (operation == Exchange::sync)
        thread.came.reached();
    if (meeting.arrived != mask) {
        wait(thread, State::warp, place);
        if (operation == Exchange::sync)
            thread.met.followed();
        return thread.result;
    }
    meeting = warp.meeting[--warp.meetings];
    if (mask == (warp.lanes & ~warp.exited))
        traffic_met(warp);
    if (operation == Exchange::shuffle)
        traffic_shuffled();
    answer(warp.threads, mask, operation);
    const unsigned others = mask & ~(1u << thread.lane);
    if (operation == Exchange::sync) {
        each(others, [&](unsigned lane) { warp.threads[lane]->came.followed(); });
        each(others, [&](unsigned lane) { warp.threads[lane]->met.reached(); });
    }
    /* The last to come goes on; the others from any lane on. */
    const unsigned begin = shuffle_next(LANES);
    const auto let_go = [&](unsigned lane) { release(*warp.threads[lane]); };
    each(others & ~0u << begin, let_go);
    each(others & ~(~0u << begin), let_go);
    return thread.result;
}

int lane()
{
    return static_cast<int>(running().lane);
}
} // namespace emulation
