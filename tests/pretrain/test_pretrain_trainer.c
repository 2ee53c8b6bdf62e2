/*
 * Training on an emulated GPU against training on the CPU.
 *
 * A tiny model, the same seed: the losses of each step agree as far as rounding lets them, and so do the accuracy on
 * new crops and the picture.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "canvas.h"
#include "control.h"
#include "memory.h"
#include "pictures.h"
#include "trainer.h"

#include <poslabel.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEPS = 6, PHOTOGRAPHS = 5 };

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

static outcome run(bool cuda, bool attentive)
{
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
                       .sigma = 1,
                       .crop_area = 0.5,
                       .attentive = attentive,
                       .batch = 4,
                       .learning_rate = 3e-3,
                       .seed = 5,
                       .cuda = cuda}};
    outcome o = {0};
    trainer_open(&t);
    for (uint32_t step = 0; step < STEPS; step++)
        trainer_step(&t, step, (double)step / STEPS);
    pretext_result results[PRETEXT_RESULTS];
    assert_int_equal(pretext_results(t.task, results), STEPS);
    memcpy(o.steps, results, sizeof o.steps);
    assert_int_equal(pretext_results(t.task, results), 0);
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

static void expect_same_run(bool attentive)
{
    outcome cpu = run(false, attentive), cuda = run(true, attentive);
    for (int step = 0; step < STEPS; step++) {
        print_message("step %d: loss %.7f on the CPU, %.7f on CUDA\n", step, (double)cpu.steps[step].loss,
                      (double)cuda.steps[step].loss);
        assert_true(fabsf(cuda.steps[step].loss - cpu.steps[step].loss) <= 1e-5F * cpu.steps[step].loss);
        assert_true(fabsf(cuda.steps[step].accuracy - cpu.steps[step].accuracy) <= 1e-5F);
    }
    assert_true(cpu.steps[STEPS - 1].loss != cpu.steps[0].loss);
    assert_true(cuda.new_crops == cpu.new_crops);
    assert_true(cuda.held_out == cpu.held_out);
    assert_true(cuda.picture_size == cpu.picture_size && cpu.picture_size > 0);
    assert_memory_equal(cuda.picture, cpu.picture, cpu.picture_size);
    free(cpu.picture);
    free(cuda.picture);
}

static void test_run(void **state)
{
    (void)state;
    expect_same_run(false);
}

/* Work that waits until somebody looks at it, and threads in another order. */
static void test_deferred(void **state)
{
    (void)state;
    emulation_defer(1);
    emulation_shuffle(9);
    expect_same_run(true);
    emulation_shuffle(0);
    emulation_defer(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_run), cmocka_unit_test(test_deferred)};
    return cmocka_run_group_tests(tests, make_photographs, remove_photographs);
}
