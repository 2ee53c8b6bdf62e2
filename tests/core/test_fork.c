/*
 * Forked children.
 *
 * Data loaders fork, and the threads of an OpenMP pool do not survive that.  A child that calls any operation, in the
 * parent's context or in one of its own, must neither hang nor compute something else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 400, THREADS = 4, SECONDS = 60, WRONG_COUNT = 99 };

static int count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks)
        return -1;
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(tasks));)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

/* In a child: every operation in `context` must give the outputs that the parent got.  The exit code says which did
 * not. */
static int redo(poslabel_context *context, operation *operations, unsigned char *const *want)
{
    for (int i = 0; i < operation_count(); i++) {
        size_t size;
        operation_reset(&operations[i]);
        if (operation_call(context, &operations[i]) != POSLABEL_OK)
            return 100 + i;
        unsigned char *got = operation_outputs(&operations[i], &size);
        if (memcmp(got, want[i], size))
            return 1 + i;
        free(got);
    }
    return 0;
}

/*
 * How a child came out: 0, or what went wrong; -1 before it has said so.  In memory that it shares with its parent,
 * since valgrind changes exit codes.
 */
static int *verdict;

static _Noreturn void leave(int code)
{
    *verdict = code;
    _exit(0);
}

static int share_verdict(void **state)
{
    (void)state;
    verdict = mmap(NULL, sizeof *verdict, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return verdict == MAP_FAILED;
}

static pid_t fork_child(void)
{
    *verdict = -1;
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(SECONDS); /* a hang becomes a death by SIGALRM */
    }
    return pid;
}

static _Noreturn void child(poslabel_context *context, operation *operations, unsigned char *const *want)
{
    int code = poslabel_context_threads(context) == 1 ? redo(context, operations, want) : WRONG_COUNT;
    if (!code) {
        poslabel_context *own = NULL;
        poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
        options.threads = THREADS;
        code = poslabel_context_create(&options, &own) == POSLABEL_OK ? redo(own, operations, want) : 200;
        if (!code && poslabel_context_threads(own) != 1)
            code = WRONG_COUNT;
        poslabel_context_destroy(own);
    }
    leave(code);
}

static void wait_for(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        test_fail("the child died of signal %d%s", WTERMSIG(status),
                  WTERMSIG(status) == SIGALRM ? ", a time-out: it hung" : "");
    const int code = *verdict;
    if (code < 0)
        test_fail("the child did not finish");
    if (code == WRONG_COUNT)
        test_fail("the context says that the child has threads");
    if (code >= 100)
        test_fail("call %d failed in the child", code - 100);
    if (code)
        test_fail("call %d gave other bits in the child", code - 1);
}

static void a_child_computes_what_its_parent_does(void **state)
{
    (void)state;
    operation *operations = calloc((size_t)operation_count(), sizeof *operations);
    unsigned char **want = calloc((size_t)operation_count(), sizeof *want);
    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, THREADS);
    for (int i = 0; i < operation_count(); i++) {
        size_t size;
        operation_new(&operations[i], i, MANY);
        expect_ok(context, operation_call(context, &operations[i]));
        want[i] = operation_outputs(&operations[i], &size);
    }
#ifdef TEST_HAVE_OPENMP
    assert_int_equal(poslabel_context_threads(context), THREADS);
    assert_true(count_threads() > 1); /* else no pool was started, and this shows nothing */
#endif
    for (int again = 0; again < 3; again++) {
        const pid_t pid = fork_child();
        if (pid == 0)
            child(context, operations, want);
        wait_for(pid);
    }
    /* a grandchild */
    const pid_t pid = fork_child();
    if (pid == 0) {
        const pid_t grandchild = fork_child();
        if (grandchild == 0)
            child(context, operations, want);
        waitpid(grandchild, NULL, 0); /* it leaves the verdict */
        _exit(0);
    }
    wait_for(pid);

    /* and the parent goes on with its threads */
    for (int i = 0; i < operation_count(); i++) {
        size_t size;
        operation_reset(&operations[i]);
        expect_ok(context, operation_call(context, &operations[i]));
        unsigned char *got = operation_outputs(&operations[i], &size);
        test_case_is("%s, %s", operations[i].name, operations[i].variant);
        expect_same_bits("outputs", got, want[i], size, 1);
        free(got);
        free(want[i]);
        operation_free(&operations[i]);
    }
    test_case_is("%s", "");
    free(want);
    free(operations);
    poslabel_context_destroy(context);
}

/* A fork from a thread other than the first, while that one computes. */
static void *compute(void *stop)
{
    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, 3);
    operation op;
    operation_new(&op, operation_number("droppos_loss"), MANY);
    while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED))
        operation_call(context, &op);
    operation_free(&op);
    poslabel_context_destroy(context);
    return NULL;
}

static void forks_while_others_compute(void **state)
{
    (void)state;
    int stop = 0;
    pthread_t thread;
    operation op;
    operation_new(&op, operation_number("droppos_loss"), MANY);
    assert_int_equal(pthread_create(&thread, NULL, compute, &stop), 0);
    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, THREADS);
    size_t size;
    expect_ok(context, operation_call(context, &op));
    unsigned char *want = operation_outputs(&op, &size);
    for (int i = 0; i < 10; i++) {
        const pid_t pid = fork_child();
        if (pid == 0) {
            operation_reset(&op);
            if (operation_call(context, &op) != POSLABEL_OK)
                leave(100);
            leave(memcmp(operation_outputs(&op, &size), want, size) ? 1 : 0);
        }
        wait_for(pid);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    free(want);
    operation_free(&op);
    poslabel_context_destroy(context);
}

/*
 * Neither loading the library nor making a context, nor a call on one thread or with little to do, starts a thread.  In
 * a program that was just started: this one, with an argument.
 */
static int check_no_threads(void)
{
    if (count_threads() != 1)
        return 1;
    poslabel_context *context;
    if (poslabel_context_create(NULL, &context) != POSLABEL_OK || count_threads() != 1)
        return 2;
    for (int i = 0; i < operation_count(); i++) {
        operation op;
        operation_new(&op, i, 1);
        if (operation_call(context, &op) != POSLABEL_OK || count_threads() != 1)
            return 10 + i;
        operation_free(&op);
    }
    poslabel_context_destroy(context);
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    options.threads = 1;
    if (poslabel_context_create(&options, &context) != POSLABEL_OK)
        return 3;
    for (int i = 0; i < operation_count(); i++) {
        operation op;
        operation_new(&op, i, MANY);
        if (operation_call(context, &op) != POSLABEL_OK || count_threads() != 1)
            return 100 + i;
        operation_free(&op);
    }
    poslabel_context_destroy(context);
    return 0;
}

static const char *program;

static void loading_starts_no_thread(void **state)
{
    (void)state;
    if (count_threads() < 0)
        skip(); /* no /proc */
    const pid_t pid = fork_child();
    if (pid == 0) {
        execl(program, program, "no-threads", (char *)NULL);
        _exit(255);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc > 1 && !strcmp(argv[1], "no-threads"))
        return check_no_threads();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_starts_no_thread),
        cmocka_unit_test(a_child_computes_what_its_parent_does),
        cmocka_unit_test(forks_while_others_compute),
    };
    return cmocka_run_group_tests_name("fork", tests, share_verdict, NULL);
}
