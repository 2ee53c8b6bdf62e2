/*
 * pictures.h: what the trainer leaves behind.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_PICTURES_H
#define PRETRAIN_PICTURES_H

#include "photographs.h"
#include "pretext.h"

typedef struct curve_point {
    size_t step;
    double training, new_crops, held_out; /* position accuracy; held_out is negative when there is none */
} curve_point;

/* Accuracy over the steps of a training run. */
typedef struct curve {
    double chance;
    curve_point *points;
    size_t count;
} curve;

void curve_add(curve *c, curve_point point);
void curve_free(curve *c);

/* Draws the curve as SVG. */
void curve_write(const curve *c, const char *path);

/* Draws rows of photographs, their patches shuffled, and their patches where the model puts them, as PNG. */
void reassembled_write(const char *path, vit *model, poslabel_context *context, const photographs *photos,
                       const crop_shape *shape, uint64_t seed);

/* place[count]: a permutation that makes the sum of score[i, place[i]] the largest; score[count, count]. */
void assign_places(const float *score, size_t count, size_t *place);

#endif
