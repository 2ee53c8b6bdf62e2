/*
 * main.c: pre-trains a small vision transformer with DropPos on photographs.  SPDX-License-Identifier: Apache-2.0
 *
 * The trainer is plain C: its own model (vit.c, layers.c, attention.c), its own optimizer (adamw.c), matrix products by
 * CBLAS.  What the model has to learn, and the gradient that makes it learn, come from libposlabel (pretext.c).
 */
#include "adamw.h"
#include "memory.h"
#include "options.h"
#include "photographs.h"
#include "pictures.h"
#include "pretext.h"
#include "progress.h"
#include "vit.h"

#include <omp.h>
#include <poslabel.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* How often the curve gets a point, from how many crops, and from how many at the end. */
enum { EVALUATIONS = 20, EVALUATION_CROPS = 128, FINAL_CROPS = 1024 };

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

static void trainer_open(trainer *t)
{
    const options *o = &t->o;
    if (o->threads > 0)
        omp_set_num_threads((int)o->threads);
    char message[256];
    poslabel_context_options context_options = POSLABEL_CONTEXT_OPTIONS_INIT;
    context_options.threads = (int32_t)o->threads;
    context_options.message = message;
    context_options.message_size = sizeof message;
    if (poslabel_context_create(&context_options, &t->context) != POSLABEL_OK)
        fail("%s", message);
    if (mkdir(o->out, 0777) != 0 && errno != EEXIST)
        fail("cannot make the folder %s: %s", o->out, strerror(errno));

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

static void trainer_close(trainer *t)
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

/* Cuts a batch of crops of `count` photographs from `first` on, hides patches, drops positions, and runs the model up
 * to the logits.  What is drawn depends on the step and on the numbers of the samples, from first_sample on. */
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

static pretext_result train_step(trainer *t, uint32_t step, double progress)
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

/* Accuracy on crops that no training step has seen, of the photographs to train on or of those held out. */
static double evaluate(trainer *t, bool held_out, size_t crops)
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

static void add_point(trainer *t, curve *c, size_t step, double running, size_t crops)
{
    curve_point point = {step, running, evaluate(t, false, crops), -1};
    if (t->photos->held_out > 0)
        point.held_out = evaluate(t, true, crops);
    curve_add(c, point);
}

/* Trains until all steps are done, the time is up or Ctrl-C was pressed; returns the seconds that it took. */
static double train(trainer *t, curve *c)
{
    double start = seconds_now(), elapsed, progress = 0, loss = 0, accuracy = 0;
    size_t step = 0;
    do {
        pretext_result result = train_step(t, (uint32_t)step, progress);
        /* Running means over the last batches. */
        double share = step < 20 ? 1 / (double)(step + 1) : 0.05;
        loss += share * ((double)result.loss - loss);
        accuracy += share * ((double)result.accuracy - accuracy);
        step++;
        elapsed = seconds_now() - start;
        progress = t->o.minutes > 0 ? elapsed / (60 * t->o.minutes) : (double)step / (double)t->o.steps;
        progress = progress < 1 ? progress : 1;
        if (progress >= (double)c->count / EVALUATIONS && progress < 1)
            add_point(t, c, step, accuracy, EVALUATION_CROPS);
        progress_show(progress, elapsed, step, loss, accuracy, false);
    } while (progress < 1 && !interrupted());
    progress_show(progress, elapsed, step, loss, accuracy, true);
    add_point(t, c, step, accuracy, FINAL_CROPS);
    return elapsed;
}

/* ---- what the trainer prints and writes ---- */

static void introduce(const trainer *t)
{
    const options *o = &t->o;
    printf("%zu photographs to train on, %zu held out; a crop is %ld x %ld patches of %ld x %ld pixels\n",
           t->photos->training, t->photos->held_out, o->height, o->width, o->patch, o->patch);
    printf("%zu patches are visible, %lld of them keep their position; chance is 1 in %zu, %.2f %%\n", t->task->visible,
           (long long)poslabel_random_mask_keep((int64_t)t->task->visible, o->pos_mask_ratio), t->task->positions,
           100 / (double)t->task->positions);
    printf("%.2f million weights, %d threads, libposlabel %s\n", (double)t->model->weight_count / 1e6,
           omp_get_max_threads(), poslabel_version_string());
    fflush(stdout);
}

static void report_line(double accuracy, double chance, const char *where)
{
    printf("  %5.2f %%, %5.1f times chance, %s\n", 100 * accuracy, accuracy / chance, where);
}

static void report(const trainer *t, const curve *c, double seconds)
{
    const curve_point *last = &c->points[c->count - 1];
    bool held_out = t->photos->held_out > 0;
    printf("%zu steps in %.0f s%s; dropped positions that the model finds exactly:\n", last->step, seconds,
           interrupted() ? ", ended by Ctrl-C" : "");
    report_line(last->training, c->chance, "in the last training batches");
    report_line(last->new_crops, c->chance, "in new crops of the photographs it trained on");
    if (held_out)
        report_line(last->held_out, c->chance, "in photographs held out of training");
    if (held_out && 4 * last->held_out < last->new_crops)
        printf("A handful of photographs teaches a model these scenes; to do as well on others it needs many more.\n");
}

/* DIR/name, where the pictures go; free() it. */
static char *path_in(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = allocate(size, 1);
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

static void write_pictures(const trainer *t, const curve *c)
{
    char *reassembled = path_in(t->o.out, "reassembled.png"), *accuracy = path_in(t->o.out, "curve.svg");
    reassembled_write(reassembled, t->model, t->context, t->photos, &t->shape, t->o.seed);
    curve_write(c, accuracy);
    printf("wrote %s and %s\n", reassembled, accuracy);
    free(reassembled);
    free(accuracy);
}

int main(int argc, char **argv)
{
    trainer t = {.o = options_read(argc, argv)};
    trainer_open(&t);
    introduce(&t);
    watch_for_interrupt();
    curve c = {.chance = 1 / (double)t.task->positions};
    double seconds = train(&t, &c);
    report(&t, &c, seconds);
    write_pictures(&t, &c);
    curve_free(&c);
    trainer_close(&t);
    return interrupted() ? EXIT_INTERRUPTED : EXIT_SUCCESS;
}
