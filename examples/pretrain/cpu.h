/* cpu.h: the layers on the CPU; layers.h says what they do.  SPDX-License-Identifier: Apache-2.0 */
#ifndef PRETRAIN_CPU_H
#define PRETRAIN_CPU_H

#include "layers.h"

#include <math.h>
#include <stdint.h>

void cpu_linear(const real *x, const real *weight, const real *bias, real *y, size_t rows, size_t in, size_t out);
void cpu_linear_backward(const real *x, const real *weight, const real *grad_y, real *grad_x, real *grad_weight,
                         real *grad_bias, size_t rows, size_t in, size_t out);
void cpu_layer_norm(const real *x, const real *scale, const real *shift, real *y, real *mean, real *rstd, size_t rows,
                    size_t dim);
void cpu_layer_norm_backward(const real *x, const real *scale, const real *mean, const real *rstd, const real *grad_y,
                             real *grad_x, real *grad_scale, real *grad_shift, size_t rows, size_t dim);
void cpu_gelu(const real *x, real *y, size_t count);
void cpu_gelu_backward(const real *x, real *grad, size_t count);
void cpu_add(real *sum, const real *x, size_t count);
void cpu_attention(const real *qkv, real *attention, real *y, size_t batch, size_t tokens, size_t dim, size_t heads);
void cpu_attention_backward(const real *qkv, const real *attention, const real *grad_y, real *scores, real *grad_qkv,
                            size_t batch, size_t tokens, size_t dim, size_t heads);
void cpu_clip(const real *gradient, size_t count, real clip, real *factor);
void cpu_adamw(real *weight, const real *gradient, real *moment1, real *moment2, size_t count, const real *factor,
               adamw_step step);

/* c[m, n] = alpha * op(a) op(b) + beta * c with row strides lda, ldb, ldc; op transposes where the flag is 1. */
void cpu_multiply(int transpose_a, int transpose_b, size_t m, size_t n, size_t k, real alpha, const real *a, size_t lda,
                  const real *b, size_t ldb, real beta, real *c, size_t ldc);

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

#endif
