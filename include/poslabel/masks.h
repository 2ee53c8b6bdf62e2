/*
 * masks.h: which patches stay visible, and which of those lose their position.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_MASKS_H
#define POSLABEL_MASKS_H

#include <poslabel/context.h>
#include <poslabel/random.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The rules common to all masks.
 *
 * For B images of N tokens, of which K stay visible, each operation can write
 *
 *   ids_keep      [B, K]       the visible tokens, in the order of their noise
 *   ids_remove    [B, N - K]   the removed tokens, in the order of their noise
 *   ids_restore   [B, N]       the index of token n in concat(ids_keep, ids_remove)
 *   mask          [B, N]       1 where token n was removed, else 0
 *
 * The ids are int32 or int64; mask is bool, uint8, int32, int64 or any float type.  Each output may be NULL, but not
 * all of them.  Rows may be strided.  B is taken from the tensors, which must agree on it.
 *
 * Random numbers come from poslabel/random.h.
 *
 *   seed          the key.
 *   first_sample  The index of image b is first_sample + b, which must stay below 2^32.  A batch split over ranks draws
 *                 the masks of the whole batch if each rank passes the index of its first image.
 *   samples       [B], int32 or int64, in [0, 2^56): the index of each image, in place of first_sample + b.  With the
 *                 indices of a shuffled or strided sampler every image gets the masks that one process would give it,
 *                 whatever the number of ranks.  NULL: first_sample + b.
 *   step          the step.
 *   step_scalar   an int32 or int64 scalar in [0, 2^32) on the device of the context, in place of `step`.  A captured
 *                 CUDA graph reads it at each replay, and so draws new masks.  NULL: `step`.
 *
 * All results are exact, do not depend on the number of threads, and have the same bits on every device.
 *
 * Workspace on the CPU: at most 32 * N bytes + 8 KiB per thread.
 *
 * Workspace on CUDA: each image needs N ranks for patches and, in poslabel_droppos_masks(), V each for positions and
 * places.  Each count is rounded up to a multiple of 256; it is left out if no output and no given noise needs it.  Up
 * to 4,096 ranks an image needs no workspace.  Beyond that the workspace holds 16 bytes per rank (20 if there is
 * float64 noise) for as many images as fit into 64 MiB, and for at least one.  Memory is the only limit on N.
 *
 * On CUDA poslabel_context_synchronize() reports a NaN in the noise and gives its row-major index.  The outputs that
 * the image gets from that noise are undefined, but every id is in range.  It also reports samples and a step_scalar that
 * are out of range; their lowest 56 and 32 bits are used.
 *
 * Statuses common to all masks.  POSLABEL_ERROR_INVALID: context or args NULL; no output given; a tensor of the wrong
 * rank, shape, dtype or device; outputs that overlap; first_sample + B above 2^32; samples or step_scalar out of range;
 * a ratio that is NaN or outside [0, 1].  POSLABEL_ERROR_UNSUPPORTED: strides that do not fold.  POSLABEL_ERROR_MEMORY.
 */

/*
 * Returns K = int(tokens * (1 - mask_ratio)).  The product is a double and is truncated, as in the published code: 196
 * tokens at 0.75 keep 49.  Returns -1 if tokens is negative or mask_ratio is NaN or outside [0, 1].  Since 0.1.
 */
POSLABEL_API int64_t poslabel_random_mask_keep(int64_t tokens, double mask_ratio);

/*
 * Returns the number of visible patches of poslabel_regular_mask(): ceil(h / 2) * ceil(w / 2).  Returns -1 for a bad
 * grid.  Since 0.1.
 */
POSLABEL_API int64_t poslabel_regular_mask_keep(poslabel_grid grid);

/*
 * Returns the number of visible patches of poslabel_block_mask(): s * s with s = int(sqrt(N - int(mask_ratio * N))).
 * Returns -1 for a bad grid or ratio, or if a square of side s does not fit the grid.  Since 0.1.
 */
POSLABEL_API int64_t poslabel_block_mask_keep(poslabel_grid grid, double mask_ratio);

/*
 * Random masks (MAE, DropPos).  ids_shuffle is the argsort of the noise, ascending; equal values keep the order of
 * their index.  ids_keep is the first K = poslabel_random_mask_keep(tokens, mask_ratio) entries of ids_shuffle,
 * ids_remove is the rest, ids_restore is the inverse of ids_shuffle, and mask[n] = ids_restore[n] >= K.
 *
 *   tokens       N >= 1, below 2^31.
 *   mask_ratio   in [0, 1]; the default is 0.75.
 *   noise        [B, N], float16, bfloat16, float32 or float64; rows may be strided.  A NaN is
 *                POSLABEL_ERROR_INVALID; on CUDA it is reported later (see above).  -0 equals +0.
 *                NULL: the noise of token n is word n of POSLABEL_STREAM_PATCH_MASK, compared as an integer.
 *
 * Since 0.1.
 */
typedef struct poslabel_random_mask_args {
    size_t struct_size;
    int64_t tokens;
    double mask_ratio;
    const poslabel_tensor *noise;       /* in  [B, N] f16 bf16 f32 f64, or NULL */
    uint64_t seed;
    uint32_t first_sample;
    uint32_t step;
    const poslabel_tensor *ids_keep;    /* out [B, K] i32 i64, or NULL */
    const poslabel_tensor *ids_remove;  /* out [B, N - K] i32 i64, or NULL */
    const poslabel_tensor *ids_restore; /* out [B, N] i32 i64, or NULL */
    const poslabel_tensor *mask;        /* out [B, N] any, or NULL */
    const poslabel_tensor *samples;     /* in  [B] i32 i64, or NULL */
    const poslabel_tensor *step_scalar; /* in  [] i32 i64, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_random_mask_args;

#define POSLABEL_RANDOM_MASK_ARGS_INIT                                                                                 \
    {                                                                                                                  \
        sizeof(poslabel_random_mask_args), 0, 0.75, NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL            \
    }

POSLABEL_API poslabel_status poslabel_random_mask(poslabel_context *context, const poslabel_random_mask_args *args);

/*
 * Regular masks (DropPos): in each cell of 2 x 2 patches one patch, drawn uniformly, stays visible.  On an odd side the
 * border cuts the last cells off, and the draw is among the patches that they have.
 *
 * Cell c (row-major) has m patches, numbered row-major from its upper left.  It keeps number
 * poslabel_random_below(word c of POSLABEL_STREAM_REGULAR_MASK, m).  ids_keep is in the order of the cells, and
 * ids_remove is ascending.  K = poslabel_regular_mask_keep(grid).  Since 0.1.
 */
typedef struct poslabel_regular_mask_args {
    size_t struct_size;
    poslabel_grid grid;
    uint64_t seed;
    uint32_t first_sample;
    uint32_t step;
    const poslabel_tensor *ids_keep;    /* out [B, K] i32 i64, or NULL */
    const poslabel_tensor *ids_remove;  /* out [B, N - K] i32 i64, or NULL */
    const poslabel_tensor *ids_restore; /* out [B, N] i32 i64, or NULL */
    const poslabel_tensor *mask;        /* out [B, N] any, or NULL */
    const poslabel_tensor *samples;     /* in  [B] i32 i64, or NULL */
    const poslabel_tensor *step_scalar; /* in  [] i32 i64, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_regular_mask_args;

#define POSLABEL_REGULAR_MASK_ARGS_INIT                                                                                \
    {                                                                                                                  \
        sizeof(poslabel_regular_mask_args), {0, 0}, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL                  \
    }

POSLABEL_API poslabel_status poslabel_regular_mask(poslabel_context *context, const poslabel_regular_mask_args *args);

/*
 * Block masks (DropPos): one square of s x s patches stays visible, s = int(sqrt(N - int(mask_ratio * N))).
 *
 * The upper left patch of the square is at row poslabel_random_below(word 0, h - s + 1) and column
 * poslabel_random_below(word 1, w - s + 1) of POSLABEL_STREAM_BLOCK_MASK.  ids_keep and ids_remove are ascending.
 * K = poslabel_block_mask_keep(grid, mask_ratio).  POSLABEL_ERROR_INVALID: the square does not fit the grid, which
 * happens only on grids that are not square.  Since 0.1.
 */
typedef struct poslabel_block_mask_args {
    size_t struct_size;
    poslabel_grid grid;
    double mask_ratio;
    uint64_t seed;
    uint32_t first_sample;
    uint32_t step;
    const poslabel_tensor *ids_keep;    /* out [B, K] i32 i64, or NULL */
    const poslabel_tensor *ids_remove;  /* out [B, N - K] i32 i64, or NULL */
    const poslabel_tensor *ids_restore; /* out [B, N] i32 i64, or NULL */
    const poslabel_tensor *mask;        /* out [B, N] any, or NULL */
    const poslabel_tensor *samples;     /* in  [B] i32 i64, or NULL */
    const poslabel_tensor *step_scalar; /* in  [] i32 i64, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_block_mask_args;

#define POSLABEL_BLOCK_MASK_ARGS_INIT                                                                                  \
    {                                                                                                                  \
        sizeof(poslabel_block_mask_args), {0, 0}, 0.75, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL              \
    }

POSLABEL_API poslabel_status poslabel_block_mask(poslabel_context *context, const poslabel_block_mask_args *args);

/* The operation above that chooses the visible patches of poslabel_droppos_masks(). */
typedef enum poslabel_patch_mask {
    POSLABEL_PATCH_MASK_RANDOM = 0,
    POSLABEL_PATCH_MASK_REGULAR = 1, /* mask_ratio and patch_noise are not used */
    POSLABEL_PATCH_MASK_BLOCK = 2    /* patch_noise is not used                 */
} poslabel_patch_mask;

/*
 * Both masks of DropPos in one call (Wang et al., NeurIPS 2023).  Of the N = h * w patches V stay visible.  Of these V
 * tokens K_pos keep their position; the model must locate the others.
 *
 *   patch_mask       a poslabel_patch_mask.  It gives ids_keep, ids_remove, ids_restore and mask, with V in place of K.
 *   mask_ratio       in [0, 1]; the default is 0.75.
 *   pos_mask_ratio   in [0, 1]; the default is 0.75.  K_pos = poslabel_random_mask_keep(V, pos_mask_ratio).
 *   wrong_positions  0 or 1; see `positions`.
 *   patch_noise      [B, N], pos_noise [B, V], shuffle_noise [B, V]: like `noise` of poslabel_random_mask().  NULL: the
 *                    words of POSLABEL_STREAM_PATCH_MASK, _POSITION_MASK and _SHUFFLE.
 *
 * The further outputs follow.  Each output may be NULL, but not all of them.
 *
 *   ids_keep_pos     [B, K_pos]  ids: the visible tokens r that keep their position, in the order of their noise
 *   ids_restore_pos  [B, V]      ids: the rank of visible token r by pos_noise
 *   mask_pos         [B, V]      1 where visible token r lost its position; any mask dtype
 *   positions        [B, V]      ids, for poslabel_assemble_tokens(): the position whose embedding visible token r
 *                                gets.  A token that kept its position has ids_keep[b, r].  A token that lost it has
 *                                -1.  With wrong_positions = 1 it has the position of another dropped token instead:
 *                                the tokens that lost their position pass it on in a ring, in the order of their
 *                                noise.  A single dropped token has no other to take from, and has -1.
 *   places           [B, V]      ids: a random permutation, which says where visible token r is stored when tokens are
 *                                shuffled (the rank of r by shuffle_noise)
 *
 * A batch with V = 0 (mask_ratio 1) is legal.  Since 0.1.
 */
typedef struct poslabel_droppos_masks_args {
    size_t struct_size;
    poslabel_grid grid;
    int32_t patch_mask;
    int32_t wrong_positions;
    double mask_ratio;
    double pos_mask_ratio;
    const poslabel_tensor *patch_noise;     /* in  [B, N] f16 bf16 f32 f64, or NULL */
    const poslabel_tensor *pos_noise;       /* in  [B, V] f16 bf16 f32 f64, or NULL */
    const poslabel_tensor *shuffle_noise;   /* in  [B, V] f16 bf16 f32 f64, or NULL */
    uint64_t seed;
    uint32_t first_sample;
    uint32_t step;
    const poslabel_tensor *ids_keep;        /* out [B, V] i32 i64, or NULL */
    const poslabel_tensor *ids_remove;      /* out [B, N - V] i32 i64, or NULL */
    const poslabel_tensor *ids_restore;     /* out [B, N] i32 i64, or NULL */
    const poslabel_tensor *mask;            /* out [B, N] any, or NULL */
    const poslabel_tensor *ids_keep_pos;    /* out [B, K_pos] i32 i64, or NULL */
    const poslabel_tensor *ids_restore_pos; /* out [B, V] i32 i64, or NULL */
    const poslabel_tensor *mask_pos;        /* out [B, V] any, or NULL */
    const poslabel_tensor *positions;       /* out [B, V] i32 i64, or NULL */
    const poslabel_tensor *places;          /* out [B, V] i32 i64, or NULL */
    const poslabel_tensor *samples;     /* in  [B] i32 i64, or NULL */
    const poslabel_tensor *step_scalar; /* in  [] i32 i64, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_droppos_masks_args;

#define POSLABEL_DROPPOS_MASKS_ARGS_INIT                                                                               \
    {                                                                                                                  \
        sizeof(poslabel_droppos_masks_args), {0, 0}, POSLABEL_PATCH_MASK_RANDOM, 0, 0.75, 0.75, NULL, NULL, NULL, 0,   \
            0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL                               \
    }

POSLABEL_API poslabel_status poslabel_droppos_masks(poslabel_context *context, const poslabel_droppos_masks_args *args);

#ifdef __cplusplus
}
#endif
#endif
