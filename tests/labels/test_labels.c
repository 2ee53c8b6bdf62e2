/*
 * Labels as tensors: golden vectors, the definition at every level and layout, every documented error.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

static poslabel_context *levels[ISA_LEVELS]; /* one of each, the last with as many threads as there are */
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

static const poslabel_grid grids[] = {{1, 1}, {1, 6}, {5, 1}, {2, 3}, {4, 4}, {7, 7}, {3, 17}, {14, 14}};

static poslabel_status absolute(poslabel_context *context, poslabel_grid grid, const tensor *labels)
{
    poslabel_absolute_labels_args args = POSLABEL_ABSOLUTE_LABELS_ARGS_INIT;
    args.grid = grid;
    args.labels = tensor_of(labels);
    return poslabel_absolute_labels(context, &args);
}

static poslabel_status relative(poslabel_context *context, poslabel_grid grid, const tensor *labels)
{
    poslabel_relative_labels_args args = POSLABEL_RELATIVE_LABELS_ARGS_INIT;
    args.grid = grid;
    args.labels = tensor_of(labels);
    return poslabel_relative_labels(context, &args);
}

static poslabel_status smoothing(poslabel_context *context, poslabel_grid grid, double sigma, int normalization,
                                 const tensor *map)
{
    poslabel_smoothing_map_args args = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
    args.grid = grid;
    args.sigma = sigma;
    args.normalization = normalization;
    args.map = tensor_of(map);
    return poslabel_smoothing_map(context, &args);
}

/* The label of the offset between positions i and j, counted: offsets in reading order from the most negative. */
static int64_t offset_label(poslabel_grid grid, int64_t i, int64_t j)
{
    const int64_t y = i / grid.width - j / grid.width, x = i % grid.width - j % grid.width;
    int64_t label = 0;
    for (int64_t v = 1 - grid.height; v < grid.height; v++)
        for (int64_t u = 1 - grid.width; u < grid.width; u++) {
            if (v == y && u == x)
                return label;
            label++;
        }
    return -1;
}

/* Label tensors with `extra` dimensions before those of the labels. */
static void check_labels(poslabel_grid grid, bool pairs, int extra, poslabel_dtype dtype, int64_t padding)
{
    const int64_t n = (int64_t)grid.height * grid.width;
    int64_t shape[4], rank = 0;
    for (int k = 0; k < extra; k++)
        shape[rank++] = 2 + k;
    if (pairs)
        shape[rank++] = n;
    shape[rank++] = n;
    tensor *const labels = tensor_laid_out(dtype, (int)rank, shape, (layout){.row_padding = rank > 1 ? padding : 0});
    for (int l = 0; l < level_count; l++) {
        test_case_is("%s, %d x %d, %s, %d leading, padding %d, level %d", pairs ? "relative" : "absolute",
                     (int)grid.height, (int)grid.width, dtype_name(dtype), extra, (int)padding, l);
        tensor_forget(labels);
        expect_ok(levels[l], pairs ? relative(levels[l], grid, labels) : absolute(levels[l], grid, labels));
        for (int64_t e = 0; e < labels->count; e++) {
            const int64_t want = pairs ? offset_label(grid, e / n % n, e % n) : e % n;
            if (tensor_get(labels, e) != (double)want)
                test_fail("element %lld is %g, want %lld", (long long)e, tensor_get(labels, e), (long long)want);
        }
        tensor_check(labels);
    }
    tensor_free(labels);
    test_case_is("%s", "");
}

static void labels_of_every_grid_and_layout(void **state)
{
    (void)state;
    for (int g = 0; g < COUNT(grids); g++)
        for (int extra = 0; extra < 3; extra++)
            for (int64_t padding = 0; padding < 2; padding++)
                for (int narrow = 0; narrow < 2; narrow++) {
                    const bool large = grids[g].height * grids[g].width > 60;
                    check_labels(grids[g], false, extra, narrow ? dtype_i32 : dtype_i64, padding);
                    if (!large || (extra == 0 && padding == 0))
                        check_labels(grids[g], true, extra, narrow ? dtype_i32 : dtype_i64, padding);
                }
}

/* The labels that the published code passed to its losses. */
static void golden_labels(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        poslabel_grid grid;
        bool pairs;
    } files[] = {{"apl_loss_a", {0, 0}, false}, {"rpl_loss_2x5", {2, 5}, true}, {"rpl_loss_3x3", {3, 3}, true}};
    for (int f = 0; f < COUNT(files); f++) {
        npz *const file = npz_open(files[f].name);
        const npz_array *const want = npz_get(file, "labels"), *const logits = npz_get(file, "logits");
        const int64_t classes = logits->shape[logits->ndim - 1];
        const poslabel_grid grid = files[f].pairs ? files[f].grid : (poslabel_grid){1, (int32_t)classes};
        const int64_t n = (int64_t)grid.height * grid.width, shape[] = {n, n};
        tensor *const labels = tensor_new(dtype_i64, files[f].pairs ? 2 : 1, shape);
        expect_ok(levels[0], files[f].pairs ? relative(levels[0], grid, labels) : absolute(levels[0], grid, labels));
        assert_true(want->count > 0 && want->count % labels->count == 0);
        for (int64_t i = 0; i < want->count; i++)
            if (npz_at(want, i) != tensor_get(labels, i % labels->count))
                test_fail("%s: label %lld is %g, want %g", files[f].name, (long long)i,
                          tensor_get(labels, i % labels->count), npz_at(want, i));
        tensor_free(labels);
        npz_close(file);
    }
}

static void known_classes(void **state)
{
    (void)state;
    const int64_t shape[] = {49, 49};
    tensor *const labels = tensor_new(dtype_i32, 2, shape);
    expect_ok(levels[0], relative(levels[0], (poslabel_grid){7, 7}, labels));
    assert_true(tensor_get(labels, 0) == 84);            /* no offset: the middle of 169 */
    assert_true(tensor_get(labels, 48) == 0);            /* from the first to the last   */
    assert_true(tensor_get(labels, 48 * 49) == 168);     /* and back                     */
    assert_true(tensor_get(labels, 1) == 83);
    assert_true(tensor_get(labels, 7) == 71);
    tensor_free(labels);
}

/* ---- the smoothing map ---- */

static void golden_maps(void **state)
{
    (void)state;
    static const char *const names[] = {"smoothing_map_g4_s1", "smoothing_map_g7_s0.5", "smoothing_map_g7_s2"};
    for (int f = 0; f < COUNT(names); f++) {
        npz *const file = npz_open(names[f]);
        const npz_array *const want = npz_get(file, "map");
        const int32_t side = (int32_t)npz_number(file, "grid");
        tensor *const map = tensor_new(dtype_f64, 2, want->shape);
        expect_ok(levels[0], smoothing(levels[0], (poslabel_grid){side, side}, npz_number(file, "sigma"),
                                       POSLABEL_NORMALIZATION_REFERENCE, map));
        double *const doubles = npz_doubles(want);
        expect_near_doubles(names[f], map, doubles, 1e-6); /* stored as float32 */
        free(doubles);
        tensor_free(map);
        npz_close(file);
    }
}

static long double gaussian(poslabel_grid grid, long double sigma, int64_t i, int64_t j)
{
    const long double y = (long double)(i / grid.width - j / grid.width);
    const long double x = (long double)(i % grid.width - j % grid.width);
    if (i == j)
        return 1;
    return sigma > 0 ? expl(-(y * y + x * x) / (sigma * sigma)) : 0;
}

static long double row_sum(poslabel_grid grid, long double sigma, int64_t i)
{
    long double sum = 0;
    for (int64_t k = 0; k < (int64_t)grid.height * grid.width; k++)
        sum += gaussian(grid, sigma, i, k);
    return sum;
}

static void check_map(poslabel_grid grid, double sigma, int normalization, poslabel_dtype dtype, layout how)
{
    const int64_t n = (int64_t)grid.height * grid.width, shape[] = {n, n};
    tensor *const map = tensor_laid_out(dtype, 2, shape, how);
    long double *const sums = malloc((size_t)n * sizeof *sums);
    for (int64_t i = 0; i < n; i++)
        sums[i] = row_sum(grid, sigma, i);
    for (int l = 0; l < level_count; l++) {
        test_case_is("%d x %d, sigma %g, normalization %d, %s, level %d", (int)grid.height, (int)grid.width, sigma,
                     normalization, dtype_name(dtype), l);
        tensor_forget(map);
        expect_ok(levels[l], smoothing(levels[l], grid, sigma, normalization, map));
        for (int64_t e = 0; e < map->count; e++) {
            const int64_t i = e / n, j = e % n;
            const long double want =
                gaussian(grid, sigma, i, j) / sums[normalization == POSLABEL_NORMALIZATION_ROW ? i : j];
            /* a few roundings in double precision, one of them of the exponent; and one to the dtype */
            const long double error = 4e-16L * (8 - (want > 0 ? logl(want) : -750.0L));
            const double low = number_round(dtype, (double)(want * (1 - error))) - 0x1p-1000;
            const double high = number_round(dtype, (double)(want * (1 + error))) + 0x1p-1000;
            if (!(tensor_get(map, e) >= low && tensor_get(map, e) <= high))
                test_fail("[%lld, %lld] is %.17g, want %.17Lg", (long long)i, (long long)j, tensor_get(map, e), want);
        }
        tensor_check(map);
    }
    free(sums);
    tensor_free(map);
    test_case_is("%s", "");
}

static void maps_of_every_kind(void **state)
{
    (void)state;
    static const double sigmas[] = {0, 1, 0.3, 2.5, 1e-9, 1e-200, 1e200};
    const poslabel_dtype dtypes[] = {dtype_f64, dtype_f32, dtype_f16, dtype_bf16};
    for (int g = 0; g + 1 < COUNT(grids); g++)
        for (int s = 0; s < COUNT(sigmas); s++)
            for (int d = 0; d < COUNT(dtypes); d++)
                for (int normalization = 0; normalization < 2; normalization++)
                    check_map(grids[g], sigmas[s], normalization, dtypes[d], (layout){.row_padding = (g + s) % 2});
    for (int d = 0; d < COUNT(dtypes); d++)
        check_map((poslabel_grid){14, 14}, 1, d % 2, dtypes[d], (layout){0});
}

/*
 * Half precision straight from the double: rounding to float32 on the way would tip values over that lie as near to the
 * middle between two neighbours as a float32 can be.  Of the 200,000 here some do.
 */
static void maps_are_rounded_once(void **state)
{
    (void)state;
    const int64_t shape[] = {2, 2};
    const poslabel_dtype dtypes[] = {dtype_f16, dtype_bf16};
    int twice = 0;
    for (int d = 0; d < 2; d++) {
        tensor *const map = tensor_new(dtypes[d], 2, shape);
        for (int k = 1; k <= 100000; k++) {
            const double sigma = 0.4 + k * 1.7e-5, g = exp(-1 / (sigma * sigma)), want = g / (1 + g);
            expect_ok(levels[0], smoothing(levels[0], (poslabel_grid){1, 2}, sigma, k % 2, map));
            const double low = number_round(dtypes[d], want * (1 - 1e-15));
            const double high = number_round(dtypes[d], want * (1 + 1e-15));
            if (tensor_get(map, 1) != low && tensor_get(map, 1) != high)
                test_fail("%s, sigma %.17g: %.17g became %.17g", dtype_name(dtypes[d]), sigma, want,
                          tensor_get(map, 1));
            twice += number_round(dtypes[d], (float)want) != low && low == high;
        }
        tensor_free(map);
    }
    assert_true(twice > 0); /* else this has tested nothing */
}

/* What tells the two normalisations apart; the numbers are those of a 14 x 14 grid. */
static void sums_of_rows(void **state)
{
    (void)state;
    const int64_t shape[] = {196, 196};
    tensor *const map = tensor_new(dtype_f64, 2, shape);
    for (int normalization = 0; normalization < 2; normalization++) {
        double least = 2, greatest = 0;
        expect_ok(levels[0], smoothing(levels[0], (poslabel_grid){14, 14}, 1, normalization, map));
        for (int64_t i = 0; i < 196; i++) {
            double sum = 0;
            for (int64_t j = 0; j < 196; j++)
                sum += tensor_get(map, i * 196 + j);
            least = fmin(least, sum);
            greatest = fmax(greatest, sum);
        }
        if (normalization == POSLABEL_NORMALIZATION_ROW) {
            assert_true(fabs(least - 1) < 1e-14 && fabs(greatest - 1) < 1e-14);
        } else {
            expect_number("least", least, 0.886, 1e-3);
            expect_number("greatest", greatest, 1.110, 1e-3);
        }
    }
    tensor_free(map);
}

static void nothing_to_do(void **state)
{
    (void)state;
    const int64_t shape[] = {0, 6}, pairs[] = {3, 0, 6, 6};
    tensor *const none = tensor_new(dtype_i32, 2, shape), *const no_pairs = tensor_new(dtype_i64, 4, pairs);
    for (int l = 0; l < level_count; l++) {
        expect_ok(levels[l], absolute(levels[l], (poslabel_grid){2, 3}, none));
        expect_ok(levels[l], relative(levels[l], (poslabel_grid){2, 3}, no_pairs));
    }
    tensor_free(none);
    tensor_free(no_pairs);
}

/* ---- errors ---- */

static void errors(void **state)
{
    (void)state;
    poslabel_context *const context = levels[0];
    const int64_t shape[] = {6, 6}, wrong[] = {6, 5}, strides[] = {12, 2}, shared[] = {3, 1};
    tensor *const labels = tensor_new(dtype_i32, 2, shape), *const map = tensor_new(dtype_f32, 2, shape);
    poslabel_tensor changed;

#define REFUSED(operation, given, change, status, ...)                                                                 \
    do {                                                                                                               \
        poslabel_##operation##_args args = {sizeof args, .grid = {2, 3}, .given = &given->t};                          \
        changed = given->t;                                                                                            \
        change;                                                                                                        \
        expect_error(context, poslabel_##operation(context, &args), (status), #operation ": ", __VA_ARGS__);           \
        if (!tensor_is_untouched(given))                                                                               \
            test_fail("%s: the call failed, but the output was written", #change);                                     \
    } while (0)
#define EACH(change_labels, change_map, status, ...)                                                                   \
    do {                                                                                                               \
        REFUSED(absolute_labels, labels, change_labels, status, __VA_ARGS__);                                          \
        REFUSED(relative_labels, labels, change_labels, status, __VA_ARGS__);                                          \
        REFUSED(smoothing_map, map, change_map, status, __VA_ARGS__);                                                  \
    } while (0)
#define ALL(change, status, ...) EACH(change, change, status, __VA_ARGS__)

    poslabel_absolute_labels_args absolute_args = POSLABEL_ABSOLUTE_LABELS_ARGS_INIT;
    poslabel_relative_labels_args relative_args = POSLABEL_RELATIVE_LABELS_ARGS_INIT;
    poslabel_smoothing_map_args map_args = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
    assert_int_equal(poslabel_absolute_labels(NULL, &absolute_args), INVALID);
    assert_int_equal(poslabel_relative_labels(NULL, &relative_args), INVALID);
    assert_int_equal(poslabel_smoothing_map(NULL, &map_args), INVALID);
    expect_error(context, poslabel_absolute_labels(context, NULL), INVALID, "absolute_labels: ", "args is NULL");
    expect_error(context, poslabel_relative_labels(context, NULL), INVALID, "relative_labels: ", "args is NULL");
    expect_error(context, poslabel_smoothing_map(context, NULL), INVALID, "smoothing_map: ", "args is NULL");

    ALL(args.struct_size = 2, INVALID, "struct_size = 2");
    ALL(args.grid.height = 0, INVALID, "grid is 0 x 3");
    ALL(args.grid.width = -1, INVALID, "grid is 2 x -1");
    ALL((args.grid.height = args.grid.width = 46341), INVALID, "grid is 46341 x 46341", "2^31");
    REFUSED(relative_labels, labels, (args.grid.height = args.grid.width = 23171), INVALID, "grid is 23171 x 23171",
            "relative labels", "2^31");
    EACH(args.labels = NULL, args.map = NULL, INVALID, "is NULL, must be given");

    EACH((changed.dtype = dtype_f32, args.labels = &changed), (changed.dtype = dtype_i32, args.map = &changed), INVALID,
         "has dtype");
    EACH((changed.shape = wrong, args.labels = &changed), (changed.shape = wrong, args.map = &changed), INVALID,
         "has shape [6, 5]");
    EACH((changed.ndim = 0, args.labels = &changed), (changed.ndim = 1, args.map = &changed), INVALID, "has shape");
    EACH((changed.device.type = test_other_device(), args.labels = &changed), (changed.device.type = test_other_device(), args.map = &changed), INVALID,
         "is on device");
    EACH((changed.data = NULL, args.labels = &changed), (changed.data = NULL, args.map = &changed), INVALID,
         ".data is NULL");
    EACH((changed.strides = strides, args.labels = &changed), (changed.strides = strides, args.map = &changed),
         UNSUPPORTED, "stride 2 in its last dimension");
    EACH((changed.strides = shared, args.labels = &changed), (changed.strides = shared, args.map = &changed), INVALID,
         "share memory");
    const int64_t deep_shape[] = {1, 6, 6};
    REFUSED(smoothing_map, map, (changed.ndim = 3, changed.shape = deep_shape, args.map = &changed), INVALID,
            "map has shape [1, 6, 6]", "[6, 6]");

    REFUSED(smoothing_map, map, args.sigma = -0.5, INVALID, "sigma = -0.5", ">= 0");
    REFUSED(smoothing_map, map, args.sigma = NAN, INVALID, "sigma = ", "nan");
    REFUSED(smoothing_map, map, args.sigma = INFINITY, INVALID, "sigma = inf");
    REFUSED(smoothing_map, map, args.normalization = 2, INVALID, "normalization = 2", "POSLABEL_NORMALIZATION_ROW");
    REFUSED(smoothing_map, map, args.normalization = -1, INVALID, "normalization = -1");

    counting_allocator counter;
    counting_allocator_init(&counter);
    poslabel_context *const counted = context_counted(&counter, POSLABEL_ISA_REFERENCE, 1, NULL);
    counter.fail_at = counter.allocations + 1;
    expect_error(counted, smoothing(counted, (poslabel_grid){2, 3}, 1, 0, map), POSLABEL_ERROR_MEMORY,
                 "smoothing_map: ", "no memory");
    assert_true(tensor_is_untouched(map));
    expect_ok(counted, smoothing(counted, (poslabel_grid){2, 3}, 1, 0, map));
    poslabel_context_destroy(counted);
    counting_allocator_check(&counter);

    expect_ok(context, absolute(context, (poslabel_grid){2, 3}, labels));
    expect_ok(context, relative(context, (poslabel_grid){2, 3}, labels));
    tensor_free(labels);
    tensor_free(map);
}

static void map_of_a_sigma_that_is_a_tensor(void **state)
{
    (void)state;
    static const double sigmas[] = {0, 1e-200, 0.3, 2};
    poslabel_context *const context = context_default();
    for (int s = 0; s < COUNT(sigmas); s++)
        for (int normalization = 0; normalization < 2; normalization++) {
            tensor *const want = tensor_new(dtype_f64, SHAPE(35, 35)), *const got = tensor_new(dtype_f64, SHAPE(35, 35));
            tensor *const sigma = tensor_scalar(dtype_f64, sigmas[s]);
            poslabel_smoothing_map_args args = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
            args.grid = (poslabel_grid){5, 7};
            args.normalization = normalization;
            args.sigma = sigmas[s];
            args.map = &want->t;
            expect_ok(context, poslabel_smoothing_map(context, &args));
            args.sigma = 9;
            args.sigma_scalar = &sigma->t;
            args.map = &got->t;
            expect_ok(context, poslabel_smoothing_map(context, &args));
            for (int64_t i = 0; i < want->count; i++)
                assert_true(tensor_get(want, i) == tensor_get(got, i));
            tensor_set(sigma, 0, -0.5);
            const poslabel_status status = poslabel_smoothing_map(context, &args);
            expect_error(context, status, POSLABEL_ERROR_INVALID, "sigma_scalar", "");
            tensor_free(want);
            tensor_free(got);
            tensor_free(sigma);
        }
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_of_every_grid_and_layout),
        cmocka_unit_test(golden_labels),
        cmocka_unit_test(known_classes),
        cmocka_unit_test(golden_maps),
        cmocka_unit_test(maps_of_every_kind),
        cmocka_unit_test(maps_are_rounded_once),
        cmocka_unit_test(sums_of_rows),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(errors),
        cmocka_unit_test(map_of_a_sigma_that_is_a_tensor),
    };
    return cmocka_run_group_tests_name("labels", tests, open_levels, close_levels);
}
