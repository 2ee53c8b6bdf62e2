/*
 * vit.c: the weights of the vision transformer.
 *
 * They lie in one array and their gradients in another of the same layout, with a table that names each tensor.  So the
 * optimizer is one loop, and a gradient check can go through the tensors by name.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "vit.h"

#include "memory.h"

#include <poslabel.h>

#include <stdio.h>
#include <stdlib.h>
#include <tgmath.h>

/* The stream of poslabel_philox() that draws weights; libposlabel's own are small numbers. */
enum { STREAM_WEIGHTS = 1000 };

/* Goes through the tensors in order: counts them, points names at them, and fills in a table. */
typedef struct vit_walk {
    real *data;           /* NULL: only count              */
    vit_parameter *table; /* NULL: only count and name     */
    size_t parameters, weights;
    int block; /* 0: outside of the blocks       */
} vit_walk;

static void visit(vit_walk *walk, real **name, const char *text, vit_kind kind, size_t rows, size_t columns)
{
    if (walk->data != NULL)
        *name = walk->data + walk->weights;
    if (walk->table != NULL) {
        vit_parameter *parameter = &walk->table[walk->parameters];
        if (walk->block > 0)
            snprintf(parameter->name, sizeof parameter->name, "block %d %s", walk->block, text);
        else
            snprintf(parameter->name, sizeof parameter->name, "%s", text);
        parameter->kind = kind;
        parameter->rows = rows;
        parameter->columns = columns;
        parameter->weight = *name;
    }
    walk->parameters++;
    walk->weights += rows * columns;
}

static vit_walk walk_weights(const vit *model, real *data, vit_weights *names, vit_parameter *table)
{
    size_t dim = model->shape.dim, wide = VIT_MLP_RATIO * dim, positions = model->shape.height * model->shape.width;
    vit_walk walk = {.data = data, .table = table};
#define VISIT(name, kind, rows, columns) visit(&walk, &w->name, #name, kind, rows, columns)
    {
        vit_weights *w = names;
        VISIT(class_token, VIT_TOKEN, 1, dim);
        VISIT(mask_token, VIT_TOKEN, 1, dim);
        VISIT(patch_weight, VIT_MATRIX, dim, model->shape.patch_values);
        VISIT(patch_bias, VIT_SHIFT, 1, dim);
    }
    for (size_t b = 0; b < model->shape.depth; b++) {
        vit_block_weights *w = &names->block[b];
        walk.block = (int)b + 1;
        VISIT(norm1_scale, VIT_SCALE, 1, dim);
        VISIT(norm1_shift, VIT_SHIFT, 1, dim);
        VISIT(qkv_weight, VIT_MATRIX, 3 * dim, dim);
        VISIT(qkv_bias, VIT_SHIFT, 1, 3 * dim);
        VISIT(out_weight, VIT_MATRIX, dim, dim);
        VISIT(out_bias, VIT_SHIFT, 1, dim);
        VISIT(norm2_scale, VIT_SCALE, 1, dim);
        VISIT(norm2_shift, VIT_SHIFT, 1, dim);
        VISIT(mlp1_weight, VIT_MATRIX, wide, dim);
        VISIT(mlp1_bias, VIT_SHIFT, 1, wide);
        VISIT(mlp2_weight, VIT_MATRIX, dim, wide);
        VISIT(mlp2_bias, VIT_SHIFT, 1, dim);
    }
    walk.block = 0;
    {
        vit_weights *w = names;
        VISIT(norm_scale, VIT_SCALE, 1, dim);
        VISIT(norm_shift, VIT_SHIFT, 1, dim);
        VISIT(head_weight, VIT_MATRIX, positions, dim);
        VISIT(head_bias, VIT_SHIFT, 1, positions);
    }
#undef VISIT
    return walk;
}

void vit_name_weights(const vit *model, real *data, vit_weights *names)
{
    walk_weights(model, data, names, NULL);
}

/* Matrices start as Xavier's uniform draw, tokens near 0, scales at 1, shifts at 0. */
static void draw_weights(vit *model, uint64_t seed)
{
    for (size_t p = 0; p < model->parameter_count; p++) {
        vit_parameter *parameter = &model->parameters[p];
        double bound =
            parameter->kind == VIT_MATRIX ? sqrt(6.0 / (double)(parameter->rows + parameter->columns)) : 0.03;
        for (size_t i = 0; i < parameter->rows * parameter->columns; i++) {
            uint32_t words[4], counter[4] = {(uint32_t)p, (uint32_t)i, STREAM_WEIGHTS, 0};
            poslabel_philox(seed, counter, words);
            if (parameter->kind == VIT_MATRIX || parameter->kind == VIT_TOKEN)
                parameter->weight[i] = (real)(bound * (2 * (double)poslabel_random_unit(words[0]) - 1));
            else
                parameter->weight[i] = parameter->kind == VIT_SCALE;
        }
    }
}

/* Fixed sines and cosines: a quarter of the channels each for sin x, cos x, sin y and cos y, as in MAE and DropPos. */
static void fill_pos_embed(vit *model)
{
    size_t dim = model->shape.dim, quarter = dim / 4;
    for (size_t y = 0; y < model->shape.height; y++)
        for (size_t x = 0; x < model->shape.width; x++) {
            real *row = model->pos_embed + (1 + y * model->shape.width + x) * dim;
            for (size_t i = 0; i < quarter; i++) {
                double frequency = pow(10000.0, -(double)i / (double)quarter);
                row[i] = (real)sin((double)x * frequency);
                row[quarter + i] = (real)cos((double)x * frequency);
                row[2 * quarter + i] = (real)sin((double)y * frequency);
                row[3 * quarter + i] = (real)cos((double)y * frequency);
            }
        }
}

vit *vit_create(const vit_shape *shape, uint64_t seed)
{
    vit *model = allocate(1, sizeof *model);
    model->shape = *shape;
    vit_walk count = walk_weights(model, NULL, &model->weights, NULL);
    model->parameter_count = count.parameters;
    model->weight_count = count.weights;
    model->weight_data = allocate(model->weight_count, sizeof(real));
    model->gradient_data = allocate(model->weight_count, sizeof(real));
    walk_weights(model, model->weight_data, &model->weights, model->parameters);
    vit_name_weights(model, model->gradient_data, &model->gradients);
    for (size_t p = 0; p < model->parameter_count; p++)
        model->parameters[p].gradient = model->gradient_data + (model->parameters[p].weight - model->weight_data);
    draw_weights(model, seed);

    model->pos_embed = allocate((1 + shape->height * shape->width) * shape->dim, sizeof(real));
    fill_pos_embed(model);
    model->shards = vit_create_shards(model);
    return model;
}

void vit_destroy(vit *model)
{
    if (model == NULL)
        return;
    free(model->weight_data);
    free(model->gradient_data);
    free(model->pos_embed);
    vit_destroy_shards(model->shards);
    free(model);
}
