/* loss.h: what all losses have in common.  SPDX-License-Identifier: Apache-2.0 */
#ifndef POSLABEL_LOSS_H
#define POSLABEL_LOSS_H

#include <poslabel/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Every loss on logits gives loss and gradient in one call, and reads the logits once.  Row r of the logits, a
 * vector z of C classes, has a loss l_r and a weight w_r >= 0.  W = sum of w_r over all rows.
 *
 *     reduction   loss                          gradient of row r
 *     mean        sum_r w_r l_r / W             g * w_r / W * dl_r/dz
 *     sum         sum_r w_r l_r                 g * w_r     * dl_r/dz
 *     none        w_r l_r for each row          g_r * w_r   * dl_r/dz
 *
 * with the upstream gradient g = grad_scale * grad_loss.
 *
 * Arguments that every loss has:
 *
 *   logits        [..., C], rank >= 1, float16, bfloat16, float32 or float64; rows may be strided.  C >= 1.
 *   mask          [...] (the leading shape of logits), bool, uint8, int32, int64 or any float type; rows where it is 0
 *                 do not count.  NULL: all rows count.
 *   weights       [...], float16, bfloat16, float32 or float64, finite, >= 0.  NULL: 1.  w_r is the
 *                 weight where the mask is not 0, else 0.
 *   reduction     a poslabel_reduction.
 *   grad_scale    host number, finite; the default is 1.  AMP's loss scale or the weight of an auxiliary loss; it
 *                 scales the gradient, not the loss.
 *   grad_loss     the upstream gradient as a value on the device: a float32 or float64 scalar, or, with reduction
 *                 none, also [...].  NULL: 1.
 *   normalizer    a float32 or float64 scalar on the device that takes the place of W in the loss, the gradient
 *                 and the accuracy: the all-reduced weight sum, when a batch is spread over ranks, so that the
 *                 losses of the ranks add up to the loss of the whole.  NULL: W.  Used by reduction mean only (and by
 *                 accuracy).
 *   loss          out, float32 or float64: a scalar, or [...] with reduction none.  Must be given, unless
 *                 grad_logits is.
 *   grad_logits   out, shape and dtype of logits; or NULL: loss only.  May be the logits themselves (the same data and
 *                 strides), which are then overwritten; any other overlap is POSLABEL_ERROR_INVALID.
 *   accuracy      out, float32 or float64 scalar: sum_r w_r [argmax z = label] / W, top-1; the first of equal
 *                 maxima counts.  Or NULL.
 *   weight_sum    out, float32 or float64 scalar: W.  Or NULL.
 *   flags         out, int32 scalar: the sum of the poslabel_loss_flag values that hold.  Or NULL.
 *
 * When W (or the normalizer) is 0 - nothing masked, everything ignored, an empty batch - loss, gradient and accuracy
 * are 0 and POSLABEL_LOSS_EMPTY is set.
 *
 * Rows of weight 0 are not read: whatever they hold, their loss and gradient are 0.  In any other row a NaN logit makes
 * the row's loss and gradient, and so the loss, NaN; so does a row in which the largest logit is infinite.  Otherwise
 * every finite logit is handled without overflow, and -inf is a class of probability 0.
 *
 * Precision.  float16, bfloat16 and float32 logits: arithmetic in float32, sums over rows in float64, gradients rounded
 * once to their dtype; relative to the largest value the error is at most 1e-5 before that rounding, as long as
 * that value is not so small (below 2^-118) that float32 itself is coarser.  The loss of a row, a logarithm, may be off
 * by 1e-6 however small it is.  float64: in float64, 1e-12.
 *
 * Determinism.  The gradient and the loss of a row depend on that row alone (and on W), not on where it lies: they have
 * the same bits for every number of threads, every split of the batch, and every repetition.  Sums over rows are formed
 * in a fixed order that depends on the number of rows alone, on CUDA on the model of the GPU and on the classes, dtype
 * and alignment of the logits too.  Results of different instruction sets, and of the CPU and CUDA, differ within the
 * precision above.
 *
 * On CUDA a loss is one launch, with its gradient and all sums; where the gradient needs a W that only the device can
 * know (reduction mean with a mask, weights or ids, and no normalizer), that launch is a cooperative one.
 *
 * Workspace on the CPU: 8 * C + 12 KiB per thread, 48 bytes for each 64 rows (at most 200 KB), and what the loss
 * itself documents.  On CUDA: 40 bytes for each block of the launch, of which there are as many as the GPU holds at
 * once (some thousand at most), and what the loss itself documents.
 *
 * Statuses.  POSLABEL_ERROR_INVALID: context, args or logits NULL; neither loss nor grad_logits; a wrong rank, shape,
 * dtype or device; an unknown reduction; grad_scale NaN or infinite; an overlap that is not allowed; and on the CPU an
 * id out of range or a weight that is negative, NaN or infinite.  POSLABEL_ERROR_UNSUPPORTED: strides that do not fold.
 * POSLABEL_ERROR_MEMORY.  On CUDA the host does not see ids and weights: rows in which they are not allowed count as
 * rows of weight 0, set POSLABEL_LOSS_INVALID, and are counted and reported by poslabel_context_synchronize().
 */
typedef enum poslabel_reduction {
    POSLABEL_REDUCTION_MEAN = 0,
    POSLABEL_REDUCTION_SUM = 1,
    POSLABEL_REDUCTION_NONE = 2
} poslabel_reduction;

typedef enum poslabel_loss_flag {
    POSLABEL_LOSS_EMPTY = 1,  /* the weight sum, or the normalizer, is 0: loss, gradient and accuracy are 0        */
    POSLABEL_LOSS_INVALID = 2 /* on CUDA: rows had an id out of range or a weight that is not allowed; see above   */
} poslabel_loss_flag;

/*
 * grad *= scale, in place: for autograd engines that learn the upstream gradient only after the loss was computed.
 * Nothing is touched when the scale is 1, so on the common path this costs a read of one number.
 *
 *   grad    in and out, any shape, float16, bfloat16, float32 or float64; rows may be strided.
 *   scale   float32 or float64 scalar on the device of grad; or [...], the leading shape of grad, one for each row.
 *
 * Each product is formed in float32 (float64 for float64) and rounded once.  POSLABEL_ERROR_INVALID: context, args,
 * grad or scale NULL; a wrong rank, shape, dtype or device; scale overlapping grad.  POSLABEL_ERROR_UNSUPPORTED:
 * strides that do not fold.  No workspace.  Since 0.1.
 */
typedef struct poslabel_scale_gradient_args {
    size_t struct_size;
    const poslabel_tensor *grad;
    const poslabel_tensor *scale;
} poslabel_scale_gradient_args;

#define POSLABEL_SCALE_GRADIENT_ARGS_INIT                                                                              \
    {                                                                                                                  \
        sizeof(poslabel_scale_gradient_args), NULL, NULL                                                               \
    }

POSLABEL_API poslabel_status poslabel_scale_gradient(poslabel_context *context,
                                                     const poslabel_scale_gradient_args *args);

#ifdef __cplusplus
}
#endif
#endif
