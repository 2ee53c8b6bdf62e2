/*
 * The parameters of a head and their gradients, in the workspace.
 *
 * Nothing non-linear stands between the last two layers.  They are one layer, whose weight M = W3 W2 and bias
 * m = W3 b2 + b3 are made once a call; of its gradients dM and dm those of both layers are made at the end:
 *
 *     dW3 = dM W2^T + dm b2^T,   db3 = dm,   dW2 = W3^T dM,   db2 = W3^T dm
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_LAYERS_H
#define PLB_CPU_LAYERS_H

#include "call.h"
#include "cpu/mlp/copies.h"
#include "mlp.h"

typedef struct plb_layers {
    const plb_mlp_job *job;
    plb_dtype dtype;
    plb_matrix hidden, hidden_bias; /* W1 and b1                                  */
    plb_matrix grad_hidden;
    plb_matrix middle, last; /* W2 and W3, if there is a middle layer      */
    plb_matrix weight, bias; /* M and m, or W3 and b3                      */
    plb_matrix grad_weight;
    plb_matrix grad_other;                /* room for dW2 and dW3                       */
    double *grad_hidden_bias, *grad_bias; /* sums                                 */
} plb_layers;

/* A piece of memory that is cut up: with memory NULL only the size is found. */
typedef struct plb_cut {
    char *memory;
    size_t size;
} plb_cut;

void *plb_cut_bytes(plb_cut *cut, size_t count, size_t size);
plb_matrix plb_cut_matrix(plb_cut *cut, plb_dtype dtype, int64_t rows, int64_t columns);

/* Cuts up memory for what the job needs. */
plb_layers plb_layers_cut(const plb_mlp_job *job, plb_dtype dtype, plb_cut *cut);

/* Fills in the parameters, and sets the gradients to 0.  Between plb_parallel_alone() and plb_parallel_restore(). */
void plb_layers_begin(const plb_layers *layers, poslabel_context *context);

/* Stores the gradients of the parameters, likewise. */
void plb_layers_end(const plb_layers *layers, poslabel_context *context);

#endif
