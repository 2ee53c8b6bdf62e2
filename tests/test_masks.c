/*
 * Masks: golden vectors, and the definition at every level: any length, any noise, any layout, any subset of outputs.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "test.h"

#include "masks.h"

#include <time.h>

static poslabel_context *levels[ISA_LEVELS]; /* one of each, with one thread */
static int level_count;

static int open_levels(void **state)
{
    poslabel_isa isa[ISA_LEVELS];
    (void)state;
    level_count = isa_levels(isa);
    for (int i = 0; i < level_count; i++)
        levels[i] = context_new(isa[i], 1);
    return 0;
}

static int close_levels(void **state)
{
    (void)state;
    for (int i = 0; i < level_count; i++)
        poslabel_context_destroy(levels[i]);
    return 0;
}

static const char *name_of(const poslabel_context *context)
{
    return poslabel_isa_name(poslabel_context_isa(context));
}

/* Runs a case at every level and compares; the answer is found once. */
static void expect_every_level(const mask_case *c, const char *what)
{
    mask_answer answer = mask_solve(c);
    for (int i = 0; i < level_count; i++) {
        test_case_is("%s, kind %d, %d x %d, %s", what, (int)c->kind, (int)c->grid.height, (int)c->grid.width,
                     name_of(levels[i]));
        mask_case_forget_outputs(c);
        expect_ok(levels[i], mask_call(levels[i], c));
        expect_masks(c, &answer);
    }
    mask_answer_free(&answer);
    test_case_is("%s", "");
}

/* Random masks of `tokens` tokens: a grid of one row. */
static mask_case random_case(int64_t tokens, int64_t images, double mask_ratio)
{
    return (mask_case){.kind = MASK_RANDOM,
                       .grid = {1, (int32_t)tokens},
                       .mask_ratio = mask_ratio,
                       .pos_mask_ratio = 0.75,
                       .images = images,
                       .seed = UINT64_C(0x123456789abcdef) + (uint64_t)tokens,
                       .first_sample = 77,
                       .step = 5};
}

static mask_case droppos_case(poslabel_grid grid, int patch_mask, int64_t images)
{
    return (mask_case){.kind = MASK_DROPPOS,
                       .grid = grid,
                       .patch_mask = patch_mask,
                       .mask_ratio = 0.75,
                       .pos_mask_ratio = 0.75,
                       .images = images,
                       .seed = 99,
                       .first_sample = 3,
                       .step = 1};
}

/* ---- golden vectors ---- */

static void expect_golden(const npz *file, const char *name, const tensor *got)
{
    const npz_array *const want = npz_get(file, name);
    assert_int_equal(want->count, got->count);
    for (int64_t i = 0; i < got->count; i++)
        if (tensor_get(got, i) != npz_at(want, i))
            test_fail("%s: element %lld is %g, want %g", name, (long long)i, tensor_get(got, i), npz_at(want, i));
}

static void golden_random_masks(void **state)
{
    (void)state;
    static const char *const names[] = {"random_masking_a", "random_masking_b", "random_masking_c",
                                        "random_masking_zero"};
    for (int f = 0; f < COUNT(names); f++) {
        npz *const file = npz_open(names[f]);
        const npz_array *const noise = npz_get(file, "noise");
        mask_case c = random_case(noise->shape[1], noise->shape[0], npz_number(file, "mask_ratio"));
        c.noise[PATCH_NOISE] = tensor_from_npz(noise, dtype_f32, (layout){0});
        mask_case_add_outputs(&c, f % 2 ? dtype_i32 : dtype_i64, dtype_bool, (layout){0});
        for (int i = 0; i < level_count; i++) {
            test_case_is("%s, %s", names[f], name_of(levels[i]));
            mask_case_forget_outputs(&c);
            expect_ok(levels[i], mask_call(levels[i], &c));
            for (int o = 0; o < PATCH_OUTPUTS; o++)
                expect_golden(file, mask_output_names[o], c.output[o]);
        }
        mask_case_free(&c);
        npz_close(file);
    }
    test_case_is("%s", "");
}

static void golden_droppos_masks(void **state)
{
    (void)state;
    static const char *const names[] = {"droppos_embed_param", "droppos_embed_param_shuffle_attn",
                                        "droppos_embed_zeros_attn"};
    static const mask_output outputs[] = {IDS_KEEP, IDS_RESTORE, MASK, IDS_KEEP_POS, IDS_RESTORE_POS, MASK_POS};
    for (int f = 0; f < COUNT(names); f++) {
        npz *const file = npz_open(names[f]);
        const npz_array *const noise = npz_get(file, "noise_patch"), *const shuffle = npz_find(file, "noise_shuffle");
        mask_case c = droppos_case((poslabel_grid){6, 6}, POSLABEL_PATCH_MASK_RANDOM, noise->shape[0]);
        c.mask_ratio = npz_number(file, "mask_ratio");
        c.pos_mask_ratio = npz_number(file, "pos_mask_ratio");
        c.noise[PATCH_NOISE] = tensor_from_npz(noise, dtype_f32, (layout){0});
        c.noise[POS_NOISE] = tensor_from_npz(npz_get(file, "noise_pos"), dtype_f32, (layout){0});
        if (shuffle)
            c.noise[SHUFFLE_NOISE] = tensor_from_npz(shuffle, dtype_f32, (layout){0});
        mask_case_add_outputs(&c, dtype_i64, dtype_bool, (layout){0});
        for (int i = 0; i < level_count; i++) {
            test_case_is("%s, %s", names[f], name_of(levels[i]));
            mask_case_forget_outputs(&c);
            expect_ok(levels[i], mask_call(levels[i], &c));
            for (int o = 0; o < COUNT(outputs); o++)
                expect_golden(file, mask_output_names[outputs[o]], c.output[outputs[o]]);
            if (shuffle)
                expect_golden(file, "ids_restore_shuffle", c.output[PLACES]);
        }
        mask_case_free(&c);
        npz_close(file);
    }
    test_case_is("%s", "");
}

/* ---- the definition ---- */

/* Around every length at which the code changes its mind: vectors, registers, bytes, 16-bit counts. */
static const int64_t lengths[] = {1,   2,   3,   4,   5,   7,   8,   9,   15,  16,  17,   31,   32,   33,   47,   48,    49,
                                  63,  64,  65,  80,  100, 127, 128, 129, 144, 169, 195,  196,  197,  240,  241,  255,   256,
                                  257, 288, 300, 511, 512, 513, 576, 784, 819, 820, 1024, 1025, 2000, 4096, 65535, 65536, 65537};

static void every_length(void **state)
{
    (void)state;
    static const double ratios[] = {0.75, 0, 0.6, 1, 0.5};
    for (int n = 0; n < COUNT(lengths); n++)
        for (int drawn = 0; drawn < 2; drawn++) {
            if (lengths[n] > 10000 && test_is_quick() && drawn)
                continue;
            mask_case c = random_case(lengths[n], lengths[n] > 2000 ? 2 : 5, ratios[n % COUNT(ratios)]);
            if (!drawn)
                mask_case_add_noise(&c, dtype_f32, (layout){0}, (uint64_t)n);
            mask_case_add_outputs(&c, n % 2 ? dtype_i64 : dtype_i32, n % 2 ? dtype_bool : dtype_f32, (layout){0});
            expect_every_level(&c, drawn ? "drawn" : "given");
            mask_case_free(&c);
        }
}

typedef enum distribution {
    EQUAL,
    ASCENDING,
    DESCENDING,
    SAW,         /* falls again and again                                                 */
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
    return dtype_is(dtype, dtype_f64) ? 0x1p-1074 : dtype_is(dtype, dtype_f32) ? 0x1p-149
                                                : dtype_is(dtype, dtype_f16)   ? 0x1p-24
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

static const char *const distribution_names[DISTRIBUTIONS] = {
    "equal",      "ascending", "descending", "saw",     "two values", "normal", "logarithmic",
    "neighbours", "subnormal", "infinite",   "outlier", "halves"};

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
                mask_case c = random_case(sizes[s], 3, 0.75);
                mask_case_add_noise(&c, dtypes[d], (layout){0}, 0);
                fill_noise(c.noise[PATCH_NOISE], (distribution)k, (uint64_t)s);
                mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
                expect_every_level(&c, what);
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
        mask_case c = random_case(sizes[s], 21, 0.5);
        mask_case_add_noise(&c, dtype_f32, (layout){0}, 0);
        rng r = {4};
        for (int64_t i = 0; i < c.noise[PATCH_NOISE]->count; i++) {
            const int64_t image = i / sizes[s] % COUNT(low);
            tensor_set(c.noise[PATCH_NOISE], i, rng_between(&r, low[image], high[image]));
        }
        mask_case_add_outputs(&c, dtype_i64, dtype_bool, (layout){0});
        expect_every_level(&c, "changing ranges");
        mask_case_free(&c);
    }
}

/* The order must not depend on how the host's threads treat subnormal numbers, or round. */
static void any_floating_point_environment(void **state)
{
    (void)state;
#if defined(__x86_64__)
    static const unsigned modes[] = {0x8040, 0x8040, 0x2000, 0x4000, 0x6000}; /* flush to zero; round down, up, cut off */
    const unsigned before = __builtin_ia32_stmxcsr();
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f64, dtype_f16, dtype_bf16};
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int k = 0; k < COUNT(modes); k++) {
            mask_case c = random_case(197, 3, 0.75);
            mask_case_add_noise(&c, dtypes[d], (layout){0}, 1);
            if (k == 0)
                fill_noise(c.noise[PATCH_NOISE], SUBNORMAL, 8);
            for (int64_t n = 1; k == 1 && n < 3 * 197; n += 13) /* a few, up to the last of an image */
                tensor_set(c.noise[PATCH_NOISE], n, (double)(n % 10 + 1) * tiny_of(dtypes[d]));
            mask_case_add_outputs(&c, dtype_i32, dtype_f32, (layout){0});
            mask_answer answer = mask_solve(&c);
            for (int i = 0; i < level_count; i++) {
                test_case_is("%s, mode %d, %s", dtype_name(dtypes[d]), k, name_of(levels[i]));
                mask_case_forget_outputs(&c);
                __builtin_ia32_ldmxcsr(before | modes[k]);
                const poslabel_status status = mask_call(levels[i], &c);
                __builtin_ia32_ldmxcsr(before);
                expect_ok(levels[i], status);
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
    mask_case c = random_case(65536, 1, 0.75);
    mask_case_add_noise(&c, dtype_f32, (layout){0}, 1);
    mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
    for (int i = 0; i < level_count; i++) {
        double least = 1e9;
        for (int k = -1; k < DISTRIBUTIONS; k++) {
            if (k >= 0)
                fill_noise(c.noise[PATCH_NOISE], (distribution)k, 6);
            double best = 1e9;
            for (int again = 0; again < 3; again++) {
                const clock_t begin = clock();
                expect_ok(levels[i], mask_call(levels[i], &c));
                const double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
                best = seconds < best ? seconds : best;
            }
            least = best < least ? best : least;
            if (best > 100 * least + 0.01)
                test_fail("%s, %s: %g s for 65,536 numbers, others take %g s", name_of(levels[i]),
                          distribution_names[k < 0 ? 0 : k], best, least);
        }
        tensor_fill_between(c.noise[PATCH_NOISE], 1, 0, 1);
    }
    mask_case_free(&c);
}

static const poslabel_grid grids[] = {{1, 1}, {1, 2}, {1, 5}, {4, 1}, {2, 2}, {3, 3}, {5, 3},
                                      {4, 6}, {7, 7}, {8, 8}, {9, 14}, {14, 14}, {17, 19}};

static void regular_and_block_masks(void **state)
{
    (void)state;
    static const double ratios[] = {0.75, 0.9, 0.5, 1};
    for (int g = 0; g < COUNT(grids); g++)
        for (int k = 0; k < 1 + COUNT(ratios); k++) {
            mask_case c = {.kind = k ? MASK_BLOCK : MASK_REGULAR,
                           .grid = grids[g],
                           .mask_ratio = k ? ratios[k - 1] : 0.75,
                           .images = 9,
                           .seed = 40 + (uint64_t)g,
                           .first_sample = 1000,
                           .step = 2};
            if (k && poslabel_block_mask_keep(c.grid, c.mask_ratio) < 0)
                continue;
            mask_case_add_outputs(&c, g % 2 ? dtype_i64 : dtype_i32, g % 2 ? dtype_u8 : dtype_f64, (layout){0});
            expect_every_level(&c, "chosen");
            mask_case_free(&c);
        }
}

/* Each patch of a cell is chosen about as often as the others, each place of the block too. */
static void choices_are_uniform(void **state)
{
    (void)state;
    enum { IMAGES = 4000 };
    const int64_t shape[] = {IMAGES, 15};
    tensor *const mask = tensor_new(dtype_u8, 2, shape);
    poslabel_regular_mask_args regular = POSLABEL_REGULAR_MASK_ARGS_INIT;
    poslabel_block_mask_args block = POSLABEL_BLOCK_MASK_ARGS_INIT;
    poslabel_random_mask_args random = POSLABEL_RANDOM_MASK_ARGS_INIT;
    regular.grid = block.grid = (poslabel_grid){3, 5};
    regular.mask = block.mask = random.mask = &mask->t;
    block.mask_ratio = 0.7; /* 2 x 2 of 3 x 5 patches: 2 x 4 places */
    random.tokens = 15;
    static const double regular_share[] = {0.25, 0.25, 0.25, 0.25, 0.5, 0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 1};
    static const double block_share[] = {0.125, 0.25, 0.25, 0.25, 0.125, 0.25, 0.5,  0.5,
                                         0.5,   0.25, 0.125, 0.25, 0.25, 0.25, 0.125};
    for (int k = 0; k < 3; k++) {
        if (k == 0)
            expect_ok(levels[0], poslabel_regular_mask(levels[0], &regular));
        else if (k == 1)
            expect_ok(levels[0], poslabel_block_mask(levels[0], &block));
        else
            expect_ok(levels[0], poslabel_random_mask(levels[0], &random));
        for (int n = 0; n < 15; n++) {
            const double share = k == 0 ? regular_share[n] : k == 1 ? block_share[n] : 3 / 15.0;
            double count = 0;
            for (int64_t b = 0; b < IMAGES; b++)
                count += 1 - tensor_get(mask, b * 15 + n);
            if (fabs(count - share * IMAGES) > 4 * sqrt(share * (1 - share) * IMAGES))
                test_fail("kind %d: patch %d is visible in %g of %d images, want about %g", k, n, count, IMAGES,
                          share * IMAGES);
        }
    }
    tensor_free(mask);
}

static void droppos_masks(void **state)
{
    (void)state;
    static const double ratios[][2] = {{0.75, 0.75}, {0, 0}, {0.75, 1}, {0.9, 0.9}, {1, 0.5}, {0.5, 0.1}};
    for (int g = 0; g < COUNT(grids); g++)
        for (int patch_mask = 0; patch_mask < 3; patch_mask++)
            for (int k = 0; k < COUNT(ratios); k++)
                for (int given = 0; given < 2; given++) {
                    mask_case c = droppos_case(grids[g], patch_mask, 4);
                    c.mask_ratio = ratios[k][0];
                    c.pos_mask_ratio = ratios[k][1];
                    c.wrong_positions = (g + k) % 2;
                    if (patch_mask == POSLABEL_PATCH_MASK_BLOCK && poslabel_block_mask_keep(c.grid, c.mask_ratio) < 0)
                        continue;
                    if (given)
                        mask_case_add_noise(&c, k % 2 ? dtype_f32 : dtype_bf16, (layout){0}, 3);
                    mask_case_add_outputs(&c, given ? dtype_i64 : dtype_i32, given ? dtype_f32 : dtype_bool,
                                          (layout){0});
                    expect_every_level(&c, given ? "given" : "drawn");
                    mask_case_free(&c);
                }
}

/* With wrong positions every dropped token gets another dropped token's position, and each position goes to one. */
static void wrong_positions_are_wrong(void **state)
{
    (void)state;
    mask_case c = droppos_case((poslabel_grid){14, 14}, POSLABEL_PATCH_MASK_RANDOM, 50);
    c.wrong_positions = 1;
    mask_case_add_outputs(&c, dtype_i64, dtype_bool, (layout){0});
    expect_ok(levels[0], mask_call(levels[0], &c));
    for (int64_t b = 0; b < c.images; b++) {
        int kept = 0, dropped[196] = {0}, taken[196] = {0};
        for (int64_t r = b * 49; r < (b + 1) * 49; r++) {
            const int id = (int)tensor_get(c.output[IDS_KEEP], r), position = (int)tensor_get(c.output[POSITIONS], r);
            assert_in_range(position, 0, 195);
            if (tensor_get(c.output[MASK_POS], r)) {
                assert_int_not_equal(position, id);
                dropped[id]++;
                taken[position]++;
            } else {
                assert_int_equal(position, id);
                kept++;
            }
        }
        assert_int_equal(kept, 12);
        assert_memory_equal(dropped, taken, sizeof dropped);
    }
    mask_case_free(&c);
}

/* ---- layouts and outputs ---- */

static void every_subset_of_outputs(void **state)
{
    (void)state;
    for (int droppos = 0; droppos < 2; droppos++)
        for (unsigned subset = 1; subset < 1u << (droppos ? MASK_OUTPUTS : PATCH_OUTPUTS); subset++)
            for (int given = 0; given < 2; given++) {
                mask_case c = droppos ? droppos_case((poslabel_grid){5, 4}, (int)(subset % 3), 3) : random_case(20, 3, 0.7);
                tensor *held[MASK_OUTPUTS];
                if (given)
                    mask_case_add_noise(&c, dtype_f32, (layout){0}, subset);
                mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
                memcpy(held, c.output, sizeof held);
                for (int o = 0; o < MASK_OUTPUTS; o++)
                    c.output[o] = subset >> o & 1 ? held[o] : NULL;
                char what[32];
                snprintf(what, sizeof what, "subset %x", subset);
                expect_every_level(&c, what);
                for (int o = 0; o < MASK_OUTPUTS; o++)
                    if (held[o] && !c.output[o])
                        assert_true(tensor_is_untouched(held[o]));
                memcpy(c.output, held, sizeof held);
                mask_case_free(&c);
            }
}

static void every_dtype_and_layout(void **state)
{
    (void)state;
    const poslabel_dtype masks[] = {dtype_bool, dtype_u8, dtype_i32, dtype_i64, dtype_f16, dtype_bf16, dtype_f32, dtype_f64};
    const poslabel_dtype noise[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    for (int m = 0; m < COUNT(masks); m++)
        for (int ids = 0; ids < 2; ids++)
            for (int n = 0; n < 6; n++) {
                const size_t size = dtype_size(noise[n % 4]);
                const layout layouts[] = {{0},
                                          {.row_padding = 3},
                                          {.side = GUARD_BEGIN, .gap = 8},
                                          {.side = GUARD_BEGIN, .row_padding = 1, .gap = 24},
                                          {.byte_offset = 16, .gap = 8}};
                const layout noise_layout = {.row_padding = n % 3, .gap = n % 2 * size, .side = n % 2 ? GUARD_BEGIN : GUARD_END};
                mask_case c = n % 2 ? droppos_case((poslabel_grid){3, 11}, POSLABEL_PATCH_MASK_RANDOM, 3)
                                    : random_case(n == 0 ? 196 : n == 2 ? 61 : 259, 3, 0.75);
                mask_case_add_noise(&c, noise[n % 4], noise_layout, (uint64_t)n);
                mask_case_add_outputs(&c, ids ? dtype_i64 : dtype_i32, masks[m], layouts[(m + n) % COUNT(layouts)]);
                char what[64];
                snprintf(what, sizeof what, "mask %s, noise %s", dtype_name(masks[m]), dtype_name(noise[n % 4]));
                expect_every_level(&c, what);
                mask_case_free(&c);
            }
}

/* ids_keep and ids_remove as the two ends of one ids_shuffle: their rows interleave, but they share nothing. */
static void ends_of_one_buffer(void **state)
{
    (void)state;
    static const double ratios[] = {0, 0.25, 0.75, 1};
    for (int k = 0; k < COUNT(ratios); k++) {
        const int64_t n = 12, images = 4, keep = poslabel_random_mask_keep(n, ratios[k]), strides[] = {n, 1};
        const int64_t whole[] = {images, n}, first[] = {images, keep}, last[] = {images, n - keep};
        tensor *const shuffle = tensor_new(dtype_i64, 2, whole), *const restore = tensor_new(dtype_i64, 2, whole);
        poslabel_tensor ids_keep = shuffle->t, ids_remove = shuffle->t;
        ids_keep.shape = first;
        ids_remove.shape = last;
        ids_keep.strides = ids_remove.strides = strides;
        ids_remove.data = (char *)ids_remove.data + keep * 8; /* the end of the first row when nothing is removed */
        poslabel_random_mask_args args = POSLABEL_RANDOM_MASK_ARGS_INIT;
        args.tokens = n;
        args.mask_ratio = ratios[k];
        args.seed = 12;
        args.ids_keep = &ids_keep;
        args.ids_remove = &ids_remove;
        args.ids_restore = &restore->t;
        for (int i = 0; i < level_count; i++) {
            tensor_forget(shuffle);
            test_case_is("ratio %g, %s", ratios[k], name_of(levels[i]));
            expect_ok(levels[i], poslabel_random_mask(levels[i], &args));
            for (int64_t b = 0; b < images; b++)
                for (int64_t p = 0; p < n; p++) {
                    const int64_t id = (int64_t)tensor_get(shuffle, b * n + p);
                    assert_true(id >= 0 && id < n && tensor_get(restore, b * n + id) == (double)p);
                }
        }
        tensor_free(shuffle);
        tensor_free(restore);
    }
    test_case_is("%s", "");
}

/* One row of noise for all images. */
static void expanded_noise(void **state)
{
    (void)state;
    const int64_t one[] = {1, 196}, shape[] = {3, 196}, strides[] = {0, 1};
    tensor *const noise = tensor_new(dtype_f32, 2, one);
    tensor_fill_between(noise, 9, 0, 1);
    mask_case c = random_case(196, 3, 0.75);
    mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
    poslabel_tensor expanded = noise->t;
    expanded.shape = shape;
    expanded.strides = strides;
    for (int i = 0; i < level_count; i++) {
        poslabel_random_mask_args args = mask_random_args(&c);
        args.noise = &expanded;
        mask_case_forget_outputs(&c);
        expect_ok(levels[i], poslabel_random_mask(levels[i], &args));
        for (int64_t n = 0; n < 196; n++) {
            double smaller = 0;
            for (int64_t m = 0; m < 196; m++)
                smaller += tensor_get(noise, m) < tensor_get(noise, n);
            for (int64_t b = 0; b < 3; b++)
                assert_true(tensor_get(c.output[IDS_RESTORE], b * 196 + n) == smaller);
        }
    }
    mask_case_free(&c);
    tensor_free(noise);
}

static void nothing_to_do(void **state)
{
    (void)state;
    for (int kind = 0; kind < MASK_KINDS; kind++) {
        mask_case c = droppos_case((poslabel_grid){4, 4}, POSLABEL_PATCH_MASK_RANDOM, 0);
        c.kind = (mask_kind)kind;
        mask_case_add_noise(&c, dtype_f32, (layout){0}, 1);
        mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
        for (int o = 0; o < MASK_OUTPUTS; o++)
            if (c.output[o])
                c.output[o]->t.data = NULL;
        expect_every_level(&c, "an empty batch");
        mask_case_free(&c);
    }
}

/* ---- the same bits ---- */

/* A case of each kind, enough images to put every thread to work. */
static mask_case large_case(int kind, int64_t images)
{
    mask_case c = droppos_case((poslabel_grid){14, 14}, kind - MASK_DROPPOS, images);
    if (kind < MASK_DROPPOS)
        c.kind = (mask_kind)kind;
    c.wrong_positions = 1;
    return c;
}

static void any_number_of_threads(void **state)
{
    (void)state;
    static const int threads[] = {2, 3, 7};
    for (int kind = 0; kind < MASK_DROPPOS + 3; kind++)
        for (int given = 0; given < 2; given++) {
            mask_case c = large_case(kind, 301);
            if (given)
                mask_case_add_noise(&c, dtype_f32, (layout){0}, 31);
            mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
            mask_answer answer = mask_solve(&c);
            for (int t = 0; t < COUNT(threads); t++) {
                poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, threads[t]);
                test_case_is("kind %d, %d threads", kind, threads[t]);
                mask_case_forget_outputs(&c);
                expect_ok(context, mask_call(context, &c));
                expect_masks(&c, &answer);
                poslabel_context_destroy(context);
            }
            mask_answer_free(&answer);
            mask_case_free(&c);
        }
    test_case_is("%s", "");
}

/* A batch in parts, each with the index of its first image, up to the last index there is. */
static void any_split_of_the_batch(void **state)
{
    (void)state;
    static const int64_t parts[] = {1, 5, 2};
    for (int kind = 0; kind < MASK_DROPPOS + 3; kind++) {
        mask_case whole = large_case(kind, 8);
        whole.first_sample = UINT32_MAX - 7;
        mask_case_add_outputs(&whole, dtype_i64, dtype_f32, (layout){0});
        expect_ok(levels[0], mask_call(levels[0], &whole));
        int64_t first = 0;
        for (int p = 0; p < COUNT(parts); p++) {
            mask_case part = large_case(kind, parts[p]);
            part.first_sample = whole.first_sample + (uint32_t)first;
            mask_case_add_outputs(&part, dtype_i64, dtype_f32, (layout){0});
            expect_ok(levels[level_count - 1], mask_call(levels[level_count - 1], &part));
            for (int o = 0; o < MASK_OUTPUTS; o++) {
                if (!part.output[o])
                    continue;
                const int64_t length = mask_output_length(&part, (mask_output)o);
                test_case_is("kind %d, %s, images from %lld", kind, mask_output_names[o], (long long)first);
                expect_same_bits("part", part.output[o]->memory.data, tensor_at(whole.output[o], first * length),
                                 (size_t)part.output[o]->count, dtype_size(part.output[o]->t.dtype));
            }
            first += parts[p];
            mask_case_free(&part);
        }
        mask_case_free(&whole);
    }
    test_case_is("%s", "");
}

/* Seed, step, image and stream: whatever differs gives another mask. */
static void every_draw_is_another(void **state)
{
    (void)state;
    mask_case c = large_case(MASK_DROPPOS, 2);
    mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
    expect_ok(levels[0], mask_call(levels[0], &c));
    double *const first = tensor_doubles(c.output[IDS_RESTORE]);
    assert_memory_not_equal(first, first + 196, 196 * sizeof *first);
    double *const pos = tensor_doubles(c.output[IDS_RESTORE_POS]), *const places = tensor_doubles(c.output[PLACES]);
    assert_memory_not_equal(pos, places, 49 * sizeof *pos);
    for (int k = 0; k < 4; k++) {
        mask_case other = c;
        other.seed += k == 0 ? 1 : k == 1 ? UINT64_C(1) << 32 : 0;
        other.step += k == 2;
        other.first_sample += k == 3 ? 2 : 0;
        expect_ok(levels[0], mask_call(levels[0], &other));
        double *const second = tensor_doubles(c.output[IDS_RESTORE]);
        assert_memory_not_equal(first, second, 196 * sizeof *first);
        free(second);
    }
    free(first);
    free(pos);
    free(places);
    mask_case_free(&c);
}

/* ---- sizes ---- */

static void workspace_is_bounded(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 16, 196, 257, 409, 410, 576, 819, 820, 1024, 1638, 1639, 4096, 10000, 65536, 65537};
    for (int s = 0; s < COUNT(sizes); s++)
        for (int i = 0; i < level_count; i++)
            for (int threads = 1; threads < 4; threads += 2) {
                poslabel_context *const context = context_new(poslabel_context_isa(levels[i]), threads);
                mask_case c = droppos_case((poslabel_grid){1, (int32_t)sizes[s]}, POSLABEL_PATCH_MASK_RANDOM, 2);
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
        for (int i = 0; i < level_count; i++)
            for (int given = 0; given < 2; given++) {
                counting_allocator counter;
                counting_allocator_init(&counter);
                poslabel_context *const context = context_counted(&counter, poslabel_context_isa(levels[i]), 1, NULL);
                mask_case c = droppos_case((poslabel_grid){1, sizes[s].tokens}, POSLABEL_PATCH_MASK_RANDOM, 2);
                c.mask_ratio = sizes[s].mask_ratio;
                if (given) {
                    mask_case_add_noise(&c, dtype_f32, (layout){0}, 3);
                    fill_noise(c.noise[POS_NOISE], s % 2 ? NORMAL : DESCENDING, 5);
                }
                mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
                mask_answer answer = mask_solve(&c);
                test_case_is("%d tokens, ratio %g, %s", (int)sizes[s].tokens, sizes[s].mask_ratio, name_of(context));
                expect_ok(context, mask_call(context, &c));
                expect_masks(&c, &answer);
                mask_answer_free(&answer);
                mask_case_free(&c);
                poslabel_context_destroy(context);
                counting_allocator_check(&counter);
            }
    test_case_is("%s", "");
}

static void how_many_are_kept(void **state)
{
    (void)state;
    assert_int_equal(poslabel_random_mask_keep(196, 0.75), 49);
    assert_int_equal(poslabel_random_mask_keep(49, 0.75), 12);
    assert_int_equal(poslabel_random_mask_keep(49, 0.6), 19);
    assert_int_equal(poslabel_random_mask_keep(196, 0), 196);
    assert_int_equal(poslabel_random_mask_keep(196, 1), 0);
    assert_int_equal(poslabel_random_mask_keep(10, 0.9), 0); /* 1 - 0.9 is a little below 0.1 */
    assert_int_equal(poslabel_random_mask_keep(0, 0.5), 0);
    assert_int_equal(poslabel_random_mask_keep(INT64_C(1) << 40, 0.5), INT64_C(1) << 39);
    assert_true(poslabel_random_mask_keep(INT64_MAX, 0) == INT64_MAX);
    assert_int_equal(poslabel_random_mask_keep(-1, 0.5), -1);
    assert_int_equal(poslabel_random_mask_keep(196, -0.01), -1);
    assert_int_equal(poslabel_random_mask_keep(196, 1.01), -1);
    assert_int_equal(poslabel_random_mask_keep(196, NAN), -1);

    assert_int_equal(poslabel_regular_mask_keep((poslabel_grid){14, 14}), 49);
    assert_int_equal(poslabel_regular_mask_keep((poslabel_grid){7, 7}), 16);
    assert_int_equal(poslabel_regular_mask_keep((poslabel_grid){1, 1}), 1);
    assert_int_equal(poslabel_regular_mask_keep((poslabel_grid){3, 8}), 8);
    assert_int_equal(poslabel_regular_mask_keep((poslabel_grid){0, 8}), -1);
    assert_int_equal(poslabel_regular_mask_keep((poslabel_grid){8, -1}), -1);
    assert_int_equal(poslabel_regular_mask_keep((poslabel_grid){65536, 65536}), -1);

    assert_int_equal(poslabel_block_mask_keep((poslabel_grid){14, 14}, 0.75), 49);
    assert_int_equal(poslabel_block_mask_keep((poslabel_grid){7, 7}, 0.75), 9); /* of 13 */
    assert_int_equal(poslabel_block_mask_keep((poslabel_grid){7, 7}, 1), 0);
    assert_int_equal(poslabel_block_mask_keep((poslabel_grid){7, 7}, 0), 49);
    assert_int_equal(poslabel_block_mask_keep((poslabel_grid){4, 16}, 0.75), 16);
    assert_int_equal(poslabel_block_mask_keep((poslabel_grid){4, 16}, 0.5), -1); /* 5 x 5 */
    assert_int_equal(poslabel_block_mask_keep((poslabel_grid){0, 16}, 0.5), -1);
    assert_int_equal(poslabel_block_mask_keep((poslabel_grid){14, 14}, NAN), -1);
    assert_int_equal(poslabel_block_mask_keep((poslabel_grid){14, 14}, 1.5), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_random_masks),
        cmocka_unit_test(golden_droppos_masks),
        cmocka_unit_test(every_length),
        cmocka_unit_test(every_distribution_and_dtype),
        cmocka_unit_test(images_of_different_ranges),
        cmocka_unit_test(any_floating_point_environment),
        cmocka_unit_test(time_stays_proportional),
        cmocka_unit_test(regular_and_block_masks),
        cmocka_unit_test(choices_are_uniform),
        cmocka_unit_test(droppos_masks),
        cmocka_unit_test(wrong_positions_are_wrong),
        cmocka_unit_test(every_subset_of_outputs),
        cmocka_unit_test(every_dtype_and_layout),
        cmocka_unit_test(ends_of_one_buffer),
        cmocka_unit_test(expanded_noise),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(any_split_of_the_batch),
        cmocka_unit_test(every_draw_is_another),
        cmocka_unit_test(workspace_is_bounded),
        cmocka_unit_test(few_visible_of_many),
        cmocka_unit_test(how_many_are_kept),
    };
    return cmocka_run_group_tests_name("masks", tests, open_levels, close_levels);
}
