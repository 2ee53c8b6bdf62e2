/*
 * tokens.h: the assembly of the encoder's tokens, and its gradient.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_TOKENS_H
#define POSLABEL_TOKENS_H

#include <poslabel/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Token assembly in one fused pass over the patch embeddings (DropPos; MAE with mask_pos NULL):
 *
 *     x[b, p]                = prefix_tokens[p] + pos_embed[p]                    for p < E
 *     x[b, p]                = prefix_tokens[p]                                   for E <= p < P
 *     x[b, P + place(b, r)]  = tokens[b, id(b, r)] + embedding(b, r)              for r < V
 *
 *     id(b, r)        = ids_keep[b, r], or r without ids_keep
 *     place(b, r)     = places[b, r], or r without places
 *     embedding(b, r) = pos_embed[E + q(b, r)], or mask_token where q(b, r) = -1
 *     q(b, r)         = positions[b, r] if given; else -1 where mask_pos[b, r] is not 0; else id(b, r)
 *
 * There are D channels, N tokens in an image, V visible tokens, and P prefix tokens (class token, registers),
 * of which the first E have an embedding.
 *
 *   tokens          [B, N, D], float16, bfloat16, float32 or float64.  x has this dtype.
 *   ids_keep        [B, V], int32 or int64, in [0, N), or NULL: all N tokens in order (V = N).
 *   mask_pos        [B, V], bool, uint8, int32, int64 or any float type, or NULL: no position is dropped.
 *   positions       [B, V], int32 or int64, in [-1, N), or NULL.  Not together with mask_pos.
 *   places          [B, V], int32 or int64, a permutation of 0 .. V - 1 for each image, or NULL.
 *   prefix_tokens   [P, D], or NULL: P = 0.
 *   pos_embed       [E + N, D], or NULL: zeros.  With R = 0, E is P or 0, as its rows say.  Else E is P - R.
 *   mask_token      [D], or NULL: zeros.
 *   x               out, [B, P + V, D].
 *   register_count  R in [0, P]; the default is 0.  The last R prefix tokens have no embedding, as DINOv2's registers.
 *
 * The parameters prefix_tokens, pos_embed and mask_token have the dtype of tokens.  Beside 16-bit tokens each may be
 * float32, as under autocast.
 *
 * Rows of all tensors may be strided.  The channels of tokens may be strided, too: the output [B, D, h, w] of a
 * convolution is [B, N, D] with strides (D * N, 1, N), and needs no copy.  x must not overlap an input.  Sums are
 * formed in float32, or in float64 for float64, and each element is rounded once.  The result is deterministic, with
 * the same bits at every instruction set, for every layout and on CUDA, except for the bits of a NaN: a NaN is a NaN
 * everywhere, but its sign and payload may differ.
 *
 * Workspace on the CPU: with places, 4 * (V + 15) bytes per thread.  With strided channels, at most 128 * N + 576 KiB
 * per thread.  With float32 prefix_tokens or pos_embed beside 16-bit
 * tokens, 2 * P * D bytes more.  On CUDA: none.
 *
 * POSLABEL_ERROR_INVALID: context, args, tokens or x NULL; a wrong rank, shape, dtype or device; an id, position or
 * place out of range; places that are not a permutation; mask_pos and positions both given; register_count out of
 * range; x overlaps an input.  POSLABEL_ERROR_UNSUPPORTED: strides that do not fold; P + N or P + V of 2^31 or more.
 * POSLABEL_ERROR_MEMORY.
 *
 * On CUDA the host does not see indices.  An id or position out of range is replaced by the nearest valid one.  Rows of
 * x that no place names are undefined.  poslabel_context_synchronize() reports both.  Since 0.1.
 */
typedef struct poslabel_assemble_tokens_args {
    size_t struct_size;
    const poslabel_tensor *tokens;        /* in  [B, N, D] f16 bf16 f32 f64 */
    const poslabel_tensor *ids_keep;      /* in  [B, V] i32 i64, or NULL */
    const poslabel_tensor *mask_pos;      /* in  [B, V] any, or NULL */
    const poslabel_tensor *positions;     /* in  [B, V] i32 i64, or NULL */
    const poslabel_tensor *places;        /* in  [B, V] i32 i64, or NULL */
    const poslabel_tensor *prefix_tokens; /* in  [P, D] like tokens or f32, or NULL */
    const poslabel_tensor *pos_embed;     /* in  [E + N, D] like tokens or f32, or NULL */
    const poslabel_tensor *mask_token;    /* in  [D] like tokens or f32, or NULL */
    const poslabel_tensor *x;             /* out [B, P + V, D] like tokens */
    poslabel_workspace *workspace;        /* lent, or NULL */
    int64_t register_count;
} poslabel_assemble_tokens_args;

#define POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT                                                                             \
    {                                                                                                                  \
        sizeof(poslabel_assemble_tokens_args), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0           \
    }

POSLABEL_API poslabel_status poslabel_assemble_tokens(poslabel_context *context,
                                                      const poslabel_assemble_tokens_args *args);

/*
 * The gradient of poslabel_assemble_tokens(), for the same ids_keep, mask_pos or positions, and places:
 *
 *     grad_tokens[b, n]         = sum of grad_x[b, P + place(b, r)] over r with id(b, r) = n;  0 for tokens not kept
 *     grad_mask_token           = sum of grad_x[b, P + place(b, r)] over b, r with q(b, r) = -1
 *     grad_prefix_tokens[p]     = sum of grad_x[b, p] over b
 *     grad_pos_embed[E + n]     = sum of grad_x[b, P + place(b, r)] over b, r with q(b, r) = n
 *     grad_pos_embed[p]         = grad_prefix_tokens[p] for p < E
 *
 *   grad_x              [B, P + V, D], float16, bfloat16, float32 or float64.  grad_tokens has this dtype; the others
 *                       have it, too, or are float32 beside a 16-bit grad_x.
 *   tokens_per_image    N.  May be 0 if grad_tokens is given or ids_keep is NULL, because N then follows from those.
 *   prefix_count        P >= 0.
 *   grad_tokens         out, [B, N, D], or NULL.
 *   grad_mask_token     out, [D], or NULL.
 *   grad_prefix_tokens  out, [P, D], or NULL.
 *   grad_pos_embed      out, [E + N, D], or NULL.
 *   register_count      R in [0, P], as above.
 *
 * The call overwrites outputs and does not add to them.  At least one must be given.  Rows may be strided, and so may
 * the channels of grad_tokens, which then takes a second pass over grad_x if there are other outputs.
 *
 * Sums are formed in double precision and rounded once.  They are summed in the order of b; grad_mask_token is summed
 * in tiles of positions.  The result is deterministic, with the same bits for every number of threads and at every
 * instruction set, except for the sign and payload of a NaN.  On CUDA sums are formed in double precision too, but in
 * slices of the images.  The number of slices depends only on sizes.  Results on CUDA may differ from the CPU's by one
 * rounding.
 *
 * Workspace on the CPU: at most 8 * (D + 15) * (P + N + 64) bytes, plus 512 * (N + V) bytes or 1 MiB, whichever is
 * more, plus 8 * (D + 15) + 4 * (V + 15) bytes per thread; with strided channels 128 * N + 576 KiB per thread more.  On
 * CUDA: at most 8 * B * (N + V) bytes (twice that with positions), plus 16,384 * D bytes.
 *
 * Statuses as above.  Also POSLABEL_ERROR_INVALID: N cannot be known or disagrees; prefix_count is negative or larger
 * than grad_x allows; register_count out of range; an output overlaps another or an input.
 *
 * On CUDA an index out of range is replaced by the nearest valid one.  With places that are not a permutation, all
 * outputs except grad_prefix_tokens are undefined.  poslabel_context_synchronize() reports both, for indices on which
 * an output depends.  Since 0.1.
 */
typedef struct poslabel_assemble_tokens_backward_args {
    size_t struct_size;
    const poslabel_tensor *grad_x; /* in  [B, P + V, D] f16 bf16 f32 f64 */
    int64_t tokens_per_image;
    int64_t prefix_count;
    const poslabel_tensor *ids_keep;           /* in  [B, V] i32 i64, or NULL */
    const poslabel_tensor *mask_pos;           /* in  [B, V] any, or NULL */
    const poslabel_tensor *positions;          /* in  [B, V] i32 i64, or NULL */
    const poslabel_tensor *places;             /* in  [B, V] i32 i64, or NULL */
    const poslabel_tensor *grad_tokens;        /* out [B, N, D] like grad_x, or NULL */
    const poslabel_tensor *grad_mask_token;    /* out [D] like grad_x or f32, or NULL */
    const poslabel_tensor *grad_prefix_tokens; /* out [P, D] like grad_x or f32, or NULL */
    const poslabel_tensor *grad_pos_embed;     /* out [E + N, D] like grad_x or f32, or NULL */
    poslabel_workspace *workspace;             /* lent, or NULL */
    int64_t register_count;
} poslabel_assemble_tokens_backward_args;

#define POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT                                                                    \
    {                                                                                                                  \
        sizeof(poslabel_assemble_tokens_backward_args), NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,    \
            NULL, 0                                                                                                    \
    }

POSLABEL_API poslabel_status poslabel_assemble_tokens_backward(poslabel_context *context,
                                                               const poslabel_assemble_tokens_backward_args *args);

#ifdef __cplusplus
}
#endif
#endif
