/*
 * droppos.h: the loss and the schedule of DropPos.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_DROPPOS_H
#define POSLABEL_DROPPOS_H

#include <poslabel/labels.h>
#include <poslabel/loss.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The DropPos loss (Wang et al., "DropPos: Pre-Training Vision Transformers by Reconstructing Dropped Positions",
 * NeurIPS 2023).  It is the cross-entropy of each visible patch against a Gaussian around the patch's true position.
 * The mask selects the patches whose position was dropped; only those count.
 *
 *     p = softmax(z),   i = positions[r],   t_ij as in poslabel/labels.h
 *     l_r = -sum_j t_ij log p_j
 *     dl_r/dz_j = p_j * sum_k t_ik - t_ij
 *
 * A row of targets is the product of two factors, one for each axis.  Targets are never stored for the whole batch.
 * In float32 arithmetic, a grid row or column whose distance d from the true position makes exp(-d^2 / sigma^2) less
 * than 2^-32 is treated as 0; CUDA keeps it.
 *
 *   grid               h x w patches, N = h * w.
 *   logits             [B, V, N], or any [..., N].
 *   positions          [B, V] (the leading shape of logits), int32 or int64, in [0, N): the true position of each
 *                      visible patch, as ids_keep of poslabel_droppos_masks() gives it.  Required.
 *   mask               [B, V]: mask_pos of poslabel_droppos_masks(); only dropped positions count.
 *   weights            [B, V]: attentive weights (poslabel/attention.h).
 *   sigma              in patches, >= 0, finite; the default 0 gives one-hot targets.
 *   sigma_scalar       a float32 or float64 scalar on the device of the context, in place of sigma.  A captured CUDA
 *                      graph reads it at each replay.  On CUDA a value that is not allowed counts as 0, sets
 *                      POSLABEL_LOSS_INVALID, and is reported by poslabel_context_synchronize().  NULL: sigma.
 *   normalization      a poslabel_normalization; the default is the paper's.
 *   confidence_filter  0 or 1.  With 1 a row counts only while p_i < t_ii.  A row that the model already locates as
 *                      well as the target asks gets weight 0, also in W, the accuracy and the gradient (published as
 *                      conf_ignore).  The logits are then read twice if a gradient is wanted.  On the CPU, where p_i
 *                      and t_ii are so close that float32 cannot tell, they are compared in double precision.
 *
 * poslabel/loss.h describes all other arguments, the reductions, corner cases, precision, workspace and statuses.
 *
 * Additional workspace on the CPU:
 *   - 3 KiB and 32 * (h + w) bytes; per thread 128 bytes and, for each side s of the grid, 4 * s * (s + 15) bytes if
 *     s is at most 64, else 4 * (s + 15) bytes;
 *   - with the filter, one byte per row;
 *   - on grids of at most 400 patches, unless logits are float64, the targets: at most 8 * N * (w + 2) bytes, and at
 *     most 140 KiB, with POSLABEL_NORMALIZATION_ROW, or 4 * N * (N + 32) bytes per thread with
 *     POSLABEL_NORMALIZATION_REFERENCE.  Of the latter a thread touches only the part that its positions need.
 *
 * Additional workspace on CUDA:
 *   - with the filter, one byte per row;
 *   - on grids with h + w above 1279 (float64 logits: 852), 24 * (h + w) + 16 bytes (float64: 40 * (h + w) + 32).  Two
 *     more launches fill it.
 *
 * Also POSLABEL_ERROR_INVALID: a bad grid; C other than N; positions NULL or out of range; sigma or sigma_scalar
 * negative, NaN or infinite; an unknown normalization; confidence_filter other than 0 and 1.
 *
 * A logit of -inf in a class whose target is above 0 makes the loss +inf or a very large finite number.  Since 0.1.
 */
typedef struct poslabel_droppos_loss_args {
    size_t struct_size;
    poslabel_grid grid;
    int32_t normalization;
    int32_t confidence_filter;
    int32_t reduction;
    const poslabel_tensor *logits;      /* in  [..., N] f16 bf16 f32 f64 */
    const poslabel_tensor *positions;   /* in  [...] i32 i64 */
    const poslabel_tensor *mask;        /* in  [...] any, or NULL */
    const poslabel_tensor *weights;     /* in  [...] f16 bf16 f32 f64, or NULL */
    double sigma;
    double grad_scale;
    const poslabel_tensor *grad_loss;   /* in  [] or [...] f32 f64, or NULL */
    const poslabel_tensor *normalizer;  /* in  [] f32 f64, or NULL */
    const poslabel_tensor *loss;        /* out [] or [...] f32 f64, or NULL */
    const poslabel_tensor *grad_logits; /* out [..., N] like logits, or NULL */
    const poslabel_tensor *accuracy;    /* out [] f32 f64, or NULL */
    const poslabel_tensor *weight_sum;  /* out [] f32 f64, or NULL */
    const poslabel_tensor *flags;       /* out [] i32, or NULL */
    const poslabel_tensor *sigma_scalar; /* in  [] f32 f64, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_droppos_loss_args;

#define POSLABEL_DROPPOS_LOSS_ARGS_INIT                                                                                \
    {                                                                                                                  \
        sizeof(poslabel_droppos_loss_args), {0, 0}, POSLABEL_NORMALIZATION_ROW, 0, POSLABEL_REDUCTION_MEAN, NULL,      \
            NULL, NULL, NULL, 0.0, 1.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL                           \
    }

POSLABEL_API poslabel_status poslabel_droppos_loss(poslabel_context *context, const poslabel_droppos_loss_args *args);

/*
 * The schedule of sigma: sigma(epoch) = (1 - epoch / epochs) * sigma_0, never below 0.
 *
 *   sigma_0   in patches, >= 0, finite.
 *   epoch     >= 0, finite; fractions are allowed.  Past `epochs` sigma stays 0.
 *   epochs    > 0, finite.
 *   sigma     out, a number in host memory; must not be NULL.
 *
 * POSLABEL_ERROR_INVALID: context, args or sigma NULL, or a value outside these ranges.  Since 0.1.
 */
typedef struct poslabel_sigma_schedule_args {
    size_t struct_size;
    double sigma_0;
    double epoch;
    double epochs;
    double *sigma;
} poslabel_sigma_schedule_args;

#define POSLABEL_SIGMA_SCHEDULE_ARGS_INIT                                                                              \
    {                                                                                                                  \
        sizeof(poslabel_sigma_schedule_args), 0.0, 0.0, 0.0, NULL                                                      \
    }

POSLABEL_API poslabel_status poslabel_sigma_schedule(poslabel_context *context,
                                                     const poslabel_sigma_schedule_args *args);

#ifdef __cplusplus
}
#endif
#endif
