/*
 * adamw.h: the optimizer and its schedule.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_ADAMW_H
#define PRETRAIN_ADAMW_H

#include "vit.h"

/*
 * AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019).  Weight decay applies to
 * matrices only.  The gradient is first scaled down to a norm of `clip` when it is longer than that.
 */
typedef struct adamw {
    double beta1, beta2, epsilon, weight_decay, clip;
    size_t step;
    real *moment1, *moment2;
} adamw;

adamw *adamw_create(const vit *model);
void adamw_destroy(adamw *optimizer);
void adamw_update(adamw *optimizer, vit *model, double learning_rate);

/* Warm-up, then half a cosine down to 0: the part of the peak rate when a part `progress` of the training is done. */
double learning_rate_schedule(double progress, double warm_up);

#endif
