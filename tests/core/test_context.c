/*
 * Contexts: options, messages, the log, what can be asked, workspace, and two at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <pthread.h>

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

typedef struct line_log {
    int lines;
    poslabel_log_level level;
    char text[512];
} line_log;

static void take_line(void *user, poslabel_log_level level, const char *message)
{
    line_log *log = user;
    log->lines++;
    log->level = level;
    snprintf(log->text, sizeof log->text, "%s", message);
}

static void defaults(void **state)
{
    (void)state;
    poslabel_context *context = NULL;
    assert_int_equal(poslabel_context_create(NULL, &context), POSLABEL_OK);
    assert_non_null(context);
    assert_int_equal(poslabel_context_device(context).type, POSLABEL_DEVICE_CPU);
    assert_int_equal(poslabel_context_device(context).id, 0);
    assert_true(poslabel_context_threads(context) >= 1);
    poslabel_isa levels[ISA_LEVELS];
    assert_int_equal(poslabel_context_isa(context), levels[isa_levels(levels) - 1]); /* the best there is */
    assert_string_equal(poslabel_context_message(context), "");
    assert_int_equal(poslabel_context_workspace(context), 0);
    poslabel_context_destroy(context);

    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    assert_int_equal(options.struct_size, sizeof options);
    assert_int_equal(poslabel_context_create(&options, &context), POSLABEL_OK);
    poslabel_context_destroy(context);
    poslabel_context_destroy(NULL);
}

static void threads_are_what_was_asked_for(void **state)
{
    (void)state;
    static const int counts[] = {1, 2, 3, 64, 1024};
    for (int i = 0; i < COUNT(counts); i++) {
        poslabel_context *context = context_new(POSLABEL_ISA_AUTO, counts[i]);
#ifdef TEST_HAVE_OPENMP
        assert_int_equal(poslabel_context_threads(context), counts[i]);
#else
        assert_int_equal(poslabel_context_threads(context), 1);
#endif
        poslabel_context_destroy(context);
    }
}

/* Each option that is wrong: the status, the message at options.message and on the log, and no context. */
static void options_that_are_wrong(void **state)
{
    (void)state;
    counting_allocator counter;
    counting_allocator_init(&counter);
#define REFUSED(change, want, ...)                                                                                     \
    do {                                                                                                               \
        poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;                                              \
        poslabel_context *context = (poslabel_context *)&counter;                                                      \
        char message[512] = ""; /* as long as that of the log */                                                       \
        line_log log = {0};                                                                                            \
        options.message = message;                                                                                     \
        options.message_size = sizeof message;                                                                         \
        options.log = take_line;                                                                                       \
        options.log_user = &log;                                                                                       \
        change;                                                                                                        \
        test_case_is("%s", #change);                                                                                   \
        assert_int_equal(poslabel_context_create(&options, &context), want);                                           \
        assert_null(context);                                                                                          \
        static const char *const words[] = {"context_create: ", __VA_ARGS__};                                          \
        for (int i = 0; i < COUNT(words); i++)                                                                         \
            if (!strstr(message, words[i]))                                                                            \
                test_fail("the message is \"%s\", which lacks \"%s\"", message, words[i]);                             \
        assert_int_equal(log.lines, 1);                                                                                \
        assert_int_equal(log.level, POSLABEL_LOG_ERROR);                                                               \
        assert_string_equal(log.text, message);                                                                        \
    } while (0)
    REFUSED(options.threads = -1, INVALID, "threads = -1", "1024");
    REFUSED(options.threads = 1025, INVALID, "threads = 1025");
    REFUSED(options.threads = INT32_MIN, INVALID, "threads = -2147483648");
    REFUSED(options.allocator.allocate = counting_allocator_hooks(&counter).allocate, INVALID, "allocator");
    REFUSED(options.allocator.release = counting_allocator_hooks(&counter).release, INVALID, "allocator");
    REFUSED(options.isa = 1, INVALID, "isa = 1");
    REFUSED(options.isa = -10, INVALID, "isa = -10");
    REFUSED(options.isa = 50, INVALID, "isa = 50");
    REFUSED(options.device.type = 0, INVALID, "device type 0");
    REFUSED(options.device.type = 3, INVALID, "device type 3");
    REFUSED(options.device.id = 1, INVALID, "device id = 1");
    REFUSED(options.device.id = -1, INVALID, "device id = -1");
    REFUSED(options.stream = &counter, INVALID, "stream");
    if (poslabel_device_supported(POSLABEL_DEVICE_CUDA, NULL, 0) == UNSUPPORTED)
        REFUSED(options.device.type = POSLABEL_DEVICE_CUDA, UNSUPPORTED, "device type 2", "CUDA");
    static const poslabel_isa all[] = {POSLABEL_ISA_AVX2, POSLABEL_ISA_AVX512};
    for (int k = 0; k < COUNT(all); k++)
        if (poslabel_isa_supported(all[k], NULL, 0) == UNSUPPORTED)
            REFUSED(options.isa = (int)all[k], UNSUPPORTED, "isa = ", "lacks");
    test_case_is("%s", "");
    counting_allocator_check(&counter);
    assert_int_equal(counter.allocations, 0);

    assert_int_equal(poslabel_context_create(NULL, NULL), INVALID);
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    char message[256] = "";
    options.message = message;
    options.message_size = sizeof message;
    assert_int_equal(poslabel_context_create(&options, NULL), INVALID);
    assert_non_null(strstr(message, "context is NULL"));
}

/* A message that does not fit is cut and ends in a zero; one that is not wanted is left out. */
static void messages_are_cut(void **state)
{
    (void)state;
    for (size_t size = 0; size < 40; size++) {
        guard g = guard_new(size, GUARD_END, 0);
        poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
        poslabel_context *context;
        options.threads = -1;
        options.message = g.data;
        options.message_size = size;
        assert_int_equal(poslabel_context_create(&options, &context), INVALID);
        if (size)
            assert_true(strlen(g.data) == (size - 1 < 30 ? size - 1 : strlen(g.data)));
        guard_check(&g);
        guard_fill(&g);
        assert_int_equal(poslabel_device_supported((poslabel_device_type)77, g.data, size), INVALID);
        if (size)
            assert_true(strlen(g.data) < size);
        assert_int_equal(poslabel_isa_supported((poslabel_isa)77, g.data, size), INVALID);
        if (size)
            assert_true(strlen(g.data) < size);
        guard_check(&g);
        guard_free(&g);
    }
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context;
    options.threads = -1;
    options.message_size = 100; /* of nothing */
    assert_int_equal(poslabel_context_create(&options, &context), INVALID);
}

static void the_message_is_that_of_the_last_failure(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    double sigma;
    poslabel_sigma_schedule_args args = POSLABEL_SIGMA_SCHEDULE_ARGS_INIT;
    args.sigma = &sigma;
    args.epochs = 1;
    args.epoch = -7;
    assert_int_equal(poslabel_sigma_schedule(context, &args), INVALID);
    assert_non_null(strstr(poslabel_context_message(context), "sigma_schedule: epoch = -7"));
    args.epoch = 0;
    expect_ok(context, poslabel_sigma_schedule(context, &args)); /* leaves it as it is */
    assert_non_null(strstr(poslabel_context_message(context), "epoch = -7"));
    args.sigma_0 = -3;
    assert_int_equal(poslabel_sigma_schedule(context, &args), INVALID);
    assert_non_null(strstr(poslabel_context_message(context), "sigma_0 = -3"));
    assert_null(strstr(poslabel_context_message(context), "epoch = -7"));
    poslabel_context_destroy(context);
    assert_non_null(strstr(poslabel_context_message(NULL), "NULL"));
}

static void the_log_gets_a_line_for_each_failure(void **state)
{
    (void)state;
    line_log log = {0};
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context;
    options.log = take_line;
    options.log_user = &log;
    options.threads = 2;
    assert_int_equal(poslabel_context_create(&options, &context), POSLABEL_OK);
    assert_int_equal(log.lines, 1);
    assert_int_equal(log.level, POSLABEL_LOG_INFO);
    assert_non_null(strstr(log.text, poslabel_version_string()));
    assert_non_null(strstr(log.text, poslabel_isa_name(poslabel_context_isa(context))));
    assert_null(strchr(log.text, '\n'));
    assert_int_equal(poslabel_droppos_loss(context, NULL), INVALID);
    assert_int_equal(log.lines, 2);
    assert_int_equal(log.level, POSLABEL_LOG_ERROR);
    assert_string_equal(log.text, poslabel_context_message(context));
    for (int i = 0; i < operation_count(); i++) {
        operation op;
        operation_new(&op, i, 2);
        expect_ok(context, operation_call(context, &op));
        operation_free(&op);
    }
    poslabel_context_trim(context);
    poslabel_context_destroy(context);
    assert_int_equal(log.lines, 2); /* what succeeds is silent */
}

static void what_a_null_context_says(void **state)
{
    (void)state;
    assert_int_equal(poslabel_context_device(NULL).type, 0);
    assert_int_equal(poslabel_context_threads(NULL), 0);
    assert_int_equal(poslabel_context_isa(NULL), POSLABEL_ISA_AUTO);
    assert_int_equal(poslabel_context_workspace(NULL), 0);
    poslabel_context_trim(NULL);
    poslabel_context_destroy(NULL);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(poslabel_isa_name(POSLABEL_ISA_AUTO), "auto");
    assert_string_equal(poslabel_isa_name(POSLABEL_ISA_REFERENCE), "reference");
    assert_string_equal(poslabel_isa_name(POSLABEL_ISA_BASELINE), "baseline");
    assert_string_equal(poslabel_isa_name(POSLABEL_ISA_AVX2), "avx2");
    assert_string_equal(poslabel_isa_name(POSLABEL_ISA_AVX512), "avx512");
    assert_string_equal(poslabel_isa_name((poslabel_isa)11), "unknown");
    static const poslabel_status all[] = {POSLABEL_OK,           POSLABEL_ERROR_INVALID, POSLABEL_ERROR_UNSUPPORTED,
                                          POSLABEL_ERROR_MEMORY, POSLABEL_ERROR_DEVICE,  POSLABEL_ERROR_INTERNAL};
    for (int i = 0; i < COUNT(all); i++) {
        assert_string_not_equal(poslabel_status_name(all[i]), "unknown");
        for (int k = 0; k < i; k++)
            assert_string_not_equal(poslabel_status_name(all[i]), poslabel_status_name(all[k]));
    }
    assert_string_equal(poslabel_status_name(POSLABEL_OK), "ok");
    assert_string_equal(poslabel_status_name(POSLABEL_ERROR_INVALID), "invalid");
    assert_string_equal(poslabel_status_name(POSLABEL_ERROR_UNSUPPORTED), "unsupported");
    assert_string_equal(poslabel_status_name((poslabel_status)1), "unknown");
    assert_string_equal(poslabel_status_name((poslabel_status)-1), "unknown");
    assert_int_equal(poslabel_version(), POSLABEL_VERSION);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", POSLABEL_VERSION_MAJOR, POSLABEL_VERSION_MINOR,
             POSLABEL_VERSION_PATCH);
    assert_string_equal(poslabel_version_string(), version);
}

static void capabilities(void **state)
{
    (void)state;
    char reason[256] = "x";
    assert_int_equal(poslabel_device_supported(POSLABEL_DEVICE_CPU, reason, sizeof reason), POSLABEL_OK);
    assert_string_equal(reason, "");
    assert_int_equal(poslabel_isa_supported(POSLABEL_ISA_AUTO, NULL, 0), POSLABEL_OK);
    assert_int_equal(poslabel_isa_supported(POSLABEL_ISA_REFERENCE, reason, sizeof reason), POSLABEL_OK);
    assert_int_equal(poslabel_isa_supported(POSLABEL_ISA_BASELINE, reason, sizeof reason), POSLABEL_OK);
    assert_string_equal(reason, "");
    assert_int_equal(poslabel_isa_supported((poslabel_isa)35, reason, sizeof reason), INVALID);
    assert_string_not_equal(reason, "");
    assert_int_equal(poslabel_device_supported((poslabel_device_type)13, reason, sizeof reason), INVALID);
    assert_string_not_equal(reason, "");
    /* where a kind is supported a context can be made, and else not */
    static const poslabel_isa all[] = {POSLABEL_ISA_AVX2, POSLABEL_ISA_AVX512};
    for (int i = 0; i < COUNT(all); i++) {
        poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
        poslabel_context *context;
        options.isa = (int)all[i];
        const poslabel_status want = poslabel_isa_supported(all[i], reason, sizeof reason);
        assert_int_equal(poslabel_context_create(&options, &context), want);
        assert_int_equal(*reason == 0, want == POSLABEL_OK);
        poslabel_context_destroy(context);
    }
}

static void workspace_can_be_given_back(void **state)
{
    (void)state;
    counting_allocator counter;
    counting_allocator_init(&counter);
    poslabel_context *context = context_counted(&counter, POSLABEL_ISA_AUTO, 1, NULL);
    const int64_t rows = 1000;
    loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){14, 14}, dtype_f32, 1, &rows, (layout){0},
                                POSLABEL_REDUCTION_MEAN, 1);
    c.sigma = 1;
    expect_ok(context, loss_call(context, &c));
    tensor *first = tensor_copy(c.grad, dtype_f32, (layout){0});
    const size_t held = poslabel_context_workspace(context);
    assert_true(held > 0);
    assert_int_equal(counter.live, 2);
    poslabel_context_trim(context);
    assert_int_equal(poslabel_context_workspace(context), 0);
    assert_int_equal(counter.live, 1);
    poslabel_context_trim(context);
    expect_ok(context, loss_call(context, &c));
    expect_same_tensor("grad", c.grad, first);
    assert_int_equal(poslabel_context_workspace(context), held);
    tensor_free(first);
    loss_case_free(&c);
    poslabel_context_destroy(context);
    counting_allocator_check(&counter);
}

/* Two contexts in two threads at the same time, each with threads of its own. */
typedef struct worker {
    pthread_t thread;
    int failed; /* the call that went wrong, or -1 */
    operation *operations;
    unsigned char **want;
} worker;

static void *work(void *argument)
{
    worker *me = argument;
    poslabel_context *context = NULL;
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    options.threads = 2;
    me->failed = poslabel_context_create(&options, &context) == POSLABEL_OK ? -1 : 0;
    for (int again = 0; again < (test_is_quick() ? 3 : 20) && me->failed < 0; again++)
        for (int i = 0; i < operation_count() && me->failed < 0; i++) {
            size_t size;
            operation_reset(&me->operations[i]);
            if (operation_call(context, &me->operations[i]) != POSLABEL_OK)
                me->failed = i;
            unsigned char *got = operation_outputs(&me->operations[i], &size);
            if (memcmp(got, me->want[i], size))
                me->failed = i;
            free(got);
        }
    poslabel_context_destroy(context);
    return NULL;
}

static void two_contexts_at_once(void **state)
{
    (void)state;
    worker workers[2];
    const size_t count = (size_t)operation_count();
    poslabel_context *context = context_default();
    for (int w = 0; w < 2; w++) {
        workers[w].operations = calloc(count, sizeof(operation));
        workers[w].want = calloc(count, sizeof(unsigned char *));
        for (int i = 0; i < operation_count(); i++) {
            size_t size;
            operation_new(&workers[w].operations[i], i, 150);
            expect_ok(context, operation_call(context, &workers[w].operations[i]));
            workers[w].want[i] = operation_outputs(&workers[w].operations[i], &size);
        }
    }
    for (int w = 0; w < 2; w++)
        assert_int_equal(pthread_create(&workers[w].thread, NULL, work, &workers[w]), 0);
    for (int w = 0; w < 2; w++)
        pthread_join(workers[w].thread, NULL);
    for (int w = 0; w < 2; w++) {
        if (workers[w].failed >= 0)
            test_fail("%s, %s: other outputs, or a failure, in thread %d",
                      workers[w].operations[workers[w].failed].name,
                      workers[w].operations[workers[w].failed].variant, w);
        for (int i = 0; i < operation_count(); i++) {
            operation_free(&workers[w].operations[i]);
            free(workers[w].want[i]);
        }
        free(workers[w].operations);
        free(workers[w].want);
    }
    poslabel_context_destroy(context);
}

/* The default allocator gives what it says, and a workspace that cannot be had is reported. */
static void absurd_sizes(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    poslabel_smoothing_map_args args = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
    args.grid = (poslabel_grid){1, INT32_MAX};
    const int64_t shape[] = {INT32_MAX, INT32_MAX};
    float few[4] = {1, 2, 3, 4};
    poslabel_tensor map = POSLABEL_CPU_TENSOR(few, POSLABEL_FLOAT32, 2, shape);
    args.map = &map;
    args.sigma = 1;
    const poslabel_status status = poslabel_smoothing_map(context, &args);
    assert_true(status == POSLABEL_ERROR_MEMORY || status == INVALID);
    assert_true(few[0] == 1 && few[3] == 4);
    poslabel_context_destroy(context);
}

static const char *program;

/* threads = 0 follows OMP_NUM_THREADS, which OpenMP reads when a program starts: so this one is started again. */
static void the_default_number_of_threads(void **state)
{
    (void)state;
#ifdef TEST_HAVE_OPENMP
    char command[1024];
    snprintf(command, sizeof command, "OMP_NUM_THREADS=3 '%s' count-threads", program);
    FILE *stream = popen(command, "r");
    int threads = 0;
    assert_non_null(stream);
    assert_int_equal(fscanf(stream, "%d", &threads), 1);
    pclose(stream);
    assert_int_equal(threads, 3);
#else
    (void)program;
    skip();
#endif
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc > 1 && !strcmp(argv[1], "count-threads")) {
        poslabel_context *context = context_new(POSLABEL_ISA_AUTO, 0);
        printf("%d\n", (int)poslabel_context_threads(context));
        poslabel_context_destroy(context);
        return 0;
    }

    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(threads_are_what_was_asked_for),
        cmocka_unit_test(the_default_number_of_threads),
        cmocka_unit_test(options_that_are_wrong),
        cmocka_unit_test(messages_are_cut),
        cmocka_unit_test(the_message_is_that_of_the_last_failure),
        cmocka_unit_test(the_log_gets_a_line_for_each_failure),
        cmocka_unit_test(what_a_null_context_says),
        cmocka_unit_test(names),
        cmocka_unit_test(capabilities),
        cmocka_unit_test(workspace_can_be_given_back),
        cmocka_unit_test(two_contexts_at_once),
        cmocka_unit_test(absurd_sizes),
    };
    return cmocka_run_group_tests_name("context", tests, NULL, NULL);
}
