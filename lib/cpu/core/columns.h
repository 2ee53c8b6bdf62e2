/*
 * Tokens whose channels lie apart, as a convolution leaves them: [B, D, N] seen as [B, N, D].
 *
 * A tile of channels of one image is turned into rows that stay in the L2 cache, and all else works on those.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_COLUMNS_H
#define PLB_CPU_COLUMNS_H

#include "rows.h"

/* How the channels are cut: tiles of `channels`, whose rows are `pitch` bytes apart. */
typedef struct plb_tiles {
    int64_t channels, count;
    int64_t pitch;
    size_t bytes; /* of a tile: `tokens` rows */
} plb_tiles;

static inline bool plb_has_columns(const plb_rows *tensor)
{
    return tensor->data && tensor->element_stride != 1;
}

/* One tile, without a buffer, where the channels are contiguous. */
plb_tiles plb_tiles_of(const plb_rows *tensor, int64_t tokens, int64_t channels);

/* The tokens of an image, which begins at the first of these channels, into rows. */
void plb_load_columns(char *rows, int64_t pitch, const plb_rows *tensor, const char *image, int64_t tokens,
                      int64_t channels);

/* The other way round. */
void plb_store_columns(const plb_rows *tensor, char *image, const char *rows, int64_t pitch, int64_t tokens,
                       int64_t channels);

#endif
