/*
 * Every allocation fails in turn.
 *
 * Whatever allocation of whatever operation fails: the status is POSLABEL_ERROR_MEMORY, no output was written, nothing
 * leaks, and the next call on the same context is right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

static const char *name_of(const operation *op)
{
    static char text[128];
    snprintf(text, sizeof text, "%s%s%s", op->name, *op->variant ? ", " : "", op->variant);
    return text;
}

static void context_creation(void **state)
{
    (void)state;
    for (int at = 1;; at++) {
        counting_allocator counter;
        counting_allocator_init(&counter);
        counter.fail_at = at;
        poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
        poslabel_context *context = (poslabel_context *)&counter; /* must become NULL */
        char message[128] = "";
        options.allocator = counting_allocator_hooks(&counter);
        options.message = message;
        options.message_size = sizeof message;
        const poslabel_status status = poslabel_context_create(&options, &context);
        if (!counter.failed) {
            assert_int_equal(status, POSLABEL_OK);
            assert_true(at > 1); /* at least the context itself is allocated */
            poslabel_context_destroy(context);
            counting_allocator_check(&counter);
            break;
        }
        assert_int_equal(status, POSLABEL_ERROR_MEMORY);
        assert_null(context);
        assert_non_null(strstr(message, "context_create: no memory"));
        counting_allocator_check(&counter);
    }
}

/* Fails allocation `at` of a call in a new context; gives false when the call does not make that many. */
static bool fail_one(operation *op, int at, int threads, const unsigned char *want, size_t size)
{
    counting_allocator counter;
    counting_allocator_init(&counter);
    poslabel_context *context = context_counted(&counter, POSLABEL_ISA_AUTO, threads, NULL);
    const long before = counter.allocations;
    counter.fail_at = before + at;
    operation_reset(op);
    const poslabel_status status = operation_call(context, op);
    const bool failed = counter.failed > 0;
    if (failed) {
        char start[64];
        snprintf(start, sizeof start, "%s: ", op->name);
        expect_error(context, status, POSLABEL_ERROR_MEMORY, start, "memory");
        if (!operation_is_untouched(op))
            test_fail("an output was written");
        counter.fail_at = 0;
        operation_reset(op);
        expect_ok(context, operation_call(context, op));
    } else {
        expect_ok(context, status);
    }
    size_t again_size;
    unsigned char *again = operation_outputs(op, &again_size);
    assert_int_equal(again_size, size);
    expect_same_bits("outputs after the failure", again, want, size, 1);
    free(again);
    poslabel_context_destroy(context);
    counting_allocator_check(&counter);
    return failed;
}

static void check_operations(int threads, int64_t many)
{
    int failures = 0;
    for (int number = 0; number < operation_count(); number++) {
        operation op;
        operation_new(&op, number, many);
        test_case_is("%s, %d threads", name_of(&op), threads);
        poslabel_context *context = context_new(POSLABEL_ISA_AUTO, threads);
        expect_ok(context, operation_call(context, &op));
        if (operation_is_untouched(&op))
            test_fail("no output was written");
        size_t size;
        unsigned char *want = operation_outputs(&op, &size);
        poslabel_context_destroy(context);
        int at = 1;
        while (fail_one(&op, at, threads, want, size))
            at++;
        failures += at - 1;
        free(want);
        operation_free(&op);
    }
    test_case_is("%s", "");
    assert_true(failures >= 3); /* some operations need workspace: else this test shows nothing */
}

static void operations_on_one_thread(void **state)
{
    (void)state;
    check_operations(1, 3);
}

static void operations_on_many_threads(void **state)
{
    (void)state;
    check_operations(5, 300);
}

/* A context that has workspace already keeps it when it cannot have more. */
static void growing_workspace(void **state)
{
    (void)state;
    counting_allocator counter;
    counting_allocator_init(&counter);
    poslabel_context *context = context_counted(&counter, POSLABEL_ISA_AUTO, 1, NULL);
    for (int number = 0; number < operation_count(); number++) {
        operation small, large;
        operation_new(&small, number, 2);
        operation_new(&large, number, 200);
        test_case_is("%s", name_of(&small));
        expect_ok(context, operation_call(context, &small));
        counter.fail_at = counter.allocations + 1;
        counter.fail_after = true;
        const size_t held = poslabel_context_workspace(context);
        const poslabel_status status = operation_call(context, &large);
        if (status != POSLABEL_OK) {
            assert_int_equal(status, POSLABEL_ERROR_MEMORY);
            assert_true(operation_is_untouched(&large));
            assert_int_equal(poslabel_context_workspace(context), held);
        }
        operation_reset(&small);
        expect_ok(context, operation_call(context, &small));
        counter.fail_at = 0;
        counter.fail_after = false;
        operation_reset(&large);
        expect_ok(context, operation_call(context, &large));
        operation_free(&small);
        operation_free(&large);
    }
    test_case_is("%s", "");
    assert_true(counter.failed > 0);
    poslabel_context_destroy(context);
    counting_allocator_check(&counter);
}

/* Workspace is allocated once and kept: a second call of the same size allocates nothing. */
static void workspace_is_kept(void **state)
{
    (void)state;
    counting_allocator counter;
    counting_allocator_init(&counter);
    poslabel_context *context = context_counted(&counter, POSLABEL_ISA_AUTO, 3, NULL);
    for (int number = 0; number < operation_count(); number++) {
        operation op;
        operation_new(&op, number, 100);
        expect_ok(context, operation_call(context, &op));
        const long allocations = counter.allocations;
        operation_reset(&op);
        expect_ok(context, operation_call(context, &op));
        test_case_is("%s", name_of(&op));
        assert_int_equal(counter.allocations, allocations);
        operation_free(&op);
    }
    test_case_is("%s", "");
    assert_true(counter.live <= 2); /* the context and one workspace */
    assert_true(counter.live_bytes > poslabel_context_workspace(context));
    poslabel_context_trim(context);
    assert_int_equal(counter.live, 1);
    poslabel_context_destroy(context);
    counting_allocator_check(&counter);
}

/* The bounds on workspace that the headers state for losses. */
static void workspace_is_bounded(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 64, 5000, 100000};
    static const char *const names[] = {"hard", "soft", "filter", "reference normalization"};
    for (int threads = 1; threads <= 4; threads += 3)
        for (int variant = 0; variant < 4; variant++)
            for (int i = 0; i < COUNT(rows); i++) {
                if (test_is_quick() && rows[i] > 5000)
                    continue;
                poslabel_context *context = context_new(POSLABEL_ISA_AUTO, threads);
                const poslabel_grid grid = {5, 8};
                loss_case c = loss_case_new(variant ? LOSS_DROPPOS : LOSS_EXPLICIT, grid, dtype_f32, 1, &rows[i],
                                            (layout){0}, POSLABEL_REDUCTION_MEAN, 1);
                c.sigma = 1;
                c.confidence_filter = variant == 2;
                c.normalization = variant == 3 ? POSLABEL_NORMALIZATION_REFERENCE : POSLABEL_NORMALIZATION_ROW;
                expect_ok(context, loss_call(context, &c));
                const size_t classes = 40, blocks = ((size_t)rows[i] + 63) / 64;
                size_t bound = (size_t)threads * (8 * classes + 8192) + (48 * blocks < 200000 ? 48 * blocks : 200000);
                if (variant)
                    bound += 3072 + 16 * (5 * 5 + 8 * 8 + 16 * 8);
                if (variant == 1 || variant == 2)
                    bound += 8 * classes * (8 + 2);
                if (variant == 2)
                    bound += (size_t)rows[i];
                if (variant == 3)
                    bound += (size_t)threads * 4 * classes * (classes + 32);
                test_case_is("%lld rows, %d threads, %s", (long long)rows[i], threads, names[variant]);
                if (poslabel_context_workspace(context) > bound)
                    test_fail("the workspace is %zu bytes, the headers say at most %zu",
                              poslabel_context_workspace(context), bound);
                loss_case_free(&c);
                poslabel_context_destroy(context);
            }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_creation),           cmocka_unit_test(operations_on_one_thread),
        cmocka_unit_test(operations_on_many_threads), cmocka_unit_test(growing_workspace),
        cmocka_unit_test(workspace_is_kept),          cmocka_unit_test(workspace_is_bounded),
    };
    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
