/*
 * Every documented error of the tokens of MAE's decoder and of their gradient.
 *
 * Each case changes one thing in arguments that are right.  The status must be the documented one, the message must
 * name the operation, the argument and the value, no output may be touched, and the context must work afterwards.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/decoder.h"

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

static poslabel_context *context;
static decoder_case good; /* whose arguments each case starts from */
static const decoder_sizes sizes = {3, 6, 4, 2, 1, 5};

static void begin(unsigned options)
{
    context = context_new(POSLABEL_ISA_AUTO, 2);
    good = decoder_case_new(sizes, dtype_f32, options | DECODER_MASK_TOKEN | DECODER_POS_EMBED, (layout){0}, 31);
}

/* What was wrong has been put right: the context still works. */
static void end(void)
{
    expect_ok(context, decoder_forward(context, &good));
    expect_decoder_tokens(&good);
    expect_ok(context, decoder_backward(context, &good));
    expect_decoder_gradients(&good);
    decoder_case_free(&good);
    poslabel_context_destroy(context);
}

static void check_untouched(const char *what)
{
    if (error_came_later())
        decoder_case_forget_outputs(&good);
    else if (!decoder_case_outputs_untouched(&good))
        test_fail("%s: the call failed, but an output was written", what);
}

#define FORWARD(change, status, ...)                                                                                   \
    do {                                                                                                               \
        poslabel_decoder_tokens_args args = decoder_args(&good);                                                       \
        change;                                                                                                        \
        decoder_case_forget_outputs(&good);                                                                            \
        expect_error(context, poslabel_decoder_tokens(context, &args), (status), "decoder_tokens: ", __VA_ARGS__);     \
        check_untouched(#change);                                                                                      \
    } while (0)

#define BACKWARD(change, status, ...)                                                                                  \
    do {                                                                                                               \
        poslabel_decoder_tokens_backward_args args = decoder_backward_args(&good);                                     \
        change;                                                                                                        \
        decoder_case_forget_outputs(&good);                                                                            \
        expect_error(context, poslabel_decoder_tokens_backward(context, &args), (status),                              \
                     "decoder_tokens_backward: ", __VA_ARGS__);                                                        \
        check_untouched(#change);                                                                                      \
    } while (0)

static void null_arguments(void **state)
{
    (void)state;
    begin(0);
    poslabel_decoder_tokens_args forward = decoder_args(&good);
    poslabel_decoder_tokens_backward_args backward = decoder_backward_args(&good);
    assert_int_equal(poslabel_decoder_tokens(NULL, &forward), INVALID);
    assert_int_equal(poslabel_decoder_tokens_backward(NULL, &backward), INVALID);
    expect_error(context, poslabel_decoder_tokens(context, NULL), INVALID, "decoder_tokens: ", "args is NULL");
    expect_error(context, poslabel_decoder_tokens_backward(context, NULL), INVALID,
                 "decoder_tokens_backward: ", "args is NULL");
    FORWARD(args.struct_size = 3, INVALID, "struct_size = 3");
    FORWARD(args.x = NULL, INVALID, "x is NULL");
    FORWARD(args.ids_restore = NULL, INVALID, "ids_restore is NULL");
    FORWARD(args.out = NULL, INVALID, "out is NULL");
    BACKWARD(args.struct_size = 3, INVALID, "struct_size = 3");
    BACKWARD(args.grad_out = NULL, INVALID, "grad_out is NULL");
    BACKWARD(args.ids_restore = NULL, INVALID, "ids_restore is NULL");
    BACKWARD(args.grad_x = args.grad_mask_token = args.grad_pos_embed = NULL, INVALID, "no output is given");
    end();
}

/* Both passes refuse an id in the same words. */
static void expect_refused(int64_t at, double value, const char *text)
{
    const double held = tensor_get(good.ids_restore, at);
    tensor_set(good.ids_restore, at, value);
    FORWARD((void)args, INVALID, text);
    BACKWARD((void)args, INVALID, text);
    BACKWARD(args.grad_x = args.grad_pos_embed = NULL, INVALID, text);
    tensor_set(good.ids_restore, at, held);
}

static void ids(void **state)
{
    (void)state;
    for (int narrow = 0; narrow < 2; narrow++) {
        const bool later = test_on_cuda();
        begin(narrow ? DECODER_INT32 : 0);
        expect_refused(7, 6,
                       later ? "ids_restore out of range: 1, the first at index 7"
                             : "ids_restore[1, 1] = 6, must be in [0, 6)");
        expect_refused(0, -1, later ? "ids_restore out of range: 1, the first at index 0" : "ids_restore[0, 0] = -1");
        expect_refused(17, 2147483647, later ? "the first at index 17" : "ids_restore[2, 5] = 2147483647");
        if (!narrow)
            expect_refused(2, 4294967296.0, later ? "the first at index 2" : "ids_restore[0, 2] = 4294967296");
        end();
    }
}

static poslabel_tensor shaped(const tensor *t, const int64_t *shape)
{
    poslabel_tensor changed = t->t;
    changed.shape = shape;
    return changed;
}

static void shapes(void **state)
{
    (void)state;
    begin(0);
    const int64_t few_images[] = {2, 6}, few_ids[] = {3, 5}, short_out[] = {3, 7, 5}, flat[] = {30}, one[] = {1};
    const int64_t few_rows[] = {5, 5}, many_rows[] = {9, 5}, few_channels[] = {7, 4}, short_x[] = {3, 5, 5};
    poslabel_tensor x = shaped(good.x, flat), ids = shaped(good.ids_restore, few_images);
    poslabel_tensor short_ids = shaped(good.ids_restore, few_ids), out = shaped(good.out, short_out);
    poslabel_tensor less = shaped(good.pos_embed, few_rows), more = shaped(good.pos_embed, many_rows);
    poslabel_tensor thin = shaped(good.pos_embed, few_channels), mask = shaped(good.mask_token, one);
    x.ndim = 1;
    FORWARD(args.x = &x, INVALID, "x", "[30]", "[*, *, *]");
    FORWARD(args.ids_restore = &ids, INVALID, "ids_restore", "[2, 6]", "[3, *]");
    FORWARD(args.ids_restore = &short_ids, INVALID, "out", "[3, 8, 5]", "[3, 7, 5]");
    FORWARD(args.out = &out, INVALID, "out", "[3, 7, 5]", "[3, 8, 5]");
    FORWARD(args.mask_token = &mask, INVALID, "mask_token", "[1]", "[5]");
    FORWARD(args.pos_embed = &thin, INVALID, "pos_embed", "[7, 4]", "[*, 5]");
    FORWARD(args.pos_embed = &less, INVALID, "pos_embed has 5 rows, must have 6 (N) to 8 (P + N)");
    FORWARD(args.pos_embed = &more, INVALID, "pos_embed has 9 rows, must have 6 (N) to 8 (P + N)");

    poslabel_tensor grad_out = shaped(good.grad_out, flat), grad_x = shaped(good.grad_x, short_x);
    poslabel_tensor grad_mask = shaped(good.grad_mask_token, one), grad_more = shaped(good.grad_pos_embed, many_rows);
    grad_out.ndim = 1;
    BACKWARD(args.grad_out = &grad_out, INVALID, "grad_out", "[30]");
    BACKWARD(args.ids_restore = &ids, INVALID, "ids_restore", "[2, 6]", "[3, 6]");
    BACKWARD(args.grad_x = &grad_x, INVALID, "grad_x", "[3, 5, 5]", "[3, 6, 5]");
    BACKWARD(args.grad_mask_token = &grad_mask, INVALID, "grad_mask_token", "[1]", "[5]");
    BACKWARD(args.grad_pos_embed = &grad_more, INVALID, "grad_pos_embed has 9 rows, must have 6 (N) to 8 (P + N)");
    end();
}

static void counts(void **state)
{
    (void)state;
    begin(0);
    FORWARD(args.prefix_count = -1, INVALID, "prefix_count = -1, must be in [0, 6], of which x has rows");
    FORWARD(args.prefix_count = 7, INVALID, "prefix_count = 7, must be in [0, 6]");
    FORWARD(args.prefix_count = 1, INVALID, "out", "[3, 8, 5]", "[3, 7, 5]"); /* one of the two was forgotten */
    BACKWARD(args.prefix_count = -1, INVALID, "prefix_count = -1, must be in [0, 8], of which grad_out has rows");
    BACKWARD(args.prefix_count = 9, INVALID, "prefix_count = 9, must be in [0, 8]");
    BACKWARD(args.prefix_count = 1, INVALID, "ids_restore", "[3, 6]", "[3, 7]");
    BACKWARD(args.visible_count = -2, INVALID, "visible_count = -2, must be in [0, 6], or -1");
    BACKWARD(args.visible_count = 7, INVALID, "visible_count = 7, must be in [0, 6]");
    BACKWARD(args.visible_count = 3, INVALID, "grad_x", "[3, 6, 5]", "[3, 5, 5]");
    BACKWARD((args.visible_count = -1, args.grad_x = NULL), INVALID, "visible_count = -1, must be given");

    /* more visible tokens than tokens, and fewer rows than the prefix has */
    const int64_t four_ids[] = {3, 3}, out_shape[] = {3, 5, 5}, no_rows[] = {3, 1, 5};
    poslabel_tensor few = shaped(good.ids_restore, four_ids), out = shaped(good.out, out_shape);
    poslabel_tensor grad_x = shaped(good.grad_x, no_rows);
    FORWARD((args.ids_restore = &few, args.out = &out, args.pos_embed = NULL), INVALID, "K = 4 visible tokens",
            "[0, 3] (N)");
    BACKWARD((args.grad_x = &grad_x, args.visible_count = -1), INVALID, "K = -1 visible tokens");

    /* sizes that 32-bit numbers cannot hold, in tensors of nothing */
    const int64_t many[] = {0, (INT64_C(1) << 31) - 2}, no_x[] = {0, 6, 5}, no_out[] = {0, INT64_C(1) << 31, 5};
    poslabel_tensor wide = shaped(good.ids_restore, many), x = shaped(good.x, no_x),
                    long_out = shaped(good.out, no_out);
    FORWARD((args.x = &x, args.ids_restore = &wide, args.out = &long_out, args.pos_embed = NULL), UNSUPPORTED,
            "2147483646 other tokens", "2^31");
    long_out.data = good.grad_out->t.data;
    BACKWARD((args.grad_out = &long_out, args.ids_restore = &wide, args.grad_x = args.grad_pos_embed = NULL),
             UNSUPPORTED, "2147483646 other tokens", "2^31");
    end();
}

static void dtypes_and_devices(void **state)
{
    (void)state;
    begin(0);
    decoder_case half = decoder_case_new(sizes, dtype_f16, DECODER_MASK_TOKEN | DECODER_POS_EMBED, (layout){0}, 33);
    tensor *const doubles = tensor_new(dtype_f64, 3, good.x->shape);
    FORWARD(args.x = &doubles->t, INVALID, "x", "float64", "float32, float16 or bfloat16");
    FORWARD(args.ids_restore = &good.pos_embed->t, INVALID, "ids_restore", "float32", "int32 or int64");
    FORWARD(args.mask_token = &half.mask_token->t, INVALID, "mask_token", "float16", "float32");
    FORWARD(args.pos_embed = &half.pos_embed->t, INVALID, "pos_embed", "float16", "float32");
    FORWARD(args.out = &half.out->t, INVALID, "out", "float16", "float32");
    BACKWARD(args.grad_out = &doubles->t, INVALID, "grad_out", "float64");
    BACKWARD(args.grad_x = &half.grad_x->t, INVALID, "grad_x", "float16", "float32");
    BACKWARD(args.grad_mask_token = &half.grad_mask_token->t, INVALID, "grad_mask_token", "float16", "float32");
    BACKWARD(args.grad_pos_embed = &half.grad_pos_embed->t, INVALID, "grad_pos_embed", "float16", "float32");
    tensor_free(doubles);
    decoder_case_free(&half);

    tensor *const everything[] = {good.x, good.ids_restore, good.mask_token, good.pos_embed, good.out};
    static const char *const names[] = {"x is on", "ids_restore is on", "mask_token is on", "pos_embed is on",
                                        "out is on"};
    for (int i = 0; i < COUNT(everything); i++) {
        everything[i]->t.device.type = test_other_device();
        FORWARD((void)args, INVALID, names[i]);
        everything[i]->t.device.type = test_device().type;
    }
    end();
}

static void strides(void **state)
{
    (void)state;
    begin(0);
    const int64_t every_other[] = {60, 10, 2}, backwards[] = {-30, 5, 1}, shared[] = {0, 5, 1}, ids_strides[] = {12, 2};
    poslabel_tensor x = good.x->t, out = good.out->t, ids = good.ids_restore->t, grad_x = good.grad_x->t;
    ids.strides = ids_strides;
    FORWARD(args.ids_restore = &ids, UNSUPPORTED, "ids_restore", "last dimension");
    x.strides = every_other;
    FORWARD(args.x = &x, UNSUPPORTED, "x", "stride 2");
    x.strides = backwards;
    FORWARD(args.x = &x, UNSUPPORTED, "x", "negative");
    out.strides = shared;
    FORWARD(args.out = &out, INVALID, "out", "share memory");
    grad_x.strides = shared;
    BACKWARD(args.grad_x = &grad_x, INVALID, "grad_x", "share memory");
    end();
}

static void overlaps(void **state)
{
    (void)state;
    begin(0);
    poslabel_tensor on_out = good.x->t, out_on = good.out->t;
    on_out.data = good.out->t.data;
    FORWARD(args.x = &on_out, INVALID, "out overlaps x");
    on_out = good.mask_token->t;
    on_out.data = good.out->t.data;
    FORWARD(args.mask_token = &on_out, INVALID, "out overlaps mask_token");
    on_out = good.pos_embed->t;
    on_out.data = good.out->t.data;
    FORWARD(args.pos_embed = &on_out, INVALID, "out overlaps pos_embed");
    out_on.data = good.ids_restore->t.data;
    FORWARD(args.out = &out_on, INVALID, "out overlaps ids_restore");

    poslabel_tensor mask_on = good.grad_mask_token->t;
    const tensor *const others[] = {good.grad_x, good.grad_pos_embed, good.grad_out, good.ids_restore};
    static const char *const texts[] = {"grad_x overlaps grad_mask_token", "grad_mask_token overlaps grad_pos_embed",
                                        "grad_mask_token overlaps grad_out", "grad_mask_token overlaps ids_restore"};
    for (int i = 0; i < COUNT(others); i++) {
        mask_on.data = others[i]->t.data;
        BACKWARD(args.grad_mask_token = &mask_on, INVALID, texts[i]);
    }
    end();
}

/* Every allocation fails once: nothing is written, nothing leaks, and the next call works. */
static void no_memory(void **state)
{
    (void)state;
    skip_on_cuda(); /* the counted memory is the host's */
    counting_allocator counter;
    poslabel_status status;
    begin(0);
    counting_allocator_init(&counter);
    poslabel_context *const counted = context_counted(&counter, POSLABEL_ISA_AUTO, 2, &status);
    assert_int_equal(status, POSLABEL_OK);
    poslabel_decoder_tokens_args args = decoder_args(&good);
    args.mask_token = NULL;
    decoder_case_forget_outputs(&good);
    counter.fail_at = counter.allocations + 1;
    expect_error(counted, poslabel_decoder_tokens(counted, &args), POSLABEL_ERROR_MEMORY,
                 "decoder_tokens: ", "workspace");
    counter.fail_at = counter.allocations + 1;
    expect_error(counted, decoder_backward(counted, &good), POSLABEL_ERROR_MEMORY,
                 "decoder_tokens_backward: ", "workspace");
    check_untouched("no memory");
    expect_ok(counted, decoder_forward(counted, &good));
    expect_ok(counted, decoder_backward(counted, &good));
    expect_decoder_tokens(&good);
    expect_decoder_gradients(&good);
    poslabel_context_destroy(counted);
    counting_allocator_check(&counter);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_arguments), cmocka_unit_test(ids),       cmocka_unit_test(shapes),
        cmocka_unit_test(counts),         cmocka_unit_test(strides),   cmocka_unit_test(dtypes_and_devices),
        cmocka_unit_test(overlaps),       cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests_name("decoder_errors", tests, NULL, NULL);
}
