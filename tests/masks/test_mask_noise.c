/*
 * Masks from any noise: every length, distribution, dtype and floating-point environment, in a time and a workspace
 * that stay in proportion.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/masks.h"

#include <time.h>

/* Around every length at which the code changes its mind: vectors, registers, bytes, 16-bit counts. */
static const int64_t lengths[] = {1,   2,   3,   4,   5,   7,   8,    9,    15,   16,   17,    31,    32,   33,
                                  47,  48,  49,  63,  64,  65,  80,   100,  127,  128,  129,   144,   169,  195,
                                  196, 197, 207, 208, 209, 240, 241,  255,  256,  257,  288,   300,   511,  512,
                                  513, 576, 784, 819, 820, 993, 1024, 1025, 2000, 4096, 65535, 65536, 65537};

static void every_length(void **state)
{
    (void)state;
    static const double ratios[] = {0.75, 0, 0.6, 1, 0.5};
    for (int n = 0; n < COUNT(lengths); n++)
        for (int drawn = 0; drawn < 2; drawn++) {
            if (lengths[n] > 10000 && test_is_quick() && drawn)
                continue;
            mask_case c = mask_random_case(lengths[n], lengths[n] > 2000 ? 2 : 5, ratios[n % COUNT(ratios)]);
            if (!drawn)
                mask_case_add_noise(&c, dtype_f32, (layout){0}, (uint64_t)n);
            mask_case_add_outputs(&c, n % 2 ? dtype_i64 : dtype_i32, n % 2 ? dtype_bool : dtype_f32, (layout){0});
            expect_masks_every_level(&c, drawn ? "drawn" : "given");
            mask_case_free(&c);
        }
}

typedef enum distribution {
    EQUAL,
    ASCENDING,
    DESCENDING,
    SAW, /* falls again and again                                                 */
    TWO_VALUES,
    NORMAL,
    LOGARITHMIC, /* all magnitudes, both signs                                            */
    NEIGHBOURS,  /* adjacent numbers of the format, in any order                          */
    SUBNORMAL,   /* the smallest numbers of the format, and zeros of both signs           */
    INFINITE,    /* infinities among the others                                           */
    OUTLIER,     /* one number is far from all others                                     */
    HALVES,      /* two crowds far apart                                                  */
    DISTRIBUTIONS
} distribution;

static double tiny_of(poslabel_dtype dtype)
{
    return dtype_is(dtype, dtype_f64)   ? 0x1p-1074
           : dtype_is(dtype, dtype_f32) ? 0x1p-149
           : dtype_is(dtype, dtype_f16) ? 0x1p-24
                                        : 0x1p-133;
}

static double noise_value(distribution kind, poslabel_dtype dtype, int64_t i, int64_t n, rng *r)
{
    const double range = dtype_is(dtype, dtype_f64) ? 1000 : dtype_is(dtype, dtype_f16) ? 14 : 120;
    switch (kind) {
    case EQUAL:
        return 0.25;
    case ASCENDING:
        return (double)i;
    case DESCENDING:
        return (double)(n - i);
    case SAW:
        return (double)(50 - i % 50) / 64;
    case TWO_VALUES:
        return rng_below(r, 2) ? 0.25 : -0.75;
    case NORMAL:
        return rng_normal(r);
    case LOGARITHMIC:
        return (rng_below(r, 2) ? 1 : -1) * exp2(rng_between(r, -range, range));
    case NEIGHBOURS:
        return 1 + (double)rng_below(r, 3 * n) * dtype_epsilon(dtype);
    case SUBNORMAL:
        return (double)(rng_below(r, 2 * n + 1) - n) * tiny_of(dtype) * (double)rng_below(r, 2);
    case INFINITE:
        return rng_below(r, 3) ? rng_unit(r) : rng_below(r, 2) ? (double)INFINITY : -(double)INFINITY;
    case OUTLIER:
        return i == n / 2 ? 60000 : rng_unit(r);
    default:
        return rng_unit(r) * 0.001 + (double)(rng_below(r, 2) * 50000);
    }
}

static void fill_noise(tensor *noise, distribution kind, uint64_t seed)
{
    rng r = {seed};
    const int64_t n = noise->shape[1];
    for (int64_t i = 0; i < noise->count; i++) {
        const double value = noise_value(kind, noise->t.dtype, i % n, n, &r);
        tensor_set(noise, i, value);
        assert_false(isnan(tensor_get(noise, i)));
    }
}

static const char *const distribution_names[DISTRIBUTIONS] = {"equal",      "ascending", "descending",  "saw",
                                                              "two values", "normal",    "logarithmic", "neighbours",
                                                              "subnormal",  "infinite",  "outlier",     "halves"};

static void every_distribution_and_dtype(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    static const int64_t sizes[] = {2, 5, 49, 100, 196, 256, 257, 1000};
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int k = 0; k < DISTRIBUTIONS; k++)
            for (int s = 0; s < COUNT(sizes); s++) {
                char what[64];
                snprintf(what, sizeof what, "%s %s", distribution_names[k], dtype_name(dtypes[d]));
                mask_case c = mask_random_case(sizes[s], 3, 0.75);
                mask_case_add_noise(&c, dtypes[d], (layout){0}, 0);
                fill_noise(c.noise[PATCH_NOISE], (distribution)k, (uint64_t)s);
                mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
                expect_masks_every_level(&c, what);
                mask_case_free(&c);
            }
}

/* The guess of the range is carried from image to image: each has another. */
static void images_of_different_ranges(void **state)
{
    (void)state;
    static const double low[] = {0, -1000, 0, 1e30, -1e-30, 5, 0}, high[] = {1, 1000, 1e-20, 2e30, 1e-30, 5.001, 1};
    static const int64_t sizes[] = {7, 196, 300};
    for (int s = 0; s < COUNT(sizes); s++) {
        mask_case c = mask_random_case(sizes[s], 21, 0.5);
        mask_case_add_noise(&c, dtype_f32, (layout){0}, 0);
        rng r = {4};
        for (int64_t i = 0; i < c.noise[PATCH_NOISE]->count; i++) {
            const int64_t image = i / sizes[s] % COUNT(low);
            tensor_set(c.noise[PATCH_NOISE], i, rng_between(&r, low[image], high[image]));
        }
        mask_case_add_outputs(&c, dtype_i64, dtype_bool, (layout){0});
        expect_masks_every_level(&c, "changing ranges");
        mask_case_free(&c);
    }
}

/* The order must not depend on how the host's threads treat subnormal numbers, or round. */
static void any_floating_point_environment(void **state)
{
    (void)state;
#if defined(__x86_64__)
    /* flush to zero; round down, up, towards zero */
    static const unsigned modes[] = {0x8040, 0x8040, 0x2000, 0x4000, 0x6000};
    const unsigned before = __builtin_ia32_stmxcsr();
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f64, dtype_f16, dtype_bf16};
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int k = 0; k < COUNT(modes); k++) {
            mask_case c = mask_random_case(197, 3, 0.75);
            mask_case_add_noise(&c, dtypes[d], (layout){0}, 1);
            if (k == 0)
                fill_noise(c.noise[PATCH_NOISE], SUBNORMAL, 8);
            for (int64_t n = 1; k == 1 && n < 3 * 197; n += 13) /* a few, up to the last of an image */
                tensor_set(c.noise[PATCH_NOISE], n, (double)(n % 10 + 1) * tiny_of(dtypes[d]));
            mask_case_add_outputs(&c, dtype_i32, dtype_f32, (layout){0});
            mask_answer answer = mask_solve(&c);
            for (int i = 0; i < mask_level_count; i++) {
                test_case_is("%s, mode %d, %s", dtype_name(dtypes[d]), k, mask_level_name(mask_levels[i]));
                mask_case_forget_outputs(&c);
                __builtin_ia32_ldmxcsr(before | modes[k]);
                const poslabel_status status = mask_call(mask_levels[i], &c);
                __builtin_ia32_ldmxcsr(before);
                expect_ok(mask_levels[i], status);
                expect_masks(&c, &answer);
            }
            mask_answer_free(&answer);
            mask_case_free(&c);
        }
    test_case_is("%s", "");
#else
    skip();
#endif
}

/* No noise may take a time that grows with the square of its length: a hundred times as long as another, at most. */
static void time_stays_proportional(void **state)
{
    (void)state;
    if (test_is_quick())
        skip();
    mask_case c = mask_random_case(65536, 1, 0.75);
    mask_case_add_noise(&c, dtype_f32, (layout){0}, 1);
    mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
    for (int i = 0; i < mask_level_count; i++) {
        double least = 1e9;
        for (int k = -1; k < DISTRIBUTIONS; k++) {
            if (k >= 0)
                fill_noise(c.noise[PATCH_NOISE], (distribution)k, 6);
            double best = 1e9;
            for (int again = 0; again < 3; again++) {
                const clock_t begin = clock();
                expect_ok(mask_levels[i], mask_call(mask_levels[i], &c));
                const double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
                best = seconds < best ? seconds : best;
            }
            least = best < least ? best : least;
            if (best > 100 * least + 0.01)
                test_fail("%s, %s: %g s for 65,536 numbers, others take %g s", mask_level_name(mask_levels[i]),
                          distribution_names[k < 0 ? 0 : k], best, least);
        }
        tensor_fill_between(c.noise[PATCH_NOISE], 1, 0, 1);
    }
    mask_case_free(&c);
}

/* ---- sizes ---- */

static void workspace_is_bounded(void **state)
{
    (void)state;
    skip_on_cuda(); /* test_masks_cuda.c has the bound there */
    static const int64_t sizes[] = {1,   2,   16,  49,  128,  129,  193,  196,  225,   256,   257,  409,
                                    410, 576, 819, 820, 1024, 1638, 1639, 4096, 10000, 65536, 65537};
    for (int s = 0; s < COUNT(sizes); s++)
        for (int i = 0; i < mask_level_count; i++)
            for (int k = 0; k < 4; k++) {
                const int threads = k % 2 ? 3 : 1;
                poslabel_context *const context = context_new(poslabel_context_isa(mask_levels[i]), threads);
                mask_case c = k < 2 ? mask_droppos_case((poslabel_grid){1, (int32_t)sizes[s]}, 0, 3)
                                    : mask_random_case(sizes[s], 7, 0);
                c.mask_ratio = 0;
                mask_case_add_noise(&c, dtype_f64, (layout){0}, 3);
                fill_noise(c.noise[PATCH_NOISE], LOGARITHMIC, 3);
                mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
                expect_ok(context, mask_call(context, &c));
                const size_t bound = (size_t)threads * (32 * (size_t)sizes[s] + 8192);
                if (poslabel_context_workspace(context) > bound)
                    test_fail("%lld tokens, %d threads: the workspace is %zu bytes, may be %zu", (long long)sizes[s],
                              threads, poslabel_context_workspace(context), bound);
                poslabel_context_destroy(context);
                mask_case_free(&c);
            }
}

/* Where patches and positions are ranked in different ways: the scratch must do for both. */
static void few_visible_of_many(void **state)
{
    (void)state;
    static const struct {
        int32_t tokens;
        double mask_ratio;
    } sizes[] = {{65600, 0.002}, {65600, 0.3}, {66000, 0.999}, {300, 0.15}, {300, 0.5}, {256, 0.5}, {1000, 0.2}};
    for (int s = 0; s < COUNT(sizes); s++)
        for (int i = 0; i < mask_level_count; i++)
            for (int given = 0; given < 2; given++) {
                counting_allocator counter;
                counting_allocator_init(&counter);
                const poslabel_isa isa = poslabel_context_isa(mask_levels[i]);
                poslabel_context *const context = context_counted(&counter, isa, 1, NULL);
                mask_case c = mask_droppos_case((poslabel_grid){1, sizes[s].tokens}, POSLABEL_PATCH_MASK_RANDOM, 2);
                c.mask_ratio = sizes[s].mask_ratio;
                if (given) {
                    mask_case_add_noise(&c, dtype_f32, (layout){0}, 3);
                    fill_noise(c.noise[POS_NOISE], s % 2 ? NORMAL : DESCENDING, 5);
                }
                mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
                mask_answer answer = mask_solve(&c);
                test_case_is("%d tokens, ratio %g, %s", (int)sizes[s].tokens, sizes[s].mask_ratio,
                             mask_level_name(context));
                expect_ok(context, mask_call(context, &c));
                expect_masks(&c, &answer);
                mask_answer_free(&answer);
                mask_case_free(&c);
                poslabel_context_destroy(context);
                counting_allocator_check(&counter);
            }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length),
        cmocka_unit_test(every_distribution_and_dtype),
        cmocka_unit_test(images_of_different_ranges),
        cmocka_unit_test(any_floating_point_environment),
        cmocka_unit_test(time_stays_proportional),
        cmocka_unit_test(workspace_is_bounded),
        cmocka_unit_test(few_visible_of_many),
    };
    return cmocka_run_group_tests_name("mask_noise", tests, mask_open_levels, mask_close_levels);
}
