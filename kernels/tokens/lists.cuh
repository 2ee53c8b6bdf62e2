/*
 * Which visible tokens stand at a position.
 *
 * The way back is a gather: whoever owns a position of an image asks which rows of grad_x belong there.  Mostly it is
 * none or one, and one load of 8 bytes answers that; a token that is visible several times has the others in a chain,
 * in the order of r, so that sums have a fixed order.
 *
 * With positions of their own, tokens whose position is another token's are in a second list, by position: strays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_TOKEN_LISTS_H
#define PLB_CUDA_TOKEN_LISTS_H

#include "tokens/tokens.cuh"

struct alignas(8) plb_kept {
    unsigned row;  /* of grad_x; the top bit says that its position was dropped */
    unsigned next; /* 1 + the next r of the chain, or 0; the top bit says that it is a stray */
};

static constexpr unsigned PLB_KEPT_FLAG = 0x80000000u, PLB_KEPT_NONE = 0xffffffffu; /* the latter: a row */

struct plb_token_lists {
    plb_kept *first; /* images of N */
    plb_kept *chain; /* images of V */
};

/* The list that visible token r belongs to; -1: none. */
PLB_DEVICE int plb_list_of(const plb_token_view &view, long long image, int r, bool strays)
{
    const plb_token_source source = plb_find_token(view, image, r, false);
    if (!strays)
        return source.id;
    return source.position != source.id ? source.position : -1;
}

/* Lists an image.  For a whole block. */
PLB_DEVICE void plb_list_image(const plb_token_view &view, const plb_token_lists &lists, long long image, bool strays)
{
    const int threads = (int)blockDim.x;
    plb_kept *const first = lists.first + image * view.tokens, *const chain = lists.chain + image * view.visible;
    /* at first `next` is the least r of the position */
    for (long long n = threadIdx.x; n < view.tokens; n += threads)
        first[n] = plb_kept{PLB_KEPT_NONE, UINT_MAX};
    for (long long r = threadIdx.x; r < view.visible; r += threads) {
        const plb_token_source source = plb_find_token(view, image, (int)r, !strays);
        const bool is_stray = source.position >= 0 && source.position != source.id;
        chain[r] = plb_kept{(unsigned)(view.prefix + source.place) | (source.position < 0 ? PLB_KEPT_FLAG : 0),
                            is_stray ? PLB_KEPT_FLAG : 0};
    }
    PLB_BARRIER(); /* all positions are empty, and all rows known, before the first token asks for its place */
    for (long long r = threadIdx.x; r < view.visible; r += threads) {
        const int n = plb_list_of(view, image, (int)r, strays);
        if (n >= 0)
            atomicMin(&first[n].next, (unsigned)r);
    }
    PLB_BARRIER(); /* every token has asked before one is told that it was not the first */
    for (long long r = threadIdx.x; r < view.visible; r += threads) {
        const int n = plb_list_of(view, image, (int)r, strays);
        if (n < 0 || first[n].next == (unsigned)r)
            continue;
        int before = (int)r - 1; /* there is one, so the search ends */
        while (plb_list_of(view, image, before, strays) != n)
            before--;
        atomicOr(&chain[before].next, (unsigned)r + 1);
    }
    PLB_BARRIER(); /* the chains are whole before they are copied */
    for (long long n = threadIdx.x; n < view.tokens; n += threads)
        if (first[n].next != UINT_MAX)
            first[n] = chain[first[n].next];
}

#endif
