/*
 * Whole runs of the trainer with a tiny model.  SPDX-License-Identifier: Apache-2.0
 *
 * The loss falls.  The number of threads changes no bit: of the losses, the accuracy on new crops or the picture.
 */
#include "canvas.h"
#include "memory.h"
#include "pictures.h"
#include "trainer.h"

#include <omp.h>
#include <poslabel.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEPS = 200, PHOTOGRAPHS = 5 };

static char folder[] = "/tmp/pretrain-XXXXXX";

/* Rectangles in colours, some on top of others. */
static int make_photographs(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    for (uint32_t p = 0; p < PHOTOGRAPHS; p++) {
        picture canvas = canvas_create(60, 80);
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t w[4], counter[4] = {p, i, 0, 0};
            poslabel_philox(3, counter, w);
            canvas_fill(&canvas, w[0] % 50, w[1] % 70, 5 + w[2] % 20, 5 + w[3] % 20,
                        (colour){(uint8_t)(w[0] >> 24), (uint8_t)(w[1] >> 24), (uint8_t)(w[2] >> 24)});
        }
        char path[64];
        snprintf(path, sizeof path, "%s/%u.png", folder, p);
        canvas_write(&canvas, path);
        free(canvas.rgb);
    }
    return 0;
}

static int remove_photographs(void **state)
{
    (void)state;
    char path[64];
    for (int p = 0; p < PHOTOGRAPHS; p++) {
        snprintf(path, sizeof path, "%s/%d.png", folder, p);
        unlink(path);
    }
    return rmdir(folder);
}

typedef struct outcome {
    pretext_result steps[STEPS];
    double new_crops, held_out;
    size_t picture_size;
    uint8_t *picture;
} outcome;

static outcome run(int threads, bool attentive)
{
    omp_set_num_threads(threads);
    trainer t = {.o = {.folder = folder,
                       .out = folder,
                       .height = 3,
                       .width = 5,
                       .patch = 4,
                       .dim = 24,
                       .depth = 2,
                       .heads = 3,
                       .mask_ratio = 0.4,
                       .pos_mask_ratio = 0.7,
                       .crop_area = 0.5,
                       .attentive = attentive,
                       .batch = 11,
                       .learning_rate = 3e-3,
                       .seed = 5,
                       .threads = threads}};
    outcome o = {0};
    trainer_open(&t);
    for (uint32_t step = 0; step < STEPS; step++)
        o.steps[step] = trainer_step(&t, step, (double)step / STEPS);
    o.new_crops = trainer_evaluate(&t, false, 8);
    o.held_out = trainer_evaluate(&t, true, 8);

    char path[64];
    snprintf(path, sizeof path, "%s/result", folder);
    reassembled_write(path, t.model, t.context, t.photos, &t.shape, t.o.seed);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    o.picture = allocate(1 << 22, 1);
    o.picture_size = fread(o.picture, 1, 1 << 22, file);
    fclose(file);
    unlink(path);
    trainer_close(&t);
    return o;
}

/* The mean loss of the ten steps from `first` on. */
static double mean_loss(const outcome *o, int first)
{
    double sum = 0;
    for (int step = first; step < first + 10; step++)
        sum += (double)o->steps[step].loss;
    return sum / 10;
}

static void test_loss_falls(void **state)
{
    (void)state;
    outcome o = run(1, false);
    double before = mean_loss(&o, 0), after = mean_loss(&o, STEPS - 10);
    print_message("the loss falls from %.3f to %.3f\n", before, after);
    assert_true(after < 0.7 * before);
    free(o.picture);
}

static void test_threads(void **state)
{
    (void)state;
    for (int attentive = 0; attentive < 2; attentive++) {
        outcome one = run(1, attentive), three = run(3, attentive);
        assert_memory_equal(one.steps, three.steps, sizeof one.steps);
        assert_true(one.new_crops == three.new_crops && one.held_out == three.held_out);
        assert_true(one.picture_size == three.picture_size && one.picture_size > 0);
        assert_memory_equal(one.picture, three.picture, one.picture_size);
        free(one.picture);
        free(three.picture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_loss_falls), cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, make_photographs, remove_photographs);
}
