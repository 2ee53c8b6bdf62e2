/*
 * Pairs of cells: what a backend is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_PAIRS_H
#define PLB_PAIRS_H

#include "read.h"

typedef struct plb_cell_pairs_job {
    int64_t images, pairs; /* B, m */
    poslabel_grid grid;
    int kind; /* a poslabel_pair_kind */
    uint64_t seed;
    uint32_t first_sample, step;
    plb_rows samples;     /* a row of the indices of all images, in place of first_sample + b */
    plb_rows step_scalar; /* in place of step */
    plb_rows cells;       /* B * m rows of two */
} plb_cell_pairs_job;

typedef struct plb_cell_offsets_job {
    poslabel_grid grid;
    bool absolute, normalized;
    plb_rows cells, offsets; /* rows of two */
} plb_cell_offsets_job;

typedef struct plb_pair_features_job {
    int64_t images, tokens, pairs, channels; /* B, N, m, C */
    plb_rows cells;                          /* B * m rows of two */
    plb_rows features;                       /* or their gradient: B * N rows, whose channels may lie apart */
    plb_rows rows;                           /* pairs, or their gradient: B * m rows of 2 C */
} plb_pair_features_job;

#endif
