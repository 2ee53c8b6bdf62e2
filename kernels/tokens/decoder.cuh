/*
 * What the forward and the backward pass over the tokens of the decoder share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_DECODER_H
#define PLB_CUDA_DECODER_H

#include "decoder.h"
#include "tokens/tokens.cuh"

struct plb_decoder_view {
    long long images;
    int tokens, visible, prefix, embedded; /* N, K, P, E */
    plb_images ids_restore;
    plb_device_state *state;
};

static inline plb_decoder_view plb_decoder_view_of(const plb_call *call, const plb_decoder_layout *layout)
{
    plb_decoder_view view;
    view.images = layout->images;
    view.tokens = (int)layout->tokens;
    view.visible = (int)layout->visible;
    view.prefix = (int)layout->prefix;
    view.embedded = (int)layout->embedded;
    view.ids_restore = plb_image_elements_of(&layout->ids_restore);
    view.state = plb_cuda_of(call)->state;
    return view;
}

/* ids_restore of token n of an image, moved into [0, N); K or more: the token is masked. */
PLB_DEVICE int plb_decoder_id(const plb_decoder_view &view, long long image, int n, bool report)
{
    bool moved;
    const int id = plb_index_in(view.ids_restore, image, n, 0, view.tokens - 1, &moved);
    if (report && moved)
        plb_found(view.state, PLB_FOUND_IDS_RESTORE, image * view.tokens + n);
    return id;
}

/* The row of pos_embed, if there is one, that row k of an image of out gets; -1: a prefix token without embedding. */
PLB_DEVICE int plb_decoder_embedding(const plb_decoder_view &view, int k)
{
    if (k < view.prefix)
        return k < view.embedded ? k : -1;
    return view.embedded + k - view.prefix;
}

#endif
