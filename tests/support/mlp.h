/*
 * mlp.h: heads with a hidden layer, on rows and on pairs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_MLP_H
#define TEST_MLP_H

#include "support/tensors.h"

/* The tensors that have gradients: MLP_KEYS for pairs only. */
enum {
    MLP_FEATURES, /* or queries */
    MLP_KEYS,
    MLP_HIDDEN_WEIGHT,
    MLP_HIDDEN_BIAS,
    MLP_MIDDLE_WEIGHT,
    MLP_MIDDLE_BIAS,
    MLP_WEIGHT,
    MLP_BIAS,
    MLP_TENSORS
};
extern const char *const mlp_names[MLP_TENSORS];

typedef struct mlp_sizes {
    bool pairs;
    poslabel_grid grid;
    int64_t images, channels, keys, hidden, middle; /* hidden or middle 0: no such layer */
} mlp_sizes;

typedef struct mlp_case {
    mlp_sizes size;
    int32_t activation, reduction, accumulate;
    double grad_scale, smoothing;
    uint64_t limit;
    tensor *in[MLP_TENSORS], *grad[MLP_TENSORS];
    tensor *mask, *weights, *normalizer; /* the first two for rows; NULL: not given */
    tensor *loss, *accuracy;
} mlp_case;

/* Random numbers; the gradients of parameters and the biases have the dtype `parameters`. */
mlp_case mlp_case_new(mlp_sizes size, poslabel_dtype dtype, poslabel_dtype parameters, layout how, uint64_t seed);
void mlp_case_free(mlp_case *c);

poslabel_mlp_position_loss_args mlp_args(const mlp_case *c);
poslabel_pair_position_loss_args mlp_pair_args(const mlp_case *c);
poslabel_status mlp_call(poslabel_context *context, const mlp_case *c);

void mlp_forget(const mlp_case *c);
bool mlp_untouched(const mlp_case *c);

#endif
