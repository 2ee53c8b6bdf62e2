/*
 * The definition of the losses, as plainly as possible.
 *
 * Written from the public headers, in long double and with dense targets, and sharing nothing with the library.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

/* exp(-d^2 / sigma^2) of the distance between two positions. */
static long double gaussian(const loss_case *c, int64_t i, int64_t j)
{
    const int64_t w = c->grid.width, dy = i / w - j / w, dx = i % w - j % w;
    if (c->sigma == 0)
        return i == j;
    return expl(-(long double)(dy * dy + dx * dx) / ((long double)c->sigma * c->sigma));
}

/* The sum over all positions; it is that over the rows times that over the columns of the grid. */
static long double gaussian_sum(const loss_case *c, int64_t i)
{
    const int64_t w = c->grid.width;
    long double down = 0, across = 0;
    for (int64_t y = 0; y < c->grid.height; y++)
        down += gaussian(c, i, y * w + i % w);
    for (int64_t x = 0; x < w; x++)
        across += gaussian(c, i, i / w * w + x);
    return down * across;
}

/* The targets of a row, `classes` of them; gives the label. */
static int64_t targets(const loss_case *c, int64_t r, int64_t classes, const long double *sums, long double *t)
{
    const int64_t w = c->grid.width, n = (int64_t)c->grid.height * w;
    int64_t label;
    if (c->kind == LOSS_ABSOLUTE) {
        label = r % n;
    } else if (c->kind == LOSS_RELATIVE) {
        const int64_t i = r / n % n, j = r % n;
        label = (i / w - j / w + c->grid.height - 1) * (2 * w - 1) + (i % w - j % w + w - 1);
    } else {
        label = (int64_t)tensor_get(c->positions, r);
    }
    for (int64_t k = 0; k < classes; k++) {
        if (c->kind == LOSS_DROPPOS)
            t[k] = gaussian(c, label, k) / sums[c->normalization == POSLABEL_NORMALIZATION_ROW ? label : k];
        else
            t[k] = c->label_smoothing / (long double)classes + (k == label ? 1 - (long double)c->label_smoothing : 0);
    }
    return label;
}

static double weight_of(const loss_case *c, int64_t r)
{
    if (c->mask && tensor_get(c->mask, r) == 0)
        return 0;
    if (c->kind == LOSS_EXPLICIT && tensor_get(c->positions, r) == (double)c->ignore_index)
        return 0;
    return c->weights ? tensor_get(c->weights, r) : 1;
}

/* Softmax of a row into p, and its loss.  NaN in, or an infinite maximum: NaN out, by the arithmetic itself. */
static long double row_loss(const double *z, int64_t classes, const long double *t, long double *p)
{
    long double max = -INFINITY, sum = 0, loss = 0;
    for (int64_t k = 0; k < classes; k++)
        max = isnan(z[k]) || z[k] > max ? z[k] : max;
    for (int64_t k = 0; k < classes; k++)
        sum += p[k] = expl(z[k] - max);
    for (int64_t k = 0; k < classes; k++) {
        p[k] /= sum;
        if (t[k] != 0 || isnan(p[k]))
            loss -= t[k] * (z[k] - max - logl(sum));
    }
    return loss;
}

loss_answer loss_solve(const loss_case *c)
{
    const int64_t rows = loss_rows(c), classes = loss_classes(c);
    loss_answer a = {.rows = rows, .classes = classes, .margin = INFINITY};
    a.row_weight = calloc((size_t)rows + 1, sizeof(double));
    a.row_loss = calloc((size_t)rows + 1, sizeof(double));
    a.grad = calloc((size_t)(rows * classes) + 1, sizeof(double));
    double *z = malloc(sizeof(double) * (size_t)classes);
    bool *correct = calloc((size_t)rows + 1, 1);
    long double *t = malloc(sizeof *t * (size_t)classes), *p = malloc(sizeof *p * (size_t)classes);
    long double *sums = malloc(sizeof *sums * (size_t)classes),
                *slopes = malloc(sizeof *slopes * (size_t)(rows * classes + 1));
    for (int64_t k = 0; k < classes; k++)
        sums[k] = c->kind == LOSS_DROPPOS ? gaussian_sum(c, k) : 0;

    long double loss = 0, weight = 0, right = 0;
    for (int64_t r = 0; r < rows; r++) {
        double w = weight_of(c, r);
        if (w == 0)
            continue;
        for (int64_t k = 0; k < classes; k++)
            z[k] = tensor_get(c->logits, r * classes + k);
        const int64_t label = targets(c, r, classes, sums, t);
        const long double l = row_loss(z, classes, t, p);
        if (c->confidence_filter) {
            const double margin = (double)fabsl(p[label] - t[label]);
            a.margin = margin < a.margin ? margin : a.margin;
            if (p[label] >= t[label])
                continue;
        }
        long double total = 0;
        int64_t argmax = -1;
        double max = -INFINITY;
        bool has_nan = false;
        for (int64_t k = 0; k < classes; k++) {
            total += t[k];
            has_nan = has_nan || isnan(p[k]);
            if (z[k] > max)
                max = z[k], argmax = k;
        }
        for (int64_t k = 0; k < classes; k++)
            slopes[r * classes + k] = p[k] * total - t[k];
        correct[r] = !has_nan && argmax == label;
        a.row_weight[r] = w;
        a.row_loss[r] = (double)(w * l);
        loss += w * l;
        weight += w;
        right += correct[r] ? w : 0;
    }

    const bool mean = c->reduction == POSLABEL_REDUCTION_MEAN, none = c->reduction == POSLABEL_REDUCTION_NONE;
    const long double norm = c->normalizer ? tensor_get(c->normalizer, 0) : weight;
    const bool empty = norm == 0;
    for (int64_t r = 0; r < rows; r++) {
        long double g = c->grad_scale;
        if (c->grad_loss)
            g *= tensor_get(c->grad_loss, none && c->grad_loss->count > 1 ? r : 0);
        if (mean)
            g = empty ? 0 : g / norm;
        for (int64_t k = 0; k < classes && a.row_weight[r] != 0; k++)
            a.grad[r * classes + k] = mean && empty ? 0 : (double)(g * a.row_weight[r] * slopes[r * classes + k]);
    }
    a.loss = (double)(mean ? (empty ? 0 : loss / norm) : loss);
    a.accuracy = (double)(empty ? 0 : right / norm);
    a.weight_sum = (double)weight;
    a.flags = empty ? POSLABEL_LOSS_EMPTY : 0;
    free(z);
    free(correct);
    free(t);
    free(p);
    free(sums);
    free(slopes);
    return a;
}

void loss_answer_free(loss_answer *a)
{
    free(a->row_weight);
    free(a->row_loss);
    free(a->grad);
    *a = (loss_answer){0};
}

double loss_tolerance(poslabel_dtype dtype)
{
    return dtype_is(dtype, dtype_f64) ? 1e-12 : 1e-5;
}

/* A gradient in half precision: between the roundings of the ends of the interval that the arithmetic may miss by. */
static void check_half(const char *file, int line, const loss_case *c, const loss_answer *a, double tolerance)
{
    const poslabel_dtype dtype = c->grad->t.dtype;
    double largest = 0;
    for (int64_t i = 0; i < c->grad->count; i++)
        if (isfinite(a->grad[i]))
            largest = fmax(largest, fabs(a->grad[i]));
    for (int64_t i = 0; i < c->grad->count; i++) {
        const double got = tensor_get(c->grad, i), slack = tolerance * largest;
        if (fabs(got - a->grad[i]) <= slack)
            continue; /* `got` is a half, and rounding keeps the order: it lies between the two below */
        const double low = number_round(dtype, a->grad[i] - slack), high = number_round(dtype, a->grad[i] + slack);
        if (isnan(a->grad[i]) ? !isnan(got) : !(got >= low && got <= high))
            test_fail_at(file, line, "grad[%lld]: got %.9g, want %.9g, which rounds to %.9g .. %.9g", (long long)i, got,
                         a->grad[i], low, high);
    }
}

static void check_scalar(const char *file, int line, const char *what, const tensor *got, double want, double tolerance)
{
    if (!got)
        return;
    /* a float32 output rounds once more; what is too large for it is infinite */
    const double stored = number_round(got->t.dtype, want);
    const double slack = fmax(tolerance, dtype_epsilon(got->t.dtype));
    expect_near_at(file, line, what, &(double){tensor_get(got, 0)}, &stored, 1, slack, fabs(want) < 1e-6 ? 1e-6 : 0);
}

void expect_answer_at(const char *file, int line, const loss_case *c, const loss_answer *a, double tolerance)
{
    if (c->loss && c->reduction == POSLABEL_REDUCTION_NONE) {
        double *got = tensor_doubles(c->loss);
        expect_near_at(file, line, "row losses", got, a->row_loss, (size_t)a->rows,
                       fmax(tolerance, dtype_epsilon(c->loss->t.dtype)), 1e-6);
        for (int64_t r = 0; r < a->rows; r++)
            if (a->row_weight[r] == 0 && got[r] != 0)
                test_fail_at(file, line, "row %lld has weight 0 and a loss of %g", (long long)r, got[r]);
        free(got);
    } else {
        check_scalar(file, line, "loss", c->loss, a->loss, tolerance);
    }
    check_scalar(file, line, "accuracy", c->accuracy, a->accuracy, 1e-6);
    check_scalar(file, line, "weight_sum", c->weight_sum, a->weight_sum, 1e-12);
    if (c->flags && tensor_get(c->flags, 0) != a->flags)
        test_fail_at(file, line, "flags: got %g, want %d", tensor_get(c->flags, 0), a->flags);
    if (!c->grad)
        return;
    if (dtype_size(c->grad->t.dtype) == 2) {
        check_half(file, line, c, a, tolerance);
    } else {
        double *got = tensor_doubles(c->grad);
        expect_near_at(file, line, "grad", got, a->grad, (size_t)c->grad->count, tolerance, 0);
        free(got);
    }
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t k = 0; k < a->classes && a->row_weight[r] == 0; k++)
            if (tensor_get(c->grad, r * a->classes + k) != 0)
                test_fail_at(file, line, "row %lld has weight 0 and a gradient of %g", (long long)r,
                             tensor_get(c->grad, r * a->classes + k));
}

void expect_solved(poslabel_context *context, loss_case *c)
{
    loss_answer answer = loss_solve(c);
    loss_case_forget_outputs(c);
    expect_ok(context, loss_call(context, c));
    expect_answer(c, &answer, loss_tolerance(c->logits->t.dtype));
    loss_answer_free(&answer);
}
