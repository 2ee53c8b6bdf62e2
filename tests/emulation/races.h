/*
 * What ThreadSanitizer is told of a kernel.
 *
 * It then finds what two threads do to the same memory without an order that CUDA promises, in whatever order they
 * happened to run.  Orders are: what the host did before a launch, and will do after it; barriers of a block;
 * __syncwarp(), but neither shuffles nor votes, which CUDA does not let memory wait for; __threadfence() before an
 * atomic operation, with __threadfence() after another one on the same address that saw it.  Nothing here exists in
 * other builds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_RACES_H
#define EMULATION_RACES_H

#include "fiber.h"

#ifdef EMULATION_TSAN
#include <sanitizer/tsan_interface.h>

extern "C" {
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
}
#endif

namespace emulation
{
#ifdef EMULATION_TSAN
/*
 * How many blocks run at once, on threads of their own: one after the other on the same threads they would seem
 * ordered.  The sanitizer's time for each order grows with the number of threads that there have ever been.
 */
constexpr unsigned BLOCKS_AT_ONCE = 2, THREADS_AT_ONCE = 1024;

/* While one lives, the emulation's own accesses (allocations, above all) are nobody's business. */
struct Unwatched {
    Unwatched()
    {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    ~Unwatched()
    {
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
    Unwatched(const Unwatched &) = delete;
    Unwatched &operator=(const Unwatched &) = delete;
};

/* What came before the first, in any thread, is ordered before what comes after the second on the same moment. */
struct Moment {
    char address = 0;
    void reached()
    {
        __tsan_release(&address);
    }
    void followed()
    {
        __tsan_acquire(&address);
    }
};
#else
constexpr unsigned BLOCKS_AT_ONCE = 1, THREADS_AT_ONCE = 1;

struct Unwatched {
    Unwatched()
    {
    }
};

struct Moment {
    void reached()
    {
    }
    void followed()
    {
    }
};
#endif
} // namespace emulation

#endif
