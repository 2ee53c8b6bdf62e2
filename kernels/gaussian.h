/*
 * Gaussian position targets as two tables of factors, one for each axis.  SPDX-License-Identifier: Apache-2.0
 *
 *     y[i][j]   the factor of grid row j for a position in grid row i, normalised;   y_sum[i] = sum_j y[i][j]
 *     x[i][j]   the same for grid columns;                                           x_sum[i]
 *
 * A target is y[y_i][y_j] * x[x_i][x_j], and the sum of a row of targets y_sum[y_i] * x_sum[x_i].  For grids up to
 * about 64 x 64 each block fills tables in its shared memory; larger ones are filled in the workspace by launches of
 * their own.
 */
#ifndef PLB_CUDA_GAUSSIAN_H
#define PLB_CUDA_GAUSSIAN_H

#include "rows.h"

#include <poslabel/labels.h>

static inline size_t plb_gaussian_entries(poslabel_grid grid)
{
    const size_t h = (size_t)grid.height, w = (size_t)grid.width;
    return h * (h + 1) + w * (w + 1);
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
PLB_DEVICE void plb_gaussian_fill_axis(real *table, Factor factor, const double *norms, int side, int normalization,
                                       long long thread, long long threads)
{
    const long long entries = (long long)side * side;
    const bool by_row = normalization == POSLABEL_NORMALIZATION_ROW;
    for (long long k = thread; k < entries + side; k += threads) {
        if (k < entries) {
            const int i = (int)(k / side), j = (int)(k % side);
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
 * A block fills a table of its own.  `scratch` holds 2 (h + w) doubles.  The barriers stand between the factors, their
 * sums, the table, and its use.
 */
template <typename real>
PLB_DEVICE void plb_gaussian_fill(real *table, double *scratch, int height, int width, double sigma, int normalization)
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
    plb_gaussian_fill_axis(table, plb_gaussian_kept{y}, y_norms, height, normalization, thread, threads);
    plb_gaussian_fill_axis(table + (long long)height * (height + 1), plb_gaussian_kept{x}, x_norms, width,
                           normalization, thread, threads);
    PLB_BARRIER();
}

/* The factors around one position. */
template <typename real> struct plb_gaussian_around {
    const real *y, *x;
    real total; /* the sum of its targets */
    real top;   /* the target of the position itself */
};

template <typename real>
PLB_DEVICE plb_gaussian_around<real> plb_gaussian_at(const real *table, int height, int width, int position)
{
    const int y = position / width, x = position - y * width;
    const real *const columns = table + (long long)height * (height + 1);
    plb_gaussian_around<real> around;
    around.y = table + (long long)y * height;
    around.x = columns + (long long)x * width;
    around.total = table[(long long)height * height + y] * columns[(long long)width * width + x];
    around.top = around.y[y] * around.x[x];
    return around;
}

#endif
