/*
 * Masks: golden vectors, and the definition at every level, in any layout, with any outputs, threads and split.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/masks.h"

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
        mask_case c = mask_random_case(noise->shape[1], noise->shape[0], npz_number(file, "mask_ratio"));
        c.noise[PATCH_NOISE] = tensor_from_npz(noise, dtype_f32, (layout){0});
        mask_case_add_outputs(&c, f % 2 ? dtype_i32 : dtype_i64, dtype_bool, (layout){0});
        for (int i = 0; i < mask_level_count; i++) {
            test_case_is("%s, %s", names[f], mask_level_name(mask_levels[i]));
            mask_case_forget_outputs(&c);
            expect_ok(mask_levels[i], mask_call(mask_levels[i], &c));
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
        mask_case c = mask_droppos_case((poslabel_grid){6, 6}, POSLABEL_PATCH_MASK_RANDOM, noise->shape[0]);
        c.mask_ratio = npz_number(file, "mask_ratio");
        c.pos_mask_ratio = npz_number(file, "pos_mask_ratio");
        c.noise[PATCH_NOISE] = tensor_from_npz(noise, dtype_f32, (layout){0});
        c.noise[POS_NOISE] = tensor_from_npz(npz_get(file, "noise_pos"), dtype_f32, (layout){0});
        if (shuffle)
            c.noise[SHUFFLE_NOISE] = tensor_from_npz(shuffle, dtype_f32, (layout){0});
        mask_case_add_outputs(&c, dtype_i64, dtype_bool, (layout){0});
        for (int i = 0; i < mask_level_count; i++) {
            test_case_is("%s, %s", names[f], mask_level_name(mask_levels[i]));
            mask_case_forget_outputs(&c);
            expect_ok(mask_levels[i], mask_call(mask_levels[i], &c));
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
            expect_masks_every_level(&c, "chosen");
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
    static const double regular_share[] = {0.25, 0.25, 0.25, 0.25, 0.5, 0.25, 0.25, 0.25,
                                           0.25, 0.5,  0.5,  0.5,  0.5, 0.5,  1};
    static const double block_share[] = {0.125, 0.25, 0.25, 0.25, 0.125, 0.25, 0.5,  0.5,
                                         0.5,   0.25, 0.125, 0.25, 0.25, 0.25, 0.125};
    for (int k = 0; k < 3; k++) {
        if (k == 0)
            expect_ok(mask_levels[0], poslabel_regular_mask(mask_levels[0], &regular));
        else if (k == 1)
            expect_ok(mask_levels[0], poslabel_block_mask(mask_levels[0], &block));
        else
            expect_ok(mask_levels[0], poslabel_random_mask(mask_levels[0], &random));
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
                    mask_case c = mask_droppos_case(grids[g], patch_mask, 4);
                    c.mask_ratio = ratios[k][0];
                    c.pos_mask_ratio = ratios[k][1];
                    c.wrong_positions = (g + k) % 2;
                    if (patch_mask == POSLABEL_PATCH_MASK_BLOCK && poslabel_block_mask_keep(c.grid, c.mask_ratio) < 0)
                        continue;
                    if (given)
                        mask_case_add_noise(&c, k % 2 ? dtype_f32 : dtype_bf16, (layout){0}, 3);
                    mask_case_add_outputs(&c, given ? dtype_i64 : dtype_i32, given ? dtype_f32 : dtype_bool,
                                          (layout){0});
                    expect_masks_every_level(&c, given ? "given" : "drawn");
                    mask_case_free(&c);
                }
}

/* With wrong positions every dropped token gets another dropped token's position, and each position goes to one. */
static void wrong_positions_are_wrong(void **state)
{
    (void)state;
    mask_case c = mask_droppos_case((poslabel_grid){14, 14}, POSLABEL_PATCH_MASK_RANDOM, 50);
    c.wrong_positions = 1;
    mask_case_add_outputs(&c, dtype_i64, dtype_bool, (layout){0});
    expect_ok(mask_levels[0], mask_call(mask_levels[0], &c));
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
                mask_case c = droppos ? mask_droppos_case((poslabel_grid){5, 4}, (int)(subset % 3), 3)
                                      : mask_random_case(20, 3, 0.7);
                tensor *held[MASK_OUTPUTS];
                if (given)
                    mask_case_add_noise(&c, dtype_f32, (layout){0}, subset);
                mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
                memcpy(held, c.output, sizeof held);
                for (int o = 0; o < MASK_OUTPUTS; o++)
                    c.output[o] = subset >> o & 1 ? held[o] : NULL;
                char what[32];
                snprintf(what, sizeof what, "subset %x", subset);
                expect_masks_every_level(&c, what);
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
    const poslabel_dtype masks[] = {dtype_bool, dtype_u8,   dtype_i32, dtype_i64,
                                    dtype_f16,  dtype_bf16, dtype_f32, dtype_f64};
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
                const layout noise_layout = {
                    .row_padding = n % 3, .gap = n % 2 * size, .side = n % 2 ? GUARD_BEGIN : GUARD_END};
                mask_case c = n % 2 ? mask_droppos_case((poslabel_grid){3, 11}, POSLABEL_PATCH_MASK_RANDOM, 3)
                                    : mask_random_case(n == 0 ? 196 : n == 2 ? 61 : 259, 3, 0.75);
                mask_case_add_noise(&c, noise[n % 4], noise_layout, (uint64_t)n);
                mask_case_add_outputs(&c, ids ? dtype_i64 : dtype_i32, masks[m], layouts[(m + n) % COUNT(layouts)]);
                char what[64];
                snprintf(what, sizeof what, "mask %s, noise %s", dtype_name(masks[m]), dtype_name(noise[n % 4]));
                expect_masks_every_level(&c, what);
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
        for (int i = 0; i < mask_level_count; i++) {
            tensor_forget(shuffle);
            test_case_is("ratio %g, %s", ratios[k], mask_level_name(mask_levels[i]));
            expect_ok(mask_levels[i], poslabel_random_mask(mask_levels[i], &args));
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
    mask_case c = mask_random_case(196, 3, 0.75);
    mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
    poslabel_tensor expanded = noise->t;
    expanded.shape = shape;
    expanded.strides = strides;
    for (int i = 0; i < mask_level_count; i++) {
        poslabel_random_mask_args args = mask_random_args(&c);
        args.noise = &expanded;
        mask_case_forget_outputs(&c);
        expect_ok(mask_levels[i], poslabel_random_mask(mask_levels[i], &args));
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
        mask_case c = mask_droppos_case((poslabel_grid){4, 4}, POSLABEL_PATCH_MASK_RANDOM, 0);
        c.kind = (mask_kind)kind;
        mask_case_add_noise(&c, dtype_f32, (layout){0}, 1);
        mask_case_add_outputs(&c, dtype_i32, dtype_u8, (layout){0});
        for (int o = 0; o < MASK_OUTPUTS; o++)
            if (c.output[o])
                c.output[o]->t.data = NULL;
        expect_masks_every_level(&c, "an empty batch");
        mask_case_free(&c);
    }
}

/* ---- the same bits ---- */

/* A case of each kind, enough images to put every thread to work. */
static mask_case large_case(int kind, int64_t images)
{
    mask_case c = mask_droppos_case((poslabel_grid){14, 14}, kind - MASK_DROPPOS, images);
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
        expect_ok(mask_levels[0], mask_call(mask_levels[0], &whole));
        int64_t first = 0;
        for (int p = 0; p < COUNT(parts); p++) {
            mask_case part = large_case(kind, parts[p]);
            part.first_sample = whole.first_sample + (uint32_t)first;
            mask_case_add_outputs(&part, dtype_i64, dtype_f32, (layout){0});
            expect_ok(mask_levels[mask_level_count - 1], mask_call(mask_levels[mask_level_count - 1], &part));
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
    expect_ok(mask_levels[0], mask_call(mask_levels[0], &c));
    double *const first = tensor_doubles(c.output[IDS_RESTORE]);
    assert_memory_not_equal(first, first + 196, 196 * sizeof *first);
    double *const pos = tensor_doubles(c.output[IDS_RESTORE_POS]), *const places = tensor_doubles(c.output[PLACES]);
    assert_memory_not_equal(pos, places, 49 * sizeof *pos);
    for (int k = 0; k < 4; k++) {
        mask_case other = c;
        other.seed += k == 0 ? 1 : k == 1 ? UINT64_C(1) << 32 : 0;
        other.step += k == 2;
        other.first_sample += k == 3 ? 2 : 0;
        expect_ok(mask_levels[0], mask_call(mask_levels[0], &other));
        double *const second = tensor_doubles(c.output[IDS_RESTORE]);
        assert_memory_not_equal(first, second, 196 * sizeof *first);
        free(second);
    }
    free(first);
    free(pos);
    free(places);
    mask_case_free(&c);
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
        cmocka_unit_test(how_many_are_kept),
    };
    return cmocka_run_group_tests_name("masks", tests, mask_open_levels, mask_close_levels);
}
