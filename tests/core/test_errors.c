/*
 * Every documented error of the losses, the labels and the schedule, and those that every operation has.
 *
 * Each case changes one thing in arguments that are right.  The status must be the documented one, the message must
 * name the operation, the argument and the value, no output may be touched, and the context must work afterwards.  What
 * is checked alike for every tensor is in test_tensors.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "backend.h"
#include "support/test.h"

static poslabel_context *context;
static loss_case good; /* whose arguments each case starts from */

static const int64_t leading[] = {2, 3};

/* The context still works and gives what it gave before. */
static void check_context_works(void)
{
    loss_answer answer = loss_solve(&good);
    expect_ok(context, loss_call(context, &good));
    expect_answer(&good, &answer, 1e-5);
    loss_answer_free(&answer);
}

static void check_untouched(const char *what)
{
    if (error_came_later())
        loss_case_forget_outputs(&good);
    else if (!loss_case_outputs_untouched(&good))
        test_fail("%s: the call failed, but an output was written", what);
}

#define DROPPOS(change, status, ...)                                                                                   \
    do {                                                                                                               \
        poslabel_droppos_loss_args args = droppos_args(&good);                                                         \
        change;                                                                                                        \
        loss_case_forget_outputs(&good);                                                                               \
        expect_error(context, poslabel_droppos_loss(context, &args), (status), "droppos_loss: ", __VA_ARGS__);         \
        check_untouched(#change);                                                                                      \
    } while (0)

#define POSITION(change, status, ...)                                                                                  \
    do {                                                                                                               \
        poslabel_position_cross_entropy_args args = position_args(&good);                                              \
        change;                                                                                                        \
        loss_case_forget_outputs(&good);                                                                               \
        expect_error(context, poslabel_position_cross_entropy(context, &args), (status),                               \
                     "position_cross_entropy: ", __VA_ARGS__);                                                         \
        check_untouched(#change);                                                                                      \
    } while (0)

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

static void begin(loss_kind kind, poslabel_grid grid, int rank, const int64_t *lead, int reduction)
{
    context = context_default();
    good = loss_case_new(kind, grid, dtype_f32, rank, lead, (layout){0}, reduction, 61);
    good.sigma = 1;
    loss_case_add_weights(&good, dtype_f32, 62);
    tensor_set(good.weights, 0, 1);
    loss_case_add_mask(&good, dtype_u8, 63);
    tensor_fill(good.mask, 1);
}

static void end(void)
{
    check_context_works();
    loss_case_free(&good);
    poslabel_context_destroy(context);
}

static void droppos_parameters(void **state)
{
    (void)state;
    begin(LOSS_DROPPOS, (poslabel_grid){3, 4}, 2, leading, POSLABEL_REDUCTION_MEAN);
    DROPPOS(args.struct_size = 0, INVALID, "struct_size = 0");
    DROPPOS(args.struct_size = 7, INVALID, "struct_size = 7");
    DROPPOS(args.grid.height = 0, INVALID, "grid is 0 x 4");
    DROPPOS(args.grid.width = -4, INVALID, "grid is 3 x -4");
    DROPPOS((args.grid.height = 65536, args.grid.width = 32768), INVALID, "grid is 65536 x 32768", "2^31");
    DROPPOS((args.grid.height = INT32_MAX, args.grid.width = INT32_MAX), INVALID, "grid is 2147483647 x 2147483647");
    DROPPOS((args.grid.height = INT32_MIN, args.grid.width = INT32_MIN), INVALID, "grid is -2147483648 x -2147483648");
    DROPPOS(args.grid.height = 4, INVALID, "logits", "12 classes", "16", "4 x 4");
    DROPPOS(args.sigma = -1, INVALID, "sigma = -1");
    DROPPOS(args.sigma = NAN, INVALID, "sigma = ", "nan");
    DROPPOS(args.sigma = INFINITY, INVALID, "sigma = inf");
    DROPPOS(args.normalization = 2, INVALID, "normalization = 2");
    DROPPOS(args.normalization = -1, INVALID, "normalization = -1");
    DROPPOS(args.confidence_filter = 2, INVALID, "confidence_filter = 2");
    DROPPOS(args.confidence_filter = -1, INVALID, "confidence_filter = -1");
    DROPPOS(args.reduction = 3, INVALID, "reduction = 3");
    DROPPOS(args.reduction = -1, INVALID, "reduction = -1");
    DROPPOS(args.grad_scale = NAN, INVALID, "grad_scale = ", "nan");
    DROPPOS(args.grad_scale = -INFINITY, INVALID, "grad_scale = -inf");
    DROPPOS(args.logits = NULL, INVALID, "logits is NULL");
    DROPPOS(args.positions = NULL, INVALID, "positions is NULL");
    DROPPOS((args.loss = NULL, args.grad_logits = NULL), INVALID, "loss and grad_logits");
    end();
}

static void position_parameters(void **state)
{
    (void)state;
    begin(LOSS_EXPLICIT, (poslabel_grid){3, 4}, 2, leading, POSLABEL_REDUCTION_MEAN);
    POSITION(args.struct_size = 4, INVALID, "struct_size = 4");
    POSITION(args.labels = 3, INVALID, "labels = 3");
    POSITION(args.labels = -1, INVALID, "labels = -1");
    POSITION(args.label_smoothing = -0.1, INVALID, "label_smoothing = -0.1", "[0, 1]");
    POSITION(args.label_smoothing = 1.001, INVALID, "label_smoothing = 1.001");
    POSITION(args.label_smoothing = NAN, INVALID, "label_smoothing = ", "nan");
    POSITION(args.reduction = 77, INVALID, "reduction = 77");
    POSITION(args.grad_scale = INFINITY, INVALID, "grad_scale = inf");
    POSITION(args.logits = NULL, INVALID, "logits is NULL");
    POSITION(args.positions = NULL, INVALID, "positions is NULL");
    POSITION((args.loss = NULL, args.grad_logits = NULL), INVALID, "loss and grad_logits");
    end();

    begin(LOSS_ABSOLUTE, (poslabel_grid){2, 3}, 1, (int64_t[]){12}, POSLABEL_REDUCTION_SUM);
    POSITION(args.grid.width = 0, INVALID, "grid is 2 x 0");
    POSITION(args.grid.width = INT32_MAX, INVALID, "grid is 2 x 2147483647");
    POSITION(args.grid.width = 4, INVALID, "logits have 6 classes", "8", "2 x 4");
    POSITION(args.positions = &good.logits->t, INVALID, "positions");
    const int64_t seven[] = {7, 6};
    poslabel_tensor part = good.logits->t;
    part.shape = seven;
    POSITION((args.logits = &part, args.grad_logits = NULL, args.mask = args.weights = NULL), INVALID, "7 rows",
             "multiple of 6", "2 x 3");
    tensor *positions = tensor_new(dtype_i64, 1, (int64_t[]){12});
    tensor_fill(positions, 1);
    POSITION(args.positions = &positions->t, INVALID, "positions are given");
    tensor_free(positions);
    end();

    begin(LOSS_RELATIVE, (poslabel_grid){2, 3}, 1, (int64_t[]){36}, POSLABEL_REDUCTION_SUM);
    POSITION(args.grid.height = -2, INVALID, "grid is -2 x 3");
    POSITION((args.grid.height = 30000, args.grid.width = 30000), INVALID, "grid is 30000 x 30000", "2^31");
    POSITION(args.grid.width = 4, INVALID, "logits have 15 classes", "21", "2 x 4");
    const int64_t rows[] = {35, 15};
    part = good.logits->t;
    part.shape = rows;
    POSITION((args.logits = &part, args.grad_logits = NULL, args.mask = args.weights = NULL), INVALID, "35 rows",
             "multiple of 36");
    end();
}

/* "droppos_loss: ", as its messages begin. */
static const char *start_of(const operation *op)
{
    static char text[64];
    snprintf(text, sizeof text, "%s: ", op->name);
    return text;
}

static void null_context_and_args(void **state)
{
    (void)state;
    context = context_default();
    for (int number = 0; number < operation_count(); number++) {
        operation op;
        operation_new(&op, number, 1);
        test_case_is("%s", op.name);
        assert_int_equal(op.call(NULL, NULL), INVALID);
        assert_int_equal(op.call(NULL, &op.args), INVALID);
        expect_error(context, op.call(context, NULL), INVALID, start_of(&op), "args is NULL");
        assert_true(operation_is_untouched(&op));
        operation_free(&op);
    }
    test_case_is("%s", "");
    poslabel_context_destroy(context);
}

/*
 * A backend need not have every operation.  This one has none, and each call says so; an operation that needs no backend
 * works all the same.
 */
static void operations_that_a_backend_lacks(void **state)
{
    (void)state;
    context = context_default();
    const plb_backend *const backend = context->backend;
    plb_backend empty = *backend;
#define PLB_JOB(name, job, backends) empty.name = NULL;
#include "operations.def"
    const int supported = operation_count(), all = supported + operation_count_unsupported();
    for (int number = 0; number < all; number++) {
        operation op;
        operation_new(&op, number, 2);
        test_case_is("%s, %s", op.name, op.variant);
        context->backend = number < supported ? &empty : backend;
        if (op.backends) {
            expect_error(context, operation_call(context, &op), UNSUPPORTED, start_of(&op), backend->name,
                         "does not have it");
            assert_true(operation_is_untouched(&op));
        } else {
            expect_ok(context, operation_call(context, &op));
        }
        context->backend = backend;
        operation_reset(&op);
        if (number < supported)
            expect_ok(context, operation_call(context, &op));
        operation_free(&op);
    }
    test_case_is("%s", "");
    poslabel_context_destroy(context);
}

/* Values that only reading the tensors can find; the index is in the message. */
static void values_in_tensors(void **state)
{
    (void)state;
    static const struct {
        int64_t row, value;
        const char *text;
    } ids[] = {{0, -1, "positions[0, 0] = -1"},
               {5, 12, "positions[1, 2] = 12"},
               {4, INT64_MAX, "positions[1, 1] = 9223372036854775807"},
               {2, -100, "positions[0, 2] = -100"},
               {3, (int64_t)1 << 32, "positions[1, 0] = 4294967296"}};
    begin(LOSS_DROPPOS, (poslabel_grid){3, 4}, 2, leading, POSLABEL_REDUCTION_MEAN);
    int64_t *const positions = good.positions->memory.data;
    for (int i = 0; i < COUNT(ids); i++) {
        const int64_t was = positions[ids[i].row];
        positions[ids[i].row] = ids[i].value;
        tensor_set(good.weights, ids[i].row, 1); /* a row that does not count may hold anything */
        for (int reduction = 0; reduction < 3; reduction += 2) {
            tensor *rows = tensor_new(dtype_f32, 2, leading);
            DROPPOS((args.reduction = reduction, args.loss = reduction ? &rows->t : args.loss), INVALID, ids[i].text,
                    "[0, 12)");
            assert_true(error_came_later() || tensor_is_untouched(rows));
            tensor_free(rows);
        }
        DROPPOS(args.sigma = 0, INVALID, ids[i].text);
        DROPPOS(args.confidence_filter = 1, INVALID, ids[i].text);
        positions[ids[i].row] = was;
    }
    static const struct {
        double value;
        const char *text;
    } weights[] = {{-1, "weights[0, 1] = -1"},
                   {-0x1p-140, "weights[0, 1] = -7.17"},
                   {NAN, "weights[0, 1] = "},
                   {INFINITY, "weights[0, 1] = inf"}};
    for (int i = 0; i < COUNT(weights); i++) {
        const double was = tensor_get(good.weights, 1);
        tensor_set(good.weights, 1, weights[i].value);
        DROPPOS((void)0, INVALID, weights[i].text, ">= 0");
        DROPPOS(args.grad_logits = NULL, INVALID, weights[i].text);
        tensor_set(good.weights, 1, was);
    }
    end();

    begin(LOSS_EXPLICIT, (poslabel_grid){1, 7}, 1, (int64_t[]){300}, POSLABEL_REDUCTION_MEAN);
    tensor_set(good.positions, 299, 7);
    tensor_set(good.weights, 299, 1);
    POSITION((void)0, INVALID, "positions[299] = 7", "[0, 7)");
    tensor_set(good.positions, 299, -99); /* next to the ignore_index */
    POSITION((void)0, INVALID, "positions[299] = -99");
    POSITION(args.ignore_index = -1, INVALID, "positions[299] = -99");
    tensor_set(good.positions, 299, -100);
    tensor_set(good.positions, 170, -7); /* the first of two is named */
    tensor_set(good.positions, 280, -8);
    POSITION((void)0, INVALID, "positions[170] = -7");
    tensor_set(good.positions, 170, 1);
    tensor_set(good.positions, 280, 1);
    end();
}

/* In place, a call that fails leaves the logits as they were. */
static void in_place_calls_that_fail(void **state)
{
    (void)state;
    skip_on_cuda(); /* the logits are overwritten by then */
    begin(LOSS_DROPPOS, (poslabel_grid){3, 4}, 2, leading, POSLABEL_REDUCTION_MEAN);
    tensor *before = tensor_copy(good.logits, dtype_f32, (layout){0});
    tensor_set(good.positions, 5, 12);
    DROPPOS(args.grad_logits = args.logits, INVALID, "positions[1, 2] = 12");
    expect_same_tensor("logits", good.logits, before);
    tensor_set(good.positions, 5, 11);
    tensor_set(good.weights, 5, -1);
    DROPPOS(args.grad_logits = args.logits, INVALID, "weights[1, 2] = -1");
    expect_same_tensor("logits", good.logits, before);
    tensor_set(good.weights, 5, 1);
    tensor_free(before);
    end();
}

/* What each tensor of a loss must be: dtype, shape. */
static void tensors_of_a_loss(void **state)
{
    (void)state;
    begin(LOSS_DROPPOS, (poslabel_grid){3, 4}, 2, leading, POSLABEL_REDUCTION_MEAN);
    tensor *halves = tensor_new(dtype_f16, 2, leading), *floats = tensor_new(dtype_f32, 2, leading);
    tensor *ids = tensor_new(dtype_i64, 2, leading), *flat = tensor_new(dtype_i64, 1, (int64_t[]){6});
    tensor *other = tensor_new(dtype_f32, 2, (int64_t[]){3, 2}),
           *cube = tensor_new(dtype_f32, 3, (int64_t[]){2, 3, 12});
    tensor *scalar_f16 = tensor_new(dtype_f16, 0, NULL), *scalar_i64 = tensor_new(dtype_i64, 0, NULL);
    tensor *pair = tensor_new(dtype_f32, 1, (int64_t[]){2}), *pair_i32 = tensor_new(dtype_i32, 1, (int64_t[]){2});
    tensor *one_one = tensor_new(dtype_f32, 2, (int64_t[]){1, 1});
    DROPPOS(args.logits = &ids->t, INVALID, "logits has dtype int64", "float32");
    DROPPOS(args.grad_logits = &halves->t, INVALID, "grad_logits has dtype float16", "float32");
    DROPPOS(args.grad_logits = &floats->t, INVALID, "grad_logits has shape [2, 3]", "[2, 3, 12]");
    DROPPOS(args.positions = &floats->t, INVALID, "positions has dtype float32", "int32", "int64");
    DROPPOS(args.positions = &flat->t, INVALID, "positions has shape [6]", "[2, 3]");
    DROPPOS(args.mask = &other->t, INVALID, "mask has shape [3, 2]", "[2, 3]");
    DROPPOS(args.mask = &cube->t, INVALID, "mask has shape [2, 3, 12]", "[2, 3]");
    DROPPOS(args.weights = &ids->t, INVALID, "weights has dtype int64");
    DROPPOS(args.weights = &other->t, INVALID, "weights has shape [3, 2]", "[2, 3]");
    DROPPOS(args.grad_loss = &scalar_f16->t, INVALID, "grad_loss has dtype float16");
    DROPPOS(args.grad_loss = &pair->t, INVALID, "grad_loss has shape [2]");
    DROPPOS(args.grad_loss = &floats->t, INVALID, "grad_loss has shape [2, 3]"); /* rows only with reduction none */
    DROPPOS(args.grad_loss = &one_one->t, INVALID, "grad_loss has shape [1, 1]");
    DROPPOS(args.normalizer = &scalar_i64->t, INVALID, "normalizer has dtype int64");
    DROPPOS(args.normalizer = &pair->t, INVALID, "normalizer has shape [2]");
    DROPPOS(args.loss = &scalar_f16->t, INVALID, "loss has dtype float16");
    DROPPOS(args.loss = &floats->t, INVALID, "loss has shape [2, 3]");
    DROPPOS((args.reduction = POSLABEL_REDUCTION_NONE), INVALID, "loss has shape []", "[2, 3]");
    DROPPOS((args.reduction = POSLABEL_REDUCTION_NONE, args.loss = &floats->t, args.grad_loss = &other->t), INVALID,
            "grad_loss has shape [3, 2]");
    DROPPOS(args.accuracy = &scalar_f16->t, INVALID, "accuracy has dtype float16");
    DROPPOS(args.accuracy = &pair->t, INVALID, "accuracy has shape [2]");
    DROPPOS(args.weight_sum = &scalar_i64->t, INVALID, "weight_sum has dtype int64");
    DROPPOS(args.weight_sum = &pair->t, INVALID, "weight_sum has shape [2]");
    DROPPOS(args.flags = &scalar_i64->t, INVALID, "flags has dtype int64", "int32");
    DROPPOS(args.flags = &pair_i32->t, INVALID, "flags has shape [2]");
    tensor *const all[] = {halves, floats, ids, flat, other, cube, scalar_f16, scalar_i64, pair, pair_i32, one_one};
    for (int i = 0; i < COUNT(all); i++) {
        assert_true(tensor_is_untouched(all[i]));
        tensor_free(all[i]);
    }
    end();
}

/* Logits without classes, and with more than a label can name. */
static void numbers_of_classes(void **state)
{
    (void)state;
    begin(LOSS_EXPLICIT, (poslabel_grid){1, 7}, 2, leading, POSLABEL_REDUCTION_MEAN);
    poslabel_tensor logits = good.logits->t;
    const int64_t none[] = {2, 3, 0}, many[] = {2, 3, (int64_t)1 << 31};
    logits.shape = none;
    POSITION((args.logits = &logits, args.grad_logits = NULL), INVALID, "logits have 0 classes");
    logits.shape = many; /* not read: the number alone is wrong */
    logits.data = (void *)((uintptr_t)1 << 62); /* as long as these are, they would reach the other tensors */
    POSITION((args.logits = &logits, args.grad_logits = NULL), INVALID, "logits have 2147483648 classes");
    end();
}

/* An output may overlap nothing but what the header allows: the logits, exactly. */
static void overlaps(void **state)
{
    (void)state;
    begin(LOSS_DROPPOS, (poslabel_grid){3, 4}, 2, leading, POSLABEL_REDUCTION_MEAN);
    tensor *before = tensor_copy(good.logits, dtype_f32, (layout){0});
    char *const room = calloc(1, 4096);
    poslabel_tensor logits = good.logits->t, grad = good.grad->t, scalar = good.loss->t, flags = good.flags->t,
                    rows = good.weights->t;
    for (int64_t i = 0; i < 72; i++)
        number_store(room, dtype_f32, (size_t)i, tensor_get(good.logits, i));
    logits.data = room;
    grad.data = room + 4; /* shifted by one element */
    DROPPOS((args.logits = &logits, args.grad_logits = &grad), INVALID, "grad_logits overlaps logits");
    grad.data = room + 71 * 4;
    DROPPOS((args.logits = &logits, args.grad_logits = &grad), INVALID, "grad_logits overlaps logits");
    const int64_t transposed[] = {12, 24, 1};
    grad.data = room; /* the same memory by other strides */
    grad.strides = transposed;
    DROPPOS((args.logits = &logits, args.grad_logits = &grad), INVALID, "grad_logits overlaps logits");
    scalar.data = room + 8;
    DROPPOS((args.logits = &logits, args.loss = &scalar), INVALID, "loss overlaps logits");
    DROPPOS((args.logits = &logits, args.grad_logits = &logits, args.loss = &scalar), INVALID, "loss", "overlaps");
    flags.data = room + 8;
    DROPPOS((args.logits = &logits, args.flags = &flags), INVALID, "flags overlaps logits");
    rows.data = room;
    DROPPOS((args.logits = &logits, args.grad_logits = &logits, args.weights = &rows), INVALID,
            "grad_logits overlaps weights");
    rows.data = good.grad->t.data;
    DROPPOS(args.weights = &rows, INVALID, "grad_logits overlaps weights");
    poslabel_tensor ids = good.positions->t;
    ids.data = good.grad->t.data;
    DROPPOS(args.positions = &ids, INVALID, "grad_logits overlaps positions");
    poslabel_tensor mask = good.mask->t;
    mask.data = good.loss->t.data;
    DROPPOS(args.mask = &mask, INVALID, "loss overlaps mask");
    DROPPOS(args.accuracy = args.loss, INVALID, "overlaps", "loss", "accuracy");
    DROPPOS(args.weight_sum = args.loss, INVALID, "overlaps", "loss", "weight_sum");
    DROPPOS(args.weight_sum = args.accuracy, INVALID, "overlaps", "accuracy", "weight_sum");
    DROPPOS(args.normalizer = args.weight_sum, INVALID, "weight_sum overlaps normalizer");
    DROPPOS(args.grad_loss = args.loss, INVALID, "loss overlaps grad_loss");
    flags.data = good.loss->t.data;
    DROPPOS(args.flags = &flags, INVALID, "overlaps", "loss", "flags");
    flags.data = (char *)good.accuracy->t.data + 4; /* half of a double is enough */
    DROPPOS(args.flags = &flags, INVALID, "overlaps", "accuracy", "flags");
    /* column slices that reach into the next row of the other */
    const int64_t sliced[] = {60, 20, 1};
    for (int64_t at = 1; at < 20; at++) {
        logits.strides = grad.strides = sliced;
        grad.data = room + 4 * at;
        DROPPOS((args.logits = &logits, args.grad_logits = &grad), INVALID, "grad_logits overlaps logits");
    }
    expect_same_tensor("logits", good.logits, before);
    for (int64_t i = 0; i < 72; i++)
        assert_true(number_load(room, dtype_f32, (size_t)i) == tensor_get(before, i));
    free(room);
    tensor_free(before);
    end();
}

static void labels(void **state)
{
    (void)state;
    context = context_default();
    tensor *square = tensor_new(dtype_i64, 2, (int64_t[]){6, 6}), *line = tensor_new(dtype_i32, 1, (int64_t[]){6});
    tensor *floats = tensor_new(dtype_f32, 2, (int64_t[]){6, 6}), *scalar = tensor_new(dtype_i32, 0, NULL);
    poslabel_tensor elsewhere = square->t, map_elsewhere = floats->t;
    elsewhere.device.type = map_elsewhere.device.type = test_other_device();
#define LABELS(name, change, status, ...)                                                                              \
    do {                                                                                                               \
        poslabel_##name##_args args = {sizeof args, {2, 3}, &square->t, NULL};                                               \
        change;                                                                                                        \
        expect_error(context, poslabel_##name(context, &args), (status), #name ": ", __VA_ARGS__);                     \
    } while (0)
    LABELS(absolute_labels, args.struct_size = 1, INVALID, "struct_size = 1");
    LABELS(absolute_labels, args.grid.height = 0, INVALID, "grid is 0 x 3");
    LABELS(absolute_labels, (args.grid.height = args.grid.width = 46341), INVALID, "grid is 46341 x 46341");
    LABELS(absolute_labels, args.labels = NULL, INVALID, "labels is NULL");
    LABELS(absolute_labels, args.labels = &floats->t, INVALID, "labels has dtype float32");
    LABELS(absolute_labels, args.grid.width = 4, INVALID, "labels has shape [6, 6]", "[..., 8]");
    LABELS(absolute_labels, args.labels = &scalar->t, INVALID, "labels has shape []", "[..., 6]");
    LABELS(absolute_labels, args.labels = &elsewhere, INVALID, "labels is on device");
    LABELS(relative_labels, args.struct_size = 1, INVALID, "struct_size = 1");
    LABELS(relative_labels, args.grid.width = -3, INVALID, "grid is 2 x -3");
    LABELS(relative_labels, (args.grid.height = args.grid.width = 23171), INVALID, "grid is 23171 x 23171", "2^31");
    LABELS(relative_labels, args.labels = NULL, INVALID, "labels is NULL");
    LABELS(relative_labels, args.labels = &floats->t, INVALID, "labels has dtype float32");
    LABELS(relative_labels, args.labels = &line->t, INVALID, "labels has shape [6]", "[..., 6, 6]");
    LABELS(relative_labels, args.grid.width = 4, INVALID, "labels has shape [6, 6]", "[..., 8, 8]");
    LABELS(relative_labels, args.labels = &elsewhere, INVALID, "labels is on device");
#define MAP(change, status, ...)                                                                                       \
    do {                                                                                                               \
        poslabel_smoothing_map_args args = POSLABEL_SMOOTHING_MAP_ARGS_INIT;                                           \
        args.grid = (poslabel_grid){2, 3};                                                                             \
        args.map = &floats->t;                                                                                         \
        change;                                                                                                        \
        expect_error(context, poslabel_smoothing_map(context, &args), (status), "smoothing_map: ", __VA_ARGS__);       \
    } while (0)
    MAP(args.struct_size = 3, INVALID, "struct_size = 3");
    MAP(args.grid.height = -1, INVALID, "grid is -1 x 3");
    MAP(args.sigma = -0.5, INVALID, "sigma = -0.5");
    MAP(args.sigma = NAN, INVALID, "sigma = ", "nan");
    MAP(args.sigma = INFINITY, INVALID, "sigma = inf");
    MAP(args.normalization = 5, INVALID, "normalization = 5");
    MAP(args.map = NULL, INVALID, "map is NULL");
    MAP(args.map = &square->t, INVALID, "map has dtype int64");
    MAP(args.grid.width = 4, INVALID, "map has shape [6, 6]", "[8, 8]");
    MAP(args.map = &line->t, INVALID, "map has");
    MAP(args.map = &map_elsewhere, INVALID, "map is on device");
    tensor *const all[] = {square, line, floats, scalar};
    for (int i = 0; i < COUNT(all); i++) {
        assert_true(tensor_is_untouched(all[i]));
        tensor_free(all[i]);
    }
    poslabel_context_destroy(context);
}

static void schedule(void **state)
{
    (void)state;
    context = context_default();
    double sigma = 42;
#define SCHEDULE(change, status, ...)                                                                                  \
    do {                                                                                                               \
        poslabel_sigma_schedule_args args = {sizeof args, 1, 2, 10, &sigma};                                           \
        change;                                                                                                        \
        expect_error(context, poslabel_sigma_schedule(context, &args), (status), "sigma_schedule: ", __VA_ARGS__);     \
        assert_true(sigma == 42);                                                                                      \
    } while (0)
    SCHEDULE(args.sigma = NULL, INVALID, "sigma is NULL");
    SCHEDULE(args.sigma_0 = -1, INVALID, "sigma_0 = -1");
    SCHEDULE(args.sigma_0 = INFINITY, INVALID, "sigma_0 = inf");
    SCHEDULE(args.sigma_0 = NAN, INVALID, "sigma_0 = ", "nan");
    SCHEDULE(args.epoch = -0.5, INVALID, "epoch = -0.5");
    SCHEDULE(args.epoch = NAN, INVALID, "epoch = ", "nan");
    SCHEDULE(args.epoch = INFINITY, INVALID, "epoch = inf");
    SCHEDULE(args.epochs = 0, INVALID, "epochs = 0");
    SCHEDULE(args.epochs = -3, INVALID, "epochs = -3");
    SCHEDULE(args.epochs = INFINITY, INVALID, "epochs = inf");
    SCHEDULE(args.epochs = NAN, INVALID, "epochs = ", "nan");
    SCHEDULE(args.struct_size = 2, INVALID, "struct_size = 2");
    poslabel_context_destroy(context);
}

static void scale_gradient(void **state)
{
    (void)state;
    context = context_default();
    tensor *grad = tensor_new(dtype_f32, 3, (int64_t[]){2, 3, 4}), *factor = tensor_scalar(dtype_f32, 3);
    tensor *half = tensor_scalar(dtype_f16, 3), *ints = tensor_new(dtype_i32, 1, (int64_t[]){4});
    tensor *rows = tensor_new(dtype_f32, 2, (int64_t[]){2, 3}), *wrong = tensor_new(dtype_f32, 2, (int64_t[]){3, 2});
    tensor *six = tensor_new(dtype_f32, 1, (int64_t[]){6});
    tensor_fill(rows, 3);
    const int64_t expanded[] = {4, 0, 1}, apart[] = {24, 8, 2};
#define SCALE(change, status, ...)                                                                                     \
    do {                                                                                                               \
        poslabel_scale_gradient_args args = {sizeof args, &grad->t, &factor->t, NULL};                                 \
        poslabel_tensor other = grad->t;                                                                               \
        change;                                                                                                        \
        (void)other;                                                                                                   \
        expect_error(context, poslabel_scale_gradient(context, &args), (status), "scale_gradient: ", __VA_ARGS__);     \
        assert_true(tensor_is_untouched(grad));                                                                        \
    } while (0)
    SCALE(args.struct_size = 0, INVALID, "struct_size = 0");
    SCALE(args.grad = NULL, INVALID, "grad is NULL");
    SCALE(args.scale = NULL, INVALID, "scale is NULL");
    SCALE(args.grad = &ints->t, INVALID, "grad has dtype int32");
    SCALE(args.scale = &half->t, INVALID, "scale has dtype float16");
    SCALE(args.scale = &wrong->t, INVALID, "scale has shape [3, 2]", "[2, 3]");
    SCALE(args.scale = &six->t, INVALID, "scale has shape [6]");
    SCALE(args.scale = args.grad, INVALID, "scale");
    SCALE((other.device.type = test_other_device(), args.grad = &other), INVALID, "grad is on device");
    SCALE((other = factor->t, other.device.type = test_other_device(), args.scale = &other), INVALID,
          "scale is on device");
    SCALE((other = factor->t, other.data = (char *)grad->t.data + 40, args.scale = &other), INVALID, "overlap", "scale",
          "grad");
    SCALE((other = rows->t, other.data = grad->t.data, args.scale = &other), INVALID, "overlap", "scale", "grad");
    SCALE((other.strides = expanded, args.grad = &other), INVALID, "grad has strides", "share memory");
    SCALE((other.strides = apart, args.grad = &other), UNSUPPORTED, "grad has stride 2 in its last dimension");
    tensor *const all[] = {grad, factor, half, ints, rows, wrong, six};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(droppos_parameters),
        cmocka_unit_test(position_parameters),
        cmocka_unit_test(null_context_and_args),
        cmocka_unit_test(operations_that_a_backend_lacks),
        cmocka_unit_test(values_in_tensors),
        cmocka_unit_test(in_place_calls_that_fail),
        cmocka_unit_test(tensors_of_a_loss),
        cmocka_unit_test(numbers_of_classes),
        cmocka_unit_test(overlaps),
        cmocka_unit_test(labels),
        cmocka_unit_test(schedule),
        cmocka_unit_test(scale_gradient),
    };
    return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
