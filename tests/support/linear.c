/*
 * The linear head with its loss, and its definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/linear.h"

head head_new(loss_kind kind, poslabel_grid grid, poslabel_dtype dtype, poslabel_dtype parameters, int rank,
              const int64_t *leading, int64_t channels, layout how, int reduction, uint64_t seed)
{
    head h = {.channels = channels};
    h.loss = loss_case_new(kind, grid, dtype_f64, rank, leading, (layout){0}, reduction, seed);
    const int64_t classes = loss_classes(&h.loss), matrix[] = {classes, channels};
    int64_t shape[TENSOR_MAX_RANK];
    memcpy(shape, leading, (size_t)rank * sizeof *shape);
    shape[rank] = channels;
    h.features = tensor_laid_out(dtype, rank + 1, shape, how);
    h.grad_features = tensor_laid_out(dtype, rank + 1, shape, how);
    h.weight = tensor_laid_out(dtype, 2, matrix, how);
    h.grad_weight = tensor_laid_out(parameters, 2, matrix, how);
    h.bias = tensor_new(parameters, 1, &classes);
    h.grad_bias = tensor_new(parameters, 1, &classes);
    tensor_fill_normal(h.features, seed + 1, 1);
    tensor_fill_normal(h.weight, seed + 2, 2 / sqrt((double)channels));
    tensor_fill_normal(h.bias, seed + 3, 1);
    return h;
}

void head_free(head *h)
{
    tensor *const all[] = {h->features, h->weight, h->bias, h->grad_features, h->grad_weight, h->grad_bias};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
    loss_case_free(&h->loss);
}

poslabel_linear_position_loss_args head_args(const head *h)
{
    const poslabel_position_cross_entropy_args loss = position_args(&h->loss);
    poslabel_linear_position_loss_args args = POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT;
    args.grid = loss.grid;
    args.labels = loss.labels;
    args.reduction = loss.reduction;
    args.accumulate = h->accumulate;
    args.features = tensor_of(h->features);
    args.weight = tensor_of(h->weight);
    args.bias = tensor_of(h->bias);
    args.positions = loss.positions;
    args.mask = loss.mask;
    args.weights = loss.weights;
    args.ignore_index = loss.ignore_index;
    args.label_smoothing = loss.label_smoothing;
    args.grad_scale = loss.grad_scale;
    args.grad_loss = loss.grad_loss;
    args.normalizer = loss.normalizer;
    args.workspace_limit = h->limit;
    args.loss = loss.loss;
    args.grad_features = tensor_of(h->grad_features);
    args.grad_weight = tensor_of(h->grad_weight);
    args.grad_bias = tensor_of(h->grad_bias);
    args.accuracy = loss.accuracy;
    args.weight_sum = loss.weight_sum;
    args.flags = loss.flags;
    return args;
}

poslabel_status head_call(poslabel_context *context, const head *h)
{
    const poslabel_linear_position_loss_args args = head_args(h);
    return poslabel_linear_position_loss(context, &args);
}

const head_variant head_variants[HEAD_VARIANTS] = {
    {.kind = LOSS_ABSOLUTE, .grad_scale = 1},
    {.kind = LOSS_ABSOLUTE, .weights = true, .grad_scale = -2, .smoothing = 0.1},
    {.kind = LOSS_ABSOLUTE, .mask = true, .reduction = POSLABEL_REDUCTION_SUM, .grad_scale = 1, .no_bias = true},
    {.kind = LOSS_RELATIVE, .grad_scale = 1, .reduction = POSLABEL_REDUCTION_SUM},
    {.kind = LOSS_RELATIVE, .grad_scale = 1, .mask = true, .weights = true, .grad_loss = true},
    {.kind = LOSS_RELATIVE, .grad_scale = 1, .normalizer = true},
    {.kind = LOSS_EXPLICIT, .grad_scale = 1},
    {.kind = LOSS_EXPLICIT, .grad_scale = 3, .ignored = true, .weights = true, .no_bias = true},
    {.kind = LOSS_EXPLICIT, .grad_scale = 1, .reduction = POSLABEL_REDUCTION_NONE, .mask = true},
    {.kind = LOSS_EXPLICIT, .grad_scale = 1, .reduction = POSLABEL_REDUCTION_NONE, .row_grad_loss = true},
    {.kind = LOSS_ABSOLUTE, .grad_scale = 1, .reduction = POSLABEL_REDUCTION_NONE, .row_grad_loss = true, .mask = true},
};

head head_of_variant(const head_variant *v, poslabel_dtype dtype, poslabel_dtype parameters, layout how, uint64_t seed)
{
    static const int64_t leading[] = {2, 36};
    head h = head_new(v->kind, (poslabel_grid){2, 3}, dtype, parameters, v->kind == LOSS_ABSOLUTE ? 1 : 2,
                      v->kind == LOSS_ABSOLUTE ? (int64_t[]){72} : leading, 21, how, v->reduction, seed);
    h.loss.label_smoothing = v->smoothing;
    h.loss.grad_scale = v->grad_scale;
    if (v->mask) {
        loss_case_add_mask(&h.loss, dtype_bool, seed + 4);
        tensor_set(h.loss.mask, 3, 1);
    }
    if (v->weights)
        loss_case_add_weights(&h.loss, dtype_f32, seed + 5);
    if (v->normalizer)
        h.loss.normalizer = tensor_scalar(dtype_f64, 17.5);
    if (v->grad_loss)
        h.loss.grad_loss = tensor_scalar(dtype_f32, 0.75);
    if (v->row_grad_loss) {
        h.loss.grad_loss = tensor_new(dtype_f64, h.features->t.ndim - 1, h.features->shape);
        tensor_fill_normal(h.loss.grad_loss, seed + 6, 1);
    }
    for (int64_t r = 0; v->ignored && r < 72; r += 5)
        tensor_set(h.loss.positions, r, -100);
    if (v->no_bias) {
        tensor_free(h.bias);
        h.bias = NULL;
    }
    return h;
}

static void outputs_of(const head *h, tensor *outputs[HEAD_OUTPUTS])
{
    tensor *const all[HEAD_OUTPUTS] = {h->loss.loss,     h->grad_features,   h->grad_weight, h->grad_bias,
                                       h->loss.accuracy, h->loss.weight_sum, h->loss.flags};
    memcpy(outputs, all, sizeof all);
}

void head_forget_outputs(const head *h)
{
    tensor *outputs[HEAD_OUTPUTS];
    outputs_of(h, outputs);
    for (int i = 0; i < HEAD_OUTPUTS; i++)
        if (outputs[i])
            tensor_forget(outputs[i]);
}

bool head_outputs_untouched(const head *h)
{
    tensor *outputs[HEAD_OUTPUTS];
    outputs_of(h, outputs);
    for (int i = 0; i < HEAD_OUTPUTS; i++)
        if (outputs[i] && !tensor_is_untouched(outputs[i]))
            return false;
    return true;
}

void head_copy_outputs(const head *h, tensor *copies[HEAD_OUTPUTS])
{
    outputs_of(h, copies);
    for (int i = 0; i < HEAD_OUTPUTS; i++)
        if (copies[i])
            copies[i] = tensor_copy(copies[i], copies[i]->t.dtype, (layout){0});
}

void expect_same_outputs_at(const char *file, int line, const head *h, tensor *const want[HEAD_OUTPUTS])
{
    static const char *const names[HEAD_OUTPUTS] = {"loss",     "grad_features", "grad_weight", "grad_bias",
                                                    "accuracy", "weight_sum",    "flags"};
    tensor *got[HEAD_OUTPUTS];
    outputs_of(h, got);
    for (int i = 0; i < HEAD_OUTPUTS; i++)
        if (got[i])
            expect_same_tensor_at(file, line, names[i], got[i], want[i]);
}

void head_free_copies(tensor *copies[HEAD_OUTPUTS])
{
    for (int i = 0; i < HEAD_OUTPUTS; i++)
        tensor_free(copies[i]);
}

head_answer head_solve(head *h)
{
    const int64_t rows = loss_rows(&h->loss), classes = loss_classes(&h->loss), d = h->channels;
    double *const x = tensor_doubles(h->features), *const w = tensor_doubles(h->weight);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < classes; c++) {
            long double z = h->bias ? tensor_get(h->bias, c) : 0;
            for (int64_t i = 0; i < d; i++)
                z += (long double)x[r * d + i] * w[c * d + i];
            tensor_set(h->loss.logits, r * classes + c, (double)z);
        }
    head_answer a = {.loss = loss_solve(&h->loss)};
    a.grad_features = calloc((size_t)(rows * d) + 1, sizeof(double));
    a.grad_weight = calloc((size_t)(classes * d), sizeof(double));
    a.grad_bias = calloc((size_t)classes, sizeof(double));
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < classes && a.loss.row_weight[r] != 0; c++) {
            const double g = a.loss.grad[r * classes + c];
            a.grad_bias[c] += g;
            for (int64_t i = 0; i < d; i++) {
                a.grad_features[r * d + i] += g * w[c * d + i];
                a.grad_weight[c * d + i] += g * x[r * d + i];
            }
        }
    free(x);
    free(w);
    return a;
}

void head_answer_free(head_answer *a)
{
    loss_answer_free(&a->loss);
    free(a->grad_features);
    free(a->grad_weight);
    free(a->grad_bias);
}

/* Errors of float32 sums, or float64, and one rounding to the dtype of the output. */
static void check_gradient(const char *file, int line, const char *what, const tensor *got, const double *want,
                           poslabel_dtype arithmetic)
{
    const bool is_short = dtype_is(arithmetic, dtype_f16) || dtype_is(arithmetic, dtype_bf16);
    /* on CUDA the products are those of 16-bit gradients of logits */
    const double factors = is_short && test_on_cuda() ? dtype_epsilon(arithmetic) : 0;
    const double sums = dtype_is(arithmetic, dtype_f64) ? 1e-12 : 2e-5 + factors;
    if (!got)
        return;
    tensor_check_at(file, line, got);
    expect_near_doubles_at(file, line, what, got, want, sums + dtype_epsilon(got->t.dtype) / 2 * (1 + sums));
}

void expect_head_at(const char *file, int line, const head *h, const head_answer *a)
{
    loss_case scalars = h->loss;
    const poslabel_dtype dtype = h->features->t.dtype;
    const int64_t rows = a->loss.rows, d = h->channels;
    scalars.grad = NULL;
    expect_answer_at(file, line, &scalars, &a->loss, dtype_is(dtype, dtype_f64) ? 1e-12 : 1e-5);
    check_gradient(file, line, "grad_features", h->grad_features, a->grad_features, dtype);
    check_gradient(file, line, "grad_weight", h->grad_weight, a->grad_weight, dtype);
    check_gradient(file, line, "grad_bias", h->grad_bias, a->grad_bias, dtype);
    for (int64_t r = 0; h->grad_features && r < rows; r++)
        for (int64_t i = 0; i < d && a->loss.row_weight[r] == 0; i++)
            if (tensor_get(h->grad_features, r * d + i) != 0)
                test_fail_at(file, line, "row %lld has weight 0 and a gradient of %g", (long long)r,
                             tensor_get(h->grad_features, r * d + i));
}

uint64_t head_least_limit(poslabel_context *context, head *h)
{
    static const char text[] = "must be at least ";
    const uint64_t was = h->limit;
    h->limit = 1;
    expect_error(context, head_call(context, h), POSLABEL_ERROR_INVALID,
                 "linear_position_loss: ", "workspace_limit = 1, ", text);
    h->limit = was;
    return strtoull(strstr(poslabel_context_message(context), text) + strlen(text), NULL, 10);
}
