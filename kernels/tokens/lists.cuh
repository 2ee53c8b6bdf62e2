/*
 * Lists of the visible tokens of each token, for the backward pass.
 *
 * The backward pass is a gather: the thread of a token of an image needs the rows of grad_x that belong to it.  Mostly
 * there is one row or none, and one load of 8 bytes tells.  A token that is visible several times has the other rows in
 * a chain, in the order of r, so that sums have a fixed order.
 *
 * If `positions` are given, a visible token can have the position of another token.  These strays are in a second list,
 * by position.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_TOKEN_LISTS_H
#define PLB_CUDA_TOKEN_LISTS_H

#include "tokens/tokens.cuh"

struct alignas(8) plb_kept {
    unsigned row;  /* of grad_x; the top bit: its position was dropped */
    unsigned next; /* 1 + the next r of the chain, or 0; the top bit: it is a stray */
};

static constexpr unsigned PLB_KEPT_FLAG = 0x80000000u;
static constexpr unsigned PLB_KEPT_NONE = 0xffffffffu; /* in place of a row: there is none */

struct plb_token_lists {
    plb_kept *first; /* [images, N] */
    plb_kept *chain; /* [images, V] */
};

/* The token, or position, whose list has visible token r; -1: none. */
PLB_DEVICE int plb_list_of(const plb_token_view &view, long long image, int r, bool strays)
{
    const plb_token_source source = plb_find_token(view, image, r, false);
    if (!strays)
        return source.id;
    return source.position != source.id ? source.position : -1;
}

/* Makes the lists of an image.  All threads of a block call this. */
PLB_DEVICE void plb_list_image(const plb_token_view &view, const plb_token_lists &lists, long long image, bool strays)
{
    const int threads = (int)blockDim.x;
    plb_kept *const first = lists.first + image * view.tokens, *const chain = lists.chain + image * view.visible;
    /* At first `next` is the least r of the list. */
    for (long long n = threadIdx.x; n < view.tokens; n += threads)
        first[n] = plb_kept{PLB_KEPT_NONE, UINT_MAX};
    for (long long r = threadIdx.x; r < view.visible; r += threads) {
        const plb_token_source source = plb_find_token(view, image, (int)r, !strays);
        const bool is_stray = source.position >= 0 && source.position != source.id;
        chain[r] = plb_kept{(unsigned)(view.prefix + source.place) | (source.position < 0 ? PLB_KEPT_FLAG : 0),
                            is_stray ? PLB_KEPT_FLAG : 0};
    }
    PLB_BARRIER(); /* all lists are empty and all rows are stored before the first token enters */
    for (long long r = threadIdx.x; r < view.visible; r += threads) {
        const int n = plb_list_of(view, image, (int)r, strays);
        if (n >= 0)
            atomicMin(&first[n].next, (unsigned)r);
    }
    PLB_BARRIER(); /* every token has entered before one finds that it was not the first */
    for (long long r = threadIdx.x; r < view.visible; r += threads) {
        const int n = plb_list_of(view, image, (int)r, strays);
        if (n < 0 || first[n].next == (unsigned)r)
            continue;
        int before = (int)r - 1; /* the list has an earlier token, so the search ends */
        while (plb_list_of(view, image, before, strays) != n)
            before--;
        atomicOr(&chain[before].next, (unsigned)r + 1);
    }
    PLB_BARRIER(); /* the chains are complete before they are copied */
    for (long long n = threadIdx.x; n < view.tokens; n += threads)
        if (first[n].next != UINT_MAX)
            first[n] = chain[first[n].next];
}

#endif
