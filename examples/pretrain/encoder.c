/*
 * encoder.c: the vision transformer, forward and backward.
 *
 * Threads share nothing but the weights: the batch is cut into shards, and one thread takes a shard through all layers.
 * So threads wait for each other a few times in a step and not after every layer, and a shard's activations stay in the
 * cache from one layer to the next.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "vit.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

/* What a block keeps for the way back. */
typedef struct block_activations {
    real *x, *norm1, *mean1, *rstd1, *qkv, *attention, *attended;
    real *x_mid, *norm2, *mean2, *rstd2, *hidden, *activated;
} block_activations;

struct vit_shard {
    size_t first, batch, tokens; /* images first .. first + batch - 1, tokens of each       */
    real *gradient_data;         /* as in vit; of these images alone                        */
    vit_weights gradients;
    size_t capacity; /* of memory, in numbers                                   */
    real *memory;    /* holds everything below                                  */
    block_activations block[VIT_MAX_DEPTH];
    real *y, *x, *norm, *mean, *rstd; /* output of the blocks; its patches; and their norm       */
    real *narrow, *wide, *scores;     /* scratch of the way back                                 */
};

vit_shard *vit_create_shards(const vit *model)
{
    vit_shard *shards = allocate(VIT_SHARDS, sizeof *shards);
    for (int s = 0; s < VIT_SHARDS; s++) {
        shards[s].gradient_data = allocate(model->weight_count, sizeof(real));
        vit_name_weights(model, shards[s].gradient_data, &shards[s].gradients);
    }
    return shards;
}

void vit_destroy_shards(vit_shard *shards)
{
    for (int s = 0; s < VIT_SHARDS; s++) {
        free(shards[s].gradient_data);
        free(shards[s].memory);
    }
    free(shards);
}

/* ---- memory of a shard ---- */

/* The next `count` numbers of an array, or NULL as long as there is no array and they are only counted. */
static real *take(real *memory, size_t *used, size_t count)
{
    real *here = memory != NULL ? memory + *used : NULL;
    *used += (count + 15) / 16 * 16;
    return here;
}

static size_t place_activations(const vit *model, vit_shard *shard, real *memory)
{
    size_t rows = shard->batch * shard->tokens, narrow = rows * model->shape.dim, wide = VIT_MLP_RATIO * narrow;
    size_t scores = rows * shard->tokens * model->shape.heads, used = 0;
    for (size_t b = 0; b < model->shape.depth; b++) {
        block_activations *a = &shard->block[b];
        a->x = take(memory, &used, narrow);
        a->norm1 = take(memory, &used, narrow);
        a->mean1 = take(memory, &used, rows);
        a->rstd1 = take(memory, &used, rows);
        a->qkv = take(memory, &used, 3 * narrow);
        a->attention = take(memory, &used, scores);
        a->attended = take(memory, &used, narrow);
        a->x_mid = take(memory, &used, narrow);
        a->norm2 = take(memory, &used, narrow);
        a->mean2 = take(memory, &used, rows);
        a->rstd2 = take(memory, &used, rows);
        a->hidden = take(memory, &used, wide);
        a->activated = take(memory, &used, wide);
    }
    shard->y = take(memory, &used, narrow);
    shard->x = take(memory, &used, narrow);
    shard->norm = take(memory, &used, narrow);
    shard->mean = take(memory, &used, rows);
    shard->rstd = take(memory, &used, rows);
    shard->narrow = take(memory, &used, narrow);
    shard->wide = take(memory, &used, wide);
    shard->scores = take(memory, &used, scores);
    return used;
}

/* The first image of shard number s; that of s + 1 is the end. */
static size_t first_image(int s, size_t batch)
{
    return batch * (size_t)s / VIT_SHARDS;
}

/* Gives shard number s its images, and memory, which grows to the largest batch seen. */
static vit_shard *open_shard(const vit *model, int s, size_t batch, size_t tokens)
{
    vit_shard *shard = &model->shards[s];
    shard->first = first_image(s, batch);
    shard->batch = first_image(s + 1, batch) - shard->first;
    shard->tokens = tokens;
    size_t needed = place_activations(model, shard, NULL);
    if (needed > shard->capacity) {
        free(shard->memory);
        shard->memory = allocate(needed, sizeof(real));
        shard->capacity = needed;
    }
    place_activations(model, shard, shard->memory);
    return shard;
}

/* Adds up the gradients of all shards, in their order, from `first` on. */
static void add_shards(vit *model, const real *first, size_t count)
{
    size_t offset = (size_t)(first - model->gradient_data);
#pragma omp parallel for
    for (size_t i = offset; i < offset + count; i++) {
        real sum = 0;
        for (int s = 0; s < VIT_SHARDS; s++)
            sum += model->shards[s].gradient_data[i];
        model->gradient_data[i] = sum;
    }
}

/* ---- patch embedding ---- */

void vit_embed(vit *model, const real *patches, real *tokens, size_t batch)
{
    size_t dim = model->shape.dim, values = model->shape.patch_values, n = model->shape.height * model->shape.width;
#pragma omp parallel for schedule(dynamic)
    for (int s = 0; s < VIT_SHARDS; s++) {
        size_t first = first_image(s, batch) * n, end = first_image(s + 1, batch) * n;
        linear(patches + first * values, model->weights.patch_weight, model->weights.patch_bias, tokens + first * dim,
               end - first, values, dim);
    }
}

void vit_embed_backward(vit *model, const real *patches, const real *grad_tokens, size_t batch)
{
    size_t dim = model->shape.dim, values = model->shape.patch_values, n = model->shape.height * model->shape.width;
#pragma omp parallel for schedule(dynamic)
    for (int s = 0; s < VIT_SHARDS; s++) {
        const vit_weights *g = &model->shards[s].gradients;
        size_t first = first_image(s, batch) * n, end = first_image(s + 1, batch) * n;
        linear_backward(patches + first * values, model->weights.patch_weight, grad_tokens + first * dim, NULL,
                        g->patch_weight, g->patch_bias, end - first, values, dim);
    }
    add_shards(model, model->gradients.patch_weight, dim * (values + 1));
}

/* ---- blocks ---- */

static void block_forward(const vit_shape *shape, const vit_shard *shard, const vit_block_weights *w,
                          const block_activations *a, real *y)
{
    size_t rows = shard->batch * shard->tokens, dim = shape->dim, wide = VIT_MLP_RATIO * dim;
    layer_norm(a->x, w->norm1_scale, w->norm1_shift, a->norm1, a->mean1, a->rstd1, rows, dim);
    linear(a->norm1, w->qkv_weight, w->qkv_bias, a->qkv, rows, dim, 3 * dim);
    attention_forward(a->qkv, a->attention, a->attended, shard->batch, shard->tokens, dim, shape->heads);
    linear(a->attended, w->out_weight, w->out_bias, a->x_mid, rows, dim, dim);
    add(a->x_mid, a->x, rows * dim);
    layer_norm(a->x_mid, w->norm2_scale, w->norm2_shift, a->norm2, a->mean2, a->rstd2, rows, dim);
    linear(a->norm2, w->mlp1_weight, w->mlp1_bias, a->hidden, rows, dim, wide);
    gelu(a->hidden, a->activated, rows * wide);
    linear(a->activated, w->mlp2_weight, w->mlp2_bias, y, rows, wide, dim);
    add(y, a->x_mid, rows * dim);
}

/* On entry grad_x is the gradient of the output of the block, on return that of its input. */
static void block_backward(const vit_shape *shape, const vit_shard *shard, const vit_block_weights *w,
                           const vit_block_weights *g, const block_activations *a, real *grad_x)
{
    size_t rows = shard->batch * shard->tokens, dim = shape->dim, wide = VIT_MLP_RATIO * dim;
    linear_backward(a->activated, w->mlp2_weight, grad_x, shard->wide, g->mlp2_weight, g->mlp2_bias, rows, wide, dim);
    gelu_backward(a->hidden, shard->wide, rows * wide);
    linear_backward(a->norm2, w->mlp1_weight, shard->wide, shard->narrow, g->mlp1_weight, g->mlp1_bias, rows, dim,
                    wide);
    layer_norm_backward(a->x_mid, w->norm2_scale, a->mean2, a->rstd2, shard->narrow, grad_x, g->norm2_scale,
                        g->norm2_shift, rows, dim);
    linear_backward(a->attended, w->out_weight, grad_x, shard->narrow, g->out_weight, g->out_bias, rows, dim, dim);
    attention_backward(a->qkv, a->attention, shard->narrow, shard->scores, shard->wide, shard->batch, shard->tokens,
                       dim, shape->heads);
    linear_backward(a->norm1, w->qkv_weight, shard->wide, shard->narrow, g->qkv_weight, g->qkv_bias, rows, dim,
                    3 * dim);
    layer_norm_backward(a->x, w->norm1_scale, a->mean1, a->rstd1, shard->narrow, grad_x, g->norm1_scale, g->norm1_shift,
                        rows, dim);
}

/* ---- encoder and head ---- */

void vit_encode(vit *model, const real *x, real *logits, size_t batch, size_t visible)
{
    size_t dim = model->shape.dim, depth = model->shape.depth, positions = model->shape.height * model->shape.width;
    size_t image = visible * dim, x_image = image + dim;
#pragma omp parallel for schedule(dynamic)
    for (int s = 0; s < VIT_SHARDS; s++) {
        const vit_shard *shard = open_shard(model, s, batch, 1 + visible);
        if (shard->batch == 0)
            continue;
        memcpy(shard->block[0].x, x + shard->first * x_image, shard->batch * x_image * sizeof(real));
        for (size_t b = 0; b < depth; b++)
            block_forward(&model->shape, shard, &model->weights.block[b], &shard->block[b],
                          b + 1 < depth ? shard->block[b + 1].x : shard->y);

        /* The class token is not located: the head sees the rows of the patches only. */
        for (size_t b = 0; b < shard->batch; b++)
            memcpy(shard->x + b * image, shard->y + b * x_image + dim, image * sizeof(real));
        layer_norm(shard->x, model->weights.norm_scale, model->weights.norm_shift, shard->norm, shard->mean,
                   shard->rstd, shard->batch * visible, dim);
        linear(shard->norm, model->weights.head_weight, model->weights.head_bias,
               logits + shard->first * visible * positions, shard->batch * visible, dim, positions);
    }
}

void vit_encode_backward(vit *model, const real *grad_logits, real *grad_x, size_t batch, size_t visible)
{
    size_t dim = model->shape.dim, positions = model->shape.height * model->shape.width;
    size_t image = visible * dim, x_image = image + dim;
#pragma omp parallel for schedule(dynamic)
    for (int s = 0; s < VIT_SHARDS; s++) {
        const vit_shard *shard = open_shard(model, s, batch, 1 + visible);
        const vit_weights *w = &model->weights, *g = &shard->gradients;
        size_t rows = shard->batch * visible;
        real *grad = grad_x + shard->first * x_image;
        if (shard->batch == 0)
            continue;
        linear_backward(shard->norm, w->head_weight, grad_logits + shard->first * visible * positions, shard->narrow,
                        g->head_weight, g->head_bias, rows, dim, positions);
        memset(shard->y, 0, rows * dim * sizeof(real));
        layer_norm_backward(shard->x, w->norm_scale, shard->mean, shard->rstd, shard->narrow, shard->y, g->norm_scale,
                            g->norm_shift, rows, dim);
        for (size_t b = 0; b < shard->batch; b++) {
            memset(grad + b * x_image, 0, dim * sizeof(real));
            memcpy(grad + b * x_image + dim, shard->y + b * image, image * sizeof(real));
        }
        for (size_t b = model->shape.depth; b-- > 0;)
            block_backward(&model->shape, shard, &w->block[b], &g->block[b], &shard->block[b], grad);
    }
    const vit_parameter *last = &model->parameters[model->parameter_count - 1];
    const real *first = model->gradients.block[0].norm1_scale;
    add_shards(model, first, (size_t)(last->gradient + last->rows * last->columns - first));
}
