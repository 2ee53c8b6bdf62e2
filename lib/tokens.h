/*
 * Tokens and their gradient: what a backend is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_TOKENS_H
#define PLB_TOKENS_H

#include "read.h"

/* Which token and which embedding stands where: common to the forward and the backward pass. */
typedef struct plb_token_layout {
    int64_t images, tokens, visible, prefix, channels; /* B, N, V, P, D */
    plb_rows ids_keep, mask_pos, positions, places;    /* one row of V an image */
    int64_t embedded;                                  /* prefix tokens with an embedding: the first */
} plb_token_layout;

typedef struct plb_assemble_job {
    plb_token_layout layout;
    plb_rows tokens;                               /* B * N rows, whose channels may lie apart */
    plb_rows prefix_tokens, pos_embed, mask_token; /* each of the dtype of tokens, or float32 beside 16 bits */
    plb_rows x;                                    /* B * (P + V) rows */
} plb_assemble_job;

typedef struct plb_assemble_backward_job {
    plb_token_layout layout;
    plb_rows grad_x;
    plb_rows grad_tokens; /* its channels may lie apart */
    plb_rows grad_mask_token, grad_prefix_tokens, grad_pos_embed;
} plb_assemble_backward_job;

/* prefix_count, of the rows that an image has in the argument `name`. */
poslabel_status plb_check_prefix(const plb_call *call, int64_t prefix, const char *name, int64_t rows);

#endif
