/*
 * vit.h: a small vision transformer with a position head.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_VIT_H
#define PRETRAIN_VIT_H

#include "layers.h"

#include <stdint.h>

/*
 *     tokens = patches W + b                               vit_embed         for all patches of the grid
 *     x      = class token and visible tokens              (pretext.c)       with their position or the mask token
 *     logits = W norm(blocks(x)) + b, one class a position vit_encode        for each visible patch
 *
 * and back in the opposite order.  A block is pre-norm: x += attention(norm(x)), then x += mlp(norm(x)).
 */
enum { VIT_MAX_DEPTH = 32, VIT_MLP_RATIO = 4, VIT_SHARDS = 8 };

typedef struct vit_shape {
    size_t patch_values;  /* 3 * patch * patch         */
    size_t height, width; /* of the grid, in patches   */
    size_t dim, depth, heads;
} vit_shape;

/* What a tensor of weights is, which decides how it starts and whether weight decay applies to it. */
typedef enum vit_kind { VIT_MATRIX, VIT_TOKEN, VIT_SCALE, VIT_SHIFT } vit_kind;

/* One tensor of weights, for whoever walks over all of them: the optimizer and the gradient check. */
typedef struct vit_parameter {
    char name[32];
    vit_kind kind;
    size_t rows, columns;
    real *weight, *gradient;
} vit_parameter;

typedef struct vit_block_weights {
    real *norm1_scale, *norm1_shift, *qkv_weight, *qkv_bias, *out_weight, *out_bias;
    real *norm2_scale, *norm2_shift, *mlp1_weight, *mlp1_bias, *mlp2_weight, *mlp2_bias;
} vit_block_weights;

/* Names into one flat array: of the weights, or of gradients in the same order. */
typedef struct vit_weights {
    real *class_token, *mask_token, *patch_weight, *patch_bias;
    vit_block_weights block[VIT_MAX_DEPTH];
    real *norm_scale, *norm_shift, *head_weight, *head_bias;
} vit_weights;

/* A part of the batch and all that one thread needs to take it forward and back; encoder.c. */
typedef struct vit_shard vit_shard;

typedef struct vit {
    vit_shape shape;
    size_t parameter_count, weight_count;
    vit_parameter parameters[8 + 12 * VIT_MAX_DEPTH];
    vit_weights weights, gradients;
    real *weight_data, *gradient_data; /* weight_count numbers each, all parameters in order          */
    real *pos_embed;                   /* [1 + N, dim], sines and cosines, row 0 (class token) is 0   */
    vit_shard *shards;                 /* VIT_SHARDS of them                                          */
} vit;

/* Draws the weights from the seed.  The shape must make sense: depth in 1 .. VIT_MAX_DEPTH, heads divides dim, dim a
 * multiple of 4.  Ends the program when memory runs out. */
vit *vit_create(const vit_shape *shape, uint64_t seed);
void vit_destroy(vit *model);

/* Points the names at an array of weight_count numbers. */
void vit_name_weights(const vit *model, real *data, vit_weights *names);

/*
 * The batch is cut into VIT_SHARDS shards, whatever the number of threads, and the gradients of the shards are added up
 * in their order.  So a run has the same bits for every number of threads.
 */
vit_shard *vit_create_shards(const vit *model);
void vit_destroy_shards(vit_shard *shards);

/* tokens[batch, N, dim] from patches[batch, N, patch_values]; and the gradients of patch_weight and patch_bias. */
void vit_embed(vit *model, const real *patches, real *tokens, size_t batch);
void vit_embed_backward(vit *model, const real *patches, const real *grad_tokens, size_t batch);

/* logits[batch, visible, N] from x[batch, 1 + visible, dim]. */
void vit_encode(vit *model, const real *x, real *logits, size_t batch, size_t visible);

/* grad_x[batch, 1 + visible, dim] and the gradients of blocks, norm and head; after vit_encode() of the same batch. */
void vit_encode_backward(vit *model, const real *grad_logits, real *grad_x, size_t batch, size_t visible);

#endif
