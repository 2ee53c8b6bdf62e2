/*
 * Position cross-entropy: the published code's values, and the three sources of labels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

/* A case with the logits of a golden file in a dtype. */
static loss_case golden_case(const npz *file, loss_kind kind, poslabel_grid grid, poslabel_dtype dtype, layout how)
{
    const npz_array *logits = npz_get(file, "logits");
    loss_case c = loss_case_new(kind, grid, dtype, logits->ndim - 1, logits->shape, how, POSLABEL_REDUCTION_MEAN, 0);
    assert_int_equal(c.logits->count, logits->count);
    for (int64_t i = 0; i < logits->count; i++)
        tensor_set(c.logits, i, npz_at(logits, i));
    return c;
}

static void check_golden(const char *name, loss_kind kind, poslabel_grid grid)
{
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    npz *file = npz_open(name);
    double *grad = npz_doubles(npz_get(file, "grad_logits"));
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f64};
    for (int i = 0; i < count; i++)
        for (int d = 0; d < 2; d++)
            for (int padded = 0; padded < 2; padded++) {
                poslabel_context *context = context_new(levels[i], 2);
                loss_case c = golden_case(file, kind, grid, dtypes[d], (layout){.row_padding = padded * 3});
                test_case_is("%s, %s, %s", name, poslabel_isa_name(levels[i]), dtype_name(dtypes[d]));
                expect_ok(context, loss_call(context, &c));
                const double tolerance = fmax(loss_tolerance(dtypes[d]), 2e-6); /* the published code is float32's */
                expect_number("loss", tensor_get(c.loss, 0), npz_number(file, "loss"), tolerance);
                expect_near_doubles("grad", c.grad, grad, tolerance);
                if (npz_find(file, "acc1"))
                    expect_number("accuracy", tensor_get(c.accuracy, 0), npz_number(file, "acc1"), 1e-6);
                expect_number("weight_sum", tensor_get(c.weight_sum, 0), (double)loss_rows(&c), 0);
                expect_number("flags", tensor_get(c.flags, 0), 0, 0);
                loss_case_free(&c);
                poslabel_context_destroy(context);
            }
    free(grad);
    npz_close(file);
    test_case_is("%s", "");
}

static void golden_absolute(void **state)
{
    (void)state;
    check_golden("apl_loss_a", LOSS_ABSOLUTE, (poslabel_grid){7, 7});
    check_golden("apl_loss_b", LOSS_ABSOLUTE, (poslabel_grid){4, 4});
    check_golden("apl_loss_b", LOSS_ABSOLUTE, (poslabel_grid){2, 8}); /* only the product matters here */
}

static void golden_relative(void **state)
{
    (void)state;
    check_golden("rpl_loss_3x3", LOSS_RELATIVE, (poslabel_grid){3, 3});
    check_golden("rpl_loss_2x5", LOSS_RELATIVE, (poslabel_grid){2, 5});
}

/* Implied labels give the bits of explicit ones. */
static void check_implied(loss_kind kind, poslabel_grid grid, int rank, const int64_t *leading)
{
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    const int64_t w = grid.width, h = grid.height, n = h * w;
    for (int i = 0; i < count; i++)
        for (int reduction = 0; reduction < 3; reduction++) {
            poslabel_context *context = context_new(levels[i], 2);
            loss_case c = loss_case_new(kind, grid, dtype_f32, rank, leading, (layout){0}, reduction, 5);
            c.label_smoothing = 0.1;
            loss_case_add_weights(&c, dtype_f32, 6);
            tensor_set(c.weights, 0, 1);
            test_case_is("%s, %d x %d, rank %d, %s", loss_kind_names[kind], grid.height, grid.width, rank,
                         poslabel_isa_name(levels[i]));
            expect_ok(context, loss_call(context, &c));
            loss_answer answer = loss_solve(&c);
            expect_answer(&c, &answer, 1e-5);
            loss_answer_free(&answer);

            loss_case given = c;
            given.kind = LOSS_EXPLICIT;
            given.grid = (poslabel_grid){0, 0}; /* not used */
            given.positions = tensor_new(dtype_i32, rank, leading);
            for (int64_t r = 0; r < given.positions->count; r++) {
                const int64_t q = r / n % n, k = r % n;
                tensor_set(given.positions, r,
                           (double)(kind == LOSS_ABSOLUTE
                                        ? k
                                        : (q / w - k / w + h - 1) * (2 * w - 1) + q % w - k % w + w - 1));
            }
            given.grad = tensor_copy(c.grad, dtype_f32, (layout){0});
            given.loss = tensor_copy(c.loss, dtype_f64, (layout){0});
            loss_case_forget_outputs(&given);
            expect_ok(context, loss_call(context, &given));
            expect_same_tensor("grad", c.grad, given.grad);
            expect_same_tensor("loss", c.loss, given.loss);
            tensor_free(given.positions);
            tensor_free(given.grad);
            tensor_free(given.loss);
            loss_case_free(&c);
            poslabel_context_destroy(context);
        }
    test_case_is("%s", "");
}

static void absolute_labels_of_every_shape(void **state)
{
    (void)state;
    check_implied(LOSS_ABSOLUTE, (poslabel_grid){3, 5}, 2, (int64_t[]){4, 15});
    check_implied(LOSS_ABSOLUTE, (poslabel_grid){5, 3}, 1, (int64_t[]){60}); /* [R, N], R a multiple of N */
    check_implied(LOSS_ABSOLUTE, (poslabel_grid){3, 5}, 1, (int64_t[]){15});
    check_implied(LOSS_ABSOLUTE, (poslabel_grid){2, 3}, 3, (int64_t[]){2, 2, 6});
    check_implied(LOSS_ABSOLUTE, (poslabel_grid){1, 1}, 1, (int64_t[]){3});
    check_implied(LOSS_ABSOLUTE, (poslabel_grid){14, 14}, 2, (int64_t[]){3, 196});
}

static void relative_labels_of_every_shape(void **state)
{
    (void)state;
    check_implied(LOSS_RELATIVE, (poslabel_grid){2, 3}, 3, (int64_t[]){2, 6, 6});
    check_implied(LOSS_RELATIVE, (poslabel_grid){3, 2}, 2, (int64_t[]){2, 36});
    check_implied(LOSS_RELATIVE, (poslabel_grid){1, 4}, 1, (int64_t[]){48});
    check_implied(LOSS_RELATIVE, (poslabel_grid){4, 1}, 4, (int64_t[]){3, 1, 4, 4});
    check_implied(LOSS_RELATIVE, (poslabel_grid){1, 1}, 1, (int64_t[]){2});
    check_implied(LOSS_RELATIVE, (poslabel_grid){7, 7}, 2, (int64_t[]){1, 2401});
}

/* The labels that the losses imply are the ones that the label operations write. */
static void implied_labels_are_those_of_the_label_operations(void **state)
{
    (void)state;
    const poslabel_grid grid = {2, 5};
    poslabel_context *context = context_default();
    tensor *labels = tensor_new(dtype_i64, 2, (int64_t[]){10, 10});
    poslabel_relative_labels_args args = POSLABEL_RELATIVE_LABELS_ARGS_INIT;
    args.grid = grid;
    args.labels = &labels->t;
    expect_ok(context, poslabel_relative_labels(context, &args));
    npz *file = npz_open("rpl_loss_2x5");
    const npz_array *want = npz_get(file, "labels");
    expect_same_bits("labels", labels->memory.data, want->data, 100, 8);

    /* a row's loss is smallest where the logit of its label is raised */
    loss_case c =
        loss_case_new(LOSS_RELATIVE, grid, dtype_f32, 2, (int64_t[]){10, 10}, (layout){0}, POSLABEL_REDUCTION_NONE, 0);
    tensor_fill(c.logits, 0);
    for (int64_t r = 0; r < 100; r++)
        tensor_set(c.logits, r * 27 + (int64_t)tensor_get(labels, r), 50);
    expect_ok(context, loss_call(context, &c));
    for (int64_t r = 0; r < 100; r++)
        assert_true(tensor_get(c.loss, r) < 1e-6);
    expect_number("accuracy", tensor_get(c.accuracy, 0), 1, 0);
    loss_case_free(&c);
    npz_close(file);
    tensor_free(labels);
    poslabel_context_destroy(context);
}

static void label_smoothing(void **state)
{
    (void)state;
    static const double smoothings[] = {0, 1e-12, 0.1, 0.5, 1};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++)
        for (int s = 0; s < COUNT(smoothings); s++)
            for (int d = 0; d < 4; d++)
                for (int kind = LOSS_ABSOLUTE; kind <= LOSS_EXPLICIT; kind++) {
                    poslabel_context *context = context_new(levels[i], 1);
                    const int64_t rows = 36;
                    loss_case c = loss_case_new((loss_kind)kind, (poslabel_grid){2, 3}, dtypes[d], 1, &rows,
                                                (layout){0}, POSLABEL_REDUCTION_MEAN, 3);
                    c.label_smoothing = smoothings[s];
                    test_case_is("%s, %s, smoothing %g, %s", poslabel_isa_name(levels[i]), dtype_name(dtypes[d]),
                                 smoothings[s], loss_kind_names[kind]);
                    loss_answer answer = loss_solve(&c);
                    expect_ok(context, loss_call(context, &c));
                    expect_answer(&c, &answer, loss_tolerance(dtypes[d]));
                    loss_answer_free(&answer);
                    loss_case_free(&c);
                    poslabel_context_destroy(context);
                }
    test_case_is("%s", "");
}

/* A table that one can check by hand: two classes, z = 0 and ln 3, so p = 1/4 and 3/4. */
static void by_hand(void **state)
{
    (void)state;
    skip_on_cuda(); /* its tensors are on the stack */
    const float logits[] = {0, (float)log(3)};
    const int32_t label = 1;
    double loss, accuracy;
    float grad[2];
    const int64_t shape[] = {1, 2}, one[] = {1};
    poslabel_tensor z = POSLABEL_CPU_TENSOR(logits, POSLABEL_FLOAT32, 2, shape),
                    y = POSLABEL_CPU_TENSOR(&label, POSLABEL_INT32, 1, one);
    poslabel_tensor l = POSLABEL_CPU_TENSOR(&loss, POSLABEL_FLOAT64, 0, NULL),
                    g = POSLABEL_CPU_TENSOR(grad, POSLABEL_FLOAT32, 2, shape);
    poslabel_tensor a = POSLABEL_CPU_TENSOR(&accuracy, POSLABEL_FLOAT64, 0, NULL);
    poslabel_position_cross_entropy_args args = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    args.labels = POSLABEL_LABELS_EXPLICIT;
    args.logits = &z;
    args.positions = &y;
    args.loss = &l;
    args.grad_logits = &g;
    args.accuracy = &a;
    poslabel_context *context = context_default();
    expect_ok(context, poslabel_position_cross_entropy(context, &args));
    expect_number("loss", loss, log(4.0 / 3), 1e-6);
    expect_number("grad[0]", grad[0], 0.25, 1e-6);
    expect_number("grad[1]", grad[1], -0.25, 1e-6);
    expect_number("accuracy", accuracy, 1, 0);
    args.label_smoothing = 0.5; /* targets 1/4 and 3/4: the minimum */
    expect_ok(context, poslabel_position_cross_entropy(context, &args));
    expect_number("smoothed loss", loss, 0.75 * log(4.0 / 3) + 0.25 * log(4), 1e-6);
    assert_true(fabsf(grad[0]) < 1e-7f && fabsf(grad[1]) < 1e-7f);
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_absolute),
        cmocka_unit_test(golden_relative),
        cmocka_unit_test(absolute_labels_of_every_shape),
        cmocka_unit_test(relative_labels_of_every_shape),
        cmocka_unit_test(implied_labels_are_those_of_the_label_operations),
        cmocka_unit_test(label_smoothing),
        cmocka_unit_test(by_hand),
    };
    return cmocka_run_group_tests_name("position", tests, NULL, NULL);
}
