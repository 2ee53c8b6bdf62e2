/*
 * Threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_PARALLEL_H
#define PLB_CPU_PARALLEL_H

#include "call.h"

/*
 * Runs body(argument, 0 .. n - 1, n) on n threads and waits; the body divides the work by its index and n.  n is 1 when
 * the work moves so few bytes that waking threads would cost more, and in a forked child.  Else n is the context's
 * threads, or fewer if OpenMP gives fewer.
 */
typedef void plb_parallel_body(void *argument, int thread, int threads);
void plb_parallel(poslabel_context *context, size_t bytes, plb_parallel_body *body, void *argument);

/*
 * The most threads that plb_parallel() would use from now on: for sizing workspace.  If the process does not get these
 * threads, the context has one thread from then on.
 */
int plb_parallel_threads(poslabel_context *context, size_t bytes);

/* The same for any number of bytes, as far as it is known.  Starts no thread. */
int plb_parallel_most(const poslabel_context *context);

/* The threads of a context for which the caller does not name a number. */
int plb_parallel_default(void);

/*
 * From _alone() on, OpenMP code of other libraries that this thread calls, itself or in a body of plb_parallel(), stays
 * on the thread that calls it; _restore() takes back what _alone() gave.  For a CBLAS: its threads would be too many,
 * and in a forked child wait for ever.
 */
int plb_parallel_alone(void);
void plb_parallel_restore(int before);

/* What plb_parallel() is told of work that is cut into `items`: a team has no use for one item, however large. */
static inline size_t plb_shared_bytes(int64_t items, size_t bytes)
{
    return items > 1 ? bytes : 0;
}

/* The share of one thread of `items`: [*begin, *end). */
static inline void plb_share(int64_t items, int thread, int threads, int64_t *begin, int64_t *end)
{
    *begin = items / threads * thread + (items % threads < thread ? items % threads : thread);
    *end = *begin + items / threads + (thread < items % threads);
}

#endif
