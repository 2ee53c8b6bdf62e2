/*
 * The binary interface: layouts, pinned numbers, older and newer callers.
 *
 * What symbols the library exports, that the records of layouts have all fields, and the ABI dump, are looked at by the
 * scripts in tests/abi/.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

typedef struct field {
    const char *type, *name; /* no name: the size of the type */
    size_t is, want;
} field;

static const field fields[] = {
#define SIZE(type, bytes) {#type, NULL, sizeof(type), bytes},
#define FIELD(type, name, offset) {#type, #name, offsetof(type, name), offset},
#include "abi/layout.inc.h"
};

/* Each operation has a record of its args struct; without one, size_of_poslabel_<name>_args is not declared. */
enum {
#define SIZE(type, bytes) size_of_##type = bytes,
#define FIELD(type, name, offset)
#include "abi/layout.inc.h"
#define PLB_OPERATION(name, NAME, job) record_of_##name = size_of_poslabel_##name##_args,
#include "operations.def"
};

static void layouts(void **state)
{
    (void)state;
    if (sizeof(void *) != 8 || sizeof(size_t) != 8)
        skip();
    for (int i = 0; i < COUNT(fields); i++)
        if (fields[i].is != fields[i].want)
            test_fail("%s%s%s is %zu, must be %zu for ever", fields[i].type, fields[i].name ? "." : "",
                      fields[i].name ? fields[i].name : " has a size that", fields[i].is, fields[i].want);
}

static void pinned_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        long is, want;
    } numbers[] = {
#define PIN(name, value) {#name, (long)name, value}
        PIN(POSLABEL_OK, 0),
        PIN(POSLABEL_ERROR_INVALID, 100),
        PIN(POSLABEL_ERROR_UNSUPPORTED, 200),
        PIN(POSLABEL_ERROR_MEMORY, 300),
        PIN(POSLABEL_ERROR_DEVICE, 400),
        PIN(POSLABEL_ERROR_INTERNAL, 500),
        PIN(POSLABEL_ISA_AUTO, 0),
        PIN(POSLABEL_ISA_REFERENCE, 10),
        PIN(POSLABEL_ISA_BASELINE, 20),
        PIN(POSLABEL_ISA_AVX2, 30),
        PIN(POSLABEL_ISA_AVX512, 40),
        PIN(POSLABEL_LOG_ERROR, 10),
        PIN(POSLABEL_LOG_INFO, 30),
        PIN(POSLABEL_DEVICE_CPU, 1),
        PIN(POSLABEL_DEVICE_CUDA, 2),
        PIN(POSLABEL_CODE_INT, 0),
        PIN(POSLABEL_CODE_UINT, 1),
        PIN(POSLABEL_CODE_FLOAT, 2),
        PIN(POSLABEL_CODE_BFLOAT, 4),
        PIN(POSLABEL_CODE_BOOL, 6),
        PIN(POSLABEL_REDUCTION_MEAN, 0),
        PIN(POSLABEL_REDUCTION_SUM, 1),
        PIN(POSLABEL_REDUCTION_NONE, 2),
        PIN(POSLABEL_REGRESSION_L1, 0),
        PIN(POSLABEL_REGRESSION_SMOOTH_L1, 1),
        PIN(POSLABEL_REGRESSION_MSE, 2),
        PIN(POSLABEL_LOSS_EMPTY, 1),
        PIN(POSLABEL_AXIS_LOSS_CROSS_ENTROPY, 0),
        PIN(POSLABEL_AXIS_LOSS_CYCLE_BACK, 1),
        PIN(POSLABEL_LABELS_ABSOLUTE, 0),
        PIN(POSLABEL_LABELS_RELATIVE, 1),
        PIN(POSLABEL_LABELS_EXPLICIT, 2),
        PIN(POSLABEL_NORMALIZATION_ROW, 0),
        PIN(POSLABEL_NORMALIZATION_REFERENCE, 1),
        PIN(POSLABEL_PATCH_MASK_RANDOM, 0),
        PIN(POSLABEL_PATCH_MASK_REGULAR, 1),
        PIN(POSLABEL_PATCH_MASK_BLOCK, 2),
        PIN(POSLABEL_PAIRS_RANDOM, 0),
        PIN(POSLABEL_PAIRS_ALL, 1),
        PIN(POSLABEL_STREAM_PATCH_MASK, 1),
        PIN(POSLABEL_STREAM_POSITION_MASK, 2),
        PIN(POSLABEL_STREAM_SHUFFLE, 3),
        PIN(POSLABEL_STREAM_REGULAR_MASK, 4),
        PIN(POSLABEL_STREAM_BLOCK_MASK, 5),
        PIN(POSLABEL_STREAM_CELL_PAIRS, 6),
    };
    for (int i = 0; i < COUNT(numbers); i++)
        if (numbers[i].is != numbers[i].want)
            test_fail("%s is %ld, must be %ld for ever", numbers[i].name, numbers[i].is, numbers[i].want);
    assert_int_equal(sizeof(poslabel_status), 4);
    assert_int_equal(sizeof(poslabel_isa), 4);
    assert_int_equal(sizeof(poslabel_device_type), 4);
}

/* Memory for a struct: aligned like one, and as close to the unreadable page as that allows. */
static guard guard_at_end(size_t size)
{
    return guard_new(size, GUARD_END, -size & 7);
}

/* What a call with these args gives: status, message, outputs. */
typedef struct outcome {
    poslabel_status status;
    char message[512];
    unsigned char *outputs;
    size_t size;
} outcome;

static outcome outcome_of(operation *op, const void *args)
{
    poslabel_context *context = context_default();
    outcome o;
    operation_reset(op);
    o.status = op->call(context, args);
    snprintf(o.message, sizeof o.message, "%s", poslabel_context_message(context));
    o.outputs = operation_outputs(op, &o.size);
    poslabel_context_destroy(context);
    return o;
}

static void expect_same_outcome(const outcome *got, const outcome *want)
{
    if (got->status != want->status)
        test_fail("status %d (\"%s\"), want %d (\"%s\")", (int)got->status, got->message, (int)want->status,
                  want->message);
    assert_string_equal(got->message, want->message);
    expect_same_bits("outputs", got->outputs, want->outputs, want->size, 1);
}

/*
 * A struct of an older caller, cut before any of its fields: the call is the one with the defaults in the fields that
 * are missing.  It ends at an unreadable page, so a read past its end would be fatal.
 */
static void older_callers(void **state)
{
    (void)state;
    for (int number = 0; number < operation_count(); number++) {
        operation op;
        char type[128];
        operation_new(&op, number, 3);
        snprintf(type, sizeof type, "poslabel_%s_args", op.name);
        int cuts = 0;
        for (int i = 0; i < COUNT(fields); i++) {
            const size_t size = fields[i].is;
            if (strcmp(fields[i].type, type) || !fields[i].name || size == 0)
                continue;
            test_case_is("%s, %s, cut before %s", op.name, op.variant, fields[i].name);
            guard cut = guard_at_end(size), full = guard_at_end(op.args_size);
            memcpy(cut.data, &op.args, size);
            memcpy(cut.data, &size, sizeof size);
            memcpy(full.data, op.init, op.args_size);
            memcpy(full.data, &op.args, size);
            guard_read_only(&cut, true);
            outcome got = outcome_of(&op, cut.data), want = outcome_of(&op, full.data);
            expect_same_outcome(&got, &want);
            cuts++;
            free(got.outputs);
            free(want.outputs);
            guard_free(&cut);
            guard_free(&full);
        }
        for (size_t size = 0; size < 8; size++) { /* too short for struct_size itself */
            memcpy(&op.args, &size, sizeof size);
            outcome got = outcome_of(&op, &op.args);
            assert_int_equal(got.status, POSLABEL_ERROR_INVALID);
            free(got.outputs);
        }
        assert_true(cuts >= 2);
        operation_free(&op);
    }
    test_case_is("%s", "");
}

/* A struct of a newer caller: what this library does not know must be zero. */
static void newer_callers(void **state)
{
    (void)state;
    for (int number = 0; number < operation_count(); number++) {
        operation op;
        operation_new(&op, number, 3);
        outcome want = outcome_of(&op, &op.args);
        assert_int_equal(want.status, POSLABEL_OK);
        static const size_t more[] = {1, 4, 8, 16, 1000};
        for (int i = 0; i < COUNT(more); i++) {
            const size_t size = op.args_size + more[i];
            guard newer = guard_at_end(size);
            memset(newer.data, 0, size);
            memcpy(newer.data, &op.args, op.args_size);
            memcpy(newer.data, &size, sizeof size);
            test_case_is("%s, %zu bytes more", op.name, more[i]);
            outcome got = outcome_of(&op, newer.data);
            expect_same_outcome(&got, &want);
            free(got.outputs);
            for (size_t at = 0; at<more[i]; at += more[i]> 16 ? 333 : 1) {
                char byte[32], *const unknown = (char *)newer.data + op.args_size + at;
                *unknown = 1;
                snprintf(byte, sizeof byte, "byte %zu ", op.args_size + at);
                got = outcome_of(&op, newer.data);
                assert_int_equal(got.status, POSLABEL_ERROR_UNSUPPORTED);
                if (!strstr(got.message, op.name) || !strstr(got.message, byte))
                    test_fail("the message is \"%s\"", got.message);
                assert_true(operation_is_untouched(&op));
                free(got.outputs);
                *unknown = 0;
            }
            guard_free(&newer);
        }
        free(want.outputs);
        operation_free(&op);
    }
    test_case_is("%s", "");
}

static void older_and_newer_options(void **state)
{
    (void)state;
    char message[256];
    poslabel_context *context;
    const poslabel_context_options init = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context_options set = init;
    set.threads = 3;
    set.isa = POSLABEL_ISA_BASELINE;
    for (int i = 0; i < COUNT(fields); i++) {
        const size_t size = fields[i].is;
        if (strcmp(fields[i].type, "poslabel_context_options") || !fields[i].name || size == 0)
            continue;
        guard cut = guard_at_end(size);
        memcpy(cut.data, &set, size);
        memcpy(cut.data, &size, sizeof size);
        test_case_is("cut before %s", fields[i].name);
        assert_int_equal(poslabel_context_create(cut.data, &context), POSLABEL_OK);
        if (size > offsetof(poslabel_context_options, isa))
            assert_int_equal(poslabel_context_isa(context), POSLABEL_ISA_BASELINE);
        else
            assert_int_not_equal(poslabel_context_isa(context), POSLABEL_ISA_AUTO);
        poslabel_context_destroy(context);
        guard_free(&cut);
    }
    for (size_t size = 0; size < 8; size++) {
        poslabel_context_options options = init;
        options.struct_size = size;
        assert_int_equal(poslabel_context_create(&options, &context), POSLABEL_ERROR_INVALID);
        assert_null(context);
    }
    const size_t size = sizeof set + 24;
    guard newer = guard_at_end(size);
    set.message = message;
    set.message_size = sizeof message;
    memset(newer.data, 0, size);
    memcpy(newer.data, &set, sizeof set);
    memcpy(newer.data, &size, sizeof size);
    assert_int_equal(poslabel_context_create(newer.data, &context), POSLABEL_OK);
    poslabel_context_destroy(context);
    for (size_t at = sizeof set; at < size; at++) {
        ((char *)newer.data)[at] = 1;
        assert_int_equal(poslabel_context_create(newer.data, &context), POSLABEL_ERROR_UNSUPPORTED);
        assert_null(context);
        assert_non_null(strstr(message, "does not know"));
        ((char *)newer.data)[at] = 0;
    }
    guard_free(&newer);
    test_case_is("%s", "");
}

/* The init macros set the size of the struct and the documented defaults. */
static void defaults(void **state)
{
    (void)state;
    const poslabel_droppos_loss_args droppos = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    assert_true(droppos.sigma == 0 && droppos.grad_scale == 1 && droppos.confidence_filter == 0);
    assert_int_equal(droppos.normalization, POSLABEL_NORMALIZATION_ROW);
    assert_int_equal(droppos.reduction, POSLABEL_REDUCTION_MEAN);
    const poslabel_position_cross_entropy_args position = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    assert_true(position.ignore_index == -100 && position.label_smoothing == 0 && position.grad_scale == 1);
    assert_int_equal(position.labels, POSLABEL_LABELS_ABSOLUTE);
    const poslabel_linear_position_loss_args linear = POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT;
    assert_true(linear.ignore_index == -100 && linear.label_smoothing == 0 && linear.grad_scale == 1);
    assert_true(linear.accumulate == 0 && linear.workspace_limit == 0);
    assert_int_equal(linear.labels, POSLABEL_LABELS_ABSOLUTE);
    const poslabel_random_mask_args random_mask = POSLABEL_RANDOM_MASK_ARGS_INIT;
    const poslabel_block_mask_args block = POSLABEL_BLOCK_MASK_ARGS_INIT;
    const poslabel_droppos_masks_args masks = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    assert_true(random_mask.mask_ratio == 0.75 && block.mask_ratio == 0.75);
    assert_true(masks.mask_ratio == 0.75 && masks.pos_mask_ratio == 0.75 &&
                masks.patch_mask == POSLABEL_PATCH_MASK_RANDOM);
    const poslabel_attentive_weights_args attention = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
    assert_true(attention.temperature == 0.1);
    for (int number = 0; number < operation_count(); number++) {
        operation op;
        operation_new(&op, number, 1);
        assert_int_equal(*(const size_t *)op.init, op.args_size);
        operation_free(&op);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts),
        cmocka_unit_test(pinned_numbers),
        cmocka_unit_test(older_callers),
        cmocka_unit_test(newer_callers),
        cmocka_unit_test(older_and_newer_options),
        cmocka_unit_test(defaults),
    };
    return cmocka_run_group_tests_name("abi", tests, NULL, NULL);
}
