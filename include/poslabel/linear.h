/* linear.h: a linear head and its position cross-entropy in one call.  SPDX-License-Identifier: Apache-2.0 */
#ifndef POSLABEL_LINEAR_H
#define POSLABEL_LINEAR_H

#include <poslabel/position.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The head and the loss of Absolute and Relative Positional Label (Zhang & Gong, AAAI 2023), and of any other task in
 * which a linear layer must say where a token is, without the logits: a few rows of them exist at a time.
 *
 *     z = W x + b,   l = the position cross-entropy of z (poslabel/position.h),   G = dloss/dz
 *     grad_features = G W,   grad_weight = G^T X,   grad_bias = the sum of the rows of G
 *
 * The logits of a batch and their gradient are often the largest tensors of such a task: 64 images of 32 x 32 patches
 * make 256 MiB of each in float32.  Here they take what workspace_limit allows.
 *
 *   grid, labels, positions, ignore_index, label_smoothing, mask, weights, reduction, grad_scale, grad_loss,
 *   normalizer, accuracy, weight_sum, flags
 *                   as in poslabel/position.h and poslabel/loss.h, where "the leading shape of logits" is that of
 *                   features.  (`weights` are those of the rows, `weight` is the matrix.)
 *   features        [..., D], rank >= 1, float16, bfloat16, float32 or float64; rows may be strided.
 *   weight          [C, D], dtype of features; rows may be strided.  C and D are 1 to 2^30.
 *   bias            [C], dtype of weight or float32 (float64 for float64).  NULL: zeros.
 *   accumulate      0: grad_weight and grad_bias are overwritten.  1: they are added to, as trainers do that make one
 *                   step of several batches.  grad_features is overwritten either way.  The default is 0.
 *   workspace_limit bytes; the call takes no more workspace than this.  0: 64 MiB, or what chunks of 256 rows need if
 *                   that is more.
 *   loss            out, as in poslabel/loss.h, or NULL.  At least one of loss, grad_features, grad_weight and
 *                   grad_bias must be given; the gradients that are not given are not computed.
 *   grad_features   out, shape and dtype of features; rows may be strided.  Or NULL.
 *   grad_weight     out, [C, D], dtype of weight or float32 (float64 for float64); rows may be strided.  Or NULL.
 *   grad_bias       out, [C], dtype of weight or float32 (float64 for float64), with or without a bias.  Or NULL.
 *
 * Outputs overlap nothing.  weight, bias and their gradients may have leading dimensions of size 1.
 *
 * Rows of weight 0 are not read and cost next to nothing: whatever they hold, their loss and grad_features are 0, and
 * they add nothing to grad_weight and grad_bias.  When W (or the normalizer) is 0 no row counts.  In any other row a
 * NaN makes the loss NaN, and every element of a gradient that the row has a part in.
 *
 * Precision.  float16, bfloat16 and float32 tensors: matrix products in float32, by the CBLAS.  The logits stay
 * float32, where a framework would round them to 16 bits.  Losses are summed as poslabel/loss.h says, grad_bias in
 * float64, grad_weight in float32.  Each gradient is rounded once to its dtype, after what it is added to with
 * accumulate (but a float32 grad_weight is added to chunk by chunk).  Before that rounding an element that is a sum of
 * n products is wrong by at most about n * 2^-24 of the sum of their absolute values; the logits are wrong in the same
 * way, which the loss inherits, beside its own 1e-5.  float64 tensors: all in float64.
 *
 * Determinism.  The same bits for every number of threads and every repetition, provided that the CBLAS gives the same
 * bits for the same product on one thread, as OpenBLAS does.  Another workspace_limit, split of the batch or CBLAS, or
 * other rows that do not count, group the sums in another way: the results differ within the precision above.
 *
 * Threads.  The matrix products are shared out over the context's threads.  Each of these calls the CBLAS for parts of
 * its own, and an OpenMP CBLAS is kept from starting more: give the library a serial one or one built with OpenMP
 * (Debian: libopenblas0-openmp), so that there is one pool of threads.  OpenBLAS built with pthreads starts a pool of
 * its own when it is loaded, and uses it here, too, unless OPENBLAS_NUM_THREADS=1.  In a forked child a call runs on
 * one thread, whatever ran in the parent.
 *
 * Workspace on the CPU, all of it within workspace_limit:
 *   - what poslabel/loss.h says, for at most 64 threads, and fewer where more would take over a quarter of the limit;
 *   - 4 * C * D for the weight and as much for grad_weight, where they have 16 bits (or rows that overlap);
 *   - 4 * C for the bias, 8 * C for grad_bias;
 *   - for each row of a chunk 4 * C; and 4 * D if there are a mask, weights or explicit labels (which take 8 bytes
 *     more), or if features or grad_features have 16 bits, or rows on two levels, as x[:, 1:, :] has.
 * float64 takes 8 in place of 4; C and D count as multiples of 16.  What the CBLAS takes for itself is not counted.
 * Chunks of fewer than some 256 rows cost speed.
 *
 * On CUDA the products are cuBLAS's, on the context's stream.  float16 and bfloat16 tensors: the gradient of the logits
 * is rounded to their dtype once more before the products for grad_features and grad_weight, as a framework's autocast
 * does.  In float16 it is scaled by a power of two for that, which brings the largest weight times grad_loss of a row
 * to the upper end of float16, so that the gradient of a mean over many rows does not vanish, nor a large one overflow.
 * The same bits come out at every repetition on one GPU and version of cuBLAS, as long as cuBLAS keeps that promise of
 * its own.
 * The first call of a context opens cuBLAS, which allocates: make it before a capture, where it would be refused.
 *
 * Workspace on CUDA: 4 * C for the bias, 4 * C * D for a grad_weight of 16 bits, C * D elements for a weight whose rows
 * overlap; as much as an eighth of the limit (from 64 KiB to 32 MiB) for cuBLAS; 8 * C for grad_bias, and as much again
 * for every 64 rows of a chunk, once at least and at most twice for each multiprocessor; for each row of a chunk 4 * C,
 * with 16 bits 2 * C more, and D elements for features that are copied (a mask, weights, explicit labels or a
 * normalizer, or rows on two levels) and for a grad_features with rows on two levels.
 *
 * POSLABEL_ERROR_INVALID: context, args, features or weight NULL; no output; accumulate neither 0 nor 1; a
 * workspace_limit too small for chunks of one row (the message says what is needed); C or D out of range; an overlap;
 * a first call in a capture; and what poslabel/position.h and poslabel/loss.h name.  POSLABEL_ERROR_UNSUPPORTED: the
 * library was built without a CBLAS, or the CUDA module without cuBLAS (the message says how to get one); strides that
 * do not fold.  POSLABEL_ERROR_MEMORY.  Since 0.1.
 */
typedef struct poslabel_linear_position_loss_args {
    size_t struct_size;
    poslabel_grid grid;
    int32_t labels;
    int32_t reduction;
    int32_t accumulate;
    const poslabel_tensor *features;
    const poslabel_tensor *weight;
    const poslabel_tensor *bias;
    const poslabel_tensor *positions;
    const poslabel_tensor *mask;
    const poslabel_tensor *weights;
    int64_t ignore_index;
    double label_smoothing;
    double grad_scale;
    const poslabel_tensor *grad_loss;
    const poslabel_tensor *normalizer;
    uint64_t workspace_limit;
    const poslabel_tensor *loss;
    const poslabel_tensor *grad_features;
    const poslabel_tensor *grad_weight;
    const poslabel_tensor *grad_bias;
    const poslabel_tensor *accuracy;
    const poslabel_tensor *weight_sum;
    const poslabel_tensor *flags;
} poslabel_linear_position_loss_args;

#define POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT                                                                        \
    {                                                                                                                  \
        sizeof(poslabel_linear_position_loss_args), {0, 0}, POSLABEL_LABELS_ABSOLUTE, POSLABEL_REDUCTION_MEAN, 0,      \
            NULL, NULL, NULL, NULL, NULL, NULL, -100, 0.0, 1.0, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL,     \
            NULL                                                                                                       \
    }

POSLABEL_API poslabel_status poslabel_linear_position_loss(poslabel_context *context,
                                                           const poslabel_linear_position_loss_args *args);

#ifdef __cplusplus
}
#endif
#endif
