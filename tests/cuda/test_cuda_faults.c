/*
 * Every call of the CUDA runtime fails in turn.
 *
 * Whatever fails, and where: the status is POSLABEL_ERROR_MEMORY or POSLABEL_ERROR_DEVICE, the message names the
 * operation, nothing leaks, the host's own checks meet no error of ours, and after an error that does not last the
 * context is as good as new.  On the emulation only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cuda.h"
#include "support/test.h"

#define MEMORY POSLABEL_ERROR_MEMORY
#define DEVICE POSLABEL_ERROR_DEVICE

static const int errors[] = {CUDA_ERROR_MEMORY, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_ILLEGAL_ADDRESS};

static bool is_lasting(int error)
{
    return error == CUDA_ERROR_ILLEGAL_ADDRESS;
}

static poslabel_status create(poslabel_context **context, char message[512])
{
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    options.device = test_device();
    options.message = message;
    options.message_size = 512;
    *message = 0;
    return poslabel_context_create(&options, context);
}

/* One step of a sweep: the n-th call fails; whether the step came so far. */
static long points_before, fails_now;

static void fail_next(long n, int error)
{
    points_before = emulation()->fault_points();
    fails_now = n;
    emulation()->fail_at(n, error);
}

static bool has_failed(void)
{
    const bool failed = emulation()->fault_points() - points_before >= fails_now;
    emulation()->fail_at(0, 0);
    return failed;
}

/* The status and message of a call that met the error. */
static void expect_failure(poslabel_context *context, poslabel_status status, const char *name, int error)
{
    const char *const message = poslabel_context_message(context);
    const bool of_memory = strstr(message, "memory") != NULL && !strstr(message, "illegal memory");
    const size_t length = strlen(name);
    if (status != (error == CUDA_ERROR_MEMORY || of_memory ? MEMORY : DEVICE))
        test_fail("the status is \"%s\", the message \"%s\"", poslabel_status_name(status), message);
    if (strncmp(message, name, length) || strncmp(message + length, ": ", 2))
        test_fail("the message is \"%s\", which does not begin with \"%s: \"", message, name);
    assert_int_equal(cuda()->peek_at_last_error(), 0);
}

static void expect_lost(poslabel_context *context, poslabel_status status)
{
    const char *const message = poslabel_context_message(context);
    if (status != DEVICE || !strstr(message, "lost"))
        test_fail("a lost context gave \"%s\": %s", poslabel_status_name(status), message);
}

/* A small loss, to see that a context works. */
static void expect_works(poslabel_context *context)
{
    const int64_t rows = 5;
    loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){3, 4}, dtype_f32, 1, &rows, (layout){0},
                                POSLABEL_REDUCTION_MEAN, 7);
    c.sigma = 1;
    loss_answer answer = loss_solve(&c);
    expect_ok(context, loss_call(context, &c));
    expect_answer(&c, &answer, loss_tolerance(dtype_f32));
    loss_answer_free(&answer);
    loss_case_free(&c);
}

/* After a failure: works again, or is lost for good; and goes without a trace, but for `objects` of the test's own. */
static void expect_sequel(poslabel_context *context, int error, long objects)
{
    if (is_lasting(error))
        expect_lost(context, poslabel_context_synchronize(context));
    else
        expect_works(context);
    poslabel_context_destroy(context);
    assert_int_equal(cuda()->device_synchronize(), 0);
    assert_int_equal(emulation()->live_allocations(), 0);
    assert_int_equal(emulation()->live_objects(), objects);
    assert_int_equal(cuda()->peek_at_last_error(), 0);
}

static void creation(void **state)
{
    (void)state;
    emulation();
    for (int i = 0; i < COUNT(errors); i++)
        for (long n = 1;; n++) {
            poslabel_context *context;
            char message[512];
            test_case_is("call %ld gives error %d", n, errors[i]);
            fail_next(n, errors[i]);
            const poslabel_status status = create(&context, message);
            if (!has_failed()) {
                assert_int_equal(status, POSLABEL_OK);
                assert_true(n > 4);
                expect_works(context);
                poslabel_context_destroy(context);
                break;
            }
            assert_null(context);
            assert_true(status == MEMORY || status == DEVICE || (n <= 3 && status == POSLABEL_ERROR_UNSUPPORTED));
            if (errors[i] == CUDA_ERROR_MEMORY && n > 3) /* before, the module asks for devices */
                assert_int_equal(status, MEMORY);
            assert_non_null(strstr(message, "context_create: "));
            assert_non_null(strstr(message, "CUDA device"));
            assert_int_equal(emulation()->live_allocations(), 0);
            assert_int_equal(emulation()->live_objects(), 0);
            assert_int_equal(cuda()->peek_at_last_error(), 0);
        }
    test_case_is("%s", "");
}

/* Fails the n-th call of an operation in a new context; false when it does not make so many. */
static bool fail_operation(operation *op, long n, int error, const unsigned char *want, size_t size)
{
    poslabel_context *const context = context_default();
    operation_reset(op);
    fail_next(n, error);
    const poslabel_status status = operation_call(context, op);
    const bool failed = has_failed();
    if (failed)
        expect_failure(context, status, op->name, error);
    else
        expect_ok(context, status);
    if (failed && !is_lasting(error)) {
        operation_reset(op);
        expect_ok(context, operation_call(context, op));
    }
    if (!failed || !is_lasting(error)) {
        size_t got_size;
        unsigned char *const got = operation_outputs(op, &got_size);
        expect_same_bits("outputs after the failure", got, want, size, 1);
        free(got);
    }
    expect_sequel(context, failed ? error : 0, 0);
    return failed;
}

static void operations(void **state)
{
    (void)state;
    int failures = 0;
    emulation();
    for (int number = 0; number < operation_count(); number++) {
        operation op;
        size_t size;
        operation_new(&op, number, 12);
        poslabel_context *const context = context_default();
        expect_ok(context, operation_call(context, &op));
        unsigned char *const want = operation_outputs(&op, &size);
        poslabel_context_destroy(context);
        for (int i = 0; i < COUNT(errors); i++)
            for (long n = 1;; n++) {
                test_case_is("%s %s: call %ld gives error %d", op.name, op.variant, n, errors[i]);
                if (!fail_operation(&op, n, errors[i], want, size))
                    break;
                failures++;
            }
        test_case_is("%s", "");
        free(want);
        operation_free(&op);
    }
    assert_true(failures > 30);
}

/* What else is asked of a context: fails in turn, and works afterwards. */
typedef struct request {
    const char *name;
    poslabel_status (*make)(poslabel_context *context, void *stream);
    long may_be_silent_from; /* from this call on only memory is given back, of which nothing can be said */
} request;

static poslabel_status reserve_more(poslabel_context *context, void *stream)
{
    (void)stream;
    return poslabel_context_reserve(context, 1 << 20);
}

static poslabel_status wait_for(poslabel_context *context, void *stream)
{
    (void)stream;
    return poslabel_context_synchronize(context);
}

static void requests(void **state)
{
    (void)state;
    static const request table[] = {{"context_set_stream", poslabel_context_set_stream, 100},
                                    {"context_reserve", reserve_more, 4},
                                    {"context_synchronize", wait_for, 100}};
    emulation();
    for (int k = 0; k < COUNT(table); k++)
        for (int i = 0; i < COUNT(errors); i++) {
            bool failed = true;
            for (long n = 1; failed; n++) {
                void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
                poslabel_context *const context = context_default();
                expect_ok(context, poslabel_context_reserve(context, 1000));
                test_case_is("%s: call %ld gives error %d", table[k].name, n, errors[i]);
                fail_next(n, errors[i]);
                const poslabel_status status = table[k].make(context, stream);
                failed = has_failed();
                if (failed && n < table[k].may_be_silent_from)
                    expect_failure(context, status, table[k].name, errors[i]);
                else
                    expect_ok(context, status);
                expect_sequel(context, status == POSLABEL_OK ? 0 : errors[i], 1);
                cuda_ok(cuda()->stream_destroy(stream));
            }
        }
    test_case_is("%s", "");
}

/* Destroying cannot fail, whatever does. */
static void destruction(void **state)
{
    (void)state;
    emulation();
    for (int i = 0; i < COUNT(errors); i++) {
        bool failed = true;
        for (long n = 1; failed; n++) {
            test_case_is("call %ld gives error %d", n, errors[i]);
            poslabel_context *const context = context_default();
            expect_ok(context, poslabel_context_reserve(context, 1000));
            fail_next(n, errors[i]);
            poslabel_context_destroy(context);
            failed = has_failed();
            assert_int_equal(emulation()->live_allocations(), 0);
            assert_int_equal(emulation()->live_objects(), 0);
            assert_int_equal(cuda()->peek_at_last_error(), 0);
        }
    }
    test_case_is("%s", "");
}

/* An error is taken for a lost context only if CUDA will not recover from it. */
static void which_errors_last(void **state)
{
    (void)state;
    static const int lasting[] = {214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 806, 810, 911};
    /* values, memory, busy devices, no code, handles, not ready, resources, too many blocks, support, not ready,
     * captures, unknown, and one of the future */
    static const int others[] = {1, 2, 46, 209, 400, 600, 701, 720, 801, 802, 900, 901, 905, 906, 999, 4321};
    emulation();
    for (int last = 0; last < 2; last++)
        for (int i = 0; i < (last ? COUNT(lasting) : COUNT(others)); i++) {
            poslabel_context *const context = context_default();
            const int error = last ? lasting[i] : others[i];
            test_case_is("error %d", error);
            emulation()->fail_at(3, error);
            const poslabel_status status = poslabel_context_synchronize(context);
            emulation()->fail_at(0, 0);
            expect_failure(context, status, "context_synchronize", error);
            assert_int_equal(strstr(poslabel_context_message(context), "the context is lost") != NULL, last);
            if (last)
                expect_lost(context, poslabel_context_synchronize(context));
            else
                expect_works(context);
            poslabel_context_destroy(context);
        }
    test_case_is("%s", "");
}

/* A device that stays broken: every call says so, and a new context works when it is repaired. */
static void a_device_that_is_lost(void **state)
{
    (void)state;
    const emulation_controls *const device = emulation();
    poslabel_context *const context = context_default(), *other = NULL;
    void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
    char message[512];
    expect_works(context);
    device->break_device(CUDA_ERROR_ILLEGAL_ADDRESS);
    const poslabel_status first = poslabel_context_synchronize(context);
    expect_lost(context, first);
    assert_non_null(strstr(poslabel_context_message(context), "cudaErrorIllegalAddress"));
    for (int repaired = 0; repaired < 2; repaired++) {
        for (int number = 0; number < operation_count(); number++) {
            operation op;
            operation_new(&op, number, 3);
            test_case_is("%s %s", op.name, op.variant);
            if (strcmp(op.name, "sigma_schedule")) { /* which asks nothing of the device */
                expect_lost(context, operation_call(context, &op));
                assert_true(operation_is_untouched(&op));
            }
            operation_free(&op);
        }
        test_case_is("%s", "");
        expect_lost(context, poslabel_context_reserve(context, 1 << 20));
        expect_lost(context, poslabel_context_set_stream(context, stream));
        expect_lost(context, poslabel_context_synchronize(context));
        if (!repaired) {
            const poslabel_status status = create(&other, message);
            assert_true(status == DEVICE || status == POSLABEL_ERROR_UNSUPPORTED);
            assert_null(other);
            assert_non_null(strstr(message, "cudaErrorIllegalAddress"));
            device->break_device(0);
        }
    }
    assert_int_equal(create(&other, message), POSLABEL_OK);
    expect_works(other);
    poslabel_context_destroy(other);
    poslabel_context_destroy(context);
    cuda_ok(cuda()->stream_destroy(stream));
}

static void destroying_on_a_lost_device(void **state)
{
    (void)state;
    const emulation_controls *const device = emulation();
    poslabel_context *const context = context_default();
    expect_works(context);
    device->break_device(CUDA_ERROR_ILLEGAL_ADDRESS);
    poslabel_context_trim(context);
    poslabel_context_destroy(context);
    device->break_device(0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, emulation_begin, emulation_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(creation),
        TEST(operations),
        TEST(requests),
        TEST(destruction),
        TEST(which_errors_last),
        TEST(a_device_that_is_lost),
        TEST(destroying_on_a_lost_device),
    };
    return cmocka_run_group_tests_name("cuda_faults", tests, NULL, NULL);
}
