/*
 * layers.c: linear layers, layer norm and GELU.
 *
 * The matrix products go to CBLAS; all else is a plain loop.  No function here starts a thread: encoder.c runs several
 * parts of the batch at the same time, each on one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"

#include <cblas.h>
#include <tgmath.h>

void multiply(int transpose_a, int transpose_b, size_t m, size_t n, size_t k, real alpha, const real *a, size_t lda,
              const real *b, size_t ldb, real beta, real *c, size_t ldc)
{
#ifdef PRETRAIN_DOUBLE
    cblas_dgemm(
#else
    cblas_sgemm(
#endif
        CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n,
        (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

void add(real *sum, const real *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum[i] += x[i];
}

void linear(const real *x, const real *weight, const real *bias, real *y, size_t rows, size_t in, size_t out)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < out; o++)
            y[r * out + o] = bias[o];
    multiply(0, 1, rows, out, in, 1, x, in, weight, in, 1, y, out);
}

void linear_backward(const real *x, const real *weight, const real *grad_y, real *grad_x, real *grad_weight,
                     real *grad_bias, size_t rows, size_t in, size_t out)
{
    if (grad_x != NULL)
        multiply(0, 0, rows, in, out, 1, grad_y, out, weight, in, 0, grad_x, in);
    multiply(1, 0, out, in, rows, 1, grad_y, out, x, in, 0, grad_weight, in);
    for (size_t o = 0; o < out; o++)
        grad_bias[o] = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < out; o++)
            grad_bias[o] += grad_y[r * out + o];
}

void layer_norm(const real *x, const real *scale, const real *shift, real *y, real *mean, real *rstd, size_t rows,
                size_t dim)
{
    for (size_t r = 0; r < rows; r++) {
        const real *in = x + r * dim;
        real sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < dim; i++)
            sum += in[i];
        mean[r] = sum / (real)dim;
#pragma omp simd reduction(+ : squares)
        for (size_t i = 0; i < dim; i++)
            squares += (in[i] - mean[r]) * (in[i] - mean[r]);
        rstd[r] = 1 / sqrt(squares / (real)dim + (real)1e-6);
        for (size_t i = 0; i < dim; i++)
            y[r * dim + i] = (in[i] - mean[r]) * rstd[r] * scale[i] + shift[i];
    }
}

/*
 * With n = (x - mean) * rstd and g = grad_y * scale, the mean and the variance also depend on x, which leaves
 *
 *     grad_x = rstd * (g - mean(g) - n * mean(g n)).
 */
void layer_norm_backward(const real *x, const real *scale, const real *mean, const real *rstd, const real *grad_y,
                         real *grad_x, real *grad_scale, real *grad_shift, size_t rows, size_t dim)
{
    for (size_t r = 0; r < rows; r++) {
        const real *in = x + r * dim, *grad = grad_y + r * dim;
        real sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
        for (size_t i = 0; i < dim; i++) {
            real g = grad[i] * scale[i];
            sum += g;
            dot += g * (in[i] - mean[r]) * rstd[r];
        }
        sum /= (real)dim;
        dot /= (real)dim;
        for (size_t i = 0; i < dim; i++) {
            real n = (in[i] - mean[r]) * rstd[r];
            grad_x[r * dim + i] += rstd[r] * (grad[i] * scale[i] - sum - n * dot);
        }
    }
    for (size_t i = 0; i < dim; i++)
        grad_scale[i] = grad_shift[i] = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < dim; i++) {
            real grad = grad_y[r * dim + i];
            grad_scale[i] += grad * (x[r * dim + i] - mean[r]) * rstd[r];
            grad_shift[i] += grad;
        }
}

/* sqrt(8 / pi): the tanh form 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) is x * sigmoid(twice that argument). */
static const real GELU_SLOPE = (real)1.5957691216057308, GELU_CUBE = (real)0.044715;

void gelu(const real *x, real *y, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++)
        y[i] = x[i] / (1 + exponential(-GELU_SLOPE * (x[i] + GELU_CUBE * x[i] * x[i] * x[i])));
}

void gelu_backward(const real *x, real *grad, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        real sigmoid = 1 / (1 + exponential(-GELU_SLOPE * (x[i] + GELU_CUBE * x[i] * x[i] * x[i])));
        real slope = GELU_SLOPE * (1 + 3 * GELU_CUBE * x[i] * x[i]);
        grad[i] *= sigmoid + x[i] * sigmoid * (1 - sigmoid) * slope;
    }
}
