/*
 * Calls captured in CUDA graphs.
 *
 * A captured call allocates nothing and waits for nothing: the runtime, and the emulation, refuse both while a stream
 * is being captured and spoil the capture.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cuda.h"
#include "support/linear.h"
#include "support/test.h"

#define INVALID POSLABEL_ERROR_INVALID

static poslabel_context *context_on(void *stream)
{
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context;
    options.device = test_device();
    options.stream = stream;
    assert_int_equal(poslabel_context_create(&options, &context), POSLABEL_OK);
    return context;
}

static loss_case case_of(int number, int64_t rows)
{
    static const loss_kind kinds[] = {LOSS_DROPPOS, LOSS_EXPLICIT, LOSS_DROPPOS, LOSS_EXPLICIT, LOSS_DROPPOS};
    static const int reductions[] = {POSLABEL_REDUCTION_MEAN, POSLABEL_REDUCTION_MEAN, POSLABEL_REDUCTION_SUM,
                                     POSLABEL_REDUCTION_NONE, POSLABEL_REDUCTION_MEAN};
    const poslabel_grid grid = number == 4 ? (poslabel_grid){60, 70} : (poslabel_grid){6, 7}; /* a table in workspace */
    loss_case c = loss_case_new(kinds[number], grid, dtype_f32, 1, &rows, (layout){0}, reductions[number], 1);
    c.sigma = 1.2;
    if (number == 1 || number == 2)
        loss_case_add_mask(&c, dtype_u8, 2);
    c.confidence_filter = number == 2;
    return c;
}
enum { CASES = 5 };

/* What a capture leaves: a graph that can be launched. */
static void *end_capture(void *stream)
{
    void *graph = NULL, *executable = NULL;
    cuda_ok(cuda()->end_capture(stream, &graph));
    cuda_ok(cuda()->instantiate(&executable, graph, 0));
    cuda_ok(cuda()->destroy_graph(graph));
    return executable;
}

static void replays(unsigned flags, bool is_deferred)
{
    for (int number = 0; number < CASES; number++) {
        void *const stream = cuda_stream_new(flags);
        poslabel_context *const context = context_on(stream), *const direct = context_on(NULL);
        loss_case c = case_of(number, number == 4 ? 3 : 70), same = case_of(number, number == 4 ? 3 : 70);
        test_case_is("case %d, flags %u", number, flags);
        expect_ok(context, loss_call(context, &c)); /* takes the workspace */
        long allocations = 0, launches = 0;
        if (test_on_emulation()) {
            emulation()->defer(is_deferred);
            allocations = emulation()->live_allocations();
            launches = emulation()->launches();
        }
        loss_case_forget_outputs(&c);
        cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
        assert_int_equal(loss_call(context, &c), POSLABEL_OK);
        void *const graph = end_capture(stream);
        assert_true(loss_case_outputs_untouched(&c)); /* recorded, not run */
        if (test_on_emulation()) {
            assert_int_equal(emulation()->live_allocations(), allocations);
            assert_int_equal(emulation()->launches(), launches);
        }
        for (uint64_t round = 0; round < 3; round++) {
            tensor_fill_normal(c.logits, 10 + round, 3);
            tensor_fill_normal(same.logits, 10 + round, 3);
            tensor_fill_below(c.positions, 20 + round, loss_classes(&c));
            tensor_fill_below(same.positions, 20 + round, loss_classes(&c));
            loss_case_forget_outputs(&c);
            cuda_ok(cuda()->launch(graph, stream));
            if (is_deferred)
                assert_true(loss_case_outputs_untouched(&c));
            expect_ok(context, poslabel_context_synchronize(context));
            expect_ok(direct, loss_call(direct, &same));
            expect_same_tensor("grad", c.grad, same.grad);
            expect_same_tensor("loss", c.loss, same.loss);
            expect_same_tensor("accuracy", c.accuracy, same.accuracy);
            expect_same_tensor("weight_sum", c.weight_sum, same.weight_sum);
            expect_same_tensor("flags", c.flags, same.flags);
        }
        cuda_ok(cuda()->destroy_executable(graph));
        loss_case_free(&c);
        loss_case_free(&same);
        poslabel_context_destroy(context);
        poslabel_context_destroy(direct);
        cuda_ok(cuda()->stream_destroy(stream));
    }
    test_case_is("%s", "");
}

static void replays_are_calls(void **state)
{
    (void)state;
    (void)cuda();
    replays(CUDA_NON_BLOCKING, false);
    replays(CUDA_BLOCKING, false);
    if (test_on_emulation())
        replays(CUDA_NON_BLOCKING, true);
}

/* Each operation, and that a call only queues: its graph gives the bits of the call, however often. */
static void every_operation(void **state)
{
    (void)state;
    (void)cuda();
    for (int number = 0; number < operation_count(); number++) {
        void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
        poslabel_context *const context = context_on(stream);
        operation op;
        size_t size;
        operation_new(&op, number, 30);
        test_case_is("%s %s", op.name, op.variant);
        expect_ok(context, operation_call(context, &op));
        unsigned char *const want = operation_outputs(&op, &size);
        if (op.backends) { /* else it is done on the host */
            operation_reset(&op);
            cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
            if (operation_call(context, &op) != POSLABEL_OK)
                test_fail("%s", poslabel_context_message(context));
            void *const graph = end_capture(stream);
            assert_true(operation_is_untouched(&op));
            for (int round = 0; round < 2; round++) {
                operation_reset(&op);
                cuda_ok(cuda()->launch(graph, stream));
                expect_ok(context, poslabel_context_synchronize(context));
                unsigned char *const got = operation_outputs(&op, &size);
                expect_same_bits("outputs", got, want, size, 1);
                free(got);
            }
            cuda_ok(cuda()->destroy_executable(graph));
        }
        free(want);
        operation_free(&op);
        poslabel_context_destroy(context);
        cuda_ok(cuda()->stream_destroy(stream));
    }
    test_case_is("%s", "");
}

/* The call whose variant takes scalars, by name. */
static int number_of(const char *name, const char *variant)
{
    for (int number = operation_number(name);; number++) {
        operation op;
        operation_new(&op, number, 1);
        const bool found = !strcmp(op.variant, variant);
        assert_string_equal(op.name, name);
        operation_free(&op);
        if (found)
            return number;
    }
}

/* One capture, of a first call, with a workspace of its own: each replay reads the scalars as they are then. */
static void replay_with_scalars(const char *name, const char *variant, int scalar, const double values[3])
{
    void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
    poslabel_context *const context = context_on(stream), *const direct = context_on(NULL);
    operation op;
    size_t size;
    operation_new(&op, number_of(name, variant), 30);
    poslabel_workspace lent = {NULL, 0};
    *operation_workspace(&op) = &lent;
    expect_ok(context, operation_call(context, &op)); /* asks */
    tensor *const memory = tensor_laid_out(dtype_u8, SHAPE((int64_t)lent.size + 1), (layout){.side = GUARD_BEGIN});
    lent.data = memory->t.data;
    cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
    if (operation_call(context, &op) != POSLABEL_OK)
        test_fail("%s", poslabel_context_message(context));
    void *const graph = end_capture(stream);
    assert_true(operation_is_untouched(&op));
    assert_int_equal(poslabel_context_workspace(context), 0);
    unsigned char *before = NULL;
    for (int round = 0; round < 3; round++) {
        test_case_is("%s, %g", name, values[round]);
        tensor_set(op.inputs[scalar], 0, values[round]);
        operation_reset(&op);
        cuda_ok(cuda()->launch(graph, stream));
        expect_ok(context, poslabel_context_synchronize(context));
        unsigned char *const got = operation_outputs(&op, &size);
        *operation_workspace(&op) = NULL;
        operation_reset(&op);
        expect_ok(direct, operation_call(direct, &op));
        expect_ok(direct, poslabel_context_synchronize(direct));
        unsigned char *const want = operation_outputs(&op, &size);
        expect_same_bits("outputs", got, want, size, 1);
        assert_true(!before || memcmp(before, got, size)); /* another value gives others */
        free(before);
        free(want);
        before = got;
        *operation_workspace(&op) = &lent;
    }
    free(before);
    cuda_ok(cuda()->destroy_executable(graph));
    operation_free(&op);
    tensor_free(memory);
    poslabel_context_destroy(context);
    poslabel_context_destroy(direct);
    cuda_ok(cuda()->stream_destroy(stream));
    test_case_is("%s", "");
}

static void scalars_change_between_replays(void **state)
{
    (void)state;
    (void)cuda();
    replay_with_scalars("droppos_masks", "samples and step", 1, (const double[]){17, 18, 4294967295});
    replay_with_scalars("droppos_loss", "sigma scalar", 3, (const double[]){1.5, 0.5, 0});
    replay_with_scalars("smoothing_map", "sigma scalar", 0, (const double[]){0.8, 0, 3});
}

/* Growth and waiting are refused, say why, and leave the capture as it is. */
static void what_a_capture_refuses(void **state)
{
    (void)state;
    void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
    poslabel_context *const context = context_on(stream);
    loss_case small = case_of(0, 2), large = case_of(4, 2);
    expect_ok(context, loss_call(context, &small));
    const size_t held = poslabel_context_workspace(context);
    assert_true(held > 0);
    loss_case_forget_outputs(&small);
    loss_case_forget_outputs(&large);

    cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
    assert_int_equal(loss_call(context, &large), INVALID);
    const char *message = poslabel_context_message(context), *const hint = "poslabel_context_reserve() with ";
    size_t bytes = 0;
    assert_int_equal(strncmp(message, "droppos_loss: ", 14), 0);
    assert_non_null(strstr(message, hint));
    assert_int_equal(sscanf(strstr(message, hint) + strlen(hint), "%zu bytes", &bytes), 1);
    assert_true(bytes > held);
    assert_int_equal(poslabel_context_reserve(context, held + 1), INVALID);
    assert_non_null(strstr(message = poslabel_context_message(context), "context_reserve: "));
    assert_int_equal(poslabel_context_workspace(context), held);
    assert_int_equal(poslabel_context_synchronize(context), INVALID);
    assert_non_null(strstr(message, "context_synchronize: "));
    assert_non_null(strstr(message, "captured"));
    char why[256] = "";
    poslabel_context *another = NULL;
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    options.device.type = POSLABEL_DEVICE_CUDA;
    options.stream = stream;
    options.message = why;
    options.message_size = sizeof why;
    assert_int_equal(poslabel_context_create(&options, &another), INVALID);
    assert_null(another);
    assert_non_null(strstr(why, "captured"));
    assert_int_equal(poslabel_context_reserve(context, held), POSLABEL_OK); /* which it has */
    assert_int_equal(loss_call(context, &small), POSLABEL_OK);
    void *graph = end_capture(stream);
    cuda_ok(cuda()->launch(graph, stream));
    expect_ok(context, poslabel_context_synchronize(context));
    loss_answer answer = loss_solve(&small);
    expect_answer(&small, &answer, loss_tolerance(dtype_f32));
    loss_answer_free(&answer);
    assert_true(loss_case_outputs_untouched(&large));
    cuda_ok(cuda()->destroy_executable(graph));

    /* The bytes that the message asked for are enough. */
    expect_ok(context, poslabel_context_reserve(context, bytes));
    cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
    assert_int_equal(loss_call(context, &large), POSLABEL_OK);
    graph = end_capture(stream);
    cuda_ok(cuda()->launch(graph, stream));
    expect_ok(context, poslabel_context_synchronize(context));
    answer = loss_solve(&large);
    expect_answer(&large, &answer, loss_tolerance(dtype_f32));
    loss_answer_free(&answer);
    cuda_ok(cuda()->destroy_executable(graph));
    loss_case_free(&small);
    loss_case_free(&large);
    poslabel_context_destroy(context);
    cuda_ok(cuda()->stream_destroy(stream));
}

#ifdef TEST_HAVE_CBLAS
/* cuBLAS allocates when it is opened: refused, and the capture goes on. */
static void a_first_linear_head_is_refused(void **state)
{
    (void)state;
    void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
    poslabel_context *const context = context_on(stream);
    head h = head_of_variant(&head_variants[0], dtype_f32, dtype_f32, (layout){0}, 3);
    expect_ok(context, poslabel_context_reserve(context, 128 << 20));
    loss_case c = case_of(0, 12);
    head_forget_outputs(&h);
    cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
    assert_int_equal(head_call(context, &h), INVALID);
    assert_non_null(strstr(poslabel_context_message(context), "linear_position_loss: "));
    assert_non_null(strstr(poslabel_context_message(context), "make one before"));
    assert_int_equal(loss_call(context, &c), POSLABEL_OK);
    void *const graph = end_capture(stream);
    cuda_ok(cuda()->launch(graph, stream));
    expect_ok(context, poslabel_context_synchronize(context));
    assert_true(head_outputs_untouched(&h));
    expect_ok(context, head_call(context, &h));
    head_answer a = head_solve(&h);
    expect_head(&h, &a);
    head_answer_free(&a);
    cuda_ok(cuda()->destroy_executable(graph));
    loss_case_free(&c);
    head_free(&h);
    poslabel_context_destroy(context);
    cuda_ok(cuda()->stream_destroy(stream));
}

/* In float16 gradients are scaled as their size asks for, which each launch of a graph finds anew. */
static void replays_find_the_scale(void **state)
{
    (void)state;
    const head_variant variant = {.kind = LOSS_EXPLICIT, .grad_scale = 1, .grad_loss = true};
    void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
    poslabel_context *const context = context_on(stream);
    head h = head_of_variant(&variant, dtype_f16, dtype_f32, (layout){0}, 4);
    tensor_free(h.grad_features); /* 16 bits hold no gradients as large and as small as these */
    h.grad_features = NULL;
    expect_ok(context, head_call(context, &h));
    cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
    assert_int_equal(head_call(context, &h), POSLABEL_OK);
    void *const graph = end_capture(stream);
    for (int round = 0; round < 3; round++) {
        tensor_set(h.loss.grad_loss, 0, round == 0 ? 0x1p20 : round == 1 ? 0x1p-30 : 3);
        head_forget_outputs(&h);
        cuda_ok(cuda()->launch(graph, stream));
        expect_ok(context, poslabel_context_synchronize(context));
        test_case_is("grad_loss %g", tensor_get(h.loss.grad_loss, 0));
        head_answer a = head_solve(&h);
        expect_head(&h, &a);
        head_answer_free(&a);
    }
    test_case_is("%s", "");
    cuda_ok(cuda()->destroy_executable(graph));
    head_free(&h);
    poslabel_context_destroy(context);
    cuda_ok(cuda()->stream_destroy(stream));
}
#endif

/* A context moves to a stream that is being captured and back, from any kind of stream; nothing is ordered, nor spoilt.
 */
static void streams_change_around_a_capture(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        void *const stream = cuda_stream_new(way & 1 ? CUDA_BLOCKING : CUDA_NON_BLOCKING);
        void *const before = way & 2 ? cuda_stream_new(CUDA_NON_BLOCKING) : NULL;
        poslabel_context *const context = context_on(before);
        loss_case c = case_of(0, 12);
        test_case_is("from %s stream to a %s one", before ? "another" : "the default",
                     way & 1 ? "blocking" : "non-blocking");
        expect_ok(context, loss_call(context, &c));
        loss_case_forget_outputs(&c);
        cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
        if (poslabel_context_set_stream(context, stream) != POSLABEL_OK)
            test_fail("%s", poslabel_context_message(context));
        assert_int_equal(loss_call(context, &c), POSLABEL_OK);
        if (poslabel_context_set_stream(context, before) != POSLABEL_OK)
            test_fail("%s", poslabel_context_message(context));
        assert_int_equal(cuda()->peek_at_last_error(), 0);
        void *const graph = end_capture(stream);
        assert_true(loss_case_outputs_untouched(&c));
        cuda_ok(cuda()->launch(graph, stream));
        cuda_ok(cuda()->stream_synchronize(stream));
        loss_answer answer = loss_solve(&c);
        expect_answer(&c, &answer, loss_tolerance(dtype_f32));
        loss_answer_free(&answer);
        expect_ok(context, poslabel_context_synchronize(context));
        cuda_ok(cuda()->destroy_executable(graph));
        loss_case_free(&c);
        poslabel_context_destroy(context);
        cuda_ok(cuda()->stream_destroy(stream));
        if (before)
            cuda_ok(cuda()->stream_destroy(before));
    }
    test_case_is("%s", "");
}

/* Each launch of a graph counts anew the values that are not allowed. */
static void replays_report(void **state)
{
    (void)state;
    void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
    poslabel_context *const context = context_on(stream);
    loss_case c = case_of(0, 30);
    expect_ok(context, loss_call(context, &c));
    tensor_set(c.positions, 13, 42);
    cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
    assert_int_equal(loss_call(context, &c), POSLABEL_OK);
    void *const graph = end_capture(stream);
    assert_int_equal(poslabel_context_synchronize(context), POSLABEL_OK);
    for (int launches = 1; launches < 4; launches++) {
        char want[100];
        for (int i = 0; i < launches; i++)
            cuda_ok(cuda()->launch(graph, stream));
        assert_int_equal(poslabel_context_synchronize(context), INVALID);
        snprintf(want, sizeof want, "positions of a loss out of range: %d, the first at index 13", launches);
        assert_non_null(strstr(poslabel_context_message(context), want));
    }
    tensor_set(c.positions, 13, 41);
    cuda_ok(cuda()->launch(graph, stream));
    expect_ok(context, poslabel_context_synchronize(context));
    cuda_ok(cuda()->destroy_executable(graph));
    loss_case_free(&c);
    poslabel_context_destroy(context);
    cuda_ok(cuda()->stream_destroy(stream));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, emulation_begin, emulation_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(replays_are_calls),
        TEST(every_operation),
        TEST(scalars_change_between_replays),
        TEST(what_a_capture_refuses),
#ifdef TEST_HAVE_CBLAS
        TEST(a_first_linear_head_is_refused),
        TEST(replays_find_the_scale),
#endif
        TEST(streams_change_around_a_capture),
        TEST(replays_report),
    };
    return cmocka_run_group_tests_name("cuda_capture", tests, NULL, NULL);
}
