/*
 * The linear head with its position cross-entropy: against the definition.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/linear.h"

static void expect_right(poslabel_context *context, head *h)
{
    head_answer a = head_solve(h);
    expect_ok(context, head_call(context, h));
    expect_head(h, &a);
    head_answer_free(&a);
}

static void every_dtype_and_layout(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[][2] = {{dtype_f32, dtype_f32}, {dtype_f64, dtype_f64},   {dtype_f16, dtype_f16},
                                        {dtype_f16, dtype_f32}, {dtype_bf16, dtype_bf16}, {dtype_bf16, dtype_f32}};
    static const layout layouts[] = {{0}, {.row_padding = 3}, {.row_padding = 5, .side = GUARD_BEGIN, .gap = 8}};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int l = 0; l < count; l++)
        for (int v = 0; v < HEAD_VARIANTS; v++)
            for (int t = 0; t < COUNT(dtypes); t++)
                for (int i = 0; i < COUNT(layouts); i++)
                    for (int small = 0; small < 2; small++) {
                        if (test_leaves_out(7))
                            continue;
                        poslabel_context *context = context_new(levels[l], 1 + v % 3);
                        head h = head_of_variant(&head_variants[v], dtypes[t][0], dtypes[t][1], layouts[i], 71);
                        test_case_is("%s, variant %d, %s with %s, layout %d, %s chunks", poslabel_isa_name(levels[l]),
                                     v, dtype_name(dtypes[t][0]), dtype_name(dtypes[t][1]), i,
                                     small ? "small" : "large");
                        if (small)
                            h.limit = head_least_limit(context, &h) + 2000;
                        expect_right(context, &h);
                        head_free(&h);
                        poslabel_context_destroy(context);
                    }
    test_case_is("%s", "");
}

/* grad_scale * grad_loss . loss */
static double objective(poslabel_context *context, const head *h)
{
    head only = *h;
    only.grad_features = only.grad_weight = only.grad_bias = NULL;
    expect_ok(context, head_call(context, &only));
    const tensor *const g = h->loss.grad_loss;
    double sum = 0;
    for (int64_t r = 0; r < h->loss.loss->count; r++)
        sum += tensor_get(h->loss.loss, r) * (g ? tensor_get(g, g->count > 1 ? r : 0) : 1);
    return sum * h->loss.grad_scale;
}

static void check_differences(poslabel_context *context, const head *h, tensor *of, const tensor *grad)
{
    const double step = 1e-5;
    double *const want = malloc(sizeof *want * (size_t)of->count);
    for (int64_t i = 0; i < of->count; i++) {
        const double x = tensor_get(of, i);
        want[i] = tensor_get(grad, i);
        if (test_leaves_out(397))
            continue;
        tensor_set(of, i, x + step);
        const double above = objective(context, h);
        tensor_set(of, i, x - step);
        want[i] = (above - objective(context, h)) / (2 * step);
        tensor_set(of, i, x);
    }
    expect_near_doubles("gradient", grad, want, 1e-7);
    free(want);
}

static void gradients_are_differences(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    for (int v = 0; v < HEAD_VARIANTS; v++) {
        head h = head_of_variant(&head_variants[v], dtype_f64, dtype_f64, (layout){0}, 72);
        test_case_is("variant %d", v);
        h.limit = head_least_limit(context, &h) + 3000;
        expect_ok(context, head_call(context, &h));
        check_differences(context, &h, h.features, h.grad_features);
        check_differences(context, &h, h.weight, h.grad_weight);
        if (h.bias)
            check_differences(context, &h, h.bias, h.grad_bias);
        head_free(&h);
    }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* The loss, accuracy, weight sum and flags of poslabel_position_cross_entropy() on the logits. */
static void like_the_loss_on_logits(void **state)
{
    (void)state;
    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, 2);
    for (int v = 0; v < HEAD_VARIANTS; v++) {
        head h = head_of_variant(&head_variants[v], dtype_f64, dtype_f64, (layout){0}, 77);
        head_answer a = head_solve(&h); /* also makes the logits */
        h.limit = head_least_limit(context, &h) + 4000;
        expect_ok(context, head_call(context, &h));
        tensor *outputs[HEAD_OUTPUTS];
        head_copy_outputs(&h, outputs);
        expect_ok(context, loss_call(context, &h.loss));
        test_case_is("variant %d", v);
        expect_near_tensor("loss", outputs[0], h.loss.loss, 1e-13);
        expect_near_tensor("accuracy", outputs[4], h.loss.accuracy, 1e-13);
        expect_same_tensor("weight_sum", outputs[5], h.loss.weight_sum);
        expect_same_tensor("flags", outputs[6], h.loss.flags);
        const int64_t classes = a.loss.classes;
        double *const bias = calloc((size_t)classes, sizeof *bias); /* from the gradient that the loss on logits gave */
        for (int64_t i = 0; i < h.loss.grad->count; i++)
            bias[i % classes] += tensor_get(h.loss.grad, i);
        expect_near_doubles("grad_bias", outputs[3], bias, 1e-12);
        free(bias);
        head_free_copies(outputs);
        head_answer_free(&a);
        head_free(&h);
    }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Every set of outputs with a loss or a gradient in it gives the bits of the whole set. */
static void any_outputs(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16};
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int v = 0; v < HEAD_VARIANTS; v += 4) {
            head h = head_of_variant(&head_variants[v], dtypes[t], dtypes[t], (layout){0}, 78);
            tensor *want[HEAD_OUTPUTS];
            expect_ok(context, head_call(context, &h));
            head_copy_outputs(&h, want);
            for (int set = 0; set < 1 << HEAD_OUTPUTS; set++) {
                if (test_leaves_out(7))
                    continue;
                head some = h;
                tensor **const fields[HEAD_OUTPUTS] = {
                    &some.loss.loss,     &some.grad_features,   &some.grad_weight, &some.grad_bias,
                    &some.loss.accuracy, &some.loss.weight_sum, &some.loss.flags,
                };
                for (int i = 0; i < HEAD_OUTPUTS; i++)
                    if (!(set >> i & 1))
                        *fields[i] = NULL;
                test_case_is("%s, variant %d, set %d", dtype_name(dtypes[t]), v, set);
                head_forget_outputs(&h);
                if (set & 15) {
                    expect_ok(context, head_call(context, &some));
                    expect_same_outputs(&some, want);
                } else {
                    expect_error(context, head_call(context, &some), POSLABEL_ERROR_INVALID, "all NULL");
                }
            }
            head_free_copies(want);
            head_free(&h);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

static void accumulation(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[][2] = {{dtype_f32, dtype_f32},
                                        {dtype_f64, dtype_f64},
                                        {dtype_f16, dtype_f16},
                                        {dtype_bf16, dtype_f32},
                                        {dtype_bf16, dtype_bf16}};
    poslabel_context *context = context_default();
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int v = 0; v < HEAD_VARIANTS; v += 3)
            for (int small = 0; small < 2; small++) {
                head h = head_of_variant(&head_variants[v], dtypes[t][0], dtypes[t][1], (layout){.row_padding = 2}, 79);
                test_case_is("%s with %s, variant %d", dtype_name(dtypes[t][0]), dtype_name(dtypes[t][1]), v);
                head_answer a = head_solve(&h);
                tensor_fill_normal(h.grad_weight, 80, 1);
                tensor_fill_normal(h.grad_bias, 81, 1);
                for (int64_t i = 0; i < h.grad_weight->count; i++)
                    a.grad_weight[i] += tensor_get(h.grad_weight, i);
                for (int64_t i = 0; i < h.grad_bias->count; i++)
                    a.grad_bias[i] += tensor_get(h.grad_bias, i);
                h.accumulate = 1;
                if (small)
                    h.limit = head_least_limit(context, &h) + 2000;
                expect_ok(context, head_call(context, &h));
                expect_head(&h, &a);
                head_answer_free(&a);
                head_free(&h);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* What rows of weight 0 hold does not matter: not in the sums, either. */
static void rows_that_do_not_count(void **state)
{
    (void)state;
    static const double poisons[] = {NAN, INFINITY, -INFINITY};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_f64};
    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, 2);
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int way = 0; way < 4; way++)
            for (int small = 0; small < 2; small++) {
                const head_variant v = {.kind = LOSS_EXPLICIT, .grad_scale = 1, .reduction = way == 3 ? 2 : 0};
                head h = head_of_variant(&v, dtypes[t], dtypes[t], (layout){0}, 82);
                loss_case_add_mask(&h.loss, dtype_bool, 83);
                loss_case_add_weights(&h.loss, dtype_f32, 84);
                for (int64_t r = 0; r < 72; r++) {
                    const bool counts = way == 1 ? r >= 20 && r < 60 : r % 3 != 0;
                    tensor_set(h.loss.mask, r, way == 0 ? counts : 1);
                    tensor_set(h.loss.weights, r, way == 1 || way == 3 ? counts : 1);
                    tensor_set(h.loss.positions, r, way == 2 && !counts ? -100 : (double)(r % 6));
                    if (!counts)
                        for (int64_t i = 0; i < 21; i++)
                            tensor_set(h.features, r * 21 + i, poisons[r % 3]);
                }
                test_case_is("%s, way %d", dtype_name(dtypes[t]), way);
                if (small)
                    h.limit = head_least_limit(context, &h) + 1500;
                head_answer a = head_solve(&h);
                expect_ok(context, head_call(context, &h));
                expect_head(&h, &a);
                assert_true(isfinite(tensor_get(h.loss.loss, 1)) || way != 3);
                head_answer_free(&a);

                /* and a NaN in a row that counts is seen */
                tensor_set(h.features, 40 * 21 + 5, (double)NAN);
                expect_ok(context, head_call(context, &h));
                assert_true(isnan(tensor_get(h.loss.loss, way == 3 ? 40 : 0)));
                assert_true(isnan(tensor_get(h.grad_weight, 5)));
                assert_true(isnan(tensor_get(h.grad_bias, 2)));
                assert_true(isnan(tensor_get(h.grad_features, 40 * 21)));
                assert_false(isnan(tensor_get(h.grad_features, 41 * 21)));
                head_free(&h);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* As loss scaling does in mixed precision: a large gradient of the loss, which only the device may know. */
static void large_grad_loss(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    poslabel_context *context = context_default();
    for (int t = 0; t < COUNT(dtypes); t++) {
        const head_variant v = {.kind = LOSS_EXPLICIT, .grad_scale = 0x1p-14, .grad_loss = true};
        head h = head_of_variant(&v, dtypes[t], dtypes[t], (layout){0}, 85);
        tensor_set(h.loss.grad_loss, 0, 65536);
        test_case_is("%s", dtype_name(dtypes[t]));
        expect_right(context, &h);
        head_free(&h);
    }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Gradients of the logits that are far from 1, in all rows: no 16 bits hold them, but those of the weight have 32. */
static void gradients_of_any_size(void **state)
{
    (void)state;
    static const double sizes[] = {0x1p-30, 0x1p-14, 0x1p20};
    const poslabel_dtype dtypes[] = {dtype_f16, dtype_bf16, dtype_f32};
    poslabel_context *context = context_default();
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int i = 0; i < COUNT(sizes); i++)
            for (int way = 0; way < 3; way++) {
                const head_variant v = {.kind = LOSS_EXPLICIT,
                                        .grad_scale = way == 2 ? sizes[i] : 1,
                                        .reduction = way == 0 ? POSLABEL_REDUCTION_NONE : POSLABEL_REDUCTION_SUM,
                                        .row_grad_loss = way == 0,
                                        .weights = way == 1};
                head h = head_of_variant(&v, dtypes[t], dtype_f32, (layout){0}, 86);
                tensor *const scaled = way == 0 ? h.loss.grad_loss : h.loss.weights;
                for (int64_t r = 0; way < 2 && r < scaled->count; r++)
                    tensor_set(scaled, r, tensor_get(scaled, r) * sizes[i]);
                test_case_is("%s, way %d, gradients of %g", dtype_name(dtypes[t]), way, sizes[i]);
                tensor_free(h.grad_features);
                h.grad_features = NULL;
                expect_right(context, &h);
                head_free(&h);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* One gradient that is much larger than all others, wherever it is. */
static void one_large_gradient(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    const int64_t rows = 900;
    for (int64_t at = 100; at < rows; at += 256) {
        head h = head_new(LOSS_EXPLICIT, (poslabel_grid){2, 3}, dtype_f16, dtype_f32, 1, &rows, 21, (layout){0},
                          POSLABEL_REDUCTION_NONE, 87);
        h.loss.grad_loss = tensor_new(dtype_f32, 1, &rows);
        tensor_fill(h.loss.grad_loss, 1);
        tensor_set(h.loss.grad_loss, at, 0x1p20);
        tensor_free(h.grad_features);
        h.grad_features = NULL;
        test_case_is("row %lld", (long long)at);
        expect_right(context, &h);
        head_free(&h);
    }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Numbers of rows and classes around those where sums are cut otherwise. */
static void many_rows_and_classes(void **state)
{
    (void)state;
    static const poslabel_grid grids[] = {{1, 1}, {1, 3}, {7, 9}, {32, 32}, {13, 79}, {29, 71}};
    static const int64_t numbers[] = {1, 63, 129, 330};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f64, dtype_f16, dtype_bf16};
    poslabel_context *context = context_default();
    for (int g = 0; g < COUNT(grids); g++)
        for (int n = 0; n < COUNT(numbers); n++) {
            if (test_leaves_out(3))
                continue;
            const poslabel_dtype dtype = dtypes[(g + n) % 4];
            head h = head_new(LOSS_EXPLICIT, grids[g], dtype, dtype, 1, &numbers[n], 3, (layout){0},
                              POSLABEL_REDUCTION_MEAN, 88);
            test_case_is("%s, %d classes, %lld rows", dtype_name(dtype), grids[g].height * grids[g].width,
                         (long long)numbers[n]);
            expect_right(context, &h);
            head_free(&h);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

static void expect_all(const char *what, const tensor *t, double value)
{
    for (int64_t i = 0; i < t->count; i++)
        if (tensor_get(t, i) != value)
            test_fail("%s[%lld] = %g, want %g", what, (long long)i, tensor_get(t, i), value);
}

static void nothing_counts(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16};
    poslabel_context *context = context_default();
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int way = 0; way < 3; way++)
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                const int64_t rows = way == 2 ? 0 : 12;
                head h = head_new(LOSS_ABSOLUTE, (poslabel_grid){2, 3}, dtypes[t], dtypes[t], 1, &rows, 5,
                                  (layout){.row_padding = 1}, POSLABEL_REDUCTION_MEAN, 85);
                test_case_is("%s, way %d, accumulate %d", dtype_name(dtypes[t]), way, accumulate);
                if (way == 0) {
                    loss_case_add_mask(&h.loss, dtype_u8, 86);
                    tensor_fill(h.loss.mask, 0);
                    tensor_fill(h.features, (double)NAN);
                } else if (way == 1) {
                    h.loss.normalizer = tensor_scalar(dtype_f32, 0);
                    tensor_fill(h.features, (double)NAN);
                }
                h.accumulate = accumulate;
                tensor_fill(h.grad_weight, 3);
                tensor_fill(h.grad_bias, 4);
                expect_ok(context, head_call(context, &h));
                expect_all("loss", h.loss.loss, 0);
                expect_all("accuracy", h.loss.accuracy, 0);
                expect_all("weight_sum", h.loss.weight_sum, way == 1 ? 12 : 0);
                expect_all("flags", h.loss.flags, POSLABEL_LOSS_EMPTY);
                expect_all("grad_features", h.grad_features, 0);
                expect_all("grad_weight", h.grad_weight, accumulate ? 3 : 0);
                expect_all("grad_bias", h.grad_bias, accumulate ? 4 : 0);
                head_free(&h);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Views that a CBLAS cannot take as they are: rows on two levels, expanded rows, rows that overlap. */
static void strange_strides(void **state)
{
    (void)state;
    enum { B = 4, T = 7, D = 10, C = 5 };
    poslabel_context *context = context_default();
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_f64};
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int way = 0; way < 4; way++) {
            head h = head_new(LOSS_EXPLICIT, (poslabel_grid){1, C}, dtypes[t], dtypes[t], 2, (int64_t[]){B, T - 1}, D,
                              (layout){0}, POSLABEL_REDUCTION_MEAN, 87);
            tensor *const storage = tensor_new(dtypes[t], 3, (int64_t[]){B, T, D});
            tensor *const grads = tensor_new(dtypes[t], 3, (int64_t[]){B, T, D});
            tensor_fill_normal(storage, 88, 1);
            tensor_fill(grads, 7);
            poslabel_linear_position_loss_args args = head_args(&h);
            poslabel_tensor features = h.features->t, grad_features = h.grad_features->t, weight = h.weight->t;
            const int64_t images[] = {T * D, D, 1}, same[] = {0, 0, 1}, close[] = {3, 1};
            if (way == 0 || way == 1) { /* x[:, 1:, :] */
                features.data = tensor_at(storage, D);
                features.strides = images;
                for (int64_t i = 0; i < h.features->count; i++)
                    tensor_set(h.features, i, tensor_get(storage, i / (6 * D) * T * D + D + i % (6 * D)));
                args.features = &features;
            }
            if (way == 1) {
                grad_features.data = tensor_at(grads, D);
                grad_features.strides = images;
                args.grad_features = &grad_features;
            }
            if (way == 2) {
                features.strides = same;
                for (int64_t i = 0; i < h.features->count; i++)
                    tensor_set(h.features, i, tensor_get(h.features, i % D));
                args.features = &features;
            }
            if (way == 3) {
                weight.data = storage->memory.data;
                weight.strides = close;
                for (int64_t i = 0; i < C * D; i++)
                    tensor_set(h.weight, i, tensor_get(storage, i / D * 3 + i % D));
                args.weight = &weight;
            }
            test_case_is("%s, way %d", dtype_name(dtypes[t]), way);
            head_answer a = head_solve(&h);
            expect_ok(context, poslabel_linear_position_loss(context, &args));
            if (way == 1)
                for (int64_t i = 0; i < grads->count; i++) {
                    if (i % (T * D) < D)
                        assert_true(tensor_get(grads, i) == 7); /* the first token of each image */
                    else
                        tensor_set(h.grad_features, i - (i / (T * D) + 1) * D, tensor_get(grads, i));
                }
            expect_head(&h, &a);
            head_answer_free(&a);
            tensor_free(storage);
            tensor_free(grads);
            head_free(&h);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype_and_layout),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(like_the_loss_on_logits),
        cmocka_unit_test(any_outputs),
        cmocka_unit_test(accumulation),
        cmocka_unit_test(rows_that_do_not_count),
        cmocka_unit_test(large_grad_loss),
        cmocka_unit_test(gradients_of_any_size),
        cmocka_unit_test(one_large_gradient),
        cmocka_unit_test(many_rows_and_classes),
        cmocka_unit_test(nothing_counts),
        cmocka_unit_test(strange_strides),
    };
    return cmocka_run_group_tests_name("linear", tests, NULL, NULL);
}
