/*
 * The factors of Gaussian position targets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_GAUSSIAN_H
#define PLB_CPU_GAUSSIAN_H

#include <poslabel/tensor.h>

/*
 * Gaussian targets of a position i, as a row of numbers.  On small grids, with rows that sum to 1, they lie ready.
 * Those of positions above one another are the same but for a shift and a factor.  So all come from a few long rows,
 * which fit in the L1 cache.
 */
typedef struct plb_gaussian_row {
    const float *targets; /* t_ij = factor * targets[j]; may be anything finite past the end */
    double factor;
} plb_gaussian_row;

/*
 * Factors of the Gaussian targets: t_ij = y[y_i][y_j] * x[x_i][x_j], each axis already normalised.
 *
 * What float32 arithmetic cannot tell from 0 beside the maximum (below 2^-32 of it) is left out by the vectors.  What
 * counts is a window of window_rows x window_columns patches, as large for every position.  It begins at first_row[y_i]
 * and first_column[x_i] and has the factors y_window[y_i] and x_window[x_i].
 */
typedef struct plb_gaussian {
    int32_t height, width;
    const double *y, *x;         /* height x height and width x width                                        */
    const double *total;         /* by position i: sum_j t_ij                                                  */
    int32_t window_rows, window_columns;
    const int32_t *first_row, *first_column;
    const float *y_window;       /* height x window_rows                                                      */
    const float *x_window;       /* width x x_pitch, zeros from window_columns on                             */
    int64_t x_pitch;             /* a multiple of 16                                                          */
    const plb_gaussian_row *rows; /* by position i, or NULL */
} plb_gaussian;

/* Bytes that plb_gaussian_fill() needs at `memory`, which must be aligned to 8. */
size_t plb_gaussian_size(poslabel_grid grid);

/* All but the rows. */
void plb_gaussian_fill(plb_gaussian *gaussian, poslabel_grid grid, double sigma, int normalization, void *memory);

/* For POSLABEL_NORMALIZATION_ROW: the rows, and the bytes, aligned to 64, that they need at `memory`. */
size_t plb_gaussian_rows_size(poslabel_grid grid);
void plb_gaussian_fill_rows(plb_gaussian *gaussian, void *memory);

/* t_ij for positions i and j. */
static inline double plb_gaussian_target(const plb_gaussian *g, int64_t i, int64_t j)
{
    return g->y[i / g->width * g->height + j / g->width] * g->x[i % g->width * g->width + j % g->width];
}

#endif
