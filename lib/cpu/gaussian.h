/* The factors of Gaussian position targets.  SPDX-License-Identifier: Apache-2.0 */
#ifndef PLB_CPU_GAUSSIAN_H
#define PLB_CPU_GAUSSIAN_H

#include "simd.h"

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
