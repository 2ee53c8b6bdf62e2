/*
 * The tokens of MAE's decoder and their gradient: what a backend is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_DECODER_H
#define PLB_DECODER_H

#include "read.h"

/* Which token stands where: common to the forward and the backward pass. */
typedef struct plb_decoder_layout {
    int64_t images, tokens, visible, prefix, channels; /* B, N, K, P, D */
    int64_t embedded;                                  /* E: the first rows of pos_embed, those of the prefix */
    plb_rows ids_restore;                              /* one row of N an image */
} plb_decoder_layout;

typedef struct plb_decoder_job {
    plb_decoder_layout layout;
    plb_rows x; /* B * (P + K) rows */
    plb_rows mask_token, pos_embed;
    plb_rows out; /* B * (P + N) rows */
} plb_decoder_job;

typedef struct plb_decoder_backward_job {
    plb_decoder_layout layout;
    plb_rows grad_out;
    plb_rows grad_x, grad_mask_token, grad_pos_embed;
} plb_decoder_backward_job;

#endif
