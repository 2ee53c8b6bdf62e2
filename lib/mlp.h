/*
 * A head with a hidden layer and its loss, on rows or on pairs: what a backend is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_MLP_H
#define PLB_MLP_H

#include "loss.h"

/* A linear layer and its gradients; a view whose data is NULL was not given. */
typedef struct plb_layer {
    int64_t inputs, outputs;
    plb_rows weight; /* `outputs` rows of `inputs` */
    plb_rows bias;   /* one row of `outputs`       */
    plb_rows grad_weight;
    plb_rows grad_bias;
} plb_layer;

/* The rows on which a head works, or one side of the pairs. */
typedef struct plb_side {
    int64_t channels;
    plb_rows features;
    plb_rows grad;
} plb_side;

typedef struct plb_mlp_job {
    plb_targets targets;
    plb_reduction reduction;
    int activation;   /* a poslabel_activation */
    bool pairs;       /* the second side is there, and each row is a pair */
    int64_t tokens;   /* N: pairs are those of an image's N tokens        */
    plb_side side[2]; /* rows or queries; keys                            */
    plb_layer hidden; /* its inputs are the channels of all sides         */
    plb_layer middle, last;
    bool accumulate;          /* the gradients of the parameters are added to what is there */
    uint64_t workspace_limit; /* bytes; 0: the default of the header                        */
} plb_mlp_job;

#endif
