/*
 * Token assembly and its gradient: golden vectors, the definition at every level, linearity.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "context.h" /* the inside of a context: what to store past the caches is set by force here */
#include "support/tokens.h"

static const int64_t all_channels[] = {1, 3, 8, 15, 16, 17, 31, 32, 33, 64, 196, 197, 1030};

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
    const npz_array *const array = npz_find(file, name);
    return array ? tensor_from_npz(array, array->dtype, (layout){0}) : NULL;
}

static tensor *golden_output(const npz *file, const char *like)
{
    const npz_array *const array = npz_find(file, like);
    return array ? tensor_new(dtype_f32, array->ndim, array->shape) : NULL;
}

static void expect_golden(const npz *file, const char *name, const tensor *got)
{
    if (!got)
        return;
    double *const want = npz_doubles(npz_get(file, name));
    expect_near_doubles(name, got, want, 1e-5);
    free(want);
}

static void check_golden(const char *name)
{
    npz *const file = npz_open(name);
    token_case c = {.dtype = dtype_f32};
    c.tokens = golden(file, "patch_tokens");
    c.ids_keep = golden(file, "ids_keep");
    c.mask_pos = golden(file, "mask_pos");
    c.places = golden(file, "ids_restore_shuffle"); /* only one file has it */
    c.prefix_tokens = golden(file, "cls_token");
    c.pos_embed = golden(file, "pos_embed");
    c.mask_token = npz_find(file, "grad_mask_pos_token") ? golden(file, "mask_pos_token") : NULL;
    c.grad_x = golden(file, "grad_x");
    c.x = golden_output(file, "x");
    c.grad_tokens = golden_output(file, "grad_patch_tokens");
    c.grad_mask_token = golden_output(file, "grad_mask_pos_token");
    c.grad_prefix_tokens = golden_output(file, "grad_cls_token");
    /* [1, 1, D], as PyTorch keeps it, is a prefix of one row */
    c.size = (token_sizes){c.tokens->shape[0], c.tokens->shape[1], c.ids_keep->shape[1], 1, c.tokens->shape[2]};
    for (int i = 0; i < level_count; i++) {
        test_case_is("%s, %s", name, name_of(levels[i]));
        token_case_forget_outputs(&c);
        expect_ok(levels[i], token_assemble(levels[i], &c));
        expect_ok(levels[i], token_backward(levels[i], &c));
        expect_golden(file, "x", c.x);
        expect_golden(file, "grad_patch_tokens", c.grad_tokens);
        expect_golden(file, "grad_mask_pos_token", c.grad_mask_token);
        expect_golden(file, "grad_cls_token", c.grad_prefix_tokens);
    }
    test_case_is("%s", "");
    token_case_free(&c);
    npz_close(file);
}

static void golden_vectors(void **state)
{
    (void)state;
    check_golden("droppos_embed_param");
    check_golden("droppos_embed_param_shuffle_attn");
    check_golden("droppos_embed_zeros_attn");
}

/* ---- every level against the definition ---- */

/* How the rows lie: at the end of the page, at its begin with every alignment, and with gaps. */
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

static void check_case(token_case *c, const char *text)
{
    token_case_protect_inputs(c, true);
    for (int i = 0; i < level_count; i++)
        for (int streamed = 0; streamed < 2; streamed++) {
            test_case_is("%s, %s, %s", text, name_of(levels[i]), streamed ? "streamed" : "stored");
            levels[i]->stream_bytes = streamed ? 0 : SIZE_MAX;
            token_case_forget_outputs(c);
            expect_ok(levels[i], token_assemble(levels[i], c));
            expect_assembled(c);
            expect_ok(levels[i], token_backward(levels[i], c));
            expect_token_gradients(c);
            token_case_check_outputs(c);
        }
    token_case_protect_inputs(c, false);
    test_case_is("%s", "");
}

static void check_dtype(poslabel_dtype dtype)
{
    for (int k = 0; k < COUNT(all_channels); k++)
        for (int o = 0; o < TOKEN_OPTION_SETS; o++) {
            const unsigned options = token_option_sets[o];
            const int how = (k + o) % 3;
            const int64_t n = 9, v = options & TOKENS_IDS ? (options & TOKENS_DUPLICATES ? 11 : 5) : n;
            const token_sizes size = {2, n, v, (k + o / 2) % 3, all_channels[k]};
            if (test_is_quick() && (k + o) % 3)
                continue;
            char text[160];
            snprintf(text, sizeof text, "%s, %lld channels, options %u, layout %d", dtype_name(dtype),
                     (long long)size.channels, options, how);
            token_case c =
                token_case_new(size, dtype, options, layout_of(how, dtype, size.channels), (uint64_t)(k * 16 + o));
            check_case(&c, text);
            token_case_free(&c);
        }
}

/* What the other tests leave alone: channels that lie apart or are one value, float32 parameters beside 16 bits,
 * registers, float64. */
static void columns_and_parameters(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    const unsigned more[] = {TOKENS_COLUMNS,
                             TOKENS_F32,
                             TOKENS_REGISTER,
                             TOKENS_F32 | TOKENS_16,
                             TOKENS_COLUMNS | TOKENS_F32 | TOKENS_REGISTER,
                             TOKENS_SHARED};
    const int64_t channels[] = {1, 2, 17, 64, 100, 197, 300}, tokens[] = {9, 16, 35};
    int number = 0;
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int m = 0; m < COUNT(more); m++)
            for (int k = 0; k < COUNT(channels); k++)
                for (int o = 0; o < TOKEN_OPTION_SETS; o++, number++) {
                    const unsigned options = token_option_sets[o] | more[m];
                    const int64_t n = tokens[number % 3];
                    const int64_t v = options & TOKENS_IDS ? (options & TOKENS_DUPLICATES ? n + 2 : n / 2) : n;
                    if (number % (test_is_quick() ? 23 : 5))
                        continue;
                    char text[160];
                    snprintf(text, sizeof text, "%s, %lld tokens of %lld channels, options %u", dtype_name(dtypes[d]),
                             (long long)n, (long long)channels[k], options);
                    const token_sizes size = {3, n, v, number % 4, channels[k]};
                    token_case c = token_case_new(size, dtypes[d], options,
                                                  layout_of(number % 3, dtypes[d], channels[k]), (uint64_t)number);
                    check_case(&c, text);
                    token_case_free(&c);
                }
}

static void float32_rows(void **state)
{
    (void)state;
    check_dtype(dtype_f32);
}

static void float16_rows(void **state)
{
    (void)state;
    check_dtype(dtype_f16);
}

static void bfloat16_rows(void **state)
{
    (void)state;
    check_dtype(dtype_bf16);
}

/* Every address within two cache lines, with lengths that leave every remainder: how lines are shared by rows. */
static void every_alignment(void **state)
{
    (void)state;
    for (int d = 0; d < 2; d++) {
        const poslabel_dtype dtype = d ? dtype_f16 : dtype_f32;
        for (size_t gap = 0; gap < (test_is_quick() ? 40 : 132); gap += dtype_size(dtype)) {
            const token_sizes size = {2, 7, 4, 1, 1 + (int64_t)(gap / dtype_size(dtype))};
            const layout how = {.side = GUARD_BEGIN, .gap = gap};
            char text[80];
            snprintf(text, sizeof text, "%s, gap %zu, %lld channels", dtype_name(dtype), gap, (long long)size.channels);
            token_case c = token_case_new(size, dtype, token_option_sets[2], how, gap);
            check_case(&c, text);
            token_case_free(&c);
        }
    }
}

/* Many rows, so that batches of the kernels fill up, and more images than are listed at once on the way back. */
static void many_rows(void **state)
{
    (void)state;
    static const token_sizes sizes[] = {
        {3, 300, 290, 2, 5}, {150, 2100, 5, 1, 1}, {70, 4200, 4, 0, 1}, {130, 2, 2, 0, 20}, {1, 1, 1, 0, 40}};
    for (int i = 0; i < COUNT(sizes); i++)
        for (int o = 1; o < TOKEN_OPTION_SETS; o += 2) {
            token_sizes size = sizes[i];
            if (!(token_option_sets[o] & TOKENS_IDS))
                size.visible = size.tokens;
            if (size.images * size.visible > 100000)
                continue; /* all of many tokens: enough was said about rows above */
            if (test_leaves_out(4))
                continue;
            char text[80];
            snprintf(text, sizeof text, "%lld images of %lld tokens, options %u", (long long)size.images,
                     (long long)size.tokens, token_option_sets[o]);
            token_case c = token_case_new(size, dtype_f32, token_option_sets[o], (layout){0}, (uint64_t)i);
            check_case(&c, text);
            token_case_free(&c);
        }
}

/* ---- views ---- */

/* Batch-second tensors ([T, B, D] seen as [B, T, D]) fold into two levels; all of x, tokens and their gradients. */
static void batch_second(void **state)
{
    (void)state;
    const token_sizes size = {3, 6, 4, 1, 19};
    token_case c = token_case_new(size, dtype_f32, token_option_sets[6], (layout){0}, 5);
    tensor *const views[] = {c.tokens, c.grad_tokens, c.x, c.grad_x};
    for (int i = 0; i < COUNT(views); i++) {
        /* the same memory, other places for the elements: what was stored in it is random still */
        views[i]->strides[0] = size.channels;
        views[i]->strides[1] = size.images * size.channels;
        views[i]->t.strides = views[i]->strides;
    }
    for (int i = 0; i < level_count; i++) {
        test_case_is("%s", name_of(levels[i]));
        expect_ok(levels[i], token_assemble(levels[i], &c));
        expect_assembled(&c);
        expect_ok(levels[i], token_backward(levels[i], &c));
        expect_token_gradients(&c);
    }
    test_case_is("%s", "");
    token_case_free(&c);
}

/* A tensor of which all images are one. */
static void expand(tensor *t)
{
    t->strides[0] = 0;
    t->t.strides = t->strides;
}

static void expanded_inputs(void **state)
{
    (void)state;
    const token_sizes size = {4, 6, 5, 2, 33};
    token_case c = token_case_new(size, dtype_bf16, token_option_sets[4] | TOKENS_PREFIX_EMBED, (layout){0}, 6);
    tensor *const views[] = {c.tokens, c.grad_x, c.ids_keep, c.positions, c.places, c.prefix_tokens, c.pos_embed};
    for (int i = 0; i < COUNT(views); i++)
        expand(views[i]);
    for (int i = 0; i < level_count; i++) {
        test_case_is("%s", name_of(levels[i]));
        expect_ok(levels[i], token_assemble(levels[i], &c));
        expect_assembled(&c);
        expect_ok(levels[i], token_backward(levels[i], &c));
        expect_token_gradients(&c);
    }
    test_case_is("%s", "");
    token_case_free(&c);
}

static void every_mask_dtype(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_bool, dtype_u8,   dtype_i32, dtype_i64,
                                     dtype_f16,  dtype_bf16, dtype_f32, dtype_f64};
    const token_sizes size = {3, 8, 6, 1, 7};
    for (int d = 0; d < COUNT(dtypes); d++) {
        token_case c = token_case_new(size, dtype_f32, token_option_sets[2], (layout){0}, 7);
        tensor *const mask = tensor_new(dtypes[d], 2, (int64_t[]){size.images, size.visible});
        tensor_fill_below(mask, 3, 2);
        if (d >= 2)
            tensor_set(mask, 4, -1);
        if (d >= 4) {
            tensor_set(mask, 5, NAN); /* not 0 */
            tensor_set(mask, 6, -0.0);
            tensor_set(mask, 7, ldexp(1, -14)); /* not 0, though an integer would be */
        }
        tensor_free(c.mask_pos);
        c.mask_pos = mask;
        check_case(&c, dtype_name(dtypes[d]));
        token_case_free(&c);
    }
}

/* ---- what may be left out ---- */

static void each_output_alone(void **state)
{
    (void)state;
    const token_sizes size = {5, 7, 4, 2, 21};
    for (int o = 0; o < TOKEN_OPTION_SETS; o++) {
        token_sizes fitting = size;
        fitting.visible = token_option_sets[o] & TOKENS_IDS ? size.visible : size.tokens;
        token_case c = token_case_new(fitting, dtype_f16, token_option_sets[o], (layout){0}, 8);
        tensor **const outputs[] = {&c.grad_tokens, &c.grad_mask_token, &c.grad_prefix_tokens, &c.grad_pos_embed};
        for (int keep = 0; keep < COUNT(outputs); keep++) {
            tensor *held[COUNT(outputs)];
            if (!*outputs[keep])
                continue;
            for (int i = 0; i < COUNT(outputs); i++) {
                held[i] = *outputs[i];
                *outputs[i] = i == keep ? held[i] : NULL;
            }
            test_case_is("options %u, only output %d", token_option_sets[o], keep);
            token_case_forget_outputs(&c);
            expect_ok(levels[0], token_backward(levels[0], &c));
            expect_token_gradients(&c);
            for (int i = 0; i < COUNT(outputs); i++)
                *outputs[i] = held[i];
        }
        token_case_free(&c);
    }
    test_case_is("%s", "");
}

/* N may be left out where it can be known. */
static void tokens_per_image_follows(void **state)
{
    (void)state;
    for (int o = 0; o < TOKEN_OPTION_SETS; o++) {
        const token_sizes size = {2, 6, token_option_sets[o] & TOKENS_IDS ? 4 : 6, 1, 9};
        token_case c = token_case_new(size, dtype_f32, token_option_sets[o], (layout){0}, 9);
        poslabel_assemble_tokens_backward_args args = token_backward_args(&c);
        args.tokens_per_image = 0;
        expect_ok(levels[0], poslabel_assemble_tokens_backward(levels[0], &args));
        expect_token_gradients(&c);
        token_case_free(&c);
    }
}

static void empty_batches(void **state)
{
    (void)state;
    static const token_sizes sizes[] = {{0, 6, 4, 1, 9}, {2, 6, 0, 1, 9}, {2, 0, 0, 1, 9}, {2, 0, 0, 0, 9},
                                        {0, 0, 0, 0, 9}, {3, 5, 4, 0, 9}, {2, 6, 4, 1, 0}};
    for (int i = 0; i < COUNT(sizes); i++)
        for (int streamed = 0; streamed < 2; streamed++) {
            token_case c = token_case_new(sizes[i], dtype_f32,
                                          TOKENS_IDS | TOKENS_MASK | TOKENS_PLACES | TOKENS_POS_EMBED, (layout){0}, 10);
            test_case_is("sizes %d", i);
            for (int k = 0; k < level_count; k++) {
                levels[k]->stream_bytes = streamed ? 0 : SIZE_MAX;
                token_case_forget_outputs(&c);
                expect_ok(levels[k], token_assemble(levels[k], &c));
                expect_assembled(&c);
                poslabel_assemble_tokens_backward_args args = token_backward_args(&c);
                expect_ok(levels[k], poslabel_assemble_tokens_backward(levels[k], &args));
                expect_token_gradients(&c); /* sums over nothing are 0 */
                token_case_check_outputs(&c);
            }
            token_case_free(&c);
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
        for (int sign = -1; sign <= 1; sign += 2) {
            const token_sizes size = {1, 2, 3, 0, 18};
            token_case c = token_case_new(size, cases[d].dtype, TOKENS_IDS | TOKENS_DUPLICATES, (layout){0}, 11);
            tensor_fill(c.ids_keep, 1);
            const double up = sign * (1 + 2 * cases[d].half_step);
            for (int64_t i = 0; i < size.channels; i++) {
                tensor_set(c.grad_x, i, sign);
                tensor_set(c.grad_x, size.channels + i, sign * cases[d].half_step);
                tensor_set(c.grad_x, 2 * size.channels + i, (i % 2 ? -sign : sign) * cases[d].tiny);
            }
            for (int k = 0; k < level_count; k++) {
                expect_ok(levels[k], token_backward(levels[k], &c));
                for (int64_t i = 0; i < size.channels; i++)
                    expect_number("grad_tokens", tensor_get(c.grad_tokens, size.channels + i), i % 2 ? sign : up, 0);
            }
            token_case_free(&c);
        }
}

/* Sums of what is not finite, with NaNs of the smallest payload too, which rounding must not turn into infinities. */
static void nans_and_infinities(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16};
    const uint32_t smallest_nan[] = {0x7f800001u, 0x7c01u, 0x7f81u};
    const double values[][2] = {{NAN, 1},      {1, NAN}, {INFINITY, 1}, {-INFINITY, 2}, {INFINITY, -INFINITY},
                                {-1, INFINITY}};
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int k = 0; k < level_count; k++)
            for (int streamed = 0; streamed < 2; streamed++) {
                /* one token, twice: a sum of two on the way back as well */
                const token_sizes size = {1, 1, 2, 0, 67};
                token_case c =
                    token_case_new(size, dtypes[d], TOKENS_IDS | TOKENS_DUPLICATES | TOKENS_POS_EMBED, (layout){0}, 15);
                for (int64_t i = 0; i < size.channels; i++)
                    for (int of = 0; of < 2; of++) {
                        tensor *const values_of = of ? c.pos_embed : c.tokens;
                        const double value = values[i % COUNT(values)][of];
                        tensor_set(values_of, i, value);
                        tensor_set(c.grad_x, of * size.channels + i, value);
                        if (isnan(value)) {
                            memcpy(tensor_at(values_of, i), &smallest_nan[d], dtype_size(dtypes[d]));
                            memcpy(tensor_at(c.grad_x, of * size.channels + i), &smallest_nan[d],
                                   dtype_size(dtypes[d]));
                        }
                    }
                test_case_is("%s, %s, %s", dtype_name(dtypes[d]), name_of(levels[k]), streamed ? "streamed" : "stored");
                levels[k]->stream_bytes = streamed ? 0 : SIZE_MAX;
                expect_ok(levels[k], token_assemble(levels[k], &c));
                expect_ok(levels[k], token_backward(levels[k], &c));
                for (int64_t i = 0; i < size.channels; i++) {
                    const double want = values[i % COUNT(values)][0] + values[i % COUNT(values)][1];
                    expect_number("x", tensor_get(c.x, i), want, 0);
                    expect_number("x", tensor_get(c.x, size.channels + i), want, 0);
                    expect_number("grad_tokens", tensor_get(c.grad_tokens, i), want, 0);
                    expect_number("grad_pos_embed", tensor_get(c.grad_pos_embed, i), want, 0);
                }
                token_case_free(&c);
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

/* The pass is linear, so its gradient is its adjoint: <grad_x, forward(v)> = <backward(grad_x), v>. */
static void gradient_is_the_adjoint(void **state)
{
    (void)state;
    for (int o = 0; o < TOKEN_OPTION_SETS; o++)
        for (int seed = 0; seed < 4; seed++) {
            const unsigned options = token_option_sets[o] | TOKENS_MASK_TOKEN;
            const token_sizes size = {3, 8, options & TOKENS_IDS ? 6 : 8, seed % 3, 50};
            token_case c = token_case_new(size, dtype_f32, options, (layout){0}, (uint64_t)(100 + seed));
            poslabel_context *const context = levels[seed % level_count];
            test_case_is("options %u, %s", options, name_of(context));
            expect_ok(context, token_assemble(context, &c));
            expect_ok(context, token_backward(context, &c));
            const double forward = dot(c.grad_x, c.x);
            const double backward = dot(c.grad_tokens, c.tokens) + dot(c.grad_mask_token, c.mask_token) +
                                    dot(c.grad_prefix_tokens, c.prefix_tokens) + dot(c.grad_pos_embed, c.pos_embed);
            const double size_of_terms = sqrt(dot(c.grad_x, c.grad_x) * dot(c.x, c.x));
            if (!(fabs(forward - backward) <= 1e-7 * size_of_terms))
                test_fail("<grad_x, forward(v)> = %.12g, <backward(grad_x), v> = %.12g", forward, backward);
            token_case_free(&c);
        }
    test_case_is("%s", "");
}

/*
 * Backward, where no row is written twice for it, so that what looks for races has nothing else to say.  Of 9000 places
 * CUDA looks at 8192 together.
 */
static void places_given_twice(void **state)
{
    (void)state;
    static const token_sizes sizes[] = {{2, 70, 70, 1, 5}, {2, 9000, 9000, 0, 1}};
    for (int k = 0; k < level_count; k++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            token_case c = token_case_new(sizes[s], dtype_f32, TOKENS_PLACES, (layout){0}, 11);
            const poslabel_assemble_tokens_backward_args args = token_backward_args(&c);
            const int64_t first = sizes[s].visible;
            test_case_is("%s, sizes %d", name_of(levels[k]), (int)s);
            tensor_set(c.places, 2 * first - 1, tensor_get(c.places, first));
            expect_error(levels[k], poslabel_assemble_tokens_backward(levels[k], &args), POSLABEL_ERROR_INVALID,
                         "assemble_tokens_backward: ", "places[1, ", "a second time");
            token_case_free(&c);
        }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_vectors),      cmocka_unit_test(columns_and_parameters),
        cmocka_unit_test(float32_rows),        cmocka_unit_test(float16_rows),
        cmocka_unit_test(bfloat16_rows),       cmocka_unit_test(every_alignment),
        cmocka_unit_test(many_rows),           cmocka_unit_test(batch_second),
        cmocka_unit_test(expanded_inputs),     cmocka_unit_test(every_mask_dtype),
        cmocka_unit_test(each_output_alone),   cmocka_unit_test(tokens_per_image_follows),
        cmocka_unit_test(empty_batches),       cmocka_unit_test(sums_are_rounded_once),
        cmocka_unit_test(nans_and_infinities), cmocka_unit_test(gradient_is_the_adjoint),
        cmocka_unit_test(places_given_twice),
    };
    return cmocka_run_group_tests_name("tokens", tests, open_levels, close_levels);
}
