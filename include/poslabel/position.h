/*
 * position.h: cross-entropy against positional labels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_POSITION_H
#define POSLABEL_POSITION_H

#include <poslabel/loss.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The source of the label of a row. */
typedef enum poslabel_label_kind {
    POSLABEL_LABELS_ABSOLUTE = 0, /* implied: the position of the row's token                                   */
    POSLABEL_LABELS_RELATIVE = 1, /* implied: the offset between the two tokens of the row's pair               */
    POSLABEL_LABELS_EXPLICIT = 2  /* read from `positions`                                                      */
} poslabel_label_kind;

/*
 * Position cross-entropy: the losses of Absolute and Relative Positional Label (Zhang & Gong, AAAI 2023), and of any
 * other head that predicts the position of a token.
 *
 *     p = softmax(z),   l = -(1 - e) log p_label - e / C * sum_c log p_c,   e = label_smoothing
 *     dl/dz_c = p_c - (1 - e) [c = label] - e / C
 *
 *   grid            h x w patches, N = h * w.  Not used with explicit labels.
 *   labels          a poslabel_label_kind, which determines the shape of logits:
 *                     absolute   logits [..., N, N]: the row of token n has label n; C = N.  Or [R, N] with R a
 *                                multiple of N: row r has label r mod N.
 *                     relative   logits [..., N, N, C], [..., N * N, C], or [R, C] with R a multiple of N * N;
 *                                C = (2 h - 1) (2 w - 1).  The pairs are in the order of
 *                                poslabel_relative_labels().
 *                     explicit   logits [..., C], any C.
 *   positions       [...], int32 or int64, in [0, C).  Required with explicit labels, NULL otherwise.
 *   ignore_index    a row whose position has this value gets weight 0.  The default is -100, as in PyTorch.  Used with
 *                   explicit labels only.
 *   label_smoothing in [0, 1]; the default is 0.
 *
 * poslabel/loss.h describes all other arguments, the reductions, corner cases, precision, workspace and statuses.
 * Also POSLABEL_ERROR_INVALID: an unknown kind; a bad grid; C is not the number of classes of the grid; the number of
 * rows is not a multiple of N (N * N for relative labels); label_smoothing is NaN or outside [0, 1]; positions are
 * missing, or given without explicit labels.  Since 0.1.
 */
typedef struct poslabel_position_cross_entropy_args {
    size_t struct_size;
    poslabel_grid grid;
    int32_t labels;
    int32_t reduction;
    const poslabel_tensor *logits;      /* in  [..., C] f16 bf16 f32 f64 */
    const poslabel_tensor *positions;   /* in  [...] i32 i64, or NULL */
    const poslabel_tensor *mask;        /* in  [...] any, or NULL */
    const poslabel_tensor *weights;     /* in  [...] f16 bf16 f32 f64, or NULL */
    int64_t ignore_index;
    double label_smoothing;
    double grad_scale;
    const poslabel_tensor *grad_loss;   /* in  [] or [...] f32 f64, or NULL */
    const poslabel_tensor *normalizer;  /* in  [] f32 f64, or NULL */
    const poslabel_tensor *loss;        /* out [] or [...] f32 f64, or NULL */
    const poslabel_tensor *grad_logits; /* out [..., C] like logits, or NULL */
    const poslabel_tensor *accuracy;    /* out [] f32 f64, or NULL */
    const poslabel_tensor *weight_sum;  /* out [] f32 f64, or NULL */
    const poslabel_tensor *flags;       /* out [] i32, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_position_cross_entropy_args;

#define POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT                                                                      \
    {                                                                                                                  \
        sizeof(poslabel_position_cross_entropy_args), {0, 0}, POSLABEL_LABELS_ABSOLUTE, POSLABEL_REDUCTION_MEAN,       \
            NULL, NULL, NULL, NULL, -100, 0.0, 1.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL                     \
    }

POSLABEL_API poslabel_status poslabel_position_cross_entropy(poslabel_context *context,
                                                             const poslabel_position_cross_entropy_args *args);

#ifdef __cplusplus
}
#endif
#endif
