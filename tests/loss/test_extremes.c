/*
 * Logits at the ends of their range, infinities and NaNs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

/* Lengths with whole vectors, a tail, and both, at every level. */
static const int64_t lengths[] = {2, 3, 5, 16, 31, 49, 197, 1025};

static poslabel_dtype dtypes[4];

typedef void body(poslabel_context *context, int64_t classes, poslabel_dtype dtype, loss_kind kind, double smoothing);

static double sigma = 1; /* of Gaussian targets */

/* Runs the body for every level, length and dtype, with hard, smoothed, Gaussian and very wide Gaussian targets. */
static void for_all(body *run)
{
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    dtypes[0] = dtype_f32, dtypes[1] = dtype_f16, dtypes[2] = dtype_bf16, dtypes[3] = dtype_f64;
    for (int i = 0; i < count; i++) {
        poslabel_context *context = context_new(levels[i], 1);
        for (int n = 0; n < COUNT(lengths); n++)
            for (int d = 0; d < 4; d++)
                for (int kind = 0; kind < 4; kind++) {
                    test_case_is("%s, %lld classes, %s, %s", poslabel_isa_name(levels[i]), (long long)lengths[n],
                                 dtype_name(dtypes[d]),
                                 kind == 0   ? "hard"
                                 : kind == 1 ? "smoothed"
                                 : kind == 2 ? "Gaussian"
                                             : "wide Gaussian");
                    sigma = kind == 3 ? 100 : 1;
                    run(context, lengths[n], dtypes[d], kind >= 2 ? LOSS_DROPPOS : LOSS_EXPLICIT, kind == 1 ? 0.1 : 0);
                }
        poslabel_context_destroy(context);
    }
    test_case_is("%s", "");
}

static loss_case case_of(int64_t rows, int64_t classes, poslabel_dtype dtype, loss_kind kind, double smoothing)
{
    loss_case c = loss_case_new(kind, grid_of(classes), dtype, 1, &rows, (layout){0}, POSLABEL_REDUCTION_NONE, 51);
    c.sigma = sigma;
    c.label_smoothing = smoothing;
    return c;
}

/* Largest finite number, for the whole of float32's range to be used by bfloat16 and float64 too. */
static double largest(poslabel_dtype dtype)
{
    return dtype_is(dtype, dtype_f16) ? 65504 : 3e38;
}

/* Rows of one size each: one class far above, one far below, both, all equal and huge, huge steps. */
static void large(poslabel_context *context, int64_t n, poslabel_dtype dtype, loss_kind kind, double smoothing)
{
    const double sizes[] = {largest(dtype), largest(dtype) / 3, 1e4, 300, 88, 87};
    for (int s = 0; s < COUNT(sizes); s++) {
        loss_case c = case_of(8, n, dtype, kind, smoothing);
        for (int64_t k = 0; k < n; k++) {
            tensor_set(c.logits, 0 * n + k, k == n / 2 ? sizes[s] : 0);
            tensor_set(c.logits, 1 * n + k, k == n / 2 ? -sizes[s] : 0);
            tensor_set(c.logits, 2 * n + k, k == 0 ? sizes[s] : k == n - 1 ? -sizes[s] : 0);
            tensor_set(c.logits, 3 * n + k, sizes[s]);
            tensor_set(c.logits, 4 * n + k, -sizes[s]);
            tensor_set(c.logits, 5 * n + k, k % 2 ? sizes[s] : -sizes[s]);
            tensor_set(c.logits, 6 * n + k, -sizes[s] * (double)k / (double)n);
            tensor_set(c.logits, 7 * n + k, k == n - 1 ? sizes[s] : sizes[s] * 0.5);
        }
        for (int64_t r = 0; r < 8; r++)
            tensor_set(c.positions, r, (double)(r % 3 == 0 ? n / 2 : r % 3 == 1 ? 0 : n - 1));
        expect_solved(context, &c);
        for (int64_t i = 0; i < c.grad->count; i++)
            assert_true(isfinite(tensor_get(c.grad, i)));
        for (int64_t r = 0; r < 8; r++)
            assert_true(isfinite(tensor_get(c.loss, r)));
        loss_case_free(&c);
    }
}

static void finite_logits_of_any_size(void **state)
{
    (void)state;
    for_all(large);
}

/*
 * Logits around any number have the softmax of logits around 0.  Near 0 their exponentials are taken as they are, far
 * off relative to the maximum, and both ways are next to each other here.
 */
static void offset(poslabel_context *context, int64_t n, poslabel_dtype dtype, loss_kind kind, double smoothing)
{
    const double offsets[] = {0, 62, -42, 64, -44, 70, -46, 88, -87, 100, -104, 150, -150, 1000, -1000, 3};
    loss_case c = case_of(COUNT(offsets), n, dtype, kind, smoothing);
    for (int64_t r = 0; r < COUNT(offsets); r++) {
        for (int64_t k = 0; k < n; k++)
            tensor_set(c.logits, r * n + k, tensor_get(c.logits, r * n + k) + offsets[r]);
        tensor_set(c.positions, r, (double)(r * 7 % n));
    }
    expect_solved(context, &c);
    loss_case_free(&c);
}

static void logits_around_any_number(void **state)
{
    (void)state;
    for_all(offset);
}

/* -inf is a class of probability 0: no gradient, and no harm unless it is the label's. */
static void minus_infinity(poslabel_context *context, int64_t n, poslabel_dtype dtype, loss_kind kind, double smoothing)
{
    loss_case c = case_of(3, n, dtype, kind, smoothing);
    tensor_set(c.positions, 0, 0);
    tensor_set(c.positions, 1, (double)(n - 1));
    tensor_set(c.positions, 2, (double)(n / 2));
    tensor_set(c.logits, 0 * n + n - 1, -INFINITY);
    tensor_set(c.logits, 1 * n + 0, -INFINITY);
    for (int64_t k = 0; k < n; k++)
        if (k != n / 2)
            tensor_set(c.logits, 2 * n + k, -INFINITY);
    loss_answer answer = loss_solve(&c);
    expect_ok(context, loss_call(context, &c));
    double *grad = tensor_doubles(c.grad);
    expect_near_floor("grad", grad, answer.grad, (size_t)c.grad->count,
                      dtype_size(dtype) == 2 ? dtype_epsilon(dtype) : 1e-5, 1);
    free(grad);
    for (int64_t r = 0; r < 3; r++) {
        const double loss = tensor_get(c.loss, r);
        if (kind == LOSS_DROPPOS) /* targets far off are too small for a float: any size will do, but not a NaN */
            assert_true(loss >= 0);
        else if (smoothing != 0) /* a target above 0 where p = 0 */
            assert_true(loss == INFINITY);
        else
            expect_near_floor("loss", &loss, &answer.row_loss[r], 1, 1e-5, 1);
    }
    if (kind != LOSS_DROPPOS && smoothing == 0) {
        assert_true(tensor_get(c.grad, n - 1) == 0 && tensor_get(c.grad, n) == 0);
        expect_number("one class left", tensor_get(c.loss, 2), 0, 0);
    }
    loss_answer_free(&answer);

    /* the label itself has probability 0 */
    tensor_set(c.logits, 0, -INFINITY);
    tensor_set(c.logits, n - 1, 0);
    expect_ok(context, loss_call(context, &c));
    assert_true(tensor_get(c.loss, 0) > 1e37 / (double)n); /* +inf, or very large for a Gaussian target */
    for (int64_t k = 0; k < n; k++)
        assert_true(isfinite(tensor_get(c.grad, k)));
    loss_case_free(&c);
}

static void minus_infinity_is_probability_0(void **state)
{
    (void)state;
    for_all(minus_infinity);
}

/* A NaN, or an infinite maximum, makes its own row NaN and no other. */
static void poisoned(poslabel_context *context, int64_t n, poslabel_dtype dtype, loss_kind kind, double smoothing)
{
    loss_case c = case_of(9, n, dtype, kind, smoothing), clean = case_of(9, n, dtype, kind, smoothing);
    const int64_t where[] = {0, n - 1, n / 2};
    for (int i = 0; i < 3; i++) {
        tensor_set(c.logits, (2 * i + 1) * n + where[i], NAN);
        if (i == 1)
            tensor_set(c.logits, (2 * i + 1) * n + where[i], -NAN);
    }
    tensor_set(c.logits, 7 * n + n / 3, INFINITY);
    for (int64_t k = 0; k < n; k++)
        tensor_set(c.logits, 8 * n + k, -INFINITY);
    expect_ok(context, loss_call(context, &c));
    expect_ok(context, loss_call(context, &clean));
    for (int64_t r = 0; r < 9; r++) {
        const bool bad = r % 2 || r == 8;
        if (!bad) {
            const size_t size = dtype_size(dtype);
            expect_same_bits("gradient of a clean row", tensor_at(c.grad, r * n), tensor_at(clean.grad, r * n),
                             (size_t)n, size);
            expect_same_bits("loss of a clean row", tensor_at(c.loss, r), tensor_at(clean.loss, r), 1, 8);
            continue;
        }
        if (!isnan(tensor_get(c.loss, r)))
            test_fail("the loss of row %lld is %g, not NaN", (long long)r, tensor_get(c.loss, r));
        for (int64_t k = 0; k < n; k++)
            if (!isnan(tensor_get(c.grad, r * n + k)))
                test_fail("grad[%lld, %lld] is %g, not NaN", (long long)r, (long long)k, tensor_get(c.grad, r * n + k));
    }
    /* such a row is never right */
    const double right = tensor_get(c.accuracy, 0) * 9;
    double want = 0;
    loss_answer answer = loss_solve(&c);
    want = answer.accuracy * 9;
    loss_answer_free(&answer);
    expect_near_floor("right rows", &right, &want, 1, 1e-6, 1);

    /* and so the mean is NaN */
    tensor *rows = c.loss;
    c.loss = tensor_scalar(dtype_f32, 0);
    c.reduction = POSLABEL_REDUCTION_MEAN;
    expect_ok(context, loss_call(context, &c));
    assert_true(isnan(tensor_get(c.loss, 0)));
    tensor_free(rows);
    loss_case_free(&c);
    loss_case_free(&clean);
}

static void nan_stays_in_its_row(void **state)
{
    (void)state;
    for_all(poisoned);
}

/* A single NaN at any place of a row is seen: vector maxima can overlook one. */
static void a_nan_anywhere(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++) {
        poslabel_context *context = context_new(levels[i], 1);
        for (int kind = LOSS_EXPLICIT; kind <= LOSS_DROPPOS; kind++) {
            loss_case c = case_of(151, 151, dtype_f32, (loss_kind)kind, 0);
            for (int64_t r = 0; r < 151; r++)
                tensor_set(c.logits, r * 151 + r, NAN);
            expect_ok(context, loss_call(context, &c));
            for (int64_t r = 0; r < 151; r++)
                for (int64_t k = 0; k < 151; k++) {
                    test_case_is("%s, %s, a NaN at %lld", poslabel_isa_name(levels[i]), loss_kind_names[kind],
                                 (long long)r);
                    assert_true(isnan(tensor_get(c.loss, r)) && isnan(tensor_get(c.grad, r * 151 + k)));
                }
            expect_number("accuracy", tensor_get(c.accuracy, 0), 0, 0);
            loss_case_free(&c);
        }
        poslabel_context_destroy(context);
    }
    test_case_is("%s", "");
}

/* Gradients too large for a half become infinite, tiny ones subnormal, each rounded once; compare support/oracle.c. */
static void half_precision_at_its_ends(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    const poslabel_dtype halves[] = {dtype_f16, dtype_bf16};
    static const double scales[] = {1, 0x1p-10, 0x1p-18, 0x1p-24, 0x1p-100, 0x1p-110, 65504, 65520, 1e6, 3e38};
    for (int i = 0; i < count; i++) {
        poslabel_context *context = context_new(levels[i], 1);
        for (int d = 0; d < 2; d++)
            for (int s = 0; s < COUNT(scales); s++)
                for (int kind = LOSS_EXPLICIT; kind <= LOSS_DROPPOS; kind++) {
                    const int64_t rows = 40;
                    loss_case c = loss_case_new((loss_kind)kind, (poslabel_grid){3, 7}, halves[d], 1, &rows,
                                                (layout){0}, POSLABEL_REDUCTION_SUM, 52);
                    c.sigma = 1;
                    c.grad_scale = scales[s];
                    test_case_is("%s, %s, scale %g, %s", poslabel_isa_name(levels[i]), dtype_name(halves[d]), scales[s],
                                 loss_kind_names[kind]);
                    expect_solved(context, &c);
                    loss_case_free(&c);
                }
        poslabel_context_destroy(context);
    }
    test_case_is("%s", "");
}

/*
 * Ties round to even.  Where 64 classes have logits of 0 and the others -inf, p = 1/64 and its products with a scale of
 * few digits are exact, so that each gradient can be put halfway between two halves.
 */
static void ties_round_to_even(void **state)
{
    (void)state;
    enum { EQUAL = 64, CLASSES = 67 };
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    const poslabel_dtype halves[] = {dtype_f16, dtype_bf16};
    for (int i = 0; i < count; i++)
        for (int d = 0; d < 2; d++)
            for (int digits = 1; digits < 40; digits++) {
                const int64_t rows = 3;
                loss_case c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, CLASSES}, halves[d], 1, &rows,
                                            (layout){0}, POSLABEL_REDUCTION_SUM, 1);
                for (int64_t k = 0; k < rows * CLASSES; k++)
                    tensor_set(c.logits, k, k % CLASSES < EQUAL ? 0 : -INFINITY);
                tensor_fill(c.positions, 5);
                const double wanted = 1 + digits * dtype_epsilon(halves[d]) / 2;
                c.grad_scale = wanted * EQUAL;
                test_case_is("%s, %s, %g", poslabel_isa_name(levels[i]), dtype_name(halves[d]), wanted);
                poslabel_context *context = context_new(levels[i], 1);
                expect_ok(context, loss_call(context, &c));
                for (int64_t k = 0; k < rows * CLASSES; k++)
                    if (k % CLASSES != 5)
                        expect_number("gradient", tensor_get(c.grad, k),
                                      k % CLASSES < EQUAL ? number_round(halves[d], wanted) : 0, 0);
                poslabel_context_destroy(context);
                loss_case_free(&c);
            }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finite_logits_of_any_size),
        cmocka_unit_test(logits_around_any_number),
        cmocka_unit_test(minus_infinity_is_probability_0),
        cmocka_unit_test(nan_stays_in_its_row),
        cmocka_unit_test(a_nan_anywhere),
        cmocka_unit_test(half_precision_at_its_ends),
        cmocka_unit_test(ties_round_to_even),
    };
    return cmocka_run_group_tests_name("extremes", tests, NULL, NULL);
}
