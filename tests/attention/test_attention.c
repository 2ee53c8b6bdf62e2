/*
 * Attentive weights: golden vectors, the definition at every level, determinism, errors.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

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

typedef struct attention_case {
    int64_t images, count, visible, channels; /* B, N, V, D */
    double temperature;
    tensor *tokens, *cls, *pos_embed, *ids_keep; /* the last two may be NULL */
    tensor *attention, *weights;
} attention_case;

/* prefix 0: no pos_embed.  visible 0: no ids_keep. */
typedef struct attention_sizes {
    int64_t images, count, visible, channels, prefix;
    bool own_cls;
} attention_sizes;

static attention_case case_new(attention_sizes s, poslabel_dtype dtype, poslabel_dtype ids, poslabel_dtype out,
                               layout how, uint64_t seed)
{
    attention_case c = {s.images, s.count, s.visible ? s.visible : s.count, s.channels, 0.1, NULL, NULL, NULL, NULL,
                        NULL,     NULL};
    const layout row = {.row_padding = how.row_padding, .side = how.side};
    c.tokens = tensor_laid_out(dtype, 3, (int64_t[]){s.images, s.count, s.channels}, how);
    c.cls = s.own_cls ? tensor_laid_out(dtype, 2, (int64_t[]){s.images, s.channels}, how)
                      : tensor_laid_out(dtype, 1, &s.channels, (layout){.side = how.side, .gap = how.gap});
    tensor_fill_normal(c.tokens, seed, 1);
    tensor_fill_normal(c.cls, seed + 1, 1);
    if (s.prefix) {
        c.pos_embed = tensor_laid_out(dtype, 2, (int64_t[]){s.prefix + s.count, s.channels}, how);
        tensor_fill_normal(c.pos_embed, seed + 2, 0.5);
    }
    if (s.visible) {
        c.ids_keep = tensor_laid_out(ids, 2, (int64_t[]){s.images, s.visible}, row);
        tensor_fill_below(c.ids_keep, seed + 3, s.count); /* some of them twice */
    }
    c.attention = tensor_laid_out(out, 2, (int64_t[]){s.images, s.count}, row);
    c.weights = tensor_laid_out(out, 2, (int64_t[]){s.images, c.visible}, row);
    return c;
}

static void case_free(attention_case *c)
{
    tensor *const all[] = {c->tokens, c->cls, c->pos_embed, c->ids_keep, c->attention, c->weights};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
}

static poslabel_attentive_weights_args args_of(const attention_case *c)
{
    poslabel_attentive_weights_args args = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
    args.tokens = tensor_of(c->tokens);
    args.cls = tensor_of(c->cls);
    args.pos_embed = tensor_of(c->pos_embed);
    args.ids_keep = tensor_of(c->ids_keep);
    args.temperature = c->temperature;
    args.attention = tensor_of(c->attention);
    args.weights = tensor_of(c->weights);
    return args;
}

static poslabel_status call(poslabel_context *context, const attention_case *c)
{
    const poslabel_attentive_weights_args args = args_of(c);
    return poslabel_attentive_weights(context, &args);
}

static void forget(attention_case *c)
{
    tensor_forget(c->attention);
    tensor_forget(c->weights);
}

/* ---- the definition ---- */

static long double similarity(const attention_case *c, int64_t b, int64_t n)
{
    const int64_t d = c->channels, prefix = c->pos_embed ? c->pos_embed->shape[0] - c->count : 0;
    long double product = 0, token = 0, cls = 0;
    for (int64_t i = 0; i < d; i++) {
        long double x = tensor_get(c->cls, (c->cls->t.ndim == 2 && c->cls->shape[0] > 1 ? b * d : 0) + i);
        long double t = tensor_get(c->tokens, (b * c->count + n) * d + i);
        if (c->pos_embed) {
            x += tensor_get(c->pos_embed, i);
            t += tensor_get(c->pos_embed, (prefix + n) * d + i);
        }
        product += x * t;
        cls += x * x;
        token += t * t;
    }
    return product / (fmaxl(sqrtl(cls), 1e-8L) * fmaxl(sqrtl(token), 1e-8L));
}

static void check_value(const char *what, const tensor *got, int64_t at, long double want, double tolerance)
{
    const double value = tensor_get(got, at), slack = tolerance + dtype_epsilon(got->t.dtype);
    if (!(fabsl(value - want) <= slack * want))
        test_fail("%s[%lld]: got %.17g, want %.17Lg, relative error %.3Lg", what, (long long)at, value, want,
                  fabsl(value - want) / want);
}

/* Each weight by itself within the relative error that the header promises. */
static void check_answer(const attention_case *c, double tolerance)
{
    long double *const a = malloc(sizeof *a * (size_t)(c->count + 1));
    for (int64_t b = 0; b < c->images; b++) {
        long double max = -2, sum = 0, kept = 0;
        for (int64_t n = 0; n < c->count; n++) {
            a[n] = similarity(c, b, n);
            max = fmaxl(max, a[n]);
        }
        for (int64_t n = 0; n < c->count; n++)
            sum += a[n] = expl((a[n] - max) / c->temperature);
        for (int64_t n = 0; n < c->count; n++)
            check_value("attention", c->attention, b * c->count + n, a[n] / sum, tolerance);
        for (int64_t r = 0; r < c->visible; r++)
            kept += a[c->ids_keep ? (int64_t)tensor_get(c->ids_keep, b * c->visible + r) : r];
        for (int64_t r = 0; r < c->visible; r++) {
            const int64_t id = c->ids_keep ? (int64_t)tensor_get(c->ids_keep, b * c->visible + r) : r;
            check_value("weights", c->weights, b * c->visible + r, a[id] / kept, tolerance);
        }
    }
    free(a);
}

static double tolerance_of(const poslabel_context *context, poslabel_dtype dtype)
{
    return poslabel_context_isa(context) == POSLABEL_ISA_REFERENCE || dtype_is(dtype, dtype_f64) ? 1e-12 : 1e-5;
}

/* ---- golden vectors ---- */

static void check_golden(const char *name, poslabel_dtype dtype)
{
    npz *const file = npz_open(name);
    const npz_array *const tokens = npz_get(file, "patch_tokens"), *const ids = npz_get(file, "ids_keep");
    const npz_array *const full = npz_get(file, "attn_full"), *const kept = npz_get(file, "attn");
    attention_case c = {.images = tokens->shape[0], .temperature = 0.1};
    c.tokens = tensor_from_npz(tokens, dtype, (layout){0});
    c.cls = tensor_from_npz(npz_get(file, "cls_token"), dtype, (layout){0});       /* [1, 1, D] */
    c.pos_embed = tensor_from_npz(npz_get(file, "pos_embed"), dtype, (layout){0}); /* [1, 1 + N, D] */
    c.ids_keep = tensor_from_npz(ids, dtype_i64, (layout){0});
    c.attention = tensor_new(dtype_f64, 2, full->shape);
    c.weights = tensor_new(dtype_f64, 2, kept->shape);
    double *const want_full = npz_doubles(full), *const want_kept = npz_doubles(kept);
    for (int i = 0; i < level_count; i++) {
        const double tolerance = dtype_is(dtype, dtype_f64) ? 2e-6 : 1e-5;
        test_case_is("%s, %s, %s", name, dtype_name(dtype), name_of(levels[i]));
        forget(&c);
        expect_ok(levels[i], call(levels[i], &c));
        expect_near_doubles("attn_full", c.attention, want_full, tolerance);
        expect_near_doubles("attn", c.weights, want_kept, tolerance);
    }
    test_case_is("%s", "");
    free(want_full);
    free(want_kept);
    case_free(&c);
    npz_close(file);
}

static void golden_vectors(void **state)
{
    (void)state;
    for (int d = 0; d < 2; d++) {
        check_golden("droppos_embed_param_shuffle_attn", d ? dtype_f64 : dtype_f32);
        check_golden("droppos_embed_zeros_attn", d ? dtype_f64 : dtype_f32);
    }
}

/* ---- every level against the definition ---- */

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

static const int64_t all_channels[] = {1,  2,   3,   4,   8,   15,  16,  17,  31,  32,  33,  63,  64,
                                       65, 127, 128, 129, 196, 197, 256, 511, 512, 513, 768, 1030};

static void check_sizes(attention_sizes s, poslabel_dtype dtype, int how, bool narrow, uint64_t seed)
{
    attention_case c = case_new(s, dtype, narrow ? dtype_i32 : dtype_i64, narrow ? dtype_f32 : dtype_f64,
                                layout_of(how, dtype, s.channels), seed);
    guard_read_only(&c.tokens->memory, true);
    guard_read_only(&c.cls->memory, true);
    for (int i = 0; i < level_count; i++) {
        test_case_is("%s, %lld images of %lld x %lld, %lld visible, prefix %lld, %s, layout %d, %s", dtype_name(dtype),
                     (long long)s.images, (long long)s.count, (long long)s.channels, (long long)s.visible,
                     (long long)s.prefix, s.own_cls ? "a cls each" : "one cls", how, name_of(levels[i]));
        forget(&c);
        expect_ok(levels[i], call(levels[i], &c));
        check_answer(&c, tolerance_of(levels[i], dtype));
        tensor_check(c.attention);
        tensor_check(c.weights);
    }
    test_case_is("%s", "");
    case_free(&c);
}

static void every_level(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    for (int k = 0; k < COUNT(all_channels); k++)
        for (int d = 0; d < COUNT(dtypes); d++)
            for (int o = 0; o < 6; o++) {
                /* up to four images go to the kernel at once: one round, two, and a rest */
                const attention_sizes s = {
                    1 + (k + o) % 7,       5 + k % 4,      o % 3 ? 1 + (k + d) % 9 : 0, all_channels[k],
                    o % 2 ? 1 + k % 2 : 0, (k + d + o) % 2};
                if (!test_is_quick() || (k + d + o) % 4 == 0)
                    check_sizes(s, dtypes[d], (k + d) % 3, o % 2 == k % 2, (uint64_t)(k * 64 + d * 8 + o));
            }
}

static void realistic_sizes(void **state)
{
    (void)state;
    check_sizes((attention_sizes){2, 196, 49, 768, 1, false}, dtype_f32, 0, true, 1);
    check_sizes((attention_sizes){2, 196, 49, 768, 1, true}, dtype_bf16, 1, false, 2);
    check_sizes((attention_sizes){1, 64, 0, 5000, 0, false}, dtype_f16, 2, true, 3);
}

/* A cls of [1, D] serves all images; one image may have its own. */
static void shared_cls_of_rank_two(void **state)
{
    (void)state;
    for (int64_t images = 1; images <= 3; images += 2) {
        attention_case c =
            case_new((attention_sizes){images, 6, 4, 20, 1, false}, dtype_f32, dtype_i64, dtype_f64, (layout){0}, 4);
        c.cls->t.ndim = 2;
        c.cls->shape[1] = c.cls->strides[0] = c.cls->shape[0];
        c.cls->shape[0] = c.cls->strides[1] = 1;
        for (int i = 0; i < level_count; i++) {
            forget(&c);
            expect_ok(levels[i], call(levels[i], &c));
            check_answer(&c, tolerance_of(levels[i], dtype_f32));
        }
        case_free(&c);
    }
}

/* ---- corners ---- */

/* A length below 1e-8 counts as 1e-8: tiny and zero vectors are not an error, nor is a cls of zeros. */
static void tiny_vectors(void **state)
{
    (void)state;
    const double scales[] = {0, 1e-12, 1e-9, 1e-8, 1e-7};
    for (int s = 0; s < COUNT(scales); s++)
        for (int which = 0; which < 3; which++) {
            attention_case c =
                case_new((attention_sizes){2, 6, 4, 9, 0, true}, dtype_f32, dtype_i64, dtype_f64, (layout){0}, 5);
            for (int64_t i = 0; i < c.tokens->count; i++)
                if (which != 1 && i % 2 == 0)
                    tensor_set(c.tokens, i, scales[s] * tensor_get(c.tokens, i));
                else if (which == 2)
                    tensor_set(c.tokens, i, 0);
            for (int64_t i = 0; i < c.cls->count && which; i++)
                tensor_set(c.cls, i, scales[s] * tensor_get(c.cls, i));
            for (int i = 0; i < level_count; i++) {
                test_case_is("scale %g of %d, %s", scales[s], which, name_of(levels[i]));
                forget(&c);
                expect_ok(levels[i], call(levels[i], &c));
                check_answer(&c, 1e-5);
            }
            case_free(&c);
        }
    test_case_is("%s", "");
}

/* At a low temperature the visible tokens' share of the softmax over all underflows; their weights must not. */
static void low_temperatures(void **state)
{
    (void)state;
    const double temperatures[] = {1e-3, 1e-5, 1e-310, 10, 1e300};
    for (int t = 0; t < COUNT(temperatures); t++) {
        attention_case c =
            case_new((attention_sizes){1, 3, 2, 4, 0, false}, dtype_f32, dtype_i64, dtype_f64, (layout){0}, 6);
        const double tokens[] = {1, 0, 0, 0, -1, 0, 0, 0, -1, 1, 0, 0}, cls[] = {1, 0, 0, 0};
        for (int i = 0; i < 12; i++)
            tensor_set(c.tokens, i, tokens[i]);
        for (int i = 0; i < 4; i++)
            tensor_set(c.cls, i, cls[i]);
        tensor_set(c.ids_keep, 0, 1);
        tensor_set(c.ids_keep, 1, 2);
        c.temperature = temperatures[t];
        /* similarities 1, -1 and -sqrt(1/2): the last is the nearer of the two visible ones */
        const double near = 1 / (1 + exp(-(1 - sqrt(0.5)) / c.temperature));
        for (int i = 0; i < level_count; i++) {
            test_case_is("temperature %g, %s", temperatures[t], name_of(levels[i]));
            expect_ok(levels[i], call(levels[i], &c));
            expect_number("weight", tensor_get(c.weights, 1), near, 1e-5);
            expect_number("the weights' sum", tensor_get(c.weights, 0) + tensor_get(c.weights, 1), 1, 1e-12);
            expect_number("the attention's sum",
                          tensor_get(c.attention, 0) + tensor_get(c.attention, 1) + tensor_get(c.attention, 2), 1,
                          1e-12);
        }
        case_free(&c);
    }
    test_case_is("%s", "");
}

/* A NaN stays in its image. */
static void nan_stays_in_its_image(void **state)
{
    (void)state;
    attention_case c =
        case_new((attention_sizes){6, 5, 3, 18, 1, false}, dtype_f32, dtype_i64, dtype_f64, (layout){0}, 7);
    tensor_fill(c.ids_keep, 2);
    tensor_set(c.tokens, (2 * 5 + 4) * 18 + 17, NAN);
    for (int i = 0; i < level_count; i++) {
        expect_ok(levels[i], call(levels[i], &c));
        for (int64_t k = 0; k < c.attention->count; k++)
            assert_true(isnan(tensor_get(c.attention, k)) == (k / 5 == 2));
        for (int64_t k = 0; k < c.weights->count; k++)
            assert_true(isfinite(tensor_get(c.weights, k))); /* none of them is of token 4 */
    }
    case_free(&c);
}

static void what_may_be_left_out(void **state)
{
    (void)state;
    attention_case c =
        case_new((attention_sizes){3, 6, 4, 10, 1, true}, dtype_f32, dtype_i32, dtype_f64, (layout){0}, 8);
    for (int i = 0; i < level_count; i++) {
        forget(&c);
        poslabel_attentive_weights_args args = args_of(&c);
        args.attention = NULL;
        expect_ok(levels[i], poslabel_attentive_weights(levels[i], &args));
        assert_true(tensor_is_untouched(c.attention));
        args = args_of(&c);
        args.weights = NULL;
        expect_ok(levels[i], poslabel_attentive_weights(levels[i], &args));
        check_answer(&c, 1e-5); /* each call wrote its half */
    }
    case_free(&c);

    static const attention_sizes empty[] = {{0, 6, 4, 10, 1, true}, {0, 6, 0, 10, 0, false}, {2, 3, 2, 0, 1, false}};
    for (int e = 0; e < COUNT(empty); e++) {
        c = case_new(empty[e], dtype_f32, dtype_i64, dtype_f64, (layout){0}, 9);
        for (int i = 0; i < level_count; i++) {
            expect_ok(levels[i], call(levels[i], &c));
            check_answer(&c, 1e-12);
        }
        case_free(&c);
    }
}

/* ---- determinism ---- */

static void same_bits(void **state)
{
    (void)state;
    static const int thread_counts[] = {1, 2, 3, 7};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int own = 0; own < 2; own++)
            for (int k = 0; k < level_count; k++) {
                attention_case c = case_new((attention_sizes){31, 40, 11, 203, 1, own}, dtypes[d], dtype_i64, dtype_f64,
                                            (layout){0}, 10);
                tensor *attention = NULL, *weights = NULL;
                for (int t = 0; t < COUNT(thread_counts); t++) {
                    poslabel_context *context = context_new(poslabel_context_isa(levels[k]), thread_counts[t]);
                    test_case_is("%s, %s, %d threads", dtype_name(dtypes[d]), name_of(context), thread_counts[t]);
                    forget(&c);
                    expect_ok(context, call(context, &c));
                    if (!attention) {
                        attention = tensor_copy(c.attention, dtype_f64, (layout){0});
                        weights = tensor_copy(c.weights, dtype_f64, (layout){0});
                    }
                    expect_same_tensor("attention", c.attention, attention);
                    expect_same_tensor("weights", c.weights, weights);
                    const int64_t on_cpu = thread_counts[t] * (32 * (40 + 203) + 64);
                    const bool is_cuda = poslabel_context_isa(context) == POSLABEL_ISA_AUTO;
                    const int64_t bound = is_cuda ? 8 * 31 * (40 + 203 + 1) : on_cpu;
                    assert_true(poslabel_context_workspace(context) <= (size_t)bound);
                    poslabel_context_destroy(context);
                }
                /* one image at a time */
                for (int64_t b = 0; b < c.images; b++) {
                    const int64_t tokens_shape[] = {1, 40, 203}, ids_shape[] = {1, 11}, full_shape[] = {1, 40};
                    poslabel_attentive_weights_args args = args_of(&c);
                    poslabel_tensor tokens = c.tokens->t, ids = c.ids_keep->t, full = c.attention->t,
                                    kept = c.weights->t;
                    poslabel_tensor cls = c.cls->t;
                    tokens.data = tensor_at(c.tokens, b * 40 * 203), tokens.shape = tokens_shape;
                    ids.data = tensor_at(c.ids_keep, b * 11), ids.shape = ids_shape;
                    full.data = tensor_at(c.attention, b * 40), full.shape = full_shape;
                    kept.data = tensor_at(c.weights, b * 11), kept.shape = ids_shape;
                    if (own)
                        cls.data = tensor_at(c.cls, b * 203), cls.shape = tokens_shape + 2, cls.ndim = 1;
                    args.tokens = &tokens, args.ids_keep = &ids, args.attention = &full, args.weights = &kept,
                    args.cls = &cls;
                    memset(full.data, 0, 40 * 8);
                    expect_ok(levels[k], poslabel_attentive_weights(levels[k], &args));
                }
                expect_same_tensor("attention of single images", c.attention, attention);
                expect_same_tensor("weights of single images", c.weights, weights);
                tensor_free(attention);
                tensor_free(weights);
                case_free(&c);
            }
    test_case_is("%s", "");
}

/* ---- errors ---- */

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

#define REFUSED(change, status, ...)                                                                                   \
    do {                                                                                                               \
        poslabel_attentive_weights_args args = args_of(&c);                                                            \
        change;                                                                                                        \
        forget(&c);                                                                                                    \
        expect_error(context, poslabel_attentive_weights(context, &args), (status),                                    \
                     "attentive_weights: ", __VA_ARGS__);                                                              \
        if (!error_came_later() && (!tensor_is_untouched(c.attention) || !tensor_is_untouched(c.weights)))             \
            test_fail("%s: the call failed, but an output was written", #change);                                      \
    } while (0)

static poslabel_tensor shaped(const tensor *t, int ndim, const int64_t *shape)
{
    poslabel_tensor changed = t->t;
    changed.ndim = ndim;
    changed.shape = shape;
    return changed;
}

static void errors(void **state)
{
    (void)state;
    poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, 2);
    attention_case c =
        case_new((attention_sizes){3, 6, 4, 5, 2, true}, dtype_f32, dtype_i64, dtype_f64, (layout){0}, 11);
    assert_int_equal(poslabel_attentive_weights(NULL, NULL), INVALID);
    expect_error(context, poslabel_attentive_weights(context, NULL), INVALID, "attentive_weights: ", "args is NULL");
    REFUSED(args.struct_size = 5, INVALID, "struct_size = 5");
    REFUSED(args.tokens = NULL, INVALID, "tokens is NULL");
    REFUSED(args.cls = NULL, INVALID, "cls is NULL");
    REFUSED(args.attention = args.weights = NULL, INVALID, "attention and weights");
    REFUSED(args.temperature = 0, INVALID, "temperature = 0");
    REFUSED(args.temperature = -0.1, INVALID, "temperature = -0.1");
    REFUSED(args.temperature = NAN, INVALID, "temperature = ", "nan");
    REFUSED(args.temperature = INFINITY, INVALID, "temperature = inf");

    tensor_set(c.ids_keep, 6, 6);
    REFUSED((void)args, INVALID, "ids_keep[1, 2] = 6", "[0, 6)");
    if (!test_on_cuda()) /* where ids that nothing needs are not looked at */
        REFUSED(args.weights = NULL, INVALID, "ids_keep[1, 2] = 6");
    tensor_set(c.ids_keep, 6, -1);
    REFUSED((void)args, INVALID, "ids_keep[1, 2] = -1", "[0, 6)");
    tensor_set(c.ids_keep, 6, 0);

    const int64_t flat[] = {90}, no_tokens[] = {3, 0, 5}, two_images[] = {2, 5}, few[] = {6, 5}, four[] = {7, 4};
    const int64_t wide[] = {3, 7}, ids[] = {2, 6};
    poslabel_tensor t = shaped(c.tokens, 1, flat), empty = shaped(c.tokens, 3, no_tokens);
    poslabel_tensor cls = shaped(c.cls, 2, two_images), cls_1 = shaped(c.cls, 1, flat);
    poslabel_tensor pos = shaped(c.pos_embed, 2, few), pos_4 = shaped(c.pos_embed, 2, four);
    poslabel_tensor kept = shaped(c.ids_keep, 2, ids), full = shaped(c.attention, 2, wide),
                    out = shaped(c.weights, 2, ids);
    REFUSED(args.tokens = &t, INVALID, "tokens", "[90]");
    REFUSED(args.tokens = &empty, INVALID, "N = 0");
    REFUSED(args.cls = &cls, INVALID, "cls", "[2, 5]", "[3, 5]");
    REFUSED(args.cls = &cls_1, INVALID, "cls", "[90]", "[5]");
    REFUSED(args.pos_embed = &pos, INVALID, "pos_embed has 6 rows", "at least 7");
    REFUSED(args.pos_embed = &pos_4, INVALID, "pos_embed", "[7, 4]");
    REFUSED(args.ids_keep = &kept, INVALID, "ids_keep", "[2, 6]", "[3, *]");
    REFUSED(args.attention = &full, INVALID, "attention", "[3, 7]", "[3, 6]");
    REFUSED(args.weights = &out, INVALID, "weights", "[2, 6]", "[3, 4]");
    REFUSED(args.ids_keep = NULL, INVALID, "weights", "[3, 4]", "[3, 6]");

    attention_case half =
        case_new((attention_sizes){3, 6, 4, 5, 2, true}, dtype_f16, dtype_i64, dtype_f64, (layout){0}, 12);
    REFUSED(args.tokens = &c.ids_keep->t, INVALID, "tokens", "int64");
    REFUSED(args.cls = &half.cls->t, INVALID, "cls", "float16", "float32");
    REFUSED(args.pos_embed = &half.pos_embed->t, INVALID, "pos_embed", "float16", "float32");
    REFUSED(args.ids_keep = &c.weights->t, INVALID, "ids_keep", "float64", "int32 or int64");
    REFUSED(args.attention = &half.tokens->t, INVALID, "attention", "float16", "float32 or float64");
    REFUSED(args.weights = &c.ids_keep->t, INVALID, "weights", "int64", "float32 or float64");
    case_free(&half);

    tensor *const all[] = {c.tokens, c.cls, c.pos_embed, c.ids_keep, c.attention, c.weights};
    static const char *const names[] = {"tokens is on",   "cls is on",       "pos_embed is on",
                                        "ids_keep is on", "attention is on", "weights is on"};
    for (int i = 0; i < COUNT(all); i++) {
        all[i]->t.device.type = test_other_device();
        REFUSED((void)args, INVALID, names[i]);
        all[i]->t.device.type = test_device().type;
    }

    const int64_t every_other[] = {60, 10, 2};
    poslabel_tensor strided = c.pos_embed->t, over = c.weights->t;
    strided.strides = every_other + 1;
    REFUSED(args.pos_embed = &strided, UNSUPPORTED, "pos_embed", "stride 2");
    tensor *const on[] = {c.attention, c.ids_keep, c.tokens, c.cls, c.pos_embed};
    static const char *const overlaps[] = {"attention overlaps weights", "weights overlaps ids_keep",
                                           "weights overlaps tokens", "weights overlaps cls",
                                           "weights overlaps pos_embed"};
    for (int i = 0; i < COUNT(on); i++) {
        over.data = (void *)(((uintptr_t)on[i]->t.data + 7) & ~(uintptr_t)7);
        REFUSED(args.weights = &over, INVALID, overlaps[i]);
    }

    forget(&c);
    expect_ok(context, call(context, &c));
    check_answer(&c, 1e-5);

    counting_allocator counter;
    poslabel_status status;
    counting_allocator_init(&counter);
    poslabel_context *const counted = context_counted(&counter, POSLABEL_ISA_REFERENCE, 2, &status);
    forget(&c);
    counter.fail_at = counter.allocations + 1;
    expect_error(counted, call(counted, &c), POSLABEL_ERROR_MEMORY, "attentive_weights: ", "workspace");
    assert_true(tensor_is_untouched(c.attention) && tensor_is_untouched(c.weights));
    expect_ok(counted, call(counted, &c));
    check_answer(&c, 1e-5);
    poslabel_context_destroy(counted);
    counting_allocator_check(&counter);
    case_free(&c);
    poslabel_context_destroy(context);
}

/* Tokens whose channels lie apart, or are one value, give what rows give: on the CPU the same bits, at every level. */
static void columns(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    const attention_sizes sizes[] = {{3, 70, 0, 37, 1, true}, {5, 130, 20, 64, 2, false}, {2, 9, 4, 3, 0, true}};
    for (int k = 0; k < COUNT(sizes) * COUNT(dtypes) * 2; k++) {
        const bool shared = k % 2;
        const attention_sizes size = sizes[k / 2 / COUNT(dtypes)];
        attention_case c = case_new(size, dtypes[k / 2 % COUNT(dtypes)], dtype_i64, dtype_f64,
                                    (layout){.row_padding = k % 3}, (uint64_t)k);
        for (int64_t j = 0; shared && j < c.tokens->count; j++)
            tensor_set(c.tokens, j, tensor_get(c.tokens, j - j % size.channels));
        tensor *const attention = tensor_copy(c.attention, dtype_f64, (layout){0});
        tensor *const weights = tensor_copy(c.weights, dtype_f64, (layout){0}), *const rows = c.tokens;
        tensor *const apart = tensor_copy(
            rows, rows->t.dtype, (layout){.columns = !shared, .shared = shared, .row_padding = shared ? 0 : k / 2 % 2});
        for (int i = 0; i < level_count; i++) {
            test_case_is("case %d, %s", k, name_of(levels[i]));
            c.tokens = rows;
            expect_ok(levels[i], call(levels[i], &c));
            for (int64_t j = 0; j < attention->count; j++)
                tensor_set(attention, j, tensor_get(c.attention, j));
            for (int64_t j = 0; j < weights->count; j++)
                tensor_set(weights, j, tensor_get(c.weights, j));
            forget(&c);
            c.tokens = apart;
            expect_ok(levels[i], call(levels[i], &c));
            if (test_device().type == POSLABEL_DEVICE_CPU) {
                expect_same_tensor("attention", c.attention, attention);
                expect_same_tensor("weights", c.weights, weights);
            } else {
                expect_near_tensor("attention", c.attention, attention, 1e-5);
                expect_near_tensor("weights", c.weights, weights, 1e-5);
            }
        }
        c.tokens = rows;
        tensor_free(apart);
        tensor_free(attention);
        tensor_free(weights);
        case_free(&c);
    }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_vectors),
        cmocka_unit_test(every_level),
        cmocka_unit_test(realistic_sizes),
        cmocka_unit_test(shared_cls_of_rank_two),
        cmocka_unit_test(tiny_vectors),
        cmocka_unit_test(low_temperatures),
        cmocka_unit_test(nan_stays_in_its_image),
        cmocka_unit_test(what_may_be_left_out),
        cmocka_unit_test(same_bits),
        cmocka_unit_test(columns),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests_name("attention", tests, open_levels, close_levels);
}
