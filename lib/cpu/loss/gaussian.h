/*
 * The factors of Gaussian position targets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_GAUSSIAN_H
#define PLB_CPU_GAUSSIAN_H

#include <poslabel/labels.h>
#include <stdbool.h>

/* The vectors leave out what is less: float32 arithmetic cannot tell it from 0 beside the maximum. */
#define PLB_LEAST_FACTOR 0x1p-32

/*
 * One axis of the grid, kept by distance and by place: an axis of n places must not cost n x n.  What counts is a
 * window of places, as many around each, moved inwards at the border.
 */
typedef struct plb_gaussian_axis {
    int32_t side, reach, window; /* places, those to each side that count, those of a window */
    int normalization;
    const double *g;    /* exp(-d^2 / sigma^2) by distance d, from 1 - side on; 0 past the last */
    const double *norm; /* by place: 1 / the sum of g around it                                 */
    const double *sum;  /* by place i: the sum over j of the factors of i and j, unless it is 1 */
} plb_gaussian_axis;

/*
 * Gaussian targets of a position i, as a row of numbers.  On small grids, with rows that sum to 1, they lie ready.
 * Those of positions above one another are the same but for a shift and a factor.  So all come from a few long rows,
 * which fit in the L1 cache.
 */
typedef struct plb_gaussian_row {
    const float *targets; /* t_ij = factor * targets[j]; may be anything finite past the end */
    double factor;
} plb_gaussian_row;

/* Grids whose Gaussian targets are kept as rows of numbers. */
enum { PLB_MOST_TABLE_CLASSES = 400 };

/* t_ij is the product of the factors of both axes, each already normalised. */
typedef struct plb_gaussian {
    plb_gaussian_axis y, x;
    const plb_gaussian_row *rows; /* by position i, or NULL */
} plb_gaussian;

/* Bytes that plb_gaussian_fill() needs at `memory`, which must be aligned to 8. */
size_t plb_gaussian_size(poslabel_grid grid);

/* All but the rows. */
void plb_gaussian_fill(plb_gaussian *gaussian, poslabel_grid grid, double sigma, int normalization, void *memory);

/* For POSLABEL_NORMALIZATION_ROW: whether a grid has rows, they, and the bytes, aligned to 64, that they need. */
bool plb_gaussian_has_rows(poslabel_grid grid);
size_t plb_gaussian_rows_size(poslabel_grid grid);
void plb_gaussian_fill_rows(plb_gaussian *gaussian, void *memory);

/* The factor of places i and j: g / its sum around i (the paper's rows) or around j (the published code). */
static inline double plb_gaussian_factor(const plb_gaussian_axis *axis, int64_t i, int64_t j)
{
    return axis->g[j - i] * axis->norm[axis->normalization == POSLABEL_NORMALIZATION_ROW ? i : j];
}

/* t_ij for positions i and j. */
static inline double plb_gaussian_target(const plb_gaussian *g, int64_t i, int64_t j)
{
    const int32_t width = g->x.side;
    return plb_gaussian_factor(&g->y, i / width, j / width) * plb_gaussian_factor(&g->x, i % width, j % width);
}

/* The sum of t_ij over j. */
static inline double plb_gaussian_sum(const plb_gaussian *g, int32_t i)
{
    if (g->x.normalization == POSLABEL_NORMALIZATION_ROW)
        return 1;
    return g->y.sum[i / g->x.side] * g->x.sum[i % g->x.side];
}

/* Places of a window, in whole vectors of any instruction set. */
static inline int32_t plb_window_pitch(int32_t places)
{
    return (places + 15) / 16 * 16;
}

/* Where the window around place i begins. */
static inline int32_t plb_window_first(const plb_gaussian_axis *axis, int32_t i)
{
    const int32_t first = i > axis->reach ? i - axis->reach : 0, last_first = axis->side - axis->window;
    return first < last_first ? first : last_first;
}

/* The factors of the window around place i, and zeros up to its pitch.  Subnormal products would be slow. */
static inline void plb_window_fill(float *factor, const plb_gaussian_axis *axis, int32_t i)
{
    const int32_t first = plb_window_first(axis, i);
    const double *const g = axis->g + (first - i), *const norm = axis->norm + first;
    const bool by_row = axis->normalization == POSLABEL_NORMALIZATION_ROW;
    for (int32_t k = 0; k < plb_window_pitch(axis->window); k++) {
        const double f = g[k] * (by_row ? axis->norm[i] : norm[k]);
        factor[k] = (float)(k < axis->window && g[k] >= PLB_LEAST_FACTOR ? f : 0);
    }
}

#endif
