/*
 * Threads: the only file that knows OpenMP.
 *
 * GNU OpenMP keeps a pool of threads for each thread that starts teams, and shares it with all other OpenMP code in the
 * process, PyTorch's for one.  It has three habits that a library must work around:
 *
 *   - It ends or starts threads whenever the size of a team changes.  So a call runs on one thread or on all threads of
 *     its context, never on a number in between.
 *   - A pool does not survive fork(): its threads are gone in the child, and the next team there waits for them for
 *     ever.  Data loaders fork.  A handler of pthread_atfork() notices the forks of a process that has loaded the
 *     library.  A library that is first loaded in a child asks the kernel whether the process was forked.
 *   - It ends the process if it cannot start a thread.  So the library first tries to start as many.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/parallel.h"

#ifdef _OPENMP
#include "cpu/core/environment.h"
#include "cpu/core/process.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A team costs more than it saves if the work moves fewer bytes than the first, or a thread's share than the second. */
enum { LEAST_BYTES = 512 * 1024, LEAST_SHARE = 32 * 1024 };

static atomic_bool pool_is_lost; /* by fork() */
static size_t stack_size;        /* of OpenMP's threads; 0: the default */

/* The largest team for which the calling thread has tried to start threads: its pool can have that many. */
static _Thread_local int tried __attribute__((tls_model("initial-exec")));

static void note_child(void)
{
    atomic_store_explicit(&pool_is_lost, true, memory_order_relaxed);
}

/* OMP_STACKSIZE is a number and a unit: B, K (if there is none), M or G. */
static size_t read_stack_size(const char *text)
{
    char *end;
    const unsigned long long number = text ? strtoull(text, &end, 10) : 0;
    if (!number)
        return 0;
    while (*end == ' ')
        end++;
    const char unit = *end & ~('a' - 'A');
    return (size_t)number << (unit == 'B' ? 0 : unit == 'M' ? 20 : unit == 'G' ? 30 : 10);
}

/*
 * When the library is loaded.  In a forked child there may be a pool that was lost before.  There is none if OpenMP was
 * loaded together with the library.
 */
__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, note_child);
    if (plb_process_was_forked() &&
        plb_process_loaded_before((uintptr_t)&omp_get_max_threads, (uintptr_t)&plb_parallel_threads))
        note_child();
    const char *const text = getenv("OMP_STACKSIZE");
    stack_size = read_stack_size(text ? text : getenv("GOMP_STACKSIZE"));
}

/* One thread more than OpenMP has to start leaves room for the team's own data. */
static bool gets_team(int threads)
{
    const int limit = omp_get_thread_limit();
    const int team = threads < limit ? threads : limit;
    if (team <= tried)
        return true;
    if (!plb_process_gets_threads(team, stack_size))
        return false;
    tried = team;
    return true;
}

int plb_parallel_default(void)
{
    const int threads = omp_get_max_threads();
    return threads < PLB_MOST_THREADS ? threads : PLB_MOST_THREADS;
}

int plb_parallel_most(const poslabel_context *context)
{
    return atomic_load_explicit(&pool_is_lost, memory_order_relaxed) ? 1 : context->threads;
}

int plb_parallel_threads(poslabel_context *context, size_t bytes)
{
    if (bytes < LEAST_BYTES || bytes / LEAST_SHARE < (size_t)context->threads || plb_parallel_most(context) == 1)
        return 1;
    if (!gets_team(context->threads))
        context->threads = 1; /* for good: a call must not find more threads than it has sized its workspace for */
    return context->threads;
}

void plb_parallel(poslabel_context *context, size_t bytes, plb_parallel_body *body, void *argument)
{
    const int threads = plb_parallel_threads(context, bytes);
    if (threads == 1) {
        body(argument, 0, 1);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        const plb_environment found = plb_environment_begin();
        body(argument, omp_get_thread_num(), omp_get_num_threads());
        plb_environment_end(found);
    }
}

/* The number is one of the calling thread, and its team inherits it; other threads of the program do not see it. */
int plb_parallel_alone(void)
{
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    return before;
}

void plb_parallel_restore(int before)
{
    omp_set_num_threads(before);
}

#else

int plb_parallel_default(void)
{
    return 1;
}

int plb_parallel_most(const poslabel_context *context)
{
    (void)context;
    return 1;
}

int plb_parallel_threads(poslabel_context *context, size_t bytes)
{
    (void)context, (void)bytes;
    return 1;
}

void plb_parallel(poslabel_context *context, size_t bytes, plb_parallel_body *body, void *argument)
{
    (void)context, (void)bytes;
    body(argument, 0, 1);
}

int plb_parallel_alone(void)
{
    return 0;
}

void plb_parallel_restore(int before)
{
    (void)before;
}

#endif
