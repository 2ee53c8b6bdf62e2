/*
 * Every documented error of token assembly and its gradient.
 *
 * Each case changes one thing in arguments that are right.  The status must be the documented one, the message must
 * name the operation, the argument and the value, no output may be touched, and the context must work afterwards.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/tokens.h"

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

static poslabel_context *context;
static token_case good; /* whose arguments each case starts from */
static const token_sizes sizes = {3, 6, 4, 2, 5};
static const unsigned with_mask =
    TOKENS_IDS | TOKENS_MASK | TOKENS_PLACES | TOKENS_POS_EMBED | TOKENS_PREFIX_EMBED | TOKENS_MASK_TOKEN;
static const unsigned with_positions = TOKENS_IDS | TOKENS_POSITIONS | TOKENS_PLACES | TOKENS_POS_EMBED;

static void begin(unsigned options)
{
    context = context_new(POSLABEL_ISA_AUTO, 2);
    good = token_case_new(sizes, dtype_f32, options, (layout){0}, 31);
}

/* What was wrong has been put right: the context still works. */
static void end(void)
{
    expect_ok(context, token_assemble(context, &good));
    expect_assembled(&good);
    expect_ok(context, token_backward(context, &good));
    expect_token_gradients(&good);
    token_case_free(&good);
    poslabel_context_destroy(context);
}

static void check_untouched(const char *what)
{
    if (error_came_later())
        token_case_forget_outputs(&good);
    else if (!token_case_outputs_untouched(&good))
        test_fail("%s: the call failed, but an output was written", what);
}

#define FORWARD(change, status, ...)                                                                                   \
    do {                                                                                                               \
        poslabel_assemble_tokens_args args = token_args(&good);                                                        \
        change;                                                                                                        \
        token_case_forget_outputs(&good);                                                                              \
        expect_error(context, poslabel_assemble_tokens(context, &args), (status), "assemble_tokens: ", __VA_ARGS__);   \
        check_untouched(#change);                                                                                      \
    } while (0)

#define BACKWARD(change, status, ...)                                                                                  \
    do {                                                                                                               \
        poslabel_assemble_tokens_backward_args args = token_backward_args(&good);                                      \
        change;                                                                                                        \
        token_case_forget_outputs(&good);                                                                              \
        expect_error(context, poslabel_assemble_tokens_backward(context, &args), (status),                             \
                     "assemble_tokens_backward: ", __VA_ARGS__);                                                       \
        check_untouched(#change);                                                                                      \
    } while (0)

/* Both passes refuse an index in the same words. */
#define BOTH(index, at, value, ...)                                                                                    \
    do {                                                                                                               \
        const double held = tensor_get((index), (at));                                                                 \
        tensor_set((index), (at), (value));                                                                            \
        FORWARD((void)args, INVALID, __VA_ARGS__);                                                                     \
        BACKWARD((void)args, INVALID, __VA_ARGS__);                                                                    \
        tensor_set((index), (at), held);                                                                               \
    } while (0)

static void null_arguments(void **state)
{
    (void)state;
    begin(with_mask);
    poslabel_assemble_tokens_args forward = token_args(&good);
    poslabel_assemble_tokens_backward_args backward = token_backward_args(&good);
    assert_int_equal(poslabel_assemble_tokens(NULL, &forward), INVALID);
    assert_int_equal(poslabel_assemble_tokens_backward(NULL, &backward), INVALID);
    expect_error(context, poslabel_assemble_tokens(context, NULL), INVALID, "assemble_tokens: ", "args is NULL");
    expect_error(context, poslabel_assemble_tokens_backward(context, NULL), INVALID,
                 "assemble_tokens_backward: ", "args is NULL");
    FORWARD(args.struct_size = 3, INVALID, "struct_size = 3");
    FORWARD(args.tokens = NULL, INVALID, "tokens is NULL");
    FORWARD(args.x = NULL, INVALID, "x is NULL");
    BACKWARD(args.struct_size = 3, INVALID, "struct_size = 3");
    BACKWARD(args.grad_x = NULL, INVALID, "grad_x is NULL");
    BACKWARD(args.grad_tokens = args.grad_mask_token = args.grad_prefix_tokens = args.grad_pos_embed = NULL, INVALID,
             "no output is given");
    end();
}

static void indices(void **state)
{
    (void)state;
    for (int narrow = 0; narrow < 2; narrow++) {
        begin(with_mask | (narrow ? TOKENS_INT32 : 0));
        BOTH(good.ids_keep, 5, 6, "ids_keep[1, 1] = 6", "[0, 6)");
        BOTH(good.ids_keep, 0, -1, "ids_keep[0, 0] = -1");
        BOTH(good.ids_keep, 11, 2147483647, "ids_keep[2, 3] = 2147483647");
        BOTH(good.places, 4, 4, "places[1, 0] = 4", "[0, 4)");
        BOTH(good.places, 3, -1, "places[0, 3] = -1");
        BOTH(good.places, 9, tensor_get(good.places, 8), "places[2, 1]", "a second time", "permutation");
        if (!narrow)
            BOTH(good.ids_keep, 2, 4294967296.0, "ids_keep[0, 2] = 4294967296");
        end();

        begin(with_positions | (narrow ? TOKENS_INT32 : 0));
        BOTH(good.positions, 7, 6, "positions[1, 3] = 6", "[-1, 6)");
        BOTH(good.positions, 8, -2, "positions[2, 0] = -2", "[-1, 6)");
        BOTH(good.ids_keep, 8, -2, "ids_keep[2, 0] = -2", "[0, 6)");
        end();
    }
}

/* With more threads and images than one, the first bad index is the one that is reported. */
static void the_first_bad_index_is_reported(void **state)
{
    (void)state;
    skip_on_cuda(); /* test_cuda.c has what is reported there */
    const token_sizes many = {20000, 6, 4, 0, 1};
    context = context_new(POSLABEL_ISA_AUTO, 7);
    token_case c = token_case_new(many, dtype_f16, TOKENS_IDS | TOKENS_PLACES, (layout){0}, 32);
    tensor_set(c.ids_keep, 4 * 19999, 8);
    tensor_set(c.ids_keep, 4 * 7000 + 2, 7);
    tensor_set(c.ids_keep, 4 * 7000 + 3, 8);
    for (int again = 0; again < 20; again++) {
        expect_error(context, token_assemble(context, &c), INVALID, "ids_keep[7000, 2] = 7");
        expect_error(context, token_backward(context, &c), INVALID, "ids_keep[7000, 2] = 7");
    }
    assert_true(token_case_outputs_untouched(&c));
    token_case_free(&c);
    poslabel_context_destroy(context);
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
    begin(with_mask);
    const int64_t narrow_ids[] = {3, 3}, few_images[] = {2, 4}, short_x[] = {3, 5, 5}, few_channels[] = {4, 4};
    const int64_t rows[] = {7, 5}, flat[] = {30}, one[] = {1};
    poslabel_tensor ids = shaped(good.ids_keep, few_images), mask = shaped(good.mask_pos, narrow_ids);
    poslabel_tensor places = shaped(good.places, narrow_ids), x = shaped(good.x, short_x);
    poslabel_tensor embed = shaped(good.pos_embed, rows), embed_4 = shaped(good.pos_embed, few_channels);
    poslabel_tensor prefix = shaped(good.prefix_tokens, few_channels), mask_token = shaped(good.mask_token, one);
    poslabel_tensor tokens = shaped(good.tokens, flat), grad_x = shaped(good.grad_x, flat);
    tokens.ndim = grad_x.ndim = 1;
    FORWARD(args.tokens = &tokens, INVALID, "tokens", "[30]", "[*, *, *]");
    FORWARD(args.ids_keep = &ids, INVALID, "ids_keep", "[2, 4]", "[3, *]");
    FORWARD(args.mask_pos = &mask, INVALID, "mask_pos", "[3, 3]", "[3, 4]");
    FORWARD((args.mask_pos = NULL, args.positions = &mask), INVALID, "positions", "uint8");
    FORWARD(args.places = &places, INVALID, "places", "[3, 3]", "[3, 4]");
    FORWARD(args.x = &x, INVALID, "x", "[3, 5, 5]", "[3, 6, 5]");
    FORWARD(args.pos_embed = &embed, INVALID, "pos_embed has 7 rows", "8", "6");
    FORWARD(args.pos_embed = &embed_4, INVALID, "pos_embed", "[4, 4]", "[*, 5]");
    FORWARD(args.prefix_tokens = &prefix, INVALID, "prefix_tokens", "[4, 4]");
    FORWARD(args.mask_token = &mask_token, INVALID, "mask_token", "[1]", "[5]");
    FORWARD(args.ids_keep = NULL, INVALID, "mask_pos", "[3, 4]", "[3, 6]");

    poslabel_tensor grad_tokens = shaped(good.grad_tokens, short_x), grad_embed = shaped(good.grad_pos_embed, rows);
    poslabel_tensor grad_mask = shaped(good.grad_mask_token, one), grad_prefix = shaped(good.grad_prefix_tokens, one);
    grad_prefix.ndim = 1;
    BACKWARD(args.grad_x = &grad_x, INVALID, "grad_x", "[30]");
    BACKWARD(args.ids_keep = &ids, INVALID, "ids_keep", "[2, 4]", "[3, 4]");
    BACKWARD(args.mask_pos = &mask, INVALID, "mask_pos", "[3, 3]", "[3, 4]");
    BACKWARD(args.places = &places, INVALID, "places", "[3, 3]", "[3, 4]");
    BACKWARD(args.grad_tokens = &grad_tokens, INVALID, "grad_tokens", "[3, 5, 5]", "[3, 6, 5]");
    BACKWARD(args.grad_mask_token = &grad_mask, INVALID, "grad_mask_token", "[1]", "[5]");
    BACKWARD(args.grad_prefix_tokens = &grad_prefix, INVALID, "grad_prefix_tokens", "[1]", "[2, 5]");
    BACKWARD(args.grad_pos_embed = &grad_embed, INVALID, "grad_pos_embed has 7 rows", "8", "6");
    end();
}

static void counts(void **state)
{
    (void)state;
    begin(with_mask);
    BACKWARD(args.prefix_count = -1, INVALID, "prefix_count = -1", "[0, 6]");
    BACKWARD(args.prefix_count = 7, INVALID, "prefix_count = 7", "[0, 6]");
    BACKWARD(args.prefix_count = 3, INVALID, "ids_keep", "[3, 4]", "[3, 3]");
    FORWARD(args.register_count = -1, INVALID, "register_count = -1", "[0, 2]");
    FORWARD(args.register_count = 3, INVALID, "register_count = 3", "[0, 2]");
    FORWARD(args.register_count = 1, INVALID, "pos_embed has 8 rows", "must have 7 (P - register_count + N)");
    BACKWARD(args.register_count = 3, INVALID, "register_count = 3", "[0, 2]");
    BACKWARD(args.register_count = 2, INVALID, "grad_pos_embed has 8 rows", "must have 6");
    BACKWARD(args.tokens_per_image = -1, INVALID, "tokens_per_image = -1");
    BACKWARD(args.tokens_per_image = 7, INVALID, "grad_tokens", "[3, 6, 5]", "[3, 7, 5]");
    BACKWARD((args.tokens_per_image = 0, args.grad_tokens = NULL), INVALID, "tokens_per_image = 0", "must be given");
    BACKWARD((args.ids_keep = NULL, args.grad_tokens = args.grad_pos_embed = NULL), INVALID, "tokens_per_image = 6",
             "must be 4");
    FORWARD(args.positions = args.ids_keep, INVALID, "mask_pos and positions");
    BACKWARD(args.positions = args.ids_keep, INVALID, "mask_pos and positions");

    /* sizes that 32-bit numbers cannot hold, in tensors of nothing */
    const int64_t many[] = {0, INT64_C(1) << 31, 5}, none[] = {0, 4}, x_shape[] = {0, 6, 5};
    poslabel_tensor tokens = shaped(good.tokens, many), ids = shaped(good.ids_keep, none), x = shaped(good.x, x_shape);
    FORWARD((args.tokens = &tokens, args.ids_keep = &ids, args.x = &x, args.mask_pos = args.places = NULL,
             args.pos_embed = NULL),
            UNSUPPORTED, "2147483648 tokens", "2^31");
    BACKWARD((args.grad_x = &x, args.ids_keep = &ids, args.tokens_per_image = INT64_C(1) << 31,
              args.mask_pos = args.places = NULL, args.grad_tokens = args.grad_pos_embed = NULL),
             UNSUPPORTED, "2147483648 tokens", "2^31");
    end();
}

static void dtypes_and_devices(void **state)
{
    (void)state;
    begin(with_mask);
    const token_sizes same = sizes;
    token_case half = token_case_new(same, dtype_f16, with_mask, (layout){0}, 33);
    tensor *const whole = tensor_new(dtype_i32, 3, good.tokens->shape);
    FORWARD(args.tokens = &whole->t, INVALID, "tokens", "int32", "float32, float16, bfloat16 or float64");
    FORWARD(args.prefix_tokens = &half.prefix_tokens->t, INVALID, "prefix_tokens", "float16", "float32");
    FORWARD(args.pos_embed = &half.pos_embed->t, INVALID, "pos_embed", "float16", "float32");
    FORWARD(args.mask_token = &half.mask_token->t, INVALID, "mask_token", "float16", "float32");
    FORWARD(args.x = &half.x->t, INVALID, "x", "float16", "float32");
    FORWARD(args.ids_keep = &good.mask_pos->t, INVALID, "ids_keep", "uint8", "int32 or int64");
    FORWARD(args.places = &good.mask_pos->t, INVALID, "places", "uint8", "int32 or int64");
    BACKWARD(args.grad_x = &whole->t, INVALID, "grad_x", "int32");
    BACKWARD(args.grad_tokens = &half.grad_tokens->t, INVALID, "grad_tokens", "float16", "float32");
    BACKWARD(args.grad_mask_token = &half.grad_mask_token->t, INVALID, "grad_mask_token", "float16", "float32");
    BACKWARD(args.grad_prefix_tokens = &half.grad_prefix_tokens->t, INVALID, "grad_prefix_tokens", "float16");
    BACKWARD(args.grad_pos_embed = &half.grad_pos_embed->t, INVALID, "grad_pos_embed", "float16");
    tensor_free(whole);
    token_case_free(&half);

    tensor *const everything[] = {good.tokens, good.ids_keep,      good.mask_pos,   good.places,
                                  good.x,      good.prefix_tokens, good.mask_token, good.pos_embed};
    static const char *const names[] = {"tokens is on", "ids_keep is on",      "mask_pos is on",   "places is on",
                                        "x is on",      "prefix_tokens is on", "mask_token is on", "pos_embed is on"};
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
    begin(with_mask);
    const int64_t every_other[] = {60, 10, 2}, backwards[] = {-30, 5, 1}, shared[] = {0, 5, 1};
    poslabel_tensor tokens = good.tokens->t, x = good.x->t, ids = good.ids_keep->t, grad_tokens = good.grad_tokens->t;
    const int64_t ids_strides[] = {8, 2};
    ids.strides = ids_strides;
    FORWARD(args.ids_keep = &ids, UNSUPPORTED, "ids_keep", "last dimension");
    x.strides = every_other;
    FORWARD(args.x = &x, UNSUPPORTED, "x", "stride 2");
    tokens.strides = backwards;
    FORWARD(args.tokens = &tokens, UNSUPPORTED, "tokens", "negative");
    x.strides = shared;
    FORWARD(args.x = &x, INVALID, "x", "share memory");
    grad_tokens.strides = shared;
    BACKWARD(args.grad_tokens = &grad_tokens, INVALID, "grad_tokens", "share memory");
    end();
}

static void overlaps(void **state)
{
    (void)state;
    begin(with_mask);
    const int64_t shape[] = {3, 6, 5}, channels[] = {5}, rows[] = {2, 5}, embed[] = {8, 5};
    poslabel_tensor on_x = shaped(good.x, shape);
    /* every input in turn lies on x, and every output of the gradient on another and on its inputs */
    FORWARD(args.tokens = &on_x, INVALID, "x overlaps tokens");
    on_x.ndim = 2;
    on_x.shape = rows;
    FORWARD(args.prefix_tokens = &on_x, INVALID, "x overlaps prefix_tokens");
    on_x.shape = embed;
    FORWARD(args.pos_embed = &on_x, INVALID, "x overlaps pos_embed");
    on_x.ndim = 1;
    on_x.shape = channels;
    FORWARD(args.mask_token = &on_x, INVALID, "x overlaps mask_token");
    poslabel_tensor x_on = good.x->t;
    x_on.data = good.ids_keep->t.data;
    FORWARD(args.x = &x_on, INVALID, "x overlaps ids_keep");
    x_on.data = good.places->t.data;
    FORWARD(args.x = &x_on, INVALID, "x overlaps places");

    poslabel_tensor mask_on = good.grad_mask_token->t;
    mask_on.data = good.grad_tokens->t.data;
    BACKWARD(args.grad_mask_token = &mask_on, INVALID, "grad_tokens overlaps grad_mask_token");
    mask_on.data = good.grad_prefix_tokens->t.data;
    BACKWARD(args.grad_mask_token = &mask_on, INVALID, "grad_mask_token overlaps grad_prefix_tokens");
    mask_on.data = good.grad_pos_embed->t.data;
    BACKWARD(args.grad_mask_token = &mask_on, INVALID, "grad_mask_token overlaps grad_pos_embed");
    mask_on.data = good.grad_x->t.data;
    BACKWARD(args.grad_mask_token = &mask_on, INVALID, "grad_mask_token overlaps grad_x");
    mask_on.data = good.ids_keep->t.data;
    BACKWARD(args.grad_mask_token = &mask_on, INVALID, "grad_mask_token overlaps ids_keep");
    end();
}

/* Every allocation fails once: nothing is written, nothing leaks, and the next call works. */
static void no_memory(void **state)
{
    (void)state;
    skip_on_cuda(); /* the counted memory is the host's */
    counting_allocator counter;
    poslabel_status status;
    begin(with_mask);
    counting_allocator_init(&counter);
    poslabel_context *const counted = context_counted(&counter, POSLABEL_ISA_AUTO, 2, &status);
    assert_int_equal(status, POSLABEL_OK);
    token_case_forget_outputs(&good);
    counter.fail_at = counter.allocations + 1;
    expect_error(counted, token_assemble(counted, &good), POSLABEL_ERROR_MEMORY, "assemble_tokens: ", "workspace");
    counter.fail_at = counter.allocations + 1;
    expect_error(counted, token_backward(counted, &good), POSLABEL_ERROR_MEMORY,
                 "assemble_tokens_backward: ", "workspace");
    check_untouched("no memory");
    expect_ok(counted, token_assemble(counted, &good));
    expect_ok(counted, token_backward(counted, &good));
    expect_assembled(&good);
    expect_token_gradients(&good);
    poslabel_context_destroy(counted);
    counting_allocator_check(&counter);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_arguments), cmocka_unit_test(indices),  cmocka_unit_test(the_first_bad_index_is_reported),
        cmocka_unit_test(shapes),         cmocka_unit_test(counts),   cmocka_unit_test(dtypes_and_devices),
        cmocka_unit_test(strides),        cmocka_unit_test(overlaps), cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests_name("token_errors", tests, NULL, NULL);
}
