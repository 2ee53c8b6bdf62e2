/*
 * Arguments of the labels and of the smoothing map that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

void fuzz_absolute_labels(fuzz *f, poslabel_absolute_labels_args *a)
{
    a->grid = a_grid(f);
    const int64_t b = draw_size(f, 0, 3), n = grid_tokens(a->grid);
    give(f, &a->labels, OUTPUT, an_id(f), 0, SHAPE(b, n));
}

void fuzz_relative_labels(fuzz *f, poslabel_relative_labels_args *a)
{
    a->grid = a_grid(f);
    const int64_t b = draw_size(f, 0, 3), n = grid_tokens(a->grid);
    give(f, &a->labels, OUTPUT, an_id(f), 0, SHAPE(b, n, n));
}

void fuzz_smoothing_map(fuzz *f, poslabel_smoothing_map_args *a)
{
    a->grid = a_grid(f);
    a->sigma = (double)draw(f, 5) / 2;
    a->normalization = (int32_t)draw(f, 2);
    const int64_t n = grid_tokens(a->grid);
    if (one_in(f, 3))
        give(f, &a->sigma_scalar, WEIGHTS, a_scalar(f), 0, 0, NULL);
    give(f, &a->map, OUTPUT, a_float(f), 0, SHAPE(n, n));
}
