/*
 * Threads: how many a call starts, and that it does without where there are none.
 *
 * The pool of GNU OpenMP belongs to the whole process.  A call that changes the size of its team would make OpenMP end
 * and start threads, in this call and in the next one of whoever shares the pool.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, TOO_MANY = 32, MOST_IDS = 512, CALLS = 200, CLASSES = 196, MOST_IMAGES = 350 };

/* The ids of the threads that this process has now; gives how many there are, or -1 without /proc. */
static int list_threads(long ids[MOST_IDS])
{
    DIR *const tasks = opendir("/proc/self/task");
    if (!tasks)
        return -1;
    int count = 0;
    for (const struct dirent *entry; count < MOST_IDS && (entry = readdir(tasks));)
        if (entry->d_name[0] != '.')
            ids[count++] = atol(entry->d_name);
    closedir(tasks);
    return count;
}

/* How many threads of this process are not among those of the list, which then becomes the new one. */
static int count_new_threads(long ids[MOST_IDS], int *count)
{
    long now[MOST_IDS];
    const int now_count = list_threads(now);
    int started = 0;
    for (int i = 0; i < now_count; i++) {
        bool known = false;
        for (int k = 0; k < *count; k++)
            known = known || ids[k] == now[i];
        started += !known;
    }
    memcpy(ids, now, sizeof now);
    *count = now_count;
    return started;
}

static poslabel_status make_masks(poslabel_context *context, int64_t images)
{
    static int64_t keep[MOST_IMAGES * 49];
    poslabel_random_mask_args args = POSLABEL_RANDOM_MASK_ARGS_INIT;
    int64_t shape[] = {images, 49};
    poslabel_tensor ids_keep = POSLABEL_CPU_TENSOR(keep, POSLABEL_INT64, 2, shape);
    args.tokens = 196;
    args.ids_keep = &ids_keep;
    return poslabel_random_mask(context, &args);
}

static poslabel_status make_loss(poslabel_context *context, int64_t rows, bool gradient)
{
    static float logits[MOST_IMAGES * CLASSES], grad[MOST_IMAGES * CLASSES], value;
    static int32_t positions[MOST_IMAGES];
    poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    int64_t shape[] = {1, rows, CLASSES};
    poslabel_tensor z = POSLABEL_CPU_TENSOR(logits, POSLABEL_FLOAT32, 3, shape);
    poslabel_tensor g = POSLABEL_CPU_TENSOR(grad, POSLABEL_FLOAT32, 3, shape);
    poslabel_tensor p = POSLABEL_CPU_TENSOR(positions, POSLABEL_INT32, 2, shape);
    poslabel_tensor loss = POSLABEL_CPU_TENSOR(&value, POSLABEL_FLOAT32, 0, NULL);
    args.grid = (poslabel_grid){14, 14};
    args.sigma = 1;
    args.logits = &z;
    args.positions = &p;
    args.loss = &loss;
    args.grad_logits = gradient ? &g : NULL;
    return poslabel_droppos_loss(context, &args);
}

/* From 1 image to MOST_IMAGES, small and large in turns. */
static int64_t images_of(int call)
{
    const int64_t step = call % 40;
    return call % 2 ? 1 + step : MOST_IMAGES - 7 * step;
}

static void expect_no_new_threads(int threads)
{
    long ids[MOST_IDS];
    poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, threads);
    expect_ok(context, make_masks(context, MOST_IMAGES));
    int count = list_threads(ids);
    for (int i = 0; i < CALLS; i++) {
        const int64_t images = images_of(i);
        test_case_is("call %d, %d images or rows, %d threads", i, (int)images, threads);
        expect_ok(context, i % 3 ? make_masks(context, images) : make_loss(context, images, i % 2));
        assert_int_equal(count_new_threads(ids, &count), 0);
    }
    test_case_is("%s", "");
    poslabel_context_destroy(context);
}

static void only_the_first_call_starts_threads(void **state)
{
    (void)state;
    long ids[MOST_IDS];
    int count = list_threads(ids);
    if (count < 0)
        skip(); /* no /proc */
    expect_no_new_threads(THREADS);
#ifdef TEST_HAVE_OPENMP
    assert_true(count_new_threads(ids, &count) >= THREADS - 1); /* else this shows nothing */
#endif
    expect_no_new_threads(2);
    /* after a team of the program's own, smaller or larger */
    for (int host = 3; host < 9; host += 4) {
#ifdef _OPENMP
#pragma omp parallel num_threads(host)
        usleep(100);
#endif
        expect_no_new_threads(THREADS);
    }
}

/* The loss of one batch of rows, and the masks of one image, which are not cut up among threads however large they are.
 */
static poslabel_status make_one_piece(poslabel_context *context)
{
    enum { ROWS = 60, MANY = 6000 };
    static float logits[ROWS * MANY], grad[ROWS * MANY], value;
    static int32_t positions[ROWS], restore[ROWS * MANY];
    int64_t shape[] = {ROWS, MANY}, image[] = {1, ROWS * MANY};
    poslabel_tensor z = POSLABEL_CPU_TENSOR(logits, POSLABEL_FLOAT32, 2, shape);
    poslabel_tensor g = POSLABEL_CPU_TENSOR(grad, POSLABEL_FLOAT32, 2, shape);
    poslabel_tensor p = POSLABEL_CPU_TENSOR(positions, POSLABEL_INT32, 1, shape);
    poslabel_tensor loss = POSLABEL_CPU_TENSOR(&value, POSLABEL_FLOAT32, 0, NULL);
    poslabel_tensor ids_restore = POSLABEL_CPU_TENSOR(restore, POSLABEL_INT32, 2, image);
    poslabel_position_cross_entropy_args args = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    args.labels = POSLABEL_LABELS_EXPLICIT;
    args.logits = &z;
    args.grad_logits = &g;
    args.positions = &p;
    args.loss = &loss;
    poslabel_random_mask_args mask = POSLABEL_RANDOM_MASK_ARGS_INIT;
    mask.tokens = ROWS * MANY;
    mask.ids_restore = &ids_restore;
    const poslabel_status status = poslabel_position_cross_entropy(context, &args);
    return status ? status : poslabel_random_mask(context, &mask);
}

/* A call of under 100 rows, such as the visible patches of two images, has no use for a second thread. */
static void small_calls_start_no_thread(void **state)
{
    (void)state;
    long ids[MOST_IDS];
    int count = list_threads(ids);
    if (count < 0)
        skip();
    /* no team has that many threads now */
    poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, 6);
    for (int64_t rows = 1; rows < 100; rows++) {
        expect_ok(context, make_loss(context, rows, true));
        expect_ok(context, make_masks(context, rows / 3));
    }
    expect_ok(context, make_one_piece(context));
    assert_int_equal(count_new_threads(ids, &count), 0);
    poslabel_context_destroy(context);
}

static poslabel_context *open_context(int threads)
{
    poslabel_context *context = NULL;
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    options.threads = threads;
    return poslabel_context_create(&options, &context) == POSLABEL_OK ? context : NULL;
}

/*
 * In a process of its own: this program with an argument.  Contexts of more threads than the process may start compute
 * on one thread and say so.  The exit code says what was not so.
 */
static int run_out_of_threads(void)
{
    if (getuid() == 0 && setuid(65534)) /* no limit holds for root */
        return 1;
    poslabel_context *const small = open_context(THREADS), *const large = open_context(TOO_MANY);
    if (!small || !large)
        return 2;
    const int small_threads = poslabel_context_threads(small); /* 1 in a build without OpenMP */
    const bool has_openmp = small_threads > 1;
    if (make_masks(small, MOST_IMAGES))
        return 3;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NPROC, &limit))
        return 4;
    const struct rlimit low = {.rlim_cur = 8, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NPROC, &low))
        return 5;
    for (int again = 0; again < 3; again++) {
        if (make_loss(large, 1, true)) /* before a large call nobody knows */
            return 6;
        if (poslabel_context_threads(large) != (!has_openmp || again ? 1 : TOO_MANY))
            return 7;
        if (make_masks(large, MOST_IMAGES) || make_loss(large, MOST_IMAGES, true))
            return 8;
        if (poslabel_context_threads(large) != 1)
            return 9;
        /* the threads that are there still work */
        if (make_masks(small, MOST_IMAGES) || poslabel_context_threads(small) != small_threads)
            return 10;
    }
    /* with the old limit a new context has its threads */
    poslabel_context *const later = open_context(TOO_MANY);
    if (setrlimit(RLIMIT_NPROC, &limit) || !later || make_masks(later, MOST_IMAGES))
        return 11;
    if (poslabel_context_threads(later) != (has_openmp ? TOO_MANY : 1))
        return 12;
    poslabel_context_destroy(later);
    poslabel_context_destroy(large);
    poslabel_context_destroy(small);
    return 0;
}

static const char *program;

static void a_call_does_without_threads(void **state)
{
    (void)state;
    int pipe_ends[2], status;
    char text[512] = "";
    assert_int_equal(pipe(pipe_ends), 0);
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(pipe_ends[1], STDERR_FILENO);
        dup2(pipe_ends[1], STDOUT_FILENO);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        alarm(60);
        execl(program, program, "out-of-threads", (char *)NULL);
        _exit(255);
    }
    close(pipe_ends[1]);
    size_t size = 0;
    for (ssize_t got; size < sizeof text - 1 && (got = read(pipe_ends[0], text + size, sizeof text - 1 - size)) > 0;)
        size += (size_t)got;
    close(pipe_ends[0]);
    waitpid(pid, &status, 0);
    assert_string_equal(text, ""); /* neither the library nor OpenMP printed anything */
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc > 1 && !strcmp(argv[1], "out-of-threads"))
        _exit(run_out_of_threads()); /* a leak checker would want a thread, too */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_first_call_starts_threads),
        cmocka_unit_test(small_calls_start_no_thread),
        cmocka_unit_test(a_call_does_without_threads),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
