/*
 * Attentive weights: what a backend is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_ATTENTION_H
#define PLB_ATTENTION_H

#include "read.h"

typedef struct plb_attention_job {
    int64_t images, tokens, visible, channels;
    double temperature;
    plb_rows features;  /* B * N rows of D */
    plb_rows cls;       /* B rows, or 1 */
    plb_rows pos_embed; /* P + N rows */
    plb_rows ids_keep;  /* B rows of V */
    plb_rows attention; /* B rows of N */
    plb_rows weights;   /* B rows of V */
} plb_attention_job;

#endif
