/*
 * Features of pairs and their gradient: golden vectors, the definition at every level and layout, linearity, threads,
 * every documented error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "context.h" /* the inside of a context: what to store past the caches is set by force here */

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

static poslabel_context *levels[ISA_LEVELS]; /* one of each, the last with three threads */
static int level_count;

static int open_levels(void **state)
{
    poslabel_isa isa[ISA_LEVELS];
    (void)state;
    level_count = isa_levels(isa);
    for (int i = 0; i < level_count; i++)
        levels[i] = context_new(isa[i], i + 1 < level_count ? 1 : 3);
    return 0;
}

static int close_levels(void **state)
{
    (void)state;
    for (int i = 0; i < level_count; i++)
        poslabel_context_destroy(levels[i]);
    return 0;
}

/* Both passes over the same cells. */
typedef struct pair_case {
    int64_t images, count, pairs, channels; /* B, N, m, C */
    tensor *features, *cells, *rows, *grad_rows, *grad_features;
} pair_case;

/* Pairs of the first `used` of the cells. */
static pair_case case_new(const int64_t size[4], int64_t used, poslabel_dtype dtype, layout features, layout rows,
                          uint64_t seed)
{
    pair_case c = {size[0], size[1], size[2], size[3], NULL, NULL, NULL, NULL, NULL};
    c.features = tensor_laid_out(dtype, SHAPE(c.images, c.count, c.channels), features);
    c.grad_features = tensor_laid_out(dtype, SHAPE(c.images, c.count, c.channels), features);
    c.rows = tensor_laid_out(dtype, SHAPE(c.images, c.pairs, 2 * c.channels), rows);
    c.grad_rows = tensor_laid_out(dtype, SHAPE(c.images, c.pairs, 2 * c.channels), rows);
    c.cells = tensor_laid_out(seed % 2 ? dtype_i32 : dtype_i64, SHAPE(c.images, c.pairs, 2),
                              (layout){.row_padding = (int64_t)(seed % 3)});
    tensor_fill_normal(c.features, seed, 1);
    tensor_fill_normal(c.grad_rows, seed + 1, 1);
    tensor_fill_below(c.cells, seed + 2, used);
    return c;
}

static void case_free(pair_case *c)
{
    tensor *const all[] = {c->features, c->cells, c->rows, c->grad_rows, c->grad_features};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
}

static poslabel_status forward(poslabel_context *context, const pair_case *c)
{
    poslabel_pair_features_args args = POSLABEL_PAIR_FEATURES_ARGS_INIT;
    args.features = tensor_of(c->features);
    args.cells = tensor_of(c->cells);
    args.pairs = tensor_of(c->rows);
    return poslabel_pair_features(context, &args);
}

static poslabel_status backward(poslabel_context *context, const pair_case *c)
{
    poslabel_pair_features_backward_args args = POSLABEL_PAIR_FEATURES_BACKWARD_ARGS_INIT;
    args.grad_pairs = tensor_of(c->grad_rows);
    args.cells = tensor_of(c->cells);
    args.grad_features = tensor_of(c->grad_features);
    return poslabel_pair_features_backward(context, &args);
}

/* What the header says, one number at a time. */
static void expect_forward(const pair_case *c)
{
    const size_t size = dtype_size(c->features->t.dtype);
    for (int64_t k = 0; k < c->images * c->pairs * 2; k++) {
        const int64_t row = k / (2 * c->pairs) * c->count + (int64_t)tensor_get(c->cells, k);
        for (int64_t i = 0; i < c->channels; i++)
            if (memcmp(tensor_at(c->rows, k * c->channels + i), tensor_at(c->features, row * c->channels + i), size))
                test_fail("cell %lld, channel %lld is %g, want %g", (long long)k, (long long)i,
                          tensor_get(c->rows, k * c->channels + i), tensor_get(c->features, row * c->channels + i));
    }
    tensor_check(c->rows);
}

static void expect_backward(const pair_case *c)
{
    const poslabel_dtype dtype = c->features->t.dtype;
    const size_t numbers = (size_t)c->grad_features->count + 1;
    double *const want = calloc(2 * numbers, sizeof *want), *const size = want + numbers;
    for (int64_t k = 0; k < c->images * c->pairs * 2; k++) {
        const int64_t row = k / (2 * c->pairs) * c->count + (int64_t)tensor_get(c->cells, k);
        for (int64_t i = 0; i < c->channels; i++) {
            const double grad = tensor_get(c->grad_rows, k * c->channels + i);
            want[row * c->channels + i] += grad;
            size[row * c->channels + i] += fabs(grad);
        }
    }
    /* one rounding to the dtype, and one of each partial sum to float32, or to float64 */
    const double rounding = dtype_epsilon(dtype), adding = dtype_is(dtype, dtype_f64) ? 0x1p-50 : 0x1p-21;
    for (int64_t i = 0; i < c->grad_features->count; i++) {
        const double error = fabs(tensor_get(c->grad_features, i) - want[i]);
        if (!(error <= rounding / 2 * fabs(want[i]) + adding * size[i]))
            test_fail("number %lld of the gradient is %.17g, want %.17g", (long long)i, tensor_get(c->grad_features, i),
                      want[i]);
    }
    free(want);
    tensor_check(c->grad_features);
}

static void check_case(const pair_case *c, const char *text)
{
    for (int l = 0; l < level_count; l++)
        for (int streamed = 0; streamed < 2; streamed++) {
            test_case_is("%s, level %d, %s", text, l, streamed ? "streamed" : "stored");
            levels[l]->stream_bytes = streamed ? 0 : SIZE_MAX;
            tensor_forget(c->rows);
            tensor_forget(c->grad_features);
            expect_ok(levels[l], forward(levels[l], c));
            expect_forward(c);
            expect_ok(levels[l], backward(levels[l], c));
            expect_backward(c);
        }
    test_case_is("%s", "");
}

static void golden_vectors(void **state)
{
    (void)state;
    static const char *const names[] = {"drloc_ce",     "drloc_cbr",     "drloc_l1",
                                        "drloc_ce_abs", "drloc_cbr_abs", "drloc_l1_abs"};
    for (int f = 0; f < COUNT(names); f++) {
        npz *const file = npz_open(names[f]);
        const npz_array *const of[2] = {npz_get(file, "pts_a"), npz_get(file, "pts_b")};
        const npz_array *const feats = npz_get(file, "feats"), *const grad = npz_get(file, "grad_feats");
        const int64_t w = feats->shape[3], n = feats->shape[2] * w, channels = feats->shape[1];
        const int64_t size[] = {feats->shape[0], n, of[0]->shape[1], channels};
        /* the maps are [B, C, h, w], and so is their gradient */
        pair_case c = case_new(size, 1, dtype_f32, (layout){.columns = true}, (layout){0}, 2);
        for (int64_t i = 0; i < c.cells->count; i++)
            tensor_set(c.cells, i, npz_at(of[i % 2], i / 2 * 2) * (double)w + npz_at(of[i % 2], i / 2 * 2 + 1));
        memcpy(c.features->t.data, feats->data, (size_t)feats->count * sizeof(float));
        memcpy(c.grad_rows->t.data, npz_get(file, "grad_pair")->data, (size_t)c.grad_rows->count * sizeof(float));
        for (int l = 0; l < level_count; l++) {
            test_case_is("%s, level %d", names[f], l);
            expect_ok(levels[l], forward(levels[l], &c));
            expect_same_bits("pairs", c.rows->t.data, npz_get(file, "pair_features")->data, (size_t)c.rows->count, 4);
            expect_ok(levels[l], backward(levels[l], &c));
            for (int64_t i = 0; i < grad->count; i++) {
                const float *const got = c.grad_features->t.data;
                expect_number("gradient", got[i], npz_at(grad, i), 1e-6 * (1 + fabs(npz_at(grad, i))));
            }
        }
        case_free(&c);
        npz_close(file);
    }
    test_case_is("%s", "");
}

static layout layout_of(int number, size_t size, int64_t channels)
{
    switch (number % 4) {
    case 0:
        return (layout){0};
    case 1:
        return (layout){.side = GUARD_BEGIN, .gap = size * (size_t)(1 + channels % 31)};
    case 2:
        return (layout){.row_padding = 1 + channels % 5, .gap = size * (size_t)(channels % 3)};
    default:
        return (layout){.columns = true};
    }
}

/* Cells in no pair, in one and in several; more pairs than a batch of the kernels, and none. */
static void every_dtype_and_layout(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    const int64_t channels[] = {1, 3, 8, 17, 32, 64, 100, 197, 300};
    int number = 0;
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int k = 0; k < COUNT(channels); k++)
            for (int how = 0; how < 4; how++, number++) {
                const int64_t pairs[] = {0, 1, 5, 30, 200}, count[] = {1, 9, 49, 64, 1500};
                const int64_t size[] = {1 + number % 3, count[number / 4 % 4], pairs[number % 5], channels[k]};
                const size_t bytes = dtype_size(dtypes[d]);
                if (test_is_quick() && number % 5)
                    continue;
                char text[120];
                snprintf(text, sizeof text, "%s, %lld cells, %lld pairs, %lld channels, layout %d",
                         dtype_name(dtypes[d]), (long long)size[1], (long long)size[2], (long long)size[3], how);
                pair_case c =
                    case_new(size, 1 + size[1] * (number % 3) / 3, dtypes[d], layout_of(how, bytes, channels[k]),
                             layout_of(number / 2 % 3, bytes, channels[k]), (uint64_t)number);
                check_case(&c, text);
                case_free(&c);
            }
    /* tiles of channels first that are less wide, for many cells */
    for (int d = 0; d < COUNT(dtypes); d++) {
        const int64_t size[] = {2, d % 2 ? 1500 : 5000, 64, 70};
        pair_case c = case_new(size, size[1], dtypes[d], (layout){.columns = true}, (layout){0}, 7);
        check_case(&c, "many cells");
        case_free(&c);
    }
}

/* Tokens behind prefix tokens: a view with an offset. */
static void prefix_tokens_are_skipped(void **state)
{
    (void)state;
    enum { B = 2, P = 3, N = 10, C = 6 };
    tensor *const tokens = tensor_new(dtype_f32, SHAPE(B, P + N, C));
    tensor_fill_normal(tokens, 1, 1);
    pair_case c = case_new((int64_t[]){B, N, 8, C}, N, dtype_f32, (layout){0}, (layout){0}, 3);
    const int64_t shape[] = {B, N, C}, strides[] = {(P + N) * C, C, 1};
    poslabel_tensor view = tokens->t;
    view.shape = shape;
    view.strides = strides;
    view.byte_offset = P * C * sizeof(float);
    poslabel_pair_features_args args = POSLABEL_PAIR_FEATURES_ARGS_INIT;
    args.features = &view;
    args.cells = &c.cells->t;
    args.pairs = &c.rows->t;
    expect_ok(levels[0], poslabel_pair_features(levels[0], &args));
    for (int64_t b = 0; b < B; b++)
        for (int64_t i = 0; i < N * C; i++)
            tensor_set(c.features, b * N * C + i, tensor_get(tokens, (b * (P + N) + P) * C + i));
    expect_forward(&c);
    tensor_free(tokens);
    case_free(&c);
}

/* <pairs(x), g> = <x, backward(g)> for any x and g: the gradient is that of the forward pass. */
static void the_gradient_is_the_transpose(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        pair_case c =
            case_new((int64_t[]){3, 20, 33, 7}, 20, dtype_f64, (layout){.columns = seed % 2}, (layout){0}, seed);
        double of_pairs = 0, of_features = 0;
        poslabel_context *const context = levels[seed % (uint64_t)level_count];
        expect_ok(context, forward(context, &c));
        expect_ok(context, backward(context, &c));
        for (int64_t i = 0; i < c.rows->count; i++)
            of_pairs += tensor_get(c.rows, i) * tensor_get(c.grad_rows, i);
        for (int64_t i = 0; i < c.features->count; i++)
            of_features += tensor_get(c.features, i) * tensor_get(c.grad_features, i);
        expect_number("product", of_features, of_pairs, 1e-12);
        case_free(&c);
    }
}

/* NaN and infinities are copied, and go nowhere else. */
static void values_that_are_no_numbers(void **state)
{
    (void)state;
    pair_case c = case_new((int64_t[]){1, 6, 4, 5}, 3, dtype_f32, (layout){0}, (layout){0}, 4);
    tensor_set(c.features, 3, NAN);
    tensor_set(c.features, 7, INFINITY);
    tensor_fill(c.cells, 2);
    tensor_set(c.cells, 0, 4);
    tensor_set(c.grad_rows, 2, NAN); /* of cell 4, which is in one pair */
    for (int l = 0; l < level_count; l++) {
        expect_ok(levels[l], forward(levels[l], &c));
        expect_forward(&c);
        expect_ok(levels[l], backward(levels[l], &c));
        for (int64_t i = 0; i < c.grad_features->count; i++)
            assert_true(isnan(tensor_get(c.grad_features, i)) == (i == 4 * 5 + 2));
    }
    case_free(&c);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    for (int columns = 0; columns < 2; columns++) {
        pair_case c =
            case_new((int64_t[]){31, 49, 64, 130}, 49, dtype_f32, (layout){.columns = columns}, (layout){0}, 5);
        tensor *rows = NULL, *grad = NULL;
        for (int threads = 1; threads < 6; threads++) {
            poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, threads);
            tensor_forget(c.rows);
            tensor_forget(c.grad_features);
            expect_ok(context, forward(context, &c));
            expect_ok(context, backward(context, &c));
            rows = rows ? rows : tensor_copy(c.rows, dtype_f32, (layout){0});
            grad = grad ? grad : tensor_copy(c.grad_features, dtype_f32, (layout){0});
            expect_same_tensor("pairs", c.rows, rows);
            expect_same_tensor("gradient", c.grad_features, grad);
            poslabel_context_destroy(context);
        }
        tensor_free(rows);
        tensor_free(grad);
        case_free(&c);
    }
}

static void nothing_to_do(void **state)
{
    (void)state;
    const int64_t sizes[][4] = {{0, 5, 4, 3}, {2, 5, 0, 3}, {2, 5, 4, 0}, {2, 0, 0, 3}, {0, 0, 0, 0}};
    for (int s = 0; s < COUNT(sizes); s++)
        for (int columns = 0; columns < 2; columns++) {
            pair_case c = case_new(sizes[s], 5, dtype_f32, (layout){.columns = columns}, (layout){0}, 6);
            check_case(&c, "empty");
            case_free(&c);
        }
}

/* ---- errors ---- */

static void errors(void **state)
{
    (void)state;
    poslabel_context *const context = levels[0];
    pair_case c = case_new((int64_t[]){2, 6, 4, 5}, 6, dtype_f32, (layout){0}, (layout){0}, 8);
    pair_case other = case_new((int64_t[]){2, 6, 4, 5}, 6, dtype_f64, (layout){0}, (layout){0}, 8);
    poslabel_tensor changed;
    const int64_t odd[] = {2, 4, 9}, wide[] = {2, 4, 12}, few[] = {2, 3, 2}, three[] = {2, 4, 3}, images[] = {3, 6, 5};
    const int64_t apart[] = {80, 20, 2}, shared[] = {30, 0, 1}, many[] = {2, (int64_t)1 << 31, 5}, still[] = {0, 0, 0};

#define REFUSED(operation, change, status, ...)                                                                        \
    do {                                                                                                               \
        changed = (poslabel_tensor){0};                                                                                \
        change;                                                                                                        \
        expect_error(context, poslabel_##operation(context, &args), (status), #operation ": ", __VA_ARGS__);           \
        if (!tensor_is_untouched(c.rows) || !tensor_is_untouched(c.grad_features))                                     \
            test_fail("%s: the call failed, but the output was written", #change);                                     \
    } while (0)
#define FORWARD(change, status, ...)                                                                                   \
    do {                                                                                                               \
        poslabel_pair_features_args args = POSLABEL_PAIR_FEATURES_ARGS_INIT;                                           \
        args.features = &c.features->t;                                                                                \
        args.cells = &c.cells->t;                                                                                      \
        args.pairs = &c.rows->t;                                                                                       \
        REFUSED(pair_features, change, status, __VA_ARGS__);                                                           \
    } while (0)
#define BACKWARD(change, status, ...)                                                                                  \
    do {                                                                                                               \
        poslabel_pair_features_backward_args args = POSLABEL_PAIR_FEATURES_BACKWARD_ARGS_INIT;                         \
        args.grad_pairs = &c.grad_rows->t;                                                                             \
        args.cells = &c.cells->t;                                                                                      \
        args.grad_features = &c.grad_features->t;                                                                      \
        REFUSED(pair_features_backward, change, status, __VA_ARGS__);                                                  \
    } while (0)
#define BOTH(change, status, ...)                                                                                      \
    do {                                                                                                               \
        FORWARD(change, status, __VA_ARGS__);                                                                          \
        BACKWARD(change, status, __VA_ARGS__);                                                                         \
    } while (0)
    poslabel_pair_features_args none = POSLABEL_PAIR_FEATURES_ARGS_INIT;
    poslabel_pair_features_backward_args none_back = POSLABEL_PAIR_FEATURES_BACKWARD_ARGS_INIT;
    assert_int_equal(poslabel_pair_features(NULL, &none), INVALID);
    assert_int_equal(poslabel_pair_features_backward(NULL, &none_back), INVALID);
    expect_error(context, poslabel_pair_features(context, NULL), INVALID, "pair_features: ", "args is NULL");
    expect_error(context, poslabel_pair_features_backward(context, NULL), INVALID, "args is NULL");
    BOTH(args.struct_size = 2, INVALID, "struct_size = 2");
    BOTH(args.cells = NULL, INVALID, "cells is NULL, must be given");
    FORWARD(args.features = NULL, INVALID, "features is NULL, must be given");
    FORWARD(args.pairs = NULL, INVALID, "pairs is NULL, must be given");
    BACKWARD(args.grad_pairs = NULL, INVALID, "grad_pairs is NULL, must be given");
    BACKWARD(args.grad_features = NULL, INVALID, "grad_features is NULL, must be given");
    FORWARD(args.features = &other.features->t, INVALID, "pairs has dtype float32, must be float64");
    FORWARD(args.features = &c.cells->t, INVALID, "features has dtype int64");
    BACKWARD(args.grad_pairs = &other.grad_rows->t, INVALID, "grad_features has dtype float32, must be float64");
    BOTH(args.cells = &c.features->t, INVALID, "cells has dtype float32");
    FORWARD((changed = c.rows->t, changed.shape = odd, args.pairs = &changed), INVALID,
            "pairs has shape [2, 4, 9], must be [2, 4, 10]");
    BACKWARD((changed = c.grad_rows->t, changed.shape = odd, args.grad_pairs = &changed), INVALID,
             "grad_pairs has 9 channels, must have 2 C");
    BACKWARD((changed = c.grad_rows->t, changed.shape = wide, args.grad_pairs = &changed), INVALID,
             "grad_features has shape [2, 6, 5], must be [2, ");
    BOTH((changed = c.cells->t, changed.shape = few, args.cells = &changed), INVALID, "has shape ", "must be [2, ");
    BOTH((changed = c.cells->t, changed.shape = three, args.cells = &changed), INVALID, "cells has shape [2, 4, 3]");
    FORWARD((changed = c.features->t, changed.shape = images, args.features = &changed), INVALID,
            "cells has shape [2, 4, 2]");
    BACKWARD((changed = c.grad_features->t, changed.shape = images, args.grad_features = &changed), INVALID,
             "grad_features has shape [3, 6, 5]");
    FORWARD((changed = c.features->t, changed.ndim = 2, args.features = &changed), INVALID,
            "features has shape [2, 6]");
    FORWARD((changed = c.features->t, changed.shape = many, changed.strides = still, args.features = &changed), INVALID,
            "features has 2147483648 cells an image, must be fewer than 2^31");
    FORWARD((changed = c.rows->t, changed.strides = apart, args.pairs = &changed), UNSUPPORTED,
            "stride 2 in its last dimension");
    BACKWARD((changed = c.grad_features->t, changed.strides = shared, args.grad_features = &changed), INVALID,
             "share memory");
    FORWARD((changed = c.features->t, changed.data = NULL, args.features = &changed), INVALID, ".data is NULL");
    FORWARD((changed = c.features->t, changed.device.type = test_other_device(), args.features = &changed), INVALID,
            "is on device");
    FORWARD((changed = c.rows->t, changed.data = c.features->t.data, args.pairs = &changed), INVALID,
            "pairs overlaps features");
    BACKWARD((changed = c.grad_features->t, changed.data = c.grad_rows->t.data, args.grad_features = &changed), INVALID,
             "grad_features overlaps grad_pairs");
    tensor_set(c.cells, 13, 6);
    BOTH((void)0, INVALID, "cells[1, 2, 1] = 6, must be in [0, 6)");
    tensor_set(c.cells, 13, -1);
    BOTH((void)0, INVALID, "cells[1, 2, 1] = -1, must be in [0, 6)");
    tensor_set(c.cells, 13, 0);

    counting_allocator counter;
    counting_allocator_init(&counter);
    poslabel_context *const counted = context_counted(&counter, POSLABEL_ISA_REFERENCE, 1, NULL);
    counter.fail_at = counter.allocations + 1;
    expect_error(counted, backward(counted, &c), POSLABEL_ERROR_MEMORY, "pair_features_backward: ", "no memory");
    assert_true(tensor_is_untouched(c.grad_features));
    expect_ok(counted, backward(counted, &c));
    poslabel_context_destroy(counted);
    counting_allocator_check(&counter);
    case_free(&c);
    case_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_vectors),
        cmocka_unit_test(every_dtype_and_layout),
        cmocka_unit_test(prefix_tokens_are_skipped),
        cmocka_unit_test(the_gradient_is_the_transpose),
        cmocka_unit_test(values_that_are_no_numbers),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests_name("pair_features", tests, open_levels, close_levels);
}
