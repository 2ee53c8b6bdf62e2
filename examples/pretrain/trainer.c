/*
 * trainer.c: one training step after another.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trainer.h"

#include "memory.h"

#include <stdlib.h>

void trainer_open(trainer *t)
{
    const options *o = &t->o;
    t->context = pretext_open_context((int32_t)o->threads);
    t->shape =
        (crop_shape){(size_t)(o->height * o->patch), (size_t)(o->width * o->patch), (size_t)o->patch, o->crop_area};
    t->photos = photographs_open(o->folder, &t->shape, o->seed);
    const vit_shape model_shape = {(size_t)(3 * o->patch * o->patch),
                                   (size_t)o->height,
                                   (size_t)o->width,
                                   (size_t)o->dim,
                                   (size_t)o->depth,
                                   (size_t)o->heads};
    t->model = vit_create(&model_shape, o->seed);
    t->optimizer = adamw_create(t->model);
    t->task = pretext_create(t->context, (poslabel_grid){(int32_t)o->height, (int32_t)o->width}, o->mask_ratio,
                             o->pos_mask_ratio, (size_t)o->batch);
    t->task->attentive = o->attentive;
    if (t->task->visible == 0)
        fail("--mask-ratio %g hides all %zu patches; use a smaller one", o->mask_ratio, t->task->positions);

    size_t dim = (size_t)o->dim, all = t->task->batch * t->task->positions;
    size_t seen = t->task->batch * (1 + t->task->visible);
    t->patches = allocate(all * model_shape.patch_values, sizeof(float));
    t->tokens = allocate(all * dim, sizeof(float));
    t->grad_tokens = allocate(all * dim, sizeof(float));
    t->x = allocate(seen * dim, sizeof(float));
    t->grad_x = allocate(seen * dim, sizeof(float));
    t->logits = allocate(t->task->batch * t->task->visible * t->task->positions, sizeof(float));
}

void trainer_close(trainer *t)
{
    free(t->patches);
    free(t->tokens);
    free(t->grad_tokens);
    free(t->x);
    free(t->grad_x);
    free(t->logits);
    pretext_destroy(t->task);
    adamw_destroy(t->optimizer);
    vit_destroy(t->model);
    photographs_close(t->photos);
    poslabel_context_destroy(t->context);
}

/*
 * Cuts a batch of crops of `count` photographs from `first` on, hides patches, drops positions, and runs the model up
 * to the logits.  What is drawn depends on the step and on the numbers of the samples, from first_sample on.
 */
static void forward(trainer *t, size_t first, size_t count, uint32_t first_sample, uint32_t step)
{
    size_t crop_values = t->shape.height * t->shape.width * 3;
#pragma omp parallel for schedule(dynamic)
    for (size_t b = 0; b < t->task->batch; b++) {
        crop where = crop_draw(t->photos, &t->shape, first, count, t->o.seed, first_sample + (uint32_t)b, step);
        crop_patches(t->photos, &t->shape, &where, t->patches + b * crop_values);
    }
    pretext_draw_masks(t->task, t->o.seed, first_sample, step);
    vit_embed(t->model, t->patches, t->tokens, t->task->batch);
    pretext_assemble(t->task, t->model, t->tokens, t->x);
    vit_encode(t->model, t->x, t->logits, t->task->batch, t->task->visible);
}

pretext_result trainer_step(trainer *t, uint32_t step, double progress)
{
    forward(t, 0, t->photos->training, SAMPLES_TRAINING, step);
    double sigma = pretext_sigma(t->task, t->o.sigma, progress);
    pretext_result result = pretext_loss(t->task, t->logits, sigma, t->logits);
    vit_encode_backward(t->model, t->logits, t->grad_x, t->task->batch, t->task->visible);
    pretext_assemble_backward(t->task, t->model, t->grad_x, t->grad_tokens);
    vit_embed_backward(t->model, t->patches, t->grad_tokens, t->task->batch);
    adamw_update(t->optimizer, t->model, t->o.learning_rate * learning_rate_schedule(progress, 0.05));
    return result;
}

double trainer_evaluate(trainer *t, bool held_out, size_t crops)
{
    size_t batches = (crops + t->task->batch - 1) / t->task->batch;
    double sum = 0;
    t->task->attentive = false; /* every dropped position counts the same */
    for (size_t b = 0; b < batches; b++) {
        if (held_out)
            forward(t, t->photos->training, t->photos->held_out, SAMPLES_HELD_OUT, (uint32_t)b);
        else
            forward(t, 0, t->photos->training, SAMPLES_NEW_CROPS, (uint32_t)b);
        sum += (double)pretext_loss(t->task, t->logits, 0, NULL).accuracy;
    }
    t->task->attentive = t->o.attentive;
    return sum / (double)batches;
}
