/*
 * Gaussian position targets as tables.  SPDX-License-Identifier: Apache-2.0
 *
 * As factors, one table for each axis:
 *
 *     y[i][j]   the factor of grid row j for a position in grid row i, normalised;   y_sum[i] = sum_j y[i][j]
 *     x[i][j]   the same for grid columns;                                           x_sum[i]
 *
 * A target is y[y_i][y_j] * x[x_i][x_j], and the sum of a row of targets y_sum[y_i] * x_sum[x_i].  For grids up to
 * about 64 x 64 each block fills tables in its shared memory; larger ones are filled in the workspace by launches of
 * their own.  Rows of x[] go on with their first three entries, for slots that run into the next grid row.
 *
 * Or, for targets whose rows sum to 1 on small grids, as one long row for each grid column,
 *
 *     long[x][(d + h - 1) * w + x_j]   the target of a position d grid rows below one in column x, times y_sum
 *     inverse[y]                       1 / y_sum
 *
 * of which the targets of (y, x) are the h * w entries that begin at (h - 1 - y) * w, times inverse[y].
 */
#ifndef PLB_CUDA_GAUSSIAN_H
#define PLB_CUDA_GAUSSIAN_H

#include "rows.h"
#include "slots.h"

#include <poslabel/labels.h>

/* Entries between two rows of an axis's table, and of the whole table with its sums. */
static __host__ __device__ inline long long plb_gaussian_pitch(int side, bool is_x)
{
    return side + (is_x ? PLB_SLOT - 1 : 0);
}

static __host__ __device__ inline long long plb_gaussian_axis(int side, bool is_x)
{
    return side * (plb_gaussian_pitch(side, is_x) + 1);
}

static inline size_t plb_gaussian_entries(poslabel_grid grid)
{
    return (size_t)(plb_gaussian_axis(grid.height, false) + plb_gaussian_axis(grid.width, true));
}

/* Of long rows; `beyond` entries more, for slots that lie past the end of the last. */
static __host__ __device__ inline int plb_gaussian_long_pitch(int height, int width)
{
    return ((2 * height - 1) * width + PLB_SLOT - 1) / PLB_SLOT * PLB_SLOT;
}

static inline size_t plb_gaussian_long_entries(poslabel_grid grid, int beyond)
{
    const size_t w = (size_t)grid.width, h = (size_t)grid.height;
    return w * (size_t)plb_gaussian_long_pitch(grid.height, grid.width) + h + (size_t)beyond;
}

PLB_DEVICE double plb_gaussian_factor(int i, int j, double sigma)
{
    const double distance = i - j;
    return sigma > 0 ? exp(-distance * distance / (sigma * sigma)) : i == j;
}

/*
 * Entries k = thread, thread + threads, ... of one axis's table and of its sums, from factors[d] = g(d) and
 * norms[i] = sum_j g(i - j).  g is symmetric, so norms[] serves both normalisations.
 */
template <typename real, typename Factor>
PLB_DEVICE void plb_gaussian_fill_axis(real *table, Factor factor, const double *norms, int side, bool is_x,
                                       int normalization, long long thread, long long threads)
{
    const long long pitch = plb_gaussian_pitch(side, is_x), entries = side * pitch;
    const bool by_row = normalization == POSLABEL_NORMALIZATION_ROW;
    for (long long k = thread; k < entries + side; k += threads) {
        if (k < entries) {
            const int i = (int)(k / pitch), j = (int)(k % pitch) % side;
            table[k] = (real)(factor(i < j ? j - i : i - j) / norms[by_row ? i : j]);
            continue;
        }
        const int i = (int)(k - entries);
        double sum = 0;
        for (int j = 0; j < side && !by_row; j++)
            sum += factor(i < j ? j - i : i - j) / norms[j];
        table[k] = by_row ? (real)1 : (real)sum;
    }
}

/* Factors that were computed before. */
struct plb_gaussian_kept {
    const double *factors;
    PLB_DEVICE double operator()(int distance) const
    {
        return factors[distance];
    }
};

static inline size_t plb_gaussian_scratch(poslabel_grid grid)
{
    return 2 * sizeof(double) * ((size_t)grid.height + (size_t)grid.width);
}

/*
 * What a block's tables are made of, in `scratch`, 2 (h + w) doubles: the factors of both axes by distance, and their
 * sums.
 */
struct plb_gaussian_axes {
    const double *y, *x, *y_norms, *x_norms;
};

PLB_DEVICE plb_gaussian_axes plb_gaussian_prepare(double *scratch, int height, int width, double sigma)
{
    double *const y = scratch, *const x = y + height, *const y_norms = x + width, *const x_norms = y_norms + height;
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x;
    for (int d = thread; d < height + width; d += threads)
        y[d] = plb_gaussian_factor(d < height ? d : d - height, 0, sigma);
    PLB_BARRIER();
    for (int i = thread; i < height + width; i += threads) {
        const bool is_row = i < height;
        const double *const factors = is_row ? y : x;
        const int at = is_row ? i : i - height, side = is_row ? height : width;
        double sum = 0;
        for (int j = 0; j < side; j++)
            sum += factors[at < j ? j - at : at - j];
        y_norms[i] = sum;
    }
    PLB_BARRIER();
    return plb_gaussian_axes{y, x, y_norms, x_norms};
}

/* A block fills tables of factors; they are ready after a barrier. */
template <typename real>
PLB_DEVICE void plb_gaussian_fill(real *table, const plb_gaussian_axes &axes, int height, int width, int normalization)
{
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x;
    plb_gaussian_fill_axis(table, plb_gaussian_kept{axes.y}, axes.y_norms, height, false, normalization, thread,
                           threads);
    plb_gaussian_fill_axis(table + plb_gaussian_axis(height, false), plb_gaussian_kept{axes.x}, axes.x_norms, width,
                           true, normalization, thread, threads);
}

/* A block fills long rows; they are ready after a barrier.  A thread has a column of one of them at a time. */
template <typename real>
PLB_DEVICE void plb_gaussian_fill_long(real *rows, real *inverse, const plb_gaussian_axes &axes, int height, int width)
{
    const int pitch = plb_gaussian_long_pitch(height, width);
    for (int k = (int)threadIdx.x; k < width * width; k += (int)blockDim.x) {
        const int at = k / width, x = k - at * width;
        const double factor = axes.x[at < x ? x - at : at - x] / axes.x_norms[at];
        real *const column = rows + at * pitch + x;
        for (int d = 0; d < height; d++) {
            const real target = (real)(axes.y[d] * factor);
            column[(height - 1 - d) * width] = target;
            column[(height - 1 + d) * width] = target;
        }
    }
    for (int y = (int)threadIdx.x; y < height; y += (int)blockDim.x)
        inverse[y] = (real)(1 / axes.y_norms[y]);
}

#endif
