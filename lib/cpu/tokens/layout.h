/*
 * What the two passes over tokens share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_TOKENS_H
#define PLB_CPU_TOKENS_H

#include "cpu/core/ids.h"
#include "tokens.h"

/* Row k of image b of a [B, K, D] tensor is at base + k * step: whatever it folds to, the K rows have one stride. */
static inline char *plb_image_rows(const plb_rows *rows, int64_t image, int64_t rows_per_image, int64_t *step)
{
    *step = rows->inner_stride * plb_dtype_size[rows->dtype];
    return plb_row(rows, image * rows_per_image);
}

static inline int64_t plb_token_index(const plb_rows *indices, int64_t image, int64_t r)
{
    return plb_load_id(plb_row(indices, image) + r * plb_dtype_size[indices->dtype], indices->dtype);
}

static inline int64_t plb_token_id(const plb_token_layout *layout, int64_t image, int64_t r)
{
    return layout->ids_keep.data ? plb_token_index(&layout->ids_keep, image, r) : r;
}

static inline int64_t plb_token_place(const plb_token_layout *layout, int64_t image, int64_t r)
{
    return layout->places.data ? plb_token_index(&layout->places, image, r) : r;
}

/* Whose embedding visible token r, which is token `id`, gets; -1: its position was dropped. */
static inline int64_t plb_token_position(const plb_token_layout *layout, int64_t image, int64_t r, int64_t id)
{
    if (layout->positions.data)
        return plb_token_index(&layout->positions, image, r);
    const plb_rows *const mask = &layout->mask_pos;
    if (mask->data && plb_load_number(plb_row(mask, image) + r * plb_dtype_size[mask->dtype], mask->dtype) != 0)
        return -1;
    return id;
}

/* What the checks of the indices read, as a size of work. */
static inline size_t plb_token_index_bytes(const plb_token_layout *layout)
{
    return plb_ids_bytes(layout->images, layout->visible);
}

/* That all indices are in range and places are permutations; see plb_check_places() for `inverse`. */
poslabel_status plb_check_token_layout(const plb_call *call, const plb_token_layout *layout, int32_t *inverse,
                                       size_t pitch);

#endif
