/*
 * The gradient of the logits of a linear head, rounded to 16 bits, and the sums of its columns.
 *
 * One pass over the rows of a chunk does both.  Blocks sum slabs of rows, and a small kernel adds up the slabs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linear/linear.cuh"
#include "core/slots.cuh"

enum { SUM_THREADS = 256, SUM_NUMBERS = SUM_THREADS * PLB_SLOT, LEAST_SLAB = 64 };

long long plb_linear_slabs(const plb_call *call, long long rows)
{
    const long long most = (long long)plb_cuda_of(call)->multiprocessors * 2, slabs = rows / LEAST_SLAB;
    return slabs < 1 ? 1 : slabs < most ? slabs : most;
}

/* A thread's slot of some rows, of which there are `columns`.  All loads are issued before the first value is used. */
template <int ROWS, bool COMPLETE, typename real, typename T>
PLB_DEVICE void round_slots(const real *gradient, T *to, long long step, int columns, real scale,
                            double (&sum)[PLB_SLOT])
{
    real value[ROWS][PLB_SLOT];
#pragma unroll
    for (int k = 0; k < ROWS; k++) {
        const real *const at = gradient + k * step;
        if constexpr (COMPLETE && sizeof(real) == 4) {
            const float4 slot = *(const float4 *)at;
            value[k][0] = slot.x, value[k][1] = slot.y, value[k][2] = slot.z, value[k][3] = slot.w;
        } else {
#pragma unroll
            for (int e = 0; e < PLB_SLOT; e++)
                value[k][e] = e < columns ? at[e] : 0;
        }
    }
#pragma unroll
    for (int k = 0; k < ROWS; k++) {
#pragma unroll
        for (int e = 0; e < PLB_SLOT; e++) {
            sum[e] += value[k][e];
            value[k][e] *= scale;
        }
        if constexpr (sizeof(T) == 2) {
            plb_slot_bits<T> rounded;
            plb_close_slot(&rounded, value[k]);
            plb_store_words(to + k * step, rounded.bits);
        }
    }
}

template <bool COMPLETE, typename real, typename T>
PLB_DEVICE void round_rows(const real *gradient, T *to, long long rows, long long step, int columns, real scale,
                           double (&sum)[PLB_SLOT])
{
    enum { AT_ONCE = 4 };
    long long r = 0;
    for (; r + AT_ONCE <= rows; r += AT_ONCE)
        round_slots<AT_ONCE, COMPLETE>(gradient + r * step, to ? to + r * step : to, step, columns, scale, sum);
    for (; r < rows; r++)
        round_slots<1, COMPLETE>(gradient + r * step, to ? to + r * step : to, step, columns, scale, sum);
}

/*
 * A block has a slab of rows and a slot of columns for each thread.  A thread has every n-th row of the slab, where n
 * rows fill the block.  `sums` are those of each slab.  T is the type to round to; if it is `real`, only sums are made.
 * Rounded rows end with up to three more zeros.
 */
template <typename real, typename T>
__global__ void __launch_bounds__(SUM_THREADS)
    linear_round_kernel(const real *gradient, long long rows, int classes, long long pitch, long long slabs, T *to,
                        const float *factors, double *sums)
{
    PLB_SHARED(double, partial, SUM_NUMBERS);
    const long long of_slab = (rows + slabs - 1) / slabs, slab = blockIdx.x % slabs;
    const int first_column = (int)(blockIdx.x / slabs) * SUM_NUMBERS, columns = classes - first_column;
    const int width = (columns < SUM_NUMBERS ? columns + PLB_SLOT - 1 : SUM_NUMBERS) / PLB_SLOT;
    const int n = SUM_THREADS / width, own_row = (int)threadIdx.x / width;
    const int own_column = (int)threadIdx.x % width * PLB_SLOT;
    const long long first = slab * of_slab + own_row, end = (slab + 1) * of_slab < rows ? (slab + 1) * of_slab : rows;
    const long long own_rows = own_row < n && first < end ? (end - first + n - 1) / n : 0;
    const long long at = first * pitch + first_column + own_column;
    const real scale = factors ? (real)factors[PLB_LINEAR_NARROWS] : (real)1;
    double sum[PLB_SLOT] = {0, 0, 0, 0};
    if (columns - own_column >= PLB_SLOT)
        round_rows<true>(gradient + at, to ? to + at : to, own_rows, n * pitch, PLB_SLOT, scale, sum);
    else
        round_rows<false>(gradient + at, to ? to + at : to, own_rows, n * pitch, columns - own_column, scale, sum);
    if (!sums)
        return;
#pragma unroll
    for (int e = 0; e < PLB_SLOT; e++)
        partial[threadIdx.x * PLB_SLOT + e] = sum[e];
    PLB_BARRIER();
    for (int i = (int)threadIdx.x; i < width * PLB_SLOT && i < columns; i += SUM_THREADS) {
        double all = 0;
        for (int row = 0; row < n; row++)
            all += partial[row * width * PLB_SLOT + i];
        sums[slab * classes + first_column + i] = all;
    }
}

enum { COLUMNS = 8, COLUMN_THREADS = 1024, COLUMN_ROWS = COLUMN_THREADS / COLUMNS };

/*
 * sums[c] += the sum of column c of `rows` rows.  A block has eight columns, which fill two sectors of memory, so that
 * a few hundred columns have dozens of blocks.  Each thread adds up every 128th row, with several loads in flight.  The
 * threads' sums are then added pairwise, with a barrier between steps.
 */
__global__ void __launch_bounds__(COLUMN_THREADS)
    linear_columns_kernel(const double *row, long long rows, int classes, double *sums)
{
    PLB_SHARED(double, partial, COLUMN_THREADS);
    const int thread = (int)threadIdx.x;
    const long long column = (long long)blockIdx.x * COLUMNS + thread % COLUMNS;
    double sum = 0;
    if (column < classes)
#pragma unroll 4
        for (long long r = thread / COLUMNS; r < rows; r += COLUMN_ROWS)
            sum += row[r * classes + column];
    partial[thread] = sum;
    for (int step = COLUMN_THREADS / 2; step >= COLUMNS; step /= 2) {
        PLB_BARRIER();
        if (thread < step)
            partial[thread] += partial[thread + step];
    }
    if (thread < COLUMNS && column < classes)
        sums[column] += partial[thread];
}

template <typename real, typename T>
static poslabel_status round_and_sum(const plb_call *call, const void *gradient, long long rows, int classes,
                                     long long pitch, void *to, const float *factors, double *of_slabs)
{
    const long long slabs = plb_linear_slabs(call, rows), parts = ((long long)classes + SUM_NUMBERS - 1) / SUM_NUMBERS;
    return plb_launch(call, PLB_INDEPENDENT, linear_round_kernel<real, T>, slabs * parts, SUM_THREADS, 0,
                      (const real *)gradient, rows, classes, pitch, slabs, (T *)to, factors, of_slabs);
}

poslabel_status plb_linear_round_and_sum(const plb_call *call, const void *gradient, bool is_double, long long rows,
                                         int classes, long long pitch, void *to, int dtype, const float *factors,
                                         double *of_slabs, double *sums)
{
    if (rows == 0)
        return POSLABEL_OK;
    poslabel_status (*const pass)(const plb_call *, const void *, long long, int, long long, void *, const float *,
                                  double *) = is_double          ? round_and_sum<double, double>
                                              : !to              ? round_and_sum<float, float>
                                              : dtype == PLB_F16 ? round_and_sum<float, __half>
                                                                 : round_and_sum<float, __nv_bfloat16>;
    PLB_TRY(pass(call, gradient, rows, classes, pitch, to, to ? factors : NULL, of_slabs));
    if (!of_slabs)
        return POSLABEL_OK;
    return plb_launch(call, PLB_INDEPENDENT, linear_columns_kernel, ((long long)classes + COLUMNS - 1) / COLUMNS,
                      COLUMN_THREADS, 0, (const double *)of_slabs, plb_linear_slabs(call, rows), classes, sums);
}
