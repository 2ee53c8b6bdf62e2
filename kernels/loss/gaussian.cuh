/*
 * Gaussian position targets as tables.
 *
 * g(d) = exp(-d^2 / sigma^2) is the factor of one axis at a distance of d, and n[i] = sum_j g(i - j).  N is the least
 * n, that of the ends, so that no factor is larger than 1.  The table of an axis is
 *
 *     g[d] = g(d) / N      part[i] = N / n[i]      sum[i] = sum_j g(i - j) / n[j]
 *
 * Targets as factors: where rows sum to 1, the targets of (y, x) are
 *
 *     g[y_j - y] * g[x_j - x] * part[y] * part[x]
 *
 * In the published normalisation, by columns, they are
 *
 *     g[y_j - y] * part[y_j] * g[x_j - x] * part[x_j]
 *
 * and the targets of a row add up to sum[y] * sum[x].  Each block fills these tables in its shared memory.  Where they
 * do not fit, other launches fill them in the workspace.
 *
 * Targets as long rows, one for each grid column, on small grids where rows sum to 1:
 *
 *     long[x][(d + h - 1) * w + x_j] = g[d] * g[x_j - x]
 *
 * The targets of (y, x) are the h * w entries from (h - 1 - y) * w on, times part[y] * part[x].  Both ways give the
 * same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_GAUSSIAN_H
#define PLB_CUDA_GAUSSIAN_H

#include "core/rows.cuh"
#include "core/slots.cuh"

#include <poslabel/labels.h>

/* Offsets in the table of an axis, in multiples of its side: g[1 - side] to g[side - 1] and a spare, part[], sum[]. */
enum { PLB_PART_OF_AXIS = 2, PLB_SUM_OF_AXIS = 3, PLB_ENTRIES_OF_AXIS = 4 };

static inline size_t plb_gaussian_entries(poslabel_grid grid)
{
    const size_t spare = PLB_SLOT; /* a slot reads past a width of 1 */
    return PLB_ENTRIES_OF_AXIS * ((size_t)grid.height + (size_t)grid.width) + spare;
}

/* Entries of a long row, a multiple of PLB_SLOT. */
static __host__ __device__ inline int plb_gaussian_long_pitch(int height, int width)
{
    return ((2 * height - 1) * width + PLB_SLOT - 1) / PLB_SLOT * PLB_SLOT;
}

/* Entries of all long rows and both parts, and `beyond` more, for slots past the end of the last row. */
static inline size_t plb_gaussian_long_entries(poslabel_grid grid, int beyond)
{
    const size_t w = (size_t)grid.width, h = (size_t)grid.height;
    return w * (size_t)plb_gaussian_long_pitch(grid.height, grid.width) + h + w + (size_t)beyond;
}

PLB_DEVICE double plb_gaussian_factor(int i, int j, double sigma)
{
    const double distance = i - j;
    return i == j ? 1 : sigma > 0 ? exp(-distance * distance / (sigma * sigma)) : 0; /* sigma^2 may be 0 */
}

/* g[d], from factors[d] = g(d) and norms[i] = n[i]; g is symmetric, so norms[] serves both normalisations. */
template <typename real, typename Factor>
PLB_DEVICE real plb_gaussian_entry(Factor factor, const double *norms, int distance)
{
    return (real)(factor(distance < 0 ? -distance : distance) / norms[0]);
}

template <typename real> PLB_DEVICE real plb_gaussian_part(const double *norms, int i)
{
    return (real)(norms[0] / norms[i]);
}

/* Fills entries thread, thread + threads, ... of an axis's table, without sum[] where rows sum to 1. */
template <typename real, typename Factor>
PLB_DEVICE void plb_gaussian_fill_axis(real *table, Factor factor, const double *norms, int side, int normalization,
                                       long long thread, long long threads)
{
    const bool by_row = normalization == POSLABEL_NORMALIZATION_ROW;
    for (long long k = thread; k < (by_row ? PLB_SUM_OF_AXIS : PLB_ENTRIES_OF_AXIS) * (long long)side; k += threads) {
        const int section = (int)(k / side), i = (int)(k - section * (long long)side);
        if (section < PLB_PART_OF_AXIS) {
            const long long distance = k - (side - 1);
            table[k] = distance < side ? plb_gaussian_entry<real>(factor, norms, (int)distance) : (real)0;
        } else if (section == PLB_PART_OF_AXIS)
            table[k] = plb_gaussian_part<real>(norms, i);
        else {
            double sum = 0;
            for (int j = 0; j < side; j++)
                sum += factor(i < j ? j - i : i - j) / norms[j];
            table[k] = (real)sum;
        }
    }
}

/* Factors from a table. */
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

/* The factors of both axes by distance, and n[]: the inputs of a block's tables, in a scratch of 2 (h + w) doubles. */
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

/* A block fills tables of factors.  They are ready after a barrier. */
template <typename real>
PLB_DEVICE void plb_gaussian_fill(real *table, const plb_gaussian_axes &axes, int height, int width, int normalization)
{
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x;
    plb_gaussian_fill_axis(table, plb_gaussian_kept{axes.y}, axes.y_norms, height, normalization, thread, threads);
    plb_gaussian_fill_axis(table + (long long)PLB_ENTRIES_OF_AXIS * height, plb_gaussian_kept{axes.x}, axes.x_norms,
                           width, normalization, thread, threads);
}

/*
 * A block fills long rows, their copy `copy` entries later unless that is 0, and the parts of both axes.  They are
 * ready after a barrier.  A thread has a column of one row at a time.
 */
template <typename real>
PLB_DEVICE void plb_gaussian_fill_long(real *rows, int copy, real *parts, const plb_gaussian_axes &axes, int height,
                                       int width)
{
    const int pitch = plb_gaussian_long_pitch(height, width);
    for (int k = (int)threadIdx.x; k < width * width; k += (int)blockDim.x) {
        const int at = k / width, x = k - at * width;
        const real factor = plb_gaussian_entry<real>(plb_gaussian_kept{axes.x}, axes.x_norms, x - at);
        real *const column = rows + at * pitch + x;
        for (int d = 0; d < height; d++) {
            const real target = plb_gaussian_entry<real>(plb_gaussian_kept{axes.y}, axes.y_norms, d) * factor;
            column[(height - 1 - d) * width] = target;
            column[(height - 1 + d) * width] = target;
            column[copy + (height - 1 - d) * width] = target;
            column[copy + (height - 1 + d) * width] = target;
        }
    }
    for (int i = (int)threadIdx.x; i < height + width; i += (int)blockDim.x)
        parts[i] =
            i < height ? plb_gaussian_part<real>(axes.y_norms, i) : plb_gaussian_part<real>(axes.x_norms, i - height);
}

#endif
