/*
 * Arguments of the pairs of cells that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

void fuzz_cell_pairs(fuzz *f, poslabel_cell_pairs_args *a)
{
    a->grid = a_grid(f);
    a->kind = (int32_t)draw(f, 2);
    a->seed = draw(f, UINT64_MAX);
    const int64_t b = draw_size(f, 0, 3);
    const int64_t m = a->kind == POSLABEL_PAIRS_ALL ? grid_tokens(a->grid) : draw_size(f, 0, 7);
    if (one_in(f, 3))
        give(f, &a->samples, IDS, an_id(f), 1000, SHAPE(b));
    if (one_in(f, 3))
        give(f, &a->step_scalar, IDS, an_id(f), 1000, 0, NULL);
    give(f, &a->cells, OUTPUT, an_id(f), 0, SHAPE(b, m, 2));
}

void fuzz_cell_offsets(fuzz *f, poslabel_cell_offsets_args *a)
{
    a->grid = a_grid(f);
    a->absolute = (int32_t)draw(f, 2);
    a->normalized = (int32_t)draw(f, 2);
    const int64_t b = draw_size(f, 0, 3), m = draw_size(f, 0, 7);
    give(f, &a->cells, IDS, an_id(f), grid_tokens(a->grid), SHAPE(b, m, 2));
    give(f, &a->offsets, OUTPUT, a->normalized || one_in(f, 2) ? a_float(f) : an_id(f), 0, SHAPE(b, m, 2));
}

void fuzz_pair_features(fuzz *f, poslabel_pair_features_args *a)
{
    const poslabel_dtype dtype = a_float(f);
    const int64_t b = draw_size(f, 0, 3), n = draw_size(f, 0, 9), m = n ? draw_size(f, 0, 7) : 0,
                  c = draw_size(f, 0, 9);
    give(f, &a->features, FLOATS, dtype, 0, SHAPE(b, n, c));
    give(f, &a->cells, IDS, an_id(f), n, SHAPE(b, m, 2));
    give(f, &a->pairs, OUTPUT, dtype, 0, SHAPE(b, m, 2 * c));
}

void fuzz_pair_features_backward(fuzz *f, poslabel_pair_features_backward_args *a)
{
    const poslabel_dtype dtype = a_float(f);
    const int64_t b = draw_size(f, 0, 3), n = draw_size(f, 0, 9), m = n ? draw_size(f, 0, 7) : 0,
                  c = draw_size(f, 0, 9);
    give(f, &a->grad_pairs, FLOATS, dtype, 0, SHAPE(b, m, 2 * c));
    give(f, &a->cells, IDS, an_id(f), n, SHAPE(b, m, 2));
    give(f, &a->grad_features, OUTPUT, dtype, 0, SHAPE(b, n, c));
}
