/*
 * Token assembly and its gradient: the same bits whatever the threads, the level and the split; bounded workspace.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "context.h" /* the inside of a context: what to store past the caches is set by force here */
#include "support/tokens.h"

/* Any number of threads, any level, stored or streamed, again and again: the same bits everywhere. */
static void same_bits(void **state)
{
    (void)state;
    static const int thread_counts[] = {1, 2, 3, 7};
    poslabel_isa levels[ISA_LEVELS];
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16};
    /* bytes enough that each of seven threads gets work */
    const token_sizes size = {test_is_quick() ? 66 : 90, 37, 40, 2, 97};
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int positions = 0; positions < 2; positions++) {
            token_case c = token_case_new(size, dtypes[d],
                                          token_option_sets[positions ? 7 : 6] | TOKENS_PLACES | TOKENS_DUPLICATES,
                                          (layout){.side = GUARD_BEGIN, .gap = 8}, 12);
            tensor *const outputs[] = {c.x, c.grad_tokens, c.grad_mask_token, c.grad_prefix_tokens, c.grad_pos_embed};
            tensor *first[COUNT(outputs)] = {NULL};
            for (int k = 0; k < isa_levels(levels); k++)
                for (int t = 0; t < COUNT(thread_counts); t++) {
                    poslabel_context *context = context_new(levels[k], thread_counts[t]);
                    for (int again = 0; again < 2; again++) {
                        test_case_is("%s, %s, %d threads, %s", dtype_name(dtypes[d]), poslabel_isa_name(levels[k]),
                                     thread_counts[t], again ? "streamed" : "stored");
                        context->stream_bytes = again ? 0 : SIZE_MAX;
                        token_case_forget_outputs(&c);
                        expect_ok(context, token_assemble(context, &c));
                        expect_ok(context, token_backward(context, &c));
                        token_case_check_outputs(&c);
                        for (int i = 0; i < COUNT(outputs); i++)
                            if (first[i])
                                expect_same_tensor(i ? "a gradient" : "x", outputs[i], first[i]);
                            else
                                first[i] = tensor_copy(outputs[i], dtypes[d], (layout){0});
                    }
                    poslabel_context_destroy(context);
                }
            for (int i = 0; i < COUNT(outputs); i++)
                tensor_free(first[i]);
            token_case_free(&c);
        }
    test_case_is("%s", "");
}

/* Images from `first` on, as a view. */
typedef struct part {
    poslabel_tensor t;
    int64_t shape[TENSOR_MAX_RANK];
} part;

static const poslabel_tensor *images_of(part *p, const tensor *whole, int64_t first, int64_t count)
{
    if (!whole)
        return NULL;
    memcpy(p->shape, whole->shape, sizeof p->shape);
    p->shape[0] = count;
    p->t = whole->t;
    p->t.shape = p->shape;
    p->t.data = tensor_at(whole, first * (whole->count / whole->shape[0]));
    return &p->t;
}

/* A batch in parts: the same x and grad_tokens. */
static void split_batches(void **state)
{
    (void)state;
    const token_sizes size = {9, 12, 8, 1, 45};
    token_case c = token_case_new(size, dtype_f16, token_option_sets[7], (layout){0}, 13);
    poslabel_context *const context = context_default();
    expect_ok(context, token_assemble(context, &c));
    expect_ok(context, token_backward(context, &c));
    tensor *const x = tensor_copy(c.x, c.dtype, (layout){0});
    tensor *const grad = tensor_copy(c.grad_tokens, c.dtype, (layout){0});
    for (int64_t cut = 1; cut < size.images; cut++) {
        token_case_forget_outputs(&c);
        for (int64_t first = 0; first < size.images; first = first ? size.images : cut) {
            const int64_t count = first ? size.images - cut : cut;
            part parts[7];
            poslabel_assemble_tokens_args args = token_args(&c);
            poslabel_assemble_tokens_backward_args back = token_backward_args(&c);
            args.tokens = images_of(&parts[0], c.tokens, first, count);
            args.ids_keep = back.ids_keep = images_of(&parts[1], c.ids_keep, first, count);
            args.positions = back.positions = images_of(&parts[2], c.positions, first, count);
            args.places = back.places = images_of(&parts[3], c.places, first, count);
            args.x = images_of(&parts[4], c.x, first, count);
            back.grad_x = images_of(&parts[5], c.grad_x, first, count);
            back.grad_tokens = images_of(&parts[6], c.grad_tokens, first, count);
            expect_ok(context, poslabel_assemble_tokens(context, &args));
            expect_ok(context, poslabel_assemble_tokens_backward(context, &back));
        }
        expect_same_tensor("x", c.x, x);
        expect_same_tensor("grad_tokens", c.grad_tokens, grad);
    }
    tensor_free(x);
    tensor_free(grad);
    token_case_free(&c);
    poslabel_context_destroy(context);
}

static void workspace_stays_within_its_bound(void **state)
{
    (void)state;
    skip_on_cuda(); /* test_tokens_cuda.c has the bound there */
    static const token_sizes sizes[] = {
        {2, 49, 20, 1, 40}, {80, 196, 49, 1, 17}, {3, 5, 4, 2, 1}, {700, 700, 650, 0, 1}};
    for (int i = 0; i < COUNT(sizes); i++)
        for (int o = 2; o < 8; o++)
            for (int threads = 1; threads <= 5; threads += 4) {
                const token_sizes s = sizes[i];
                token_case c = token_case_new(s, dtype_f32, token_option_sets[o], (layout){0}, 14);
                poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, threads);
                test_case_is("sizes %d, options %u, %d threads", i, token_option_sets[o], threads);
                expect_ok(context, token_assemble(context, &c));
                const size_t places = c.places ? (size_t)(threads * 4 * (s.visible + 15)) : 0;
                assert_true(poslabel_context_workspace(context) <= places);
                expect_ok(context, token_backward(context, &c));
                const int64_t lists = 512 * (s.tokens + s.visible) > 1 << 20 ? 512 * (s.tokens + s.visible) : 1 << 20;
                const int64_t bound = 8 * (s.channels + 15) * (s.prefix + s.tokens + 64) + lists +
                                      threads * (8 * (s.channels + 15) + 4 * (s.visible + 15));
                assert_true(poslabel_context_workspace(context) <= (size_t)bound);
                poslabel_context_destroy(context);
                token_case_free(&c);
            }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
        cmocka_unit_test(split_batches),
        cmocka_unit_test(workspace_stays_within_its_bound),
    };
    return cmocka_run_group_tests_name("token_determinism", tests, NULL, NULL);
}
