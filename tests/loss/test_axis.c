/*
 * The per-axis losses: golden vectors, the definition at every level, gradients, corners, determinism, errors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

enum { CE = POSLABEL_AXIS_LOSS_CROSS_ENTROPY, CBR = POSLABEL_AXIS_LOSS_CYCLE_BACK };

static poslabel_context *levels[ISA_LEVELS];
static int level_count;

static int open_levels(void **state)
{
    poslabel_isa isa[ISA_LEVELS];
    (void)state;
    level_count = isa_levels(isa);
    for (int i = 0; i < level_count; i++)
        levels[i] = context_new(isa[i], 1);
    return 0;
}

static int close_levels(void **state)
{
    (void)state;
    for (int i = 0; i < level_count; i++)
        poslabel_context_destroy(levels[i]);
    return 0;
}

static const char *name_of(const poslabel_context *context)
{
    return poslabel_isa_name(poslabel_context_isa(context));
}

/* ---- cases ---- */

typedef struct axis_case {
    int kind, reduction;
    int64_t rows, n[2]; /* M, and the classes of y and x */
    bool pair;          /* logits_y and logits_x         */
    double grad_scale;
    tensor *logits[2], *grad[2]; /* of both axes in the first, unless they are a pair; grad NULL: loss only */
    tensor *targets, *mask, *weights, *grad_loss, *normalizer;
    tensor *loss, *weight_sum, *flags;
} axis_case;

static axis_case case_new(int kind, int64_t rows, int64_t n_y, int64_t n_x, poslabel_dtype dtype, layout how,
                          int reduction, uint64_t seed)
{
    axis_case c = {.kind = kind, .reduction = reduction, .rows = rows, .n = {n_y, n_x}, .grad_scale = 1};
    c.pair = n_x > 0;
    c.n[1] = c.pair ? n_x : n_y;
    for (int a = 0; a < 1 + c.pair; a++) {
        const int64_t shape[] = {rows, c.n[a], 2};
        c.logits[a] = tensor_laid_out(dtype, c.pair ? 2 : 3, shape, how);
        c.grad[a] = tensor_laid_out(dtype, c.pair ? 2 : 3, shape, how);
        tensor_fill_normal(c.logits[a], seed + (uint64_t)a, 1.5);
    }
    c.targets = tensor_new(seed % 2 ? dtype_i64 : dtype_i32, 2, (int64_t[]){rows, 2});
    rng r = {seed};
    for (int64_t i = 0; i < c.targets->count; i++)
        tensor_set(c.targets, i, (double)rng_below(&r, c.n[i % 2]));
    c.loss = reduction == POSLABEL_REDUCTION_NONE ? tensor_new(dtype_f64, 1, &rows) : tensor_new(dtype_f64, 0, NULL);
    c.weight_sum = tensor_new(dtype_f64, 0, NULL);
    c.flags = tensor_new(dtype_i32, 0, NULL);
    return c;
}

static void case_free(axis_case *c)
{
    for (int a = 0; a < 2; a++)
        if (c->grad[a] != c->logits[a])
            tensor_free(c->grad[a]);
    tensor *const all[] = {c->logits[0], c->logits[1],  c->targets, c->mask,       c->weights,
                           c->grad_loss, c->normalizer, c->loss,    c->weight_sum, c->flags};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
}

static poslabel_axis_loss_args args_of(const axis_case *c)
{
    poslabel_axis_loss_args args = POSLABEL_AXIS_LOSS_ARGS_INIT;
    args.kind = c->kind;
    args.reduction = c->reduction;
    args.logits = c->pair ? NULL : tensor_of(c->logits[0]);
    args.grad_logits = c->pair ? NULL : tensor_of(c->grad[0]);
    args.logits_y = c->pair ? tensor_of(c->logits[0]) : NULL;
    args.logits_x = tensor_of(c->logits[1]);
    args.grad_logits_y = c->pair ? tensor_of(c->grad[0]) : NULL;
    args.grad_logits_x = tensor_of(c->grad[1]);
    args.targets = tensor_of(c->targets);
    args.mask = tensor_of(c->mask);
    args.weights = tensor_of(c->weights);
    args.grad_scale = c->grad_scale;
    args.grad_loss = tensor_of(c->grad_loss);
    args.normalizer = tensor_of(c->normalizer);
    args.loss = tensor_of(c->loss);
    args.weight_sum = tensor_of(c->weight_sum);
    args.flags = tensor_of(c->flags);
    return args;
}

static poslabel_status call(poslabel_context *context, const axis_case *c)
{
    const poslabel_axis_loss_args args = args_of(c);
    return poslabel_axis_loss(context, &args);
}

static void forget(axis_case *c)
{
    tensor *const all[] = {c->grad[0], c->grad[1], c->loss, c->weight_sum, c->flags};
    for (int i = 0; i < COUNT(all); i++)
        if (all[i] && all[i] != c->logits[0] && all[i] != c->logits[1])
            tensor_forget(all[i]);
}

static bool is_untouched(const axis_case *c)
{
    tensor *const all[] = {c->grad[0], c->grad[1], c->loss, c->weight_sum, c->flags};
    for (int i = 0; i < COUNT(all); i++)
        if (all[i] && !tensor_is_untouched(all[i]))
            return false;
    return true;
}

/* Where class k of an axis of row r is, in which of the two tensors. */
static int64_t index_of(const axis_case *c, int64_t r, int axis, int64_t k)
{
    return c->pair ? r * c->n[axis] + k : (r * c->n[0] + k) * 2 + axis;
}

static double weight_of(const axis_case *c, int64_t r)
{
    if (c->mask && tensor_get(c->mask, r) == 0)
        return 0;
    return c->weights ? tensor_get(c->weights, r) : 1;
}

/* ---- the definition ---- */

/* The loss of one axis of a row; its gradient in slope[n]. */
static long double solve_axis(const axis_case *c, int64_t r, int axis, long double *slope)
{
    const tensor *const z = c->logits[c->pair ? axis : 0];
    const int64_t n = c->n[axis], y = (int64_t)tensor_get(c->targets, 2 * r + axis);
    long double *const b = malloc(sizeof *b * (size_t)n), max = -INFINITY, sum = 0, mu = 0, v = 0;
    for (int64_t k = 0; k < n; k++)
        max = fmaxl(max, tensor_get(z, index_of(c, r, axis, k)));
    for (int64_t k = 0; k < n; k++)
        sum += b[k] = expl(tensor_get(z, index_of(c, r, axis, k)) - max);
    long double loss = logl(sum) + max - tensor_get(z, index_of(c, r, axis, y));
    for (int64_t k = 0; k < n; k++)
        b[k] /= sum;
    if (c->kind == CE) {
        for (int64_t k = 0; k < n; k++)
            slope[k] = b[k] - (k == y);
        if (b[y] > 0.5L) { /* by the others, of which nothing is left in 1 - b */
            loss = slope[y] = 0;
            for (int64_t k = 0; k < n; k++)
                slope[y] -= k == y ? 0 : b[k];
            loss = -log1pl(slope[y]);
        }
        free(b);
        return loss;
    }
    int64_t top = 0; /* mu less this one, for long double is too short for the variance of a sharp distribution, too */
    for (int64_t k = 0; k < n; k++)
        top = b[k] > b[top] ? k : top;
    for (int64_t k = 0; k < n; k++)
        mu += (k - top) * b[k];
    for (int64_t k = 0; k < n; k++)
        v += (k - top - mu) * (k - top - mu) * b[k];
    v += 1e-8L;
    const long double off = top - y + mu, by_mu = 2 * off / v, by_v = 0.001L / v - off * off / (v * v);
    long double mean = 0;
    for (int64_t k = 0; k < n; k++)
        mean += b[k] * (by_mu * (k - top) + by_v * (k - top - mu) * (k - top - mu));
    for (int64_t k = 0; k < n; k++)
        slope[k] = b[k] * (by_mu * (k - top) + by_v * (k - top - mu) * (k - top - mu) - mean);
    free(b);
    return off * off / v + 0.001L * logl(v);
}

static void expect_close(const char *what, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound) && !(isnan(got) && isnan(want)) && got != want)
        test_fail("%s: got %.17g, want %.17g, error %.3g, allowed %.3g", what, got, want, fabs(got - want), bound);
}

/* The outputs within `tolerance` of the largest gradient, and one rounding to their dtype. */
static void check_answer(const axis_case *c, double tolerance)
{
    const int64_t most = c->n[0] > c->n[1] ? c->n[0] : c->n[1];
    long double *const slope = malloc(sizeof *slope * (size_t)most);
    double total = 0, loss = 0, scale = 0, largest = 0;
    for (int64_t r = 0; r < c->rows; r++)
        total += weight_of(c, r);
    const double divisor = c->normalizer ? tensor_get(c->normalizer, 0) : total;
    const double inverse = c->reduction != POSLABEL_REDUCTION_MEAN ? 1 : divisor == 0 ? 0 : 1 / divisor;
    for (int pass = 0; pass < 2; pass++) /* the first finds the largest gradient */
        for (int64_t r = 0; r < c->rows; r++) {
            const double w = weight_of(c, r), upstream = c->grad_scale * inverse;
            double row = 0;
            for (int a = 0; a < 2; a++) {
                if (w != 0 && inverse != 0)
                    row += (double)solve_axis(c, r, a, slope);
                const tensor *const grad = c->grad[c->pair ? a : 0];
                double g = upstream;
                if (c->grad_loss)
                    g *= tensor_get(c->grad_loss, c->grad_loss->count > 1 ? r : 0);
                for (int64_t k = 0; grad && k < c->n[a]; k++) {
                    const double want = w == 0 || inverse == 0 ? 0 : g * w * (double)slope[k];
                    if (!pass && fabs(want) > largest)
                        largest = fabs(want);
                    const double eps = dtype_epsilon(grad->t.dtype),
                                 least = dtype_is(grad->t.dtype, dtype_f16) ? 6e-8 : 0;
                    char what[80];
                    snprintf(what, sizeof what, "gradient of row %d, axis %d, class %d", (int)r, a, (int)k);
                    if (pass)
                        expect_close(what, tensor_get(grad, index_of(c, r, a, k)), want,
                                     w == 0 ? 0 : tolerance * largest + eps * fabs(want) + least);
                }
            }
            if (pass && c->loss && c->reduction == POSLABEL_REDUCTION_NONE)
                expect_close("row loss", tensor_get(c->loss, r), w * row,
                             w * (tolerance * fabs(row) + fmin(tolerance, 2e-6)));
            if (pass && w != 0) {
                loss += w * row * inverse;
                scale += w * (tolerance * fabs(row) + fmin(tolerance, 2e-6)) * inverse;
            }
        }
    if (c->loss && c->reduction != POSLABEL_REDUCTION_NONE)
        expect_close("loss", tensor_get(c->loss, 0), loss, scale);
    if (c->weight_sum)
        expect_close("weight_sum", tensor_get(c->weight_sum, 0), total, 1e-12 * total);
    if (c->flags)
        assert_int_equal((int)tensor_get(c->flags, 0), divisor == 0 ? POSLABEL_LOSS_EMPTY : 0);
    free(slope);
}

static double tolerance_of(const poslabel_context *context, poslabel_dtype dtype)
{
    return poslabel_context_isa(context) == POSLABEL_ISA_REFERENCE || dtype_is(dtype, dtype_f64) ? 1e-11 : 1e-5;
}

static void solve(poslabel_context *context, axis_case *c)
{
    forget(c);
    expect_ok(context, call(context, c));
    check_answer(c, tolerance_of(context, c->logits[0]->t.dtype));
    for (int a = 0; a < 1 + c->pair; a++)
        if (c->grad[a])
            tensor_check(c->grad[a]);
}

/* ---- golden vectors ---- */

static void golden_vectors(void **state)
{
    (void)state;
    static const char *const names[] = {"drloc_ce", "drloc_ce_abs", "drloc_cbr", "drloc_cbr_abs"};
    for (int f = 0; f < COUNT(names); f++) {
        npz *const file = npz_open(names[f]);
        const npz_array *const pred = npz_get(file, "pred"), *const target = npz_get(file, "target");
        double *const want = npz_doubles(npz_get(file, "grad_pred"));
        for (int i = 0; i < level_count; i++)
            for (int v = 0; v < 6; v++) {
                const poslabel_dtype dtype = v % 2 ? dtype_f64 : dtype_f32;
                const int64_t n = pred->shape[1];
                axis_case c = case_new(f < 2 ? CE : CBR, pred->shape[0], n, v / 2 == 2 ? n : 0, dtype,
                                       (layout){.columns = v / 2 == 1}, POSLABEL_REDUCTION_MEAN, 1);
                test_case_is("%s, %s, variant %d", names[f], name_of(levels[i]), v);
                for (int64_t k = 0; k < pred->count; k++)
                    tensor_set(c.logits[c.pair ? k % 2 : 0], c.pair ? k / 2 : k, npz_at(pred, k));
                for (int64_t k = 0; k < target->count; k++)
                    tensor_set(c.targets, k, npz_at(target, k));
                expect_ok(levels[i], call(levels[i], &c));
                const double tolerance = v % 2 ? 2e-6 : 1e-5;
                expect_number("loss", tensor_get(c.loss, 0), npz_number(file, "loss"), tolerance);
                double *const got = malloc(sizeof *got * (size_t)pred->count);
                for (int64_t k = 0; k < pred->count; k++)
                    got[k] = tensor_get(c.grad[c.pair ? k % 2 : 0], c.pair ? k / 2 : k);
                expect_near("grad", got, want, (size_t)pred->count, tolerance);
                free(got);
                case_free(&c);
            }
        free(want);
        npz_close(file);
    }
    test_case_is("%s", "");
}

/* ---- every level against the definition ---- */

static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 27, 28, 31, 33, 56, 63, 64, 65, 130, 400};
static const poslabel_dtype dtypes[] = {{POSLABEL_CODE_FLOAT, 32, 1},
                                        {POSLABEL_CODE_FLOAT, 16, 1},
                                        {POSLABEL_CODE_BFLOAT, 16, 1},
                                        {POSLABEL_CODE_FLOAT, 64, 1}};

static layout layout_of(int k, size_t size)
{
    switch (k % 4) {
    case 0:
        return (layout){0};
    case 1:
        return (layout){.columns = true};
    case 2:
        return (layout){.row_padding = 1 + k % 3, .gap = size * (size_t)(k % 5)};
    default:
        return (layout){.side = GUARD_BEGIN, .gap = size * (size_t)(k % 7)};
    }
}

static void add_weights(axis_case *c, int which, uint64_t seed)
{
    if (which % 2) {
        c->mask = tensor_new(which % 4 == 1 ? dtype_bool : dtype_f32, 1, &c->rows);
        tensor_fill_below(c->mask, seed, 2);
    }
    if (which / 2 % 2) {
        c->weights = tensor_new(dtype_f32, 1, &c->rows);
        tensor_fill_between(c->weights, seed + 1, 0, 2);
    }
}

static void every_level(void **state)
{
    (void)state;
    for (int k = 0; k < COUNT(sizes); k++)
        for (int d = 0; d < COUNT(dtypes); d++)
            for (int v = 0; v < 8; v++) {
                if (test_is_quick() && (k + d + v) % 5)
                    continue;
                const int64_t rows = 1 + (k * 7 + d * 3 + v * 11) % (sizes[k] > 64 ? 9 : 150);
                axis_case c = case_new(v % 2, rows, sizes[k], v / 2 % 2 ? 1 + (sizes[k] * 5 + v) % 70 : 0, dtypes[d],
                                       layout_of(k + v / 4 + d, dtype_size(dtypes[d])), (k + d + v) % 3,
                                       (uint64_t)(k * 64 + d * 8 + v));
                add_weights(&c, k + v / 2, (uint64_t)k);
                c.grad_scale = v == 5 ? 64 : 1;
                if (v == 3)
                    c.grad_loss = tensor_scalar(dtype_f32, -0.5);
                if (v == 6)
                    c.normalizer = tensor_scalar(dtype_f64, 12);
                for (int i = 0; i < level_count; i++) {
                    test_case_is("kind %d, %d rows of %d and %d classes, %s, variant %d, %s", c.kind, (int)rows,
                                 (int)c.n[0], (int)c.n[1], dtype_name(dtypes[d]), v, name_of(levels[i]));
                    solve(levels[i], &c);
                }
                case_free(&c);
            }
    test_case_is("%s", "");
}

/* Leading dimensions that are several and fold into two levels: [B, T, n, 2] with images apart, and grad_loss a row. */
static void leading_dimensions(void **state)
{
    (void)state;
    enum { B = 3, T = 5, n = 6 };
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < level_count; i++) {
            axis_case c = case_new(kind, B * T, n, 0, dtype_f32, (layout){0}, POSLABEL_REDUCTION_NONE, 3);
            c.grad_loss = tensor_new(dtype_f32, 1, (int64_t[]){B * T});
            tensor_fill_normal(c.grad_loss, 4, 1);
            expect_ok(levels[i], call(levels[i], &c));
            const int64_t wide = T * n * 2 + 7, shape[] = {B, T, n, 2}, strides[] = {wide, n * 2, 2, 1};
            tensor *const logits = tensor_new(dtype_f32, 2, (int64_t[]){B, wide});
            tensor *const grad = tensor_new(dtype_f32, 2, (int64_t[]){B, wide});
            for (int64_t k = 0; k < c.logits[0]->count; k++)
                tensor_set(logits, k / (T * n * 2) * wide + k % (T * n * 2), tensor_get(c.logits[0], k));
            tensor *const loss = tensor_new(dtype_f64, 2, shape);
            poslabel_axis_loss_args args = args_of(&c);
            poslabel_tensor z = logits->t, g = grad->t, y = c.targets->t, by = c.grad_loss->t;
            const int64_t pairs[] = {B, T, 2};
            z.ndim = g.ndim = 4, z.shape = g.shape = shape, z.strides = g.strides = strides;
            y.ndim = 3, y.shape = pairs, y.strides = NULL;
            by.ndim = 2, by.shape = shape, by.strides = NULL;
            args.logits = &z, args.grad_logits = &g, args.targets = &y, args.grad_loss = &by, args.loss = &loss->t;
            expect_ok(levels[i], poslabel_axis_loss(levels[i], &args));
            check_answer(&c, 1e-5);
            expect_same_bits("loss", loss->t.data, c.loss->t.data, B * T, 8);
            for (int64_t k = 0; k < c.logits[0]->count; k++)
                assert_true(tensor_get(grad, k / (T * n * 2) * wide + k % (T * n * 2)) == tensor_get(c.grad[0], k));
            tensor_free(logits);
            tensor_free(grad);
            tensor_free(loss);
            case_free(&c);
        }
}

/* The gradient against differences of the loss, in float64. */
static void numerical_gradient(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++)
        for (int pair = 0; pair < 2; pair++) {
            axis_case c = case_new(kind, 4, 6, pair ? 9 : 0, dtype_f64, (layout){0}, POSLABEL_REDUCTION_MEAN, 21);
            add_weights(&c, 2, 3);
            c.grad_scale = 3;
            for (int i = 0; i < level_count; i++) {
                test_case_is("kind %d, pair %d, %s", kind, pair, name_of(levels[i]));
                expect_ok(levels[i], call(levels[i], &c));
                for (int a = 0; a < 1 + pair; a++)
                    for (int64_t k = 0; k < c.logits[a]->count; k++) {
                        const double at = tensor_get(c.logits[a], k), step = 1e-5;
                        const double got = tensor_get(c.grad[a], k);
                        tensor *const grad = c.grad[a];
                        double difference = 0;
                        for (int sign = -1; sign <= 1; sign += 2) {
                            poslabel_axis_loss_args args = args_of(&c);
                            args.grad_logits = args.grad_logits_y = args.grad_logits_x = NULL;
                            tensor_set(c.logits[a], k, at + sign * step);
                            expect_ok(levels[i], poslabel_axis_loss(levels[i], &args));
                            difference += sign * tensor_get(c.loss, 0) / (2 * step);
                        }
                        tensor_set(c.logits[a], k, at);
                        assert_ptr_equal(grad, c.grad[a]);
                        expect_close("gradient", got, 3 * difference, 1e-7 * (1 + fabs(got)));
                    }
            }
            case_free(&c);
        }
    test_case_is("%s", "");
}

/* ---- corners ---- */

/* Distributions that are nearly one class, the right one or another; and ones of two classes far apart. */
static void sharp_distributions(void **state)
{
    (void)state;
    static const double heights[] = {5, 10, 16, 20, 30, 60};
    for (int kind = 0; kind < 2; kind++)
        for (int h = 0; h < COUNT(heights); h++)
            for (int shape = 0; shape < 4; shape++) {
                axis_case c = case_new(kind, 40, 27, 0, dtype_f32, (layout){0}, POSLABEL_REDUCTION_NONE, 31);
                for (int64_t r = 0; r < c.rows; r++)
                    for (int a = 0; a < 2; a++) {
                        const int64_t y = (int64_t)tensor_get(c.targets, 2 * r + a);
                        const int64_t peaks[] = {y, (y + 1) % 27, (y + 13) % 27, (y + 26) % 27};
                        tensor_set(c.logits[0], index_of(&c, r, a, peaks[shape]), heights[h]);
                        if (shape == 3)
                            tensor_set(c.logits[0], index_of(&c, r, a, (y + 1) % 27), heights[h]);
                    }
                for (int i = 0; i < level_count; i++) {
                    test_case_is("kind %d, height %g, shape %d, %s", kind, heights[h], shape, name_of(levels[i]));
                    solve(levels[i], &c);
                }
                case_free(&c);
            }
    test_case_is("%s", "");
}

/* The largest finite logits, -inf where it is a class that is impossible. */
static void extreme_logits(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < level_count; i++)
            for (int d = 0; d < COUNT(dtypes); d++) {
                axis_case c = case_new(kind, 20, 9, 0, dtypes[d], (layout){0}, POSLABEL_REDUCTION_NONE, 41);
                const double huge = dtype_is(dtypes[d], dtype_f16) ? 65504 : 3e38;
                for (int64_t r = 0; r < c.rows; r++)
                    for (int64_t k = 0; k < 9; k++)
                        for (int a = 0; a < 2; a++) {
                            const bool is_target = k == (int64_t)tensor_get(c.targets, 2 * r + a);
                            tensor_set(c.logits[0], index_of(&c, r, a, k),
                                       is_target ? huge
                                       : k % 2   ? -huge
                                       : r % 2   ? -INFINITY
                                                 : 0);
                        }
                test_case_is("kind %d, %s, %s", kind, dtype_name(dtypes[d]), name_of(levels[i]));
                forget(&c);
                expect_ok(levels[i], call(levels[i], &c));
                for (int64_t r = 0; r < c.rows; r++)
                    expect_close("loss", tensor_get(c.loss, r), kind == CE ? 0 : 2 * 0.001 * log(1e-8), 1e-7);
                for (int64_t k = 0; k < c.grad[0]->count; k++)
                    expect_close("grad", tensor_get(c.grad[0], k), 0, 0);
                /* the target impossible, or all but: cross-entropy is infinite or huge, cycle-back as if it were not
                 * there */
                tensor_fill(c.logits[0], 1);
                for (int64_t r = 0; r < c.rows; r++)
                    for (int a = 0; a < 2; a++)
                        tensor_set(c.logits[0], index_of(&c, r, a, (int64_t)tensor_get(c.targets, 2 * r + a)),
                                   r % 2 ? -INFINITY : -huge);
                expect_ok(levels[i], call(levels[i], &c));
                for (int64_t r = 0; r < c.rows; r++) {
                    const double loss = tensor_get(c.loss, r);
                    if (kind == CE)
                        assert_true(r % 2 ? loss == INFINITY : fabs(loss - 2 * huge) < 0.01 * huge);
                    else
                        assert_true(isfinite(loss));
                }
                for (int64_t k = 0; k < c.grad[0]->count; k++)
                    assert_true(isfinite(tensor_get(c.grad[0], k)));
                case_free(&c);
            }
    test_case_is("%s", "");
}

/* NaN, an infinite maximum and ids out of range: nothing in rows that do not count; else the row is NaN, it alone. */
static void rows_that_do_not_count(void **state)
{
    (void)state;
    const double odd[] = {NAN, INFINITY};
    for (int kind = 0; kind < 2; kind++)
        for (int d = 0; d < COUNT(dtypes); d++)
            for (int i = 0; i < level_count; i++)
                for (int k = 0; k < 4; k++) {
                    axis_case c =
                        case_new(kind, 70, 7, k / 2 ? 5 : 0, dtypes[d], (layout){0}, POSLABEL_REDUCTION_NONE, 51);
                    test_case_is("kind %d, %s, %d, %s", kind, dtype_name(dtypes[d]), k, name_of(levels[i]));
                    add_weights(&c, 1, 5);
                    for (int64_t r = 0; r < c.rows; r++)
                        if (tensor_get(c.mask, r) == 0) {
                            tensor_set(c.logits[0], index_of(&c, r, 0, r % 7), odd[k % 2]);
                            tensor_set(c.targets, 2 * r + 1, r % 2 ? -1 : 7);
                        }
                    solve(levels[i], &c);
                    tensor_set(c.mask, 33, 1);
                    tensor_set(c.targets, 2 * 33 + 1, 1);
                    tensor_set(c.logits[0], index_of(&c, 33, 0, 3), odd[k % 2]);
                    expect_ok(levels[i], call(levels[i], &c));
                    for (int64_t r = 0; r < c.rows; r++)
                        assert_true(isnan(tensor_get(c.loss, r)) == (r == 33));
                    for (int64_t r = 0; r < c.rows; r++)
                        for (int64_t at = 0; at < 7; at++)
                            assert_true(isnan(tensor_get(c.grad[0], index_of(&c, r, 0, at))) == (r == 33));
                    case_free(&c);
                }
    test_case_is("%s", "");
}

/* The logits overwritten, each by its own gradient: the same bits as beside them. */
static void in_place(void **state)
{
    (void)state;
    for (int k = 0; k < 2 * 2 * 3 * COUNT(dtypes); k++)
        for (int i = 0; i < level_count; i++) {
            const poslabel_dtype dtype = dtypes[k / 12];
            const layout how = k / 4 % 3 == 1 ? (layout){.columns = true} : (layout){.row_padding = k / 4 % 3};
            axis_case c = case_new(k % 2, 37, 14, k / 2 % 2 ? 11 : 0, dtype, how, POSLABEL_REDUCTION_MEAN, 61);
            test_case_is("case %d, %s", k, name_of(levels[i]));
            add_weights(&c, 1, 6);
            expect_ok(levels[i], call(levels[i], &c));
            tensor *const want[2] = {c.grad[0], c.grad[1]};
            c.grad[0] = c.logits[0];
            c.grad[1] = c.logits[1];
            expect_ok(levels[i], call(levels[i], &c));
            for (int a = 0; a < 1 + c.pair; a++) {
                expect_same_tensor("grad", c.grad[a], want[a]);
                tensor_free(want[a]);
            }
            case_free(&c);
        }
    test_case_is("%s", "");
}

/* The two axes as slices of one tensor are read as what they are, and the layouts differ in no bit. */
static void layouts_give_the_same_bits(void **state)
{
    (void)state;
    enum { M = 75, n = 13 };
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < level_count; i++) {
            axis_case c = case_new(kind, M, n, 0, dtype_f32, (layout){0}, POSLABEL_REDUCTION_NONE, 71);
            axis_case columns =
                case_new(kind, M, n, 0, dtype_f32, (layout){.columns = true}, POSLABEL_REDUCTION_NONE, 71);
            axis_case pair = case_new(kind, M, n, n, dtype_f32, (layout){0}, POSLABEL_REDUCTION_NONE, 71);
            test_case_is("kind %d, %s", kind, name_of(levels[i]));
            for (int64_t k = 0; k < c.logits[0]->count; k++) {
                tensor_set(columns.logits[0], k, tensor_get(c.logits[0], k));
                tensor_set(pair.logits[k % 2], k / 2, tensor_get(c.logits[0], k));
            }
            for (int64_t k = 0; k < c.targets->count; k++) {
                tensor_set(columns.targets, k, tensor_get(c.targets, k));
                tensor_set(pair.targets, k, tensor_get(c.targets, k));
            }
            expect_ok(levels[i], call(levels[i], &c));
            expect_ok(levels[i], call(levels[i], &columns));
            expect_ok(levels[i], call(levels[i], &pair));
            expect_same_tensor("loss", columns.loss, c.loss);
            expect_same_tensor("loss", pair.loss, c.loss);
            double *const want = tensor_doubles(c.grad[0]);
            for (int64_t k = 0; k < c.logits[0]->count; k++) {
                assert_true(tensor_get(columns.grad[0], k) == want[k]);
                assert_true(tensor_get(pair.grad[k % 2], k / 2) == want[k]);
            }
            /* slices, with the gradient of y beside its logits and the other way round */
            const int64_t shape[] = {M, n}, strides[] = {2 * n, 2};
            poslabel_axis_loss_args args = args_of(&c);
            poslabel_tensor z[2], g[2];
            for (int a = 0; a < 2; a++) {
                z[a] = c.logits[0]->t, g[a] = c.grad[0]->t;
                z[a].ndim = g[a].ndim = 2, z[a].shape = g[a].shape = shape, z[a].strides = g[a].strides = strides;
                z[a].data = tensor_at(c.logits[0], a), g[a].data = tensor_at(c.grad[0], a);
            }
            forget(&c);
            args.logits = args.grad_logits = NULL;
            args.logits_y = &z[0], args.logits_x = &z[1], args.grad_logits_y = &g[0], args.grad_logits_x = &g[1];
            expect_ok(levels[i], poslabel_axis_loss(levels[i], &args));
            expect_near_doubles("grad", c.grad[0], want, 0);
            expect_same_tensor("loss", pair.loss, c.loss);
            free(want);
            case_free(&c);
            case_free(&columns);
            case_free(&pair);
        }
    test_case_is("%s", "");
}

/* Whatever the threads; and a row by itself, which is then in another lane beside other rows. */
static void same_bits(void **state)
{
    (void)state;
    const int threads[] = {1, 2, 3};
    for (int k = 0; k < 2 * COUNT(dtypes); k++)
        for (int i = 0; i < level_count; i++) {
            axis_case c = case_new(k % 2, 1500, 27, 0, dtypes[k / 2], (layout){0}, POSLABEL_REDUCTION_SUM, 81);
            axis_case first = c;
            add_weights(&c, 3, 7);
            for (int t = 0; t < COUNT(threads); t++) {
                poslabel_context *const context = context_new(poslabel_context_isa(levels[i]), threads[t]);
                test_case_is("case %d, %s, %d threads", k, name_of(levels[i]), threads[t]);
                if (t == 0) {
                    expect_ok(context, call(context, &c));
                    first.grad[0] = tensor_copy(c.grad[0], dtypes[k / 2], (layout){0});
                    first.loss = tensor_copy(c.loss, dtype_f64, (layout){0});
                    assert_true(poslabel_context_workspace(context) <= 8192 + 128 * (54 + 48) + 48 * 24);
                }
                forget(&c);
                expect_ok(context, call(context, &c));
                expect_same_tensor("grad", c.grad[0], first.grad[0]);
                expect_same_tensor("loss", c.loss, first.loss);
                poslabel_context_destroy(context);
            }
            for (int64_t r = 0; r < 40; r++) {
                const int64_t one[] = {1, 27, 2};
                poslabel_axis_loss_args args = args_of(&c);
                poslabel_tensor z = c.logits[0]->t, g = c.grad[0]->t, y = c.targets->t, m = c.mask->t, w = c.weights->t;
                z.shape = g.shape = m.shape = w.shape = one, y.shape = (int64_t[]){1, 2};
                z.data = tensor_at(c.logits[0], r * 54), g.data = tensor_at(c.grad[0], r * 54);
                y.data = tensor_at(c.targets, 2 * r), m.data = tensor_at(c.mask, r), w.data = tensor_at(c.weights, r);
                args.logits = &z, args.grad_logits = &g, args.targets = &y, args.mask = &m, args.weights = &w;
                memset(g.data, 0x11, 54 * dtype_size(dtypes[k / 2]));
                expect_ok(levels[i], poslabel_axis_loss(levels[i], &args));
            }
            expect_same_tensor("grad of single rows", c.grad[0], first.grad[0]);
            tensor_free(first.grad[0]);
            tensor_free(first.loss);
            case_free(&c);
        }
    test_case_is("%s", "");
}

static void what_may_be_left_out(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < level_count; i++) {
            axis_case c = case_new(kind, 9, 8, 0, dtype_f32, (layout){0}, POSLABEL_REDUCTION_MEAN, 91);
            tensor *const grad = c.grad[0], *const loss = c.loss, *const sum = c.weight_sum, *const flags = c.flags;
            c.grad[0] = NULL;
            solve(levels[i], &c);
            assert_true(tensor_is_untouched(grad));
            c.grad[0] = grad, c.loss = c.weight_sum = c.flags = NULL;
            solve(levels[i], &c);
            c.loss = loss, c.weight_sum = sum, c.flags = flags;
            c.mask = tensor_new(dtype_bool, 1, &c.rows); /* selects nothing */
            tensor_fill(c.mask, 0);
            solve(levels[i], &c);
            assert_true(tensor_get(c.loss, 0) == 0 && tensor_get(c.flags, 0) == POSLABEL_LOSS_EMPTY);
            case_free(&c);
            axis_case empty = case_new(kind, 0, 8, kind ? 5 : 0, dtype_f32, (layout){0}, POSLABEL_REDUCTION_MEAN, 92);
            expect_ok(levels[i], call(levels[i], &empty));
            assert_true(tensor_get(empty.loss, 0) == 0 && tensor_get(empty.flags, 0) == POSLABEL_LOSS_EMPTY);
            case_free(&empty);
        }
}

/* ---- errors ---- */

#define INVALID POSLABEL_ERROR_INVALID
#define REFUSED(change, status, ...)                                                                                   \
    do {                                                                                                               \
        poslabel_axis_loss_args args = args_of(&c);                                                                    \
        change;                                                                                                        \
        forget(&c);                                                                                                    \
        expect_error(context, poslabel_axis_loss(context, &args), (status), "axis_loss: ", __VA_ARGS__);               \
        if (!is_untouched(&c))                                                                                         \
            test_fail("%s: the call failed, but an output was written", #change);                                      \
    } while (0)

static void errors(void **state)
{
    (void)state;
    poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, 2);
    axis_case c = case_new(CE, 3, 7, 0, dtype_f32, (layout){0}, POSLABEL_REDUCTION_MEAN, 101);
    assert_int_equal(poslabel_axis_loss(NULL, NULL), INVALID);
    expect_error(context, poslabel_axis_loss(context, NULL), INVALID, "axis_loss: ", "args is NULL");
    REFUSED(args.struct_size = 5, INVALID, "struct_size = 5");
    REFUSED(args.kind = 2, INVALID, "kind = 2", "cross-entropy (0) or cycle-back (1)");
    REFUSED(args.kind = -1, INVALID, "kind = -1");
    REFUSED(args.reduction = 3, INVALID, "reduction = 3");
    REFUSED(args.grad_scale = NAN, INVALID, "grad_scale = ");
    REFUSED(args.logits = NULL, INVALID, "logits is NULL, must be given, or logits_y and logits_x");
    REFUSED(args.targets = NULL, INVALID, "targets is NULL, must be given");
    REFUSED(args.loss = args.grad_logits = NULL, INVALID, "loss and grad_logits are both NULL");
    REFUSED(args.logits_y = args.logits, INVALID, "logits and logits_y are both given");
    REFUSED(args.logits_x = args.logits, INVALID, "logits and logits_x are both given");
    REFUSED((args.logits_y = args.logits, args.logits = NULL), INVALID,
            "logits_x is NULL, must be given with logits_y");
    REFUSED((args.logits_x = args.logits, args.logits = NULL), INVALID,
            "logits_y is NULL, must be given with logits_x");
    REFUSED(args.grad_logits_y = args.grad_logits, INVALID, "grad_logits_y is given, must be NULL with logits");
    REFUSED(args.grad_logits_x = args.grad_logits, INVALID, "grad_logits_x is given, must be NULL with logits");

    tensor_set(c.targets, 3, 7);
    REFUSED((void)args, INVALID, "targets[1, 1] = 7", "[0, 7)");
    tensor_set(c.targets, 3, 0);
    tensor_set(c.targets, 4, -1);
    REFUSED((void)args, INVALID, "targets[2, 0] = -1", "[0, 7)");
    tensor_set(c.targets, 4, 0);

    const int64_t three[] = {3, 7, 3}, none[] = {3, 0, 2}, flat[] = {2}, two[] = {2, 2}, wide[] = {3, 3};
    poslabel_tensor z = c.logits[0]->t, y = c.targets->t, l = c.loss->t;
    z.strides = y.strides = NULL;
    z.shape = three;
    REFUSED(args.logits = &z, INVALID, "logits has shape [3, 7, 3]", "2]");
    z.shape = none;
    REFUSED((args.logits = &z, args.grad_logits = NULL), INVALID, "logits have 0 classes, must be 1 to 2^31 - 1");
    z.shape = flat, z.ndim = 1;
    REFUSED(args.logits = &z, INVALID, "logits has shape [2]");
    y.shape = two;
    REFUSED(args.targets = &y, INVALID, "targets has shape [2, 2]", "[3, 2]");
    y.shape = wide;
    REFUSED(args.targets = &y, INVALID, "targets has shape [3, 3]", "[3, 2]");
    l.ndim = 1, l.shape = three;
    REFUSED(args.loss = &l, INVALID, "loss has shape [3]");
    REFUSED(args.targets = args.logits, INVALID, "targets has dtype float32", "int32 or int64");
    REFUSED(args.logits = args.targets, INVALID, "logits has dtype int64");
    REFUSED(args.grad_logits = args.targets, INVALID, "grad_logits has dtype int64", "float32");

    z = c.logits[0]->t;
    z.data = (char *)z.data + 8;
    REFUSED(args.grad_logits = &z, INVALID, "grad_logits overlaps logits");
    case_free(&c);

    c = case_new(CBR, 3, 7, 5, dtype_f32, (layout){0}, POSLABEL_REDUCTION_MEAN, 103);
    REFUSED(args.grad_logits_x = NULL, INVALID, "grad_logits_x is NULL, must be given with grad_logits_y");
    REFUSED(args.grad_logits_y = NULL, INVALID, "grad_logits_y is NULL, must be given with grad_logits_x");
    REFUSED(args.grad_logits = args.grad_logits_y, INVALID, "grad_logits is given, must be NULL without logits");
    REFUSED(args.loss = args.grad_logits_y = args.grad_logits_x = NULL, INVALID,
            "loss and grad_logits_y are both NULL");
    tensor_set(c.targets, 1, 5);
    REFUSED((void)args, INVALID, "targets[0, 1] = 5", "[0, 5)");
    tensor_set(c.targets, 1, 4);
    tensor *const other = tensor_new(dtype_f16, 2, (int64_t[]){3, 5});
    tensor *const more = tensor_new(dtype_f32, 2, (int64_t[]){4, 5});
    tensor *const least = tensor_new(dtype_f32, 2, (int64_t[]){3, 0});
    REFUSED(args.logits_x = &other->t, INVALID, "logits_x has dtype float16", "float32");
    REFUSED(args.logits_x = &more->t, INVALID, "logits_x has shape [4, 5]", "[3, *]");
    REFUSED(args.grad_logits_x = &more->t, INVALID, "grad_logits_x has shape [4, 5]", "[3, 5]");
    REFUSED((args.logits_x = args.grad_logits_x = &least->t), INVALID, "logits_x have 0 classes");
    REFUSED((args.logits_y = args.grad_logits_y = &least->t), INVALID, "logits_y have 0 classes");
    z = c.logits[0]->t;
    z.shape = (int64_t[]){3, 5}, z.strides = NULL;
    REFUSED(args.grad_logits_x = &z, INVALID, "grad_logits_x overlaps logits_y");
    tensor_free(other);
    tensor_free(more);
    tensor_free(least);
    solve(context, &c);
    case_free(&c);
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_vectors),
        cmocka_unit_test(every_level),
        cmocka_unit_test(leading_dimensions),
        cmocka_unit_test(numerical_gradient),
        cmocka_unit_test(sharp_distributions),
        cmocka_unit_test(extreme_logits),
        cmocka_unit_test(rows_that_do_not_count),
        cmocka_unit_test(in_place),
        cmocka_unit_test(layouts_give_the_same_bits),
        cmocka_unit_test(same_bits),
        cmocka_unit_test(what_may_be_left_out),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests_name("axis", tests, open_levels, close_levels);
}
