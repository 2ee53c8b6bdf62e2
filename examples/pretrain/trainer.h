/*
 * trainer.h: one training step after another.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_TRAINER_H
#define PRETRAIN_TRAINER_H

#include "adamw.h"
#include "options.h"
#include "photographs.h"
#include "pretext.h"
#include "vit.h"

typedef struct trainer {
    options o;
    poslabel_context *context;
    photographs *photos;
    crop_shape shape;
    vit *model;
    adamw *optimizer;
    pretext *task;
    float *patches, *tokens, *grad_tokens, *x, *grad_x, *logits;
} trainer;

/* Reads the photographs and makes a model as t->o says; all else in t is zero before. */
void trainer_open(trainer *t);
void trainer_close(trainer *t);

/* Trains on a batch, and returns its loss and accuracy. */
pretext_result trainer_step(trainer *t, uint32_t step, double progress);

/* Accuracy on crops that no training step has seen, of the photographs to train on or of those held out. */
double trainer_evaluate(trainer *t, bool held_out, size_t crops);

#endif
