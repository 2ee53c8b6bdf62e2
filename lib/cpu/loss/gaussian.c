/*
 * The factors of Gaussian position targets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/gaussian.h"

#include "size.h"

#include <math.h>
#include <poslabel/labels.h>
#include <string.h>

/*
 * One axis: factor[i][j] = g(i - j) / norm, where norm is the sum over the axis of g around i (the paper's rows) or
 * around j (the published code).  The product of both axes is then the whole target with its normalisation.
 */
static void fill_axis(double *factor, double *row_sum, int32_t side, double sigma, int normalization)
{
    for (int32_t j = 0; j < side; j++) /* g depends on the distance alone, and is slow */
        factor[j] = sigma > 0 ? exp(-(double)j * j / (sigma * sigma)) : j == 0;
    for (int32_t i = 1; i < side; i++)
        for (int32_t j = 0; j < side; j++)
            factor[(int64_t)i * side + j] = factor[i > j ? i - j : j - i];
    for (int32_t i = 0; i < side; i++) {
        row_sum[i] = 0;
        for (int32_t j = 0; j < side; j++)
            row_sum[i] += factor[(int64_t)i * side + j];
    }
    /* g is symmetric: the sum around j is row_sum[j] */
    for (int32_t i = 0; i < side; i++)
        for (int32_t j = 0; j < side; j++)
            factor[(int64_t)i * side + j] /= row_sum[normalization == POSLABEL_NORMALIZATION_ROW ? i : j];
    for (int32_t i = 0; i < side; i++) {
        row_sum[i] = 0;
        for (int32_t j = 0; j < side; j++)
            row_sum[i] += factor[(int64_t)i * side + j];
    }
}

/* What float32 arithmetic cannot tell from 0 beside the factor of position i itself. */
static double least_factor(const double *factor, int32_t side, int64_t i)
{
    return factor[i * side + i] * 0x1p-32;
}

/* The places of an axis that count around each: as many for all, moved inwards at the border.  Returns how many. */
static int32_t find_window(const double *factor, int32_t side, int32_t *first)
{
    int32_t count = 1;
    for (int32_t i = 0; i < side; i++) {
        const double *const row = factor + (int64_t)i * side, least = least_factor(factor, side, i);
        int32_t last = i;
        for (first[i] = i; first[i] > 0 && row[first[i] - 1] >= least;)
            first[i]--;
        while (last + 1 < side && row[last + 1] >= least)
            last++;
        count = last - first[i] + 1 > count ? last - first[i] + 1 : count;
    }
    for (int32_t i = 0; i < side; i++)
        first[i] = first[i] + count <= side ? first[i] : side - count;
    return count;
}

/* Products of factors that do not count would be subnormal, and slow. */
static void fill_window(float *window, int64_t pitch, const double *factor, int32_t side, const int32_t *first,
                        int32_t count)
{
    for (int64_t i = 0; i < side; i++)
        for (int64_t k = 0; k < pitch; k++) {
            const double f = k < count ? factor[i * side + first[i] + k] : 0;
            window[i * pitch + k] = f >= least_factor(factor, side, i) ? (float)f : 0;
        }
}

static size_t round_up(size_t columns)
{
    return (columns + 15) / 16 * 16;
}

size_t plb_gaussian_size(poslabel_grid grid)
{
    const size_t h = (size_t)grid.height, w = (size_t)grid.width;
    const size_t doubles =
        plb_size_add(plb_size_mul(h, w), plb_size_add(plb_size_mul(h, h + 1), plb_size_mul(w, w + 1)));
    const size_t floats = plb_size_add(plb_size_mul(h, h + 1), plb_size_mul(w, round_up(w) + 1));
    return plb_size_add(plb_size_mul(doubles, sizeof(double)), plb_size_mul(floats, sizeof(float)));
}

void plb_gaussian_fill(plb_gaussian *gaussian, poslabel_grid grid, double sigma, int normalization, void *memory)
{
    const int64_t h = grid.height, w = grid.width;
    double *const y = memory, *const y_sum = y + h * h, *const x = y_sum + h, *const x_sum = x + w * w;
    double *const total = x_sum + w;
    int32_t *const first_row = (int32_t *)(total + h * w), *const first_column = first_row + h;
    float *const y_window = (float *)(first_column + w);
    fill_axis(y, y_sum, grid.height, sigma, normalization);
    fill_axis(x, x_sum, grid.width, sigma, normalization);
    for (int64_t i = 0; i < h; i++)
        for (int64_t j = 0; j < w; j++)
            total[i * w + j] = y_sum[i] * x_sum[j];

    const int32_t rows = find_window(y, grid.height, first_row), columns = find_window(x, grid.width, first_column);
    float *const x_window = y_window + h * rows;
    const int64_t pitch = (int64_t)round_up((size_t)columns);
    fill_window(y_window, rows, y, grid.height, first_row, rows);
    fill_window(x_window, pitch, x, grid.width, first_column, columns);
    *gaussian = (plb_gaussian){
        .height = grid.height,
        .width = grid.width,
        .y = y,
        .x = x,
        .total = total,
        .window_rows = rows,
        .window_columns = columns,
        .first_row = first_row,
        .first_column = first_column,
        .y_window = y_window,
        .x_window = x_window,
        .x_pitch = pitch,
    };
}

/* Floats past the end of a row that a vector may read. */
enum { SLACK = 32 };

size_t plb_gaussian_rows_size(poslabel_grid grid)
{
    const size_t h = (size_t)grid.height, w = (size_t)grid.width;
    return ((2 * h - 1) * w * w + SLACK) * sizeof(float) + h * w * sizeof(plb_gaussian_row);
}

/*
 * For each column x of the grid one long row: what the targets of a position in that column are at 2 h - 1 grid rows
 * around its own, relative to its own.  The targets of a position at y begin h - 1 - y grid rows on.  All but `reach`
 * grid rows on both sides are 0, and are the zeros of the columns before and after too.
 */
void plb_gaussian_fill_rows(plb_gaussian *gaussian, void *memory)
{
    const int64_t h = gaussian->height, w = gaussian->width;
    const double *const y = gaussian->y;
    int64_t reach = 0;
    while (reach + 1 < h && y[reach + 1] >= least_factor(y, gaussian->height, 0))
        reach++;
    plb_gaussian_row *const rows = memory;
    float *const targets = (float *)(void *)(rows + h * w);
    const int64_t pitch = (h + reach) * w;
    memset(targets, 0, (size_t)(w * pitch + (h - 1 - reach) * w + SLACK) * sizeof(float));
    for (int64_t i = 0; i < w; i++) {
        const float *const x = gaussian->x_window + i * gaussian->x_pitch;
        float *const own = targets + i * pitch + (h - 1) * w;
        for (int64_t d = -reach; d <= reach; d++) {
            const float g = (float)(y[d < 0 ? -d : d] / y[0]);
            for (int32_t k = 0; k < gaussian->window_columns; k++)
                own[d * w + gaussian->first_column[i] + k] = g * x[k];
        }
        for (int64_t j = 0; j < h; j++)
            rows[j * w + i] = (plb_gaussian_row){own - j * w, y[j * h + j]};
    }
    gaussian->rows = rows;
}
