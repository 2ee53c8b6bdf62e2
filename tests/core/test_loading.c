/*
 * The library loaded late, in a forked child, and unloaded: this program is not linked with it.
 *
 * A library that is loaded in a child has not seen the fork.  If the parent has started OpenMP's threads, they are gone
 * in the child, and a team there would wait for them for ever.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <poslabel.h>

enum { THREADS = 2, IMAGES = 400, CYCLES = 100, SECONDS = 60 };

/* Loads the library, makes a call that is worth THREADS threads, and unloads it.  Gives poslabel_context_threads() of
 * afterwards, or a negative number that says what failed. */
static int load_call_unload(void)
{
    static int64_t keep[IMAGES * 49];
    void *const library = dlopen(TEST_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return -1;
    poslabel_status (*create)(const poslabel_context_options *, poslabel_context **);
    poslabel_status (*random_mask)(poslabel_context *, const poslabel_random_mask_args *);
    int32_t (*threads_of)(const poslabel_context *);
    void (*destroy)(poslabel_context *);
    *(void **)&create = dlsym(library, "poslabel_context_create");
    *(void **)&random_mask = dlsym(library, "poslabel_random_mask");
    *(void **)&threads_of = dlsym(library, "poslabel_context_threads");
    *(void **)&destroy = dlsym(library, "poslabel_context_destroy");
    if (!create || !random_mask || !threads_of || !destroy)
        return -2;

    poslabel_context *context;
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    options.threads = THREADS;
    if (create(&options, &context))
        return -3;
    poslabel_random_mask_args args = POSLABEL_RANDOM_MASK_ARGS_INIT;
    int64_t shape[] = {IMAGES, 49};
    poslabel_tensor ids_keep = POSLABEL_CPU_TENSOR(keep, POSLABEL_INT64, 2, shape);
    args.tokens = 196;
    args.ids_keep = &ids_keep;
    if (random_mask(context, &args))
        return -4;
    const int threads = threads_of(context);
    destroy(context);
    return dlclose(library) ? -5 : threads;
}

/* Forks; a child gets 0, and a hang becomes its death by SIGALRM. */
static pid_t fork_child(void)
{
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(SECONDS);
    }
    return pid;
}

/* 0 if the child left with 0; else what it left with, or 1000 and the signal. */
static int result_of(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 2000;
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int in_child(void)
{
    const pid_t pid = fork_child();
    if (pid == 0)
        _exit(load_call_unload() == 1 ? 0 : 1);
    return result_of(pid);
}

/* Must run before anything loads OpenMP. */
static void a_child_without_a_pool_has_threads(void **state)
{
    (void)state;
#ifdef TEST_HAVE_OPENMP
    const pid_t pid = fork_child();
    if (pid == 0)
        _exit(load_call_unload() == THREADS ? 0 : 1);
    assert_int_equal(result_of(pid), 0);
#else
    skip();
#endif
}

/* OpenMP's threads run its code, so it must not be unmapped. */
static void unloading_leaves_the_pool_alive(void **state)
{
    (void)state;
    const pid_t pid = fork_child();
    if (pid == 0) {
        for (int i = 0; i < CYCLES; i++) {
            if (load_call_unload() < 0)
                _exit(1);
            usleep(500); /* for the threads to go to sleep, and to return from it */
        }
        _exit(0);
    }
    assert_int_equal(result_of(pid), 0);
}

static void *run_team_and_fork(void *host_team)
{
    ((void (*)(int))host_team)(THREADS + 1);
    return (void *)(intptr_t)in_child();
}

static void a_child_of_a_parent_with_a_pool_returns(void **state)
{
    (void)state;
    if (access("/proc/self/stat", R_OK))
        skip(); /* nothing tells of the fork */
    void *const host = dlopen(TEST_HOST_OPENMP, RTLD_NOW);
    assert_non_null(host);
    void *const host_team = dlsym(host, "host_team");
    assert_non_null(host_team);
    ((void (*)(int))host_team)(THREADS);
    for (int again = 0; again < 3; again++)
        assert_int_equal(in_child(), 0);
    /* a grandchild */
    const pid_t pid = fork_child();
    if (pid == 0)
        _exit(in_child() ? 1 : 0);
    assert_int_equal(result_of(pid), 0);
    /* a fork from a thread with a pool of its own */
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, run_team_and_fork, host_team), 0);
    pthread_join(thread, &result);
    assert_int_equal((int)(intptr_t)result, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_without_a_pool_has_threads),
        cmocka_unit_test(unloading_leaves_the_pool_alive),
        cmocka_unit_test(a_child_of_a_parent_with_a_pool_returns),
    };
    return cmocka_run_group_tests_name("loading", tests, NULL, NULL);
}
