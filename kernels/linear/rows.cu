/*
 * The kernels around the matrix products of a linear head that work on rows: weights, copies, conversions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linear/linear.cuh"
#include "loss/labels.cuh"

/*
 * Factors that bring elements of up to `highest` below 2^15; the largest float16 is 65504.  Products are summed in
 * float32, so that numbers this large do no harm, and elements 2^-28 times as large keep all their digits.
 */
PLB_DEVICE void store_factors(double highest, bool scales, float *factors)
{
    const int exponent = scales && highest > 0 && highest <= DBL_MAX ? ilogb(highest) - 14 : 0;
    const double scale = ldexp(1.0, exponent < -100 ? 100 : exponent > 100 ? -100 : -exponent);
    factors[PLB_LINEAR_NARROWS] = (float)scale;
    factors[PLB_LINEAR_WIDENS] = (float)(1 / scale);
    factors[PLB_LINEAR_ZERO] = 0;
    factors[PLB_LINEAR_ONE] = 1;
}

__global__ void linear_weigh_kernel(const plb_loss_parameters p, double *sum, double *sum_of_block,
                                    double *highest_of_block, bool scales, float *factors)
{
    PLB_SHARED(double, partial, PLB_LOSS_WARPS);
    PLB_SHARED(int, is_last, 1);
    const plb_view_rows &row_grad_loss = p.reduction.row_grad_loss;
    const long long step = (long long)gridDim.x * blockDim.x;
    double weight = 0, highest = 0;
    for (long long r = (long long)blockIdx.x * blockDim.x + threadIdx.x; r < p.reduction.rows; r += step) {
        double of_row = plb_use_of_row(p, r, true).weight;
        weight += of_row;
        if (scales && of_row != 0 && row_grad_loss.data)
            of_row *= fabs(plb_load_number(plb_view_row(row_grad_loss, r), row_grad_loss.dtype));
        if (of_row <= DBL_MAX) /* infinity and NaN stay so at any scale */
            highest = plb_highest(highest, of_row);
    }
    weight = plb_block_sum(weight, partial);
    highest = plb_block_highest(highest, partial);
    if (threadIdx.x == 0) {
        sum_of_block[blockIdx.x] = weight;
        highest_of_block[blockIdx.x] = highest;
    }
    if (!plb_is_last_block(p.reduction.state, is_last))
        return;
    double all[1];
    plb_sums_of_blocks(all, sum_of_block, partial);
    for (unsigned block = threadIdx.x; block < gridDim.x; block += blockDim.x)
        highest = plb_highest(highest, *(const volatile double *)(highest_of_block + block));
    highest = plb_block_highest(highest, partial);
    if (threadIdx.x != 0)
        return;
    *sum = all[0];
    if (factors)
        store_factors(highest * fabs(plb_reduction_upstream(p.reduction, all[0]).factor), scales, factors);
}

poslabel_status plb_linear_weigh(const plb_call *call, const plb_loss_parameters *p, double *sum, double *of_blocks,
                                 int blocks, bool scales, float *factors)
{
    return plb_launch(call, PLB_INDEPENDENT, linear_weigh_kernel, blocks, PLB_LOSS_THREADS, 0, *p, sum, of_blocks,
                      of_blocks + blocks, scales, factors);
}

template <typename unit> PLB_DEVICE void copy_units(char *to, const char *from, bool counts, long long bytes)
{
    for (long long i = threadIdx.x % 32; i < bytes / (long long)sizeof(unit); i += 32)
        ((unit *)to)[i] = counts ? ((const unit *)from)[i] : unit();
}

/* A warp copies a row of elements of 2, 4 or 8 bytes, or clears it: 16 bytes at a time where alignment allows it. */
PLB_DEVICE void copy_row(char *to, const char *from, bool counts, long long length, int size)
{
    const long long bytes = length * size;
    if ((((unsigned long long)to | (unsigned long long)from | (unsigned long long)bytes) & 15) == 0)
        copy_units<uint4>(to, from, counts, bytes);
    else if (size == 2)
        copy_units<unsigned short>(to, from, counts, bytes);
    else if (size == 4)
        copy_units<unsigned>(to, from, counts, bytes);
    else
        copy_units<unsigned long long>(to, from, counts, bytes);
}

/* A warp has a row at a time. */
__global__ void linear_gather_kernel(const plb_loss_parameters p, bool all_count, const plb_view_rows matrix,
                                     long long first, long long rows, long long channels, char *to, long long pitch)
{
    const bool none_counts = !all_count && plb_reduction_upstream(p.reduction, 1).nothing;
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
