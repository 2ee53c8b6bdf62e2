/*
 * The DropPos loss: the published code's values, its targets, its filter, its schedule.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

static const char *const golden[] = {
    "droppos_loss_g4_s0_plain",      "droppos_loss_g4_s0_attn",       "droppos_loss_g4_s1_plain",
    "droppos_loss_g4_s1_attn",       "droppos_loss_g4_s2_plain",      "droppos_loss_g4_s2_attn",
    "droppos_loss_g7_s0_plain",      "droppos_loss_g7_s0_attn",       "droppos_loss_g7_s1_plain",
    "droppos_loss_g7_s1_attn",       "droppos_loss_g7_s2_plain",      "droppos_loss_g7_s2_attn",
    "droppos_loss_g14_s1_plain",     "droppos_loss_g14_s1_attn",      "droppos_loss_g4_s0_plain_conf",
    "droppos_loss_g4_s0_attn_conf",  "droppos_loss_g4_s1_plain_conf", "droppos_loss_g4_s1_attn_conf",
    "droppos_loss_g4_s2_plain_conf", "droppos_loss_g4_s2_attn_conf",  "droppos_loss_g7_s0_plain_conf",
    "droppos_loss_g7_s0_attn_conf",  "droppos_loss_g7_s1_plain_conf", "droppos_loss_g7_s1_attn_conf",
    "droppos_loss_g7_s2_plain_conf", "droppos_loss_g7_s2_attn_conf"};

static loss_case golden_case(const npz *file, poslabel_dtype dtype)
{
    const npz_array *pred = npz_get(file, "pred"), *ids = npz_get(file, "ids_keep"), *mask = npz_get(file, "mask_pos");
    const int32_t side = (int32_t)npz_number(file, "grid");
    loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){side, side}, dtype, pred->ndim - 1, pred->shape,
                                (layout){0}, POSLABEL_REDUCTION_MEAN, 0);
    for (int64_t i = 0; i < pred->count; i++)
        tensor_set(c.logits, i, npz_at(pred, i));
    for (int64_t i = 0; i < ids->count; i++)
        tensor_set(c.positions, i, npz_at(ids, i));
    c.mask = tensor_from_npz(mask, dtype_bool, (layout){0});
    if (npz_find(file, "attn"))
        c.weights = tensor_from_npz(npz_get(file, "attn"), dtype_f32, (layout){0});
    c.sigma = npz_number(file, "sigma");
    c.normalization = POSLABEL_NORMALIZATION_REFERENCE;
    c.confidence_filter = npz_number(file, "conf_ignore") != 0;
    return c;
}

static void golden_losses(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f64};
    int filtered = 0;
    for (int f = 0; f < COUNT(golden); f++) {
        npz *file = npz_open(golden[f]);
        double *grad = npz_doubles(npz_get(file, "grad_pred"));
        for (int i = 0; i < count; i++)
            for (int d = 0; d < 2; d++) {
                poslabel_context *context = context_new(levels[i], 2);
                loss_case c = golden_case(file, dtypes[d]);
                test_case_is("%s, %s, %s", golden[f], poslabel_isa_name(levels[i]), dtype_name(dtypes[d]));
                const double tolerance = fmax(loss_tolerance(dtypes[d]), 2e-6); /* the published code is float32's */
                expect_ok(context, loss_call(context, &c));
                expect_number("loss", tensor_get(c.loss, 0), npz_number(file, "loss"), tolerance);
                expect_near_floor("accuracy", &(double){tensor_get(c.accuracy, 0)}, &(double){npz_number(file, "acc1")},
                                  1, 1e-6, 1);
                expect_near_doubles("grad", c.grad, grad, tolerance);
                if (c.confidence_filter) { /* that it is at work */
                    const double with = tensor_get(c.weight_sum, 0);
                    c.confidence_filter = 0;
                    expect_ok(context, loss_call(context, &c));
                    filtered += tensor_get(c.weight_sum, 0) > with;
                }
                loss_case_free(&c);
                poslabel_context_destroy(context);
            }
        free(grad);
        npz_close(file);
    }
    test_case_is("%s", "");
    assert_true(filtered > 0);
}

/* The targets that the loss forms are those of poslabel_smoothing_map(): the loss from the dense map is the same. */
static void targets_are_the_smoothing_map(void **state)
{
    (void)state;
    static const poslabel_grid grids[] = {{3, 5}, {7, 2}, {1, 6}, {6, 1}, {1, 1}, {9, 17}};
    static const double sigmas[] = {0, 0.03, 0.3, 1, 3, 1e6};
    poslabel_context *context = context_default();
    for (int g = 0; g < COUNT(grids); g++)
        for (int s = 0; s < COUNT(sigmas); s++)
            for (int normalization = 0; normalization < 2; normalization++) {
                const int64_t n = (int64_t)grids[g].height * grids[g].width;
                tensor *map = tensor_new(dtype_f64, 2, (int64_t[]){n, n});
                poslabel_smoothing_map_args args = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
                args.grid = grids[g];
                args.sigma = sigmas[s];
                args.normalization = normalization;
                args.map = &map->t;
                expect_ok(context, poslabel_smoothing_map(context, &args));
                loss_case c =
                    loss_case_new(LOSS_DROPPOS, grids[g], dtype_f32, 1, &n, (layout){0}, POSLABEL_REDUCTION_NONE, 5);
                c.sigma = sigmas[s];
                c.normalization = normalization;
                double *want = calloc((size_t)n, sizeof *want);
                for (int64_t r = 0; r < n; r++) {
                    double sum = 0;
                    for (int64_t k = 0; k < n; k++)
                        sum += exp(tensor_get(c.logits, r * n + k));
                    for (int64_t k = 0; k < n; k++)
                        want[r] += tensor_get(map, (int64_t)tensor_get(c.positions, r) * n + k) *
                                   (log(sum) - tensor_get(c.logits, r * n + k));
                }
                test_case_is("%d x %d, sigma %g, normalization %d", grids[g].height, grids[g].width, sigmas[s],
                             normalization);
                expect_ok(context, loss_call(context, &c));
                double *got = tensor_doubles(c.loss);
                expect_near_floor("row losses", got, want, (size_t)n, 1e-5, 1e-2);
                loss_answer answer = loss_solve(&c);
                expect_answer(&c, &answer, 1e-5);
                loss_answer_free(&answer);
                free(got);
                free(want);
                loss_case_free(&c);
                tensor_free(map);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* sigma = 0, and any sigma too small to matter, is cross-entropy with explicit labels, bit for bit. */
static void no_sigma_is_one_hot(void **state)
{
    (void)state;
    static const double sigmas[] = {0, 1e-300, 1e-3, 0.02};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++)
        for (int s = 0; s < COUNT(sigmas); s++)
            for (int normalization = 0; normalization < 2; normalization++) {
                poslabel_context *context = context_new(levels[i], 1);
                const int64_t leading[] = {3, 12};
                loss_case a = loss_case_new(LOSS_DROPPOS, (poslabel_grid){7, 7}, dtype_f32, 2, leading, (layout){0},
                                            POSLABEL_REDUCTION_MEAN, 6);
                loss_case b = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){7, 7}, dtype_f32, 2, leading, (layout){0},
                                            POSLABEL_REDUCTION_MEAN, 6);
                a.sigma = sigmas[s];
                a.normalization = normalization;
                expect_ok(context, loss_call(context, &a));
                expect_ok(context, loss_call(context, &b));
                test_case_is("%s, sigma %g", poslabel_isa_name(levels[i]), sigmas[s]);
                expect_same_tensor("grad", a.grad, b.grad);
                expect_same_tensor("loss", a.loss, b.loss);
                expect_same_tensor("accuracy", a.accuracy, b.accuracy);
                loss_case_free(&a);
                loss_case_free(&b);
                poslabel_context_destroy(context);
            }
    test_case_is("%s", "");
}

/* Grids that are not square, with all that can be given at once. */
static void grids_that_are_not_square(void **state)
{
    (void)state;
    static const poslabel_grid grids[] = {{2, 9},  {9, 2},   {5, 13},  {1, 31},  {31, 1},
                                          {3, 65}, {1, 300}, {1, 450}, {450, 1}, {3, 150}};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16, dtype_f16, dtype_f64};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++)
        for (int g = 0; g < COUNT(grids); g++)
            for (int d = 0; d < 4; d++) {
                poslabel_context *context = context_new(levels[i], 1);
                const int64_t leading[] = {2, 11};
                loss_case c = loss_case_new(LOSS_DROPPOS, grids[g], dtypes[d], 2, leading, (layout){0}, d % 3, 7);
                c.sigma = 0.5 + g;
                c.normalization = (g + d) % 2;
                loss_case_add_mask(&c, dtype_bool, 8);
                loss_case_add_weights(&c, dtype_f32, 9);
                test_case_is("%s, %d x %d, %s", poslabel_isa_name(levels[i]), grids[g].height, grids[g].width,
                             dtype_name(dtypes[d]));
                loss_answer answer = loss_solve(&c);
                expect_ok(context, loss_call(context, &c));
                expect_answer(&c, &answer, loss_tolerance(dtypes[d]));
                loss_answer_free(&answer);
                loss_case_free(&c);
                poslabel_context_destroy(context);
            }
    test_case_is("%s", "");
}

/* The workspace is as documented: it grows with the sides of the grid, not with their squares. */
static void long_grids_need_little_workspace(void **state)
{
    (void)state;
    if (test_on_cuda())
        skip();
    static const poslabel_grid grids[] = {{1, 4096}, {4096, 1}, {1, 400}, {400, 1},
                                          {2, 128},  {20, 20},  {64, 64}, {1, 1}};
    poslabel_context *context = context_default();
    const size_t threads = (size_t)poslabel_context_threads(context), rows = 70;
    for (int g = 0; g < COUNT(grids); g++)
        for (int normalization = 0; normalization < 2; normalization++) {
            const size_t h = (size_t)grids[g].height, w = (size_t)grids[g].width, n = h * w;
            const size_t windows = (h <= 64 ? h : 1) * (h + 15) + (w <= 64 ? w : 1) * (w + 15);
            size_t most = 3072 + 32 * (h + w) + threads * (8 * n + 8192 + 128 + 4 * windows) + 48 * ((rows + 63) / 64);
            if (n <= 400)
                most += normalization                 ? threads * 4 * n * (n + 32)
                        : 8 * n * (w + 2) < 140 << 10 ? 8 * n * (w + 2)
                                                      : 140 << 10;
            loss_case c = loss_case_new(LOSS_DROPPOS, grids[g], dtype_f32, SHAPE((int64_t)rows), (layout){0},
                                        POSLABEL_REDUCTION_MEAN, 1);
            poslabel_workspace asked = {NULL, 0};
            c.sigma = 1;
            c.normalization = normalization;
            poslabel_droppos_loss_args args = droppos_args(&c);
            args.workspace = &asked;
            expect_ok(context, poslabel_droppos_loss(context, &args));
            if (asked.size > most)
                test_fail("%zu x %zu: %zu bytes, documented: %zu", h, w, asked.size, most);
            loss_case_free(&c);
        }
    poslabel_context_destroy(context);
}

/* The filter takes rows out of the loss, the gradient, the accuracy and the weight sum alike. */
static void the_filter_takes_rows_out(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16, dtype_f16, dtype_f64};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++)
        for (int d = 0; d < 4; d++)
            for (int variant = 0; variant < 12; variant++) {
                poslabel_context *context = context_new(levels[i], 1);
                const int64_t leading[] = {4, 35};
                loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){4, 6}, dtypes[d], 2, leading, (layout){0},
                                            variant % 3, 11);
                c.sigma = 1;
                c.normalization = variant % 2;
                c.confidence_filter = 1;
                loss_case_add_weights(&c, dtype_f32, 12);
                if (variant / 6) {
                    c.normalizer = tensor_scalar(dtype_f64, 40);
                    tensor_free(c.grad);
                    c.grad = NULL;
                }
                for (int64_t r = 0; r < 140; r += 3)
                    tensor_set(c.logits, r * 24 + (int64_t)tensor_get(c.positions, r), 10);
                /* stay clear of the threshold, where rounding decides */
                loss_answer answer = loss_solve(&c);
                assert_true(answer.margin > 1e-4);
                double without = 0;
                for (int64_t r = 0; r < 140; r++)
                    without += tensor_get(c.weights, r);
                assert_true(answer.weight_sum > 1 && answer.weight_sum < without - 1);
                test_case_is("%s, %s, variant %d", poslabel_isa_name(levels[i]), dtype_name(dtypes[d]), variant);
                expect_ok(context, loss_call(context, &c));
                expect_answer(&c, &answer, loss_tolerance(dtypes[d]));
                loss_answer_free(&answer);
                loss_case_free(&c);
                poslabel_context_destroy(context);
            }
    test_case_is("%s", "");
}

/* With one-hot targets a row leaves only when its probability has rounded to 1; and a NaN never leaves. */
static void the_filter_with_one_hot_targets(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++) {
        poslabel_context *context = context_new(levels[i], 1);
        const int64_t rows = 3;
        loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){2, 4}, dtype_f32, 1, &rows, (layout){0},
                                    POSLABEL_REDUCTION_MEAN, 1);
        c.confidence_filter = 1;
        tensor_fill(c.logits, 0);
        tensor_set(c.logits, (int64_t)tensor_get(c.positions, 0), 200);
        tensor_set(c.logits, 8 + (int64_t)tensor_get(c.positions, 1), 5);
        expect_ok(context, loss_call(context, &c));
        expect_number("weight_sum", tensor_get(c.weight_sum, 0), 2, 0);
        tensor_set(c.logits, 16, NAN);
        expect_ok(context, loss_call(context, &c));
        expect_number("weight_sum", tensor_get(c.weight_sum, 0), 2, 0);
        assert_true(isnan(tensor_get(c.loss, 0)));
        loss_case_free(&c);
        poslabel_context_destroy(context);
    }
}

/* A row that the filter takes out does not count, even if its loss is infinite. */
static void the_filter_takes_infinite_losses_out(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++)
        for (int gradient = 0; gradient < 2; gradient++)
            for (int reduction = 0; reduction < 3; reduction++) {
                poslabel_context *context = context_new(levels[i], 1);
                const int64_t rows = 5;
                loss_case c =
                    loss_case_new(LOSS_DROPPOS, (poslabel_grid){3, 4}, dtype_f32, 1, &rows, (layout){0}, reduction, 1);
                c.sigma = 1;
                c.confidence_filter = 1;
                for (int64_t k = 0; k < 12; k++)
                    tensor_set(c.logits, 12 + k, k == (int64_t)tensor_get(c.positions, 1) ? 9 : -INFINITY);
                if (!gradient) {
                    tensor_free(c.grad);
                    c.grad = NULL;
                }
                loss_answer answer = loss_solve(&c);
                assert_true(answer.row_weight[1] == 0);
                test_case_is("%s, gradient %d, reduction %d", poslabel_isa_name(levels[i]), gradient, reduction);
                expect_ok(context, loss_call(context, &c));
                expect_answer(&c, &answer, 1e-5);
                loss_answer_free(&answer);
                loss_case_free(&c);
                poslabel_context_destroy(context);
            }
    test_case_is("%s", "");
}

static void sigma_decays_linearly(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    static const struct {
        double sigma_0, epoch, epochs, want;
    } table[] = {{1, 0, 100, 1},     {1, 50, 100, 0.5}, {2, 25, 100, 1.5}, {1, 100, 100, 0}, {1, 101, 100, 0},
                 {1, 1e300, 100, 0}, {0, 5, 10, 0},     {3, 0.5, 2, 2.25}, {1, 0, 1e-300, 1}};
    for (int i = 0; i < COUNT(table); i++) {
        double sigma = -1;
        poslabel_sigma_schedule_args args = POSLABEL_SIGMA_SCHEDULE_ARGS_INIT;
        args.sigma_0 = table[i].sigma_0;
        args.epoch = table[i].epoch;
        args.epochs = table[i].epochs;
        args.sigma = &sigma;
        expect_ok(context, poslabel_sigma_schedule(context, &args));
        expect_number("sigma", sigma, table[i].want, 1e-15);
        assert_true(sigma >= 0);
    }
    poslabel_context_destroy(context);
}

/* A sigma that is a tensor: what the number gives, with the same bits on the CPU. */
static void sigma_as_a_tensor(void **state)
{
    (void)state;
    static const poslabel_grid grids[] = {{4, 4}, {5, 3}, {1, 9}, {21, 22}};
    static const double sigmas[] = {0, 1e-200, 0.25, 1, 3.5};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f64, dtype_bf16};
    for (int g = 0; g < COUNT(grids); g++)
        for (int s = 0; s < COUNT(sigmas); s++)
            for (int k = 0; k < 6; k++) {
                poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, 2);
                const poslabel_dtype dtype = dtypes[k % 3];
                loss_case c = loss_case_new(LOSS_DROPPOS, grids[g], dtype, SHAPE(3, 5), (layout){0},
                                            POSLABEL_REDUCTION_MEAN, 1);
                loss_case_add_mask(&c, dtype_bool, 7);
                c.normalization = k % 2;
                c.confidence_filter = k >= 4;
                c.sigma = sigmas[s];
                test_case_is("%d x %d, sigma %g, %s", (int)grids[g].height, (int)grids[g].width, sigmas[s],
                             dtype_name(dtype));
                expect_ok(context, loss_call(context, &c));
                double *const grad = tensor_doubles(c.grad);
                const double loss = tensor_get(c.loss, 0), weight_sum = tensor_get(c.weight_sum, 0);
                loss_case_forget_outputs(&c);
                c.sigma_scalar = tensor_scalar(k < 3 ? dtype_f64 : dtype_f32, sigmas[s]);
                expect_ok(context, loss_call(context, &c));
                const double tolerance = test_on_cuda() ? loss_tolerance(dtype) : 0;
                expect_number("loss", tensor_get(c.loss, 0), loss, tolerance);
                expect_number("weight_sum", tensor_get(c.weight_sum, 0), weight_sum, 0);
                expect_near_doubles("grad", c.grad, grad, test_on_cuda() && k % 3 == 2 ? 8e-3 : tolerance);
                free(grad);
                loss_case_free(&c);
                poslabel_context_destroy(context);
            }
    test_case_is("%s", "");
}

static void bad_sigmas_in_tensors(void **state)
{
    (void)state;
    static const double bad[] = {-1, NAN, INFINITY};
    poslabel_context *const context = context_default();
    for (int k = 0; k < COUNT(bad); k++) {
        loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){4, 4}, dtype_f32, SHAPE(3, 5), (layout){0},
                                    POSLABEL_REDUCTION_MEAN, 1);
        c.sigma_scalar = tensor_scalar(dtype_f64, bad[k]);
        loss_case_forget_outputs(&c);
        const poslabel_status status = loss_call(context, &c);
        expect_error(context, status, POSLABEL_ERROR_INVALID, "sigma_scalar",
                     test_on_cuda() ? "negative, NaN or infinite" : "must be >= 0 and finite");
        assert_true(test_on_cuda() ? tensor_get(c.flags, 0) == POSLABEL_LOSS_INVALID
                                   : loss_case_outputs_untouched(&c));
        loss_case_free(&c);
    }
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_losses),
        cmocka_unit_test(targets_are_the_smoothing_map),
        cmocka_unit_test(no_sigma_is_one_hot),
        cmocka_unit_test(grids_that_are_not_square),
        cmocka_unit_test(long_grids_need_little_workspace),
        cmocka_unit_test(the_filter_takes_rows_out),
        cmocka_unit_test(the_filter_with_one_hot_targets),
        cmocka_unit_test(the_filter_takes_infinite_losses_out),
        cmocka_unit_test(sigma_decays_linearly),
        cmocka_unit_test(sigma_as_a_tensor),
        cmocka_unit_test(bad_sigmas_in_tensors),
    };
    return cmocka_run_group_tests_name("droppos", tests, NULL, NULL);
}
