/*
 * The parameters of a head and their gradients, in the workspace.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/mlp/layers.h"

#include "cpu/core/numbers.h"
#include "cpu/linear/gemm.h"

#include <string.h>

void *plb_cut_bytes(plb_cut *cut, size_t count, size_t size)
{
    char *const at = cut->memory ? cut->memory + cut->size : NULL;
    cut->size = plb_size_add(cut->size, plb_size_add(plb_size_mul(count, size), 63) / 64 * 64);
    return count ? at : NULL;
}

plb_matrix plb_cut_matrix(plb_cut *cut, plb_dtype dtype, int64_t rows, int64_t columns)
{
    const int64_t stride = (columns + 15) / 16 * 16;
    char *const data = plb_cut_bytes(cut, plb_size_mul((size_t)rows, (size_t)stride), (size_t)plb_dtype_size[dtype]);
    return (plb_matrix){data, dtype, rows, columns, stride};
}

static bool has_gradient(const plb_layer *layer)
{
    return layer->grad_weight.data || layer->grad_bias.data;
}

plb_layers plb_layers_cut(const plb_mlp_job *job, plb_dtype dtype, plb_cut *cut)
{
    const plb_layer *const hidden = &job->hidden, *const middle = &job->middle, *const last = &job->last;
    const int64_t classes = last->outputs, width = middle->weight.data ? middle->inputs : last->inputs;
    const bool has_middle = middle->weight.data, grads = has_gradient(middle) || has_gradient(last);
    plb_layers layers = {.job = job, .dtype = dtype};
    if (hidden->weight.data) {
        layers.hidden = plb_cut_matrix(cut, dtype, hidden->outputs, hidden->inputs);
        if (hidden->bias.data)
            layers.hidden_bias = plb_cut_matrix(cut, dtype, 1, hidden->outputs);
        if (hidden->grad_weight.data)
            layers.grad_hidden = plb_cut_matrix(cut, dtype, hidden->outputs, hidden->inputs);
        if (hidden->grad_bias.data)
            layers.grad_hidden_bias = plb_cut_bytes(cut, (size_t)hidden->outputs, sizeof(double));
    }
    layers.weight = plb_cut_matrix(cut, dtype, classes, width);
    layers.bias = plb_cut_matrix(cut, dtype, 1, classes);
    if (has_middle) {
        layers.middle = plb_cut_matrix(cut, dtype, middle->outputs, middle->inputs);
        layers.last = plb_cut_matrix(cut, dtype, classes, last->inputs);
    }
    if (grads) {
        layers.grad_weight = plb_cut_matrix(cut, dtype, classes, width);
        layers.grad_bias = plb_cut_bytes(cut, (size_t)classes, sizeof(double));
        if (has_middle)
            layers.grad_other = plb_cut_matrix(cut, dtype, classes > last->inputs ? classes : last->inputs,
                                               width > last->inputs ? width : last->inputs);
    }
    return layers;
}

typedef struct copy_run {
    const plb_matrix *matrix;
    const plb_rows *rows;
    bool add;
} copy_run;

static void copy_in(void *argument, int thread, int threads)
{
    const copy_run *const run = argument;
    int64_t begin, end;
    plb_share(run->rows->count, thread, threads, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        plb_copy_in(run->matrix, r, run->rows, r);
}

static void copy_out(void *argument, int thread, int threads)
{
    const copy_run *const run = argument;
    int64_t begin, end;
    plb_share(run->rows->count, thread, threads, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        plb_copy_out(run->matrix, r, run->rows, r, run->add);
}

static void copy_all(poslabel_context *context, plb_parallel_body *body, const plb_matrix *matrix, const plb_rows *rows,
                     bool add)
{
    copy_run run = {matrix, rows, add};
    if (rows->data)
        plb_parallel(context, 2 * (size_t)rows->count * (size_t)rows->length * (size_t)plb_dtype_size[matrix->dtype],
                     body, &run);
}

static plb_gemm product_of(const plb_matrix *a, const plb_matrix *b, const plb_matrix *c)
{
    return (plb_gemm){.dtype = c->dtype,
                      .a = a->data,
                      .a_stride = a->stride,
                      .b = b->data,
                      .b_stride = b->stride,
                      .c = c->data,
                      .c_stride = c->stride};
}

static double number_at(const plb_matrix *matrix, int64_t row, int64_t column)
{
    return plb_load_number(plb_matrix_row(matrix, row) + column * plb_dtype_size[matrix->dtype], matrix->dtype);
}

static void set_number(const plb_matrix *matrix, int64_t row, int64_t column, double value)
{
    plb_store_number(plb_matrix_row(matrix, row) + column * plb_dtype_size[matrix->dtype], matrix->dtype, value);
}

static double bias_at(const plb_layer *layer, int64_t i)
{
    const plb_rows *const bias = &layer->bias;
    return bias->data ? plb_load_number(bias->data + i * plb_dtype_size[bias->dtype], bias->dtype) : 0;
}

void plb_layers_begin(const plb_layers *layers, poslabel_context *context)
{
    const plb_mlp_job *const job = layers->job;
    const plb_matrix *const sums[] = {&layers->grad_hidden, &layers->grad_weight};
    for (int i = 0; i < 2; i++)
        if (sums[i]->data)
            memset(sums[i]->data, 0, (size_t)(sums[i]->rows * sums[i]->stride) * (size_t)plb_dtype_size[layers->dtype]);
    if (layers->grad_bias)
        memset(layers->grad_bias, 0, (size_t)job->last.outputs * sizeof(double));
    if (layers->grad_hidden_bias)
        memset(layers->grad_hidden_bias, 0, (size_t)job->hidden.outputs * sizeof(double));
    copy_all(context, copy_in, &layers->hidden, &job->hidden.weight, false);
    copy_all(context, copy_in, &layers->hidden_bias, &job->hidden.bias, false);
    for (int64_t c = 0; c < job->last.outputs; c++)
        set_number(&layers->bias, 0, c, bias_at(&job->last, c));
    if (!job->middle.weight.data) {
        copy_all(context, copy_in, &layers->weight, &job->last.weight, false);
        return;
    }
    copy_all(context, copy_in, &layers->middle, &job->middle.weight, false);
    copy_all(context, copy_in, &layers->last, &job->last.weight, false);
    plb_gemm product = product_of(&layers->last, &layers->middle, &layers->weight);
    product.rows = job->last.outputs;
    product.columns = job->middle.inputs;
    product.depth = job->middle.outputs;
    plb_multiply(context, &product);
    for (int64_t c = 0; job->middle.bias.data && c < job->last.outputs; c++) {
        double sum = bias_at(&job->last, c);
        for (int64_t i = 0; i < job->middle.outputs; i++)
            sum += number_at(&layers->last, c, i) * bias_at(&job->middle, i);
        set_number(&layers->bias, 0, c, sum);
    }
}

static void store_bias(const plb_layers *layers, const plb_rows *grad, int64_t i, double sum)
{
    char *const to = grad->data + i * plb_dtype_size[grad->dtype];
    if (layers->job->accumulate)
        sum += plb_load_number(to, grad->dtype);
    const bool is_half = grad->dtype == PLB_F16 || grad->dtype == PLB_BF16;
    plb_store_number(to, grad->dtype, is_half ? plb_round_odd(sum) : sum);
}

/* dW3 = dM W2^T + dm b2^T. */
static void end_last(const plb_layers *layers, poslabel_context *context)
{
    const plb_mlp_job *const job = layers->job;
    const plb_layer *const last = &job->last;
    plb_matrix grad = layers->grad_weight;
    if (job->middle.weight.data) {
        grad = layers->grad_other;
        plb_gemm product = product_of(&layers->grad_weight, &layers->middle, &grad);
        product.rows = last->outputs;
        product.columns = last->inputs;
        product.depth = job->middle.inputs;
        product.transpose_b = true;
        plb_multiply(context, &product);
        for (int64_t c = 0; job->middle.bias.data && c < last->outputs; c++)
            for (int64_t i = 0; i < last->inputs; i++)
                set_number(&grad, c, i, number_at(&grad, c, i) + layers->grad_bias[c] * bias_at(&job->middle, i));
    }
    copy_all(context, copy_out, &grad, &last->grad_weight, job->accumulate);
}

/* dW2 = W3^T dM. */
static void end_middle(const plb_layers *layers, poslabel_context *context)
{
    const plb_mlp_job *const job = layers->job;
    plb_gemm product = product_of(&layers->last, &layers->grad_weight, &layers->grad_other);
    product.rows = job->middle.outputs;
    product.columns = job->middle.inputs;
    product.depth = job->last.outputs;
    product.transpose_a = true;
    plb_multiply(context, &product);
    copy_all(context, copy_out, &layers->grad_other, &job->middle.grad_weight, job->accumulate);
}

void plb_layers_end(const plb_layers *layers, poslabel_context *context)
{
    const plb_mlp_job *const job = layers->job;
    copy_all(context, copy_out, &layers->grad_hidden, &job->hidden.grad_weight, job->accumulate);
    for (int64_t i = 0; job->hidden.grad_bias.data && i < job->hidden.outputs; i++)
        store_bias(layers, &job->hidden.grad_bias, i, layers->grad_hidden_bias[i]);
    if (job->last.grad_weight.data)
        end_last(layers, context);
    if (job->middle.grad_weight.data)
        end_middle(layers, context);
    for (int64_t c = 0; job->last.grad_bias.data && c < job->last.outputs; c++)
        store_bias(layers, &job->last.grad_bias, c, layers->grad_bias[c]);
    for (int64_t i = 0; job->middle.grad_bias.data && i < job->middle.outputs; i++) {
        double sum = 0;
        for (int64_t c = 0; c < job->last.outputs; c++)
            sum += number_at(&layers->last, c, i) * layers->grad_bias[c];
        store_bias(layers, &job->middle.grad_bias, i, sum);
    }
}
