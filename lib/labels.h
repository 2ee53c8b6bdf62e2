/*
 * Labels as tensors: what a backend is asked for, and checks that other families share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_LABELS_H
#define PLB_LABELS_H

#include "read.h"

typedef struct plb_labels_job {
    poslabel_grid grid;
    plb_rows labels; /* rows of N labels; for relative labels N rows belong together */
} plb_labels_job;

typedef struct plb_smoothing_map_job {
    poslabel_grid grid;
    double sigma;
    plb_rows sigma_scalar; /* in place of sigma */
    int normalization;
    plb_rows map;
} plb_smoothing_map_job;

/* Checks that several operations share: a grid whose relative labels fit, and the arguments of a Gaussian target. */
poslabel_status plb_check_relative_grid(const plb_call *call, poslabel_grid grid);
poslabel_status plb_check_sigma(const plb_call *call, double sigma, int normalization);

/* Whether a Gaussian of this width has neighbours: their share rounds to nothing where sigma is 0 or so small. */
bool plb_has_neighbours(double sigma);

#endif
