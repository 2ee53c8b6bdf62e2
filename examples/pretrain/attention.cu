/*
 * attention.cu: multi-head self-attention on CUDA.  SPDX-License-Identifier: Apache-2.0
 *
 * The twin of attention.c, which has the formulas.  For each head cuBLAS takes all images of the batch in one call; the
 * scores of all heads then become a softmax in one kernel.
 */
#include "gpu.cuh"

/* Each row becomes its softmax. */
__global__ void softmax_kernel(real *x, size_t rows, size_t count)
{
    const size_t r = gpu_warp(), lane = threadIdx.x % 32;
    if (r >= rows)
        return;
    real *row = x + r * count;
    real largest = -(real)INFINITY, sum = 0;
    for (size_t i = lane; i < count; i += 32)
        largest = row[i] > largest ? row[i] : largest;
    largest = gpu_warp_max(largest);
    for (size_t i = lane; i < count; i += 32)
        sum += row[i] = exp(row[i] - largest);
    sum = gpu_warp_sum(sum);
    for (size_t i = lane; i < count; i += 32)
        row[i] /= sum;
}

/* grad becomes the gradient before the softmax, a: a * (grad - sum(a * grad)) in each row. */
__global__ void softmax_backward_kernel(const real *a, real *grad, size_t rows, size_t count)
{
    const size_t r = gpu_warp(), lane = threadIdx.x % 32;
    if (r >= rows)
        return;
    const real *a_row = a + r * count;
    real *row = grad + r * count, dot = 0;
    for (size_t i = lane; i < count; i += 32)
        dot += a_row[i] * row[i];
    dot = gpu_warp_sum(dot);
    for (size_t i = lane; i < count; i += 32)
        row[i] = a_row[i] * (row[i] - dot);
}

/* The matrices of one head in all images, and their transposes. */
struct head_matrices {
    size_t batch, tokens, dim, heads, head;

    /* [tokens, d] of `columns` columns in all, the head's from `first` on */
    gpu_matrices columns(const real *data, size_t all, size_t first) const
    {
        return {data + first + head * (dim / heads), all, tokens * all, false};
    }
    /* [tokens, tokens] */
    gpu_matrices scores(const real *data) const
    {
        return {data + head * tokens * tokens, tokens, heads * tokens * tokens, false};
    }
};

static gpu_matrices transpose(gpu_matrices matrices)
{
    matrices.transposed = !matrices.transposed;
    return matrices;
}

void gpu_attention(const real *qkv, real *attention, real *y, size_t batch, size_t tokens, size_t dim, size_t heads)
{
    const size_t d = dim / heads, rows = batch * heads * tokens;
    const real scale = 1 / sqrt((real)d);

    for (size_t h = 0; h < heads; h++) {
        const head_matrices head = {batch, tokens, dim, heads, h};
        const gpu_matrices q = head.columns(qkv, 3 * dim, 0), k = head.columns(qkv, 3 * dim, dim);
        gpu_multiply(q, transpose(k), head.scores(attention), tokens, tokens, d, scale, 0, batch);
    }
    gpu_launch(softmax_kernel, gpu_blocks(rows, GPU_WARPS), GPU_THREADS, attention, rows, tokens);
    for (size_t h = 0; h < heads; h++) {
        const head_matrices head = {batch, tokens, dim, heads, h};
        const gpu_matrices v = head.columns(qkv, 3 * dim, 2 * dim);
        gpu_multiply(head.scores(attention), v, head.columns(y, dim, 0), tokens, d, tokens, 1, 0, batch);
    }
}

void gpu_attention_backward(const real *qkv, const real *attention, const real *grad_y, real *scores, real *grad_qkv,
                            size_t batch, size_t tokens, size_t dim, size_t heads)
{
    const size_t d = dim / heads, rows = batch * heads * tokens;
    const real scale = 1 / sqrt((real)d);

    for (size_t h = 0; h < heads; h++) {
        const head_matrices head = {batch, tokens, dim, heads, h};
        const gpu_matrices v = head.columns(qkv, 3 * dim, 2 * dim), grad_v = head.columns(grad_qkv, 3 * dim, 2 * dim);
        const gpu_matrices a = head.scores(attention), grad = head.columns(grad_y, dim, 0), s = head.scores(scores);
        gpu_multiply(transpose(a), grad, grad_v, tokens, d, tokens, 1, 0, batch);
        gpu_multiply(grad, transpose(v), s, tokens, tokens, d, 1, 0, batch);
    }
    gpu_launch(softmax_backward_kernel, gpu_blocks(rows, GPU_WARPS), GPU_THREADS, attention, scores, rows, tokens);
    for (size_t h = 0; h < heads; h++) {
        const head_matrices head = {batch, tokens, dim, heads, h};
        const gpu_matrices q = head.columns(qkv, 3 * dim, 0), grad_q = head.columns(grad_qkv, 3 * dim, 0);
        const gpu_matrices k = head.columns(qkv, 3 * dim, dim), grad_k = head.columns(grad_qkv, 3 * dim, dim);
        const gpu_matrices s = head.scores(scores);
        gpu_multiply(s, k, grad_q, tokens, d, tokens, scale, 0, batch);
        gpu_multiply(transpose(s), q, grad_k, tokens, d, tokens, scale, 0, batch);
    }
}
