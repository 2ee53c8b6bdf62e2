/*
 * What every tensor argument must be: the rules of poslabel/tensor.h.
 *
 * Tried on one operation that reads and one that writes in place; all operations share the code that checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

static poslabel_context *context;
static loss_case good;

static int begin(void **state)
{
    (void)state;
    const int64_t leading[] = {2, 3};
    context = context_default();
    good = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 8}, dtype_f32, 2, leading, (layout){0},
                         POSLABEL_REDUCTION_MEAN, 71);
    return 0;
}

static int end(void **state)
{
    (void)state;
    loss_answer answer = loss_solve(&good);
    expect_ok(context, loss_call(context, &good));
    expect_answer(&good, &answer, 1e-5);
    loss_answer_free(&answer);
    loss_case_free(&good);
    poslabel_context_destroy(context);
    return 0;
}

/* Calls with a descriptor `t`, a changed copy of that of the logits or the gradient, in its place. */
#define WITH(argument, original, change, status, ...)                                                                  \
    do {                                                                                                               \
        poslabel_tensor t = (original)->t;                                                                             \
        poslabel_position_cross_entropy_args args = position_args(&good);                                              \
        change;                                                                                                        \
        args.argument = &t;                                                                                            \
        loss_case_forget_outputs(&good);                                                                               \
        expect_error(context, poslabel_position_cross_entropy(context, &args), (status),                               \
                     "position_cross_entropy: ", #argument, __VA_ARGS__);                                              \
        if (!loss_case_outputs_untouched(&good))                                                                       \
            test_fail("an output was written");                                                                        \
    } while (0)

#define LOGITS(change, status, ...) WITH(logits, good.logits, change, status, __VA_ARGS__)
#define GRAD(change, status, ...) WITH(grad_logits, good.grad, change, status, __VA_ARGS__)

static void ranks_and_shapes(void **state)
{
    (void)state;
    static const int64_t many[70], negative[] = {2, -3, 8}, smaller[] = {2, 3, 7};
    LOGITS(t.ndim = -1, INVALID, " has rank -1");
    LOGITS(t.ndim = INT32_MIN, INVALID, " has rank -2147483648");
    LOGITS((t.ndim = 9, t.shape = many), UNSUPPORTED, " has rank 9", "8");
    LOGITS((t.ndim = 70, t.shape = many), UNSUPPORTED, " has rank 70");
    LOGITS(t.ndim = INT32_MAX, UNSUPPORTED, " has rank 2147483647");
    LOGITS(t.shape = NULL, INVALID, ".shape is NULL");
    LOGITS(t.shape = negative, INVALID, " has size -3 in dimension 1");
    LOGITS(t.ndim = 0, INVALID, " has shape []");
    GRAD(t.ndim = -1, INVALID, " has rank -1");
    GRAD((t.ndim = 1 << 20), UNSUPPORTED, " has rank 1048576");
    GRAD(t.ndim = 2, INVALID, " has shape [2, 3]", "[2, 3, 8]");
    GRAD(t.shape = smaller, INVALID, " has shape [2, 3, 7]", "[2, 3, 8]");
    /* every argument is checked like that */
    WITH(positions, good.positions, t.ndim = -1, INVALID, " has rank -1");
    WITH(mask, good.positions, t.ndim = 100, UNSUPPORTED, " has rank 100");
    WITH(weights, good.grad, t.shape = NULL, INVALID, ".shape is NULL");
    WITH(loss, good.loss, t.ndim = -7, INVALID, " has rank -7");
    WITH(accuracy, good.accuracy, t.ndim = -7, INVALID, " has rank -7");
    WITH(weight_sum, good.weight_sum, t.ndim = 1000, UNSUPPORTED, " has rank 1000");
    WITH(flags, good.flags, t.ndim = -7, INVALID, " has rank -7");
    WITH(normalizer, good.weight_sum, t.ndim = -7, INVALID, " has rank -7");
    WITH(grad_loss, good.weight_sum, t.ndim = -7, INVALID, " has rank -7");
    WITH(grad_loss, good.weight_sum, t.ndim = 1000, UNSUPPORTED, " has rank 1000");
}

static void dtypes(void **state)
{
    (void)state;
    static const struct {
        poslabel_dtype dtype;
        const char *text;
    } unknown[] = {{{POSLABEL_CODE_FLOAT, 32, 2}, "{code 2, bits 32, lanes 2}"},
                   {{POSLABEL_CODE_FLOAT, 32, 0}, "{code 2, bits 32, lanes 0}"},
                   {{POSLABEL_CODE_FLOAT, 128, 1}, "float128"},
                   {{POSLABEL_CODE_FLOAT, 0, 1}, "{code 2, bits 0, lanes 1}"},
                   {{POSLABEL_CODE_BFLOAT, 32, 1}, "bfloat32"},
                   {{POSLABEL_CODE_INT, 8, 1}, "int8,"},
                   {{POSLABEL_CODE_INT, 16, 1}, "int16"},
                   {{POSLABEL_CODE_INT, 5, 1}, "{code 0, bits 5, lanes 1}"},
                   {{POSLABEL_CODE_UINT, 16, 1}, "uint16"},
                   {{POSLABEL_CODE_UINT, 32, 1}, "uint32"},
                   {{POSLABEL_CODE_UINT, 64, 1}, "uint64"},
                   {{3, 64, 1}, "{code 3, bits 64, lanes 1}"},
                   {{5, 64, 1}, "complex64"},
                   {{5, 128, 1}, "complex128"},
                   {{7, 8, 1}, "float8_e3m4"},
                   {{10, 8, 1}, "float8_e4m3fn,"},
                   {{10, 16, 1}, "{code 10, bits 16, lanes 1}"},
                   {{12, 8, 1}, "float8_e5m2,"},
                   {{17, 4, 1}, "float4_e2m1fn"},
                   {{17, 4, 2}, "{code 17, bits 4, lanes 2}"},
                   {{18, 8, 1}, "{code 18, bits 8, lanes 1}"},
                   {{255, 255, 65535}, "{code 255, bits 255, lanes 65535}"},
                   {{POSLABEL_CODE_BOOL, 1, 1}, "{code 6, bits 1, lanes 1}"}};
    for (int i = 0; i < COUNT(unknown); i++) {
        LOGITS(t.dtype = unknown[i].dtype, INVALID, " has dtype ", unknown[i].text, "float16");
        GRAD(t.dtype = unknown[i].dtype, INVALID, " has dtype ", unknown[i].text);
        WITH(positions, good.positions, t.dtype = unknown[i].dtype, INVALID, " has dtype ", unknown[i].text, "int32");
    }
    WITH(mask, good.positions, t.dtype = unknown[0].dtype, INVALID, " has dtype {code 2, bits 32, lanes 2}", "bool");
}

static void devices(void **state)
{
    (void)state;
    LOGITS(t.device.type = POSLABEL_DEVICE_CUDA, INVALID, " is on device", "2");
    LOGITS(t.device.type = 0, INVALID, " is on device");
    LOGITS(t.device.type = 99, INVALID, " is on device", "99");
    GRAD(t.device.type = -1, INVALID, " is on device");
    WITH(loss, good.loss, t.device.type = POSLABEL_DEVICE_CUDA, INVALID, " is on device");
    WITH(grad_loss, good.weight_sum, t.device.type = 3, INVALID, " is on device");

    /* the ordinal of a CPU means nothing: some frameworks write 0, some -1 */
    poslabel_tensor t = good.logits->t;
    t.device.id = -1;
    poslabel_position_cross_entropy_args args = position_args(&good);
    args.logits = &t;
    expect_ok(context, poslabel_position_cross_entropy(context, &args));
}

static void addresses(void **state)
{
    (void)state;
    LOGITS(t.data = NULL, INVALID, ".data is NULL");
    GRAD(t.data = NULL, INVALID, ".data is NULL");
    WITH(positions, good.positions, t.data = NULL, INVALID, ".data is NULL");
    WITH(loss, good.loss, t.data = NULL, INVALID, ".data is NULL");
    WITH(flags, good.flags, t.data = NULL, INVALID, ".data is NULL");
    WITH(normalizer, good.flags, (t.data = NULL, t.dtype = dtype_f32), INVALID, ".data is NULL");
    for (uint64_t by = 1; by < 4; by++) {
        LOGITS(t.byte_offset = by, INVALID, " is at address", "aligned", "4 bytes");
        GRAD(t.data = (char *)t.data - by, INVALID, " is at address");
    }
    WITH(positions, good.positions, t.data = (char *)t.data - 4, INVALID, " is at address", "8 bytes");
    WITH(flags, good.flags, t.byte_offset = 2, INVALID, " is at address");
}

static void strides(void **state)
{
    (void)state;
    static const int64_t apart[] = {48, 16, 2}, backwards[] = {24, -8, 1}, backwards_last[] = {24, 8, -1};
    static const int64_t expanded[] = {24, 0, 1}, shared[] = {23, 8, 1}, twice[] = {8, 8, 1};
    char *const room = calloc(4, 1 << 16);
    LOGITS((t.data = room, t.strides = apart), UNSUPPORTED, " has stride 2 in its last dimension", "contiguous");
    LOGITS((t.data = room + 4096, t.strides = backwards), UNSUPPORTED, " has stride -8 in dimension 1", "negative");
    LOGITS((t.data = room + 4096, t.strides = backwards_last), UNSUPPORTED, " has stride -1 in dimension 2");
    GRAD((t.data = room, t.strides = apart), UNSUPPORTED, " has stride 2 in its last dimension");
    GRAD((t.data = room + 4096, t.strides = backwards), UNSUPPORTED, " has stride -8 in dimension 1");
    GRAD((t.data = room, t.strides = expanded), INVALID, " has strides by which its elements share memory");
    GRAD((t.data = room, t.strides = shared), INVALID, " has strides by which its elements share memory");
    GRAD((t.data = room, t.strides = twice), INVALID, " has strides by which its elements share memory");
    for (int i = 0; i < 4 << 16; i++)
        assert_int_equal(room[i], 0);
    free(room);
}

/* Rows in three levels of strides do not fold; in two they do, whatever their order. */
static void folding(void **state)
{
    (void)state;
    const int64_t leading[] = {2, 3, 2};
    loss_case c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 8}, dtype_f32, 3, leading, (layout){0},
                                POSLABEL_REDUCTION_SUM, 72);
    char *const room = calloc(4, 4096);
    static const int64_t three[] = {200, 32, 9, 1}, two[] = {200, 18, 9, 1}, other[] = {9, 40, 20, 1},
                         padded[] = {54, 18, 9, 1};
    poslabel_tensor t = c.logits->t;
    poslabel_position_cross_entropy_args args = position_args(&c);
    args.logits = &t;
    args.loss = NULL;
    t.data = room;
    t.strides = three;
    expect_error(context, poslabel_position_cross_entropy(context, &args), UNSUPPORTED,
                 "logits has strides that do not fold");
    assert_true(tensor_is_untouched(c.grad));
    t.strides = two;
    expect_ok(context, poslabel_position_cross_entropy(context, &args));
    t.strides = other;
    expect_ok(context, poslabel_position_cross_entropy(context, &args));
    t.strides = padded;
    expect_ok(context, poslabel_position_cross_entropy(context, &args));
    t = c.grad->t;
    t.data = room;
    args.logits = &c.logits->t;
    args.grad_logits = &t;
    t.strides = three;
    expect_error(context, poslabel_position_cross_entropy(context, &args), UNSUPPORTED,
                 "grad_logits has strides that do not fold");
    t.strides = two;
    expect_ok(context, poslabel_position_cross_entropy(context, &args));
    t.strides = other;
    expect_ok(context, poslabel_position_cross_entropy(context, &args));

    /* one value a row folds like a row */
    tensor *weights = tensor_new(dtype_f32, 3, leading);
    tensor_fill(weights, 1);
    poslabel_tensor w = weights->t;
    static const int64_t scattered[] = {100, 10, 3}, pairs[] = {100, 10, 5};
    w.data = memset(room, 0, 4096);
    w.strides = scattered;
    args = position_args(&c);
    args.weights = &w;
    expect_error(context, poslabel_position_cross_entropy(context, &args), UNSUPPORTED,
                 "weights has strides that do not fold");
    w.strides = pairs;
    expect_ok(context, poslabel_position_cross_entropy(context, &args));
    tensor_free(weights);
    free(room);
    loss_case_free(&c);
}

static void sizes_that_overflow(void **state)
{
    (void)state;
    static const int64_t huge[] = {INT64_MAX, INT64_MAX, 8}, large[] = {(int64_t)1 << 40, (int64_t)1 << 40, 8};
    static const int64_t edge[] = {1, INT64_MAX / 8, 8}, empty[] = {0, INT64_MAX, 8}, small[] = {2, 3, 8};
    static const int64_t far[] = {INT64_MAX, 8, 1}, far_too[] = {(int64_t)1 << 60, (int64_t)1 << 60, 1};
    LOGITS((t.shape = huge, args.grad_logits = NULL), INVALID, "size overflows");
    LOGITS((t.shape = large, args.grad_logits = NULL), INVALID, "size overflows");
    LOGITS((t.shape = edge, args.grad_logits = NULL), INVALID, "size overflows");
    LOGITS((t.shape = small, t.strides = far), INVALID, "size overflows");
    LOGITS((t.shape = small, t.strides = far_too), INVALID, "size overflows");
    GRAD(t.strides = far, INVALID, "size overflows");
    GRAD(t.strides = far_too, INVALID, "size overflows");

    /* nothing in it, but a product that cannot be formed */
    static const int64_t nothing[] = {0, 3, 8}, nowhere[] = {INT64_MAX, INT64_MAX, 0, 8};
    poslabel_tensor t = good.logits->t;
    poslabel_position_cross_entropy_args args = position_args(&good);
    args.logits = &t;
    args.grad_logits = NULL;
    args.positions = NULL;
    args.labels = POSLABEL_LABELS_ABSOLUTE;
    args.grid = (poslabel_grid){1, 8};
    t.shape = nothing;
    const int64_t rows[] = {0, 8, 8};
    t.shape = rows;
    expect_ok(context, poslabel_position_cross_entropy(context, &args));
    t.shape = empty;
    (void)poslabel_position_cross_entropy(context, &args); /* either answer will do; it must not crash */
    t.ndim = 4;
    t.shape = nowhere;
    (void)poslabel_position_cross_entropy(context, &args);
}

/* Dimensions of size 1 may have any stride, and a tensor without elements any at all. */
static void strides_that_do_not_matter(void **state)
{
    (void)state;
    const int64_t leading[] = {1, 5}, odd[] = {-7, 8, 1}, strange[] = {INT64_MIN, 8, 1};
    loss_case c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 8}, dtype_f32, 2, leading, (layout){0},
                                POSLABEL_REDUCTION_MEAN, 3);
    loss_answer answer = loss_solve(&c);
    c.logits->t.strides = odd;
    c.grad->t.strides = strange;
    expect_ok(context, loss_call(context, &c));
    expect_answer(&c, &answer, 1e-5);
    loss_answer_free(&answer);
    loss_case_free(&c);

    /* a single class: the last dimension has size 1 */
    const int64_t rows = 6, one_class[] = {1, 77};
    c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 1}, dtype_f32, 1, &rows, (layout){0}, POSLABEL_REDUCTION_MEAN,
                      3);
    c.logits->t.strides = c.grad->t.strides = one_class;
    expect_ok(context, loss_call(context, &c));
    expect_number("loss", tensor_get(c.loss, 0), 0, 0);
    loss_case_free(&c);

    const int64_t none[] = {0, 5}, negative[] = {-1, -1, -1};
    c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 8}, dtype_f32, 2, none, (layout){0}, POSLABEL_REDUCTION_MEAN,
                      3);
    c.logits->t.strides = c.grad->t.strides = negative;
    c.logits->t.data = c.grad->t.data = NULL;
    expect_ok(context, loss_call(context, &c));
    loss_case_free(&c);
}

/* byte_offset moves the data, as the consumers of DLPack do it. */
static void byte_offsets(void **state)
{
    (void)state;
    const int64_t rows = 6;
    loss_case c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 8}, dtype_f32, 1, &rows,
                                (layout){.byte_offset = 4096}, POSLABEL_REDUCTION_MEAN, 3);
    tensor *const moved[] = {c.positions, c.loss, c.flags};
    for (int i = 0; i < COUNT(moved); i++) {
        moved[i]->t.data = (char *)moved[i]->t.data - 64;
        moved[i]->t.byte_offset += 64;
    }
    loss_answer answer = loss_solve(&c);
    expect_ok(context, loss_call(context, &c));
    expect_answer(&c, &answer, 1e-5);
    loss_answer_free(&answer);
    loss_case_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranks_and_shapes, begin, end),
        cmocka_unit_test_setup_teardown(dtypes, begin, end),
        cmocka_unit_test_setup_teardown(devices, begin, end),
        cmocka_unit_test_setup_teardown(addresses, begin, end),
        cmocka_unit_test_setup_teardown(strides, begin, end),
        cmocka_unit_test_setup_teardown(folding, begin, end),
        cmocka_unit_test_setup_teardown(sizes_that_overflow, begin, end),
        cmocka_unit_test_setup_teardown(strides_that_do_not_matter, begin, end),
        cmocka_unit_test_setup_teardown(byte_offsets, begin, end),
    };
    return cmocka_run_group_tests_name("tensors", tests, NULL, NULL);
}
