/*
 * The one symbol that a level exports: plb_kernels_<LEVEL>, the tables of the families included before.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/isa/levels.h"

#define LEVEL_TABLE_OF(level) plb_kernels_##level
#define LEVEL_TABLE(level) LEVEL_TABLE_OF(level)

const plb_kernels LEVEL_TABLE(LEVEL) = {
    .isa = LEVEL_ISA,
    .attention = &attention_kernels,
    .loss = &loss_kernels,
    .masks = &mask_kernels,
    .mlp = &mlp_kernels,
    .tokens = &token_kernels,
};
