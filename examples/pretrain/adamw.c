/*
 * adamw.c: the optimizer and its schedule.  SPDX-License-Identifier: Apache-2.0
 *
 * For each weight w with gradient g, at step t:
 *
 *     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
 *     w -= rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay * w)
 *
 * The backend does that to each tensor, with rate / (1 - beta1^t) as `rate`, 1 / (1 - beta2^t) as `correction`, and
 * 1 - rate * weight_decay as `keep`.
 */
#include "adamw.h"

#include "memory.h"

#include <stdlib.h>
#include <tgmath.h>

adamw *adamw_create(const vit *model)
{
    adamw *optimizer = allocate(1, sizeof *optimizer);
    optimizer->beta1 = 0.9;
    optimizer->beta2 = 0.95;
    optimizer->epsilon = 1e-8;
    optimizer->weight_decay = 0.05;
    optimizer->clip = 1;
    optimizer->on = model->on;
    optimizer->moment1 = model->on->allocate(model->weight_count, sizeof(real));
    optimizer->moment2 = model->on->allocate(model->weight_count, sizeof(real));
    optimizer->factor = model->on->allocate(1, sizeof(real));
    return optimizer;
}

void adamw_destroy(adamw *optimizer)
{
    if (optimizer == NULL)
        return;
    optimizer->on->release(optimizer->moment1);
    optimizer->on->release(optimizer->moment2);
    optimizer->on->release(optimizer->factor);
    free(optimizer);
}

void adamw_update(adamw *optimizer, vit *model, double learning_rate)
{
    const backend *on = optimizer->on;
    double t = (double)++optimizer->step;
    const adamw_step step = {.beta1 = (real)optimizer->beta1,
                             .beta2 = (real)optimizer->beta2,
                             .epsilon = (real)optimizer->epsilon,
                             .rate = (real)(learning_rate / (1 - pow(optimizer->beta1, t))),
                             .correction = (real)(1 / (1 - pow(optimizer->beta2, t)))};

    on->clip(model->gradient_data, model->weight_count, (real)optimizer->clip, optimizer->factor);
#pragma omp parallel for schedule(dynamic) if (on->shards > 1)
    for (size_t p = 0; p < model->parameter_count; p++) {
        const vit_parameter *parameter = &model->parameters[p];
        size_t offset = (size_t)(parameter->weight - model->weight_data);
        adamw_step own = step;
        own.keep = (real)(1 - (parameter->kind == VIT_MATRIX ? learning_rate * optimizer->weight_decay : 0));
        on->adamw(parameter->weight, parameter->gradient, optimizer->moment1 + offset, optimizer->moment2 + offset,
                  parameter->rows * parameter->columns, optimizer->factor, own);
    }
}

double learning_rate_schedule(double progress, double warm_up)
{
    const double pi = 3.14159265358979323846;
    if (progress < warm_up)
        return progress / warm_up;
    return 0.5 * (1 + cos(pi * (progress - warm_up) / (1 - warm_up)));
}
