/*
 * The small kernels around the matrix products of a linear head.  SPDX-License-Identifier: Apache-2.0
 *
 * None of them is worth fusing further: next to the products they move little, and most find their data in the cache.
 */
#include "linear.h"
#include "loss_weights.h"

__global__ void linear_weigh_kernel(const plb_loss_parameters p, double *sum, double *partial_of_block)
{
    PLB_SHARED(double, partial, PLB_LOSS_WARPS);
    PLB_SHARED(int, is_last, 1);
    const plb_thread_sums sums = plb_weigh(p);
    const double of_block = plb_block_sum(sums.weight, partial);
    if (threadIdx.x == 0)
        partial_of_block[blockIdx.x] = of_block;
    if (!plb_is_last_block(p.state, is_last))
        return;
    double all[1];
    plb_sums_of_blocks(all, partial_of_block, partial);
    if (threadIdx.x == 0)
        *sum = all[0];
}

poslabel_status plb_linear_weigh(const plb_call *call, const plb_loss_parameters *p, double *sum, double *partial,
                                 int blocks)
{
    return plb_launch(call, PLB_INDEPENDENT, linear_weigh_kernel, blocks, PLB_LOSS_THREADS, 0, *p, sum, partial);
}

/* A warp copies a row of elements of 2, 4 or 8 bytes, or clears it. */
PLB_DEVICE void copy_row(char *to, const char *from, bool counts, long long length, int size)
{
    for (long long i = threadIdx.x % 32; i < length; i += 32) {
        if (size == 2)
            ((unsigned short *)to)[i] = counts ? ((const unsigned short *)from)[i] : (unsigned short)0;
        else if (size == 4)
            ((unsigned *)to)[i] = counts ? ((const unsigned *)from)[i] : 0u;
        else
            ((unsigned long long *)to)[i] = counts ? ((const unsigned long long *)from)[i] : 0ull;
    }
}

/* One warp a row. */
__global__ void linear_gather_kernel(const plb_loss_parameters p, bool all_count, const plb_view_rows matrix,
                                     long long first, long long rows, long long channels, char *to, long long pitch)
{
    const bool none_counts = !all_count && plb_scale_of(p, 1).nothing;
    const int size = plb_element_size(matrix.dtype);
    const long long step = (long long)gridDim.x * (blockDim.x / 32);
    for (long long r = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; r < rows; r += step) {
        const bool counts = all_count || (!none_counts && plb_use_of_row(p, first + r, false).weight != 0);
        const char *const from = plb_view_row(matrix, first + r);
        char *const row = to + r * pitch * size;
        copy_row(row, from, counts, channels, size);
    }
}

poslabel_status plb_linear_gather(const plb_call *call, const plb_loss_parameters *p, const plb_rows *from,
                                  long long first, long long rows, void *to, long long pitch)
{
    const plb_loss_parameters none = {};
    return plb_launch(call, PLB_INDEPENDENT, linear_gather_kernel, plb_blocks_for(call, rows * 32), 256, 0,
                      p ? *p : none, p == NULL, plb_view_of(from), first, rows, from->length, (char *)to, pitch);
}

__global__ void linear_scatter_kernel(const plb_view_rows to, long long first, long long rows, long long channels,
                                      const char *from, long long pitch)
{
    const int size = plb_element_size(to.dtype);
    const long long step = (long long)gridDim.x * (blockDim.x / 32);
    for (long long r = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; r < rows; r += step) {
        char *const row = plb_view_row(to, first + r);
        const char *const source = from + r * pitch * size;
        copy_row(row, source, true, channels, size);
    }
}

poslabel_status plb_linear_scatter(const plb_call *call, const plb_rows *grad_features, long long first, long long rows,
                                   const void *from, long long pitch)
{
    return plb_launch(call, PLB_INDEPENDENT, linear_scatter_kernel, plb_blocks_for(call, rows * 32), 256, 0,
                      plb_view_of(grad_features), first, rows, grad_features->length, (const char *)from, pitch);
}

/* One thread. */
__global__ void linear_factors_kernel(const plb_loss_parameters p, bool scales, float *factors)
{
    const double upstream = fabs(plb_scale_of(p, 0).upstream);
    const int exponent = scales && upstream > 0 && upstream <= DBL_MAX ? ilogb(upstream) : 0;
    const double scale = ldexp(1.0, exponent < -100 ? 100 : exponent > 100 ? -100 : -exponent);
    factors[PLB_LINEAR_NARROWS] = (float)scale;
    factors[PLB_LINEAR_WIDENS] = (float)(1 / scale);
    factors[PLB_LINEAR_ZERO] = 0;
    factors[PLB_LINEAR_ONE] = 1;
}

poslabel_status plb_linear_factors(const plb_call *call, const plb_loss_parameters *p, bool scales, float *factors)
{
    return plb_launch(call, PLB_INDEPENDENT, linear_factors_kernel, 1, 1, 0, *p, scales, factors);
}

__global__ void linear_narrow_kernel(const float *from, unsigned short *to, long long count, int dtype,
                                     const float *factors)
{
    const float scale = factors[PLB_LINEAR_NARROWS];
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        if (dtype == PLB_F16)
            ((__half *)to)[i] = __float2half_rn(from[i] * scale);
        else
            ((__nv_bfloat16 *)to)[i] = __float2bfloat16_rn(from[i] * scale);
    }
}

poslabel_status plb_linear_narrow(const plb_call *call, const float *from, void *to, long long count, int dtype,
                                  const float *factors)
{
    return plb_launch(call, PLB_INDEPENDENT, linear_narrow_kernel, plb_blocks_for(call, count), 256, 0, from,
                      (unsigned short *)to, count, dtype, factors);
}

enum { COLUMNS = 8, COLUMN_THREADS = 1024, COLUMN_ROWS = COLUMN_THREADS / COLUMNS };

/*
 * A block has a few columns, as many as one sector of memory holds: a matrix of some hundred columns then has dozens of
 * blocks.  Each thread adds up every 128th row, with several loads on their way; their sums are added pairwise, a
 * barrier between steps.
 */
template <typename real>
__global__ void __launch_bounds__(COLUMN_THREADS)
    linear_columns_kernel(const real *gradient, long long rows, int classes, long long pitch, double *sums)
{
    PLB_SHARED(double, partial, COLUMN_THREADS);
    const int thread = (int)threadIdx.x;
    const long long column = (long long)blockIdx.x * COLUMNS + thread % COLUMNS;
    double sum = 0;
    if (column < classes)
#pragma unroll 4
        for (long long r = thread / COLUMNS; r < rows; r += COLUMN_ROWS)
            sum += gradient[r * pitch + column];
    partial[thread] = sum;
    for (int step = COLUMN_THREADS / 2; step >= COLUMNS; step /= 2) {
        PLB_BARRIER();
        if (thread < step)
            partial[thread] += partial[thread + step];
    }
    if (thread < COLUMNS && column < classes)
        sums[column] += partial[thread];
}

poslabel_status plb_linear_add_columns(const plb_call *call, const void *gradient, bool is_double, long long rows,
                                       int classes, long long pitch, double *sums)
{
    const long long blocks = ((long long)classes + COLUMNS - 1) / COLUMNS;
    if (is_double)
        return plb_launch(call, PLB_INDEPENDENT, linear_columns_kernel<double>, blocks, COLUMN_THREADS, 0,
                          (const double *)gradient, rows, classes, pitch, sums);
    return plb_launch(call, PLB_INDEPENDENT, linear_columns_kernel<float>, blocks, COLUMN_THREADS, 0,
                      (const float *)gradient, rows, classes, pitch, sums);
}

__global__ void linear_widen_kernel(const plb_view_rows from, char *to, bool to_double, int count)
{
    const int size = plb_element_size(from.dtype);
    for (int i = (int)(blockIdx.x * blockDim.x + threadIdx.x); i < count; i += (int)(gridDim.x * blockDim.x)) {
        const double value = plb_load_number(from.data + (long long)i * size, from.dtype);
        if (to_double)
            ((double *)to)[i] = value;
        else
            ((float *)to)[i] = (float)value;
    }
}

poslabel_status plb_linear_widen(const plb_call *call, const plb_rows *from, void *to, bool is_double, int count)
{
    return plb_launch(call, PLB_INDEPENDENT, linear_widen_kernel, plb_blocks_for(call, count), 256, 0,
                      plb_view_of(from), (char *)to, is_double, count);
}

__global__ void linear_finish_kernel(const plb_view_rows out, long long rows, long long length, const char *from,
                                     bool from_double, long long pitch, bool accumulate)
{
    const int size = plb_element_size(out.dtype);
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < rows * length; i += step) {
        const long long r = i / length, c = i - r * length;
        const double value = from_double ? ((const double *)from)[r * pitch + c] : ((const float *)from)[r * pitch + c];
        char *const at = plb_view_row(out, r) + c * size;
        plb_store_number(at, out.dtype, accumulate ? plb_load_number(at, out.dtype) + value : value);
    }
}

poslabel_status plb_linear_finish(const plb_call *call, const plb_rows *out, const void *from, bool from_double,
                                  long long pitch, bool accumulate)
{
    return plb_launch(call, PLB_INDEPENDENT, linear_finish_kernel, plb_blocks_for(call, out->count * out->length), 256,
                      0, plb_view_of(out), out->count, out->length, (const char *)from, from_double, pitch, accumulate);
}
