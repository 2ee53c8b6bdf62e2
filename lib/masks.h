/*
 * Masks: what a backend is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_MASKS_H
#define PLB_MASKS_H

#include "read.h"

/* poslabel_droppos_masks() is the general case, the others leave its second half out. */
typedef struct plb_masks_job {
    int64_t images, tokens, keep, keep_pos; /* B, N, V, K_pos */
    int patch_mask;                         /* a poslabel_patch_mask */
    poslabel_grid grid;                     /* regular and block */
    int32_t block_side;
    bool wrong_positions;
    uint64_t seed;
    uint32_t first_sample, step;
    plb_rows samples;                       /* one row of an index for each image, in place of first_sample + b */
    plb_rows step_scalar;                   /* in place of step */
    plb_rows patch_noise, pos_noise, shuffle_noise;
    plb_rows ids_keep, ids_remove, ids_restore, mask;
    plb_rows ids_keep_pos, ids_restore_pos, mask_pos, positions, places;
} plb_masks_job;

/* That the indices of images from first_sample on stay below 2^32: for all that draws. */
poslabel_status plb_check_first_sample(const plb_call *call, uint32_t first_sample, int64_t images);

#endif
