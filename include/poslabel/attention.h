/*
 * attention.h: attentive weights, which say how much each visible patch should count.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_ATTENTION_H
#define POSLABEL_ATTENTION_H

#include <poslabel/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Attentive weights (DropPos, "attentive reconstruction").  Patches that resemble the class token get larger weights.
 *
 *     c        = cls + pos_embed[0],   t_n = tokens[b, n] + pos_embed[P + n]      (without pos_embed: nothing is added)
 *     s_n      = c . t_n / (max(|c|, 1e-8) * max(|t_n|, 1e-8))
 *     a_n      = softmax over n of s_n / temperature
 *     weights_r = a_id(r) / sum of a_id(r') over r' < V,    id(r) = ids_keep[b, r]
 *
 * There is no gradient: the published code detaches the weights.
 *
 *   tokens        [B, N, D], float16, bfloat16, float32 or float64.
 *   cls           [B, D], or [D] if all images share it; dtype of tokens.
 *   pos_embed     [P + N, D] with P >= 1 (row 0 belongs to cls), dtype of tokens, or NULL.
 *   ids_keep      [B, V], int32 or int64, in [0, N), or NULL: id(r) = r, V = N.
 *   temperature   > 0, finite; the default is 0.1.
 *   attention     out, [B, N], float32 or float64: a_n; or NULL.
 *   weights       out, [B, V], float32 or float64; or NULL.  At least one of attention and weights must be given.
 *
 * Rows may be strided, and so may the channels of tokens ([B, D, h, w] seen as [B, N, D], with strides (D * N, 1, N)).
 * Outputs must not overlap any other tensor.
 *
 * The arithmetic is float32, and float64 for float64 tokens and in the softmax.  Dot products are summed in a fixed
 * order.  The result is deterministic at a given instruction set, whatever the number of threads or the split of the
 * batch.  The relative error of a weight is at most 1e-5 at temperatures of 0.1 and above; it grows with
 * 1 / temperature.
 *
 * Workspace on the CPU: 32 * (N + D) + 64 bytes per thread; with strided channels 512 * D + 8 KiB per thread more.  On
 * CUDA: at most 8 * B * (N + D + 1) bytes.
 *
 * POSLABEL_ERROR_INVALID: context, args, tokens or cls NULL; no output; a wrong rank, shape, dtype or device; an id
 * out of range; a bad temperature; N = 0.  POSLABEL_ERROR_UNSUPPORTED: strides that do not fold.
 * POSLABEL_ERROR_MEMORY.  On CUDA the host does not see ids: an id out of range is replaced by the nearest valid id,
 * and poslabel_context_synchronize() reports it.  Since 0.1.
 */
typedef struct poslabel_attentive_weights_args {
    size_t struct_size;
    const poslabel_tensor *tokens;    /* in  [B, N, D] f16 bf16 f32 f64 */
    const poslabel_tensor *cls;       /* in  [B, D] or [D] like tokens */
    const poslabel_tensor *pos_embed; /* in  [P + N, D] like tokens, or NULL */
    const poslabel_tensor *ids_keep;  /* in  [B, V] i32 i64, or NULL */
    double temperature;
    const poslabel_tensor *attention; /* out [B, N] f32 f64, or NULL */
    const poslabel_tensor *weights;   /* out [B, V] f32 f64, or NULL */
    poslabel_workspace *workspace;    /* lent, or NULL */
} poslabel_attentive_weights_args;

#define POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT                                                                           \
    {                                                                                                                  \
        sizeof(poslabel_attentive_weights_args), NULL, NULL, NULL, NULL, 0.1, NULL, NULL, NULL                         \
    }

POSLABEL_API poslabel_status poslabel_attentive_weights(poslabel_context *context,
                                                        const poslabel_attentive_weights_args *args);

#ifdef __cplusplus
}
#endif
#endif
