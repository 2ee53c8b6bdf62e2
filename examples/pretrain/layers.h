/*
 * layers.h: the parts of a vision transformer, forward and backward.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_LAYERS_H
#define PRETRAIN_LAYERS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One number of the model.  float trains; test_gradient.c compiles the model with double, where a numerical
 * derivative is exact to seven digits.
 */
#ifdef PRETRAIN_DOUBLE
typedef double real;
#else
typedef float real;
#endif

/*
 * All tensors are compact and row-major.  A row is one token.  A backward function overwrites the gradients it is
 * given; `grad_` means the derivative of the loss by the tensor of that name.  No function starts a thread.
 */

/* y[rows, out] = x[rows, in] weight[out, in]^T + bias[out] */
void linear(const real *x, const real *weight, const real *bias, real *y, size_t rows, size_t in, size_t out);

/* grad_x may be NULL: nothing before this layer needs it. */
void linear_backward(const real *x, const real *weight, const real *grad_y, real *grad_x, real *grad_weight,
                     real *grad_bias, size_t rows, size_t in, size_t out);

/* y = (x - mean) * rstd * scale + shift in each row; mean[rows] and rstd[rows] are kept for the way back. */
void layer_norm(const real *x, const real *scale, const real *shift, real *y, real *mean, real *rstd, size_t rows,
                size_t dim);

/* grad_x += the gradient through the norm: a pre-norm block adds it to the gradient of its residual branch. */
void layer_norm_backward(const real *x, const real *scale, const real *mean, const real *rstd, const real *grad_y,
                         real *grad_x, real *grad_scale, real *grad_shift, size_t rows, size_t dim);

/* y = x * sigmoid(1.5957691 * (x + 0.044715 x^3)), which is the tanh form of GELU. */
void gelu(const real *x, real *y, size_t count);

/* grad is the gradient of y on entry and that of x on return. */
void gelu_backward(const real *x, real *grad, size_t count);

/* e^x, to 2e-7 of it; written out so that the compiler makes vector instructions of a loop over it. */
static inline real exponential(real x)
{
#ifdef PRETRAIN_DOUBLE
    return exp(x);
#else
    /* x = n ln 2 + r with |r| <= ln 2 / 2; e^r is a polynomial, and 2^n is a float whose exponent is n. */
    float n = (x * 1.44269504F + 12582912.0F) - 12582912.0F;
    float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
    float p = 0.0416665859F + r * (0.00833345205F + r * 0.00139819994F);
    p = 1 + r * (1 + r * (0.5F + r * (0.166666657F + r * p)));
    int32_t exponent = (int32_t)n;
    exponent = exponent < -126 ? -126 : exponent > 127 ? 127 : exponent;
    union {
        int32_t bits;
        float value;
    } power = {(exponent + 127) * (1 << 23)};
    return p * power.value;
#endif
}

/* sum += x */
void add(real *sum, const real *x, size_t count);

/*
 * Multi-head self-attention within each image.  qkv[batch * tokens, 3 * dim] holds queries, keys and values of all
 * heads; y[batch * tokens, dim]; attention[batch, heads, tokens, tokens], the softmax, is kept for the way back.
 */
void attention_forward(const real *qkv, real *attention, real *y, size_t batch, size_t tokens, size_t dim,
                       size_t heads);

/* scores[batch, heads, tokens, tokens] is scratch. */
void attention_backward(const real *qkv, const real *attention, const real *grad_y, real *scores, real *grad_qkv,
                        size_t batch, size_t tokens, size_t dim, size_t heads);

/* c[m, n] = alpha * op(a) op(b) + beta * c with row strides lda, ldb, ldc; op transposes where the flag is 1. */
void multiply(int transpose_a, int transpose_b, size_t m, size_t n, size_t k, real alpha, const real *a, size_t lda,
              const real *b, size_t ldb, real beta, real *c, size_t ldc);

#endif
