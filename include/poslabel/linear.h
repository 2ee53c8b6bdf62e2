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
 * The whole logits of a batch, and their gradient, are often the largest tensors of such a task: 64 images of 14 x 14
 * patches make 64 * 196 * 196 float32 of each, 9.4 MiB; 16 images of 49 x 49 pairs on the 97 x 97 offsets of that grid
 * make 1.4 GiB of each.  Here they take what workspace_limit allows.
 *
 *   grid, labels, positions, ignore_index, label_smoothing, mask, weights, reduction, grad_scale, grad_loss, normalizer,
 *   accuracy, weight_sum, flags
 *                   as in poslabel/position.h and poslabel/loss.h, where "the leading shape of logits" is that of
 *                   features.  (`weights` are those of the rows, `weight` is the matrix.)
 *   features        [..., D], rank >= 1, float16, bfloat16, float32 or float64; rows may be strided.
 *   weight          [C, D], dtype of features; rows may be strided.
 *   bias            [C], dtype of weight or float32 (float64 for float64).  NULL: zeros.
 *                   C and D are 1 to 2^30.
 *   loss            out, as in poslabel/loss.h; or NULL.  At least one of loss, grad_features, grad_weight and
 *                   grad_bias must be given.
 *   grad_features   out, shape and dtype of features; rows may be strided.  Or NULL.
 *   grad_weight     out, [C, D], dtype of weight or float32 (float64 for float64); rows may be strided.  Or NULL.
 *   grad_bias       out, [C], dtype of weight or float32 (float64 for float64); with or without a bias.  Or NULL.
 *                   Only gradients that are given are computed.
 *   accumulate      0: grad_weight and grad_bias are overwritten.  1: they are added to, as trainers do that make a
 *                   step of several batches.  grad_features is overwritten either way.  The default is 0.
 *   workspace_limit bytes.  The call takes no more workspace than this.  0: 64 MiB, or what chunks of 256 rows need if
 *                   that is more.
 *
 * Outputs overlap nothing.  Matrices may have leading dimensions of size 1.
 *
 * Rows of weight 0 are not read and cost next to nothing: whatever they hold, their loss and their grad_features are 0,
 * and they add nothing to grad_weight and grad_bias.  So does every row when W (or the normalizer) is 0.  Any other row
 * with a NaN makes the loss NaN, and all gradients that it has a part in.
 *
 * Precision.  float16, bfloat16 and float32: products in float32, each sum of them formed by the CBLAS; logits and
 * their gradient are float32 between the products, where PyTorch would round them to 16 bits.  grad_weight is summed in
 * float32, grad_bias in float64, losses as in poslabel/loss.h; grad_features, grad_weight and grad_bias are rounded once
 * to their dtype.  (With accumulate the sum is added first, and a float32 grad_weight is added to chunk by chunk.)
 * Before that rounding an element's error is at most n * 2^-24 times the sum of the absolute values of the n products it
 * is made of, besides what the errors of the logits, of the same kind, and of the loss (1e-5) bring with them.  float64:
 * all in float64.
 *
 * Determinism.  The same bits for every number of threads and every repetition, as long as the CBLAS gives the same bits
 * for the same product on one thread, as OpenBLAS does.  Sums over chunks are formed in the order of the rows.  Another
 * workspace_limit, split of the batch or CBLAS, a mask that leaves out other rows: another grouping of the sums, the
 * same result within the precision above.
 *
 * Threads.  The matrix products are shared out over the context's threads, each of which calls the CBLAS for parts of
 * its own and keeps an OpenMP CBLAS from starting more: give the library a serial one or one that is built with OpenMP
 * (Debian: libopenblas0-openmp), so that there is one pool of threads.  OpenBLAS built with pthreads starts a pool of its
 * own when it is loaded and uses it here, too; OPENBLAS_NUM_THREADS=1 keeps it from that.  In a forked child calls run
 * on one thread, whatever the CBLAS may have run on in the parent.
 *
 * Workspace on the CPU, all within workspace_limit: what poslabel/loss.h says; 8 * C for grad_bias and 4 * C for a bias;
 * 4 * C * D each for a weight or a grad_weight of 16 bits (or whose rows overlap); and for each row of a chunk 4 * C, and
 * 4 * D + 8 if there are mask, weights or explicit labels, 4 * D if features or grad_features have 16 bits or rows on two
 * levels (x[:, 1:, :]).  float64 takes 8 in place of 4; C and D are rounded up to 16.  A limit that does not allow chunks
 * of some 256 rows costs speed.  What the CBLAS takes for itself is not counted.
 *
 * POSLABEL_ERROR_INVALID: context, args, features or weight NULL; no output; accumulate neither 0 nor 1; a
 * workspace_limit too small for chunks of one row; C or D out of range; an overlap; and all that poslabel/position.h and
 * poslabel/loss.h name.  POSLABEL_ERROR_UNSUPPORTED: the library was built without a CBLAS (the message says how to get
 * one); strides that do not fold.  POSLABEL_ERROR_MEMORY.  Since 0.1.
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
