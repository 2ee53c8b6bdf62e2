/*
 * Every instruction set against the definition.
 *
 * All row lengths at which the vector code changes its mind, every dtype and kind of target, rows at any alignment and
 * with gaps between them, in memory that ends or begins at an unreadable page, with and without non-temporal stores.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "context.h" /* the inside of a context: what to store past the caches is set by force here */

#include <unistd.h>

static const int64_t all_classes[] = {1,  2,  3,   4,   7,   8,   9,   15,  16,  17,  31,   32,   33,   63,
                                      64, 65, 127, 169, 196, 197, 256, 576, 729, 784, 1023, 1024, 1025, 4097};

static poslabel_dtype dtypes[4];

/* A set of contexts, one for each level. */
typedef struct levels {
    int count;
    poslabel_context *context[ISA_LEVELS];
} levels;

static int open_levels(void **state)
{
    static levels all;
    poslabel_isa isa[ISA_LEVELS];
    all.count = isa_levels(isa);
    for (int i = 0; i < all.count; i++)
        all.context[i] = context_new(isa[i], 1);
    dtypes[0] = dtype_f32, dtypes[1] = dtype_f16, dtypes[2] = dtype_bf16, dtypes[3] = dtype_f64;
    *state = &all;
    return 0;
}

static int close_levels(void **state)
{
    levels *all = *state;
    for (int i = 0; i < all->count; i++)
        poslabel_context_destroy(all->context[i]);
    return 0;
}

typedef struct target_kind {
    const char *name;
    loss_kind kind;
    double label_smoothing, sigma;
    int normalization;
} target_kind;

static const target_kind kinds[] = {
    {"hard", LOSS_EXPLICIT, 0, 0, 0},
    {"smoothed", LOSS_EXPLICIT, 0.1, 0, 0},
    {"Gaussian", LOSS_DROPPOS, 0, 1, POSLABEL_NORMALIZATION_ROW},
    {"Gaussian, narrow", LOSS_DROPPOS, 0, 0.4, POSLABEL_NORMALIZATION_ROW},
    {"Gaussian, reference", LOSS_DROPPOS, 0, 2.5, POSLABEL_NORMALIZATION_REFERENCE},
};

/* How the rows lie: at the end of the page, at its begin with every alignment, and with gaps. */
static layout layout_of(int number, poslabel_dtype dtype, int64_t classes)
{
    const size_t size = dtype_size(dtype);
    switch (number) {
    case 0:
        return (layout){0};
    case 1:
        return (layout){.side = GUARD_BEGIN, .gap = size * (size_t)(1 + classes % 7)};
    default:
        return (layout){.row_padding = 1 + classes % 5, .gap = size * (size_t)(classes % 3)};
    }
}

typedef enum run_mode { GRADIENT, LOSS_ONLY, IN_PLACE, STREAMED, RUN_MODES } run_mode;

static const char *const mode_names[] = {"gradient", "loss only", "in place", "streamed"};

/* Runs `c`, whose logits are those of `pristine`, and compares. */
static void check_mode(poslabel_context *context, loss_case *c, const tensor *pristine, const loss_answer *answer,
                       run_mode mode)
{
    tensor *const grad = c->grad;
    if (mode == LOSS_ONLY)
        c->grad = NULL;
    if (mode == IN_PLACE)
        c->grad = c->logits;
    context->stream_bytes = mode == STREAMED ? 0 : SIZE_MAX;
    loss_case_forget_outputs(c);
    expect_ok(context, loss_call(context, c));
    expect_answer(c, answer, loss_tolerance(pristine->t.dtype));
    tensor_check(c->logits);
    if (c->grad)
        tensor_check(c->grad);
    if (mode == IN_PLACE)
        for (int64_t i = 0; i < pristine->count; i++)
            tensor_set(c->logits, i, tensor_get(pristine, i));
    else
        expect_same_tensor("the logits, an input", c->logits, pristine);
    c->grad = grad;
}

static void check_kind(const levels *all, int64_t classes, poslabel_dtype dtype, const target_kind *kind)
{
    /* more rows than a batch of the kernels where that is cheap; else an odd few */
    const int64_t rows = classes <= 33 ? 67 : 5, leading[] = {rows};
    loss_answer answer = {0}; /* the same for every layout */
    for (int number = 0; number < 3; number++) {
        loss_case c = loss_case_new(kind->kind, grid_of(classes), dtype, 1, leading, layout_of(number, dtype, classes),
                                    POSLABEL_REDUCTION_MEAN, (uint64_t)classes);
        c.label_smoothing = kind->label_smoothing;
        c.sigma = kind->sigma;
        c.normalization = kind->normalization;
        c.grad_scale = 1.5;
        loss_case_add_weights(&c, dtype_f32, (uint64_t)classes + 7);
        tensor_set(c.weights, 0, 0.5); /* not all of them 0 */
        if (number == 0)
            answer = loss_solve(&c);
        tensor *pristine = tensor_copy(c.logits, dtype, (layout){0});
        for (int i = 0; i < all->count; i++)
            for (int mode = 0; mode < RUN_MODES; mode++) {
                test_case_is("%s, %lld classes, %s, %s, layout %d, %s", kind->name, (long long)classes,
                             dtype_name(dtype), poslabel_isa_name(poslabel_context_isa(all->context[i])), number,
                             mode_names[mode]);
                check_mode(all->context[i], &c, pristine, &answer, (run_mode)mode);
            }
        tensor_free(pristine);
        loss_case_free(&c);
    }
    loss_answer_free(&answer);
    test_case_is("%s", "");
}

static void check_dtype(const levels *all, poslabel_dtype dtype)
{
    for (int i = 0; i < COUNT(all_classes); i++)
        for (int k = 0; k < COUNT(kinds); k++)
            if (!test_is_quick() || (i + k) % COUNT(kinds) == 0)
                check_kind(all, all_classes[i], dtype, &kinds[k]);
}

static void float32_rows(void **state)
{
    check_dtype(*state, dtype_f32);
}

static void float16_rows(void **state)
{
    check_dtype(*state, dtype_f16);
}

static void bfloat16_rows(void **state)
{
    check_dtype(*state, dtype_bf16);
}

static void float64_rows(void **state)
{
    check_dtype(*state, dtype_f64);
}

/* Every address within two cache lines, each with the lengths that leave every remainder. */
static void every_alignment(void **state)
{
    const levels *all = *state;
    for (int d = 0; d < 2; d++)
        for (size_t gap = 0; gap < (test_is_quick() ? 40 : 132); gap += dtype_size(dtypes[d])) {
            const int64_t classes = 1 + (int64_t)(gap / dtype_size(dtypes[d])), leading[] = {9};
            loss_case c = loss_case_new(LOSS_EXPLICIT, grid_of(classes), dtypes[d], 1, leading,
                                        (layout){.side = GUARD_BEGIN, .gap = gap}, POSLABEL_REDUCTION_SUM, gap);
            loss_answer answer = loss_solve(&c);
            for (int i = 0; i < all->count; i++)
                for (int streamed = 0; streamed < 2; streamed++) {
                    test_case_is("%s, %lld classes, gap %zu, %s, %s", dtype_name(dtypes[d]), (long long)classes, gap,
                                 poslabel_isa_name(poslabel_context_isa(all->context[i])),
                                 streamed ? "streamed" : "stored");
                    all->context[i]->stream_bytes = streamed ? 0 : SIZE_MAX;
                    loss_case_forget_outputs(&c);
                    expect_ok(all->context[i], loss_call(all->context[i], &c));
                    expect_answer(&c, &answer, 1e-5);
                    tensor_check(c.grad);
                }
            loss_answer_free(&answer);
            loss_case_free(&c);
        }
    test_case_is("%s", "");
}

/* Stored or streamed, alone or among others, contiguous or with gaps: a row's gradient has the same bits. */
static void streamed_rows_have_the_same_bits(void **state)
{
    const levels *all = *state;
    static const int64_t lengths[] = {1, 5, 16, 49, 169, 196, 197, 784};
    for (int n = 0; n < COUNT(lengths); n++)
        for (int d = 0; d < 4; d++)
            for (int i = 0; i < all->count; i++) {
                const int64_t classes = lengths[n], leading[] = {131};
                const layout padded = {.row_padding = 3, .gap = 2 * dtype_size(dtypes[d]), .side = GUARD_BEGIN};
                loss_case a = loss_case_new(LOSS_DROPPOS, grid_of(classes), dtypes[d], 1, leading, (layout){0},
                                            POSLABEL_REDUCTION_SUM, 3);
                loss_case b = loss_case_new(LOSS_DROPPOS, grid_of(classes), dtypes[d], 1, leading, padded,
                                            POSLABEL_REDUCTION_SUM, 3);
                a.sigma = b.sigma = n % 2 ? 1 : 0;
                loss_case_add_mask(&a, dtype_u8, 5);
                loss_case_add_mask(&b, dtype_u8, 5);
                poslabel_context *context = all->context[i];
                test_case_is("%lld classes, %s, %s", (long long)classes, dtype_name(dtypes[d]),
                             poslabel_isa_name(poslabel_context_isa(context)));
                context->stream_bytes = SIZE_MAX;
                expect_ok(context, loss_call(context, &a));
                context->stream_bytes = 0;
                expect_ok(context, loss_call(context, &b));
                expect_same_tensor("padded, streamed", b.grad, a.grad);
                expect_same_tensor("loss", b.loss, a.loss);
                tensor_check(b.grad);
                tensor *stored = tensor_copy(a.grad, dtypes[d], (layout){0});
                tensor_forget(a.grad);
                expect_ok(context, loss_call(context, &a));
                expect_same_tensor("compact, streamed", a.grad, stored);
                tensor_free(stored);
                loss_case_free(&a);
                loss_case_free(&b);
            }
    test_case_is("%s", "");
}

/* The real thing: gradients of more than half the last-level cache, from addresses off the cache lines. */
static void large_gradients(void **state)
{
    (void)state;
    skip_on_cuda(); /* which has no such path */
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const size_t bytes = (size_t)(cache > 0 ? cache : 8 << 20) / 2 + (1 << 20);
    if (test_is_quick() || bytes > (size_t)200 << 20) {
        print_message("skipped: this run is short, or the cache of %ld bytes is too large\n", cache);
        skip();
    }
    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, 3);
    for (int64_t classes = 196; classes <= 197; classes++) {
        const int64_t rows = (int64_t)bytes / 4 / classes, leading[] = {rows}, part = 64;
        const layout odd = {.side = GUARD_BEGIN, .gap = 20};
        loss_case c =
            loss_case_new(LOSS_EXPLICIT, grid_of(classes), dtype_f32, 1, leading, odd, POSLABEL_REDUCTION_SUM, 1);
        expect_ok(context, loss_call(context, &c));
        guard_check(&c.grad->memory);
        /* a few rows at a time, the gradient stays in the cache: the same bits are wanted */
        float *const small = malloc((size_t)(part * classes) * sizeof *small);
        for (int64_t r = 0; r < rows; r += part) {
            const int64_t count = rows - r < part ? rows - r : part, shape[] = {count, classes};
            poslabel_tensor logits = POSLABEL_CPU_TENSOR(tensor_at(c.logits, r * classes), POSLABEL_FLOAT32, 2, shape);
            poslabel_tensor ids = POSLABEL_CPU_TENSOR(tensor_at(c.positions, r), POSLABEL_INT64, 1, shape);
            poslabel_tensor grad = POSLABEL_CPU_TENSOR(small, POSLABEL_FLOAT32, 2, shape);
            poslabel_position_cross_entropy_args args = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
            args.labels = POSLABEL_LABELS_EXPLICIT;
            args.reduction = POSLABEL_REDUCTION_SUM;
            args.logits = &logits;
            args.positions = &ids;
            args.grad_logits = &grad;
            expect_ok(context, poslabel_position_cross_entropy(context, &args));
            test_case_is("rows from %lld of %lld, %lld classes", (long long)r, (long long)rows, (long long)classes);
            expect_same_bits("gradient", tensor_at(c.grad, r * classes), small, (size_t)(count * classes), 4);
        }
        free(small);
        loss_case_free(&c);
    }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float32_rows),    cmocka_unit_test(float16_rows),
        cmocka_unit_test(bfloat16_rows),   cmocka_unit_test(float64_rows),
        cmocka_unit_test(every_alignment), cmocka_unit_test(streamed_rows_have_the_same_bits),
        cmocka_unit_test(large_gradients),
    };
    return cmocka_run_group_tests_name("simd", tests, open_levels, close_levels);
}
