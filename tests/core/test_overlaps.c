/*
 * Which tensors count as overlapping: scales that lie in the memory of the gradient that they scale.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <poslabel/loss.h>

enum { ROOM = 2048 };

static float room[ROOM];

/* Marks the elements of a tensor of rank 3 whose last stride is 1. */
static void mark(const poslabel_tensor *t, bool *marked)
{
    const int64_t at = (const float *)t->data - room;
    for (int64_t i = 0; i < t->shape[0]; i++)
        for (int64_t j = 0; j < t->shape[1]; j++)
            for (int64_t k = 0; k < t->shape[2]; k++)
                marked[at + i * t->strides[0] + j * t->strides[1] + k] = true;
}

static poslabel_tensor view(rng *r, int rank, int64_t *shape, int64_t *strides)
{
    return (poslabel_tensor){.data = room + 512 + rng_below(r, 64), .device = {POSLABEL_DEVICE_CPU, 0}, .ndim = rank,
                             .dtype = dtype_f32, .shape = shape, .strides = strides};
}

/* Rows at random strides, on one level and on two, against every element that they have. */
static void rows_between_rows(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    rng r = {17};
    const int tries = test_is_quick() ? 2000 : 100000;
    int disjoint = 0;
    for (int i = 0; i < tries; i++) {
        int64_t shape[] = {rng_below(&r, 4) + 1, rng_below(&r, 5) + 1, rng_below(&r, 6) + 1};
        const int64_t inner = shape[2] + rng_below(&r, 8), outer = shape[1] * inner + rng_below(&r, 40);
        const bool same = rng_below(&r, 2);
        int64_t strides[] = {outer, inner, 1}, scale_shape[] = {shape[0], shape[1], 1};
        int64_t scale_strides[] = {same ? outer : rng_below(&r, 80), same ? inner : rng_below(&r, 12), 1};
        const poslabel_tensor grad = view(&r, 3, shape, strides);
        poslabel_tensor scale = view(&r, 3, scale_shape, scale_strides);
        bool of_grad[ROOM] = {false}, of_scale[ROOM] = {false}, overlap = false;
        mark(&grad, of_grad);
        mark(&scale, of_scale);
        for (int k = 0; k < ROOM; k++)
            overlap = overlap || (of_grad[k] && of_scale[k]);
        scale.ndim = 2;
        poslabel_scale_gradient_args args = POSLABEL_SCALE_GRADIENT_ARGS_INIT;
        args.grad = &grad;
        args.scale = &scale;
        test_case_is("case %d", i);
        if (overlap)
            expect_error(context, poslabel_scale_gradient(context, &args), POSLABEL_ERROR_INVALID, "overlap");
        else
            expect_ok(context, poslabel_scale_gradient(context, &args));
        disjoint += !overlap;
    }
    assert_in_range(disjoint, tries / 50, tries * 49 / 50);
    test_case_is("%s", "");
    poslabel_context_destroy(context);
}

/* A scale in the padding of each row, of more rows than could be compared one by one. */
static void many_rows(void **state)
{
    (void)state;
    enum { ROWS = 300000 };
    poslabel_context *context = context_default();
    float *const memory = calloc(ROWS, 4 * sizeof *memory);
    int64_t shape[] = {ROWS, 3}, strides[] = {4, 1};
    const poslabel_tensor grad = {.data = memory, .device = {POSLABEL_DEVICE_CPU, 0}, .ndim = 2, .dtype = dtype_f32,
                                  .shape = shape, .strides = strides};
    poslabel_tensor scale = grad;
    poslabel_scale_gradient_args args = POSLABEL_SCALE_GRADIENT_ARGS_INIT;
    args.grad = &grad;
    args.scale = &scale;
    scale.ndim = 1;
    scale.data = memory + 3;
    expect_ok(context, poslabel_scale_gradient(context, &args));
    scale.data = memory + 2;
    expect_error(context, poslabel_scale_gradient(context, &args), POSLABEL_ERROR_INVALID, "overlap");
    scale.ndim = 0; /* one number in the padding */
    scale.data = memory + 4 * (ROWS / 2) + 3;
    expect_ok(context, poslabel_scale_gradient(context, &args));
    scale.data = memory + 4 * (ROWS / 2);
    expect_error(context, poslabel_scale_gradient(context, &args), POSLABEL_ERROR_INVALID, "overlap");
    free(memory);
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_between_rows),
        cmocka_unit_test(many_rows),
    };
    return cmocka_run_group_tests_name("overlaps", tests, NULL, NULL);
}
