/*
 * main.c: pre-trains a small vision transformer with DropPos on photographs.
 *
 * The trainer is plain C: its own model (vit.c, layers.c, attention.c), its own optimizer (adamw.c), matrix products by
 * CBLAS.  What the model has to learn, and the gradient that makes it learn, come from libposlabel (pretext.c).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "memory.h"
#include "pictures.h"
#include "progress.h"
#include "trainer.h"

#include <omp.h>
#include <poslabel.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* How often the curve gets a point, from how many crops, and from how many at the end. */
enum { EVALUATIONS = 20, EVALUATION_CROPS = 128, FINAL_CROPS = 1024 };

static void add_point(trainer *t, curve *c, size_t step, double running, size_t crops)
{
    curve_point point = {step, running, trainer_evaluate(t, false, crops), -1};
    if (t->photos->held_out > 0)
        point.held_out = trainer_evaluate(t, true, crops);
    curve_add(c, point);
}

/* Running means over the last batches. */
typedef struct means {
    size_t count;
    double loss, accuracy;
} means;

static void add_result(means *m, pretext_result result)
{
    double share = m->count < 20 ? 1 / (double)(m->count + 1) : 0.05;
    m->loss += share * ((double)result.loss - m->loss);
    m->accuracy += share * ((double)result.accuracy - m->accuracy);
    m->count++;
}

/* Trains until all steps are done, the time is up or Ctrl-C was pressed; returns the seconds that it took. */
static double train(trainer *t, curve *c)
{
    double start = seconds_now(), elapsed, progress = 0;
    size_t step = 0;
    means m = {0};
    bool last;
    do {
        add_result(&m, trainer_step(t, (uint32_t)step, progress));
        step++;
        elapsed = seconds_now() - start;
        progress = t->o.minutes > 0 ? elapsed / (60 * t->o.minutes) : (double)step / (double)t->o.steps;
        progress = progress < 1 ? progress : 1;
        last = progress >= 1 || interrupted();
        if (progress >= (double)c->count / EVALUATIONS && !last)
            add_point(t, c, step, m.accuracy, EVALUATION_CROPS);
        progress_show(progress, elapsed, step, m.loss, m.accuracy, last);
    } while (!last);
    add_point(t, c, step, m.accuracy, FINAL_CROPS);
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
    if (t.o.threads > 0)
        omp_set_num_threads((int)t.o.threads);
    if (mkdir(t.o.out, 0777) != 0 && errno != EEXIST)
        fail("cannot make the folder %s: %s", t.o.out, strerror(errno));
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
