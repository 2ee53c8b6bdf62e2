/*
 * The token layout, for the forward and the backward pass of token assembly.
 *
 * Kernels read indices where they use them.  An index out of range is moved to the nearest one in range, so that no
 * address is wrong, and one of the threads that read it reports it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_TOKENS_H
#define PLB_CUDA_TOKENS_H

#include "core/pieces.cuh"
#include "tokens.h"

#include <limits.h>

struct plb_token_view {
    long long images;
    int tokens, visible, prefix; /* N, V, P */
    plb_images ids_keep, mask_pos, positions, places;
    int embedded; /* prefix tokens with an embedding */
    plb_device_state *state;
};

static inline plb_token_view plb_token_view_of(const plb_call *call, const plb_token_layout *layout)
{
    plb_token_view view;
    view.images = layout->images;
    view.tokens = (int)layout->tokens;
    view.visible = (int)layout->visible;
    view.prefix = (int)layout->prefix;
    view.ids_keep = plb_image_elements_of(&layout->ids_keep);
    view.mask_pos = plb_image_elements_of(&layout->mask_pos);
    view.positions = plb_image_elements_of(&layout->positions);
    view.places = plb_image_elements_of(&layout->places);
    view.embedded = (int)layout->embedded;
    view.state = plb_cuda_of(call)->state;
    return view;
}

/* Index r of an image, moved into [low, high]; high, if low > high. */
PLB_DEVICE int plb_index_in(const plb_images &indices, long long image, int r, int low, int high, bool *moved)
{
    const long long index = plb_load_id(plb_image_row(indices, image, r), indices.dtype);
    const long long least = index < low ? low : index, inside = least > high ? high : least;
    *moved = inside != index;
    return (int)inside;
}

/* ---- rows that are sums ---- */

/* A piece of a row, and what is added to it: as many elements, of another size perhaps. */
template <int DTYPE, int WITH> struct plb_addend {
    static constexpr int size = plb_kind<WITH>::size, count = size / plb_kind<DTYPE>::size;
    plb_piece part[count];
};

template <int DTYPE, int WITH, bool ALIGNED>
PLB_DEVICE void plb_load_addend(plb_addend<DTYPE, WITH> *to, const char *row, long long piece, int elements)
{
    constexpr int each = PLB_PIECE / plb_addend<DTYPE, WITH>::size;
#pragma unroll
    for (int k = 0; k < plb_addend<DTYPE, WITH>::count; k++) {
        const char *const at = row + (piece * plb_addend<DTYPE, WITH>::count + k) * PLB_PIECE;
        to->part[k] =
            ALIGNED ? plb_load_whole(at) : plb_load_part<plb_addend<DTYPE, WITH>::size>(at, 0, elements - k * each);
    }
}

/* The sum is formed in float32, or in float64 for that, and rounded once. */
template <int DTYPE, int WITH> PLB_DEVICE plb_piece plb_sum_of(const plb_piece &a, const plb_addend<DTYPE, WITH> &b)
{
    constexpr int size = plb_kind<DTYPE>::size, each = PLB_PIECE / plb_addend<DTYPE, WITH>::size;
    plb_piece sum = {{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < PLB_PIECE / size; i++)
        plb_put<size>(&sum, i,
                      plb_to_bits<DTYPE>(plb_number_at<DTYPE>(a, i) + plb_number_at<WITH>(b.part[i / each], i % each)));
    return sum;
}

/* ---- tokens whose channels lie apart ---- */

/* Blocks turn tiles of so many tokens by so many channels in shared memory, eight lines of a tile at a time. */
enum { PLB_TILE = 32, PLB_TILE_THREADS = 256, PLB_TILE_LINES = PLB_TILE_THREADS / PLB_TILE };

/* Where a block's tile begins. */
struct plb_tile {
    long long image, token, channel;
};

PLB_DEVICE plb_tile plb_tile_of(long long block, long long tokens, long long channels)
{
    const long long across = (channels + PLB_TILE - 1) / PLB_TILE, down = (tokens + PLB_TILE - 1) / PLB_TILE;
    return plb_tile{block / across / down, block / across % down * PLB_TILE, block % across * PLB_TILE};
}

static inline long long plb_tiles_in(long long images, long long tokens, long long channels)
{
    return images * ((channels + PLB_TILE - 1) / PLB_TILE) * ((tokens + PLB_TILE - 1) / PLB_TILE);
}

/* ---- where tokens come from and go to ---- */

/* The source and the destination of visible token r of an image. */
struct plb_token_source {
    int id;         /* of the token; -1: there are no tokens */
    int position;   /* the one whose embedding it gets; -1: its position was dropped */
    int place;      /* in [0, V) */
    bool is_placed; /* its place was in range */
};

PLB_DEVICE plb_token_source plb_find_token(const plb_token_view &view, long long image, int r, bool report)
{
    const long long index = image * view.visible + r;
    plb_token_source source = {r, r, r, true};
    bool moved = false;
    if (view.ids_keep.data)
        source.id = plb_index_in(view.ids_keep, image, r, 0, view.tokens - 1, &moved);
    if (report && moved)
        plb_found(view.state, PLB_FOUND_IDS_KEEP, index);

    source.position = source.id;
    if (view.positions.data) {
        source.position = plb_index_in(view.positions, image, r, -1, view.tokens - 1, &moved);
        if (report && moved)
            plb_found(view.state, PLB_FOUND_TOKEN_IDS, index);
    } else if (view.mask_pos.data && !plb_is_zero(plb_image_row(view.mask_pos, image, r), view.mask_pos.dtype)) {
        source.position = -1;
    }
    if (view.places.data) {
        source.place = plb_index_in(view.places, image, r, 0, view.visible - 1, &moved);
        source.is_placed = !moved;
    }
    return source;
}

/* The number of places that a block checks at a time: it needs an int for each in its dynamic shared memory. */
static inline int plb_places_window(const plb_token_view *view)
{
    enum { MOST_PLACES = 8192 };
    return !view->places.data ? 0 : view->visible < MOST_PLACES ? view->visible : MOST_PLACES;
}

/* Reports places of an image that are out of range or that an earlier token has.  All threads of a block call this. */
PLB_DEVICE void plb_check_places(const plb_token_view &view, long long image, int *owner, int window)
{
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x;
    for (long long first = 0; first < view.visible; first += window) {
        for (int i = thread; i < window; i += threads)
            owner[i] = INT_MAX;
        PLB_BARRIER(); /* all places are free before one is taken */
        for (long long r = thread; r < view.visible; r += threads) {
            const long long place = plb_load_id(plb_image_row(view.places, image, r), view.places.dtype);
            if (place >= first && place < first + window)
                atomicMin(&owner[place - first], (int)r);
        }
        PLB_BARRIER(); /* each place has its first owner before one is compared */
        for (long long r = thread; r < view.visible; r += threads) {
            const long long place = plb_load_id(plb_image_row(view.places, image, r), view.places.dtype);
            const bool outside = place < 0 || place >= view.visible;
            const bool taken = place >= first && place < first + window && owner[place - first] != (int)r;
            if (outside ? first == 0 : taken)
                plb_found(view.state, PLB_FOUND_PLACES, image * view.visible + r);
        }
        PLB_BARRIER(); /* all threads have read this window before the next one clears it */
    }
}

#endif
