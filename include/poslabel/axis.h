/*
 * axis.h: the per-axis losses of dense relative localisation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_AXIS_H
#define POSLABEL_AXIS_H

#include <poslabel/loss.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What each axis is held to. */
typedef enum poslabel_axis_loss_kind {
    POSLABEL_AXIS_LOSS_CROSS_ENTROPY = 0, /* published as ce  */
    POSLABEL_AXIS_LOSS_CYCLE_BACK = 1     /* published as cbr */
} poslabel_axis_loss_kind;

/*
 * The losses of dense relative localisation by classes (DRLoc; Liu et al., "Efficient Training of Visual Transformers
 * with Small Datasets", NeurIPS 2021).  A row is a pair of cells.  For each axis it has one vector z of n logits, one for
 * each offset between the cells, and the offset y that is right.  The loss of a row is the sum over both axes of
 *
 *     cross-entropy   l = logsumexp(z) - z_y
 *                     dl/dz_c = b_c - [c = y]
 *
 *     cycle-back      mu = sum_c c b_c,   v = sum_c (c - mu)^2 b_c + 1e-8
 *                     l = (mu - y)^2 / v + 0.001 log v
 *                     dl/dz_c = b_c (dl/dmu (c - mu) + dl/dv ((c - mu)^2 - v + 1e-8))
 *                     dl/dmu = 2 (mu - y) / v,   dl/dv = 0.001 / v - (mu - y)^2 / v^2
 *
 * with b = softmax(z).  A mean over rows is then the sum of the two means that the published code forms.
 *
 *   kind            a poslabel_axis_loss_kind; the default is cross-entropy.
 *   logits          [..., n, 2], float16, bfloat16, float32 or float64: two heads stacked on the last dimension, whose
 *                   first element is the axis y (rows of the grid), and the second x (columns).  Both of the last two
 *                   dimensions may have any stride: a tensor [M, 2, n] is passed as its transposed view [M, n, 2], with
 *                   strides (2 n, 1, n).  All dimensions but the last must fold into two levels.
 *   logits_y        [..., n_y] and
 *   logits_x        [..., n_x], of one dtype, in place of logits.  n_y and n_x may differ.  Any strides, as above.
 *                   Either logits must be given, or both of these.
 *   targets         [..., 2], int32 or int64, in the order (y, x), each in [0, n of its axis); any strides.  Required.
 *   mask, weights   [...] (the leading shape of targets).
 *   grad_logits     out, shape and dtype of logits; it may be the logits themselves.  Its strides are as free.  NULL: no
 *                   gradient.
 *   grad_logits_y   out, the same for logits_y and
 *   grad_logits_x   logits_x: both or none.  Each may be the logits of its own axis.
 *   loss            may be NULL only if a gradient is given.
 *
 * poslabel/loss.h describes all other arguments, the reductions, the corner cases and the statuses; where it says
 * logits, it means those of both axes.  There is no accuracy.  A logit of -inf at the target makes cross-entropy +inf;
 * in cycle-back it is a class of probability 0, as anywhere.
 *
 * Precision is that of poslabel/loss.h for n up to 4096; beyond, float32 sums lose digits slowly.  A gradient of
 * cycle-back is a sum of terms, by way of the mean and of the variance.  They may nearly cancel, as may the mean and the
 * target, and the error is relative to what cancels.  In float32 arithmetic probabilities below e^-87 of the largest count
 * as 0.  Cycle-back multiplies small probabilities by up to n^2 * 1e16, and so its gradients overflow float16 where a
 * distribution is sharp and wrong; bfloat16 and float32 hold them.  Results are deterministic as described there.
 *
 * Workspace on the CPU, in place of what loss.h says: 8 KiB and 128 * (n_y + n_x + 48) bytes per thread, and 48 bytes for
 * each 64 rows (at most 200 KB).
 *
 * Also POSLABEL_ERROR_INVALID: an unknown kind; logits and logits_y or logits_x both given; only one of a pair; a gradient
 * without its logits; no class; targets NULL or out of range.  On the CPU only.  Since 0.1.
 */
typedef struct poslabel_axis_loss_args {
    size_t struct_size;
    int32_t kind;
    int32_t reduction;
    const poslabel_tensor *logits;        /* in  [..., n, 2] f16 bf16 f32 f64, or NULL */
    const poslabel_tensor *logits_y;      /* in  [..., n_y] f16 bf16 f32 f64, or NULL */
    const poslabel_tensor *logits_x;      /* in  [..., n_x] like logits_y, or NULL */
    const poslabel_tensor *targets;       /* in  [..., 2] i32 i64 */
    const poslabel_tensor *mask;          /* in  [...] any, or NULL */
    const poslabel_tensor *weights;       /* in  [...] f16 bf16 f32 f64, or NULL */
    double grad_scale;
    const poslabel_tensor *grad_loss;     /* in  [] or [...] f32 f64, or NULL */
    const poslabel_tensor *normalizer;    /* in  [] f32 f64, or NULL */
    const poslabel_tensor *loss;          /* out [] or [...] f32 f64, or NULL */
    const poslabel_tensor *grad_logits;   /* out [..., n, 2] like logits, or NULL */
    const poslabel_tensor *grad_logits_y; /* out [..., n_y] like logits_y, or NULL */
    const poslabel_tensor *grad_logits_x; /* out [..., n_x] like logits_y, or NULL */
    const poslabel_tensor *weight_sum;    /* out [] f32 f64, or NULL */
    const poslabel_tensor *flags;         /* out [] i32, or NULL */
    poslabel_workspace *workspace;        /* lent, or NULL */
} poslabel_axis_loss_args;

#define POSLABEL_AXIS_LOSS_ARGS_INIT                                                                                   \
    {                                                                                                                  \
        sizeof(poslabel_axis_loss_args), POSLABEL_AXIS_LOSS_CROSS_ENTROPY, POSLABEL_REDUCTION_MEAN, NULL, NULL, NULL,  \
            NULL, NULL, NULL, 1.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL                                \
    }

POSLABEL_API poslabel_status poslabel_axis_loss(poslabel_context *context, const poslabel_axis_loss_args *args);

#ifdef __cplusplus
}
#endif
#endif
