/*
 * The precision that poslabel/loss.h promises, where float32 loses it most easily, at every level.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <float.h>

static void at_every_level(void (*body)(poslabel_context *context))
{
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++) {
        poslabel_context *context = context_new(levels[i], 1);
        test_case_is("%s", poslabel_isa_name(levels[i]));
        body(context);
        poslabel_context_destroy(context);
    }
    test_case_is("%s", "");
}

/* One row of logits against the label 0. */
static loss_case one_row(loss_kind kind, poslabel_grid grid, poslabel_dtype dtype)
{
    const int64_t rows = 1;
    loss_case c = loss_case_new(kind, grid, dtype, 1, &rows, (layout){0}, POSLABEL_REDUCTION_NONE, 1);
    tensor_fill(c.positions, 0);
    return c;
}

static void fill_logits(loss_case *c, const double *logits)
{
    for (int64_t k = 0; k < c->logits->count; k++)
        tensor_set(c->logits, k, logits[k]);
}

/* Equal logits have the same loss whatever their size; the number of classes is no power of two. */
static void equal_and_large_at(poslabel_context *context)
{
    static const double sizes[] = {0, 1e4, 1e6, 1e10, 1e30, 3e38, -1e6, -3e38};
    for (int i = 0; i < COUNT(sizes); i++) {
        loss_case c = one_row(LOSS_DROPPOS, (poslabel_grid){14, 14}, dtype_f32);
        c.sigma = 1;
        tensor_fill(c.logits, sizes[i]);
        expect_ok(context, loss_call(context, &c));
        expect_number("Gaussian", tensor_get(c.loss, 0), log(196), 1e-6);
        loss_case_free(&c);
        c = one_row(LOSS_DROPPOS, (poslabel_grid){25, 25}, dtype_f32);
        c.sigma = 1;
        tensor_fill(c.logits, sizes[i]);
        expect_ok(context, loss_call(context, &c));
        expect_number("Gaussian on a large grid", tensor_get(c.loss, 0), log(625), 1e-6);
        loss_case_free(&c);
        c = one_row(LOSS_EXPLICIT, (poslabel_grid){1, 197}, dtype_f32);
        c.label_smoothing = 0.1;
        tensor_fill(c.logits, sizes[i]);
        expect_ok(context, loss_call(context, &c));
        expect_number("smoothed", tensor_get(c.loss, 0), log(197), 1e-6);
        loss_case_free(&c);
    }
}

static void equal_and_large(void **state)
{
    (void)state;
    at_every_level(equal_and_large_at);
}

/* With a smoothing of 1 the label is a class like all others. */
static void smoothing_of_1_at(poslabel_context *context)
{
    static const double logits[][4] = {{0, -INFINITY, 1, 2}, {-INFINITY, 0, 1, 2}};
    for (int i = 0; i < 2; i++) {
        loss_case c = one_row(LOSS_EXPLICIT, (poslabel_grid){1, 4}, dtype_f32);
        c.label_smoothing = 1;
        fill_logits(&c, logits[i]);
        expect_ok(context, loss_call(context, &c));
        assert_true(tensor_get(c.loss, 0) == INFINITY);
        loss_case_free(&c);
    }
}

static void smoothing_of_1(void **state)
{
    (void)state;
    at_every_level(smoothing_of_1_at);
}

static void check_scale(poslabel_context *context, loss_case c, double scale, double first)
{
    c.grad_scale = scale;
    loss_answer answer = loss_solve(&c);
    expect_number("the oracle's gradient", answer.grad[0], first, 0.01);
    loss_answer_free(&answer);
    expect_solved(context, &c);
    loss_case_free(&c);
}

/* The gradient fits float32, but not its scale divided by the sum of exponentials. */
static void scales_at(poslabel_context *context)
{
    static const double high[] = {62, 61}, low[] = {-44.3, -60};
    loss_case c = one_row(LOSS_EXPLICIT, (poslabel_grid){1, 2}, dtype_f32);
    fill_logits(&c, high);
    tensor_fill(c.positions, 1);
    check_scale(context, c, 1e-20, 7.31e-21);
    c = one_row(LOSS_EXPLICIT, (poslabel_grid){1, 2}, dtype_f32);
    fill_logits(&c, high);
    check_scale(context, c, 0x1p-50, -0.26894 * 0x1p-50);
    c = one_row(LOSS_EXPLICIT, (poslabel_grid){1, 2}, dtype_f32);
    fill_logits(&c, low);
    tensor_fill(c.positions, 1);
    check_scale(context, c, 1e22, 1e22);
    for (int kind = 0; kind < 3; kind++)
        for (int sign = -1; sign <= 1; sign += 2) {
            c = one_row(kind ? LOSS_DROPPOS : LOSS_EXPLICIT, kind == 1 ? (poslabel_grid){5, 9} : (poslabel_grid){25, 25},
                        dtype_f32);
            c.sigma = 1;
            c.label_smoothing = kind ? 0 : 0.1;
            for (int64_t k = 0; k < c.logits->count; k++)
                tensor_set(c.logits, k, sign * 40 + 0.3 * tensor_get(c.logits, k));
            c.grad_scale = sign > 0 ? 1e-22 : 1e25;
            expect_solved(context, &c);
            loss_case_free(&c);
        }
}

static void scales_that_leave_float32(void **state)
{
    (void)state;
    at_every_level(scales_at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_and_large),
        cmocka_unit_test(smoothing_of_1),
        cmocka_unit_test(scales_that_leave_float32),
    };
    return cmocka_run_group_tests_name("precision", tests, NULL, NULL);
}
