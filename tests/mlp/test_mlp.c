/*
 * Heads with a hidden layer, on rows and on pairs: golden vectors, differences, every instruction set and dtype.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/mlp.h"

static const mlp_sizes sizes[] = {
    {false, {2, 3}, 5, 7, 0, 10, 6}, {false, {3, 3}, 2, 18, 0, 33, 0}, {false, {1, 4}, 3, 5, 0, 0, 4},
    {false, {2, 2}, 4, 16, 0, 0, 0}, {true, {2, 3}, 3, 7, 5, 10, 6},   {true, {3, 2}, 2, 16, 16, 35, 0},
    {true, {1, 4}, 3, 5, 5, 0, 4},   {true, {2, 2}, 2, 6, 6, 0, 0},    {false, {7, 5}, 40, 9, 0, 17, 3},
    {true, {6, 6}, 2, 9, 8, 17, 3},  {true, {1, 1}, 2, 3, 2, 4, 0},
};

static poslabel_context *levels[ISA_LEVELS];
static int level_count;

static int open_levels(void **state)
{
    (void)state;
    poslabel_isa isa[ISA_LEVELS];
    level_count = isa_levels(isa);
    for (int i = 0; i < level_count; i++)
        levels[i] = context_new(isa[i], 1 + i % 3);
    return 0;
}

static int close_levels(void **state)
{
    (void)state;
    for (int i = 0; i < level_count; i++)
        poslabel_context_destroy(levels[i]);
    return 0;
}

/* ---- golden vectors ---- */

/* A view of the channels from `first` on, to the end of the rows of `whole`. */
static poslabel_tensor slice(const tensor *whole, int64_t first, int64_t count, int64_t shape[3])
{
    poslabel_tensor view = whole->t;
    shape[0] = whole->shape[0];
    shape[1] = whole->shape[1];
    shape[2] = count;
    view.shape = shape;
    view.strides = (int64_t *)(uintptr_t)whole->strides;
    view.byte_offset += (size_t)first * dtype_size(whole->t.dtype);
    return view;
}

static void check_golden(const char *name, poslabel_grid grid, bool pairs, poslabel_dtype dtype, double tolerance)
{
    static const char *const keys[] = {"x", NULL, "w1", "b1", "w2", "b2", "wh", "bh"};
    npz *const file = npz_open(name);
    mlp_case c = {.size = {.pairs = pairs, .grid = grid}, .grad_scale = 1};
    for (int i = 0; i < MLP_TENSORS; i++)
        if (keys[i]) {
            c.in[i] = tensor_from_npz(npz_get(file, keys[i]), dtype, (layout){0});
            c.grad[i] = tensor_new(dtype, c.in[i]->t.ndim, c.in[i]->shape);
        }
    c.loss = tensor_new(dtype_f64, 0, NULL);
    c.accuracy = tensor_new(dtype_f64, 0, NULL);
    tensor *const x = c.in[MLP_FEATURES], *const grad = c.grad[MLP_FEATURES];
    const int64_t channels = x->shape[2], half = pairs ? channels / 2 : (int64_t)npz_number(file, "half");
    int64_t shape[2][3];
    const poslabel_tensor first = slice(x, 0, half, shape[0]), second = slice(x, half, channels - half, shape[1]);
    const poslabel_tensor grad_first = slice(grad, 0, half, shape[0]);
    const poslabel_tensor grad_second = slice(grad, half, channels - half, shape[1]);
    poslabel_mlp_position_loss_args rows = mlp_args(&c);
    rows.features = &first;
    rows.grad_features = &grad_first;
    poslabel_pair_position_loss_args all = mlp_pair_args(&c);
    all.queries = &first;
    all.keys = &second;
    all.grad_queries = &grad_first;
    all.grad_keys = &grad_second;
    for (int i = 0; i < level_count; i++) {
        test_case_is("%s, %s, %s", name, dtype_name(dtype), poslabel_isa_name(poslabel_context_isa(levels[i])));
        mlp_forget(&c);
        if (!pairs)
            tensor_fill(grad, 0); /* the published head leaves the other channels alone */
        expect_ok(levels[i],
                  pairs ? poslabel_pair_position_loss(levels[i], &all) : poslabel_mlp_position_loss(levels[i], &rows));
        expect_number("loss", tensor_get(c.loss, 0), npz_number(file, "loss"), tolerance);
        if (!pairs)
            expect_number("accuracy", tensor_get(c.accuracy, 0), npz_number(file, "acc1"), 1e-6);
        for (int k = 0; k < MLP_TENSORS; k++)
            if (keys[k]) {
                char key[16];
                snprintf(key, sizeof key, "grad_%s", keys[k]);
                double *const want = npz_doubles(npz_get(file, key));
                expect_near_doubles(key, c.grad[k], want, tolerance);
                free(want);
            }
    }
    test_case_is("%s", "");
    mlp_case_free(&c);
    npz_close(file);
}

static void golden_vectors(void **state)
{
    (void)state;
    check_golden("apl_head_3x5", (poslabel_grid){3, 5}, false, dtype_f32, 1e-5);
    check_golden("apl_head_3x5", (poslabel_grid){3, 5}, false, dtype_f64, 2e-6);
    check_golden("apl_head_4x4", (poslabel_grid){4, 4}, false, dtype_f32, 1e-5);
    check_golden("apl_head_4x4", (poslabel_grid){4, 4}, false, dtype_f64, 2e-6);
    check_golden("rpl_head_swin7x7", (poslabel_grid){7, 7}, true, dtype_f32, 1e-5);
    check_golden("rpl_head_swin7x7", (poslabel_grid){7, 7}, true, dtype_f64, 2e-6);
}

/* ---- float64 ---- */

static double loss_of(poslabel_context *context, const mlp_case *c)
{
    mlp_case only = *c;
    memset(only.grad, 0, sizeof only.grad);
    only.accuracy = NULL;
    expect_ok(context, mlp_call(context, &only));
    return tensor_get(c->loss, 0);
}

static void add_weights(mlp_case *c, uint64_t seed)
{
    const int64_t *const shape = c->in[MLP_FEATURES]->shape;
    c->mask = tensor_new(dtype_u8, 2, shape);
    c->weights = tensor_new(dtype_f64, 2, shape);
    tensor_fill_below(c->mask, seed, 3);
    tensor_fill_between(c->weights, seed + 1, 0.5, 2);
}

static void gradients_are_differences(void **state)
{
    (void)state;
    const double step = 1e-5;
    poslabel_context *const context = levels[0];
    for (int k = 0; k < COUNT(sizes); k++) {
        mlp_case c = mlp_case_new(sizes[k], dtype_f64, dtype_f64, (layout){.row_padding = k % 3}, 11 + (uint64_t)k);
        c.activation = k % 3;
        c.reduction = k % 3 == 2;
        c.grad_scale = k % 2 ? -1.5 : 1;
        c.smoothing = k % 4 == 1 ? 0.1 : 0;
        if (!c.size.pairs && k % 2)
            add_weights(&c, 5);
        expect_ok(context, mlp_call(context, &c));
        for (int i = 0; i < MLP_TENSORS; i++) {
            if (!c.in[i])
                continue;
            double *const want = malloc(sizeof *want * (size_t)c.in[i]->count);
            for (int64_t j = 0; j < c.in[i]->count; j++) {
                want[j] = tensor_get(c.grad[i], j);
                if (j % (1 + c.in[i]->count / 24)) /* some 24 of them */
                    continue;
                const double x = tensor_get(c.in[i], j);
                tensor_set(c.in[i], j, x + step);
                const double above = loss_of(context, &c);
                tensor_set(c.in[i], j, x - step);
                want[j] = c.grad_scale * (above - loss_of(context, &c)) / (2 * step);
                tensor_set(c.in[i], j, x);
            }
            test_case_is("sizes %d, %s", k, mlp_names[i]);
            expect_near_doubles("gradient", c.grad[i], want, 1e-7);
            free(want);
        }
        mlp_case_free(&c);
    }
    test_case_is("%s", "");
}

/* ---- every instruction set and dtype, against float64 ---- */

static void every_dtype(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[][2] = {{dtype_f32, dtype_f32},   {dtype_f16, dtype_f16},  {dtype_f16, dtype_f32},
                                        {dtype_bf16, dtype_bf16}, {dtype_bf16, dtype_f32}, {dtype_f64, dtype_f64}};
    static const double tolerance[] = {1e-5, 1e-3, 1e-3, 8e-3, 8e-3, 1e-11};
    for (int k = 0; k < COUNT(sizes); k++)
        for (int t = 0; t < COUNT(dtypes); t++)
            for (int32_t f = 0; f < 3; f++) {
                mlp_case c = mlp_case_new(sizes[k], dtypes[t][0], dtypes[t][1], (layout){.row_padding = (k + t) % 4},
                                          (uint64_t)(k * 31 + t));
                mlp_case wide = mlp_case_new(sizes[k], dtype_f64, dtype_f64, (layout){0}, 1);
                for (int i = 0; i < MLP_TENSORS; i++)
                    for (int64_t j = 0; c.in[i] && j < c.in[i]->count; j++)
                        tensor_set(wide.in[i], j, tensor_get(c.in[i], j));
                if (!c.size.pairs && t % 2) {
                    add_weights(&c, 8);
                    add_weights(&wide, 8);
                }
                c.activation = wide.activation = f;
                expect_ok(levels[0], mlp_call(levels[0], &wide));
                for (int l = 0; l < level_count; l++) {
                    test_case_is("sizes %d, %s with %s, activation %d, %s", k, dtype_name(dtypes[t][0]),
                                 dtype_name(dtypes[t][1]), (int)f, poslabel_isa_name(poslabel_context_isa(levels[l])));
                    mlp_forget(&c);
                    expect_ok(levels[l], mlp_call(levels[l], &c));
                    expect_number("loss", tensor_get(c.loss, 0), tensor_get(wide.loss, 0), 1e-5);
                    for (int i = 0; i < MLP_TENSORS; i++)
                        if (c.grad[i]) {
                            expect_near_tensor(mlp_names[i], c.grad[i], wide.grad[i], tolerance[t]);
                            tensor_check(c.grad[i]);
                        }
                }
                mlp_case_free(&c);
                mlp_case_free(&wide);
            }
    test_case_is("%s", "");
}

/* An activation on its own: u goes from far below to far above 0, through the head of one class and its neighbour. */
static void every_activation_value(void **state)
{
    (void)state;
    const mlp_sizes one = {false, {1, 2}, 400, 1, 0, 0, 0};
    for (int32_t f = 0; f < 3; f++) {
        mlp_case c = mlp_case_new(one, dtype_f32, dtype_f32, (layout){0}, 1);
        mlp_case wide = mlp_case_new(one, dtype_f64, dtype_f64, (layout){0}, 1);
        for (int64_t j = 0; j < c.in[MLP_FEATURES]->count; j++) {
            const float u = (float)((double)(j - 400) / 40);
            tensor_set(c.in[MLP_FEATURES], j, u);
            tensor_set(wide.in[MLP_FEATURES], j, u);
        }
        for (int i = MLP_WEIGHT; i <= MLP_BIAS; i++)
            for (int64_t j = 0; j < 2; j++) {
                tensor_set(c.in[i], j, (double)j);
                tensor_set(wide.in[i], j, (double)j);
            }
        c.activation = wide.activation = f;
        c.reduction = wide.reduction = POSLABEL_REDUCTION_SUM;
        expect_ok(levels[0], mlp_call(levels[0], &wide));
        for (int l = 0; l < level_count; l++) {
            expect_ok(levels[l], mlp_call(levels[l], &c));
            expect_near_tensor("grad_features", c.grad[MLP_FEATURES], wide.grad[MLP_FEATURES], 2e-6);
        }
        mlp_case_free(&c);
        mlp_case_free(&wide);
    }
}

/* ---- threads, tiles, splits ---- */

static void same_bits_for_all_threads(void **state)
{
    (void)state;
    for (int k = 0; k < COUNT(sizes); k++) {
        mlp_case c = mlp_case_new(sizes[k], dtype_f32, dtype_f32, (layout){0}, 21);
        tensor *first[MLP_TENSORS + 1] = {NULL};
        for (int threads = 1; threads <= 5; threads++) {
            poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, threads);
            mlp_forget(&c);
            expect_ok(context, mlp_call(context, &c));
            for (int i = 0; i <= MLP_TENSORS; i++) {
                const tensor *const output = i < MLP_TENSORS ? c.grad[i] : c.loss;
                if (output && threads == 1)
                    first[i] = tensor_copy(output, output->t.dtype, (layout){0});
                else if (output)
                    expect_same_tensor(i < MLP_TENSORS ? mlp_names[i] : "loss", output, first[i]);
            }
            poslabel_context_destroy(context);
        }
        for (int i = 0; i <= MLP_TENSORS; i++)
            tensor_free(first[i]);
        mlp_case_free(&c);
    }
}

/* The smallest limit that a message names works, and one byte less is refused; the results are those of large tiles. */
static void small_tiles(void **state)
{
    (void)state;
    for (int k = 0; k < COUNT(sizes); k++) {
        mlp_case c = mlp_case_new(sizes[k], dtype_f32, dtype_f32, (layout){0}, 22);
        mlp_case large = mlp_case_new(sizes[k], dtype_f32, dtype_f32, (layout){0}, 22);
        expect_ok(levels[0], mlp_call(levels[0], &large));
        c.limit = 1;
        assert_int_equal(mlp_call(levels[0], &c), POSLABEL_ERROR_INVALID);
        assert_true(mlp_untouched(&c));
        const char *const at = strstr(poslabel_context_message(levels[0]), "at least ");
        assert_non_null(at);
        const uint64_t least = strtoull(at + 9, NULL, 10);
        c.limit = least - 1;
        assert_int_equal(mlp_call(levels[0], &c), POSLABEL_ERROR_INVALID);
        c.limit = least;
        expect_ok(levels[0], mlp_call(levels[0], &c));
        expect_number("loss", tensor_get(c.loss, 0), tensor_get(large.loss, 0), 1e-6);
        for (int i = 0; i < MLP_TENSORS; i++)
            if (c.grad[i])
                expect_near_tensor(mlp_names[i], c.grad[i], large.grad[i], 1e-5);
        mlp_case_free(&c);
        mlp_case_free(&large);
    }
}

/* What the header promises: whatever B and N, at most 64 MiB; tensors need no data to ask. */
static void memory_is_bounded(void **state)
{
    (void)state;
    static const int64_t shapes[][4] = {{320, 7, 7, 169}, {32, 14, 14, 729}, {4, 24, 24, 2209}};
    for (int k = 0; k < COUNT(shapes); k++) {
        const int64_t *const s = shapes[k], n = s[1] * s[2];
        int64_t features[] = {s[0], n, 384}, hidden[] = {384, 768}, middle[] = {384, 384}, last[] = {s[3], 384};
        const poslabel_device cpu = {POSLABEL_DEVICE_CPU, 0};
        poslabel_tensor x = {NULL, cpu, 3, dtype_f32, features, NULL, 0},
                        w1 = {NULL, cpu, 2, dtype_f32, hidden, NULL, 0};
        poslabel_tensor w2 = {NULL, cpu, 2, dtype_f32, middle, NULL, 0}, w3 = {NULL, cpu, 2, dtype_f32, last, NULL, 0};
        poslabel_workspace lent = {0};
        poslabel_pair_position_loss_args args = POSLABEL_PAIR_POSITION_LOSS_ARGS_INIT;
        args.grid = (poslabel_grid){(int32_t)s[1], (int32_t)s[2]};
        args.queries = args.keys = args.grad_queries = args.grad_keys = &x;
        args.hidden_weight = args.grad_hidden_weight = &w1;
        args.middle_weight = args.grad_middle_weight = &w2;
        args.weight = args.grad_weight = &w3;
        args.workspace = &lent;
        expect_ok(levels[0], poslabel_pair_position_loss(levels[0], &args));
        assert_true(lent.size > 0 && lent.size <= 64 << 20);
    }
}

/* The gradients of features do not depend on how the batch is split; those of parameters add up. */
static void split_batches(void **state)
{
    (void)state;
    for (int k = 0; k < COUNT(sizes); k++) {
        mlp_sizes half = sizes[k];
        half.images = 1;
        mlp_case all = mlp_case_new(sizes[k], dtype_f32, dtype_f32, (layout){0}, 23);
        mlp_case one = mlp_case_new(half, dtype_f32, dtype_f32, (layout){0}, 23);
        all.reduction = one.reduction = POSLABEL_REDUCTION_SUM;
        expect_ok(levels[0], mlp_call(levels[0], &all));
        for (int i = 0; i < MLP_TENSORS; i++) {
            for (int64_t j = 0; i > MLP_KEYS && one.in[i] && j < one.in[i]->count; j++)
                tensor_set(one.in[i], j, tensor_get(all.in[i], j));
            if (i > MLP_KEYS && one.in[i])
                tensor_fill(one.grad[i], 0);
        }
        one.accumulate = 1;
        double loss = 0;
        for (int64_t b = 0; b < sizes[k].images; b++) {
            for (int i = 0; i <= MLP_KEYS; i++)
                for (int64_t j = 0; one.in[i] && j < one.in[i]->count; j++)
                    tensor_set(one.in[i], j, tensor_get(all.in[i], b * one.in[i]->count + j));
            expect_ok(levels[0], mlp_call(levels[0], &one));
            loss += tensor_get(one.loss, 0);
            for (int i = 0; i <= MLP_KEYS; i++)
                for (int64_t j = 0; one.in[i] && j < one.in[i]->count; j++) {
                    const double got = tensor_get(one.grad[i], j),
                                 want = tensor_get(all.grad[i], b * one.in[i]->count + j);
                    test_case_is("sizes %d, image %lld, %s, element %lld", k, (long long)b, mlp_names[i], (long long)j);
                    assert_true(fabs(got - want) <= (sizes[k].pairs ? 0 : 1e-5));
                }
        }
        expect_number("loss", loss, tensor_get(all.loss, 0), 1e-6);
        for (int i = MLP_KEYS + 1; i < MLP_TENSORS; i++)
            if (one.grad[i])
                expect_near_tensor(mlp_names[i], one.grad[i], all.grad[i], 1e-5);
        mlp_case_free(&all);
        mlp_case_free(&one);
    }
    test_case_is("%s", "");
}

/* ---- rows that do not count ---- */

static void rows_that_do_not_count(void **state)
{
    (void)state;
    for (int k = 0; k < COUNT(sizes); k++) {
        if (sizes[k].pairs)
            continue;
        for (int bad = 0; bad < 3; bad++) {
            mlp_case c = mlp_case_new(sizes[k], dtype_f32, dtype_f32, (layout){0}, 24);
            const int64_t d = c.size.channels, rows = c.in[MLP_FEATURES]->count / d;
            add_weights(&c, 9);
            tensor *const loss = tensor_new(dtype_f64, 0, NULL);
            tensor *grad[MLP_TENSORS] = {NULL};
            expect_ok(levels[0], mlp_call(levels[0], &c));
            tensor_set(loss, 0, tensor_get(c.loss, 0));
            for (int i = 0; i < MLP_TENSORS; i++)
                grad[i] = c.grad[i] ? tensor_copy(c.grad[i], dtype_f32, (layout){0}) : NULL;
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; tensor_get(c.mask, r) == 0 && i < d; i++)
                    tensor_set(c.in[MLP_FEATURES], r * d + i, bad == 0 ? NAN : bad == 1 ? INFINITY : 1e30);
            mlp_forget(&c);
            expect_ok(levels[0], mlp_call(levels[0], &c));
            expect_same_tensor("loss", c.loss, loss);
            for (int i = 0; i < MLP_TENSORS; i++)
                if (c.grad[i])
                    expect_same_tensor(mlp_names[i], c.grad[i], grad[i]);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; tensor_get(c.mask, r) == 0 && i < d; i++)
                    assert_true(tensor_get(c.grad[MLP_FEATURES], r * d + i) == 0);

            tensor_fill(c.mask, 0);
            expect_ok(levels[0], mlp_call(levels[0], &c));
            assert_true(tensor_get(c.loss, 0) == 0);
            for (int i = 0; i < MLP_TENSORS; i++)
                for (int64_t j = 0; c.grad[i] && j < c.grad[i]->count; j++)
                    assert_true(tensor_get(c.grad[i], j) == 0);

            tensor_fill(c.mask, 1);
            tensor_fill(c.in[MLP_FEATURES], NAN);
            expect_ok(levels[0], mlp_call(levels[0], &c));
            assert_true(isnan(tensor_get(c.loss, 0)) && isnan(tensor_get(c.grad[MLP_FEATURES], 0)));
            tensor_free(loss);
            for (int i = 0; i < MLP_TENSORS; i++)
                tensor_free(grad[i]);
            mlp_case_free(&c);
        }
    }
}

/* Each gradient alone has the bits that it has among the others. */
static void each_gradient_alone(void **state)
{
    (void)state;
    for (int k = 0; k < COUNT(sizes); k++) {
        mlp_case c = mlp_case_new(sizes[k], dtype_f32, dtype_f32, (layout){0}, 25);
        expect_ok(levels[0], mlp_call(levels[0], &c));
        for (int i = 0; i < MLP_TENSORS; i++) {
            if (!c.grad[i])
                continue;
            tensor *const want = tensor_copy(c.grad[i], dtype_f32, (layout){0});
            mlp_case only = c;
            memset(only.grad, 0, sizeof only.grad);
            only.grad[i] = c.grad[i];
            only.loss = only.accuracy = NULL;
            tensor_forget(c.grad[i]);
            expect_ok(levels[0], mlp_call(levels[0], &only));
            test_case_is("sizes %d, %s", k, mlp_names[i]);
            expect_same_tensor("gradient", c.grad[i], want);
            tensor_free(want);
        }
        mlp_case_free(&c);
    }
    test_case_is("%s", "");
}

/* ---- errors ---- */

static void errors(void **state)
{
    (void)state;
    poslabel_context *const context = levels[0];
    mlp_case c = mlp_case_new(sizes[0], dtype_f32, dtype_f32, (layout){0}, 1);
    mlp_case p = mlp_case_new(sizes[4], dtype_f32, dtype_f32, (layout){0}, 1);
#define EXPECT_ROWS(change, ...)                                                                                       \
    do {                                                                                                               \
        poslabel_mlp_position_loss_args a = mlp_args(&c);                                                              \
        change;                                                                                                        \
        expect_error(context, poslabel_mlp_position_loss(context, &a), POSLABEL_ERROR_INVALID, __VA_ARGS__);           \
        assert_true(mlp_untouched(&c));                                                                                \
    } while (0)
#define EXPECT_PAIRS(change, ...)                                                                                      \
    do {                                                                                                               \
        poslabel_pair_position_loss_args a = mlp_pair_args(&p);                                                        \
        change;                                                                                                        \
        expect_error(context, poslabel_pair_position_loss(context, &a), POSLABEL_ERROR_INVALID, __VA_ARGS__);          \
        assert_true(mlp_untouched(&p));                                                                                \
    } while (0)
    EXPECT_ROWS(a.activation = 3, "mlp_position_loss: activation = 3, must be gelu (0), gelu_tanh (1) or relu (2)");
    EXPECT_ROWS(a.accumulate = 2, "mlp_position_loss: accumulate = 2, must be 0 or 1");
    EXPECT_ROWS(a.hidden_weight = NULL, "mlp_position_loss: hidden_bias is given, but hidden_weight is NULL");
    EXPECT_ROWS((a.middle_weight = NULL, a.middle_bias = NULL),
                "mlp_position_loss: grad_middle_weight is given, but middle_weight is NULL");
    EXPECT_ROWS((a.middle_weight = NULL, a.middle_bias = NULL, a.grad_middle_weight = NULL),
                "mlp_position_loss: grad_middle_bias is given, but middle_weight is NULL");
    EXPECT_ROWS(a.weight = NULL, "mlp_position_loss: weight is NULL, must be given");
    EXPECT_ROWS(a.features = NULL, "mlp_position_loss: features is NULL, must be given");
    EXPECT_ROWS(a.reduction = 3, "mlp_position_loss: reduction = 3, must be mean (0), sum (1) or none (2)");
    EXPECT_PAIRS(a.reduction = 2, "pair_position_loss: reduction = none (2), must be mean (0) or sum (1)");
    EXPECT_PAIRS(a.grid.width = 2, "pair_position_loss: queries have 6 tokens, must have 4 on a 2 x 2 grid");
    EXPECT_PAIRS(a.keys = NULL, "pair_position_loss: keys is NULL, must be given");
    EXPECT_PAIRS((a.grad_hidden_weight = NULL, a.grad_hidden_bias = NULL, a.hidden_bias = NULL, a.hidden_weight = NULL),
                 "pair_position_loss: keys");
    EXPECT_PAIRS((a.loss = NULL, a.grad_queries = NULL, a.grad_keys = NULL, a.grad_hidden_weight = NULL,
                  a.grad_hidden_bias = NULL, a.grad_middle_weight = NULL, a.grad_middle_bias = NULL,
                  a.grad_weight = NULL, a.grad_bias = NULL),
                 "pair_position_loss: loss and all gradients are NULL, one must be given");
    mlp_case_free(&c);
    mlp_case_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_vectors),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(every_dtype),
        cmocka_unit_test(every_activation_value),
        cmocka_unit_test(same_bits_for_all_threads),
        cmocka_unit_test(small_tiles),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(split_batches),
        cmocka_unit_test(rows_that_do_not_count),
        cmocka_unit_test(each_gradient_alone),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests_name("mlp", tests, open_levels, close_levels);
}
