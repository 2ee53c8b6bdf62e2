/*
 * Tokens and attention on CUDA, as far as the other suites do not know of it: the CPU's bits, sums in parts, tiles and
 * windows, indices that are not allowed, workspace.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/tokens.h"

#include <dlfcn.h>

static poslabel_context *cuda, *cpu;

static int open_contexts(void **state)
{
    (void)state;
    if (test_on_cuda()) {
        cuda = context_new(POSLABEL_ISA_AUTO, 1);
        cpu = context_new(POSLABEL_ISA_BASELINE, 1);
    }
    return 0;
}

static int close_contexts(void **state)
{
    (void)state;
    poslabel_context_destroy(cuda);
    poslabel_context_destroy(cpu);
    return 0;
}

#define skip_on_cpu()                                                                                                  \
    do {                                                                                                               \
        if (!test_on_cuda())                                                                                           \
            skip();                                                                                                    \
    } while (0)

/* In which order the emulation runs threads and blocks; on a real device they have none. */
static void shuffle(unsigned seed)
{
    void *const module = test_on_emulation() ? dlopen(getenv("POSLABEL_CUDA_MODULE"), RTLD_NOW | RTLD_NOLOAD) : NULL;
    void (*set)(unsigned) = NULL;
    if (!module)
        return;
    *(void **)&set = dlsym(module, "emulation_shuffle");
    set(seed);
    dlclose(module);
}

static const unsigned seeds[] = {0, 3, 77};

/* ---- results ---- */

static void assembly_has_the_bits_of_the_cpu(void **state)
{
    (void)state;
    static const int64_t channels[] = {768, 2100, 100, 5};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16};
    skip_on_cpu();
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int k = 0; k < COUNT(channels); k++)
            for (int o = (d + k) % 2; o < TOKEN_OPTION_SETS; o += test_is_quick() ? 4 : 1) {
                const token_sizes size = {3, 17, token_option_sets[o] & TOKENS_IDS ? 13 : 17, 2, channels[k]};
                token_case c = token_case_new(size, dtypes[d], token_option_sets[o], (layout){.row_padding = o % 2 * 8},
                                              (uint64_t)(d * 64 + k * 16 + o));
                expect_ok(cpu, token_assemble(cpu, &c));
                tensor *const x = tensor_copy(c.x, c.dtype, (layout){.row_padding = o % 2 * 8});
                for (int s = 0; s < COUNT(seeds); s++) {
                    test_case_is("%s, %lld channels, options %u, seed %u", dtype_name(c.dtype), (long long)channels[k],
                                 token_option_sets[o], seeds[s]);
                    shuffle(seeds[s]);
                    token_case_forget_outputs(&c);
                    expect_ok(cuda, token_assemble(cuda, &c));
                    expect_same_tensor("x", c.x, x);
                    token_case_check_outputs(&c);
                }
                tensor_free(x);
                token_case_free(&c);
            }
    test_case_is("%s", "");
}

/* Sums that are formed in slices of the images, in tiles of several rows, in chunks of long rows; and all the same. */
static void sums_in_parts(void **state)
{
    (void)state;
    static const token_sizes sizes[] = {{70, 5, 4, 1, 768},   {33, 4, 6, 2, 2100}, {300, 3, 3, 1, 64},
                                        {2, 1500, 40, 1, 24}, {3, 2600, 30, 3, 9}, {1100, 2, 2, 0, 12}};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16};
    skip_on_cpu();
    for (int i = 0; i < COUNT(sizes); i++)
        for (int o = 4 + i % 2; o < 8; o += test_is_quick() ? 3 : 1) {
            token_case c = token_case_new(sizes[i], dtypes[i % 3], token_option_sets[o] | TOKENS_DUPLICATES,
                                          (layout){0}, (uint64_t)i);
            tensor *const outputs[] = {c.grad_tokens, c.grad_mask_token, c.grad_prefix_tokens, c.grad_pos_embed};
            tensor *first[COUNT(outputs)] = {NULL};
            for (int s = 0; s < COUNT(seeds); s++) {
                test_case_is("sizes %d, options %u, seed %u", i, token_option_sets[o], seeds[s]);
                shuffle(seeds[s]);
                token_case_forget_outputs(&c);
                expect_ok(cuda, token_backward(cuda, &c));
                token_case_check_outputs(&c);
                if (s == 0)
                    expect_token_gradients(&c);
                for (int k = 0; k < COUNT(outputs); k++)
                    if (first[k])
                        expect_same_tensor("a gradient", outputs[k], first[k]);
                    else if (outputs[k])
                        first[k] = tensor_copy(outputs[k], c.dtype, (layout){0});
            }
            for (int k = 0; k < COUNT(outputs); k++)
                tensor_free(first[k]);
            token_case_free(&c);
        }
    test_case_is("%s", "");
}

/* ---- indices that are not allowed ---- */

#define expect_found(...)                                                                                              \
    do {                                                                                                               \
        expect_error(cuda, poslabel_context_synchronize(cuda), POSLABEL_ERROR_INVALID,                                 \
                     "context_synchronize: ", __VA_ARGS__);                                                            \
        expect_ok(cuda, poslabel_context_synchronize(cuda)); /* the count starts anew */                               \
    } while (0)

typedef struct bad_index {
    int64_t at;
    double value, taken_for;
} bad_index;

/* Both passes with some values, which are reported, and with what these are taken for: the same results. */
static void expect_taken_for(token_case *c, tensor *indices, const bad_index *bad, int count, const char *report)
{
    tensor *const outputs[] = {c->x, c->grad_tokens, c->grad_mask_token, c->grad_prefix_tokens, c->grad_pos_embed};
    tensor *want[COUNT(outputs)] = {NULL};
    for (int i = 0; i < count; i++)
        tensor_set(indices, bad[i].at, bad[i].taken_for);
    expect_ok(cuda, token_assemble(cuda, c));
    expect_ok(cuda, token_backward(cuda, c));
    for (int i = 0; i < COUNT(outputs); i++)
        if (outputs[i])
            want[i] = tensor_copy(outputs[i], c->dtype, (layout){0});
    for (int s = 0; s < COUNT(seeds); s++) {
        shuffle(seeds[s]);
        token_case_forget_outputs(c);
        for (int i = 0; i < count; i++)
            tensor_set(indices, bad[i].at, bad[i].value);
        assert_int_equal(token_assemble(cuda, c), POSLABEL_OK);
        expect_found(report);
        assert_int_equal(token_backward(cuda, c), POSLABEL_OK);
        expect_found(report);
        token_case_check_outputs(c);
        for (int i = 0; i < COUNT(outputs); i++)
            if (outputs[i])
                expect_same_tensor("an output", outputs[i], want[i]);
    }
    for (int i = 0; i < COUNT(outputs); i++)
        tensor_free(want[i]);
}

static void ids_out_of_range(void **state)
{
    (void)state;
    const bad_index narrow[] = {{13, 9, 8}, {17, -1, 0}, {5, 2147483647, 8}, {22, -2147483648.0, 0}};
    const bad_index wide[] = {{6, 4294967296.0, 8}, {23, -9e18, 0}, {22, 9e18, 8}};
    skip_on_cpu();
    for (int k = 0; k < 2; k++) {
        token_case c = token_case_new(
            (token_sizes){4, 9, 6, 1, 40}, dtype_f16,
            TOKENS_IDS | TOKENS_MASK | TOKENS_PLACES | TOKENS_POS_EMBED | (k ? TOKENS_INT32 : 0), (layout){0}, 3);
        expect_taken_for(&c, c.ids_keep, k ? narrow : wide, k ? COUNT(narrow) : COUNT(wide),
                         k ? "ids_keep out of range: 4, the first at index 5"
                           : "ids_keep out of range: 3, the first at index 6");
        token_case_free(&c);
    }
}

static void positions_out_of_range(void **state)
{
    (void)state;
    const bad_index bad[] = {{20, -2, -1}, {3, 9, 8}, {7, -9e18, -1}, {8, 9e18, 8}};
    skip_on_cpu();
    token_case c =
        token_case_new((token_sizes){4, 9, 6, 1, 40}, dtype_f32,
                       TOKENS_IDS | TOKENS_POSITIONS | TOKENS_POS_EMBED | TOKENS_PREFIX_EMBED, (layout){0}, 4);
    expect_taken_for(&c, c.positions, bad, COUNT(bad), "positions of tokens out of range: 4, the first at index 3");
    token_case_free(&c);
}

/* Without tokens there is nothing that an id could be taken for. */
static void ids_of_no_tokens(void **state)
{
    (void)state;
    skip_on_cpu();
    token_case c =
        token_case_new((token_sizes){2, 1, 3, 1, 8}, dtype_f32, TOKENS_IDS | TOKENS_DUPLICATES, (layout){0}, 5);
    poslabel_assemble_tokens_args forward = token_args(&c);
    poslabel_assemble_tokens_backward_args backward = token_backward_args(&c);
    poslabel_tensor tokens = c.tokens->t, grad_tokens = c.grad_tokens->t;
    const int64_t shape[] = {2, 0, 8};
    tokens.shape = grad_tokens.shape = shape;
    forward.tokens = &tokens;
    backward.grad_tokens = &grad_tokens;
    backward.tokens_per_image = 0;
    token_case_forget_outputs(&c);
    assert_int_equal(poslabel_assemble_tokens(cuda, &forward), POSLABEL_OK);
    expect_found("ids_keep out of range: 6, the first at index 0");
    for (int64_t i = 0; i < 8; i++)
        assert_true(tensor_get(c.x, i) == tensor_get(c.prefix_tokens, i)); /* the prefix is there all the same */
    assert_int_equal(poslabel_assemble_tokens_backward(cuda, &backward), POSLABEL_OK);
    expect_found("ids_keep out of range: 6, the first at index 0");
    token_case_check_outputs(&c);
    token_case_free(&c);
}

static void no_permutations(void **state)
{
    (void)state;
    skip_on_cpu();
    const token_sizes size = {3, 8, 6, 1, 24};
    token_case c = token_case_new(size, dtype_bf16, token_option_sets[5], (layout){0}, 6);
    expect_ok(cpu, token_assemble(cpu, &c));
    tensor *const x = tensor_copy(c.x, c.dtype, (layout){0});
    for (int64_t r = 0; r < 6; r++)
        tensor_set(c.places, 6 + r, (double)r);
    tensor_set(c.places, 6 + 5, 2); /* image 1: 0 1 2 3 4 2, then also 0 1 2 -1 4 2, then 0 1 2 6 4 2 */
    static const double third[] = {3, -1, 6};
    for (int k = 0; k < COUNT(third); k++)
        for (int s = 0; s < COUNT(seeds); s++) {
            const char *const report = k == 0 ? "places out of range or given twice: 1, the first at index 11"
                                              : "places out of range or given twice: 2, the first at index 9";
            shuffle(seeds[s]);
            tensor_set(c.places, 6 + 3, third[k]);
            token_case_forget_outputs(&c);
            assert_int_equal(token_assemble(cuda, &c), POSLABEL_OK);
            expect_found(report);
            for (int64_t i = 0; i < x->count; i++)
                if (i / (7 * 24) != 1)
                    assert_true(tensor_get(c.x, i) == tensor_get(x, i)); /* the other images */
            assert_int_equal(token_backward(cuda, &c), POSLABEL_OK);
            expect_found(report);
            token_case_check_outputs(&c);
        }
    tensor_free(x);
    token_case_free(&c);
}

/* More places than are looked at together. */
static void many_places(void **state)
{
    (void)state;
    skip_on_cpu();
    token_case c =
        token_case_new((token_sizes){2, 20000, 20000, 0, 1}, dtype_f32, TOKENS_PLACES | TOKENS_INT32, (layout){0}, 7);
    expect_ok(cuda, token_assemble(cuda, &c));
    expect_assembled(&c);
    expect_ok(cuda, token_backward(cuda, &c));
    expect_token_gradients(&c);
    /* the last place of all, and one of each third, are someone else's too */
    static const int64_t twice[] = {20000 + 19, 20000 + 11000, 20000 + 19998};
    for (int i = 0; i < COUNT(twice); i++)
        tensor_set(c.places, twice[i], tensor_get(c.places, 20000 + i));
    assert_int_equal(token_assemble(cuda, &c), POSLABEL_OK);
    expect_found("places out of range or given twice: 3, the first at index 20019");
    token_case_free(&c);
}

static void workspace_stays_within_its_bound(void **state)
{
    (void)state;
    static const token_sizes sizes[] = {{2, 49, 20, 1, 40}, {80, 19, 9, 1, 17}, {3, 5, 4, 2, 1}, {70, 5, 4, 1, 768}};
    skip_on_cpu();
    for (int i = 0; i < COUNT(sizes); i++)
        for (int o = 2; o < 8; o++) {
            const token_sizes s = sizes[i];
            token_case c = token_case_new(s, dtype_f32, token_option_sets[o], (layout){0}, 14);
            poslabel_context *const context = context_default();
            test_case_is("sizes %d, options %u", i, token_option_sets[o]);
            expect_ok(context, token_assemble(context, &c));
            assert_int_equal(poslabel_context_workspace(context), 0);
            expect_ok(context, token_backward(context, &c));
            const int64_t bound = (c.positions ? 16 : 8) * s.images * (s.tokens + s.visible) + 16384 * s.channels;
            assert_true(poslabel_context_workspace(context) <= (size_t)bound);
            poslabel_context_destroy(context);
            token_case_free(&c);
        }
    test_case_is("%s", "");
}

/* ---- attention ---- */

typedef struct attention_case {
    tensor *tokens, *cls, *pos_embed, *ids_keep, *attention, *weights;
} attention_case;

static attention_case attention_new(int64_t images, int64_t count, int64_t visible, int64_t channels,
                                    poslabel_dtype dtype)
{
    attention_case c;
    c.tokens = tensor_new(dtype, 3, (int64_t[]){images, count, channels});
    c.cls = tensor_new(dtype, 2, (int64_t[]){images, channels});
    c.pos_embed = tensor_new(dtype, 2, (int64_t[]){1 + count, channels});
    c.ids_keep = tensor_new(dtype_i64, 2, (int64_t[]){images, visible});
    c.attention = tensor_new(dtype_f64, 2, (int64_t[]){images, count});
    c.weights = tensor_new(dtype_f64, 2, (int64_t[]){images, visible});
    tensor_fill_normal(c.tokens, 1, 1);
    tensor_fill_normal(c.cls, 2, 1);
    tensor_fill_normal(c.pos_embed, 3, 0.5);
    tensor_fill_below(c.ids_keep, 4, count);
    return c;
}

static void attention_free(attention_case *c)
{
    tensor *const all[] = {c->tokens, c->cls, c->pos_embed, c->ids_keep, c->attention, c->weights};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
}

static poslabel_status weigh(poslabel_context *context, const attention_case *c)
{
    poslabel_attentive_weights_args args = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
    args.tokens = &c->tokens->t;
    args.cls = &c->cls->t;
    args.pos_embed = &c->pos_embed->t;
    args.ids_keep = &c->ids_keep->t;
    args.attention = &c->attention->t;
    args.weights = &c->weights->t;
    return poslabel_attentive_weights(context, &args);
}

/* Numbers that no shared memory holds, class tokens that it does not, and images that several blocks share. */
static void attention_of_every_size(void **state)
{
    (void)state;
    static const struct {
        int64_t images, count, visible, channels;
    } sizes[] = {{3, 2500, 40, 6}, {1, 65536, 100, 3}, {2, 40, 10, 9001}, {1, 300, 300, 768}, {5, 5, 2, 4200}};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    skip_on_cpu();
    for (int i = 0; i < COUNT(sizes); i++)
        for (int d = i % 2; d < COUNT(dtypes); d += 2) {
            attention_case c =
                attention_new(sizes[i].images, sizes[i].count, sizes[i].visible, sizes[i].channels, dtypes[d]);
            poslabel_context *const context = context_default(), *const exact = context_new(POSLABEL_ISA_REFERENCE, 1);
            expect_ok(exact, weigh(exact, &c));
            tensor *const attention = tensor_copy(c.attention, dtype_f64, (layout){0});
            tensor *const weights = tensor_copy(c.weights, dtype_f64, (layout){0});
            for (int s = 0; s < 2; s++) {
                test_case_is("sizes %d, %s, seed %u", i, dtype_name(dtypes[d]), seeds[s]);
                shuffle(seeds[s]);
                tensor_forget(c.attention);
                tensor_forget(c.weights);
                expect_ok(context, weigh(context, &c));
                expect_near_tensor("attention", c.attention, attention, 2e-6);
                expect_near_tensor("weights", c.weights, weights, 2e-6);
            }
            assert_true(poslabel_context_workspace(context) <=
                        (size_t)(8 * sizes[i].images * (sizes[i].count + sizes[i].channels + 1)));
            tensor_free(attention);
            tensor_free(weights);
            poslabel_context_destroy(context);
            poslabel_context_destroy(exact);
            attention_free(&c);
        }
    test_case_is("%s", "");
}

/* One image alone, whose tokens are shared out, has the bits that it has among others. */
static void attention_does_not_depend_on_the_batch(void **state)
{
    (void)state;
    skip_on_cpu();
    attention_case many = attention_new(9, 70, 20, 200, dtype_f32), one = attention_new(1, 70, 20, 200, dtype_f32);
    expect_ok(cuda, weigh(cuda, &many));
    for (int64_t b = 0; b < 9; b++) {
        for (int64_t i = 0; i < one.tokens->count; i++)
            tensor_set(one.tokens, i, tensor_get(many.tokens, b * one.tokens->count + i));
        for (int64_t i = 0; i < 200; i++)
            tensor_set(one.cls, i, tensor_get(many.cls, b * 200 + i));
        for (int64_t i = 0; i < 20; i++)
            tensor_set(one.ids_keep, i, tensor_get(many.ids_keep, b * 20 + i));
        shuffle((unsigned)b);
        expect_ok(cuda, weigh(cuda, &one));
        for (int64_t i = 0; i < 70; i++)
            assert_true(tensor_get(one.attention, i) == tensor_get(many.attention, b * 70 + i));
        for (int64_t i = 0; i < 20; i++)
            assert_true(tensor_get(one.weights, i) == tensor_get(many.weights, b * 20 + i));
    }
    attention_free(&many);
    attention_free(&one);
}

static void attention_of_ids_out_of_range(void **state)
{
    (void)state;
    skip_on_cpu();
    attention_case c = attention_new(3, 8, 5, 20, dtype_bf16);
    tensor_set(c.ids_keep, 6, 7);
    tensor_set(c.ids_keep, 12, 0);
    expect_ok(cuda, weigh(cuda, &c));
    tensor *const weights = tensor_copy(c.weights, dtype_f64, (layout){0});
    tensor_set(c.ids_keep, 6, 9e18);
    tensor_set(c.ids_keep, 12, -1);
    assert_int_equal(weigh(cuda, &c), POSLABEL_OK);
    expect_found("ids_keep out of range: 2, the first at index 6");
    expect_same_tensor("weights", c.weights, weights);
    tensor_free(weights);
    attention_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assembly_has_the_bits_of_the_cpu),
        cmocka_unit_test(sums_in_parts),
        cmocka_unit_test(ids_out_of_range),
        cmocka_unit_test(positions_out_of_range),
        cmocka_unit_test(ids_of_no_tokens),
        cmocka_unit_test(no_permutations),
        cmocka_unit_test(many_places),
        cmocka_unit_test(workspace_stays_within_its_bound),
        cmocka_unit_test(attention_of_every_size),
        cmocka_unit_test(attention_does_not_depend_on_the_batch),
        cmocka_unit_test(attention_of_ids_out_of_range),
    };
    return cmocka_run_group_tests_name("tokens_cuda", tests, open_contexts, close_contexts);
}
