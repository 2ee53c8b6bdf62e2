/*
 * Gaussian position targets as tables.  SPDX-License-Identifier: Apache-2.0
 *
 * g(d) = exp(-d^2 / sigma^2) is the factor of one axis at a distance of d.  As factors, one table for each axis,
 * targets are y[y_i][y_j] * x[x_i][x_j] * factor.  Where rows sum to 1,
 *
 *     y[i][j] = g(i - j)      y_of[i] = 1 / sum_j g(i - j), the factor
 *     x[i][j] = g(i - j) / sum_j g(i - j)
 *
 * and in the published normalisation, by columns, with a factor of 1,
 *
 *     y[i][j] = g(i - j) / sum_k g(k - j)      y_of[i] = sum_j y[i][j], a part of the row's sum
 *     x[i][j], x_of[i]                         the same
 *
 * Each block fills such tables in its shared memory, or, where there is no room for them, launches of their own do in
 * the workspace.  Rows of x[] go on with their first three entries, for slots that run into the next grid row.
 *
 * Or, for targets whose rows sum to 1 on small grids, as one long row for each grid column,
 *
 *     long[x][(d + h - 1) * w + x_j] = g(d) * x[x][x_j]      y_of[]
 *
 * of which the targets of (y, x) are the h * w entries that begin at (h - 1 - y) * w, times the factor.  Both ways give
 * the same bits.
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
 * Entries k = thread, thread + threads, ... of one axis's table and of what it has for each row, from factors[d] = g(d)
 * and norms[i] = sum_j g(i - j).  g is symmetric, so norms[] serves both normalisations.
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
            table[k] = (real)(factor(i < j ? j - i : i - j) / (!by_row ? norms[j] : is_x ? norms[i] : 1));
            continue;
        }
        const int i = (int)(k - entries);
        double sum = 0;
        for (int j = 0; j < side && !by_row; j++)
            sum += factor(i < j ? j - i : i - j) / norms[j];
        table[k] = by_row ? (real)(1 / norms[i]) : (real)sum;
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
PLB_DEVICE void plb_gaussian_fill_long(real *rows, real *y_of, const plb_gaussian_axes &axes, int height, int width)
{
    const int pitch = plb_gaussian_long_pitch(height, width);
    for (int k = (int)threadIdx.x; k < width * width; k += (int)blockDim.x) {
        const int at = k / width, x = k - at * width;
        const real factor = (real)(axes.x[at < x ? x - at : at - x] / axes.x_norms[at]);
        real *const column = rows + at * pitch + x;
        for (int d = 0; d < height; d++) {
            const real target = (real)axes.y[d] * factor;
            column[(height - 1 - d) * width] = target;
            column[(height - 1 + d) * width] = target;
        }
    }
    for (int y = (int)threadIdx.x; y < height; y += (int)blockDim.x)
        y_of[y] = (real)(1 / axes.y_norms[y]);
}

#endif
