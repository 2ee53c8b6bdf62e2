/*
 * L1, smooth L1 and mean squared error: the published code's values, their definition, their gradients, every error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#define INVALID POSLABEL_ERROR_INVALID

enum { KINDS = 3 };
static const char *const kind_names[KINDS] = {"l1", "smooth l1", "mse"};
static const double tolerance = 1e-12; /* before the one rounding, which the header promises for every dtype */

/* The arguments; tensors that are NULL are not given.  grad may be predictions. */
typedef struct regression_case {
    int kind, reduction;
    double beta, grad_scale;
    tensor *predictions, *targets, *mask, *weights, *grad_loss, *normalizer;
    tensor *loss, *grad, *weight_sum, *flags;
} regression_case;

static regression_case case_new(int kind, poslabel_dtype dtype, poslabel_dtype target_dtype, int rank,
                                const int64_t *shape, layout how, int reduction, uint64_t seed)
{
    regression_case c = {.kind = kind, .reduction = reduction, .beta = 0.75, .grad_scale = 1};
    const bool none = reduction == POSLABEL_REDUCTION_NONE;
    c.predictions = tensor_laid_out(dtype, rank, shape, how);
    c.targets = tensor_laid_out(target_dtype, rank, shape, how);
    c.grad = tensor_laid_out(dtype, rank, shape, how);
    tensor_fill_normal(c.predictions, seed, 1);
    tensor_fill_normal(c.targets, seed + 1, 1);
    c.loss = tensor_new(dtype_f64, none ? rank - 1 : 0, shape);
    c.weight_sum = tensor_new(dtype_f64, 0, NULL);
    c.flags = tensor_new(dtype_i32, 0, NULL);
    return c;
}

static void case_free(regression_case *c)
{
    tensor *const all[] = {c->predictions, c->targets,    c->mask, c->weights,
                           c->grad_loss,   c->normalizer, c->loss, c->grad == c->predictions ? NULL : c->grad,
                           c->weight_sum,  c->flags};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
}

/* The same tensor in another layout. */
static void relay(tensor **t, layout how)
{
    tensor *const other = tensor_copy(*t, (*t)->t.dtype, how);
    tensor_free(*t);
    *t = other;
}

static void add_mask(regression_case *c, uint64_t seed)
{
    c->mask = tensor_new(dtype_bool, c->predictions->t.ndim - 1, c->predictions->shape);
    tensor_fill_below(c->mask, seed, 2);
}

/* The weight of each fifth row is `fifth`. */
static void add_weights(regression_case *c, double fifth, uint64_t seed)
{
    c->weights = tensor_new(dtype_f32, c->predictions->t.ndim - 1, c->predictions->shape);
    tensor_fill_between(c->weights, seed, 0, 2);
    for (int64_t r = 0; r < c->weights->count; r += 5)
        tensor_set(c->weights, r, fifth);
}

static poslabel_regression_loss_args args_of(const regression_case *c)
{
    poslabel_regression_loss_args args = POSLABEL_REGRESSION_LOSS_ARGS_INIT;
    args.kind = c->kind;
    args.reduction = c->reduction;
    args.beta = c->beta;
    args.grad_scale = c->grad_scale;
    args.predictions = tensor_of(c->predictions);
    args.targets = tensor_of(c->targets);
    args.mask = tensor_of(c->mask);
    args.weights = tensor_of(c->weights);
    args.grad_loss = tensor_of(c->grad_loss);
    args.normalizer = tensor_of(c->normalizer);
    args.loss = tensor_of(c->loss);
    args.grad_predictions = tensor_of(c->grad);
    args.weight_sum = tensor_of(c->weight_sum);
    args.flags = tensor_of(c->flags);
    return args;
}

static void forget_outputs(const regression_case *c)
{
    tensor *const all[] = {c->loss, c->grad == c->predictions ? NULL : c->grad, c->weight_sum, c->flags};
    for (int i = 0; i < COUNT(all); i++)
        if (all[i])
            tensor_forget(all[i]);
}

static poslabel_status call(poslabel_context *context, const regression_case *c)
{
    const poslabel_regression_loss_args args = args_of(c);
    forget_outputs(c);
    return poslabel_regression_loss(context, &args);
}

/* ---- The definition, in long double ---- */

static long double loss_of(const regression_case *c, long double d)
{
    const long double size = fabsl(d), beta = c->beta;
    if (c->kind == POSLABEL_REGRESSION_MSE)
        return d * d;
    if (c->kind == POSLABEL_REGRESSION_SMOOTH_L1)
        return size < beta ? d * d / (2 * beta) : size - beta / 2;
    return size;
}

static long double slope_of(const regression_case *c, long double d)
{
    if (c->kind == POSLABEL_REGRESSION_MSE || isnan(d))
        return 2 * d;
    if (c->kind == POSLABEL_REGRESSION_SMOOTH_L1 && fabsl(d) < (long double)c->beta)
        return d / (long double)c->beta;
    return d > 0 ? 1 : d < 0 ? -1 : 0;
}

/* That each element is the rounding of a number within the tolerance of what is wanted. */
static void expect_rounded(const char *what, const tensor *got, const long double *want)
{
    double largest = 0;
    for (int64_t i = 0; i < got->count; i++)
        largest = isfinite((double)want[i]) ? fmax(largest, fabs((double)want[i])) : largest;
    for (int64_t i = 0; i < got->count; i++) {
        const double is = tensor_get(got, i), at = (double)want[i],
                     by_f32 = dtype_size(got->t.dtype) == 2 ? 0x1p-24 : 0,
                     slack = tolerance * largest + by_f32 * fabs(at);
        const double low = number_round(got->t.dtype, at - slack), high = number_round(got->t.dtype, at + slack);
        if (isnan(at) ? !isnan(is) : !(is >= low && is <= high))
            test_fail("%s[%lld] = %.17g, must be %.17g", what, (long long)i, is, at);
    }
}

/* That the outputs are those of the definition. `predictions` are what they were before the call. */
static void expect_defined(const regression_case *c, const tensor *predictions)
{
    const int64_t n = predictions->shape[predictions->t.ndim - 1], rows = predictions->count / n;
    const bool mean = c->reduction == POSLABEL_REDUCTION_MEAN, none = c->reduction == POSLABEL_REDUCTION_NONE;
    long double *const grad = calloc((size_t)predictions->count + 1, sizeof *grad);
    long double *const row_loss = calloc((size_t)rows + 1, sizeof *row_loss);
    long double *const weight = calloc((size_t)rows + 1, sizeof *weight);
    long double sum = 0, total = 0;
    for (int64_t r = 0; r < rows; r++) {
        weight[r] = c->mask && tensor_get(c->mask, r) == 0 ? 0 : c->weights ? tensor_get(c->weights, r) : 1;
        total += weight[r];
        for (int64_t i = r * n; i < (r + 1) * n && weight[r] != 0; i++) {
            const long double d = (long double)tensor_get(predictions, i) - (long double)tensor_get(c->targets, i);
            row_loss[r] += weight[r] * loss_of(c, d) / (long double)n;
            grad[i] = weight[r] * slope_of(c, d) / (long double)n;
        }
        sum += row_loss[r];
    }
    const long double divisor = c->normalizer ? tensor_get(c->normalizer, 0) : total;
    for (int64_t r = 0; r < rows; r++) {
        long double g = c->grad_scale;
        if (c->grad_loss)
            g *= tensor_get(c->grad_loss, none && c->grad_loss->count > 1 ? r : 0);
        if (mean)
            g = divisor == 0 ? 0 : g / divisor;
        for (int64_t i = r * n; i < (r + 1) * n; i++)
            grad[i] = weight[r] == 0 || (mean && divisor == 0) ? 0 : grad[i] * g;
    }
    sum = !mean ? sum : divisor == 0 ? 0 : sum / divisor;
    if (c->loss)
        expect_rounded("loss", c->loss, none ? row_loss : &sum);
    if (c->grad)
        expect_rounded("grad", c->grad, grad);
    if (c->weight_sum)
        expect_rounded("weight_sum", c->weight_sum, &total);
    if (c->flags)
        expect_number("flags", tensor_get(c->flags, 0), divisor == 0 ? POSLABEL_LOSS_EMPTY : 0, 0);
    if (c->grad)
        tensor_check(c->grad);
    free(grad);
    free(row_loss);
    free(weight);
}

/* ---- Tests ---- */

static void golden_losses(void **state)
{
    (void)state;
    static const char *const names[] = {"drloc_l1", "drloc_l1_abs", "l1_target_gray", "l1_target_rgb",
                                        "l1_target_rgb_scale"};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f64};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int f = 0; f < COUNT(names); f++) {
        npz *file = npz_open(names[f]);
        const npz_array *pred = npz_get(file, "pred");
        double *grad = npz_doubles(npz_get(file, "grad_pred"));
        for (int i = 0; i < count; i++)
            for (int d = 0; d < COUNT(dtypes); d++) {
                poslabel_context *context = context_new(levels[i], 2);
                regression_case c = {.kind = POSLABEL_REGRESSION_L1, .beta = 1, .grad_scale = 1};
                c.predictions = tensor_from_npz(pred, dtypes[d], (layout){0});
                c.targets = tensor_from_npz(npz_get(file, "target"), dtype_f64, (layout){0});
                c.grad = tensor_new(dtypes[d], pred->ndim, pred->shape);
                c.loss = tensor_new(dtype_f64, 0, NULL);
                test_case_is("%s, %s, %s", names[f], poslabel_isa_name(levels[i]), dtype_name(dtypes[d]));
                expect_ok(context, call(context, &c));
                expect_number("loss", tensor_get(c.loss, 0), npz_number(file, "loss"), tolerance);
                expect_near_doubles("grad", c.grad, grad, fmax(tolerance, dtype_epsilon(dtypes[d])));
                case_free(&c);
                poslabel_context_destroy(context);
            }
        free(grad);
        npz_close(file);
    }
    test_case_is("%s", "");
}

/* One element a row: the losses and slopes of differences at, and on both sides of, the corners. */
static void by_hand(void **state)
{
    (void)state;
    static const double d[] = {0, 0.25, -0.25, 0.5, -0.5, 3, -3};
    static const double want[KINDS][COUNT(d)] = {{0, 0.25, 0.25, 0.5, 0.5, 3, 3},
                                                 {0, 0.0625, 0.0625, 0.25, 0.25, 2.75, 2.75},
                                                 {0, 0.0625, 0.0625, 0.25, 0.25, 9, 9}};
    static const double slope[KINDS][COUNT(d)] = {
        {0, 1, -1, 1, -1, 1, -1}, {0, 0.5, -0.5, 1, -1, 1, -1}, {0, 0.5, -0.5, 1, -1, 6, -6}};
    poslabel_context *context = context_default();
    for (int kind = 0; kind < KINDS; kind++) {
        regression_case c =
            case_new(kind, dtype_f32, dtype_f32, SHAPE(COUNT(d), 1), (layout){0}, POSLABEL_REDUCTION_NONE, 1);
        c.beta = 0.5;
        for (int i = 0; i < COUNT(d); i++) {
            tensor_set(c.targets, i, 10);
            tensor_set(c.predictions, i, 10 + d[i]);
        }
        test_case_is("%s", kind_names[kind]);
        expect_ok(context, call(context, &c));
        for (int i = 0; i < COUNT(d); i++) {
            expect_number("loss", tensor_get(c.loss, i), want[kind][i], 0);
            expect_number("grad", tensor_get(c.grad, i), slope[kind][i], 0);
        }
        case_free(&c);
    }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* The defaults are L1, its mean, beta = 1. */
static void defaults(void **state)
{
    (void)state;
    const poslabel_regression_loss_args args = POSLABEL_REGRESSION_LOSS_ARGS_INIT;
    assert_int_equal(args.kind, POSLABEL_REGRESSION_L1);
    assert_int_equal(args.reduction, POSLABEL_REDUCTION_MEAN);
    assert_true(args.beta == 1 && args.grad_scale == 1 && args.struct_size == sizeof args);
}

static void differences_of_the_loss(void **state)
{
    (void)state;
    const double step = 1e-5;
    poslabel_context *context = context_default();
    for (int kind = 0; kind < KINDS; kind++)
        for (int reduction = 0; reduction < 3; reduction++)
            for (int variant = 0; variant < 4; variant++) {
                regression_case c = case_new(kind, dtype_f64, dtype_f64, SHAPE(3, 4, 3), (layout){.row_padding = 2},
                                             reduction, (uint64_t)(7 + variant));
                c.beta = 0.5;
                if (variant & 1)
                    add_mask(&c, 3);
                if (variant & 2)
                    add_weights(&c, 0, 4);
                if (variant == 3) {
                    c.grad_scale = -2.5;
                    c.normalizer = tensor_scalar(dtype_f64, 3);
                    c.grad_loss = reduction == 2 ? tensor_new(dtype_f64, SHAPE(3, 4)) : tensor_scalar(dtype_f32, 0.5);
                    if (reduction == 2)
                        tensor_fill_normal(c.grad_loss, 9, 1);
                }
                test_case_is("%s, reduction %d, variant %d", kind_names[kind], reduction, variant);
                double want[36];
                for (int64_t i = 0; i < 36; i++) {
                    const double z = tensor_get(c.predictions, i), t = tensor_get(c.targets, i);
                    double of[2];
                    assert_true(fabs(z - t) > 2 * step && fabs(fabs(z - t) - c.beta) > 2 * step); /* no corner */
                    for (int side = 0; side < 2; side++) {
                        tensor_set(c.predictions, i, z + (side ? step : -step));
                        expect_ok(context, call(context, &c));
                        of[side] = 0;
                        for (int64_t r = 0; r < c.loss->count; r++)
                            of[side] += tensor_get(c.loss, r) * c.grad_scale *
                                        (c.grad_loss ? tensor_get(c.grad_loss, reduction == 2 ? r : 0) : 1);
                    }
                    tensor_set(c.predictions, i, z);
                    want[i] = (of[1] - of[0]) / (2 * step);
                }
                expect_ok(context, call(context, &c));
                expect_near_doubles("grad", c.grad, want, 1e-8);
                case_free(&c);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Odd sizes around a batch of 64 rows and a tile of 256 elements, every dtype of both tensors, gaps, all reductions. */
static void sizes_dtypes_and_layouts(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{1, 1},  {63, 2},  {64, 3},  {130, 2}, {65, 4},
                                       {3, 85}, {5, 256}, {3, 257}, {2, 1031}};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    uint64_t seed = 0;
    for (int i = 0; i < count; i++)
        for (int s = 0; s < COUNT(sizes); s++)
            for (int d = 0; d < 16; d++)
                for (int option = 0; option < 6; option++) {
                    const int kind = (int)(++seed % KINDS), reduction = (int)(seed / 3 % 3);
                    poslabel_context *context = context_new(levels[i], 1);
                    const layout how = {.row_padding = option % 2 * 3, .gap = 8};
                    regression_case c = case_new(kind, dtypes[d % 4], dtypes[d / 4], SHAPE(sizes[s][0], sizes[s][1]),
                                                 how, reduction, seed);
                    if (option == 4) /* gaps in one of them alone */
                        relay(&c.targets, (layout){.row_padding = 2});
                    if (option == 2)
                        relay(&c.grad, (layout){.row_padding = 1});
                    if (option == 5)
                        relay(&c.targets, (layout){0});
                    if (option == 2 || option == 3)
                        add_mask(&c, seed);
                    if (option >= 3)
                        add_weights(&c, option == 3 ? 0 : 3, seed);
                    test_case_is("%s, %s, %s and %s, %lld x %lld, reduction %d, option %d",
                                 poslabel_isa_name(levels[i]), kind_names[kind], dtype_name(dtypes[d % 4]),
                                 dtype_name(dtypes[d / 4]), (long long)sizes[s][0], (long long)sizes[s][1], reduction,
                                 option);
                    expect_ok(context, call(context, &c));
                    expect_defined(&c, c.predictions);
                    case_free(&c);
                    poslabel_context_destroy(context);
                }
    test_case_is("%s", "");
}

/* Values as large and as small as their dtype has them; a difference that only float64 can hold. */
static void extreme_values(void **state)
{
    (void)state;
    static const double f16[] = {65504, -65504, 6e-8, 0}, f32[] = {3.4e38, -3.4e38, 1e-45, 0};
    poslabel_context *context = context_default();
    for (int kind = 0; kind < KINDS; kind++)
        for (int d = 0; d < 2; d++) {
            const poslabel_dtype dtype = d ? dtype_f32 : dtype_f16;
            regression_case c = case_new(kind, dtype, dtype, SHAPE(16, 1), (layout){0}, POSLABEL_REDUCTION_NONE, 1);
            c.grad_scale = 1e-3;
            for (int i = 0; i < 16; i++) {
                tensor_set(c.predictions, i, (d ? f32 : f16)[i / 4]);
                tensor_set(c.targets, i, (d ? f32 : f16)[i % 4]);
            }
            test_case_is("%s, %s", kind_names[kind], dtype_name(dtype));
            expect_ok(context, call(context, &c));
            expect_defined(&c, c.predictions);
            case_free(&c);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* What a row that does not count holds is nobody's business; what one that counts holds is. */
static void not_a_number(void **state)
{
    (void)state;
    static const double odd[] = {NAN, INFINITY, -INFINITY};
    poslabel_context *context = context_default();
    for (int kind = 0; kind < KINDS; kind++)
        for (int reduction = 0; reduction < 3; reduction++)
            for (int o = 0; o < COUNT(odd); o++)
                for (int where = 0; where < 3; where++) { /* of the predictions, the targets, both */
                    regression_case c =
                        case_new(kind, dtype_f32, dtype_f32, SHAPE(5, 2), (layout){0}, reduction, (uint64_t)o);
                    add_mask(&c, 1);
                    for (int64_t r = 0; r < 5; r++)
                        tensor_set(c.mask, r, r != 2);
                    c.grad_loss = tensor_scalar(dtype_f32, 2);
                    for (int i = 0; i < 2 && where != 1; i++)
                        tensor_set(c.predictions, 4 + i, odd[o]);
                    for (int i = 0; i < 2 && where != 0; i++)
                        tensor_set(c.targets, 4 + i, odd[o]);
                    test_case_is("%s, reduction %d, %g, place %d", kind_names[kind], reduction, odd[o], where);
                    expect_ok(context, call(context, &c));
                    for (int i = 0; i < 10; i++)
                        assert_true(isfinite(tensor_get(c.grad, i)));
                    for (int64_t r = 0; r < c.loss->count; r++)
                        assert_true(isfinite(tensor_get(c.loss, r)));
                    expect_defined(&c, c.predictions);

                    tensor_set(c.mask, 2, 1);
                    tensor_set(c.predictions, 5, 0.5); /* the other element of that row is as it should be */
                    tensor_set(c.targets, 5, 0);
                    expect_ok(context, call(context, &c));
                    const double loss = tensor_get(c.loss, reduction == 2 ? 2 : 0);
                    const bool is_nan = isnan(odd[o]) || where == 2;
                    assert_true(is_nan ? isnan(loss) : isinf(loss) && loss > 0);
                    for (int i = 0; i < 10; i++) {
                        const double g = tensor_get(c.grad, i);
                        assert_true(i != 4                            ? isfinite(g) && g != 0
                                    : is_nan                          ? isnan(g)
                                    : kind == POSLABEL_REGRESSION_MSE ? isinf(g)
                                                                      : isfinite(g) && g != 0);
                    }
                    for (int64_t r = 0; reduction == 2 && r < 5; r++)
                        assert_true(r == 2 || isfinite(tensor_get(c.loss, r)));
                    case_free(&c);
                }

    /* nor does an upstream gradient that is infinite reach a row that does not count */
    regression_case c = case_new(0, dtype_f32, dtype_f32, SHAPE(5, 2), (layout){0}, POSLABEL_REDUCTION_SUM, 1);
    add_mask(&c, 1);
    tensor_fill(c.mask, 1);
    tensor_set(c.mask, 3, 0);
    c.grad_loss = tensor_scalar(dtype_f32, INFINITY);
    expect_ok(context, call(context, &c));
    for (int i = 0; i < 10; i++)
        assert_true(i / 2 == 3 ? tensor_get(c.grad, i) == 0 : isinf(tensor_get(c.grad, i)));
    case_free(&c);
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Over the predictions, with gaps and without: the bits of a gradient of its own. */
static void gradient_over_the_predictions(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    poslabel_context *context = context_default();
    for (int kind = 0; kind < KINDS; kind++)
        for (int d = 0; d < 4; d++)
            for (int option = 0; option < 4; option++) {
                const layout how = {.row_padding = option % 2};
                regression_case c = case_new(kind, dtypes[d], dtype_f32, SHAPE(7, 13, option < 2 ? 2 : 300), how, 0, 5);
                add_weights(&c, 0, 6);
                test_case_is("%s, %s, option %d", kind_names[kind], dtype_name(dtypes[d]), option);
                expect_ok(context, call(context, &c));
                tensor *const grad = c.grad, *const before = tensor_copy(c.predictions, dtypes[d], (layout){0});
                const double loss = tensor_get(c.loss, 0);
                c.grad = c.predictions;
                expect_ok(context, call(context, &c));
                expect_same_tensor("grad", c.predictions, grad);
                expect_defined(&c, before);
                assert_true(tensor_get(c.loss, 0) == loss);
                tensor_free(grad);
                tensor_free(before);
                case_free(&c);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* The same bits on every instruction set, with every number of threads, and for a batch that is cut in two. */
static void bits_depend_on_nothing_else(void **state)
{
    (void)state;
    const int thread_counts[] = {1, 2, 3, 7};
    const int64_t rows = test_is_quick() ? 9000 : 90000;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int kind = 0; kind < KINDS; kind++) {
        regression_case c = case_new(kind, dtype_f32, dtype_f32, SHAPE(rows, 2), (layout){0}, 0, 3);
        add_weights(&c, 0, 4);
        tensor *loss = NULL, *grad = NULL, *sum = NULL;
        for (int i = 0; i < count; i++)
            for (int t = 0; t < COUNT(thread_counts); t++) {
                poslabel_context *context = context_new(levels[i], thread_counts[t]);
                test_case_is("%s, %s, %d threads", kind_names[kind], poslabel_isa_name(levels[i]), thread_counts[t]);
                expect_ok(context, call(context, &c));
                if (!loss) {
                    loss = tensor_copy(c.loss, dtype_f64, (layout){0});
                    sum = tensor_copy(c.weight_sum, dtype_f64, (layout){0});
                    grad = tensor_copy(c.grad, dtype_f32, (layout){0});
                }
                expect_same_tensor("loss", c.loss, loss);
                expect_same_tensor("weight_sum", c.weight_sum, sum);
                expect_same_tensor("grad", c.grad, grad);
                poslabel_context_destroy(context);
            }

        const int64_t first = 1001, part[] = {100, 2}; /* rows first .. first + 99, normalised as before */
        regression_case piece = case_new(kind, dtype_f32, dtype_f32, 2, part, (layout){0}, 0, 3);
        poslabel_context *context = context_default();
        piece.weights = tensor_new(dtype_f32, 1, part);
        for (int64_t i = 0; i < 200; i++) {
            tensor_set(piece.predictions, i, tensor_get(c.predictions, 2 * first + i));
            tensor_set(piece.targets, i, tensor_get(c.targets, 2 * first + i));
            tensor_set(piece.weights, i / 2, tensor_get(c.weights, first + i / 2));
        }
        piece.normalizer = tensor_copy(sum, dtype_f64, (layout){0});
        expect_ok(context, call(context, &piece));
        expect_same_bits("grad of a part", piece.grad->memory.data, (char *)tensor_at(grad, 2 * first), 200, 4);
        poslabel_context_destroy(context);
        case_free(&piece);
        tensor_free(loss);
        tensor_free(grad);
        tensor_free(sum);
        case_free(&c);
    }
    test_case_is("%s", "");
}

/* No rows, none that count, a normaliser of 0; losses or gradients alone; a vector that is one row. */
static void corner_cases(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    for (int reduction = 0; reduction < 3; reduction++)
        for (int corner = 0; corner < 3; corner++) {
            const int64_t shape[] = {corner == 0 ? 0 : 9, 2};
            regression_case c = case_new(1, dtype_f32, dtype_f64, 2, shape, (layout){0}, reduction, 1);
            if (corner == 1) {
                add_mask(&c, 1);
                tensor_fill(c.mask, 0);
                tensor_fill(c.targets, NAN);
            }
            if (corner == 2)
                c.normalizer = tensor_scalar(dtype_f32, 0);
            test_case_is("reduction %d, corner %d", reduction, corner);
            expect_ok(context, call(context, &c));
            expect_defined(&c, c.predictions);
            expect_number("flags", tensor_get(c.flags, 0), POSLABEL_LOSS_EMPTY, 0);
            case_free(&c);
        }
    for (int without = 0; without < 2; without++) {
        regression_case c = case_new(2, dtype_f32, dtype_f32, SHAPE(70, 3), (layout){0}, 0, 1);
        tensor **const left_out = without ? &c.grad : &c.loss;
        tensor_free(*left_out);
        *left_out = NULL;
        test_case_is("without %s", without ? "gradient" : "loss");
        expect_ok(context, call(context, &c));
        expect_defined(&c, c.predictions);
        case_free(&c);
    }
    regression_case c = case_new(0, dtype_f32, dtype_f32, SHAPE(5), (layout){0}, POSLABEL_REDUCTION_NONE, 1);
    test_case_is("rank 1");
    expect_ok(context, call(context, &c));
    expect_number("weight_sum", tensor_get(c.weight_sum, 0), 1, 0);
    expect_defined(&c, c.predictions);
    case_free(&c);
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

static void errors(void **state)
{
    (void)state;
    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, 2);
    regression_case c = case_new(0, dtype_f32, dtype_f32, SHAPE(2, 3, 2), (layout){0}, POSLABEL_REDUCTION_MEAN, 1);
    tensor *const ints = tensor_new(dtype_i32, SHAPE(2, 3, 2)), *const half = tensor_new(dtype_f16, SHAPE(2, 3, 2));
    tensor *const narrow = tensor_new(dtype_f32, SHAPE(2, 3, 1)), *const flat = tensor_new(dtype_f32, SHAPE(3, 2));
    tensor *const none = tensor_new(dtype_f32, SHAPE(2, 3, 0)), *const rows = tensor_new(dtype_f32, SHAPE(2, 3));
    tensor *const scalar = tensor_scalar(dtype_f32, 0);
    tensor_fill(rows, 1);
    const int64_t apart[] = {12, 4, 2};
#define FAIL(change, status, ...)                                                                                      \
    do {                                                                                                               \
        poslabel_regression_loss_args args = args_of(&c);                                                              \
        poslabel_tensor other = c.predictions->t;                                                                      \
        change;                                                                                                        \
        (void)other;                                                                                                   \
        forget_outputs(&c);                                                                                            \
        expect_error(context, poslabel_regression_loss(context, &args), (status), "regression_loss: ", __VA_ARGS__);   \
        if (!tensor_is_untouched(c.loss) || !tensor_is_untouched(c.grad) || !tensor_is_untouched(c.weight_sum) ||      \
            !tensor_is_untouched(c.flags))                                                                             \
            test_fail("%s: the call failed, but an output was written", #change);                                      \
    } while (0)
    poslabel_regression_loss_args good = args_of(&c);
    assert_int_equal(poslabel_regression_loss(NULL, &good), INVALID);
    expect_error(context, poslabel_regression_loss(context, NULL), INVALID, "regression_loss: ", "args is NULL");
    FAIL(args.struct_size = 3, INVALID, "struct_size = 3");
    FAIL(args.kind = -1, INVALID, "kind = -1", "l1 (0), smooth_l1 (1) or mse (2)");
    FAIL(args.kind = 3, INVALID, "kind = 3");
    FAIL(args.beta = 0, INVALID, "beta = 0", "> 0");
    FAIL(args.beta = -1, INVALID, "beta = -1");
    FAIL(args.beta = NAN, INVALID, "beta = ");
    FAIL(args.beta = INFINITY, INVALID, "beta = inf", "finite");
    FAIL(args.reduction = 3, INVALID, "reduction = 3");
    FAIL(args.grad_scale = NAN, INVALID, "grad_scale = ");
    FAIL(args.predictions = NULL, INVALID, "predictions is NULL");
    FAIL(args.targets = NULL, INVALID, "targets is NULL");
    FAIL((args.loss = NULL, args.grad_predictions = NULL), INVALID, "loss and grad_predictions are both NULL");
    FAIL(args.predictions = &ints->t, INVALID, "predictions has dtype int32");
    FAIL(args.targets = &ints->t, INVALID, "targets has dtype int32");
    FAIL(args.grad_predictions = &half->t, INVALID, "grad_predictions has dtype float16");
    FAIL(args.targets = &narrow->t, INVALID, "targets has shape [2, 3, 1]", "[2, 3, 2]"); /* never broadcast */
    FAIL(args.targets = &flat->t, INVALID, "targets has shape [3, 2]");
    FAIL(args.targets = &scalar->t, INVALID, "targets has shape []");
    FAIL(args.grad_predictions = &narrow->t, INVALID, "grad_predictions has shape [2, 3, 1]");
    FAIL(args.predictions = &scalar->t, INVALID, "predictions has shape []");
    FAIL((args.predictions = args.targets = &none->t, args.grad_predictions = NULL), INVALID,
         "predictions have 0 elements");
    FAIL(args.mask = &flat->t, INVALID, "mask has shape [3, 2]");
    FAIL(args.weights = &flat->t, INVALID, "weights has shape [3, 2]");
    FAIL(args.normalizer = &rows->t, INVALID, "normalizer has shape [2, 3]");
    FAIL(args.grad_loss = &rows->t, INVALID, "grad_loss has shape [2, 3]"); /* only without reduction */
    FAIL(args.reduction = POSLABEL_REDUCTION_NONE, INVALID, "loss has shape []");
    FAIL((other.strides = apart, args.predictions = &other), POSLABEL_ERROR_UNSUPPORTED, "predictions has stride 2");
    FAIL((other.device.type = test_other_device(), args.targets = &other), INVALID, "targets is on device");
    FAIL(args.targets = args.grad_predictions, INVALID, "overlap", "targets");
    FAIL((other.data = (char *)c.grad->t.data + 4, args.predictions = &other), INVALID, "overlap", "predictions");
    FAIL(args.weight_sum = args.loss, INVALID, "overlap");
    FAIL((tensor_set(rows, 4, -1), args.weights = &rows->t), INVALID, "weights[1, 1] = -1");
    FAIL((tensor_set(rows, 4, NAN), args.weights = &rows->t), INVALID, "weights[1, 1] = ");
    expect_ok(context, call(context, &c));
    expect_defined(&c, c.predictions);
    tensor *const all[] = {ints, half, narrow, flat, none, rows, scalar};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
    case_free(&c);
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_losses),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(defaults),
        cmocka_unit_test(differences_of_the_loss),
        cmocka_unit_test(sizes_dtypes_and_layouts),
        cmocka_unit_test(extreme_values),
        cmocka_unit_test(not_a_number),
        cmocka_unit_test(gradient_over_the_predictions),
        cmocka_unit_test(bits_depend_on_nothing_else),
        cmocka_unit_test(corner_cases),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests_name("regression", tests, NULL, NULL);
}
