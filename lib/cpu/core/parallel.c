/*
 * Threads: the only file that knows OpenMP.
 *
 * A GNU OpenMP pool does not survive fork(): its threads are gone in the child, and the next parallel region there
 * waits for them for ever.  Data loaders fork, so a child is noticed by a handler of pthread_atfork() and runs on one
 * thread.  The handler is set when the library is loaded, which covers pools that anyone starts after that.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/parallel.h"

#include <pthread.h>
#include <stdatomic.h>

#ifdef _OPENMP
#include <omp.h>

static atomic_bool in_forked_child;

static void note_child(void)
{
    atomic_store_explicit(&in_forked_child, true, memory_order_relaxed);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, note_child);
}
#endif

/* Below this the work is done before a second thread would have woken up. */
enum { BYTES_WORTH_A_THREAD = 64 * 1024 };

int plb_parallel_threads(const poslabel_context *context, size_t bytes)
{
#ifdef _OPENMP
    if (atomic_load_explicit(&in_forked_child, memory_order_relaxed))
        return 1;
    const size_t worth = bytes / BYTES_WORTH_A_THREAD;
    return worth <= 1 ? 1 : worth < (size_t)context->threads ? (int)worth : context->threads;
#else
    (void)context;
    (void)bytes;
    return 1;
#endif
}

void plb_parallel(const poslabel_context *context, size_t bytes, plb_parallel_body *body, void *argument)
{
#ifdef _OPENMP
    const int threads = plb_parallel_threads(context, bytes);
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        body(argument, omp_get_thread_num(), omp_get_num_threads());
        return;
    }
#else
    (void)context;
    (void)bytes;
#endif
    body(argument, 0, 1);
}

/* The number is one of the calling thread, and its team inherits it; other threads of the program do not see it. */
int plb_parallel_alone(void)
{
#ifdef _OPENMP
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    return before;
#else
    return 0;
#endif
}

void plb_parallel_restore(int before)
{
#ifdef _OPENMP
    omp_set_num_threads(before);
#else
    (void)before;
#endif
}
