/*
 * The tokens of MAE's decoder and their gradient: golden vectors, the definition at every level, the same bits whatever
 * the threads and the outputs, linearity.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "context.h" /* the inside of a context: what to store past the caches is set by force here */
#include "support/decoder.h"

static poslabel_context *levels[ISA_LEVELS]; /* one of each, with one thread */
static int level_count;

static int open_levels(void **state)
{
    poslabel_isa isa[ISA_LEVELS];
    (void)state;
    level_count = isa_levels(isa);
    for (int i = 0; i < level_count; i++)
        levels[i] = context_new(isa[i], 1);
    return 0;
}

static int close_levels(void **state)
{
    (void)state;
    for (int i = 0; i < level_count; i++)
        poslabel_context_destroy(levels[i]);
    return 0;
}

static const char *name_of(const poslabel_context *context)
{
    return poslabel_isa_name(poslabel_context_isa(context));
}

/* ---- golden vectors ---- */

static tensor *golden(const npz *file, const char *name)
{
    const npz_array *const array = npz_get(file, name);
    return tensor_from_npz(array, array->dtype, (layout){0});
}

static tensor *golden_output(const npz *file, const char *like)
{
    const npz_array *const array = npz_get(file, like);
    return tensor_new(dtype_f32, array->ndim, array->shape);
}

static void check_golden(const char *name)
{
    static const char *const names[DECODER_OUTPUTS] = {"out", "grad_x", "grad_mask_token", "grad_pos_embed"};
    npz *const file = npz_open(name);
    tensor *outputs[DECODER_OUTPUTS];
    decoder_case c;
    c.ids_restore = golden(file, "ids_restore");
    c.x = golden(file, "x");
    c.mask_token = golden(file, "mask_token"); /* [1, 1, D] and [1, 1 + N, D], as PyTorch keeps them */
    c.pos_embed = golden(file, "pos_embed");
    c.grad_out = golden(file, "grad_out");
    c.out = golden_output(file, "out");
    c.grad_x = golden_output(file, "grad_x");
    c.grad_mask_token = golden_output(file, "grad_mask_token");
    c.grad_pos_embed = golden_output(file, "grad_pos_embed");
    const int64_t *const x = c.x->shape;
    c.size = (decoder_sizes){x[0], c.ids_restore->shape[1], x[1] - 1, 1, 1, x[2]};
    decoder_list_outputs(&c, outputs);
    for (int i = 0; i < level_count; i++) {
        test_case_is("%s, %s", name, name_of(levels[i]));
        decoder_case_forget_outputs(&c);
        expect_ok(levels[i], decoder_forward(levels[i], &c));
        expect_ok(levels[i], decoder_backward(levels[i], &c));
        for (int k = 0; k < DECODER_OUTPUTS; k++) {
            double *const want = npz_doubles(npz_get(file, names[k]));
            expect_near_doubles(names[k], outputs[k], want, 1e-5);
            free(want);
        }
    }
    test_case_is("%s", "");
    decoder_case_free(&c);
    npz_close(file);
}

static void golden_vectors(void **state)
{
    (void)state;
    check_golden("mae_decoder_a");
    check_golden("mae_decoder_b");
}

/* ---- every level against the definition ---- */

static void check_case(decoder_case *c, const char *text)
{
    decoder_case_protect_inputs(c, true);
    for (int i = 0; i < level_count; i++)
        for (int streamed = 0; streamed < 2; streamed++) {
            test_case_is("%s, %s, %s", text, name_of(levels[i]), streamed ? "streamed" : "stored");
            levels[i]->stream_bytes = streamed ? 0 : SIZE_MAX;
            decoder_case_forget_outputs(c);
            expect_ok(levels[i], decoder_forward(levels[i], c));
            expect_decoder_tokens(c);
            expect_ok(levels[i], decoder_backward(levels[i], c));
            expect_decoder_gradients(c);
            decoder_case_check_outputs(c);
        }
    decoder_case_protect_inputs(c, false);
    test_case_is("%s", "");
}

/* Rows at the end of the page, at its begin with every alignment, and with gaps. */
static layout layout_of(int number, poslabel_dtype dtype, int64_t channels)
{
    const size_t size = dtype_size(dtype);
    switch (number) {
    case 0:
        return (layout){0};
    case 1:
        return (layout){.side = GUARD_BEGIN, .gap = size * (size_t)(1 + channels % 31)};
    default:
        return (layout){.row_padding = 1 + channels % 5, .gap = size * (size_t)(channels % 3)};
    }
}

static void every_dtype_and_length(void **state)
{
    (void)state;
    static const int64_t channels[] = {1, 3, 8, 15, 16, 17, 31, 32, 33, 64, 196, 1030};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16};
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int k = 0; k < COUNT(channels); k++)
            for (unsigned o = 0; o < DECODER_OPTIONS; o++) {
                const int64_t prefix = (k + o) % 4;
                const decoder_sizes size = {3, 9, 4, prefix, prefix ? (o + d) % (prefix + 1) : 0, channels[k]};
                if ((k + o + d) % (test_is_quick() ? 5 : 2) || test_leaves_out(8))
                    continue;
                char text[120];
                snprintf(text, sizeof text, "%s, %lld channels, options %u, %lld of %lld prefix tokens embedded",
                         dtype_name(dtypes[d]), (long long)channels[k], o, (long long)size.embedded, (long long)prefix);
                decoder_case c = decoder_case_new(
                    size, dtypes[d], o, layout_of((k + o / 2) % 3, dtypes[d], channels[k]), (uint64_t)(k * 16 + o));
                check_case(&c, text);
                decoder_case_free(&c);
            }
}

/* Many rows, so that batches of the kernels fill up; nothing masked, everything masked, nothing there at all. */
static void sizes_at_the_edges(void **state)
{
    (void)state;
    static const decoder_sizes sizes[] = {
        {3, 300, 290, 2, 1, 5}, {40, 700, 5, 1, 1, 1}, {2, 6, 6, 1, 1, 9},  {2, 6, 0, 1, 0, 9},
        {2, 6, 0, 0, 0, 9},     {0, 6, 4, 1, 1, 9},    {2, 0, 0, 2, 1, 9},  {2, 0, 0, 0, 0, 9},
        {0, 0, 0, 0, 0, 9},     {2, 6, 4, 1, 1, 0},    {1, 1, 1, 0, 0, 40}, {20, 3, 2, 3, 3, 20},
    };
    for (int i = 0; i < COUNT(sizes); i++)
        for (unsigned o = 0; o < DECODER_OPTIONS; o++) {
            char text[40];
            if (sizes[i].images * sizes[i].tokens > 500 && (o % 5 || test_leaves_out(4)))
                continue;
            snprintf(text, sizeof text, "sizes %d, options %u", i, o);
            decoder_case c = decoder_case_new(sizes[i], dtype_f32, o, (layout){0}, (uint64_t)i);
            check_case(&c, text);
            decoder_case_free(&c);
        }
}

/* ---- views ---- */

/* Batch-second tensors ([T, B, D] seen as [B, T, D]), and inputs of which all images are one. */
static void strided_images(void **state)
{
    (void)state;
    const decoder_sizes size = {3, 6, 4, 2, 1, 19};
    for (int expanded = 0; expanded < 2; expanded++) {
        decoder_case c = decoder_case_new(size, dtype_f32, DECODER_MASK_TOKEN | DECODER_POS_EMBED, (layout){0}, 5);
        tensor *const views[] = {c.x, c.grad_out, c.out, c.grad_x};
        for (int i = 0; i < (expanded ? 2 : COUNT(views)); i++) {
            views[i]->strides[0] = expanded ? 0 : size.channels;
            views[i]->strides[1] = expanded ? size.channels : size.images * size.channels;
            views[i]->t.strides = views[i]->strides;
        }
        if (expanded) {
            c.ids_restore->strides[0] = 0;
            c.ids_restore->t.strides = c.ids_restore->strides;
        }
        for (int i = 0; i < level_count; i++) {
            test_case_is("%s, %s", expanded ? "expanded" : "batch second", name_of(levels[i]));
            expect_ok(levels[i], decoder_forward(levels[i], &c));
            expect_decoder_tokens(&c);
            expect_ok(levels[i], decoder_backward(levels[i], &c));
            expect_decoder_gradients(&c);
        }
        decoder_case_free(&c);
    }
    test_case_is("%s", "");
}

/* ---- what may be left out ---- */

/* Each choice of gradients, with visible_count and where it may be without: the bits of all of them together. */
static void any_of_the_gradients(void **state)
{
    (void)state;
    const decoder_sizes size = {5, 7, 4, 2, 1, 21};
    for (unsigned o = 0; o < DECODER_OPTIONS; o += 5) {
        decoder_case c = decoder_case_new(size, dtype_f16, o, (layout){0}, 8);
        tensor **const outputs[] = {&c.grad_x, &c.grad_mask_token, &c.grad_pos_embed};
        tensor *held[COUNT(outputs)], *all[COUNT(outputs)];
        expect_ok(levels[0], decoder_backward(levels[0], &c));
        for (int i = 0; i < COUNT(outputs); i++) {
            held[i] = *outputs[i];
            all[i] = tensor_copy(held[i], dtype_f16, (layout){0});
        }
        for (int chosen = 1; chosen < 8; chosen++)
            for (int told = 0; told < 2; told++) {
                for (int i = 0; i < COUNT(outputs); i++)
                    *outputs[i] = chosen >> i & 1 ? held[i] : NULL;
                test_case_is("options %u, outputs %d, %s", o, chosen, told ? "visible_count" : "without it");
                decoder_case_forget_outputs(&c);
                poslabel_decoder_tokens_backward_args args = decoder_backward_args(&c);
                if (!told)
                    args.visible_count = -1;
                if (!told && chosen % 4 == 2) {
                    expect_error(levels[0], poslabel_decoder_tokens_backward(levels[0], &args), POSLABEL_ERROR_INVALID,
                                 "visible_count = -1, must be given");
                    continue;
                }
                expect_ok(levels[0], poslabel_decoder_tokens_backward(levels[0], &args));
                for (int i = 0; i < COUNT(outputs); i++)
                    if (*outputs[i])
                        expect_same_tensor("a gradient", *outputs[i], all[i]);
            }
        for (int i = 0; i < COUNT(outputs); i++) {
            *outputs[i] = held[i];
            tensor_free(all[i]);
        }
        decoder_case_free(&c);
    }
    test_case_is("%s", "");
}

/* ---- the same bits ---- */

/* Any number of threads, any level, stored or streamed, again and again. */
static void same_bits(void **state)
{
    (void)state;
    static const int thread_counts[] = {1, 2, 3, 7};
    poslabel_isa all[ISA_LEVELS];
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16};
    /* bytes, and in the last case ids, enough that each of seven threads gets work */
    const decoder_sizes few = {test_on_cuda() ? 20 : test_is_quick() ? 60 : 90, 41, 13, 2, 1, 97},
                        many = {test_on_cuda() ? 9 : 3000, 41, 13, 1, 1, 33};
    for (int d = 0; d < COUNT(dtypes); d++) {
        decoder_case c = decoder_case_new(d == 2 ? many : few, dtypes[d],
                                          DECODER_MASK_TOKEN | DECODER_POS_EMBED | (d ? DECODER_ANY_IDS : 0),
                                          (layout){.side = GUARD_BEGIN, .gap = 8}, 12);
        tensor *outputs[DECODER_OUTPUTS], *first[DECODER_OUTPUTS] = {NULL};
        decoder_list_outputs(&c, outputs);
        for (int k = 0; k < isa_levels(all); k++)
            for (int t = 0; t < COUNT(thread_counts); t++) {
                poslabel_context *const context = context_new(all[k], thread_counts[t]);
                for (int again = 0; again < 2; again++) {
                    test_case_is("%s, %s, %d threads, %s", dtype_name(dtypes[d]), poslabel_isa_name(all[k]),
                                 thread_counts[t], again ? "streamed" : "stored");
                    context->stream_bytes = again ? 0 : SIZE_MAX;
                    decoder_case_forget_outputs(&c);
                    expect_ok(context, decoder_forward(context, &c));
                    expect_ok(context, decoder_backward(context, &c));
                    decoder_case_check_outputs(&c);
                    for (int i = 0; i < DECODER_OUTPUTS; i++)
                        if (first[i])
                            expect_same_tensor(i ? "a gradient" : "out", outputs[i], first[i]);
                        else
                            first[i] = tensor_copy(outputs[i], dtypes[d], (layout){0});
                }
                poslabel_context_destroy(context);
            }
        for (int i = 0; i < DECODER_OUTPUTS; i++)
            tensor_free(first[i]);
        decoder_case_free(&c);
    }
    test_case_is("%s", "");
}

static void workspace_stays_within_its_bound(void **state)
{
    (void)state;
    static const decoder_sizes sizes[] = {{2, 49, 20, 1, 1, 40},
                                          {80, 196, 49, 1, 1, 17},
                                          {3, 5, 4, 2, 0, 1},
                                          {700, 70, 65, 0, 0, 1},
                                          {30, 5, 4, 1, 1, 768}};
    for (int i = 0; i < COUNT(sizes); i++)
        for (unsigned o = 0; o < DECODER_OPTIONS; o++)
            for (int threads = 1; threads <= 5; threads += 4) {
                const decoder_sizes s = sizes[i];
                decoder_case c = decoder_case_new(s, dtype_f32, o, (layout){0}, 14);
                poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, threads);
                test_case_is("sizes %d, options %u, %d threads", i, o, threads);
                expect_ok(context, decoder_forward(context, &c));
                assert_true(poslabel_context_workspace(context) <=
                            (size_t)(test_on_cuda() || c.mask_token ? 0 : 4 * s.channels));
                expect_ok(context, decoder_backward(context, &c));
                const int64_t host = 16 * (s.channels + 15) * (s.prefix + s.tokens) + s.images +
                                     threads * (8 * (s.channels + 15) + 4 * (s.tokens + s.visible + 15));
                const int64_t device = 4 * s.images * (s.tokens + s.visible) + 16384 * s.channels;
                assert_true(poslabel_context_workspace(context) <= (size_t)(test_on_cuda() ? device : host));
                poslabel_context_destroy(context);
                decoder_case_free(&c);
            }
    test_case_is("%s", "");
}

/* ---- arithmetic ---- */

/* Sums are rounded once, not by way of float32: a tie that a tiny third number decides. */
static void sums_are_rounded_once(void **state)
{
    (void)state;
    const struct {
        poslabel_dtype dtype;
        double half_step, tiny;
    } cases[] = {{dtype_bf16, ldexp(1, -8), ldexp(1, -40)}, {dtype_f16, ldexp(1, -11), ldexp(1, -24)}};
    for (int d = 0; d < COUNT(cases); d++)
        for (int k = 0; k < level_count; k++)
            for (int masked = 0; masked < 2; masked++) {
                const decoder_sizes size = {1, 3, masked ? 0 : 1, 0, 0, 18};
                decoder_case c = decoder_case_new(size, cases[d].dtype, 0, (layout){0}, 11);
                tensor_fill(c.ids_restore, 0);
                for (int64_t i = 0; i < size.channels; i++) {
                    tensor_set(c.grad_out, i, 1);
                    tensor_set(c.grad_out, size.channels + i, cases[d].half_step);
                    tensor_set(c.grad_out, 2 * size.channels + i, i % 2 ? -cases[d].tiny : cases[d].tiny);
                }
                expect_ok(levels[k], decoder_backward(levels[k], &c));
                for (int64_t i = 0; i < size.channels; i++)
                    expect_number("the sum", tensor_get(masked ? c.grad_mask_token : c.grad_x, i),
                                  i % 2 ? 1 : 1 + 2 * cases[d].half_step, 0);
                decoder_case_free(&c);
            }
}

/* What is not finite goes where its row goes, and nowhere else. */
static void nans_and_infinities(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16};
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int k = 0; k < level_count; k++) {
            const decoder_sizes size = {2, 4, 2, 1, 1, 35};
            decoder_case c = decoder_case_new(size, dtypes[d], DECODER_MASK_TOKEN | DECODER_POS_EMBED, (layout){0}, 15);
            for (int64_t i = 0; i < 8; i++)
                tensor_set(c.ids_restore, i, (double)(i % 4)); /* rows 1 and 2 are copies, 3 and 4 masked */
            for (int64_t i = 0; i < size.channels; i++) {
                tensor_set(c.mask_token, i, INFINITY);
                tensor_set(c.pos_embed, 3 * size.channels + i, -INFINITY);
                tensor_set(c.x, size.channels + i, NAN);
                tensor_set(c.grad_out, 3 * size.channels + i, INFINITY);
                tensor_set(c.grad_out, size.channels + i, NAN);
            }
            test_case_is("%s, %s", dtype_name(dtypes[d]), name_of(levels[k]));
            expect_ok(levels[k], decoder_forward(levels[k], &c));
            expect_ok(levels[k], decoder_backward(levels[k], &c));
            for (int64_t i = 0; i < size.channels; i++) {
                const int64_t n = size.channels;
                expect_number("out", tensor_get(c.out, n + i), NAN, 0);
                expect_number("out", tensor_get(c.out, 3 * n + i), NAN, 0);
                expect_number("out", tensor_get(c.out, 4 * n + i), INFINITY, 0);
                assert_true(isfinite(tensor_get(c.out, 2 * n + i)));
                expect_number("grad_x", tensor_get(c.grad_x, n + i), NAN, 0);
                assert_true(isfinite(tensor_get(c.grad_x, 2 * n + i)));
                expect_number("grad_mask_token", tensor_get(c.grad_mask_token, i), INFINITY, 0);
                expect_number("grad_pos_embed", tensor_get(c.grad_pos_embed, 3 * n + i), INFINITY, 0);
                assert_true(isfinite(tensor_get(c.grad_pos_embed, 4 * n + i)));
            }
            decoder_case_free(&c);
        }
    test_case_is("%s", "");
}

/* A sum of <a, b> over all elements; what is not given counts as 0. */
static double dot(const tensor *a, const tensor *b)
{
    long double sum = 0;
    for (int64_t i = 0; a && b && i < a->count; i++)
        sum += (long double)tensor_get(a, i) * tensor_get(b, i);
    return (double)sum;
}

/* The pass is linear, so its gradient is its adjoint: <grad_out, forward(v)> = <backward(grad_out), v>. */
static void gradient_is_the_adjoint(void **state)
{
    (void)state;
    for (unsigned o = 0; o < DECODER_OPTIONS; o++)
        for (int seed = 0; seed < 4; seed++) {
            const decoder_sizes size = {3, 8, 3 + seed, seed, seed / 2, 50};
            decoder_case c = decoder_case_new(size, dtype_f32, o, (layout){0}, (uint64_t)(100 + seed));
            poslabel_context *const context = levels[seed % level_count];
            test_case_is("options %u, %s", o, name_of(context));
            expect_ok(context, decoder_forward(context, &c));
            expect_ok(context, decoder_backward(context, &c));
            const double forward = dot(c.grad_out, c.out);
            const double backward =
                dot(c.grad_x, c.x) + dot(c.grad_mask_token, c.mask_token) + dot(c.grad_pos_embed, c.pos_embed);
            const double size_of_terms = sqrt(dot(c.grad_out, c.grad_out) * dot(c.out, c.out));
            if (!(fabs(forward - backward) <= 1e-7 * size_of_terms))
                test_fail("<grad_out, forward(v)> = %.12g, <backward(grad_out), v> = %.12g", forward, backward);
            decoder_case_free(&c);
        }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_vectors),
        cmocka_unit_test(every_dtype_and_length),
        cmocka_unit_test(sizes_at_the_edges),
        cmocka_unit_test(strided_images),
        cmocka_unit_test(any_of_the_gradients),
        cmocka_unit_test(same_bits),
        cmocka_unit_test(workspace_stays_within_its_bound),
        cmocka_unit_test(sums_are_rounded_once),
        cmocka_unit_test(nans_and_infinities),
        cmocka_unit_test(gradient_is_the_adjoint),
    };
    return cmocka_run_group_tests_name("decoder", tests, open_levels, close_levels);
}
