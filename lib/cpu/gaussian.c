/* The factors of Gaussian position targets.  SPDX-License-Identifier: Apache-2.0 */
#include "gaussian.h"

#include <math.h>
#include <poslabel/labels.h>

/*
 * One axis: factor[i][j] = g(i - j) / norm, where norm is the sum over the axis of g around i (the paper's rows) or
 * around j (the published code).  The product of both axes is then the whole target with its normalisation.
 */
static void fill_axis(double *factor, double *row_sum, int32_t side, double sigma, int normalization)
{
    for (int32_t i = 0; i < side; i++) {
        row_sum[i] = 0;
        for (int32_t j = 0; j < side; j++) {
            const double distance = i - j;
            factor[(int64_t)i * side + j] = sigma > 0 ? exp(-distance * distance / (sigma * sigma)) : i == j;
            row_sum[i] += factor[(int64_t)i * side + j];
        }
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

static size_t pitch_of(int32_t width)
{
    return ((size_t)width + 15) / 16 * 16;
}

size_t plb_gaussian_size(poslabel_grid grid)
{
    const size_t h = (size_t)grid.height, w = (size_t)grid.width;
    const size_t doubles = plb_size_add(plb_size_mul(h, h + 1), plb_size_mul(w, w + 1));
    const size_t floats = plb_size_add(plb_size_mul(h, h), plb_size_mul(w, pitch_of(grid.width)));
    return plb_size_add(plb_size_mul(doubles, sizeof(double)), plb_size_mul(floats, sizeof(float)));
}

void plb_gaussian_fill(plb_gaussian *gaussian, poslabel_grid grid, double sigma, int normalization, void *memory)
{
    const int64_t h = grid.height, w = grid.width, pitch = (int64_t)pitch_of(grid.width);
    double *const y = memory, *const y_sum = y + h * h, *const x = y_sum + h, *const x_sum = x + w * w;
    float *const y_f32 = (float *)(x_sum + w), *const x_f32 = y_f32 + h * h;
    fill_axis(y, y_sum, grid.height, sigma, normalization);
    fill_axis(x, x_sum, grid.width, sigma, normalization);
    for (int64_t i = 0; i < h * h; i++)
        y_f32[i] = (float)y[i];
    for (int64_t i = 0; i < w; i++)
        for (int64_t j = 0; j < pitch; j++)
            x_f32[i * pitch + j] = j < w ? (float)x[i * w + j] : 0;
    *gaussian = (plb_gaussian){
        .height = grid.height,
        .width = grid.width,
        .y = y,
        .x = x,
        .y_sum = y_sum,
        .x_sum = x_sum,
        .y_f32 = y_f32,
        .x_f32 = x_f32,
        .x_pitch = pitch,
    };
}
