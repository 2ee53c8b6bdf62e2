/*
 * One description for all losses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

const char *const loss_kind_names[LOSS_KINDS] = {"absolute", "relative", "explicit", "droppos"};

int64_t loss_classes(const loss_case *c)
{
    return c->logits->shape[c->logits->t.ndim - 1];
}

int64_t loss_rows(const loss_case *c)
{
    int64_t rows = 1;
    for (int i = 0; i + 1 < c->logits->t.ndim; i++)
        rows *= c->logits->shape[i];
    return rows;
}

poslabel_grid grid_of(int64_t classes)
{
    int64_t height = 1;
    for (int64_t h = 1; h * h <= classes; h++)
        if (classes % h == 0)
            height = h;
    return (poslabel_grid){(int32_t)height, (int32_t)(classes / height)};
}

loss_case loss_case_new(loss_kind kind, poslabel_grid grid, poslabel_dtype dtype, int rank, const int64_t *leading,
                        layout how, int reduction, uint64_t seed)
{
    loss_case c = {.kind = kind, .grid = grid, .reduction = reduction, .ignore_index = -100, .grad_scale = 1};
    const int64_t h = grid.height, w = grid.width;
    const int64_t classes = kind == LOSS_RELATIVE ? (2 * h - 1) * (2 * w - 1) : h * w;
    int64_t shape[TENSOR_MAX_RANK];
    memcpy(shape, leading, (size_t)rank * sizeof *shape);
    shape[rank] = classes;
    c.logits = tensor_laid_out(dtype, rank + 1, shape, how);
    tensor_fill_normal(c.logits, seed, 3);
    if (kind == LOSS_EXPLICIT || kind == LOSS_DROPPOS) {
        c.positions = tensor_new(dtype_i64, rank, leading);
        tensor_fill_below(c.positions, seed + 1, classes);
    }
    c.loss =
        reduction == POSLABEL_REDUCTION_NONE ? tensor_new(dtype_f64, rank, leading) : tensor_new(dtype_f64, 0, NULL);
    c.grad = tensor_laid_out(dtype, rank + 1, shape, how);
    c.accuracy = tensor_new(dtype_f64, 0, NULL);
    c.weight_sum = tensor_new(dtype_f64, 0, NULL);
    c.flags = tensor_new(dtype_i32, 0, NULL);
    return c;
}

void loss_case_add_mask(loss_case *c, poslabel_dtype dtype, uint64_t seed)
{
    c->mask = tensor_new(dtype, c->logits->t.ndim - 1, c->logits->shape);
    tensor_fill_below(c->mask, seed, 2);
}

void loss_case_add_weights(loss_case *c, poslabel_dtype dtype, uint64_t seed)
{
    rng r = {seed};
    c->weights = tensor_new(dtype, c->logits->t.ndim - 1, c->logits->shape);
    for (int64_t i = 0; i < c->weights->count; i++)
        tensor_set(c->weights, i, rng_below(&r, 5) ? rng_between(&r, 0, 2) : 0);
}

void loss_case_free(loss_case *c)
{
    if (c->grad != c->logits)
        tensor_free(c->grad);
    tensor *const others[] = {c->logits,     c->positions, c->mask,     c->weights,    c->grad_loss,
                              c->normalizer, c->loss,      c->accuracy, c->weight_sum, c->flags,
                              c->sigma_scalar};
    for (int i = 0; i < COUNT(others); i++)
        tensor_free(others[i]);
    *c = (loss_case){0};
}

void loss_case_forget_outputs(loss_case *c)
{
    tensor *const outputs[] = {c->grad == c->logits ? NULL : c->grad, c->loss, c->accuracy, c->weight_sum, c->flags};
    for (int i = 0; i < COUNT(outputs); i++)
        if (outputs[i])
            tensor_forget(outputs[i]);
}

bool loss_case_outputs_untouched(const loss_case *c)
{
    const tensor *const outputs[] = {c->grad == c->logits ? NULL : c->grad, c->loss, c->accuracy, c->weight_sum,
                                     c->flags};
    for (int i = 0; i < COUNT(outputs); i++)
        if (outputs[i] && !tensor_is_untouched(outputs[i]))
            return false;
    return true;
}

poslabel_droppos_loss_args droppos_args(const loss_case *c)
{
    poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    args.grid = c->grid;
    args.normalization = c->normalization;
    args.confidence_filter = c->confidence_filter;
    args.reduction = c->reduction;
    args.logits = tensor_of(c->logits);
    args.positions = tensor_of(c->positions);
    args.mask = tensor_of(c->mask);
    args.weights = tensor_of(c->weights);
    args.sigma = c->sigma_scalar ? 123 : c->sigma;
    args.sigma_scalar = tensor_of(c->sigma_scalar);
    args.grad_scale = c->grad_scale;
    args.grad_loss = tensor_of(c->grad_loss);
    args.normalizer = tensor_of(c->normalizer);
    args.loss = tensor_of(c->loss);
    args.grad_logits = tensor_of(c->grad);
    args.accuracy = tensor_of(c->accuracy);
    args.weight_sum = tensor_of(c->weight_sum);
    args.flags = tensor_of(c->flags);
    return args;
}

poslabel_position_cross_entropy_args position_args(const loss_case *c)
{
    static const int labels[] = {POSLABEL_LABELS_ABSOLUTE, POSLABEL_LABELS_RELATIVE, POSLABEL_LABELS_EXPLICIT};
    poslabel_position_cross_entropy_args args = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    args.grid = c->grid;
    args.labels = labels[c->kind];
    args.reduction = c->reduction;
    args.logits = tensor_of(c->logits);
    args.positions = tensor_of(c->positions);
    args.mask = tensor_of(c->mask);
    args.weights = tensor_of(c->weights);
    args.ignore_index = c->ignore_index;
    args.label_smoothing = c->label_smoothing;
    args.grad_scale = c->grad_scale;
    args.grad_loss = tensor_of(c->grad_loss);
    args.normalizer = tensor_of(c->normalizer);
    args.loss = tensor_of(c->loss);
    args.grad_logits = tensor_of(c->grad);
    args.accuracy = tensor_of(c->accuracy);
    args.weight_sum = tensor_of(c->weight_sum);
    args.flags = tensor_of(c->flags);
    return args;
}

poslabel_status loss_call(poslabel_context *context, const loss_case *c)
{
    if (c->kind == LOSS_DROPPOS) {
        const poslabel_droppos_loss_args args = droppos_args(c);
        return poslabel_droppos_loss(context, &args);
    }
    const poslabel_position_cross_entropy_args args = position_args(c);
    return poslabel_position_cross_entropy(context, &args);
}
