/*
 * The gradients against differences of the losses, in float64.
 *
 * The only thing that is asked here is whether the gradient that a call writes is that of the loss that it writes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

/* The objective whose gradient is wanted: grad_scale * grad_loss . loss. */
static double objective(poslabel_context *context, const loss_case *c)
{
    loss_case only = *c;
    only.grad = NULL;
    expect_ok(context, loss_call(context, &only));
    double sum = 0;
    for (int64_t r = 0; r < c->loss->count; r++)
        sum += tensor_get(c->loss, r) * (c->grad_loss ? tensor_get(c->grad_loss, c->grad_loss->count > 1 ? r : 0) : 1);
    return sum * c->grad_scale;
}

static void check_gradient(poslabel_context *context, loss_case *c)
{
    const double step = 1e-5;
    const int64_t stride = test_on_emulation() ? 11 : 1; /* where each call takes milliseconds */
    static int64_t first;
    first = (first + 1) % stride;
    double *want = malloc(sizeof *want * (size_t)c->logits->count);
    if (c->confidence_filter) {
        /* the gradient does not see that a row may enter or leave: stay clear of the threshold */
        loss_answer answer = loss_solve(c);
        assert_true(answer.margin > 1e-3);
        loss_answer_free(&answer);
    }
    for (int64_t i = first; i < c->logits->count; i += stride) {
        const double z = tensor_get(c->logits, i);
        tensor_set(c->logits, i, z + step);
        const double above = objective(context, c);
        tensor_set(c->logits, i, z - step);
        const double below = objective(context, c);
        tensor_set(c->logits, i, z);
        want[i] = (above - below) / (2 * step);
    }
    loss_case_forget_outputs(c);
    expect_ok(context, loss_call(context, c));
    for (int64_t i = 0; i < c->logits->count; i++)
        if (i % stride != first)
            want[i] = tensor_get(c->grad, i); /* not asked for */
    expect_near_doubles("grad", c->grad, want, 1e-8);
    free(want);
}

/* What is varied besides the kind of target. */
typedef struct variant {
    int reduction;
    bool mask, weights, normalizer, grad_loss, row_grad_loss;
    double grad_scale;
} variant;

static const variant variants[] = {
    {.reduction = POSLABEL_REDUCTION_MEAN, .grad_scale = 1},
    {.reduction = POSLABEL_REDUCTION_MEAN, .grad_scale = 1, .weights = true},
    {.reduction = POSLABEL_REDUCTION_MEAN, .grad_scale = 1, .mask = true},
    {.reduction = POSLABEL_REDUCTION_MEAN, .grad_scale = -2.5, .mask = true, .weights = true, .grad_loss = true},
    {.reduction = POSLABEL_REDUCTION_MEAN, .grad_scale = 1, .weights = true, .normalizer = true},
    {.reduction = POSLABEL_REDUCTION_SUM, .grad_scale = 1},
    {.reduction = POSLABEL_REDUCTION_SUM, .grad_scale = 3, .mask = true, .weights = true, .grad_loss = true},
    {.reduction = POSLABEL_REDUCTION_SUM, .grad_scale = 1, .weights = true, .normalizer = true},
    {.reduction = POSLABEL_REDUCTION_NONE, .grad_scale = 1},
    {.reduction = POSLABEL_REDUCTION_NONE, .grad_scale = 0.5, .weights = true, .grad_loss = true},
    {.reduction = POSLABEL_REDUCTION_NONE, .grad_scale = -1, .mask = true, .weights = true, .row_grad_loss = true},
};

static loss_case make(loss_kind kind, poslabel_grid grid, int rank, const int64_t *leading, const variant *v)
{
    loss_case c = loss_case_new(kind, grid, dtype_f64, rank, leading, (layout){0}, v->reduction, 31);
    c.grad_scale = v->grad_scale;
    if (v->mask) {
        loss_case_add_mask(&c, dtype_bool, 32);
        tensor_set(c.mask, 0, 1);
    }
    if (v->weights) {
        loss_case_add_weights(&c, dtype_f64, 33);
        tensor_set(c.weights, 0, 0.7);
    }
    if (v->normalizer)
        c.normalizer = tensor_scalar(dtype_f64, 5.5);
    if (v->grad_loss)
        c.grad_loss = tensor_scalar(dtype_f64, 1.75);
    if (v->row_grad_loss) {
        c.grad_loss = tensor_new(dtype_f64, rank, leading);
        tensor_fill_normal(c.grad_loss, 34, 1);
    }
    return c;
}

static void check_position(loss_kind kind, poslabel_grid grid, int rank, const int64_t *leading)
{
    static const double smoothings[] = {0, 0.1, 1};
    poslabel_context *context = context_default();
    for (int v = 0; v < COUNT(variants); v++)
        for (int s = 0; s < COUNT(smoothings); s++) {
            loss_case c = make(kind, grid, rank, leading, &variants[v]);
            c.label_smoothing = smoothings[s];
            if (kind == LOSS_EXPLICIT)
                tensor_set(c.positions, 1, c.ignore_index);
            test_case_is("%s labels, variant %d, smoothing %g", loss_kind_names[kind], v, smoothings[s]);
            check_gradient(context, &c);
            loss_case_free(&c);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

static void absolute_labels(void **state)
{
    (void)state;
    check_position(LOSS_ABSOLUTE, (poslabel_grid){2, 3}, 2, (int64_t[]){2, 6});
}

static void relative_labels(void **state)
{
    (void)state;
    check_position(LOSS_RELATIVE, (poslabel_grid){2, 2}, 3, (int64_t[]){1, 4, 4});
}

static void explicit_labels(void **state)
{
    (void)state;
    check_position(LOSS_EXPLICIT, (poslabel_grid){1, 7}, 2, (int64_t[]){2, 3});
}

static void droppos(void **state)
{
    (void)state;
    static const double sigmas[] = {0, 0.6, 1, 2.5};
    poslabel_context *context = context_default();
    for (int v = 0; v < COUNT(variants); v++)
        for (int s = 0; s < COUNT(sigmas); s++)
            for (int normalization = 0; normalization < 2; normalization++)
                for (int filter = 0; filter < 2; filter++) {
                    if (filter && sigmas[s] == 0)
                        continue; /* p < 1 whatever the logits: rounding alone decides, as test_droppos.c shows */
                    loss_case c = make(LOSS_DROPPOS, (poslabel_grid){3, 4}, 2, (int64_t[]){2, 3}, &variants[v]);
                    c.sigma = sigmas[s];
                    c.normalization = normalization;
                    c.confidence_filter = filter;
                    for (int64_t r = 1; filter && r < 6; r += 2) /* some rows are sure of their position */
                        tensor_set(c.logits, r * 12 + (int64_t)tensor_get(c.positions, r), 25);
                    test_case_is("variant %d, sigma %g, normalization %d, filter %d", v, sigmas[s], normalization,
                                 filter);
                    check_gradient(context, &c);
                    loss_case_free(&c);
                }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absolute_labels),
        cmocka_unit_test(relative_labels),
        cmocka_unit_test(explicit_labels),
        cmocka_unit_test(droppos),
    };
    return cmocka_run_group_tests_name("gradient", tests, NULL, NULL);
}
