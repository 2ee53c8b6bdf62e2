/*
 * The factors of Gaussian position targets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/gaussian.h"

#include "size.h"

#include <math.h>
#include <string.h>

/* A window that is rounded up to whole vectors reads past the end of an axis. */
enum { PAST = 16 };

/* Numbers of an axis: g to both sides, norms, sums. */
static size_t axis_numbers(int32_t side)
{
    return 4 * (size_t)side + 2 * PAST;
}

/* Gives how many distances have a g above 0; all others are not touched. */
static int32_t fill_g(double *g, int32_t side, double sigma)
{
    g[0] = 1;
    for (int32_t d = 1; d < side; d++) {
        g[d] = g[-d] = sigma > 0 ? exp(-(double)d * d / (sigma * sigma)) : 0;
        if (g[d] == 0)
            return d;
    }
    return side;
}

static void fill_axis(plb_gaussian_axis *axis, int32_t side, double sigma, int normalization, double *memory)
{
    double *const g = memory + side - 1, *const norm = g + side + PAST, *const sum = norm + side + PAST;
    memset(memory, 0, axis_numbers(side) * sizeof(double));
    const int32_t distances = fill_g(g, side, sigma);
    int32_t reach = 0;
    while (reach + 1 < distances && g[reach + 1] >= PLB_LEAST_FACTOR)
        reach++;
    *axis = (plb_gaussian_axis){
        .side = side,
        .reach = reach,
        .window = reach < side / 2 ? 2 * reach + 1 : side,
        .normalization = normalization,
        .g = g,
        .norm = norm,
        .sum = sum,
    };
    for (int32_t d = 0; d < side; d++) /* the sums to one side */
        sum[d] = g[d] + (d ? sum[d - 1] : 0);
    for (int32_t i = 0; i < side; i++)
        norm[i] = 1 / (sum[i] + sum[side - 1 - i] - 1);
    memset(sum, 0, (size_t)side * sizeof *sum);
    for (int32_t d = -reach; d <= reach && normalization == POSLABEL_NORMALIZATION_REFERENCE; d++)
        for (int32_t i = d < 0 ? -d : 0; i < side && i + d < side; i++)
            sum[i] += g[d] * norm[i + d];
}

size_t plb_gaussian_size(poslabel_grid grid)
{
    return plb_size_mul(plb_size_add(axis_numbers(grid.height), axis_numbers(grid.width)), sizeof(double));
}

void plb_gaussian_fill(plb_gaussian *gaussian, poslabel_grid grid, double sigma, int normalization, void *memory)
{
    double *const y = memory;
    fill_axis(&gaussian->y, grid.height, sigma, normalization, y);
    fill_axis(&gaussian->x, grid.width, sigma, normalization, y + axis_numbers(grid.height));
    gaussian->rows = NULL;
}

/* Floats past the end of a row that a vector may read. */
enum { SLACK = 32 };

/* Long rows of more numbers would not stay in the L2 cache, and would take a call of few rows too long. */
enum { MOST_NUMBERS = 32768 };

/* What all long rows have, if they reach as far as the grid. */
static int64_t row_numbers(poslabel_grid grid)
{
    return (2 * (int64_t)grid.height - 1) * grid.width * grid.width;
}

bool plb_gaussian_has_rows(poslabel_grid grid)
{
    return (int64_t)grid.height * grid.width <= PLB_MOST_TABLE_CLASSES && row_numbers(grid) <= MOST_NUMBERS;
}

size_t plb_gaussian_rows_size(poslabel_grid grid)
{
    const size_t positions = (size_t)grid.height * (size_t)grid.width;
    return ((size_t)row_numbers(grid) + SLACK) * sizeof(float) + positions * sizeof(plb_gaussian_row);
}

/*
 * For each column x of the grid one long row: what the targets of a position in that column are at 2 h - 1 grid rows
 * around its own, relative to its own.  The targets of a position at y begin h - 1 - y grid rows on.  All but `reach`
 * grid rows on both sides are 0, and are the zeros of the columns before and after too.
 */
void plb_gaussian_fill_rows(plb_gaussian *gaussian, void *memory)
{
    const plb_gaussian_axis *const y = &gaussian->y, *const x = &gaussian->x;
    const int64_t h = y->side, w = x->side, reach = y->reach;
    plb_gaussian_row *const rows = memory;
    float *const targets = (float *)(void *)(rows + h * w);
    float window[PLB_MOST_TABLE_CLASSES + PAST];
    const int64_t pitch = (h + reach) * w;
    memset(targets, 0, (size_t)(w * pitch + (h - 1 - reach) * w + SLACK) * sizeof(float));
    for (int32_t i = 0; i < w; i++) {
        float *const own = targets + i * pitch + (h - 1) * w;
        plb_window_fill(window, x, i);
        for (int64_t d = -reach; d <= reach; d++)
            for (int32_t k = 0; k < x->window; k++)
                own[d * w + plb_window_first(x, i) + k] = (float)y->g[d] * window[k];
        for (int64_t j = 0; j < h; j++)
            rows[j * w + i] = (plb_gaussian_row){own - j * w, y->norm[j]};
    }
    gaussian->rows = rows;
}
