/*
 * decoder.h: the tokens that go into MAE's decoder, and their gradient.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_DECODER_H
#define POSLABEL_DECODER_H

#include <poslabel/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The input of the decoder in one fused pass (MAE, He et al. 2022): the encoded tokens go back to their places, the
 * mask token stands at all others, and every token gets the embedding of its place.
 *
 *     out[b, p]     = x[b, p] + pos_embed[p]                                    for p < P
 *     out[b, P + n] = (i < K ? x[b, P + i] : mask_token) + pos_embed[E + n]     for n < N
 *
 *     i = ids_restore[b, n]
 *
 * There are D channels, N tokens in an image, K visible ones, and P prefix tokens (class token, registers), of which
 * the first E have an embedding.  The others stay as they are.
 *
 *   x             [B, P + K, D], float16, bfloat16 or float32; all float tensors have this dtype.  K <= N.
 *   prefix_count  P >= 0.  MAE has one class token: 1.
 *   ids_restore   [B, N], int32 or int64, in [0, N): as poslabel_random_mask() gives it.  Need not be a permutation.
 *   mask_token    [D], or NULL: zeros.
 *   pos_embed     [E + N, D] with 0 <= E <= P; its rows say what E is; or NULL: zeros.
 *   out           out, [B, P + N, D].
 *
 * Rows of all tensors may be strided.  out must not overlap an input.  Sums are formed in float32, and each element is
 * rounded once.  The result is deterministic, with the same bits at every instruction set and on CUDA, except for the
 * sign and payload of a NaN.
 *
 * Workspace on the CPU: 4 * D bytes at most.  On CUDA: none.
 *
 * POSLABEL_ERROR_INVALID: context, args, x, ids_restore or out NULL; a wrong rank, shape, dtype or device; prefix_count
 * negative or larger than x allows; K > N; an id out of range; out overlaps an input.
 * POSLABEL_ERROR_UNSUPPORTED: strides that do not fold; P + N of 2^31 or more.  POSLABEL_ERROR_MEMORY.
 *
 * On CUDA the host does not see ids.  One out of range is replaced by the nearest valid one, and
 * poslabel_context_synchronize() reports it.  Since 0.1.
 */
typedef struct poslabel_decoder_tokens_args {
    size_t struct_size;
    const poslabel_tensor *x;           /* in  [B, P + K, D] f16 bf16 f32 */
    int64_t prefix_count;
    const poslabel_tensor *ids_restore; /* in  [B, N] i32 i64 */
    const poslabel_tensor *mask_token;  /* in  [D] like x, or NULL */
    const poslabel_tensor *pos_embed;   /* in  [E + N, D] like x, or NULL */
    const poslabel_tensor *out;         /* out [B, P + N, D] like x */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_decoder_tokens_args;

#define POSLABEL_DECODER_TOKENS_ARGS_INIT                                                                              \
    {                                                                                                                  \
        sizeof(poslabel_decoder_tokens_args), NULL, 0, NULL, NULL, NULL, NULL, NULL                                    \
    }

POSLABEL_API poslabel_status poslabel_decoder_tokens(poslabel_context *context,
                                                     const poslabel_decoder_tokens_args *args);

/*
 * The gradient of poslabel_decoder_tokens(), for the same ids_restore:
 *
 *     grad_x[b, p]          = grad_out[b, p]                                                   for p < P
 *     grad_x[b, P + i]      = sum of grad_out[b, P + n] over n with ids_restore[b, n] = i;  0 if there is none
 *     grad_mask_token       = sum of grad_out[b, P + n] over b, n with ids_restore[b, n] >= K
 *     grad_pos_embed[p]     = sum of grad_out[b, p] over b                                     for p < E
 *     grad_pos_embed[E + n] = sum of grad_out[b, P + n] over b
 *
 *   grad_out         [B, P + N, D], float16, bfloat16 or float32; all outputs have this dtype.
 *   prefix_count     P >= 0.
 *   visible_count    K.  May be -1, the default, if grad_x is given or grad_mask_token is not.
 *   ids_restore      [B, N], int32 or int64, in [0, N).
 *   grad_x           out, [B, P + K, D], or NULL.
 *   grad_mask_token  out, [D], or NULL.
 *   grad_pos_embed   out, [E + N, D] with 0 <= E <= P, or NULL.
 *
 * The call overwrites outputs and does not add to them.  At least one must be given.  Rows may be strided.
 *
 * A row of grad_x that has one source is its copy.  Sums are formed in double precision and rounded once.  Those of
 * grad_x are in the order of n.  Each place of grad_pos_embed has a sum of the images where it is visible and one of
 * those where it is masked, in the order of b; these are then added.  The masked sums of all places make up
 * grad_mask_token, in tiles of places.  The result is deterministic, with the same bits for every number of threads,
 * at every instruction set and whichever outputs are given, except for the sign and payload of a NaN.  On CUDA sums of
 * grad_mask_token and grad_pos_embed are formed in slices of the images, whose number depends on sizes alone.  They
 * may differ from the CPU's by one rounding.
 *
 * Workspace on the CPU: at most 16 * (D + 15) * (P + N) + B bytes, plus 8 * (D + 15) + 4 * (N + K + 15) bytes per
 * thread.  On CUDA: at most 4 * B * (N + K) bytes, plus 16,384 * D bytes.
 *
 * Statuses as above.  Also POSLABEL_ERROR_INVALID: no output; K cannot be known or disagrees; an output overlaps
 * another or an input.
 *
 * On CUDA poslabel_context_synchronize() reports an id out of range if grad_x or grad_mask_token depends on it.
 * Since 0.1.
 */
typedef struct poslabel_decoder_tokens_backward_args {
    size_t struct_size;
    const poslabel_tensor *grad_out;        /* in  [B, P + N, D] f16 bf16 f32 */
    int64_t prefix_count;
    int64_t visible_count;
    const poslabel_tensor *ids_restore;     /* in  [B, N] i32 i64 */
    const poslabel_tensor *grad_x;          /* out [B, P + K, D] like grad_out, or NULL */
    const poslabel_tensor *grad_mask_token; /* out [D] like grad_out, or NULL */
    const poslabel_tensor *grad_pos_embed;  /* out [E + N, D] like grad_out, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_decoder_tokens_backward_args;

#define POSLABEL_DECODER_TOKENS_BACKWARD_ARGS_INIT                                                                     \
    {                                                                                                                  \
        sizeof(poslabel_decoder_tokens_backward_args), NULL, 0, -1, NULL, NULL, NULL, NULL, NULL                       \
    }

POSLABEL_API poslabel_status poslabel_decoder_tokens_backward(poslabel_context *context,
                                                              const poslabel_decoder_tokens_backward_args *args);

#ifdef __cplusplus
}
#endif
#endif
