/*
 * adamw.c: the optimizer and its schedule.
 *
 * For each weight w with gradient g, at step t:
 *
 *     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
 *     w -= rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay * w)
 *
 * SPDX-License-Identifier: Apache-2.0
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
    optimizer->moment1 = allocate(model->weight_count, sizeof(real));
    optimizer->moment2 = allocate(model->weight_count, sizeof(real));
    return optimizer;
}

void adamw_destroy(adamw *optimizer)
{
    if (optimizer == NULL)
        return;
    free(optimizer->moment1);
    free(optimizer->moment2);
    free(optimizer);
}

static double gradient_norm(const vit *model)
{
    double squares = 0;
    for (size_t i = 0; i < model->weight_count; i++)
        squares += (double)model->gradient_data[i] * (double)model->gradient_data[i];
    return sqrt(squares);
}

void adamw_update(adamw *optimizer, vit *model, double learning_rate)
{
    double norm = gradient_norm(model), t = (double)++optimizer->step;
    real clip = (real)(norm > optimizer->clip ? optimizer->clip / norm : 1);
    real beta1 = (real)optimizer->beta1, beta2 = (real)optimizer->beta2, epsilon = (real)optimizer->epsilon;
    real rate = (real)(learning_rate / (1 - pow(optimizer->beta1, t)));
    real correction = (real)(1 / (1 - pow(optimizer->beta2, t)));

#pragma omp parallel for schedule(dynamic)
    for (size_t p = 0; p < model->parameter_count; p++) {
        const vit_parameter *parameter = &model->parameters[p];
        size_t offset = (size_t)(parameter->weight - model->weight_data), count = parameter->rows * parameter->columns;
        real *w = parameter->weight, *m = optimizer->moment1 + offset, *v = optimizer->moment2 + offset;
        real keep = (real)(1 - (parameter->kind == VIT_MATRIX ? learning_rate * optimizer->weight_decay : 0));
#pragma omp simd
        for (size_t i = 0; i < count; i++) {
            real g = clip * parameter->gradient[i];
            m[i] = beta1 * m[i] + (1 - beta1) * g;
            v[i] = beta2 * v[i] + (1 - beta2) * g * g;
            w[i] = keep * w[i] - rate * m[i] / (sqrt(correction * v[i]) + epsilon);
        }
    }
}

double learning_rate_schedule(double progress, double warm_up)
{
    const double pi = 3.14159265358979323846;
    if (progress < warm_up)
        return progress / warm_up;
    return 0.5 * (1 + cos(pi * (progress - warm_up) / (1 - warm_up)));
}
