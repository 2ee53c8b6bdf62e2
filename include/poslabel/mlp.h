/*
 * mlp.h: heads with a hidden layer, on tokens or on pairs of tokens, and their position cross-entropy in one call.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_MLP_H
#define POSLABEL_MLP_H

#include <poslabel/position.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The function between the hidden layer and the next. */
typedef enum poslabel_activation {
    POSLABEL_ACTIVATION_GELU = 0,      /* u Phi(u), by the error function: PyTorch's default                   */
    POSLABEL_ACTIVATION_GELU_TANH = 1, /* u (1 + tanh(sqrt(2 / pi) (u + 0.044715 u^3))) / 2                    */
    POSLABEL_ACTIVATION_RELU = 2       /* max(u, 0); its slope at 0 is 0                                       */
} poslabel_activation;

/*
 * The head and the loss of Absolute Positional Label (Zhang & Gong, AAAI 2023): an MLP on each token.
 *
 *     u = W1 x + b1,   z = W3 (W2 f(u) + b2) + b3,   l = the position cross-entropy of z (poslabel/position.h)
 *
 * The published head takes half of the final tokens' channels, x[..., :384], a strided view, through 384 -> 384 -> GELU
 * -> 192 -> 196.  The two layers after f are computed as one, W3 W2, for nothing stands between them.  Neither u nor z
 * is stored as a whole.
 *
 *   grid, labels, positions, ignore_index, label_smoothing, mask, weights, reduction, grad_scale, grad_loss,
 *   normalizer, accuracy, weight_sum, flags
 *                   as in poslabel/position.h and poslabel/loss.h, where "the leading shape of logits" is that of
 *                   features.  (`weights` are those of the rows, `weight` is a matrix.)
 *   activation      a poslabel_activation, f.  The default is GELU by the error function.
 *   features        [..., D], rank >= 1, float16, bfloat16, float32 or float64; rows may be strided.  A view without
 *                   the prefix tokens is x[:, P:, :].
 *   hidden_weight   W1, [H, D], dtype of features.  NULL: no such layer, u = x and H = D.
 *   hidden_bias     b1, [H].  NULL: zeros.
 *   middle_weight   W2, [M, H], dtype of features.  NULL: no such layer, z = W3 f(u) + b3 and M = H.
 *   middle_bias     b2, [M].  NULL: zeros.
 *   weight          W3, [C, M], dtype of features.
 *   bias            b3, [C].  NULL: zeros.
 *                   Biases have the dtype of features or float32 (float64 for float64).  The rows of all matrices may be
 *                   strided, and they and the biases may have leading dimensions of size 1.  All sizes are 1 to 2^30.
 *   accumulate      0: the call overwrites the gradients of the parameters.  1: it adds to them.  It overwrites
 *                   grad_features either way.  The default is 0.
 *   workspace_limit in bytes; the call takes no more workspace than this.  0: 64 MiB, or what a tile of one row needs if
 *                   that is more.
 *   loss            out, as in poslabel/loss.h, or NULL.
 *   grad_features   out, shape and dtype of features; rows may be strided.  Or NULL.
 *   grad_hidden_weight, grad_hidden_bias, grad_middle_weight, grad_middle_bias, grad_weight, grad_bias
 *                   out, the shape of what they are gradients of, dtype of features or float32 (float64 for float64);
 *                   rows may be strided.  Or NULL.  A bias may have a gradient without being given; the gradient of a
 *                   layer that is not there must be NULL.
 *
 * At least one of loss and the gradients must be given; a gradient that is not given is not computed.  Outputs must not
 * overlap any other tensor.
 *
 * Rows of weight 0 are not read, their grad_features are 0, and they add nothing to any other gradient.
 *
 * Precision.  Everything between the tensors is float32, or float64 for float64 tensors; the CBLAS computes the
 * products.  Biases' gradients are summed in float64.  The value of an activation is wrong by at most 3e-7 |u|.  Each
 * gradient is rounded once to its dtype; with accumulate this follows the addition.
 *
 * Determinism.  The result has the same bits for every number of threads and every repetition, provided that the CBLAS
 * gives the same bits for the same product on one thread, as OpenBLAS does.  The sums of the parameters' gradients are
 * grouped in another way if the workspace_limit or the split of the batch changes.
 *
 * Threads as in poslabel/linear.h.
 *
 * Workspace on the CPU, in elements of float32 (float64 for float64), with widths rounded up to multiples of 16:
 *   - H * D, C * H, H and C for the parameters, and M * H + C * M with a middle layer;
 *   - as much for the gradients of those that are wanted, and max(C, M) * max(H, M) with a middle layer;
 *   - D + 4 H + C for each row of a tile, of at most 1024 rows;
 *   - the workspace of poslabel/loss.h for each thread.
 *
 * On CUDA: not yet, POSLABEL_ERROR_UNSUPPORTED.
 *
 * POSLABEL_ERROR_INVALID: context, args, features or weight NULL; no output; an unknown activation; accumulate neither 0
 * nor 1; a bias or a gradient of a layer that is not there; a workspace_limit too small for a tile of one row (the
 * message says how much is needed); a size out of range; an overlap; and the errors that poslabel/position.h and
 * poslabel/loss.h name.  POSLABEL_ERROR_UNSUPPORTED: the library was built without a CBLAS; CUDA; strides that do not
 * fold.  POSLABEL_ERROR_MEMORY.  Since 0.1.
 */
typedef struct poslabel_mlp_position_loss_args {
    size_t struct_size;
    poslabel_grid grid;
    int32_t labels;
    int32_t reduction;
    int32_t activation;
    int32_t accumulate;
    const poslabel_tensor *features;           /* in  [..., D] f16 bf16 f32 f64 */
    const poslabel_tensor *hidden_weight;      /* in  [H, D] like features, or NULL */
    const poslabel_tensor *hidden_bias;        /* in  [H] like features or f32, or NULL */
    const poslabel_tensor *middle_weight;      /* in  [M, H] like features, or NULL */
    const poslabel_tensor *middle_bias;        /* in  [M] like features or f32, or NULL */
    const poslabel_tensor *weight;             /* in  [C, M] like features */
    const poslabel_tensor *bias;               /* in  [C] like features or f32, or NULL */
    const poslabel_tensor *positions;          /* in  [...] i32 i64, or NULL */
    const poslabel_tensor *mask;               /* in  [...] any, or NULL */
    const poslabel_tensor *weights;            /* in  [...] f16 bf16 f32 f64, or NULL */
    int64_t ignore_index;
    double label_smoothing;
    double grad_scale;
    const poslabel_tensor *grad_loss;          /* in  [] or [...] f32 f64, or NULL */
    const poslabel_tensor *normalizer;         /* in  [] f32 f64, or NULL */
    uint64_t workspace_limit;
    const poslabel_tensor *loss;               /* out [] or [...] f32 f64, or NULL */
    const poslabel_tensor *grad_features;      /* out [..., D] like features, or NULL */
    const poslabel_tensor *grad_hidden_weight; /* out [H, D] like features or f32, or NULL */
    const poslabel_tensor *grad_hidden_bias;   /* out [H] like features or f32, or NULL */
    const poslabel_tensor *grad_middle_weight; /* out [M, H] like features or f32, or NULL */
    const poslabel_tensor *grad_middle_bias;   /* out [M] like features or f32, or NULL */
    const poslabel_tensor *grad_weight;        /* out [C, M] like features or f32, or NULL */
    const poslabel_tensor *grad_bias;          /* out [C] like features or f32, or NULL */
    const poslabel_tensor *accuracy;           /* out [] f32 f64, or NULL */
    const poslabel_tensor *weight_sum;         /* out [] f32 f64, or NULL */
    const poslabel_tensor *flags;              /* out [] i32, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_mlp_position_loss_args;

#define POSLABEL_MLP_POSITION_LOSS_ARGS_INIT                                                                           \
    {                                                                                                                  \
        sizeof(poslabel_mlp_position_loss_args), {0, 0}, POSLABEL_LABELS_ABSOLUTE, POSLABEL_REDUCTION_MEAN,            \
            POSLABEL_ACTIVATION_GELU, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, -100, 0.0, 1.0,   \
            NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL                      \
    }

POSLABEL_API poslabel_status poslabel_mlp_position_loss(poslabel_context *context,
                                                        const poslabel_mlp_position_loss_args *args);

/*
 * The head and the loss of Relative Positional Label (Zhang & Gong, AAAI 2023): an MLP on every ordered pair of an
 * image's tokens, which says where the one lies as seen from the other.
 *
 *     u_ij = W1 (q_i, k_j) + b1,   z_ij = W3 (W2 f(u_ij) + b2) + b3
 *     l_ij = the cross-entropy of z_ij against the label of the pair (i, j) of poslabel_relative_labels()
 *
 * The published head gives the first half of each token's channels to q and the second to k, as strided views of one
 * tensor, with 768 -> 384 -> GELU -> 384 -> 169 for Swin-T.  It concatenates them to [B, N * N, D], which for 320 images of
 * 49 tokens takes 2.4 GB.  W1 is linear, so that here each of its halves is
 * applied to N tokens and not to N^2 pairs; the rest is done for a tile of at most some 1024 pairs at a time.
 *
 *   grid            h x w; N = h * w.
 *   queries         [B, N, Q], float16, bfloat16, float32 or float64; rows may be strided.
 *   keys            [B, N, K], dtype of queries; rows may be strided.
 *   hidden_weight   W1, [H, Q + K], whose first Q columns are for the queries.  NULL: u_ij = q_i + k_j, H = Q = K.
 *   grad_queries, grad_keys
 *                   out, shape and dtype of queries and keys; rows may be strided, such as the halves of one tensor.
 *                   Or NULL.
 *   reduction       mean or sum; none is not offered.  loss, grad_loss: scalars.  All pairs count alike.
 *
 * All else, with the statuses, as in poslabel_mlp_position_loss() above.  Also POSLABEL_ERROR_INVALID: N is not h * w, C
 * is not (2 h - 1)(2 w - 1), reduction none.  The gradients of queries and keys have the same bits however the batch is
 * split, if they are scaled alike (a normalizer, or reduction sum).
 *
 * Workspace on the CPU, in elements: that for the parameters above; (Q + K + 4 H) N for the tokens of an image; and
 * 2 H + C for each pair of a tile.  Since 0.1.
 */
typedef struct poslabel_pair_position_loss_args {
    size_t struct_size;
    poslabel_grid grid;
    int32_t reduction;
    int32_t activation;
    int32_t accumulate;
    const poslabel_tensor *queries;            /* in  [B, N, Q] f16 bf16 f32 f64 */
    const poslabel_tensor *keys;               /* in  [B, N, K] like queries */
    const poslabel_tensor *hidden_weight;      /* in  [H, Q + K] like queries, or NULL */
    const poslabel_tensor *hidden_bias;        /* in  [H] like queries or f32, or NULL */
    const poslabel_tensor *middle_weight;      /* in  [M, H] like queries, or NULL */
    const poslabel_tensor *middle_bias;        /* in  [M] like queries or f32, or NULL */
    const poslabel_tensor *weight;             /* in  [C, M] like queries */
    const poslabel_tensor *bias;               /* in  [C] like queries or f32, or NULL */
    double label_smoothing;
    double grad_scale;
    const poslabel_tensor *grad_loss;          /* in  [] f32 f64, or NULL */
    const poslabel_tensor *normalizer;         /* in  [] f32 f64, or NULL */
    uint64_t workspace_limit;
    const poslabel_tensor *loss;               /* out [] f32 f64, or NULL */
    const poslabel_tensor *grad_queries;       /* out [B, N, Q] like queries, or NULL */
    const poslabel_tensor *grad_keys;          /* out [B, N, K] like queries, or NULL */
    const poslabel_tensor *grad_hidden_weight; /* out [H, Q + K] like queries or f32, or NULL */
    const poslabel_tensor *grad_hidden_bias;   /* out [H] like queries or f32, or NULL */
    const poslabel_tensor *grad_middle_weight; /* out [M, H] like queries or f32, or NULL */
    const poslabel_tensor *grad_middle_bias;   /* out [M] like queries or f32, or NULL */
    const poslabel_tensor *grad_weight;        /* out [C, M] like queries or f32, or NULL */
    const poslabel_tensor *grad_bias;          /* out [C] like queries or f32, or NULL */
    const poslabel_tensor *accuracy;           /* out [] f32 f64, or NULL */
    const poslabel_tensor *weight_sum;         /* out [] f32 f64, or NULL */
    const poslabel_tensor *flags;              /* out [] i32, or NULL */
    poslabel_workspace *workspace; /* lent, or NULL */
} poslabel_pair_position_loss_args;

#define POSLABEL_PAIR_POSITION_LOSS_ARGS_INIT                                                                          \
    {                                                                                                                  \
        sizeof(poslabel_pair_position_loss_args), {0, 0}, POSLABEL_REDUCTION_MEAN, POSLABEL_ACTIVATION_GELU, 0,        \
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0.0, 1.0, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL,     \
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL                                                             \
    }

POSLABEL_API poslabel_status poslabel_pair_position_loss(poslabel_context *context,
                                                         const poslabel_pair_position_loss_args *args);

#ifdef __cplusplus
}
#endif
#endif
