/*
 * CUDA contexts: options, streams, memory, when work is done, and what is told of it afterwards.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "context.h"
#include "support/cuda.h"
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

static loss_case case_of(int64_t rows, uint64_t seed)
{
    loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){4, 5}, dtype_f32, 1, &rows, (layout){0},
                                POSLABEL_REDUCTION_MEAN, seed);
    c.sigma = 1;
    return c;
}

static void expect_right(const loss_case *c)
{
    loss_answer answer = loss_solve(c);
    expect_answer(c, &answer, loss_tolerance(dtype_f32));
    loss_answer_free(&answer);
}

/* ---- options ---- */

static void options_that_are_wrong(void **state)
{
    (void)state;
    int devices = 0;
    cuda_ok(cuda()->get_device_count(&devices));
    const int numbers[] = {-1, devices, INT32_MAX, INT32_MIN};
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context;
    char message[256], want[64];
    options.device.type = POSLABEL_DEVICE_CUDA;
    options.message = message;
    options.message_size = sizeof message;
    for (int i = 0; i < COUNT(numbers); i++) {
        options.device.id = numbers[i];
        context = (poslabel_context *)&options;
        assert_int_equal(poslabel_context_create(&options, &context), INVALID);
        assert_null(context);
        snprintf(want, sizeof want, "context_create: device id = %d", numbers[i]);
        assert_non_null(strstr(message, want));
    }
    options.device.id = 0;
    for (int i = 0; i < 2; i++) {
        void *(*const allocate)(void *, size_t, void *) = (void *(*)(void *, size_t, void *))(void *)malloc;
        void (*const release)(void *, void *, size_t, void *) = (void (*)(void *, void *, size_t, void *))(void *)free;
        options.device_allocator = (poslabel_device_allocator){NULL, i ? NULL : allocate, i ? release : NULL};
        assert_int_equal(poslabel_context_create(&options, &context), INVALID);
        assert_null(context);
        assert_non_null(strstr(message, "device_allocator"));
    }
}

static void what_a_context_is(void **state)
{
    (void)state;
    (void)cuda();
    poslabel_context *const context = context_on(NULL);
    assert_int_equal(poslabel_context_device(context).type, POSLABEL_DEVICE_CUDA);
    assert_int_equal(poslabel_context_device(context).id, 0);
    assert_int_equal(poslabel_context_workspace(context), 0);
    assert_string_equal(poslabel_context_message(context), "");
    expect_ok(context, poslabel_context_synchronize(context)); /* of nothing */
    poslabel_context_destroy(context);
}

/* ---- memory ---- */

/* A device allocator that keeps books, and is to be called with its device current. */
typedef struct device_memory {
    int allocations, releases, device;
    bool fails;
    size_t size[16];
    void *data[16], *stream[16], *released_on;
} device_memory;

static void *take(void *user, size_t size, void *stream)
{
    device_memory *const memory = user;
    const int i = memory->allocations;
    int current;
    cuda_ok(cuda()->get_device(&current));
    assert_int_equal(current, memory->device);
    if (memory->fails || i == COUNT(memory->data))
        return NULL;
    memory->allocations++;
    memory->size[i] = size;
    memory->stream[i] = stream;
    cuda_ok(cuda()->malloc(&memory->data[i], size));
    return memory->data[i];
}

static void give_back(void *user, void *data, size_t size, void *stream)
{
    device_memory *const memory = user;
    int i = 0, current;
    cuda_ok(cuda()->get_device(&current));
    assert_int_equal(current, memory->device);
    while (i < memory->allocations && memory->data[i] != data)
        i++;
    assert_in_range(i, 0, memory->allocations - 1);
    assert_int_equal(memory->size[i], size);
    memory->data[i] = NULL;
    memory->releases++;
    memory->released_on = stream;
    cuda_ok(cuda()->free(data));
}

static void the_device_allocator(void **state)
{
    (void)state;
    void *const first = cuda_stream_new(CUDA_NON_BLOCKING), *const second = cuda_stream_new(CUDA_NON_BLOCKING);
    device_memory memory = {0};
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context;
    options.device = test_device();
    options.stream = first;
    options.device_allocator = (poslabel_device_allocator){&memory, take, give_back};
    memory.fails = true;
    assert_int_equal(poslabel_context_create(&options, &context), POSLABEL_ERROR_MEMORY);
    memory.fails = false;
    assert_int_equal(poslabel_context_create(&options, &context), POSLABEL_OK);
    assert_int_equal(memory.allocations, 1);
    assert_true(memory.size[0] <= 1024); /* "the kilobyte it keeps for itself" */
    assert_ptr_equal(memory.stream[0], first);

    loss_case c = case_of(20, 1);
    expect_ok(context, loss_call(context, &c));
    expect_right(&c);
    assert_int_equal(memory.allocations, 2);
    assert_ptr_equal(memory.stream[1], first);
    assert_int_equal(memory.size[1], poslabel_context_workspace(context));
    expect_ok(context, loss_call(context, &c));
    assert_int_equal(memory.allocations, 2);

    expect_ok(context, poslabel_context_set_stream(context, second));
    const size_t more = memory.size[1] + 5000;
    expect_ok(context, poslabel_context_reserve(context, more)); /* the old block goes back in the new stream's order */
    assert_int_equal(memory.allocations, 3);
    assert_int_equal(memory.size[2], more);
    assert_ptr_equal(memory.stream[2], second);
    assert_int_equal(memory.releases, 1);
    assert_ptr_equal(memory.released_on, second);

    memory.fails = true;
    expect_error(context, poslabel_context_reserve(context, 2 * more), POSLABEL_ERROR_MEMORY,
                 "context_reserve: ", "bytes");
    assert_int_equal(poslabel_context_workspace(context), more);
    memory.fails = false;
    loss_case_forget_outputs(&c);
    expect_ok(context, loss_call(context, &c));
    expect_right(&c);
    poslabel_context_destroy(context);
    assert_int_equal(memory.releases, memory.allocations);
    loss_case_free(&c);
    cuda_ok(cuda()->stream_destroy(first));
    cuda_ok(cuda()->stream_destroy(second));
}

static void workspace(void **state)
{
    (void)state;
    (void)cuda();
    poslabel_context *const context = context_on(NULL);
    expect_ok(context, poslabel_context_reserve(context, 0));
    assert_int_equal(poslabel_context_workspace(context), 0);
    expect_ok(context, poslabel_context_reserve(context, 10000));
    const size_t held = poslabel_context_workspace(context);
    assert_true(held >= 10000);
    expect_ok(context, poslabel_context_reserve(context, 100));
    assert_int_equal(poslabel_context_workspace(context), held);
    expect_error(context, poslabel_context_reserve(context, SIZE_MAX), POSLABEL_ERROR_MEMORY, "context_reserve: ");
    expect_error(context, poslabel_context_reserve(context, SIZE_MAX / 2), POSLABEL_ERROR_MEMORY, "context_reserve: ");
    assert_int_equal(cuda()->peek_at_last_error(), 0);
    assert_int_equal(poslabel_context_workspace(context), held);
    poslabel_context_trim(context);
    assert_int_equal(poslabel_context_workspace(context), 0);
    poslabel_context_trim(context);
    loss_case c = case_of(9, 2);
    expect_ok(context, loss_call(context, &c));
    expect_right(&c);
    loss_case_free(&c);
    poslabel_context_destroy(context);
}

/* ---- streams, and when work is done ---- */

/* A call whose arguments are gone when it returns. */
static poslabel_status call_and_forget(poslabel_context *context, const loss_case *c)
{
    const poslabel_tensor *const given[] = {&c->logits->t, &c->positions->t, &c->loss->t, &c->grad->t, &c->flags->t};
    poslabel_tensor tensors[COUNT(given)];
    int64_t shapes[COUNT(given)][2];
    for (int i = 0; i < COUNT(given); i++) {
        tensors[i] = *given[i];
        memcpy(shapes[i], given[i]->shape, (size_t)given[i]->ndim * sizeof **shapes);
        tensors[i].shape = shapes[i];
    }
    poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    args.grid = c->grid;
    args.sigma = c->sigma;
    args.logits = &tensors[0];
    args.positions = &tensors[1];
    args.loss = &tensors[2];
    args.grad_logits = &tensors[3];
    args.flags = &tensors[4];
    const poslabel_status status = poslabel_droppos_loss(context, &args);
    memset(&args, 0xa5, sizeof args);
    memset(tensors, 0xa5, sizeof tensors);
    memset(shapes, 0xa5, sizeof shapes);
    __asm__ volatile("" : : "r"(&args), "r"(tensors), "r"(shapes) : "memory"); /* those are not in vain */
    return status;
}

static void calls_do_not_wait(void **state)
{
    (void)state;
    void *const stream = cuda_stream_new(CUDA_NON_BLOCKING), *const other = cuda_stream_new(CUDA_NON_BLOCKING);
    poslabel_context *const context = context_on(stream);
    loss_case c = case_of(30, 3);
    loss_answer answer = loss_solve(&c);
    for (int again = 0; again < 2; again++) { /* without a workspace, and with one */
        loss_case_forget_outputs(&c);
        if (test_on_emulation())
            emulation()->defer(1);
        assert_int_equal(call_and_forget(context, &c), POSLABEL_OK);
        if (test_on_emulation()) {
            assert_true(loss_case_outputs_untouched(&c));
            cuda_ok(cuda()->stream_synchronize(other));
            assert_true(loss_case_outputs_untouched(&c));
        }
        cuda_ok(cuda()->stream_synchronize(stream)); /* that, and no other, is the stream */
        expect_number("loss", tensor_get(c.loss, 0), answer.loss, loss_tolerance(dtype_f32));
        expect_near_doubles("grad", c.grad, answer.grad, loss_tolerance(dtype_f32));
        expect_ok(context, poslabel_context_synchronize(context));
    }
    loss_answer_free(&answer);
    loss_case_free(&c);
    poslabel_context_destroy(context);
    cuda_ok(cuda()->stream_destroy(stream));
    cuda_ok(cuda()->stream_destroy(other));
}

/* Two calls, the second on what the first made of the logits in place, in two streams or in one. */
static void changed_streams_keep_order(void **state)
{
    (void)state;
    void *const streams[] = {cuda_stream_new(CUDA_NON_BLOCKING), cuda_stream_new(CUDA_NON_BLOCKING),
                             cuda_stream_new(CUDA_BLOCKING), NULL};
    loss_case c = case_of(50, 4);
    tensor *const logits = tensor_copy(c.logits, dtype_f32, (layout){0});
    tensor_free(c.grad);
    c.grad = c.logits;
    tensor *want = NULL;
    for (int from = 0; from < COUNT(streams); from++)
        for (int to = 0; to < COUNT(streams); to++) {
            test_case_is("stream %d, then %d", from, to);
            memcpy(c.logits->memory.data, logits->memory.data, logits->memory.size);
            poslabel_context *const context = context_on(streams[from]);
            expect_ok(context, poslabel_context_reserve(context, 100000));
            if (test_on_emulation())
                emulation()->defer(1);
            assert_int_equal(loss_call(context, &c), POSLABEL_OK);
            assert_int_equal(poslabel_context_set_stream(context, streams[to]), POSLABEL_OK);
            assert_int_equal(loss_call(context, &c), POSLABEL_OK);
            if (test_on_emulation())
                expect_same_tensor("logits before", c.logits, logits);
            cuda_ok(cuda()->stream_synchronize(streams[to]));
            if (!want)
                want = tensor_copy(c.logits, dtype_f32, (layout){0}); /* one stream needs nobody to order it */
            expect_same_tensor("logits", c.logits, want);
            expect_ok(context, poslabel_context_synchronize(context));
            poslabel_context_destroy(context);
        }
    test_case_is("%s", "");
    tensor_free(want);
    tensor_free(logits);
    loss_case_free(&c);
    for (int i = 0; i < COUNT(streams) - 1; i++)
        cuda_ok(cuda()->stream_destroy(streams[i]));
}

/* ---- what became of it ---- */

static void synchronizing_tells_once(void **state)
{
    (void)state;
    (void)cuda();
    poslabel_context *const context = context_on(NULL), *const other = context_on(NULL);
    loss_case c = case_of(40, 5), good = case_of(40, 6);
    loss_case_add_weights(&c, dtype_f32, 7);
    tensor_fill(c.weights, 1);
    tensor_set(c.positions, 11, 20);
    tensor_set(c.positions, 7, -1);
    tensor_set(c.positions, 39, 1e9);
    assert_int_equal(loss_call(context, &c), POSLABEL_OK);
    assert_int_equal(loss_call(other, &good), POSLABEL_OK);
    expect_ok(other, poslabel_context_synchronize(other)); /* contexts have nothing in common */
    assert_int_equal(poslabel_context_synchronize(context), INVALID);
    assert_string_equal(poslabel_context_message(context),
                        "context_synchronize: positions of a loss out of range: 3, the first at index 7");
    assert_int_equal((int)tensor_get(c.flags, 0), POSLABEL_LOSS_INVALID);
    assert_int_equal(poslabel_context_synchronize(context), POSLABEL_OK);

    /* It counts over calls, and several things at a time. */
    tensor_set(c.weights, 3, -1);
    tensor_set(c.weights, 30, NAN);
    for (int again = 0; again < 2; again++)
        assert_int_equal(loss_call(context, &c), POSLABEL_OK);
    expect_error(context, poslabel_context_synchronize(context), INVALID,
                 "positions of a loss out of range: 6, the first at index 7",
                 "weights of a loss negative, NaN or infinite: 4, the first at index 3");
    assert_int_equal(poslabel_context_synchronize(context), POSLABEL_OK);
    assert_int_equal(loss_call(context, &good), POSLABEL_OK);
    assert_int_equal(poslabel_context_synchronize(context), POSLABEL_OK);
    expect_right(&good);

    /* A new stream takes along what was met on the old one. */
    void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
    assert_int_equal(loss_call(context, &c), POSLABEL_OK);
    assert_int_equal(poslabel_context_set_stream(context, stream), POSLABEL_OK);
    assert_int_equal(poslabel_context_synchronize(context), INVALID);
    assert_int_equal(poslabel_context_synchronize(context), POSLABEL_OK);
    poslabel_context_destroy(context);
    poslabel_context_destroy(other);
    cuda_ok(cuda()->stream_destroy(stream));
    loss_case_free(&c);
    loss_case_free(&good);
}

/* ---- the current device is the host's ---- */

static void the_current_device_stays(void **state)
{
    (void)state;
    int devices, current;
    if (test_on_emulation())
        emulation()->devices(2);
    cuda_ok(cuda()->get_device_count(&devices));
    if (devices < 2)
        skip();
#define STAYS(call)                                                                                                    \
    do {                                                                                                               \
        assert_int_equal((call), POSLABEL_OK);                                                                         \
        cuda_ok(cuda()->get_device(&current));                                                                         \
        assert_int_equal(current, 1 - id);                                                                             \
    } while (0)
    for (int id = 0; id < 2; id++) {
        poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
        poslabel_context *context;
        loss_case c = case_of(15, 8);
        cuda_ok(cuda()->set_device(id));
        void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
        cuda_ok(cuda()->set_device(1 - id));
        device_memory memory = {.device = id};
        options.device = (poslabel_device){POSLABEL_DEVICE_CUDA, id};
        options.device_allocator = (poslabel_device_allocator){&memory, take, give_back};
        STAYS(poslabel_context_create(&options, &context));
        assert_int_equal(poslabel_context_device(context).id, id);
        context->device = test_device(); /* where the tensors say that they are */
        STAYS(poslabel_context_set_stream(context, stream));
        STAYS(loss_call(context, &c));
        STAYS(poslabel_context_reserve(context, 100000));
        STAYS(loss_call(context, &c));
        STAYS(poslabel_context_synchronize(context));
        expect_right(&c);
        STAYS((poslabel_context_trim(context), POSLABEL_OK));
        expect_error(context, poslabel_context_reserve(context, SIZE_MAX), POSLABEL_ERROR_MEMORY, "memory");
        STAYS(POSLABEL_OK);
        STAYS((poslabel_context_destroy(context), POSLABEL_OK));
        assert_int_equal(memory.releases, memory.allocations);
        cuda_ok(cuda()->stream_destroy(stream));
        loss_case_free(&c);
    }
    cuda_ok(cuda()->set_device(0));
}

/* Whether a device has a primary context. */
static bool has_primary(int device)
{
    unsigned flags;
    int is_active = 0;
    assert_int_equal(cuda()->primary_state(device, &flags, &is_active), 0);
    return is_active;
}

static void *current_context(void)
{
    void *context;
    assert_int_equal(cuda()->current_context(&context), 0);
    return context;
}

/* What a host may ask of a context, with some other context, or none, current. */
static void use_everything(int device)
{
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context;
    void *const current = current_context();
#define LEAVES(call)                                                                                                   \
    do {                                                                                                               \
        assert_int_equal((call), POSLABEL_OK);                                                                         \
        assert_ptr_equal(current_context(), current);                                                                  \
    } while (0)
    options.device = (poslabel_device){POSLABEL_DEVICE_CUDA, device};
    LEAVES(poslabel_device_supported(POSLABEL_DEVICE_CUDA, NULL, 0));
    LEAVES(poslabel_context_create(&options, &context));
    LEAVES(poslabel_context_reserve(context, 100000));
    LEAVES(poslabel_context_synchronize(context));
    if (test_on_emulation()) { /* elsewhere the tensors themselves are device 0's */
        loss_case c = case_of(15, 8);
        context->device = test_device();
        LEAVES(loss_call(context, &c));
        LEAVES(poslabel_context_synchronize(context));
        loss_case_free(&c);
    }
    assert_int_equal(poslabel_context_reserve(context, SIZE_MAX), POSLABEL_ERROR_MEMORY);
    LEAVES((poslabel_context_trim(context), POSLABEL_OK));
    LEAVES((poslabel_context_destroy(context), POSLABEL_OK));
}

/* The library makes no context that it does not need: first of all, none on device 0 for work on device 1. */
static void other_devices_get_no_context(void **state)
{
    (void)state;
    int devices;
    if (test_on_emulation())
        emulation()->devices(2);
    cuda_ok(cuda()->get_device_count(&devices));
    if (has_primary(0))
        skip();
    assert_int_equal(poslabel_device_supported(POSLABEL_DEVICE_CUDA, NULL, 0), POSLABEL_OK);
    assert_false(has_primary(0));
    if (devices < 2)
        skip();
    assert_null(current_context());
    use_everything(1);
    assert_true(has_primary(1));
    assert_false(has_primary(0));
}

/* A context of the host's own is no primary one; it stays current, and the library works in the primary one. */
static void a_context_of_the_host_stays(void **state)
{
    (void)state;
    void *own;
    cuda_ok(cuda()->set_device(0));
    assert_int_equal(cuda()->create_context(&own, 0, 0), 0);
    assert_ptr_equal(current_context(), own);
    use_everything(0);
    assert_ptr_equal(current_context(), own);
    assert_int_equal(cuda()->destroy_context(own), 0);
    cuda_ok(cuda()->set_device(0));
}

/* Some virtual devices have no memory pools. */
static void a_device_without_pools(void **state)
{
    (void)state;
    const emulation_controls *const device = emulation();
    void *const stream = cuda_stream_new(CUDA_NON_BLOCKING);
    device->pools(0);
    poslabel_context *const context = context_on(stream);
    loss_case c = case_of(30, 9);
    device->defer(1);
    assert_int_equal(loss_call(context, &c), POSLABEL_OK);
    assert_true(loss_case_outputs_untouched(&c));
    poslabel_context_trim(context); /* waits for the work that uses the memory */
    expect_right(&c);
    device->defer(0);
    assert_int_equal(poslabel_context_workspace(context), 0);

    cuda_ok(cuda()->begin_capture(stream, CUDA_CAPTURE_GLOBAL));
    assert_int_equal(loss_call(context, &c), INVALID);
    assert_non_null(strstr(poslabel_context_message(context), "call poslabel_context_reserve()"));
    void *graph;
    cuda_ok(cuda()->end_capture(stream, &graph)); /* the capture is as good as before */
    cuda_ok(cuda()->destroy_graph(graph));

    /* Memory that cannot be had for another reason than that there is none. */
    device->fail_at(4, CUDA_ERROR_NOT_SUPPORTED);
    expect_error(context, poslabel_context_reserve(context, 1 << 20), POSLABEL_ERROR_DEVICE, "allocating a workspace",
                 "cudaErrorNotSupported");
    expect_ok(context, loss_call(context, &c));
    poslabel_context_destroy(context);
    loss_case_free(&c);
    cuda_ok(cuda()->stream_destroy(stream));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, emulation_begin, emulation_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(other_devices_get_no_context), /* before the others, which need device 0 */
        TEST(options_that_are_wrong),
        TEST(what_a_context_is),
        TEST(the_device_allocator),
        TEST(workspace),
        TEST(calls_do_not_wait),
        TEST(changed_streams_keep_order),
        TEST(synchronizing_tells_once),
        TEST(the_current_device_stays),
        TEST(a_context_of_the_host_stays),
        TEST(a_device_without_pools),
    };
    return cmocka_run_group_tests_name("cuda", tests, NULL, NULL);
}
