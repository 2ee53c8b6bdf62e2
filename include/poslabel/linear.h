/*
 * linear.h: a linear head and its position cross-entropy in one call.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_LINEAR_H
#define POSLABEL_LINEAR_H

#include <poslabel/position.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The head and the loss of Absolute and Relative Positional Label (Zhang & Gong, AAAI 2023), and of any other task
 * whose linear layer predicts the position of a token.  The logits are never stored as a whole: only a few rows of them
 * exist at a time.
 *
 *     z = W x + b,   l = the position cross-entropy of z (poslabel/position.h),   G = dloss/dz
 *     grad_features = G W,   grad_weight = G^T X,   grad_bias = the sum of the rows of G
 *
 * The logits of a batch and their gradient are often the largest tensors of such a task.  For 64 images of 32 x 32
 * patches each takes 256 MiB in float32.  Here they take only as much memory as workspace_limit allows.
 *
 *   grid, labels, positions, ignore_index, label_smoothing, mask, weights, reduction, grad_scale, grad_loss,
 *   normalizer, accuracy, weight_sum, flags
 *                   as in poslabel/position.h and poslabel/loss.h, where "the leading shape of logits" is that of
 *                   features.  (`weights` are those of the rows, `weight` is the matrix.)
 *   features        [..., D], rank >= 1, float16, bfloat16, float32 or float64; rows may be strided.
 *   weight          [C, D], dtype of features; rows may be strided.  C and D are 1 to 2^30.
 *   bias            [C], dtype of weight or float32 (float64 for float64).  NULL: zeros.
 *   accumulate      0: the call overwrites grad_weight and grad_bias.  1: it adds to them, for trainers that make one
 *                   step of several batches.  It overwrites grad_features either way.  The default is 0.
 *   workspace_limit in bytes; the call takes no more workspace than this.  0: 64 MiB, or the size that chunks of 256
 *                   rows need if that is more.
 *   loss            out, as in poslabel/loss.h, or NULL.  At least one of loss, grad_features, grad_weight and
 *                   grad_bias must be given.  A gradient that is not given is not computed.
 *   grad_features   out, shape and dtype of features; rows may be strided.  Or NULL.
 *   grad_weight     out, [C, D], dtype of weight or float32 (float64 for float64); rows may be strided.  Or NULL.
 *   grad_bias       out, [C], dtype of weight or float32 (float64 for float64), with or without a bias.  Or NULL.
 *
 * Outputs must not overlap any other tensor.  weight, bias and their gradients may have leading dimensions of size 1.
 *
 * Rows of weight 0 are not read and cost next to nothing.  Whatever they hold, their loss and grad_features are 0, and
 * they add nothing to grad_weight and grad_bias.  If W (or the normalizer) is 0, no row counts.  In any other row a NaN
 * makes the loss NaN, and also every gradient element to which the row contributes.
 *
 * Precision.  For float16, bfloat16 and float32 tensors the CBLAS computes the matrix products in float32.  The logits
 * stay float32, where a framework would round them to 16 bits.  Losses are summed as poslabel/loss.h says, grad_bias in
 * float64, grad_weight in float32.  Each gradient is rounded once to its dtype; with accumulate this follows the
 * addition.  A float32 grad_weight is an exception: each chunk is added to it in turn.  Before the rounding, an element
 * that is a sum of n products is wrong by at most about n * 2^-24 of the sum of their absolute values.  The logits are
 * wrong in the same way, and the loss inherits that error beside its own 1e-5.  For float64 tensors everything is
 * float64.
 *
 * Determinism.  The result has the same bits for every number of threads and every repetition, provided that the CBLAS
 * gives the same bits for the same product on one thread, as OpenBLAS does.  The sums are grouped in another way if the
 * workspace_limit, the split of the batch, the CBLAS, or the set of rows that do not count changes.  The results then
 * differ within the precision above.
 *
 * Threads.  The context's threads share the matrix products.  Each thread calls the CBLAS for parts of its own, and the
 * library keeps an OpenMP CBLAS from starting more threads.  Give the library a serial CBLAS or one built with OpenMP
 * (Debian: libopenblas0-openmp), so that there is one pool of threads.  An OpenBLAS built with pthreads starts a pool
 * of its own when it is loaded, and uses it here too, unless OPENBLAS_NUM_THREADS=1.  poslabel/context.h says how
 * many threads a forked child has.
 *
 * Workspace on the CPU in bytes, all of it within workspace_limit:
 *   - the workspace of poslabel/loss.h, for at most 64 threads, and for fewer if more would take over a quarter of the
 *     limit;
 *   - 4 * C * D for a weight that has 16 bits (or rows that overlap), and as much for such a grad_weight;
 *   - 4 * C for the bias, 8 * C for grad_bias;
 *   - 4 * C for each row of a chunk;
 *   - 8 more for each row of a chunk if there are a mask, weights or explicit labels;
 *   - 4 * D more for each row of a chunk if there are a mask, weights or explicit labels, or if features or
 *     grad_features have 16 bits or rows on two levels, as x[:, 1:, :] has.
 * For float64 read 8 in place of 4.  C and D are rounded up to multiples of 16.  Memory that the CBLAS takes for itself
 * is not counted.  Chunks of fewer than some 256 rows cost speed.
 *
 * On CUDA cuBLAS computes the products, on the context's stream.  For float16 and bfloat16 tensors the gradient of the
 * logits is rounded to their dtype once more before the products for grad_features and grad_weight, as a framework's
 * autocast does.  In float16 it is first multiplied by a power of two, chosen so that the largest weight times
 * grad_loss of a row lies near float16's maximum.  The gradient of a mean over many rows then does not vanish, and a
 * large one does not overflow.  The same bits come out at every repetition on one GPU and version of cuBLAS, as long as
 * cuBLAS keeps its own promise of that.
 *
 * The first call of a context on CUDA opens cuBLAS, which allocates memory.  Make that call before a capture; during a
 * capture it is refused.  The library takes the libcublas of CUDA 13 or 12 that the process has loaded, else the one
 * that the linker finds, else the file that the environment variable POSLABEL_CUBLAS names.
 *
 * Workspace on CUDA in bytes:
 *   - 4 * C for the bias;
 *   - 4 * C * D for a grad_weight of 16 bits;
 *   - C * D elements for a weight whose rows overlap;
 *   - up to an eighth of the limit (from 64 KiB to 32 MiB) for cuBLAS;
 *   - 8 * C for grad_bias, and as much again for every 64 rows of a chunk, once at least and at most twice for each
 *     multiprocessor;
 *   - 4 * C for each row of a chunk, and with 16 bits 2 * C more;
 *   - D elements for each row of a chunk if features are copied: with a mask, weights, explicit labels or a normalizer,
 *     or with rows on two levels;
 *   - D elements for each row of a chunk for a grad_features with rows on two levels.
 *
 * POSLABEL_ERROR_INVALID: context, args, features or weight NULL; no output; accumulate neither 0 nor 1; a
 * workspace_limit too small for chunks of one row (the message says how much is needed); C or D out of range; an
 * overlap; a first call in a capture; and the errors that poslabel/position.h and poslabel/loss.h name.
 * POSLABEL_ERROR_UNSUPPORTED: the library was built without a CBLAS, or finds no cuBLAS for CUDA (the message says how
 * to get one); strides that do not fold.  POSLABEL_ERROR_MEMORY.  Since 0.1.
 */
typedef struct poslabel_linear_position_loss_args {
    size_t struct_size;
    poslabel_grid grid;
    int32_t labels;
    int32_t reduction;
    int32_t accumulate;
    const poslabel_tensor *features;      /* in  [..., D] f16 bf16 f32 f64 */
    const poslabel_tensor *weight;        /* in  [C, D] like features */
    const poslabel_tensor *bias;          /* in  [C] like features or f32, or NULL */
    const poslabel_tensor *positions;     /* in  [...] i32 i64, or NULL */
    const poslabel_tensor *mask;          /* in  [...] any, or NULL */
    const poslabel_tensor *weights;       /* in  [...] f16 bf16 f32 f64, or NULL */
    int64_t ignore_index;
    double label_smoothing;
    double grad_scale;
    const poslabel_tensor *grad_loss;     /* in  [] or [...] f32 f64, or NULL */
    const poslabel_tensor *normalizer;    /* in  [] f32 f64, or NULL */
    uint64_t workspace_limit;
    const poslabel_tensor *loss;          /* out [] or [...] f32 f64, or NULL */
    const poslabel_tensor *grad_features; /* out [..., D] like features, or NULL */
    const poslabel_tensor *grad_weight;   /* out [C, D] like features or f32, or NULL */
    const poslabel_tensor *grad_bias;     /* out [C] like features or f32, or NULL */
    const poslabel_tensor *accuracy;      /* out [] f32 f64, or NULL */
    const poslabel_tensor *weight_sum;    /* out [] f32 f64, or NULL */
    const poslabel_tensor *flags;         /* out [] i32, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_linear_position_loss_args;

#define POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT                                                                        \
    {                                                                                                                  \
        sizeof(poslabel_linear_position_loss_args), {0, 0}, POSLABEL_LABELS_ABSOLUTE, POSLABEL_REDUCTION_MEAN, 0,      \
            NULL, NULL, NULL, NULL, NULL, NULL, -100, 0.0, 1.0, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL,     \
            NULL, NULL                                                                                                 \
    }

POSLABEL_API poslabel_status poslabel_linear_position_loss(poslabel_context *context,
                                                           const poslabel_linear_position_loss_args *args);

#ifdef __cplusplus
}
#endif
#endif
