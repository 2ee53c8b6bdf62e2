/*
 * photographs.h: the folder of photographs, and crops of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_PHOTOGRAPHS_H
#define PRETRAIN_PHOTOGRAPHS_H

#include "layers.h"

#include <stdint.h>

/* height x width pixels of three bytes: red, green, blue. */
typedef struct picture {
    size_t height, width;
    uint8_t *rgb;
} picture;

typedef struct photograph {
    char *name;
    picture fine;   /* for pictures of the result */
    picture coarse; /* for training               */
} photograph;

typedef struct photographs {
    photograph *items; /* those to train on, then those held out */
    size_t training, held_out;
} photographs;

/* A rectangle of one photograph, in parts of its width and height. */
typedef struct crop {
    size_t photograph;
    double left, top, width, height;
} crop;

/* How crops are cut: the size in pixels that they become, and the smallest part of the photograph that one covers. */
typedef struct crop_shape {
    size_t height, width, patch;
    double smallest_area;
} crop_shape;

/*
 * Reads every .jpg, .jpeg and .png file of a folder, in the order of their names.  What cannot be read is reported and
 * left out; fail()s when nothing is left.  One photograph in five, drawn by the seed, is held out.
 */
photographs *photographs_open(const char *folder, const crop_shape *shape, uint64_t seed);
void photographs_close(photographs *photos);

/*
 * Crops are drawn, like masks, by the number of a sample and the step.  Training, the two evaluations and the final
 * picture number their samples from here on, so they never share one.
 */
enum { SAMPLES_TRAINING = 0, SAMPLES_NEW_CROPS = 1 << 16, SAMPLES_HELD_OUT = 2 << 16, SAMPLES_PICTURE = 3 << 16 };

/* Where a crop lies: in one of `count` photographs from `first` on. */
crop crop_draw(const photographs *photos, const crop_shape *shape, size_t first, size_t count, uint64_t seed,
               uint32_t sample, uint32_t step);

/* patches[N, 3 * patch * patch], normalised; the values of a patch are in (row, column, colour) order. */
void crop_patches(const photographs *photos, const crop_shape *shape, const crop *where, real *patches);

/* The same crop as a picture of another size; free() its rgb. */
picture crop_picture(const photographs *photos, const crop *where, size_t height, size_t width);

#endif
