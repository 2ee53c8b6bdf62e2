/*
 * loss.h: the rules common to all losses, and the scaling of gradients.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_LOSS_H
#define POSLABEL_LOSS_H

#include <poslabel/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Every loss on logits gives loss and gradient in one call, and reads the logits once; only the confidence filter of
 * poslabel_droppos_loss() reads them twice.  Row r of the logits is a vector z of C classes.  It has a loss l_r and a
 * weight w_r >= 0.  W is the sum of w_r over all rows.
 *
 *     reduction   loss                          gradient of row r
 *     mean        sum_r w_r l_r / W             g * w_r / W * dl_r/dz
 *     sum         sum_r w_r l_r                 g * w_r     * dl_r/dz
 *     none        w_r l_r for each row          g_r * w_r   * dl_r/dz
 *
 * The upstream gradient is g = grad_scale * grad_loss.
 *
 * Every loss on logits has these arguments, and accuracy if its rows have a right class:
 *
 *   logits        [..., C], rank >= 1, float16, bfloat16, float32 or float64; rows may be strided.  C >= 1.
 *   mask          [...] (the leading shape of logits), bool, uint8, int32, int64 or any float type.  Rows where it is 0
 *                 do not count.  NULL: all rows count.
 *   weights       [...], float16, bfloat16, float32 or float64, finite, >= 0.  NULL: 1.  w_r is the weight where the
 *                 mask is not 0, else 0.  On the CPU a mean does not depend on their unit, even where W overflows.
 *   reduction     a poslabel_reduction.
 *   grad_scale    a number on the host, finite; the default is 1.  It holds AMP's loss scale or the weight of an
 *                 auxiliary loss.  It scales the gradient, not the loss.
 *   grad_loss     the upstream gradient as a value on the device: a float32 or float64 scalar.  With reduction none it
 *                 may also have shape [...].  NULL: 1.
 *   normalizer    a float32 or float64 scalar on the device that replaces W in the loss, the gradient and the accuracy.
 *                 When a batch is spread over ranks, pass the all-reduced weight sum; the losses of the ranks then add
 *                 up to the loss of the whole batch.  NULL: W.  Only reduction mean (and accuracy) uses it.
 *   loss          out, float32 or float64: a scalar, or [...] with reduction none.  May be NULL only if grad_logits is
 *                 given.
 *   grad_logits   out, shape and dtype of logits; or NULL: loss only.  It may be the logits themselves (the same data
 *                 and strides), which the call then overwrites.  Any other overlap is POSLABEL_ERROR_INVALID.
 *   accuracy      out, float32 or float64 scalar: the top-1 accuracy sum_r w_r [argmax z = label] / W.  Of equal maxima
 *                 the first counts.  Or NULL.
 *   weight_sum    out, float32 or float64 scalar: W.  Or NULL.
 *   flags         out, int32 scalar: the sum of the poslabel_loss_flag values that hold.  Or NULL.
 *
 * If W (or the normalizer) is 0 - the mask selects no row, all rows are ignored, the batch is empty - loss, gradient
 * and accuracy are 0 and POSLABEL_LOSS_EMPTY is set.
 *
 * Rows of weight 0 are not read.  Whatever they hold, their loss and gradient are 0.  Where the mask is 0, or an id is
 * ignored, the weight may hold anything; where the mask or the weight is 0, so may the id.  In any other row a NaN logit
 * makes the loss and gradient of the row NaN, and so the whole loss.  A row whose largest logit is infinite has the
 * same effect.  Otherwise every finite logit is handled without overflow, and -inf is a class of probability 0.
 *
 * Precision.  For float16, bfloat16 and float32 logits the arithmetic is float32, sums over rows are float64, and
 * gradients are rounded once to their dtype.  Before that rounding the error is at most 1e-5 relative to the largest
 * value, unless that value is so small (below 2^-118) that float32 itself is coarser.  Where the softmax nearly meets
 * smoothed or Gaussian targets, their difference loses digits: the error is then relative to the largest target.  The
 * loss of a row is a logarithm and may be off by 1e-6 however small it is.  For float64 logits the arithmetic is
 * float64 and the error at most 1e-12.
 *
 * Determinism.  The gradient and the loss of a row depend only on that row (and on W), not on where it lies.  They have
 * the same bits for every number of threads, every split of the batch and every repetition.  Sums over rows are formed
 * in a fixed order.  That order depends only on the number of rows; on CUDA it also depends on the model of the GPU and
 * on the classes, dtype and alignment of the logits.  Results of different instruction sets, and of the CPU and CUDA,
 * differ within the precision above.
 *
 * On CUDA one launch computes a loss, its gradient and all sums.  The launch is a cooperative one if the gradient needs
 * a W that only the device can know: with reduction mean, a mask, weights or ids, and no normalizer.
 *
 * Workspace on the CPU: 8 * C bytes + 8 KiB per thread, 48 bytes for each 64 rows (at most 200 KB), and the bytes that
 * the loss itself documents.  On CUDA: 40 bytes for each block of the launch, and the bytes that the loss itself
 * documents.  A launch has as many blocks as the GPU holds at once, some thousand at most.
 *
 * Statuses.  POSLABEL_ERROR_INVALID: context, args or logits NULL; neither loss nor grad_logits; a wrong rank, shape,
 * dtype or device; an unknown reduction; grad_scale NaN or infinite; an overlap that is not allowed; and on the CPU an
 * id out of range or a weight that is negative, NaN or infinite.  POSLABEL_ERROR_UNSUPPORTED: strides that do not fold.
 * POSLABEL_ERROR_MEMORY.
 *
 * On CUDA the host does not see ids and weights.  A row whose id or weight is not allowed counts as a row of weight 0
 * and sets POSLABEL_LOSS_INVALID.  Such rows are counted, and poslabel_context_synchronize() reports them.
 */

/* How the losses of rows become the loss. */
typedef enum poslabel_reduction {
    POSLABEL_REDUCTION_MEAN = 0,
    POSLABEL_REDUCTION_SUM = 1,
    POSLABEL_REDUCTION_NONE = 2
} poslabel_reduction;

/* What a loss says about its rows in `flags`. */
typedef enum poslabel_loss_flag {
    POSLABEL_LOSS_EMPTY = 1,  /* the weight sum, or the normalizer, is 0: loss, gradient and accuracy are 0        */
    POSLABEL_LOSS_INVALID = 2 /* on CUDA: rows had an id out of range or a weight that is not allowed; see above   */
} poslabel_loss_flag;

/*
 * Scales a gradient in place: grad *= scale.  This is for autograd engines that learn the upstream gradient only after
 * the loss was computed.  If the scale is 1, the call touches nothing, so the common case costs a read of one number.
 *
 *   grad    in and out, any shape, float16, bfloat16, float32 or float64; rows may be strided.
 *   scale   float32 or float64 scalar on the device of grad; or [...], the leading shape of grad, one for each row.
 *
 * Each product is formed in float32 (float64 for float64) and rounded once.  No workspace.
 *
 * POSLABEL_ERROR_INVALID: context, args, grad or scale NULL; a wrong rank, shape, dtype or device; scale overlaps grad.
 * POSLABEL_ERROR_UNSUPPORTED: strides that do not fold.  Since 0.1.
 */
typedef struct poslabel_scale_gradient_args {
    size_t struct_size;
    const poslabel_tensor *grad;  /* in out [] or [..., C] f16 bf16 f32 f64 */
    const poslabel_tensor *scale; /* in     [] or [...] f32 f64 */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_scale_gradient_args;

#define POSLABEL_SCALE_GRADIENT_ARGS_INIT                                                                              \
    {                                                                                                                  \
        sizeof(poslabel_scale_gradient_args), NULL, NULL, NULL                                                         \
    }

POSLABEL_API poslabel_status poslabel_scale_gradient(poslabel_context *context,
                                                     const poslabel_scale_gradient_args *args);

#ifdef __cplusplus
}
#endif
#endif
