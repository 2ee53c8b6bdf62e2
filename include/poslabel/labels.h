/*
 * labels.h: positional labels as tensors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_LABELS_H
#define POSLABEL_LABELS_H

#include <poslabel/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The losses of this library derive these labels from the row index and never need them as a tensor.  The functions
 * below are for hosts that want to inspect the labels or to use a loss of their own.
 */

/*
 * Absolute positional labels: the label of position n is n.
 * (Zhang & Gong, "Positional Label for Self-Supervised Vision Transformer", AAAI 2023.)
 *
 *   grid     h x w patches, N = h * w.
 *   labels   out, [..., N], int32 or int64, on the context's device; rows may be strided.  Every leading index
 *            gets the same N labels.
 *
 * The result is exact.  POSLABEL_ERROR_INVALID: context or args NULL; a side below 1 or h * w of 2^31 or more; labels
 * NULL, or of another dtype, shape or device.  Since 0.1.
 */
typedef struct poslabel_absolute_labels_args {
    size_t struct_size;
    poslabel_grid grid;
    const poslabel_tensor *labels; /* out [..., N] i32 i64 */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_absolute_labels_args;

#define POSLABEL_ABSOLUTE_LABELS_ARGS_INIT                                                                             \
    {                                                                                                                  \
        sizeof(poslabel_absolute_labels_args), {0, 0}, NULL, NULL                                                      \
    }

POSLABEL_API poslabel_status poslabel_absolute_labels(poslabel_context *context,
                                                      const poslabel_absolute_labels_args *args);

/*
 * Relative positional labels.  The ordered pair (i, j), where i is the query (outer index) and j the key (inner index),
 * has the label
 *
 *     label(i, j) = (y_i - y_j + h - 1) * (2 w - 1) + (x_i - x_j + w - 1),
 *
 * one of C = (2 h - 1) (2 w - 1) classes.  A 7 x 7 grid has 169.  (The same paper.)
 *
 *   grid     h x w patches, N = h * w.
 *   labels   out, [..., N, N], int32 or int64; rows may be strided.  Every leading index gets the same labels.
 *
 * The result is exact.  POSLABEL_ERROR_INVALID as above, and if C is 2^31 or more.  Since 0.1.
 */
typedef struct poslabel_relative_labels_args {
    size_t struct_size;
    poslabel_grid grid;
    const poslabel_tensor *labels; /* out [..., N, N] i32 i64 */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_relative_labels_args;

#define POSLABEL_RELATIVE_LABELS_ARGS_INIT                                                                             \
    {                                                                                                                  \
        sizeof(poslabel_relative_labels_args), {0, 0}, NULL, NULL                                                      \
    }

POSLABEL_API poslabel_status poslabel_relative_labels(poslabel_context *context,
                                                      const poslabel_relative_labels_args *args);

/*
 * How Gaussian position targets g_ij = exp(-((y_i - y_j)^2 + (x_i - x_j)^2) / sigma^2) are normalised to t_ij.
 */
typedef enum poslabel_normalization {
    POSLABEL_NORMALIZATION_ROW = 0,      /* t_ij = g_ij / sum_k g_ik: the paper's equation, rows sum to 1          */
    POSLABEL_NORMALIZATION_REFERENCE = 1 /* t_ij = g_ij / sum_k g_jk: as the published code computes it; row sums
                                            differ from 1 (by up to 12 % at sigma = 1)                             */
} poslabel_normalization;

/*
 * The position smoothing map of DropPos (Wang et al., NeurIPS 2023): t_ij for all pairs of positions.
 *
 *   grid            h x w patches, N = h * w.
 *   sigma           in patches, >= 0, finite; 0 gives the identity.
 *   sigma_scalar    a float32 or float64 scalar on the device of the context, in place of sigma.  On CUDA a value that
 *                   is not allowed counts as 0 and is reported by poslabel_context_synchronize().  NULL: sigma.
 *   normalization   a poslabel_normalization.
 *   map             out, [N, N], float16, bfloat16, float32 or float64; rows may be strided.
 *
 * The map is computed in double precision and rounded once.  Workspace: 32 * (h + w + 16) bytes on the CPU,
 * 16 * (h + w) bytes on CUDA.
 *
 * POSLABEL_ERROR_INVALID: context, args or map NULL; a bad grid; sigma or sigma_scalar negative, NaN or
 * infinite; an unknown normalization; another dtype, shape or device.  POSLABEL_ERROR_UNSUPPORTED: strides that do not fold.
 * POSLABEL_ERROR_MEMORY: no workspace.  Since 0.1.
 */
typedef struct poslabel_smoothing_map_args {
    size_t struct_size;
    poslabel_grid grid;
    double sigma;
    int32_t normalization;
    const poslabel_tensor *map; /* out [N, N] f16 bf16 f32 f64 */
    const poslabel_tensor *sigma_scalar; /* in  [] f32 f64, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_smoothing_map_args;

#define POSLABEL_SMOOTHING_MAP_ARGS_INIT                                                                               \
    {                                                                                                                  \
        sizeof(poslabel_smoothing_map_args), {0, 0}, 0.0, POSLABEL_NORMALIZATION_ROW, NULL, NULL, NULL                 \
    }

POSLABEL_API poslabel_status poslabel_smoothing_map(poslabel_context *context, const poslabel_smoothing_map_args *args);

#ifdef __cplusplus
}
#endif
#endif
