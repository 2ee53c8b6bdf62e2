/*
 * Results do not depend on how the calling thread rounds, or treats subnormal numbers, nor on which thread has a row.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/device.h"
#include "support/operations.h"
#include "support/test.h"

#include <poslabel/loss.h>

#if defined(__x86_64__)

/* Subnormal numbers are 0, both; round down, up, towards 0. */
static const unsigned modes[] = {0x8040, 0x2000, 0x4000, 0x6000};

static unsigned begin_mode(unsigned mode)
{
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | mode);
    return before;
}

/* Every operation, on one thread and on several. */
static void every_operation(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int n = 0; n < operation_count(); n++) {
        operation op;
        operation_new(&op, n, test_is_quick() ? 40 : 1000);
        for (int i = 0; i < count; i++) {
            poslabel_context *one = context_new(levels[i], 1), *many = context_new(levels[i], 3);
            size_t size;
            operation_reset(&op);
            expect_ok(one, operation_call(one, &op));
            unsigned char *want = operation_outputs(&op, &size);
            for (int k = 0; k < 2 * COUNT(modes); k++) {
                poslabel_context *const context = k % 2 ? many : one;
                test_case_is("%s, %s, mode %d, %s thread", op.name, poslabel_isa_name(levels[i]), k / 2,
                             k % 2 ? "more than one" : "one");
                operation_reset(&op);
                const unsigned before = begin_mode(modes[k / 2]);
                const poslabel_status status = operation_call(context, &op);
                const unsigned after = __builtin_ia32_stmxcsr();
                __builtin_ia32_ldmxcsr(before);
                expect_ok(context, status);
                assert_int_equal(after & 0xffc0, (before | modes[k / 2]) & 0xffc0);
                unsigned char *got = operation_outputs(&op, &size);
                expect_same_bits("outputs", got, want, size, 1);
                free(got);
            }
            free(want);
            poslabel_context_destroy(one);
            poslabel_context_destroy(many);
        }
        operation_free(&op);
    }
    test_case_is("%s", "");
}

/* The subnormal numbers of float16, below 6.1e-5. */
static void small_halves(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    const int64_t rows = 4000, columns = 200;
    for (int i = 0; i < 2 * count; i++) {
        poslabel_context *context = context_new(levels[i / 2], i % 2 ? 3 : 1);
        test_case_is("%s, %d threads", poslabel_isa_name(levels[i / 2]), i % 2 ? 3 : 1);
        tensor *grad = tensor_new(dtype_f16, SHAPE(rows, columns)), *scale = tensor_scalar(dtype_f32, 0.5);
        tensor_fill(grad, 0x1p-15);
        poslabel_scale_gradient_args args = POSLABEL_SCALE_GRADIENT_ARGS_INIT;
        args.grad = tensor_of(grad);
        args.scale = tensor_of(scale);
        loss_case c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 7}, dtype_f16, 1, &columns, (layout){0},
                                    POSLABEL_REDUCTION_MEAN, 1);
        c.weights = tensor_new(dtype_f16, 1, &columns);
        tensor_fill(c.weights, 0x1p-15);
        const unsigned before = begin_mode(modes[0]);
        const poslabel_status scaled = poslabel_scale_gradient(context, &args), lost = loss_call(context, &c);
        __builtin_ia32_ldmxcsr(before);
        expect_ok(context, scaled);
        expect_ok(context, lost);
        for (int64_t k = 0; k < grad->count; k++)
            expect_number("gradient", tensor_get(grad, k), 0x1p-16, 0);
        expect_number("weight_sum", tensor_get(c.weight_sum, 0), 0x1p-15 * (double)columns, 0);
        expect_number("flags", tensor_get(c.flags, 0), 0, 0);
        loss_case_free(&c);
        tensor_free(grad);
        tensor_free(scale);
        poslabel_context_destroy(context);
    }
    test_case_is("%s", "");
}

#else

static void every_operation(void **state)
{
    (void)state;
    skip();
}

static void small_halves(void **state)
{
    (void)state;
    skip();
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation),
        cmocka_unit_test(small_halves),
    };
    return cmocka_run_group_tests_name("environment", tests, NULL, NULL);
}
