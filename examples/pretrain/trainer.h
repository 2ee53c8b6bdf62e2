/* trainer.h: one training step after another.  SPDX-License-Identifier: Apache-2.0 */
#ifndef PRETRAIN_TRAINER_H
#define PRETRAIN_TRAINER_H

#include "adamw.h"
#include "options.h"
#include "photographs.h"
#include "pretext.h"
#include "vit.h"

typedef struct trainer {
    options o;
    const backend *on;
    poslabel_context *context;
    photographs *photos;
    crop_shape shape;
    vit *model;
    adamw *optimizer;
    pretext *task;
    float *crops, *patches; /* what the host cut, and the same on the backend */
    float *tokens, *grad_tokens, *x, *grad_x, *logits;
} trainer;

/* Reads the photographs and makes a model as t->o says; all else in t is zero before. */
void trainer_open(trainer *t);
void trainer_close(trainer *t);

/* Trains on a batch.  Its loss and accuracy are the next of pretext_results(t->task). */
void trainer_step(trainer *t, uint32_t step, double progress);

/* Accuracy on crops that no training step has seen, of the photographs to train on or of those held out.  Results of
 * training steps must have been taken before. */
double trainer_evaluate(trainer *t, bool held_out, size_t crops);

#endif
