/*
 * pretext.c: DropPos, the task that the model learns, by libposlabel.
 *
 * Every call into the library is in this file (only random numbers are drawn elsewhere too).  A tensor is described
 * where it is used: the library keeps no descriptor and owns no data.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pretext.h"

#include "memory.h"

#include <stdlib.h>

void pretext_check(poslabel_context *context, poslabel_status status)
{
    if (status != POSLABEL_OK)
        fail("%s", poslabel_context_message(context));
}

poslabel_context *pretext_open_context(int32_t threads)
{
    poslabel_context *context;
    char message[256];
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    options.threads = threads;
    options.message = message;
    options.message_size = sizeof message;
    if (poslabel_context_create(&options, &context) != POSLABEL_OK)
        fail("%s", message);
    return context;
}

pretext *pretext_create(poslabel_context *context, poslabel_grid grid, double mask_ratio, double pos_mask_ratio,
                        size_t batch)
{
    pretext *task = allocate(1, sizeof *task);
    task->context = context;
    task->grid = grid;
    task->mask_ratio = mask_ratio;
    task->pos_mask_ratio = pos_mask_ratio;
    task->batch = batch;
    task->positions = (size_t)grid.height * (size_t)grid.width;
    task->visible = (size_t)poslabel_random_mask_keep((int64_t)task->positions, mask_ratio);
    task->ids_keep = allocate(batch * task->visible, sizeof *task->ids_keep);
    task->mask_pos = allocate(batch * task->visible, sizeof *task->mask_pos);
    task->weights = allocate(batch * task->visible, sizeof *task->weights);
    return task;
}

void pretext_destroy(pretext *task)
{
    if (task == NULL)
        return;
    free(task->ids_keep);
    free(task->mask_pos);
    free(task->weights);
    free(task);
}

void pretext_draw_masks(pretext *task, uint64_t seed, uint32_t first_sample, uint32_t step)
{
    int64_t shape[] = {(int64_t)task->batch, (int64_t)task->visible};
    poslabel_tensor ids_keep = POSLABEL_CPU_TENSOR(task->ids_keep, POSLABEL_INT32, 2, shape);
    poslabel_tensor mask_pos = POSLABEL_CPU_TENSOR(task->mask_pos, POSLABEL_UINT8, 2, shape);

    poslabel_droppos_masks_args args = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    args.grid = task->grid;
    args.mask_ratio = task->mask_ratio;
    args.pos_mask_ratio = task->pos_mask_ratio;
    args.seed = seed;
    args.first_sample = first_sample;
    args.step = step;
    args.ids_keep = &ids_keep;
    args.mask_pos = &mask_pos;
    pretext_check(task->context, poslabel_droppos_masks(task->context, &args));
}

void pretext_assemble(pretext *task, const vit *model, const float *tokens, float *x)
{
    int64_t batch = (int64_t)task->batch, n = (int64_t)task->positions, v = (int64_t)task->visible;
    int64_t dim = (int64_t)model->shape.dim;
    int64_t tokens_shape[] = {batch, n, dim}, x_shape[] = {batch, 1 + v, dim}, visible_shape[] = {batch, v};
    int64_t pos_shape[] = {1 + n, dim}, token_shape[] = {1, dim};
    poslabel_tensor all_tokens = POSLABEL_CPU_TENSOR(tokens, POSLABEL_FLOAT32, 3, tokens_shape);
    poslabel_tensor ids_keep = POSLABEL_CPU_TENSOR(task->ids_keep, POSLABEL_INT32, 2, visible_shape);
    poslabel_tensor mask_pos = POSLABEL_CPU_TENSOR(task->mask_pos, POSLABEL_UINT8, 2, visible_shape);
    poslabel_tensor class_token = POSLABEL_CPU_TENSOR(model->weights.class_token, POSLABEL_FLOAT32, 2, token_shape);
    poslabel_tensor mask_token = POSLABEL_CPU_TENSOR(model->weights.mask_token, POSLABEL_FLOAT32, 2, token_shape);
    poslabel_tensor pos_embed = POSLABEL_CPU_TENSOR(model->pos_embed, POSLABEL_FLOAT32, 2, pos_shape);
    poslabel_tensor assembled = POSLABEL_CPU_TENSOR(x, POSLABEL_FLOAT32, 3, x_shape);

    poslabel_assemble_tokens_args args = POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT;
    args.tokens = &all_tokens;
    args.ids_keep = &ids_keep;
    args.mask_pos = &mask_pos;
    args.prefix_tokens = &class_token;
    args.pos_embed = &pos_embed;
    args.mask_token = &mask_token;
    args.x = &assembled;
    pretext_check(task->context, poslabel_assemble_tokens(task->context, &args));

    if (task->attentive) {
        poslabel_tensor weights = POSLABEL_CPU_TENSOR(task->weights, POSLABEL_FLOAT32, 2, visible_shape);
        poslabel_tensor cls = POSLABEL_CPU_TENSOR(model->weights.class_token, POSLABEL_FLOAT32, 1, &dim);
        poslabel_attentive_weights_args attentive = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
        attentive.tokens = &all_tokens;
        attentive.cls = &cls;
        attentive.pos_embed = &pos_embed;
        attentive.ids_keep = &ids_keep;
        attentive.weights = &weights;
        pretext_check(task->context, poslabel_attentive_weights(task->context, &attentive));
    }
}

void pretext_assemble_backward(pretext *task, vit *model, const float *grad_x, float *grad_tokens)
{
    int64_t batch = (int64_t)task->batch, n = (int64_t)task->positions, v = (int64_t)task->visible;
    int64_t dim = (int64_t)model->shape.dim;
    int64_t tokens_shape[] = {batch, n, dim}, x_shape[] = {batch, 1 + v, dim}, visible_shape[] = {batch, v};
    int64_t token_shape[] = {1, dim};
    poslabel_tensor grad_assembled = POSLABEL_CPU_TENSOR(grad_x, POSLABEL_FLOAT32, 3, x_shape);
    poslabel_tensor ids_keep = POSLABEL_CPU_TENSOR(task->ids_keep, POSLABEL_INT32, 2, visible_shape);
    poslabel_tensor mask_pos = POSLABEL_CPU_TENSOR(task->mask_pos, POSLABEL_UINT8, 2, visible_shape);
    poslabel_tensor grad_all = POSLABEL_CPU_TENSOR(grad_tokens, POSLABEL_FLOAT32, 3, tokens_shape);
    poslabel_tensor grad_class = POSLABEL_CPU_TENSOR(model->gradients.class_token, POSLABEL_FLOAT32, 2, token_shape);
    poslabel_tensor grad_mask = POSLABEL_CPU_TENSOR(model->gradients.mask_token, POSLABEL_FLOAT32, 2, token_shape);

    poslabel_assemble_tokens_backward_args args = POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT;
    args.grad_x = &grad_assembled;
    args.prefix_count = 1;
    args.ids_keep = &ids_keep;
    args.mask_pos = &mask_pos;
    args.grad_tokens = &grad_all;
    args.grad_prefix_tokens = &grad_class;
    args.grad_mask_token = &grad_mask;
    pretext_check(task->context, poslabel_assemble_tokens_backward(task->context, &args));
}

pretext_result pretext_loss(pretext *task, const float *logits, double sigma, float *grad_logits)
{
    int64_t logits_shape[] = {(int64_t)task->batch, (int64_t)task->visible, (int64_t)task->positions};
    poslabel_tensor z = POSLABEL_CPU_TENSOR(logits, POSLABEL_FLOAT32, 3, logits_shape);
    poslabel_tensor grad_z = POSLABEL_CPU_TENSOR(grad_logits, POSLABEL_FLOAT32, 3, logits_shape);
    poslabel_tensor positions = POSLABEL_CPU_TENSOR(task->ids_keep, POSLABEL_INT32, 2, logits_shape);
    poslabel_tensor mask_pos = POSLABEL_CPU_TENSOR(task->mask_pos, POSLABEL_UINT8, 2, logits_shape);
    poslabel_tensor weights = POSLABEL_CPU_TENSOR(task->weights, POSLABEL_FLOAT32, 2, logits_shape);
    pretext_result result;
    poslabel_tensor loss = POSLABEL_CPU_TENSOR(&result.loss, POSLABEL_FLOAT32, 0, NULL);
    poslabel_tensor accuracy = POSLABEL_CPU_TENSOR(&result.accuracy, POSLABEL_FLOAT32, 0, NULL);

    poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    args.grid = task->grid;
    args.logits = &z;
    args.positions = &positions;
    args.mask = &mask_pos;
    args.weights = task->attentive ? &weights : NULL;
    args.sigma = sigma;
    args.loss = &loss;
    args.accuracy = &accuracy;
    args.grad_logits = grad_logits != NULL ? &grad_z : NULL;
    pretext_check(task->context, poslabel_droppos_loss(task->context, &args));
    return result;
}

double pretext_sigma(pretext *task, double sigma_0, double progress)
{
    double sigma = 0;
    poslabel_sigma_schedule_args args = POSLABEL_SIGMA_SCHEDULE_ARGS_INIT;
    args.sigma_0 = sigma_0;
    args.epoch = progress;
    args.epochs = 1;
    args.sigma = &sigma;
    pretext_check(task->context, poslabel_sigma_schedule(task->context, &args));
    return sigma;
}
