/*
 * Scaling a gradient in place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

static poslabel_status scale(poslabel_context *context, const poslabel_tensor *grad, const poslabel_tensor *factor)
{
    poslabel_scale_gradient_args args = POSLABEL_SCALE_GRADIENT_ARGS_INIT;
    args.grad = grad;
    args.scale = factor;
    return poslabel_scale_gradient(context, &args);
}

/* The product as the header defines it: formed in float32 (float64 for float64), rounded once. */
static double product(poslabel_dtype dtype, double a, double s)
{
    if (dtype_is(dtype, dtype_f64))
        return a * s;
    return number_round(dtype, (float)a * (float)s);
}

static void every_dtype(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f16, dtype_bf16, dtype_f32, dtype_f64};
    static const double scales[] = {0, 2, -0.5, 0.1, 1 + 0x1p-23, 65536, 1e-7, 3e38};
    static const int64_t lengths[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100, 197, 1025};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++) {
        poslabel_context *context = context_new(levels[i], 2);
        for (int d = 0; d < 4; d++)
            for (int s = 0; s < COUNT(scales); s++)
                for (int n = 0; n < COUNT(lengths); n++)
                    for (int single = 0; single < 2; single++) {
                        const layout how = {.row_padding = n % 3,
                                            .side = n % 2 ? GUARD_BEGIN : GUARD_END,
                                            .gap = dtype_size(dtypes[d]) * (size_t)(n % 5)};
                        tensor *grad = tensor_laid_out(dtypes[d], 3, (int64_t[]){2, 3, lengths[n]}, how);
                        tensor *factor = tensor_scalar(single ? dtype_f32 : dtype_f64, scales[s]);
                        tensor_fill_normal(grad, (uint64_t)n, 1);
                        tensor *before = tensor_copy(grad, dtypes[d], (layout){0});
                        const double used = tensor_get(factor, 0);
                        test_case_is("%s, %s, scale %g, length %lld", poslabel_isa_name(levels[i]),
                                     dtype_name(dtypes[d]), scales[s], (long long)lengths[n]);
                        expect_ok(context, scale(context, &grad->t, &factor->t));
                        for (int64_t k = 0; k < grad->count; k++) {
                            const double want = product(dtypes[d], tensor_get(before, k), used);
                            if (tensor_get(grad, k) != want)
                                test_fail("[%lld]: got %.17g, want %.17g", (long long)k, tensor_get(grad, k), want);
                        }
                        tensor_check(grad);
                        tensor_free(before);
                        tensor_free(factor);
                        tensor_free(grad);
                    }
        poslabel_context_destroy(context);
    }
    test_case_is("%s", "");
}

/* All float16 there are: subnormal ones, those that overflow or vanish, every NaN.  All levels give the same bits, but for a NaN's. */
static void every_half(void **state)
{
    (void)state;
    static const double scales[] = {0, -1, 0.1, 1.0 / 3, 3000, 1e-4, 1e-30, 1e38};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    tensor *grad = tensor_new(dtype_f16, SHAPE(65536)), *first = tensor_new(dtype_f16, SHAPE(65536));
    for (int s = 0; s < COUNT(scales); s++)
        for (int i = 0; i < count; i++) {
            poslabel_context *context = context_new(levels[i], 1);
            tensor *factor = tensor_scalar(dtype_f64, scales[s]);
            uint16_t *const bits = grad->t.data, *const of_first = first->t.data;
            for (int h = 0; h < 65536; h++)
                bits[h] = (uint16_t)h;
            expect_ok(context, scale(context, &grad->t, &factor->t));
            if (i == 0)
                memcpy(of_first, bits, 65536 * sizeof *bits);
            for (int h = 0; h < 65536; h++) {
                const double got = from_f16(bits[h]), want = product(dtype_f16, from_f16((uint16_t)h), scales[s]);
                if (isnan(got) && isnan(want))
                    continue; /* any NaN */
                if (bits[h] != of_first[h] || got != want)
                    test_fail("%s, %#x times %g: got %#x, want %#x, %g", poslabel_isa_name(levels[i]), h, scales[s],
                              bits[h], of_first[h], want);
            }
            tensor_free(factor);
            poslabel_context_destroy(context);
        }
    tensor_free(first);
    tensor_free(grad);
}

/* With a scale of 1 not even the same bytes are written: the gradient lies in read-only memory here. */
static void nothing_is_touched_at_1(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f16, dtype_bf16, dtype_f32, dtype_f64};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++)
        for (int d = 0; d < 4; d++)
            for (int threads = 1; threads <= 3; threads += 2) {
                poslabel_context *context = context_new(levels[i], threads);
                tensor *grad = tensor_new(dtypes[d], 2, (int64_t[]){300, 197});
                tensor *one = tensor_scalar(dtype_f32, 1), *ones = tensor_new(dtype_f64, 1, (int64_t[]){300});
                tensor_fill_normal(grad, 1, 1);
                tensor_fill(ones, 1);
                guard_read_only(&grad->memory, true);
                expect_ok(context, scale(context, &grad->t, &one->t));
                expect_ok(context, scale(context, &grad->t, &ones->t));
                guard_read_only(&grad->memory, false);
                tensor_free(ones);
                tensor_free(one);
                tensor_free(grad);
                poslabel_context_destroy(context);
            }
}

static void one_scale_for_each_row(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    static const int64_t shapes[][3] = {{4, 5, 7}, {1, 6, 20}, {300, 1, 197}, {1, 1, 3}};
    for (int i = 0; i < count; i++)
        for (int s = 0; s < COUNT(shapes); s++)
            for (int single = 0; single < 2; single++) {
                poslabel_context *context = context_new(levels[i], 2);
                tensor *grad = tensor_laid_out(dtype_f32, 3, shapes[s], (layout){.row_padding = 2});
                tensor *factors = tensor_new(single ? dtype_f32 : dtype_f64, 2, shapes[s]);
                tensor_fill_normal(grad, 1, 1);
                tensor_fill_normal(factors, 2, 1);
                tensor_set(factors, 0, 1);
                tensor *before = tensor_copy(grad, dtype_f32, (layout){0});
                expect_ok(context, scale(context, &grad->t, &factors->t));
                for (int64_t k = 0; k < grad->count; k++)
                    assert_true(tensor_get(grad, k) ==
                                product(dtype_f32, tensor_get(before, k), tensor_get(factors, k / shapes[s][2])));
                tensor_check(grad);
                tensor_free(before);
                tensor_free(factors);
                tensor_free(grad);
                poslabel_context_destroy(context);
            }
}

/* Scalars of rank 0 and 1, gradients of rank 0, 1 and 4, empty ones, transposed ones. */
static void shapes(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    tensor *two = tensor_scalar(dtype_f32, 2), *two_1 = tensor_new(dtype_f64, 1, (int64_t[]){1});
    tensor_set(two_1, 0, 2);
    for (int rank = 0; rank <= 4; rank++)
        for (int r = 0; r < 2; r++) {
            tensor *grad = tensor_new(dtype_f32, rank, (int64_t[]){2, 3, 2, 4});
            tensor_fill(grad, 3);
            expect_ok(context, scale(context, &grad->t, r ? &two_1->t : &two->t));
            for (int64_t k = 0; k < grad->count; k++)
                assert_true(tensor_get(grad, k) == 6);
            tensor_free(grad);
        }
    tensor *empty = tensor_new(dtype_f32, 2, (int64_t[]){0, 5});
    empty->t.data = NULL;
    expect_ok(context, scale(context, &empty->t, &two->t));
    tensor *none = tensor_new(dtype_f32, 1, (int64_t[]){0});
    expect_ok(context, scale(context, &empty->t, &none->t));
    tensor_free(none);
    tensor_free(empty);

    tensor *grad = tensor_new(dtype_f32, 3, (int64_t[]){2, 3, 4});
    const int64_t strides[] = {4, 8, 1};
    tensor_fill(grad, 3);
    grad->t.strides = strides;
    expect_ok(context, scale(context, &grad->t, &two->t));
    for (int64_t k = 0; k < grad->count; k++)
        assert_true(tensor_get(grad, k) == 6);
    tensor_free(grad);
    tensor_free(two);
    tensor_free(two_1);
    poslabel_context_destroy(context);
}

static void special_values(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    tensor *grad = tensor_new(dtype_f16, 1, (int64_t[]){3}), *factor = tensor_scalar(dtype_f32, NAN);
    tensor_fill(grad, 1);
    expect_ok(context, scale(context, &grad->t, &factor->t));
    for (int64_t k = 0; k < 3; k++)
        assert_true(isnan(tensor_get(grad, k)));
    tensor_set(factor, 0, INFINITY);
    tensor_set(grad, 0, 1), tensor_set(grad, 1, -2), tensor_set(grad, 2, 0);
    expect_ok(context, scale(context, &grad->t, &factor->t));
    assert_true(tensor_get(grad, 0) == INFINITY && tensor_get(grad, 1) == -INFINITY && isnan(tensor_get(grad, 2)));
    tensor_free(grad);
    tensor_free(factor);
    poslabel_context_destroy(context);
}

/* loss with g = 1 and then a scaling by g is loss with g. */
static void scaling_later_is_scaling_at_once(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    const int64_t rows = 20;
    for (int none = 0; none < 2; none++) {
        const int reduction = none ? POSLABEL_REDUCTION_NONE : POSLABEL_REDUCTION_MEAN;
        loss_case c =
            loss_case_new(LOSS_DROPPOS, (poslabel_grid){4, 4}, dtype_f32, 1, &rows, (layout){0}, reduction, 3);
        c.sigma = 1;
        expect_ok(context, loss_call(context, &c));
        tensor *later = tensor_copy(c.grad, dtype_f32, (layout){0});
        c.grad_loss = none ? tensor_new(dtype_f32, 1, &rows) : tensor_new(dtype_f32, 0, NULL);
        tensor_fill_normal(c.grad_loss, 4, 1);
        expect_ok(context, loss_call(context, &c));
        expect_ok(context, scale(context, &later->t, &c.grad_loss->t));
        expect_near_tensor("grad", later, c.grad, 1e-6);
        tensor_free(later);
        loss_case_free(&c);
    }
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype),
        cmocka_unit_test(every_half),
        cmocka_unit_test(nothing_is_touched_at_1),
        cmocka_unit_test(one_scale_for_each_row),
        cmocka_unit_test(shapes),
        cmocka_unit_test(special_values),
        cmocka_unit_test(scaling_later_is_scaling_at_once),
    };
    return cmocka_run_group_tests_name("scale_gradient", tests, NULL, NULL);
}
