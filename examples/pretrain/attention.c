/*
 * attention.c: multi-head self-attention, forward and backward.
 *
 * For one head of one image, with T tokens of d = dim / heads channels:
 *
 *     A = softmax(Q K^T / sqrt(d)),   Y = A V
 *
 * and backward, with G = grad_Y:
 *
 *     grad_V = A^T G,   grad_A = G V^T,   grad_S = A * (grad_A - rowsum(A * grad_A)),
 *     grad_Q = grad_S K / sqrt(d),   grad_K = grad_S^T Q / sqrt(d)
 *
 * Q, K and V of a head are column ranges of qkv, so CBLAS reads them in place by their row stride.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"

#include <tgmath.h>

static void softmax(real *row, size_t count)
{
    real largest = row[0], sum = 0;
#pragma omp simd reduction(max : largest)
    for (size_t i = 1; i < count; i++)
        largest = row[i] > largest ? row[i] : largest;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++)
        sum += row[i] = exponential(row[i] - largest);
    for (size_t i = 0; i < count; i++)
        row[i] /= sum;
}

void attention_forward(const real *qkv, real *attention, real *y, size_t batch, size_t tokens, size_t dim, size_t heads)
{
    size_t d = dim / heads, stride = 3 * dim;
    real scale = 1 / sqrt((real)d);

    for (size_t i = 0; i < batch * heads; i++) {
        size_t row = i / heads * tokens, column = i % heads * d;
        const real *q = qkv + row * stride + column, *k = q + dim, *v = k + dim;
        real *a = attention + i * tokens * tokens;
        multiply(0, 1, tokens, tokens, d, scale, q, stride, k, stride, 0, a, tokens);
        for (size_t t = 0; t < tokens; t++)
            softmax(a + t * tokens, tokens);
        multiply(0, 0, tokens, d, tokens, 1, a, tokens, v, stride, 0, y + row * dim + column, dim);
    }
}

void attention_backward(const real *qkv, const real *attention, const real *grad_y, real *scores, real *grad_qkv,
                        size_t batch, size_t tokens, size_t dim, size_t heads)
{
    size_t d = dim / heads, stride = 3 * dim;
    real scale = 1 / sqrt((real)d);

    for (size_t i = 0; i < batch * heads; i++) {
        size_t row = i / heads * tokens, column = i % heads * d;
        const real *q = qkv + row * stride + column, *k = q + dim, *v = k + dim;
        real *grad_q = grad_qkv + row * stride + column, *grad_k = grad_q + dim, *grad_v = grad_k + dim;
        const real *a = attention + i * tokens * tokens, *grad = grad_y + row * dim + column;
        real *s = scores + i * tokens * tokens;
        multiply(1, 0, tokens, d, tokens, 1, a, tokens, grad, dim, 0, grad_v, stride);
        multiply(0, 1, tokens, tokens, d, 1, grad, dim, v, stride, 0, s, tokens);
        for (size_t t = 0; t < tokens; t++) {
            const real *a_row = a + t * tokens;
            real *s_row = s + t * tokens, dot = 0;
#pragma omp simd reduction(+ : dot)
            for (size_t j = 0; j < tokens; j++)
                dot += a_row[j] * s_row[j];
            for (size_t j = 0; j < tokens; j++)
                s_row[j] = a_row[j] * (s_row[j] - dot);
        }
        multiply(0, 0, tokens, d, tokens, scale, s, tokens, k, stride, 0, grad_q, stride);
        multiply(1, 0, tokens, d, tokens, scale, s, tokens, q, stride, 0, grad_k, stride);
    }
}
