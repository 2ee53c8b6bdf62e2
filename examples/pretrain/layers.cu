/*
 * layers.cu: linear layers, layer norm, GELU and AdamW on CUDA.  SPDX-License-Identifier: Apache-2.0
 *
 * The twin of layers.c, which has the formulas.  Sums run in an order that depends on sizes alone: no atomic additions,
 * so that a run can be repeated bit for bit on the same kind of GPU.
 */
#include "gpu.cuh"

/* ---- sums over the rows of a matrix ---- */

enum { TILE = 32 };

/*
 * A block of TILE x TILE threads has TILE columns: thread (row, column) = (threadIdx.x / TILE, threadIdx.x % TILE) has
 * summed every TILE-th row of its column.  Returns the sum over the threads of column number threadIdx.x / TILE.
 */
GPU_FUNCTION real sum_of_column(real value)
{
    SHARED(real, part, TILE * (TILE + 1)); /* one more, so that reading columns keeps off one bank */
    const unsigned row = threadIdx.x / TILE, column = threadIdx.x % TILE;
    BARRIER(); /* the last sum has been read */
    part[row * (TILE + 1) + column] = value;
    BARRIER();
    return gpu_warp_sum(part[column * (TILE + 1) + row]);
}

/* sum[columns] = the sum of the rows of x[rows, columns] */
__global__ void sum_rows_kernel(const real *x, real *sum, size_t rows, size_t columns)
{
    const size_t first = (size_t)blockIdx.x * TILE, column = first + threadIdx.x % TILE;
    real total = 0;
    if (column < columns)
        for (size_t r = threadIdx.x / TILE; r < rows; r += TILE)
            total += x[r * columns + column];
    total = sum_of_column(total);
    const size_t mine = first + threadIdx.x / TILE;
    if (threadIdx.x % TILE == 0 && mine < columns)
        sum[mine] = total;
}

/* ---- linear layers ---- */

/* A block for each row. */
__global__ void fill_rows_kernel(real *y, const real *row, size_t columns)
{
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x)
        y[blockIdx.x * columns + i] = row[i];
}

void gpu_linear(const real *x, const real *weight, const real *bias, real *y, size_t rows, size_t in, size_t out)
{
    gpu_launch(fill_rows_kernel, rows, GPU_THREADS, y, bias, out);
    gpu_multiply({x, in, 0, false}, {weight, in, 0, true}, {y, out, 0, false}, rows, out, in, 1, 1, 1);
}

void gpu_linear_backward(const real *x, const real *weight, const real *grad_y, real *grad_x, real *grad_weight,
                         real *grad_bias, size_t rows, size_t in, size_t out)
{
    if (grad_x != NULL)
        gpu_multiply({grad_y, out, 0, false}, {weight, in, 0, false}, {grad_x, in, 0, false}, rows, in, out, 1, 0, 1);
    gpu_multiply({grad_y, out, 0, true}, {x, in, 0, false}, {grad_weight, in, 0, false}, out, in, rows, 1, 0, 1);
    gpu_launch(sum_rows_kernel, gpu_blocks(out, TILE), TILE * TILE, grad_y, grad_bias, rows, out);
}

/* ---- layer norm ---- */

__global__ void layer_norm_kernel(const real *x, const real *scale, const real *shift, real *y, real *mean, real *rstd,
                                  size_t rows, size_t dim)
{
    const size_t r = gpu_warp(), lane = threadIdx.x % 32;
    if (r >= rows)
        return;
    const real *in = x + r * dim;
    real sum = 0, squares = 0;
    for (size_t i = lane; i < dim; i += 32)
        sum += in[i];
    const real m = gpu_warp_sum(sum) / (real)dim;
    for (size_t i = lane; i < dim; i += 32)
        squares += (in[i] - m) * (in[i] - m);
    const real s = 1 / sqrt(gpu_warp_sum(squares) / (real)dim + LAYER_NORM_EPSILON);
    for (size_t i = lane; i < dim; i += 32)
        y[r * dim + i] = (in[i] - m) * s * scale[i] + shift[i];
    if (lane == 0) {
        mean[r] = m;
        rstd[r] = s;
    }
}

/* grad_x: see layers.c. */
__global__ void layer_norm_rows_kernel(const real *x, const real *scale, const real *mean, const real *rstd,
                                       const real *grad_y, real *grad_x, size_t rows, size_t dim)
{
    const size_t r = gpu_warp(), lane = threadIdx.x % 32;
    if (r >= rows)
        return;
    const real *in = x + r * dim, *grad = grad_y + r * dim;
    const real m = mean[r], s = rstd[r];
    real sum = 0, dot = 0;
    for (size_t i = lane; i < dim; i += 32) {
        const real g = grad[i] * scale[i];
        sum += g;
        dot += g * (in[i] - m) * s;
    }
    sum = gpu_warp_sum(sum) / (real)dim;
    dot = gpu_warp_sum(dot) / (real)dim;
    for (size_t i = lane; i < dim; i += 32)
        grad_x[r * dim + i] += s * (grad[i] * scale[i] - sum - (in[i] - m) * s * dot);
}

/* grad_scale and grad_shift: sums over rows, as in sum_rows_kernel(). */
__global__ void layer_norm_columns_kernel(const real *x, const real *mean, const real *rstd, const real *grad_y,
                                          real *grad_scale, real *grad_shift, size_t rows, size_t dim)
{
    const size_t first = (size_t)blockIdx.x * TILE, column = first + threadIdx.x % TILE;
    real scale = 0, shift = 0;
    if (column < dim)
        for (size_t r = threadIdx.x / TILE; r < rows; r += TILE) {
            const real grad = grad_y[r * dim + column];
            scale += grad * (x[r * dim + column] - mean[r]) * rstd[r];
            shift += grad;
        }
    scale = sum_of_column(scale);
    shift = sum_of_column(shift);
    const size_t mine = first + threadIdx.x / TILE;
    if (threadIdx.x % TILE == 0 && mine < dim) {
        grad_scale[mine] = scale;
        grad_shift[mine] = shift;
    }
}

void gpu_layer_norm(const real *x, const real *scale, const real *shift, real *y, real *mean, real *rstd, size_t rows,
                    size_t dim)
{
    gpu_launch(layer_norm_kernel, gpu_blocks(rows, GPU_WARPS), GPU_THREADS, x, scale, shift, y, mean, rstd, rows, dim);
}

void gpu_layer_norm_backward(const real *x, const real *scale, const real *mean, const real *rstd, const real *grad_y,
                             real *grad_x, real *grad_scale, real *grad_shift, size_t rows, size_t dim)
{
    gpu_launch(layer_norm_rows_kernel, gpu_blocks(rows, GPU_WARPS), GPU_THREADS, x, scale, mean, rstd, grad_y, grad_x,
               rows, dim);
    gpu_launch(layer_norm_columns_kernel, gpu_blocks(dim, TILE), TILE * TILE, x, mean, rstd, grad_y, grad_scale,
               grad_shift, rows, dim);
}

/* ---- element by element ---- */

GPU_FUNCTION real gelu_sigmoid(real x)
{
    return 1 / (1 + exp(-GELU_SLOPE * (x + GELU_CUBE * x * x * x)));
}

__global__ void gelu_kernel(const real *x, real *y, size_t count)
{
    const size_t i = gpu_thread();
    if (i < count)
        y[i] = x[i] * gelu_sigmoid(x[i]);
}

__global__ void gelu_backward_kernel(const real *x, real *grad, size_t count)
{
    const size_t i = gpu_thread();
    if (i >= count)
        return;
    const real sigmoid = gelu_sigmoid(x[i]), slope = GELU_SLOPE * (1 + 3 * GELU_CUBE * x[i] * x[i]);
    grad[i] *= sigmoid + x[i] * sigmoid * (1 - sigmoid) * slope;
}

__global__ void add_kernel(real *sum, const real *x, size_t count)
{
    const size_t i = gpu_thread();
    if (i < count)
        sum[i] += x[i];
}

void gpu_gelu(const real *x, real *y, size_t count)
{
    gpu_launch(gelu_kernel, gpu_blocks(count, GPU_THREADS), GPU_THREADS, x, y, count);
}

void gpu_gelu_backward(const real *x, real *grad, size_t count)
{
    gpu_launch(gelu_backward_kernel, gpu_blocks(count, GPU_THREADS), GPU_THREADS, x, grad, count);
}

void gpu_add(real *sum, const real *x, size_t count)
{
    gpu_launch(add_kernel, gpu_blocks(count, GPU_THREADS), GPU_THREADS, sum, x, count);
}

/* ---- AdamW ---- */

/* Each warp of the grid sums the squares of a part of the gradient... */
__global__ void squares_kernel(const real *gradient, size_t count, double *parts)
{
    double squares = 0;
    for (size_t i = gpu_thread(); i < count; i += (size_t)gridDim.x * blockDim.x)
        squares += (double)gradient[i] * (double)gradient[i];
    squares = gpu_warp_sum(squares);
    if (threadIdx.x % 32 == 0)
        parts[gpu_warp()] = squares;
}

/* ...and one warp adds up the parts. */
__global__ void clip_kernel(const double *parts, unsigned count, real clip, real *factor)
{
    double squares = 0;
    for (unsigned i = threadIdx.x; i < count; i += 32)
        squares += parts[i];
    const double norm = sqrt(gpu_warp_sum(squares));
    if (threadIdx.x == 0)
        *factor = (real)(norm > (double)clip ? (double)clip / norm : 1);
}

__global__ void adamw_kernel(real *weight, const real *gradient, real *moment1, real *moment2, size_t count,
                             const real *factor, adamw_step step)
{
    const size_t i = gpu_thread();
    if (i >= count)
        return;
    const real g = *factor * gradient[i];
    const real m = step.beta1 * moment1[i] + (1 - step.beta1) * g;
    const real v = step.beta2 * moment2[i] + (1 - step.beta2) * g * g;
    moment1[i] = m;
    moment2[i] = v;
    weight[i] = step.keep * weight[i] - step.rate * m / (sqrt(step.correction * v) + step.epsilon);
}

void gpu_clip(const real *gradient, size_t count, real clip, real *factor)
{
    /* A thread has eight numbers or more. */
    size_t blocks = gpu_blocks(count, 8 * GPU_THREADS);
    if (blocks > GPU_PARTS / GPU_WARPS)
        blocks = GPU_PARTS / GPU_WARPS;
    gpu_launch(squares_kernel, blocks, GPU_THREADS, gradient, count, gpu_parts());
    gpu_launch(clip_kernel, 1, 32, gpu_parts(), blocks * GPU_WARPS, clip, factor);
}

void gpu_adamw(real *weight, const real *gradient, real *moment1, real *moment2, size_t count, const real *factor,
               adamw_step step)
{
    gpu_launch(adamw_kernel, gpu_blocks(count, GPU_THREADS), GPU_THREADS, weight, gradient, moment1, moment2, count,
               factor, step);
}
