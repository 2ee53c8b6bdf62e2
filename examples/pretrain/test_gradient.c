/*
 * test_gradient.c: holds the model's way back against numerical derivatives.
 *
 * Compiled, with vit.c, layers.c and attention.c, for double.  The whole of a training step runs as in the trainer -
 * patch embedding, token assembly, encoder, head, DropPos loss - except that the assembly is written out here, because
 * the library's takes no doubles; the second part of the test then holds the library's assembly, in float, against it.
 *
 * For each tensor of weights w with gradient g, and two directions d (the gradient itself, and random signs), the
 * derivative <g, d> must be (loss(w + h d) - loss(w - h d)) / 2 h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "memory.h"
#include "vit.h"

#include <poslabel.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEIGHT = 3, WIDTH = 5, N = HEIGHT * WIDTH, B = 4, V = 9, DIM = 16, PATCH_VALUES = 12, STREAM = 2000 };

static vit *model;
static poslabel_context *context;
static int32_t ids_keep[B * V];
static uint8_t mask_pos[B * V];
static double patches[B * N * PATCH_VALUES], tokens[B * N * DIM], x[B * (1 + V) * DIM], logits[B * V * N];

static double uniform(uint32_t index, uint32_t step)
{
    uint32_t words[4], counter[4] = {index, 0, STREAM, step};
    poslabel_philox(1, counter, words);
    return 2 * (double)poslabel_random_unit(words[0]) - 1;
}

static void check(poslabel_status status)
{
    if (status != POSLABEL_OK)
        fail("%s", poslabel_context_message(context));
}

static void draw_masks(void)
{
    int64_t shape[] = {B, V};
    poslabel_tensor keep = POSLABEL_CPU_TENSOR(ids_keep, POSLABEL_INT32, 2, shape);
    poslabel_tensor mask = POSLABEL_CPU_TENSOR(mask_pos, POSLABEL_UINT8, 2, shape);
    poslabel_droppos_masks_args args = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    args.grid = (poslabel_grid){HEIGHT, WIDTH};
    args.mask_ratio = 1 - (V + 0.5) / N;
    args.pos_mask_ratio = 0.6;
    args.ids_keep = &keep;
    args.mask_pos = &mask;
    check(poslabel_droppos_masks(context, &args));
}

static double droppos_loss(double *grad_logits)
{
    double value;
    int64_t shape[] = {B, V, N};
    poslabel_tensor z = POSLABEL_CPU_TENSOR(logits, POSLABEL_FLOAT64, 3, shape);
    poslabel_tensor grad = POSLABEL_CPU_TENSOR(grad_logits, POSLABEL_FLOAT64, 3, shape);
    poslabel_tensor keep = POSLABEL_CPU_TENSOR(ids_keep, POSLABEL_INT32, 2, shape);
    poslabel_tensor mask = POSLABEL_CPU_TENSOR(mask_pos, POSLABEL_UINT8, 2, shape);
    poslabel_tensor loss = POSLABEL_CPU_TENSOR(&value, POSLABEL_FLOAT64, 0, NULL);
    poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    args.grid = (poslabel_grid){HEIGHT, WIDTH};
    args.logits = &z;
    args.positions = &keep;
    args.mask = &mask;
    args.sigma = 1;
    args.loss = &loss;
    args.grad_logits = grad_logits != NULL ? &grad : NULL;
    check(poslabel_droppos_loss(context, &args));
    return value;
}

/* ---- token assembly, written out ---- */

static void assemble(void)
{
    const vit_weights *w = &model->weights;
    for (int b = 0; b < B; b++)
        for (int d = 0; d < DIM; d++) {
            double *row = x + b * (1 + V) * DIM + d;
            row[0] = w->class_token[d] + model->pos_embed[d];
            for (int r = 0; r < V; r++) {
                int id = ids_keep[b * V + r];
                row[(1 + r) * DIM] = tokens[(b * N + id) * DIM + d] +
                                     (mask_pos[b * V + r] ? w->mask_token[d] : model->pos_embed[(1 + id) * DIM + d]);
            }
        }
}

static void assemble_backward(const double *grad_x, double *grad_tokens)
{
    const vit_weights *g = &model->gradients;
    memset(grad_tokens, 0, sizeof tokens);
    for (int d = 0; d < DIM; d++) {
        g->class_token[d] = g->mask_token[d] = 0;
        for (int b = 0; b < B; b++) {
            const double *row = grad_x + b * (1 + V) * DIM + d;
            g->class_token[d] += row[0];
            for (int r = 0; r < V; r++) {
                grad_tokens[(b * N + ids_keep[b * V + r]) * DIM + d] = row[(1 + r) * DIM];
                g->mask_token[d] += mask_pos[b * V + r] ? row[(1 + r) * DIM] : 0;
            }
        }
    }
}

/* ---- part 1: every gradient of the model ---- */

static double forward(void)
{
    vit_embed(model, patches, tokens, B);
    assemble();
    vit_encode(model, x, logits, B, V);
    return droppos_loss(NULL);
}

static void backward(void)
{
    double grad_logits[B * V * N], grad_x[B * (1 + V) * DIM], grad_tokens[B * N * DIM];
    /* All bits set is a NaN: whatever is not overwritten shows. */
    memset(grad_logits, 255, sizeof grad_logits);
    memset(grad_x, 255, sizeof grad_x);
    memset(grad_tokens, 255, sizeof grad_tokens);
    memset(model->gradient_data, 255, model->weight_count * sizeof(double));
    forward();
    droppos_loss(grad_logits);
    vit_encode_backward(model, grad_logits, grad_x, B, V);
    assemble_backward(grad_x, grad_tokens);
    vit_embed_backward(model, patches, grad_tokens, B);
}

static double along(vit_parameter *parameter, const double *direction, double step)
{
    size_t count = parameter->rows * parameter->columns;
    for (size_t i = 0; i < count; i++)
        parameter->weight[i] += step * direction[i];
    return forward();
}

static int check_gradients(void)
{
    int failures = 0;
    backward();
    for (size_t p = 0; p < model->parameter_count; p++) {
        vit_parameter *parameter = &model->parameters[p];
        size_t count = parameter->rows * parameter->columns;
        double *direction = allocate(count, sizeof(double)), *saved = allocate(count, sizeof(double)), worst = 0;
        memcpy(saved, parameter->weight, count * sizeof(double));
        double norm = 0;
        for (size_t i = 0; i < count; i++)
            norm += parameter->gradient[i] * parameter->gradient[i];
        norm = sqrt(norm);
        int bad = !(norm > 1e-12);
        for (int attempt = 0; attempt < 3; attempt++) {
            double exact = 0, h = 1e-5;
            for (size_t i = 0; i < count; i++) {
                direction[i] = attempt == 0 ? parameter->gradient[i] / norm
                                            : copysign(1, uniform((uint32_t)i, 10 + (uint32_t)attempt));
                exact += direction[i] * parameter->gradient[i];
            }
            double above = along(parameter, direction, h);
            double below = along(parameter, direction, -2 * h);
            memcpy(parameter->weight, saved, count * sizeof(double));
            double error = fabs((above - below) / (2 * h) - exact) / norm;
            worst = error <= worst ? worst : error;
            bad |= !(error < 1e-6);
        }
        printf("%-20s |gradient| %9.2e, error %7.1e of it%s\n", parameter->name, norm, worst, bad ? "  WRONG" : "");
        failures += bad;
        free(direction);
        free(saved);
    }
    return failures;
}

/* ---- part 2: the library's token assembly ---- */

static int differ(const char *name, const float *library, const double *here, size_t count)
{
    double worst = 0;
    int bad = 0;
    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)library[i] - here[i]);
        worst = error <= worst ? worst : error;
        bad |= !(error < 1e-5);
    }
    printf("%-20s differs by %.1e at most%s\n", name, worst, bad ? "  WRONG" : "");
    return bad;
}

static void to_float(float *to, const double *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = (float)from[i];
}

static int check_assembly(void)
{
    static float tokens32[B * N * DIM], x32[B * (1 + V) * DIM], pos32[(1 + N) * DIM], class32[DIM], mask32[DIM];
    static double grad_tokens[B * N * DIM];
    int64_t tokens_shape[] = {B, N, DIM}, x_shape[] = {B, 1 + V, DIM}, pos_shape[] = {1 + N, DIM};
    int64_t visible_shape[] = {B, V}, token_shape[] = {1, DIM};
    poslabel_tensor t = POSLABEL_CPU_TENSOR(tokens32, POSLABEL_FLOAT32, 3, tokens_shape);
    poslabel_tensor out = POSLABEL_CPU_TENSOR(x32, POSLABEL_FLOAT32, 3, x_shape);
    poslabel_tensor pos = POSLABEL_CPU_TENSOR(pos32, POSLABEL_FLOAT32, 2, pos_shape);
    poslabel_tensor cls = POSLABEL_CPU_TENSOR(class32, POSLABEL_FLOAT32, 2, token_shape);
    poslabel_tensor masked = POSLABEL_CPU_TENSOR(mask32, POSLABEL_FLOAT32, 2, token_shape);
    poslabel_tensor keep = POSLABEL_CPU_TENSOR(ids_keep, POSLABEL_INT32, 2, visible_shape);
    poslabel_tensor mask = POSLABEL_CPU_TENSOR(mask_pos, POSLABEL_UINT8, 2, visible_shape);

    forward();
    to_float(tokens32, tokens, B * N * DIM);
    to_float(pos32, model->pos_embed, (1 + N) * DIM);
    to_float(class32, model->weights.class_token, DIM);
    to_float(mask32, model->weights.mask_token, DIM);
    poslabel_assemble_tokens_args args = POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT;
    args.tokens = &t;
    args.ids_keep = &keep;
    args.mask_pos = &mask;
    args.prefix_tokens = &cls;
    args.pos_embed = &pos;
    args.mask_token = &masked;
    args.x = &out;
    check(poslabel_assemble_tokens(context, &args));
    int failures = differ("assembled tokens", x32, x, B * (1 + V) * DIM);

    /* The tokens themselves serve as a gradient: any numbers do. */
    poslabel_assemble_tokens_backward_args back = POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT;
    back.grad_x = &out;
    back.prefix_count = 1;
    back.ids_keep = &keep;
    back.mask_pos = &mask;
    back.grad_tokens = &t;
    back.grad_prefix_tokens = &cls;
    back.grad_mask_token = &masked;
    check(poslabel_assemble_tokens_backward(context, &back));
    assemble_backward(x, grad_tokens);
    failures += differ("grad_tokens", tokens32, grad_tokens, B * N * DIM);
    failures += differ("grad_mask_token", mask32, model->gradients.mask_token, DIM);
    failures += differ("grad_class_token", class32, model->gradients.class_token, DIM);
    return failures;
}

int main(void)
{
    if (poslabel_context_create(NULL, &context) != POSLABEL_OK)
        fail("no context");
    const vit_shape shape = {PATCH_VALUES, HEIGHT, WIDTH, DIM, 2, 4};
    model = vit_create(&shape, 1);
    /* Away from the special values that scales and shifts start with. */
    for (size_t i = 0; i < model->weight_count; i++)
        model->weight_data[i] += 0.1 * uniform((uint32_t)i, 0);
    for (uint32_t i = 0; i < B * N * PATCH_VALUES; i++)
        patches[i] = uniform(i, 1);
    draw_masks();

    int failures = check_gradients() + check_assembly();
    vit_destroy(model);
    poslabel_context_destroy(context);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
