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
    static const double sizes[] = {0, 10, 50, 60, -40, 1e4, 1e6, 1e10, 1e30, 3e38, -1e6, -3e38};
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
            const poslabel_grid grid = kind == 1 ? (poslabel_grid){5, 9} : (poslabel_grid){25, 25};
            c = one_row(kind ? LOSS_DROPPOS : LOSS_EXPLICIT, grid, dtype_f32);
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

/* A row whose label lies `gap` above all others: loss and gradient of the label are what the others have. */
static void check_gap(poslabel_context *context, int64_t classes, poslabel_dtype dtype, double low, double gap)
{
    loss_case c = one_row(LOSS_EXPLICIT, (poslabel_grid){1, (int32_t)classes}, dtype);
    tensor_fill(c.logits, low);
    tensor_set(c.logits, 0, low + gap);
    gap = tensor_get(c.logits, 0) - tensor_get(c.logits, 1); /* as rounded */
    const double others = (double)(classes - 1) * exp(-gap), q = -others / (1 + others), log_sum = log1p(others);
    expect_ok(context, loss_call(context, &c));
    const bool is_double = dtype_is(dtype, dtype_f64);
    const double tolerance = is_double ? 1e-12 : 1e-5, loss = tensor_get(c.loss, 0), grad = tensor_get(c.grad, 0);
    expect_near_floor("gradient of the label", &grad, &q, 1, tolerance, is_double ? 0 : 1e-40);
    expect_near_floor("loss", &loss, &log_sum, 1, tolerance, is_double ? 0 : 1e-9);
    loss_case_free(&c);
}

static void certain_at(poslabel_context *context)
{
    static const double gaps[] = {2, 5, 12, 20, 40, 70, 1000}, excess[] = {-0.11, 0.013, 0.41, 1.9, 2.2};
    static const int64_t classes[] = {2, 10, 196, 625, 1024, 1031, 4096, 5003};
    for (int s = 0; s < COUNT(classes); s++)
        for (int d = 0; d < 2; d++)
            for (int base = -1; base <= 1; base++) {
                const poslabel_dtype dtype = d ? dtype_f64 : dtype_f32;
                for (int g = 0; g < COUNT(gaps); g++)
                    check_gap(context, classes[s], dtype, 30 * base, gaps[g]);
                for (int g = 0; g < COUNT(excess); g++) /* p from 0.47 to 0.9 */
                    check_gap(context, classes[s], dtype, 30 * base, log((double)classes[s] - 1) + excess[g]);
            }
}

static void certain(void **state)
{
    (void)state;
    at_every_level(certain_at);
}

/* Sums over many equal classes: of exponentials, as they are and relative to the maximum, and of smoothed targets. */
static void many_classes_at(poslabel_context *context)
{
    static const int64_t counts[] = {4096, 10007, 300000, 1000003};
    static const double sizes[] = {0.3, 100.3};
    for (int i = 0; i < (test_is_quick() ? 2 : COUNT(counts)); i++)
        for (int s = 0; s < COUNT(sizes); s++)
            for (int smoothed = 0; smoothed < 2; smoothed++) {
                const double n = (double)counts[i], smoothing = smoothed * 0.5;
                loss_case c = one_row(LOSS_EXPLICIT, (poslabel_grid){1, (int32_t)counts[i]}, dtype_f32);
                c.label_smoothing = smoothing;
                tensor_fill(c.logits, sizes[s]);
                expect_ok(context, loss_call(context, &c));
                const double slope = 1 / n - (1 - smoothing) - smoothing / n;
                expect_number("loss", tensor_get(c.loss, 0), log(n), 1e-5);
                expect_number("gradient of the label", tensor_get(c.grad, 0), slope, 1e-5);
                expect_number("gradient", tensor_get(c.grad, 5), (1 - smoothing) / n, 1e-5);
                loss_case_free(&c);
            }
    check_gap(context, 300000, dtype_f32, 0.3, 25);
    loss_case c = one_row(LOSS_EXPLICIT, (poslabel_grid){1, 300000}, dtype_f64);
    tensor_fill(c.logits, 0.3);
    expect_ok(context, loss_call(context, &c));
    expect_number("float64", tensor_get(c.loss, 0), log(300000), 1e-12);
    expect_number("float64", tensor_get(c.grad, 5), 1 / 300000.0, 1e-12);
    loss_case_free(&c);
}

static void many_classes(void **state)
{
    (void)state;
    at_every_level(many_classes_at);
}

/* A label whose p misses its target, or meets it, by less than float32 can tell: all levels answer as the reference. */
static void filter_at(poslabel_context *context)
{
    poslabel_context *reference = context_new(POSLABEL_ISA_REFERENCE, 1);
    static const double gaps[] = {14, 16.1, 17, 17.5, 20, 30, 37, 39, 40, 60, 90};
    for (int i = 0; i < COUNT(gaps); i++)
        for (int sigma = 0; sigma < 2; sigma++) {
            loss_case c = one_row(LOSS_DROPPOS, (poslabel_grid){3, 7}, dtype_f32);
            c.confidence_filter = 1;
            c.sigma = sigma * 0.5;
            for (int64_t k = 0; k < c.logits->count; k++)
                tensor_set(c.logits, k, k == 0 ? gaps[i] : 0);
            if (sigma) { /* p within a few units in the last place of t = exp(z) / (exp(z) + 20) */
                const double x = exp(-4), row = (1 + x + exp(-16)) * (1 + x + exp(-16) + exp(-36)), t = 1 / row;
                tensor_set(c.logits, 0, log(20 * t / (1 - t)) + (i - COUNT(gaps) / 2) * 1.5e-7);
            }
            expect_ok(reference, loss_call(reference, &c));
            const double want = tensor_get(c.weight_sum, 0);
            if (!sigma)
                assert_true(want == (gaps[i] < 40));
            expect_ok(context, loss_call(context, &c));
            expect_number("weight_sum", tensor_get(c.weight_sum, 0), want, 0);
            loss_case_free(&c);
        }
    poslabel_context_destroy(reference);
}

static void filter_of_the_reference(void **state)
{
    (void)state;
    at_every_level(filter_at);
}

/* Small losses against Gaussian targets: what large logits have in common must not take their digits. */
static void small_gaussian_at(poslabel_context *context)
{
    static const double sizes[] = {10, 30, 61, -20, 100}, sigmas[] = {0.25, 0.3, 0.4};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16, dtype_f64};
    for (int i = 0; i < COUNT(sizes); i++)
        for (int d = 0; d < COUNT(dtypes); d++)
            for (int s = 0; s < COUNT(sigmas); s++)
                for (int large = 0; large < 4; large++) {
                    const int32_t side = large / 2 ? 21 : 14;
                    const int64_t label = side * side / 2 + 3;
                    loss_case c = one_row(LOSS_DROPPOS, (poslabel_grid){side, side}, dtypes[d]);
                    c.sigma = sigmas[s];
                    c.normalization = large % 2 ? POSLABEL_NORMALIZATION_REFERENCE : POSLABEL_NORMALIZATION_ROW;
                    tensor_fill(c.positions, (double)label);
                    for (int64_t k = 0; k < c.logits->count; k++)
                        tensor_set(c.logits, k, sizes[i] - (k == label ? 0 : 19 + 0.01 * (double)(k % 13)));
                    loss_answer answer = loss_solve(&c);
                    expect_ok(context, loss_call(context, &c));
                    const double loss = tensor_get(c.loss, 0);
                    expect_near_floor("loss", &loss, answer.row_loss, 1, dtype_is(dtypes[d], dtype_f64) ? 1e-12 : 1e-5,
                                      0);
                    loss_answer_free(&answer);
                    loss_case_free(&c);
                }
}

static void small_gaussian_losses(void **state)
{
    (void)state;
    at_every_level(small_gaussian_at);
}

/* Weights whose sum or whose inverse is too large for a double: a mean does not depend on their unit. */
static void weights_at(poslabel_context *context)
{
    static const double units[] = {1, 5e-324, 1e-310, 1e-300, 1e300, 1e308};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f64};
    const int64_t rows = 5;
    for (int d = 0; d < 2; d++)
        for (int i = 0; i < COUNT(units); i++)
            for (int given = 0; given < 2; given++) {
                loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){4, 5}, dtypes[d], 1, &rows, (layout){0},
                                            POSLABEL_REDUCTION_MEAN, 3);
                c.sigma = 1;
                c.weights = tensor_new(dtype_f64, 1, &rows);
                tensor_fill(c.weights, 1);
                if (given)
                    c.normalizer = tensor_scalar(dtype_f64, 5);
                loss_answer answer = loss_solve(&c);
                tensor_fill(c.weights, units[i]);
                answer.weight_sum = 5 * units[i];
                if (given)
                    tensor_set(c.normalizer, 0, fmin(5 * units[i], 1.5e308));
                const bool cut = given && 5 * units[i] > 1.5e308;
                expect_ok(context, loss_call(context, &c));
                if (!cut)
                    expect_answer(&c, &answer, loss_tolerance(dtypes[d]));
                assert_true(isfinite(tensor_get(c.loss, 0)) && isfinite(tensor_get(c.grad, 0)));
                loss_answer_free(&answer);
                loss_case_free(&c);
            }
}

static void weights_of_any_size(void **state)
{
    (void)state;
    at_every_level(weights_at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_and_large),
        cmocka_unit_test(smoothing_of_1),
        cmocka_unit_test(scales_that_leave_float32),
        cmocka_unit_test(certain),
        cmocka_unit_test(many_classes),
        cmocka_unit_test(filter_of_the_reference),
        cmocka_unit_test(weights_of_any_size),
        cmocka_unit_test(small_gaussian_losses),
    };
    return cmocka_run_group_tests_name("precision", tests, NULL, NULL);
}
