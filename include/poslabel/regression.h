/*
 * regression.h: L1, smooth L1 and mean squared error on small vectors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_REGRESSION_H
#define POSLABEL_REGRESSION_H

#include <poslabel/loss.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How far a prediction is from its target: |d|, Huber's mixture of both, or d^2. */
typedef enum poslabel_regression_kind {
    POSLABEL_REGRESSION_L1 = 0,
    POSLABEL_REGRESSION_SMOOTH_L1 = 1,
    POSLABEL_REGRESSION_MSE = 2
} poslabel_regression_kind;

/*
 * Regression of positions: the `l1` loss of dense relative localisation (Liu et al., "Efficient Training of Visual
 * Transformers with Small Datasets", NeurIPS 2021), the losses of the predicted translation and scale of an image, and
 * those of relative boxes.  A row is a vector of n predictions z and as many targets t.
 *
 *     d_i = z_i - t_i
 *     L1          f(d) = |d|                                               f'(d) = sign(d), which is 0 at 0
 *     smooth L1   f(d) = d^2 / (2 beta) if |d| < beta, else |d| - beta / 2   f'(d) = d / beta, else sign(d)
 *     MSE         f(d) = d^2                                               f'(d) = 2 d
 *
 *     l_r = 1 / n * sum_i f(d_i),   dl_r/dz_i = 1 / n * f'(d_i)
 *
 * So the mean without weights is the mean over all elements, as in PyTorch.
 *
 *   kind              a poslabel_regression_kind; the default is L1.
 *   predictions       [B, n], or any [..., n], rank >= 1, n >= 1; rows may be strided.  A tensor of rank 1 is one row.
 *   targets           the shape of predictions, any float type, whatever the predictions have.  Another shape is an
 *                     error: nothing is broadcast.  Required.
 *   beta              where smooth L1 turns linear, > 0 and finite; the default is 1.  The other kinds do not use it.
 *   grad_predictions  out, shape and dtype of predictions; or NULL: loss only.  It may be the predictions themselves
 *                     (the same data and strides), which the call then overwrites.
 *
 * poslabel/loss.h describes mask, weights, reduction, grad_scale, grad_loss, normalizer, loss, weight_sum and flags,
 * the reductions, determinism and statuses; read "predictions" for "logits" there.  There is no accuracy.
 *
 * Corner cases.  Rows of weight 0 are not read; their loss and gradient are 0.  In any other row a prediction or target
 * that is NaN makes the loss of the row and the gradient of that element NaN, and so does the difference of two
 * infinities of one sign.  An infinite difference makes the loss infinite, and its gradient is what f' says.  If the
 * weight sum (or the normalizer) is 0, loss and gradient are 0 and POSLABEL_LOSS_EMPTY is set.
 *
 * Precision.  The arithmetic is float64 for every dtype, and its error at most 1e-12 relative to the largest value; then
 * each result is rounded to the dtype of its tensor (a 16-bit gradient by way of float32).  Every instruction set gives
 * the same bits.
 *
 * Workspace on the CPU: at most 48 bytes for each 64 rows, and at most 200 KB.  There is no CUDA backend yet:
 * POSLABEL_ERROR_UNSUPPORTED.
 *
 * Also POSLABEL_ERROR_INVALID: predictions or targets NULL; shapes that differ; n = 0; an unknown kind; beta <= 0, NaN
 * or infinite; neither loss nor grad_predictions.  Since 0.1.
 */
typedef struct poslabel_regression_loss_args {
    size_t struct_size;
    int32_t kind;
    int32_t reduction;
    const poslabel_tensor *predictions; /* in  [..., n] f16 bf16 f32 f64 */
    const poslabel_tensor *targets;     /* in  [..., n] f16 bf16 f32 f64 */
    const poslabel_tensor *mask;        /* in  [...] any, or NULL */
    const poslabel_tensor *weights;     /* in  [...] f16 bf16 f32 f64, or NULL */
    double beta;
    double grad_scale;
    const poslabel_tensor *grad_loss;        /* in  [] or [...] f32 f64, or NULL */
    const poslabel_tensor *normalizer;       /* in  [] f32 f64, or NULL */
    const poslabel_tensor *loss;             /* out [] or [...] f32 f64, or NULL */
    const poslabel_tensor *grad_predictions; /* out [..., n] like predictions, or NULL */
    const poslabel_tensor *weight_sum;       /* out [] f32 f64, or NULL */
    const poslabel_tensor *flags;            /* out [] i32, or NULL */
    poslabel_workspace *workspace;           /* lent, or NULL */
} poslabel_regression_loss_args;

#define POSLABEL_REGRESSION_LOSS_ARGS_INIT                                                                             \
    {                                                                                                                  \
        sizeof(poslabel_regression_loss_args), POSLABEL_REGRESSION_L1, POSLABEL_REDUCTION_MEAN, NULL, NULL, NULL,      \
            NULL, 1.0, 1.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL                                                   \
    }

POSLABEL_API poslabel_status poslabel_regression_loss(poslabel_context *context,
                                                      const poslabel_regression_loss_args *args);

#ifdef __cplusplus
}
#endif
#endif
