/*
 * Masks of the sizes at which the CUDA kernels take another way, which are no special sizes on the CPU: 256 numbers a
 * warp, 4,096 a block, more in device memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/masks.h"

enum { WARP = 256, BLOCK = 4096 };

/* The CUDA context, or NULL on a run about the CPU. */
static poslabel_context *cuda_context(void)
{
    poslabel_context *const last = mask_levels[mask_level_count - 1];
    return poslabel_context_isa(last) == POSLABEL_ISA_AUTO ? last : NULL;
}

static const poslabel_dtype *noise_dtype(int i)
{
    static const poslabel_dtype dtypes[] = {POSLABEL_FLOAT32, POSLABEL_FLOAT64, POSLABEL_BFLOAT16, POSLABEL_FLOAT16};
    return &dtypes[i % COUNT(dtypes)];
}

/* Noise of few values, both zeros among them, so that ties are many; float64 that differs in its lower half only. */
static void crowd(tensor *noise, int64_t values)
{
    const bool is_double = noise->t.dtype.bits == 64;
    for (int64_t i = 0; i < noise->count; i++) {
        const double x = (double)(i * 7919 % values - values / 2);
        tensor_set(noise, i, x == 0 && i % 2 ? -0.0 : is_double ? x * 0x1p-44 + (i % 3 ? 1 : -1) : x);
    }
}

static void every_boundary(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1,         7,     8,         9,         63,           64,       65,
                                    WARP - 1,  WARP,  WARP + 1,  2 * WARP,  2 * WARP + 1, 3 * WARP, 1000,
                                    BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1};
    for (int s = 0; s < COUNT(sizes); s++)
        for (int given = -1; given < 4; given++) {
            mask_case c = mask_random_case(sizes[s], sizes[s] > 1000 ? 2 : 5, 0.75);
            if (given >= 0) {
                mask_case_add_noise(&c, *noise_dtype(given), (layout){.row_padding = s % 3}, 8);
                if (s % 2)
                    crowd(c.noise[PATCH_NOISE], sizes[s] / 3 + 1);
            }
            mask_case_add_outputs(&c, s % 2 ? dtype_i32 : dtype_i64, s % 2 ? dtype_f16 : dtype_bool,
                                  (layout){.row_padding = given + 1});
            expect_masks_every_level(&c, given < 0 ? "drawn" : dtype_name(*noise_dtype(given)));
            mask_case_free(&c);
        }
}

/* The three rankings of an image share a block up to a sum of 4,096, each rounded up to whole warps. */
static void three_rankings(void **state)
{
    (void)state;
    static const struct {
        poslabel_grid grid;
        double mask_ratio;
    } cases[] = {{{16, 16}, 0},    {{16, 17}, 0},    {{16, 80}, 0},     {{1, 1281}, 0},
                 {{32, 64}, 0.5},  {{1, 2049}, 0.5}, {{32, 64}, 0.499}, {{56, 56}, 0.75},
                 {{64, 64}, 0.75}, {{64, 64}, 1},    {{65, 64}, 0},     {{100, 100}, 0.75}};
    for (int k = 0; k < COUNT(cases); k++)
        for (int patch_mask = 0; patch_mask < 3; patch_mask++) {
            mask_case c = mask_droppos_case(cases[k].grid, patch_mask, 3);
            c.mask_ratio = cases[k].mask_ratio;
            c.wrong_positions = k % 2;
            if (patch_mask == POSLABEL_PATCH_MASK_BLOCK && poslabel_block_mask_keep(c.grid, c.mask_ratio) < 0)
                continue;
            /* noise of several dtypes, float64 among them, beside what is drawn */
            if (k % 3) {
                mask_case_add_noise(&c, *noise_dtype(k), (layout){.row_padding = 1}, 4);
                tensor **const replaced = &c.noise[k % 2 ? POS_NOISE : SHUFFLE_NOISE];
                tensor *const other = tensor_copy(*replaced, *noise_dtype(k + 1), (layout){0});
                tensor_free(*replaced);
                *replaced = other;
                tensor_free(c.noise[k % 2 ? SHUFFLE_NOISE : POS_NOISE]);
                c.noise[k % 2 ? SHUFFLE_NOISE : POS_NOISE] = NULL;
            }
            mask_case_add_outputs(&c, k % 2 ? dtype_i64 : dtype_i32, k % 2 ? dtype_u8 : dtype_f64,
                                  (layout){.row_padding = k % 3});
            expect_masks_every_level(&c, "three rankings");
            mask_case_free(&c);
        }
}

/* Only some of the rankings, so that the others take no room. */
static void some_outputs_of_large_images(void **state)
{
    (void)state;
    static const mask_output wanted[] = {MASK, IDS_REMOVE, POSITIONS, MASK_POS, IDS_KEEP_POS, PLACES};
    for (int k = 0; k < COUNT(wanted); k++) {
        mask_case c = mask_droppos_case((poslabel_grid){70, 75}, k % 3, 2);
        tensor *held[MASK_OUTPUTS];
        mask_case_add_outputs(&c, dtype_i64, dtype_bool, (layout){0});
        memcpy(held, c.output, sizeof held);
        for (int o = 0; o < MASK_OUTPUTS; o++)
            c.output[o] = o == (int)wanted[k] ? held[o] : NULL;
        expect_masks_every_level(&c, mask_output_names[wanted[k]]);
        memcpy(c.output, held, sizeof held);
        mask_case_free(&c);
    }
}

static void many_tokens(void **state)
{
    (void)state;
    for (int given = -1; given < (test_is_quick() ? 0 : 2); given++) {
        mask_case c = mask_random_case(65536 + given, 2, 0.9);
        if (given >= 0)
            mask_case_add_noise(&c, *noise_dtype(given), (layout){.row_padding = 5}, 6);
        mask_case_add_outputs(&c, dtype_i64, dtype_bool, (layout){.row_padding = 3});
        expect_masks_every_level(&c, "65,536 tokens");
        mask_case_free(&c);
    }
}

static void workspace_is_as_documented(void **state)
{
    (void)state;
    poslabel_context *const context = cuda_context();
    static const struct {
        int64_t tokens;
        bool is_double;
        size_t workspace; /* of one image */
    } cases[] = {{BLOCK, false, 0},
                 {BLOCK, true, 0},
                 {BLOCK + 1, false, 16 * (BLOCK + WARP)},
                 {BLOCK + 1, true, 20 * (BLOCK + WARP)}};
    if (!context)
        skip();
    for (int k = 0; k < COUNT(cases); k++) {
        mask_case c = mask_random_case(cases[k].tokens, 3, 0.75);
        mask_case_add_noise(&c, cases[k].is_double ? dtype_f64 : dtype_f16, (layout){0}, 2);
        mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
        poslabel_context_trim(context);
        expect_ok(context, mask_call(context, &c));
        expect_ok(context, poslabel_context_synchronize(context));
        assert_int_equal(poslabel_context_workspace(context), 3 * cases[k].workspace);
        mask_case_free(&c);
    }
}

/* A NaN is told, and no id is out of range. */
static void nan_noise(void **state)
{
    (void)state;
    poslabel_context *const context = cuda_context();
    static const char *const names[MASK_NOISES] = {"patch_noise", "pos_noise", "shuffle_noise"};
    if (!context)
        skip();
    for (int large = 0; large < 2; large++)
        for (int d = 0; d < 4; d++)
            for (int noise = 0; noise < MASK_NOISES; noise++) {
                mask_case c = mask_droppos_case((poslabel_grid){large ? 66 : 14, large ? 70 : 14}, 0, 3);
                c.wrong_positions = d % 2;
                mask_case_add_noise(&c, *noise_dtype(d), (layout){.row_padding = d}, 9);
                mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
                const int64_t at = mask_noise_length(&c, (mask_noise)noise) + 11;
                tensor_set(c.noise[noise], at, NAN);
                tensor_set(c.noise[noise], at + 5, NAN);
                char want[100];
                snprintf(want, sizeof want, "%s NaN: 2, the first at index %lld", names[noise], (long long)at);
                assert_int_equal(mask_call(context, &c), POSLABEL_OK);
                assert_int_equal(poslabel_context_synchronize(context), POSLABEL_ERROR_INVALID);
                assert_non_null(strstr(poslabel_context_message(context), want));
                for (int o = 0; o < MASK_OUTPUTS; o++) {
                    const bool of_tokens = o <= IDS_RESTORE || o == POSITIONS;
                    const double below = (double)(of_tokens ? mask_tokens(&c) : mask_visible(&c));
                    for (int64_t i = 0; o != MASK && o != MASK_POS && i < c.output[o]->count; i++) {
                        const double id = tensor_get(c.output[o], i);
                        assert_true(id >= (o == POSITIONS ? -1 : 0) && id < below);
                    }
                }
                mask_case_free(&c);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_boundary),
        cmocka_unit_test(three_rankings),
        cmocka_unit_test(some_outputs_of_large_images),
        cmocka_unit_test(many_tokens),
        cmocka_unit_test(workspace_is_as_documented),
        cmocka_unit_test(nan_noise),
    };
    return cmocka_run_group_tests_name("masks_cuda", tests, mask_open_levels, mask_close_levels);
}
