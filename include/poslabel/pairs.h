/*
 * pairs.h: pairs of cells, what lies between them, and their features.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_PAIRS_H
#define POSLABEL_PAIRS_H

#include <poslabel/context.h>
#include <poslabel/random.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Dense relative localisation (DRLoc; Liu et al., "Efficient Training of Visual Transformers with Small Datasets",
 * NeurIPS 2021) draws pairs of cells (a, b) of the grid of an image's last features, and a small head says from both
 * features how far b lies from a.  The three steps before the head are here:
 *
 *     poslabel_cell_pairs()      which pairs
 *     poslabel_cell_offsets()    the targets of the head
 *     poslabel_pair_features()   what the head reads, and poslabel_pair_features_backward() its gradient
 *
 * A pair is two indices of cells: cells[b, i, 0] is a, and cells[b, i, 1] is b.  Cell (y, x) of a grid of h x w cells
 * has index y * w + x, as patches have.
 */

/* Which pairs are drawn. */
typedef enum poslabel_pair_kind {
    POSLABEL_PAIRS_RANDOM = 0, /* any                                */
    POSLABEL_PAIRS_ALL = 1     /* each cell once as a, and once as b */
} poslabel_pair_kind;

/*
 * Draws m pairs of cells for each of B images.
 *
 *   POSLABEL_PAIRS_RANDOM: each coordinate of each cell of each pair is uniform, and none depends on another.  Pair i
 *   is made from the words 4 i to 4 i + 3 of POSLABEL_STREAM_CELL_PAIRS:
 *
 *       a = poslabel_random_below(word 4 i, h) * w + poslabel_random_below(word 4 i + 1, w)
 *       b = poslabel_random_below(word 4 i + 2, h) * w + poslabel_random_below(word 4 i + 3, w)
 *
 *   POSLABEL_PAIRS_ALL: m = h * w, and pair i is (i, p(i)), where p is a random permutation: the argsort, ascending, of
 *   the words 0 to m - 1 of the same stream, compared as integers.  Equal words keep the order of their index.
 *
 *   grid          h x w cells.
 *   kind          a poslabel_pair_kind; the default is POSLABEL_PAIRS_RANDOM.
 *   seed          the key.  Give each scale of a network its own, as pairs of two grids are alike otherwise.
 *   first_sample  the index of image b is first_sample + b, which must stay below 2^32.
 *   samples       [B], int32 or int64, in [0, 2^56): the index of each image, in place of first_sample + b, or NULL.
 *   step          the step.
 *   step_scalar   an int32 or int64 scalar in [0, 2^32), in place of `step`, or NULL.
 *   cells         out, [B, m, 2], int32 or int64; rows may be strided.  m < 2^30.  B and m may be 0.
 *
 * poslabel/masks.h says more about seed, samples and step.  Results are exact and depend on seed, index of the image,
 * step, kind and grid alone: not on threads or on how a batch is split.  The first random pairs of a larger m are
 * the pairs of a smaller one.
 *
 * Workspace on the CPU: none for POSLABEL_PAIRS_RANDOM, else at most 32 * m bytes + 8 KiB per thread.
 *
 * POSLABEL_ERROR_INVALID: context or args NULL; a bad grid or kind; cells NULL; a tensor of the wrong rank, shape,
 * dtype or device; outputs that overlap; first_sample + B above 2^32; samples or step_scalar out of range.
 * POSLABEL_ERROR_UNSUPPORTED: strides that do not fold; CUDA.  POSLABEL_ERROR_MEMORY.  Since 0.1.
 */
typedef struct poslabel_cell_pairs_args {
    size_t struct_size;
    poslabel_grid grid;
    uint64_t seed;
    uint32_t first_sample;
    uint32_t step;
    int32_t kind;
    const poslabel_tensor *samples;     /* in  [B] i32 i64, or NULL */
    const poslabel_tensor *step_scalar; /* in  [] i32 i64, or NULL */
    const poslabel_tensor *cells;       /* out [B, m, 2] i32 i64 */
    poslabel_workspace *workspace;      /* lent, or NULL */
} poslabel_cell_pairs_args;

#define POSLABEL_CELL_PAIRS_ARGS_INIT                                                                                  \
    {                                                                                                                  \
        sizeof(poslabel_cell_pairs_args), {0, 0}, 0, 0, 0, POSLABEL_PAIRS_RANDOM, NULL, NULL, NULL, NULL               \
    }

POSLABEL_API poslabel_status poslabel_cell_pairs(poslabel_context *context, const poslabel_cell_pairs_args *args);

/*
 * The offset of each pair, for each axis of its own, the rows (y) before the columns (x):
 *
 *     offsets[..., k] = (a_k - b_k + s_k - 1) / n_k     with n_k = 2 (s_k - 1) if normalized, else 1
 *     offsets[..., k] = |a_k - b_k| / n_k               with n_k = s_k - 1 if normalized, else 1; if absolute
 *
 * s_0 = h and s_1 = w are the sides of the grid.  Without `normalized` the first is a class in [0, 2 (s_k - 1)], the
 * second one in [0, s_k - 1].  With it all are in [0, 1].  An axis of one cell gives 0.
 *
 *   grid        h x w cells.
 *   absolute    0 or 1; the default is 0.
 *   normalized  0 or 1; the default is 0.
 *   cells       [..., 2], int32 or int64, in [0, h * w), as poslabel_cell_pairs() gives them; rows may be strided.
 *   offsets     out, [..., 2], float16, bfloat16, float32, float64 and, without `normalized`, int32 or int64; rows may
 *               be strided.  May not overlap `cells`.
 *
 * Results are those of exact arithmetic (float64: of one division), rounded once to the dtype of offsets.  float16 and
 * bfloat16 hold integers exactly up to 2048 and 256.
 *
 * POSLABEL_ERROR_INVALID: context or args NULL; a bad grid or flag; cells or offsets NULL; a tensor of the wrong rank,
 * shape, dtype or device; tensors that overlap; a cell outside the grid.  POSLABEL_ERROR_UNSUPPORTED: strides that do
 * not fold; CUDA.  Nothing is written then.  Since 0.1.
 */
typedef struct poslabel_cell_offsets_args {
    size_t struct_size;
    poslabel_grid grid;
    int32_t absolute;
    int32_t normalized;
    const poslabel_tensor *cells;   /* in  [..., 2] i32 i64 */
    const poslabel_tensor *offsets; /* out [..., 2] i32 i64 f16 bf16 f32 f64 */
    poslabel_workspace *workspace;  /* lent, or NULL */
} poslabel_cell_offsets_args;

#define POSLABEL_CELL_OFFSETS_ARGS_INIT                                                                                \
    {                                                                                                                  \
        sizeof(poslabel_cell_offsets_args), {0, 0}, 0, 0, NULL, NULL, NULL                                             \
    }

POSLABEL_API poslabel_status poslabel_cell_offsets(poslabel_context *context, const poslabel_cell_offsets_args *args);

/*
 * The features of each pair, side by side:
 *
 *     pairs[b, i] = concat(features[b, cells[b, i, 0]], features[b, cells[b, i, 1]])
 *
 *   features  [B, N, C], float16, bfloat16, float32 or float64: N cells of C channels an image.
 *   cells     [B, m, 2], int32 or int64, in [0, N), as poslabel_cell_pairs() gives them; rows may be strided.
 *   pairs     out, [B, m, 2 C], of the dtype of features; rows may be strided.  May not overlap the inputs.
 *
 * The strides of features are free, those of the channels too.  So what a convolution leaves, [B, C, h, w], is passed
 * as the view [B, h * w, C] that it is, and tokens are passed without the prefix tokens before them:
 *
 *     int64_t shape[] = {B, h * w, C};
 *     int64_t of_maps[] = {C * h * w, 1, h * w};
 *     int64_t of_tokens[] = {(P + h * w) * C, C, 1};
 *     poslabel_tensor features = POSLABEL_CPU_TENSOR(data, POSLABEL_FLOAT32, 3, shape);
 *     features.strides = of_maps;
 *
 * or, for [B, P + h * w, C] with P prefix tokens,
 *
 *     features.strides = of_tokens;
 *     features.byte_offset = P * C * sizeof(float);
 *
 * Results are copies, bit for bit.  Any size may be 0; without cells (N = 0) there can be no pairs.  m < 2^30.
 *
 * Workspace on the CPU: none; if the channels of features lie apart, at most 768 KiB per thread, or 128 bytes for each
 * cell if that is more.
 *
 * POSLABEL_ERROR_INVALID: context or args NULL; a tensor NULL, or of the wrong rank, shape, dtype or device; pairs
 * overlaps an input; a cell outside of [0, N).  POSLABEL_ERROR_UNSUPPORTED: strides that do not fold; CUDA.
 * POSLABEL_ERROR_MEMORY.  Nothing is written then.  Since 0.1.
 */
typedef struct poslabel_pair_features_args {
    size_t struct_size;
    const poslabel_tensor *features; /* in  [B, N, C] f16 bf16 f32 f64 */
    const poslabel_tensor *cells;    /* in  [B, m, 2] i32 i64 */
    const poslabel_tensor *pairs;    /* out [B, m, C + C] like features */
    poslabel_workspace *workspace;   /* lent, or NULL */
} poslabel_pair_features_args;

#define POSLABEL_PAIR_FEATURES_ARGS_INIT                                                                               \
    {                                                                                                                  \
        sizeof(poslabel_pair_features_args), NULL, NULL, NULL, NULL                                                    \
    }

POSLABEL_API poslabel_status poslabel_pair_features(poslabel_context *context, const poslabel_pair_features_args *args);

/*
 * The gradient of poslabel_pair_features(), overwritten, with the same cells:
 *
 *     grad_features[b, n] = sum of grad_pairs[b, i, :C] over all i with cells[b, i, 0] = n,
 *                           and of grad_pairs[b, i, C:] over all i with cells[b, i, 1] = n
 *
 *   grad_pairs     [B, m, 2 C], float16, bfloat16, float32 or float64; rows may be strided.
 *   cells          [B, m, 2], int32 or int64, in [0, N).
 *   grad_features  out, [B, N, C], of the dtype of grad_pairs; its strides are free, as those of features.  May not
 *                  overlap the inputs.
 *
 * A cell in no pair gets zeros, and a cell in one pair a copy.  Other sums are formed in float32 (float64: in float64)
 * in the order of the pairs, a before b, and rounded once.  The bits do not depend on the number of threads.
 *
 * Workspace on the CPU, per thread: 4 N + 24 m bytes and, if the channels of grad_features lie apart, as much as
 * the forward pass.
 *
 * Statuses are those of the forward pass; also POSLABEL_ERROR_INVALID: grad_pairs with an odd number of channels.
 * Since 0.1.
 */
typedef struct poslabel_pair_features_backward_args {
    size_t struct_size;
    const poslabel_tensor *grad_pairs;    /* in  [B, m, C + C] f16 bf16 f32 f64 */
    const poslabel_tensor *cells;         /* in  [B, m, 2] i32 i64 */
    const poslabel_tensor *grad_features; /* out [B, N, C] like grad_pairs */
    poslabel_workspace *workspace;        /* lent, or NULL */
} poslabel_pair_features_backward_args;

#define POSLABEL_PAIR_FEATURES_BACKWARD_ARGS_INIT                                                                      \
    {                                                                                                                  \
        sizeof(poslabel_pair_features_backward_args), NULL, NULL, NULL, NULL                                           \
    }

POSLABEL_API poslabel_status poslabel_pair_features_backward(poslabel_context *context,
                                                             const poslabel_pair_features_backward_args *args);

#ifdef __cplusplus
}
#endif
#endif
