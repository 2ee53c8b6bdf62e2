/*
 * What the emulation must find: each bug of wrong.cu runs in a child, whose end and last words are looked at.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control.h"
#include "right.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { COUNT = 64 };

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1, WATCHED = 0 };
#elif defined(__SANITIZE_THREAD__)
enum { SANITIZED = 0, WATCHED = 1 };
#elif defined(__has_feature)
enum { SANITIZED = __has_feature(address_sanitizer), WATCHED = __has_feature(thread_sanitizer) };
#else
enum { SANITIZED = 0, WATCHED = 0 };
#endif

/* Runs a kernel on 0, 1, 2, ...; gives the numbers that it leaves. */
static void run(const char *name, unsigned seed, float x[COUNT])
{
    void *memory = NULL;
    emulation_shuffle(seed);
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)i;
    if (strcmp(name, "host_access") == 0) {
        float *device = NULL;
        cudaMalloc((void **)&device, COUNT * sizeof(float));
        device[0] = 1; /* wrong.cu has no say in this */
    }
    if (cudaMalloc(&memory, COUNT * sizeof(float)) != cudaSuccess ||
        cudaMemcpy(memory, x, COUNT * sizeof(float), cudaMemcpyHostToDevice) != cudaSuccess ||
        wrong_run(name, memory, COUNT, NULL) != cudaSuccess ||
        cudaMemcpy(x, memory, COUNT * sizeof(float), cudaMemcpyDeviceToHost) != cudaSuccess ||
        cudaFree(memory) != cudaSuccess)
        fail_msg("%s could not be run", name);
}

/*
 * What a child that runs the kernel says before it dies; an empty text if it does not (UndefinedBehaviorSanitizer and
 * ThreadSanitizer may let it go on).
 */
static void last_words(const char *name, unsigned seed, char *words, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        float x[COUNT];
        for (int fault = 1; fault < NSIG; fault++)
            signal(fault, SIG_DFL); /* CMocka makes failed tests of some */
        close(ends[0]);
        dup2(ends[1], STDERR_FILENO);
        run(name, seed, x);
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], words + used, size - 1 - used)) > 0)
        used += (size_t)got;
    words[used] = '\0';
    char rest[4096];
    while (read(ends[0], rest, sizeof rest) > 0)
        ;
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && strstr(words, "runtime error") == NULL &&
        strstr(words, "data race") == NULL)
        words[0] = '\0';
}

static void bugs_stop_the_process(void **state)
{
    (void)state;
    static const struct {
        const char *name, *words;
        int sanitizer; /* found by AddressSanitizer or UndefinedBehaviorSanitizer only */
    } cases[] = {
        {"shared_overrun", "heap-buffer-overflow", 1},
        {"dynamic_overrun", "heap-buffer-overflow", 1},
        {"dynamic_unlisted", "at most 0 by kernels/shared.def", 0},
        {"global_overrun", "heap-buffer-overflow", 1},
        {"host_access", "use-after-poison", 1},
        {"misaligned_vector", "misaligned access", 0},
        {"misaligned_access", "misaligned address", 1},
        {"barrier_after_exit", "thread (5, 0, 0)", 0},
        {"exit_before_barrier", "barrier", 0},
        {"two_barriers", "a barrier, while thread", 0},
        {"barrier_never_reached", "never comes", 0},
        {"shuffle_exited", "mask 0xffffffff", 0},
        {"shuffle_left", "mask 0xffffffff", 0},
        {"shuffle_outside", "shuffle from lane 20", 0},
        {"shuffle_without_caller", "without the caller", 0},
        {"shuffle_beyond_block", "the block has no lane", 0},
        {"mixed_operations", "waits in ", 0},
        {"mixed_masks", "waits with mask", 0},
        {"warp_and_barrier", "barrier", 0},
        {"too_much_shared", "more than a block can have", 0},
        {"trap", "__trap()", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (unsigned seed = 0; seed < 3; seed++) {
            char words[65536];
            if (cases[i].sanitizer && !SANITIZED)
                continue;
            last_words(cases[i].name, seed, words, sizeof words);
            if (strstr(words, cases[i].words) == NULL ||
                (strstr(words, "wrong.cu") == NULL && strcmp(cases[i].name, "host_access") != 0))
                fail_msg("%s, seed %u: \"%s\"", cases[i].name, seed, words);
        }
}

/* In whatever order the threads run, and whatever the result. */
static void races_are_found(void **state)
{
    (void)state;
    static const char *const names[] = {"missing_barrier",   "shuffle_for_barrier", "no_fence_before", "no_fence_after",
                                        "write_after_fence", "same_place",          "reset_of_counter"};
    if (!WATCHED)
        skip();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (unsigned seed = 0; seed < 3; seed++) {
            char words[65536];
            last_words(names[i], seed, words, sizeof words);
            if (strstr(words, "data race") == NULL || strstr(words, "wrong.cu") == NULL)
                fail_msg("%s, seed %u: \"%s\"", names[i], seed, words);
        }
}

static void races_depend_on_the_seed(void **state)
{
    (void)state;
    float x[COUNT], y[COUNT];
    if (WATCHED)
        skip();
    run("missing_barrier", 0, x);
    run("missing_barrier", 1, y);
    assert_memory_not_equal(x, y, sizeof x);
}

static void unwritten_memory_is_nan(void **state)
{
    (void)state;
    float x[COUNT];
    run("unwritten_shared", 0, x);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(isnan(x[i]) != 0, i % 2);
    float *memory = NULL;
    assert_int_equal(cudaMalloc((void **)&memory, sizeof x), cudaSuccess);
    assert_int_equal(cudaMemcpy(x, memory, sizeof x, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_true(isnan(x[0]) && isnan(x[COUNT - 1]));
    assert_int_equal(cudaFree(memory), cudaSuccess);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bugs_stop_the_process),
        cmocka_unit_test(races_are_found),
        cmocka_unit_test(races_depend_on_the_seed),
        cmocka_unit_test(unwritten_memory_is_nan),
    };
    return cmocka_run_group_tests_name("emulation bugs", tests, NULL, NULL);
}
