/*
 * Every documented error of the masks.
 *
 * Each case changes one thing in arguments that are right.  The status must be the documented one, the message must
 * name the operation, the argument and the value, no output may be touched, and the context must work afterwards.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/masks.h"

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

static poslabel_context *context;
static mask_case good; /* whose arguments each case starts from */

static void begin(mask_kind kind)
{
    context = context_new(POSLABEL_ISA_AUTO, 2);
    good = (mask_case){.kind = kind,
                       .grid = {4, 5},
                       .patch_mask = POSLABEL_PATCH_MASK_RANDOM,
                       .mask_ratio = 0.5,
                       .pos_mask_ratio = 0.6,
                       .images = 3,
                       .first_sample = 1};
    mask_case_add_noise(&good, dtype_f32, (layout){0}, 8);
    mask_case_add_outputs(&good, dtype_i64, dtype_bool, (layout){0});
}

/* What was wrong has been put right: the context still works. */
static void end(void)
{
    mask_answer answer = mask_solve(&good);
    expect_ok(context, mask_call(context, &good));
    expect_masks(&good, &answer);
    mask_answer_free(&answer);
    mask_case_free(&good);
    poslabel_context_destroy(context);
}

#define REFUSED(operation, get_args, change, status, ...)                                                              \
    do {                                                                                                               \
        poslabel_##operation##_args args = get_args(&good);                                                            \
        change;                                                                                                        \
        mask_case_forget_outputs(&good);                                                                               \
        expect_error(context, poslabel_##operation(context, &args), (status), #operation ": ", __VA_ARGS__);           \
        if (!error_came_later() && !mask_case_outputs_untouched(&good))                                                \
            test_fail("%s: the call failed, but an output was written", #change);                                      \
    } while (0)

#define RANDOM(...) REFUSED(random_mask, mask_random_args, __VA_ARGS__)
#define REGULAR(...) REFUSED(regular_mask, mask_regular_args, __VA_ARGS__)
#define BLOCK(...) REFUSED(block_mask, mask_block_args, __VA_ARGS__)
#define DROPPOS(...) REFUSED(droppos_masks, mask_droppos_args, __VA_ARGS__)

static void null_arguments(void **state)
{
    (void)state;
    begin(MASK_DROPPOS);
    poslabel_random_mask_args random = mask_random_args(&good);
    poslabel_regular_mask_args regular = mask_regular_args(&good);
    poslabel_block_mask_args block = mask_block_args(&good);
    poslabel_droppos_masks_args droppos = mask_droppos_args(&good);
    mask_case_forget_outputs(&good);
    assert_int_equal(poslabel_random_mask(NULL, &random), INVALID);
    assert_int_equal(poslabel_regular_mask(NULL, &regular), INVALID);
    assert_int_equal(poslabel_block_mask(NULL, &block), INVALID);
    assert_int_equal(poslabel_droppos_masks(NULL, &droppos), INVALID);
    expect_error(context, poslabel_random_mask(context, NULL), INVALID, "random_mask: ", "args is NULL");
    expect_error(context, poslabel_regular_mask(context, NULL), INVALID, "regular_mask: ", "args is NULL");
    expect_error(context, poslabel_block_mask(context, NULL), INVALID, "block_mask: ", "args is NULL");
    expect_error(context, poslabel_droppos_masks(context, NULL), INVALID, "droppos_masks: ", "args is NULL");
    assert_true(mask_case_outputs_untouched(&good));
    RANDOM(args.struct_size = 3, INVALID, "struct_size = 3");
    REGULAR(args.struct_size = 3, INVALID, "struct_size = 3");
    BLOCK(args.struct_size = 3, INVALID, "struct_size = 3");
    DROPPOS(args.struct_size = 3, INVALID, "struct_size = 3");
    end();
}

static void no_output(void **state)
{
    (void)state;
    begin(MASK_DROPPOS);
#define NO_PATCH_OUTPUT args.ids_keep = args.ids_remove = args.ids_restore = args.mask = NULL
    RANDOM(NO_PATCH_OUTPUT, INVALID, "no output is given", "ids_keep", "mask");
    REGULAR(NO_PATCH_OUTPUT, INVALID, "no output is given", "ids_keep", "mask");
    BLOCK(NO_PATCH_OUTPUT, INVALID, "no output is given", "ids_keep", "mask");
#define NO_OTHER_OUTPUT args.ids_keep_pos = args.ids_restore_pos = args.mask_pos = args.positions = args.places = NULL
    DROPPOS((NO_PATCH_OUTPUT, NO_OTHER_OUTPUT), INVALID, "no output is given", "ids_keep", "places");
    end();
}

static void sizes_and_ratios(void **state)
{
    (void)state;
    begin(MASK_DROPPOS);
    RANDOM(args.tokens = 0, INVALID, "tokens = 0", ">= 1");
    RANDOM(args.tokens = -5, INVALID, "tokens = -5");
    RANDOM(args.tokens = INT64_C(1) << 31, INVALID, "tokens = 2147483648", "2^31");
    RANDOM(args.mask_ratio = -0.25, INVALID, "mask_ratio = -0.25", "[0, 1]");
    RANDOM(args.mask_ratio = 1.5, INVALID, "mask_ratio = 1.5");
    RANDOM(args.mask_ratio = NAN, INVALID, "mask_ratio = ", "nan");
    REGULAR(args.grid.height = 0, INVALID, "grid is 0 x 5");
    REGULAR(args.grid.width = -2, INVALID, "grid is 4 x -2");
    REGULAR((args.grid.height = args.grid.width = 65536), INVALID, "grid is 65536 x 65536", "2^31");
    BLOCK(args.grid.height = 0, INVALID, "grid is 0 x 5");
    BLOCK(args.mask_ratio = -1, INVALID, "mask_ratio = -1", "[0, 1]");
    BLOCK(args.mask_ratio = INFINITY, INVALID, "mask_ratio = inf");
    BLOCK((args.grid.height = 2, args.grid.width = 10), INVALID, "mask_ratio = 0.5", "3 x 3", "2 x 10");
    DROPPOS(args.grid.width = 0, INVALID, "grid is 4 x 0");
    DROPPOS(args.patch_mask = 3, INVALID, "patch_mask = 3", "POSLABEL_PATCH_MASK_RANDOM");
    DROPPOS(args.patch_mask = -1, INVALID, "patch_mask = -1");
    DROPPOS(args.wrong_positions = 2, INVALID, "wrong_positions = 2", "0 or 1");
    DROPPOS(args.wrong_positions = -1, INVALID, "wrong_positions = -1");
    DROPPOS(args.mask_ratio = 2, INVALID, "mask_ratio = 2");
    DROPPOS(args.pos_mask_ratio = -0.5, INVALID, "pos_mask_ratio = -0.5", "[0, 1]");
    DROPPOS(args.pos_mask_ratio = NAN, INVALID, "pos_mask_ratio = ", "nan");
    DROPPOS((args.patch_mask = POSLABEL_PATCH_MASK_BLOCK, args.mask_ratio = NAN), INVALID, "mask_ratio = ", "nan");
    DROPPOS((args.patch_mask = POSLABEL_PATCH_MASK_BLOCK, args.grid.height = 2, args.grid.width = 10), INVALID,
            "3 x 3");
    end();
}

/* What a regular or block mask does not use may be anything. */
static void unused_arguments(void **state)
{
    (void)state;
    begin(MASK_DROPPOS);
    const poslabel_tensor nonsense = {0};
    mask_case regular = {.kind = MASK_DROPPOS, .grid = {4, 5}, .patch_mask = POSLABEL_PATCH_MASK_REGULAR, .images = 3};
    regular.pos_mask_ratio = 0.5;
    regular.mask_ratio = 0.75;
    mask_case_add_outputs(&regular, dtype_i32, dtype_u8, (layout){0});
    poslabel_droppos_masks_args args = mask_droppos_args(&regular);
    args.mask_ratio = NAN;
    args.patch_noise = &nonsense;
    expect_ok(context, poslabel_droppos_masks(context, &args));
    mask_answer answer = mask_solve(&regular);
    expect_masks(&regular, &answer);
    mask_answer_free(&answer);
    mask_case_free(&regular);
    end();
}

static void sample_indices(void **state)
{
    (void)state;
    begin(MASK_DROPPOS);
    RANDOM(args.first_sample = UINT32_MAX - 1, INVALID, "first_sample = 4294967294", "3 images", "2^32");
    DROPPOS(args.first_sample = UINT32_MAX, INVALID, "first_sample = 4294967295", "3 images");
    end();
    begin(MASK_REGULAR);
    REGULAR(args.first_sample = UINT32_MAX - 1, INVALID, "first_sample = 4294967294", "3 images");
    end();
    begin(MASK_BLOCK);
    BLOCK(args.first_sample = UINT32_MAX - 1, INVALID, "first_sample = 4294967294", "3 images");
    good.first_sample = UINT32_MAX - 2; /* the last three there are */
    end();
}

static poslabel_tensor shaped(const tensor *t, const int64_t *shape)
{
    poslabel_tensor changed = t->t;
    changed.shape = shape;
    changed.strides = NULL;
    return changed;
}

static void shapes(void **state)
{
    (void)state;
    begin(MASK_DROPPOS);
    const int64_t few[] = {2, 20}, short_rows[] = {3, 19}, flat[] = {60}, pos[] = {3, 9}, deep[] = {3, 1, 20};
    poslabel_tensor noise = shaped(good.noise[PATCH_NOISE], few), mask = shaped(good.output[MASK], short_rows);
    poslabel_tensor one = shaped(good.output[IDS_RESTORE], flat), keep = shaped(good.output[IDS_KEEP], pos);
    poslabel_tensor three = shaped(good.output[IDS_RESTORE], deep);
    one.ndim = 1;
    three.ndim = 3;
    RANDOM(args.noise = &noise, INVALID, "ids_keep", "[3, 10]", "[2, 10]");
    RANDOM(args.tokens = 21, INVALID, "noise", "[3, 20]", "[*, 21]");
    RANDOM(args.ids_keep = &keep, INVALID, "ids_keep", "[3, 9]", "[3, 10]");
    RANDOM(args.ids_remove = &keep, INVALID, "ids_remove", "[3, 9]", "[3, 10]");
    RANDOM(args.ids_restore = &one, INVALID, "ids_restore", "[60]", "[3, 20]");
    RANDOM(args.ids_restore = &three, INVALID, "ids_restore", "[3, 1, 20]", "[3, 20]");
    RANDOM(args.mask = &mask, INVALID, "mask", "[3, 19]", "[3, 20]");
    REGULAR((args.ids_keep = args.ids_remove = NULL, args.mask = &mask), INVALID, "mask", "[3, 19]", "[3, 20]");
    BLOCK((void)args, INVALID, "ids_keep", "[3, 10]", "[*, 9]");
    DROPPOS(args.patch_noise = &noise, INVALID, "pos_noise", "[3, 10]", "[2, 10]");
    DROPPOS(args.pos_noise = &keep, INVALID, "pos_noise", "int64");
    poslabel_tensor shuffle = shaped(good.noise[SHUFFLE_NOISE], pos), places = shaped(good.output[PLACES], pos);
    DROPPOS(args.shuffle_noise = &shuffle, INVALID, "shuffle_noise", "[3, 9]", "[3, 10]");
    DROPPOS(args.ids_keep_pos = &places, INVALID, "ids_keep_pos", "[3, 9]", "[3, 4]");
    DROPPOS(args.ids_restore_pos = &places, INVALID, "ids_restore_pos", "[3, 9]", "[3, 10]");
    DROPPOS(args.positions = &places, INVALID, "positions", "[3, 9]", "[3, 10]");
    DROPPOS(args.places = &places, INVALID, "places", "[3, 9]", "[3, 10]");
    poslabel_tensor mask_pos = shaped(good.output[MASK_POS], pos);
    DROPPOS(args.mask_pos = &mask_pos, INVALID, "mask_pos", "[3, 9]", "[3, 10]");
    end();
}

static void dtypes_devices_and_data(void **state)
{
    (void)state;
    begin(MASK_DROPPOS);
    poslabel_tensor ids = good.output[IDS_RESTORE]->t, mask = good.output[MASK]->t, noise = good.noise[PATCH_NOISE]->t;
    poslabel_tensor pos = good.noise[POS_NOISE]->t, mask_pos = good.output[MASK_POS]->t;
    ids.dtype = dtype_f32;
    RANDOM(args.ids_restore = &ids, INVALID, "ids_restore has dtype float32", "int32 or int64");
    ids.dtype = dtype_u8;
    DROPPOS(args.ids_restore = &ids, INVALID, "ids_restore has dtype uint8");
    noise.dtype = dtype_i32;
    RANDOM(args.noise = &noise, INVALID, "noise has dtype int32", "float32");
    DROPPOS(args.patch_noise = &noise, INVALID, "patch_noise has dtype int32");
    pos.dtype = dtype_bool;
    DROPPOS(args.pos_noise = &pos, INVALID, "pos_noise has dtype bool");
    mask.dtype = (poslabel_dtype){POSLABEL_CODE_UINT, 16, 1};
    RANDOM(args.mask = &mask, INVALID, "mask has dtype", "uint16");
    mask_pos.dtype.lanes = 2;
    DROPPOS(args.mask_pos = &mask_pos, INVALID, "mask_pos has dtype", "lanes 2");

    mask = good.output[MASK]->t;
    mask.device.type = test_other_device();
    RANDOM(args.mask = &mask, INVALID, "mask is on device");
    noise = good.noise[PATCH_NOISE]->t;
    noise.data = NULL;
    RANDOM(args.noise = &noise, INVALID, "noise.data is NULL");
    ids = good.output[IDS_RESTORE]->t;
    ids.byte_offset = 4;
    RANDOM(args.ids_restore = &ids, INVALID, "ids_restore", "aligned");
    ids = good.output[IDS_RESTORE]->t;
    ids.ndim = -1;
    RANDOM(args.ids_restore = &ids, INVALID, "ids_restore has rank -1");
    end();
}

static void strides(void **state)
{
    (void)state;
    begin(MASK_RANDOM);
    static const int64_t columns[] = {1, 3}, backwards[] = {-20, 1}, shared[] = {10, 1}, expanded[] = {0, 1};
    poslabel_tensor ids = good.output[IDS_RESTORE]->t, noise = good.noise[PATCH_NOISE]->t;
    ids.strides = noise.strides = columns;
    RANDOM(args.ids_restore = &ids, UNSUPPORTED, "ids_restore has stride 3 in its last dimension");
    RANDOM(args.noise = &noise, UNSUPPORTED, "noise has stride 3");
    noise.strides = backwards;
    RANDOM(args.noise = &noise, UNSUPPORTED, "noise has stride -20");
    ids.strides = shared;
    RANDOM(args.ids_restore = &ids, INVALID, "ids_restore has strides", "share memory");
    ids.strides = expanded;
    RANDOM(args.ids_restore = &ids, INVALID, "ids_restore has strides", "share memory");
    end();
}

static void overlaps(void **state)
{
    (void)state;
    begin(MASK_DROPPOS);
    poslabel_tensor shifted = good.output[IDS_RESTORE]->t, wide = good.noise[PATCH_NOISE]->t;
    const int64_t shape[] = {3, 10};
    shifted.shape = shape;
    shifted.byte_offset += 8;
    RANDOM(args.ids_keep = &shifted, INVALID, "overlaps", "ids_keep", "ids_restore");
    RANDOM(args.ids_remove = args.ids_keep, INVALID, "overlaps", "ids_keep", "ids_remove");
    RANDOM(args.mask = args.noise, INVALID, "mask overlaps noise");
    wide.shape = good.output[PLACES]->shape;
    wide.dtype = dtype_i32;
    DROPPOS(args.places = &wide, INVALID, "places overlaps patch_noise");
    DROPPOS(args.positions = args.places, INVALID, "overlaps", "positions", "places");
    DROPPOS(args.ids_restore_pos = args.ids_keep, INVALID, "overlaps", "ids_restore_pos", "ids_keep");
    end();
}

/* Found before anything is written, wherever it is, in every dtype; the first one is named. */
static void nan_in_noise(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    poslabel_isa isa[ISA_LEVELS];
    const int count = isa_levels(isa);
    for (int i = 0; i < count; i++)
        for (int d = 0; d < COUNT(dtypes); d++)
            for (int padding = 0; padding < 2; padding++) {
                begin(MASK_DROPPOS);
                poslabel_context_destroy(context);
                context = context_new(isa[i], 2);
                mask_case_free(&good);
                mask_case_add_noise(&good, dtypes[d], (layout){.row_padding = padding}, 4);
                mask_case_add_outputs(&good, dtype_i32, dtype_f32, (layout){0});
                test_case_is("%s, %s, padding %d", poslabel_isa_name(isa[i]), dtype_name(dtypes[d]), padding);
                for (int k = 0; k < MASK_NOISES; k++)
                    for (int64_t n = 0; n < good.noise[k]->count; n++) {
                        static const char *const names[] = {"patch_noise", "pos_noise", "shuffle_noise"};
                        const int64_t length = good.noise[k]->shape[1];
                        const double held = tensor_get(good.noise[k], n);
                        char text[64];
                        snprintf(text, sizeof text, "%s[%d, %d] is NaN", names[k], (int)(n / length),
                                 (int)(n % length));
                        tensor_set(good.noise[k], n, n % 2 ? NAN : -NAN);
                        DROPPOS((void)args, INVALID, text);
                        if (k == PATCH_NOISE) {
                            snprintf(text, sizeof text, "noise[%d, %d] is NaN", (int)(n / 20), (int)(n % 20));
                            RANDOM((void)args, INVALID, text);
                        }
                        tensor_set(good.noise[k], n, held);
                    }
                tensor_set(good.noise[POS_NOISE], 3, INFINITY); /* an infinity is none */
                tensor_set(good.noise[POS_NOISE], 4, -INFINITY);
                end();
            }
    test_case_is("%s", "");
}

static void the_first_nan_is_reported(void **state)
{
    (void)state;
    skip_on_cuda(); /* test_cuda.c has what is reported there */
    context = context_new(POSLABEL_ISA_AUTO, 7);
    good = (mask_case){.kind = MASK_RANDOM, .grid = {1, 50}, .mask_ratio = 0.5, .images = 3000};
    mask_case_add_noise(&good, dtype_f32, (layout){0}, 8);
    mask_case_add_outputs(&good, dtype_i64, dtype_bool, (layout){0});
    tensor_set(good.noise[PATCH_NOISE], 2999 * 50 + 49, NAN);
    RANDOM((void)args, INVALID, "random_mask: noise[2999, 49] is NaN");
    tensor_set(good.noise[PATCH_NOISE], 1700 * 50 + 20, NAN);
    tensor_set(good.noise[PATCH_NOISE], 1700 * 50 + 10, NAN);
    tensor_set(good.noise[PATCH_NOISE], 2000 * 50, NAN);
    for (int again = 0; again < 20; again++)
        RANDOM((void)args, INVALID, "random_mask: noise[1700, 10] is NaN");
    tensor_fill_between(good.noise[PATCH_NOISE], 8, 0, 1);
    end();
}

static void no_memory(void **state)
{
    (void)state;
    skip_on_cuda(); /* the counted memory is the host's */
    counting_allocator counter;
    counting_allocator_init(&counter);
    begin(MASK_DROPPOS);
    poslabel_context_destroy(context);
    context = context_counted(&counter, POSLABEL_ISA_AUTO, 1, NULL);
    counter.fail_at = counter.allocations + 1;
    DROPPOS((void)args, POSLABEL_ERROR_MEMORY, "no memory");
    assert_int_equal(counter.failed, 1);
    end();
    counting_allocator_check(&counter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_arguments),
        cmocka_unit_test(no_output),
        cmocka_unit_test(sizes_and_ratios),
        cmocka_unit_test(unused_arguments),
        cmocka_unit_test(sample_indices),
        cmocka_unit_test(shapes),
        cmocka_unit_test(dtypes_devices_and_data),
        cmocka_unit_test(strides),
        cmocka_unit_test(overlaps),
        cmocka_unit_test(nan_in_noise),
        cmocka_unit_test(the_first_nan_is_reported),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests_name("mask_errors", tests, NULL, NULL);
}
