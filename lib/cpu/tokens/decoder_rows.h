/*
 * What the two passes over the tokens of the decoder share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_DECODER_ROWS_H
#define PLB_CPU_DECODER_ROWS_H

#include "cpu/tokens/layout.h"
#include "decoder.h"

/* The row of pos_embed, if there is one, that row k of an image of out gets; -1: a prefix token without embedding. */
static inline int64_t plb_decoder_embedding(const plb_decoder_layout *layout, int64_t k)
{
    if (k < layout->prefix)
        return k < layout->embedded ? k : -1;
    return layout->embedded + k - layout->prefix;
}

/* The row of an image of x that stands in row k of out; -1: the mask token does. */
static inline int64_t plb_decoder_source(const plb_decoder_layout *layout, int64_t image, int64_t k)
{
    if (k < layout->prefix)
        return k;
    const int64_t id = plb_token_index(&layout->ids_restore, image, k - layout->prefix);
    return id < layout->visible ? layout->prefix + id : -1;
}

#endif
