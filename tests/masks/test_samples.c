/*
 * Masks keyed by the index of each sample, and by a step that is a tensor.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/masks.h"

static tensor *int64s(int rank, int64_t count, const int64_t *values)
{
    tensor *const t = tensor_new(dtype_i64, rank, &count);
    memcpy(t->t.data, values, (size_t)count * sizeof *values);
    return t;
}

/* All masks, drawn from every stream that they have. */
static mask_case a_case(int number, int64_t images)
{
    mask_case c = mask_droppos_case((poslabel_grid){5, 7}, number % 3, images);
    c.kind = number < 3 ? MASK_DROPPOS : number == 3 ? MASK_RANDOM : number == 4 ? MASK_REGULAR : MASK_BLOCK;
    c.patch_mask = c.kind == MASK_DROPPOS ? number : c.kind == MASK_REGULAR ? 1 : c.kind == MASK_BLOCK ? 2 : 0;
    c.mask_ratio = 0.6;
    c.seed = 0x123456789abcdef0;
    c.step = 9;
    mask_case_add_outputs(&c, dtype_i64, dtype_bool, (layout){0});
    return c;
}
enum { CASES = 6 };

static void solve_at_every_level(mask_case *c)
{
    mask_answer answer = mask_solve(c);
    for (int i = 0; i < mask_level_count; i++) {
        mask_case_forget_outputs(c);
        expect_ok(mask_levels[i], mask_call(mask_levels[i], c));
        expect_masks(c, &answer);
    }
    mask_answer_free(&answer);
}

/* Any indices, in any order, some of them twice, up to the largest. */
static void any_indices(void **state)
{
    (void)state;
    const int64_t ids[] = {7, 0, 123456, UINT32_MAX, (int64_t)1 << 32, ((int64_t)1 << 32) + 7, 7,
                           ((int64_t)1 << 56) - 1, ((int64_t)5 << 40) + 3};
    for (int number = 0; number < CASES; number++) {
        test_case_is("case %d", number);
        mask_case c = a_case(number, COUNT(ids));
        c.first_sample = UINT32_MAX; /* not used */
        c.samples = int64s(1, COUNT(ids), ids);
        solve_at_every_level(&c);
        mask_case_free(&c);
    }
    test_case_is("%s", "");
}

/* An image has the masks that it has in a batch of its own, by first_sample where that reaches. */
static void an_image_alone(void **state)
{
    (void)state;
    const int64_t ids[] = {31, 4, UINT32_MAX, 30};
    for (int number = 0; number < CASES; number++) {
        mask_case c = a_case(number, COUNT(ids));
        c.samples = int64s(1, COUNT(ids), ids);
        poslabel_context *const context = context_default();
        expect_ok(context, mask_call(context, &c));
        for (int b = 0; b < COUNT(ids); b++) {
            mask_case one = a_case(number, 1);
            one.first_sample = (uint32_t)ids[b];
            expect_ok(context, mask_call(context, &one));
            for (int o = 0; o < MASK_OUTPUTS; o++)
                for (int64_t n = 0; c.output[o] && n < one.output[o]->count; n++)
                    assert_true(tensor_get(one.output[o], n) == tensor_get(c.output[o], b * one.output[o]->count + n));
            mask_case_free(&one);
        }
        poslabel_context_destroy(context);
        mask_case_free(&c);
    }
}

static void steps(void **state)
{
    (void)state;
    const int64_t values[] = {0, 9, UINT32_MAX};
    for (int number = 0; number < CASES; number++)
        for (int k = 0; k < COUNT(values); k++) {
            mask_case c = a_case(number, 5);
            c.step = 123;
            c.step_scalar = int64s(k % 2, 1, &values[k]); /* of rank 0, or of rank 1 */
            solve_at_every_level(&c);
            mask_case_free(&c);
        }
}

static void int32_indices(void **state)
{
    (void)state;
    const int64_t ids[] = {5, INT32_MAX, 0};
    tensor *const narrow = tensor_new(dtype_i32, SHAPE(3)), *const step = tensor_scalar(dtype_i32, 77);
    mask_case c = a_case(0, 3);
    c.samples = int64s(1, 3, ids);
    c.step = 77;
    mask_answer answer = mask_solve(&c);
    poslabel_context *const context = context_default();
    poslabel_droppos_masks_args args = mask_droppos_args(&c);
    for (int b = 0; b < 3; b++)
        tensor_set(narrow, b, (double)ids[b]);
    args.samples = &narrow->t;
    args.step_scalar = &step->t;
    args.step = 0;
    expect_ok(context, poslabel_droppos_masks(context, &args));
    expect_masks(&c, &answer);
    mask_answer_free(&answer);
    mask_case_free(&c);
    tensor_free(narrow);
    tensor_free(step);
    poslabel_context_destroy(context);
}

static void errors(void **state)
{
    (void)state;
    poslabel_context *const context = context_default();
    const int64_t bad[] = {-1, (int64_t)1 << 56, INT64_MIN};
    const int64_t bad_steps[] = {-1, (int64_t)1 << 32};
    char text[96];
    for (int k = 0; k < COUNT(bad); k++) {
        const int64_t ids[] = {3, 4, bad[k], -5};
        mask_case c = a_case(k, 4);
        c.samples = int64s(1, 4, ids);
        const poslabel_status status = mask_call(context, &c);
        snprintf(text, sizeof text, "samples[2] = %lld, must be in [0, 72057594037927936)", (long long)bad[k]);
        expect_error(context, status, POSLABEL_ERROR_INVALID, test_on_cuda() ? "samples of masks out of range: 2" : text,
                     "");
        assert_true(test_on_cuda() || mask_case_outputs_untouched(&c));
        mask_case_free(&c);
    }
    for (int k = 0; k < COUNT(bad_steps); k++) {
        mask_case c = a_case(k, 4);
        c.step_scalar = int64s(0, 1, &bad_steps[k]);
        const poslabel_status status = mask_call(context, &c);
        snprintf(text, sizeof text, "step_scalar = %lld, must be in [0, 2^32)", (long long)bad_steps[k]);
        expect_error(context, status, POSLABEL_ERROR_INVALID, test_on_cuda() ? "step_scalar out of range: " : text, "");
        assert_true(test_on_cuda() || mask_case_outputs_untouched(&c));
        mask_case_free(&c);
    }
    mask_case c = a_case(3, 4);
    poslabel_random_mask_args args = mask_random_args(&c);
    tensor *const few = tensor_new(dtype_i64, SHAPE(3)), *const floats = tensor_new(dtype_f32, SHAPE(4));
    args.samples = &few->t;
    expect_error(context, poslabel_random_mask(context, &args), POSLABEL_ERROR_INVALID, "shape [4, ", "must be [3, ");
    args.samples = &floats->t;
    expect_error(context, poslabel_random_mask(context, &args), POSLABEL_ERROR_INVALID, "samples has dtype float32", "");
    args.samples = NULL;
    args.step_scalar = &few->t;
    expect_error(context, poslabel_random_mask(context, &args), POSLABEL_ERROR_INVALID, "step_scalar has shape [3]", "");
    args.step_scalar = c.output[IDS_KEEP] ? &c.output[IDS_KEEP]->t : NULL;
    expect_error(context, poslabel_random_mask(context, &args), POSLABEL_ERROR_INVALID, "step_scalar has shape", "");
    assert_true(mask_case_outputs_untouched(&c));
    mask_case_free(&c);
    tensor_free(few);
    tensor_free(floats);
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_indices),
        cmocka_unit_test(an_image_alone),
        cmocka_unit_test(steps),
        cmocka_unit_test(int32_indices),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests_name("samples", tests, mask_open_levels, mask_close_levels);
}
