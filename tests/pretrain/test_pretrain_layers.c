/*
 * The trainer's layers on a GPU, or an emulated one, against those on the CPU.
 *
 * Every function gets the same random numbers on both, in sizes around those of warps, tiles and blocks.  What it is to
 * overwrite holds NaN before.  Results agree to 1e-5 of the largest.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"
#include "memory.h"
#ifdef PLB_EMULATED
#include "control.h"
#endif

#include <poslabel.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const backend *cpu, *cuda;

/* The same tensor on both. */
typedef struct pair {
    size_t count;
    real *cpu, *cuda;
} pair;

static pair make(size_t count, real (*value)(uint32_t index))
{
    static uint32_t drawn;
    pair p = {count, cpu->allocate(count, sizeof(real)), cuda->allocate(count, sizeof(real))};
    for (size_t i = 0; i < count; i++)
        p.cpu[i] = value(drawn++);
    cuda->upload(p.cuda, p.cpu, count * sizeof(real));
    return p;
}

/* In -2 .. 2. */
static real any(uint32_t index)
{
    uint32_t words[4], counter[4] = {index, 0, 0, 0};
    poslabel_philox(1, counter, words);
    return 4 * poslabel_random_unit(words[0]) - 2;
}

static real positive(uint32_t index)
{
    return fabsf(any(index));
}

static real nothing(uint32_t index)
{
    (void)index;
    return NAN;
}

static void drop(pair p)
{
    cpu->release(p.cpu);
    cuda->release(p.cuda);
}

/* Compares and drops. */
static void expect_same(pair p, const char *name)
{
    real *result = allocate(p.count, sizeof(real)), largest = 0;
    cuda->download(result, p.cuda, p.count * sizeof(real));
    for (size_t i = 0; i < p.count; i++)
        largest = fmaxf(largest, fabsf(p.cpu[i]));
    for (size_t i = 0; i < p.count; i++)
        if (!(fabsf(result[i] - p.cpu[i]) <= 1e-5F * largest))
            fail_msg("%s[%zu] of %zu is %.9g on CUDA, %.9g on the CPU", name, i, p.count, (double)result[i],
                     (double)p.cpu[i]);
    free(result);
    drop(p);
}

static const size_t ROWS[] = {1, 7, 8, 33, 70}, WIDTHS[] = {1, 5, 32, 36, 97};
#define EACH(i, sizes) (size_t i = 0; i < sizeof(sizes) / sizeof *(sizes); i++)

static void test_memory(void **state)
{
    (void)state;
    pair from = make(7 * 13, any), to = make(7 * 20, any);
    cpu->copy_rows(to.cpu + 3, 20, from.cpu + 1, 13, 11, 7);
    cuda->copy_rows(to.cuda + 3, 20, from.cuda + 1, 13, 11, 7);
    cpu->zero(from.cpu + 5, 17);
    cuda->zero(from.cuda + 5, 17);
    expect_same(from, "zeroed");
    expect_same(to, "copied");

    real fresh[3] = {1, 1, 1}, *data = cuda->allocate(3, sizeof(real));
    cuda->download(fresh, data, sizeof fresh);
    assert_true(fresh[0] == 0 && fresh[1] == 0 && fresh[2] == 0);
    cuda->release(data);
    cuda->release(NULL);
}

static void test_linear(void **state)
{
    (void)state;
    for
        EACH(r, ROWS)
        for
            EACH(i, WIDTHS)
            for
                EACH(o, WIDTHS)
                {
                    size_t rows = ROWS[r], in = WIDTHS[i], out = WIDTHS[o];
                    pair x = make(rows * in, any), weight = make(out * in, any), bias = make(out, any);
                    pair y = make(rows * out, nothing), grad_y = make(rows * out, any),
                         grad_x = make(rows * in, nothing);
                    pair grad_weight = make(out * in, nothing), grad_bias = make(out, nothing);
                    cpu->linear(x.cpu, weight.cpu, bias.cpu, y.cpu, rows, in, out);
                    cuda->linear(x.cuda, weight.cuda, bias.cuda, y.cuda, rows, in, out);
                    expect_same(y, "y");
                    cpu->linear_backward(x.cpu, weight.cpu, grad_y.cpu, grad_x.cpu, grad_weight.cpu, grad_bias.cpu,
                                         rows, in, out);
                    cuda->linear_backward(x.cuda, weight.cuda, grad_y.cuda, grad_x.cuda, grad_weight.cuda,
                                          grad_bias.cuda, rows, in, out);
                    expect_same(grad_x, "grad_x");
                    expect_same(grad_weight, "grad_weight");
                    expect_same(grad_bias, "grad_bias");
                    grad_weight = make(out * in, nothing);
                    grad_bias = make(out, nothing);
                    cpu->linear_backward(x.cpu, weight.cpu, grad_y.cpu, NULL, grad_weight.cpu, grad_bias.cpu, rows, in,
                                         out);
                    cuda->linear_backward(x.cuda, weight.cuda, grad_y.cuda, NULL, grad_weight.cuda, grad_bias.cuda,
                                          rows, in, out);
                    expect_same(grad_weight, "grad_weight without grad_x");
                    expect_same(grad_bias, "grad_bias without grad_x");
                    drop(x);
                    drop(weight);
                    drop(bias);
                    drop(grad_y);
                }
}

static void test_layer_norm(void **state)
{
    (void)state;
    for
        EACH(r, ROWS)
        for
            EACH(d, WIDTHS)
            {
                size_t rows = ROWS[r], dim = WIDTHS[d];
                if (dim == 1)
                    continue; /* no variance: x - mean is rounding, times 1000 */
                pair x = make(rows * dim, any), scale = make(dim, any), shift = make(dim, any);
                pair y = make(rows * dim, nothing), mean = make(rows, nothing), rstd = make(rows, nothing);
                pair grad_y = make(rows * dim, any), grad_x = make(rows * dim, any);
                pair grad_scale = make(dim, nothing), grad_shift = make(dim, nothing);
                cpu->layer_norm(x.cpu, scale.cpu, shift.cpu, y.cpu, mean.cpu, rstd.cpu, rows, dim);
                cuda->layer_norm(x.cuda, scale.cuda, shift.cuda, y.cuda, mean.cuda, rstd.cuda, rows, dim);
                expect_same(y, "y");
                cpu->layer_norm_backward(x.cpu, scale.cpu, mean.cpu, rstd.cpu, grad_y.cpu, grad_x.cpu, grad_scale.cpu,
                                         grad_shift.cpu, rows, dim);
                cuda->layer_norm_backward(x.cuda, scale.cuda, mean.cuda, rstd.cuda, grad_y.cuda, grad_x.cuda,
                                          grad_scale.cuda, grad_shift.cuda, rows, dim);
                expect_same(mean, "mean");
                expect_same(rstd, "rstd");
                expect_same(grad_x, "grad_x");
                expect_same(grad_scale, "grad_scale");
                expect_same(grad_shift, "grad_shift");
                drop(x);
                drop(scale);
                drop(shift);
                drop(grad_y);
            }
}

static void test_elements(void **state)
{
    (void)state;
    const size_t counts[] = {1, 255, 257, 3000};
    for
        EACH(c, counts)
        {
            size_t count = counts[c];
            pair x = make(count, any), y = make(count, nothing), grad = make(count, any), sum = make(count, any);
            for (size_t i = 0; i < count; i++)
                x.cpu[i] *= 4; /* far enough for both arms of GELU */
            cuda->upload(x.cuda, x.cpu, count * sizeof(real));
            cpu->gelu(x.cpu, y.cpu, count);
            cuda->gelu(x.cuda, y.cuda, count);
            cpu->gelu_backward(x.cpu, grad.cpu, count);
            cuda->gelu_backward(x.cuda, grad.cuda, count);
            cpu->add(sum.cpu, x.cpu, count);
            cuda->add(sum.cuda, x.cuda, count);
            expect_same(y, "gelu");
            expect_same(grad, "the gradient of gelu");
            expect_same(sum, "the sum");
            drop(x);
        }
}

static void test_attention(void **state)
{
    (void)state;
    static const struct {
        size_t batch, tokens, dim, heads;
    } shapes[] = {{1, 1, 4, 1}, {2, 5, 12, 3}, {3, 33, 40, 2}, {1, 70, 8, 2}, {4, 32, 6, 1}};
    for
        EACH(s, shapes)
        {
            size_t batch = shapes[s].batch, tokens = shapes[s].tokens, dim = shapes[s].dim, heads = shapes[s].heads;
            size_t rows = batch * tokens, scores_count = rows * tokens * heads;
            pair qkv = make(3 * rows * dim, any), attention = make(scores_count, nothing),
                 y = make(rows * dim, nothing);
            pair grad_y = make(rows * dim, any), scores = make(scores_count, nothing);
            pair grad_qkv = make(3 * rows * dim, nothing);
            cpu->attention(qkv.cpu, attention.cpu, y.cpu, batch, tokens, dim, heads);
            cuda->attention(qkv.cuda, attention.cuda, y.cuda, batch, tokens, dim, heads);
            cpu->attention_backward(qkv.cpu, attention.cpu, grad_y.cpu, scores.cpu, grad_qkv.cpu, batch, tokens, dim,
                                    heads);
            cuda->attention_backward(qkv.cuda, attention.cuda, grad_y.cuda, scores.cuda, grad_qkv.cuda, batch, tokens,
                                     dim, heads);
            expect_same(attention, "attention");
            expect_same(y, "y");
            expect_same(grad_qkv, "grad_qkv");
            drop(qkv);
            drop(grad_y);
            drop(scores);
        }
}

static void test_optimizer(void **state)
{
    (void)state;
    const adamw_step step = {
        .beta1 = 0.9F, .beta2 = 0.95F, .epsilon = 1e-8F, .rate = 0.1F, .correction = 3, .keep = 0.99F};
    const size_t counts[] = {1, 31, 257, 5000, 300000};
    for
        EACH(c, counts)
    for (int clips = 0; clips < 2; clips++) {
        size_t count = counts[c];
        pair weight = make(count, any), gradient = make(count, any), factor = make(1, nothing);
        pair moment1 = make(count, any), moment2 = make(count, positive);
        real clip = clips ? 0.5F : 1e6F;
        cpu->clip(gradient.cpu, count, clip, factor.cpu);
        cuda->clip(gradient.cuda, count, clip, factor.cuda);
        assert_true(clips || factor.cpu[0] == 1);
        cpu->adamw(weight.cpu, gradient.cpu, moment1.cpu, moment2.cpu, count, factor.cpu, step);
        cuda->adamw(weight.cuda, gradient.cuda, moment1.cuda, moment2.cuda, count, factor.cuda, step);
        expect_same(factor, "the factor");
        expect_same(weight, "the weights");
        expect_same(moment1, "moment 1");
        expect_same(moment2, "moment 2");
        drop(gradient);
    }
}

#ifdef PLB_EMULATED
/* Whatever order threads and blocks take, and with work that waits until somebody looks at it. */
static int shuffled(void **state)
{
    (void)state;
    emulation_shuffle(7);
    emulation_defer(1);
    return 0;
}
#endif

int main(void)
{
    cpu = backend_open(false);
    cuda = backend_open(true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),   cmocka_unit_test(test_linear),    cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_elements), cmocka_unit_test(test_attention), cmocka_unit_test(test_optimizer),
    };
#ifdef PLB_EMULATED
    long before = emulation_live_allocations();
    int failures = cmocka_run_group_tests_name("in order", tests, NULL, NULL) +
                   cmocka_run_group_tests_name("shuffled, deferred", tests, shuffled, NULL);
    return failures + (emulation_live_allocations() != before);
#else
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
