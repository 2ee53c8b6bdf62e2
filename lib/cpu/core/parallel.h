/*
 * Threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_PARALLEL_H
#define PLB_CPU_PARALLEL_H

#include "call.h"

/*
 * Runs body(argument, 0 .. n - 1, n) on n threads and waits; the body divides the work by its index and n.  n is at
 * most the context's threads, and 1 when the work moves so few bytes that waking a thread would cost more, or in a
 * forked child.
 */
typedef void plb_parallel_body(void *argument, int thread, int threads);
void plb_parallel(const poslabel_context *context, size_t bytes, plb_parallel_body *body, void *argument);

/* The most threads that plb_parallel() would use: for sizing workspace. */
int plb_parallel_threads(const poslabel_context *context, size_t bytes);

/*
 * From _alone() on, OpenMP code of other libraries that this thread calls, itself or in a body of plb_parallel(), stays
 * on the thread that calls it; _restore() takes back what _alone() gave.  For a CBLAS: its threads would be too many,
 * and in a forked child wait for ever.
 */
int plb_parallel_alone(void);
void plb_parallel_restore(int before);

/* The share of one thread of `items`: [*begin, *end). */
static inline void plb_share(int64_t items, int thread, int threads, int64_t *begin, int64_t *end)
{
    *begin = items / threads * thread + (items % threads < thread ? items % threads : thread);
    *end = *begin + items / threads + (thread < items % threads);
}

#endif
