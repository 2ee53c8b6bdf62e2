/*
 * The ranks of noise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_RANKS_H
#define PLB_CPU_RANKS_H

#include "cpu/masks/kernels.h"

/*
 * Ranks up to PLB_RANK_ROWS images, whose `range` need not be set: *range is the guess, bettered when it turns out to
 * be bad; start from {0}.
 */
void plb_rank(const plb_mask_kernels *kernels, plb_ranking *rows, int count, plb_noise_range *range);

#endif
