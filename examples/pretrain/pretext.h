/*
 * pretext.h: DropPos, the task that the model learns, by libposlabel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_PRETEXT_H
#define PRETRAIN_PRETEXT_H

#include "vit.h"

#include <poslabel.h>

#include <stdbool.h>

/*
 * One setting of the task - how many patches stay visible, how many of those lose their position - and the masks of
 * one batch.  Training and the final picture each have their own.
 */
typedef struct pretext {
    poslabel_context *context;
    poslabel_grid grid;
    double mask_ratio, pos_mask_ratio;
    size_t batch, positions, visible; /* images of the batch, N and V                                    */
    int32_t *ids_keep;                /* [batch, visible]: which patch each visible token is             */
    uint8_t *mask_pos;                /* [batch, visible]: 1 where its position was dropped              */
    float *weights;                   /* [batch, visible]: attentive weights, if `attentive`             */
    bool attentive;
} pretext;

typedef struct pretext_result {
    float loss, accuracy;
} pretext_result;

/* A context on the CPU; 0 threads are as many as OpenMP would use. */
poslabel_context *pretext_open_context(int32_t threads);

pretext *pretext_create(poslabel_context *context, poslabel_grid grid, double mask_ratio, double pos_mask_ratio,
                        size_t batch);
void pretext_destroy(pretext *task);

/* Draws the masks of images first_sample .. first_sample + batch - 1 at a step. */
void pretext_draw_masks(pretext *task, uint64_t seed, uint32_t first_sample, uint32_t step);

/* x[batch, 1 + visible, dim] from tokens[batch, N, dim]: what the encoder sees. */
void pretext_assemble(pretext *task, const vit *model, const float *tokens, float *x);

/* grad_tokens[batch, N, dim] from grad_x; writes the gradients of the class token and the mask token to the model. */
void pretext_assemble_backward(pretext *task, vit *model, const float *grad_x, float *grad_tokens);

/* Loss and accuracy on the dropped positions; grad_logits may be NULL, or the logits themselves. */
pretext_result pretext_loss(pretext *task, const float *logits, double sigma, float *grad_logits);

/* The width of the Gaussian targets when a part `progress` (0 to 1) of the training is done. */
double pretext_sigma(pretext *task, double sigma_0, double progress);

/* fail()s with the message of the context unless status is POSLABEL_OK. */
void pretext_check(poslabel_context *context, poslabel_status status);

#endif
