/*
 * Fences.
 *
 * An atomic operation publishes what its thread did before its last fence, and not what it did since.  Who sees that is
 * ordered after it from its own next fence on.  A thread that has fenced once more in the meantime publishes that, too:
 * an order too many, which may hide a race and never invents one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "races.h"

#include "grid.h"

#include <algorithm>
#include <unordered_map>

namespace emulation
{
#ifdef EMULATION_TSAN
/* Who has published something at an address. */
static thread_local std::unordered_map<const void *, std::vector<Thread *>> publishers;

template <typename T> static void add(std::vector<T> &set, T one)
{
    if (std::find(set.begin(), set.end(), one) == set.end())
        set.push_back(one);
}

void touched(const void *address)
{
    const Unwatched unwatched;
    Thread &thread = running();
    if (publishers.count(address) != 0)
        add(thread.seen, address);
    if (thread.has_fenced)
        add(publishers[address], &thread);
}

void fence()
{
    const Unwatched unwatched;
    Thread &thread = running();
    for (const void *address : thread.seen)
        for (Thread *other : publishers[address])
            other->fenced.followed();
    thread.seen.clear();
    thread.fenced.reached();
    thread.has_fenced = true;
}

void races_restart()
{
    publishers.clear();
}
#else
void touched(const void *)
{
}

/* For the compiler: a grid runs on one host thread. */
void fence()
{
    __asm__ volatile("" ::: "memory");
}

void races_restart()
{
}
#endif
} // namespace emulation
