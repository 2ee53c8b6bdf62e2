/*
 * options.h: the command line.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_OPTIONS_H
#define PRETRAIN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct options {
    const char *folder, *out;
    long height, width; /* of the grid, in patches */
    long patch, dim, depth, heads;
    double mask_ratio, pos_mask_ratio, sigma, crop_area;
    bool attentive;
    long batch, steps;
    double minutes, learning_rate;
    uint64_t seed;
    long threads;
} options;

enum { EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* Reads the command line.  Prints the help and exits with 0 when asked to; on a mistake prints what is wrong and exits
 * with EXIT_USAGE. */
options options_read(int argc, char **argv);

#endif
