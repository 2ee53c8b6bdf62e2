/*
 * What all losses have in common: reductions, weights, corner cases, dtypes.
 *
 * Every test runs at every instruction set.  What is expected comes from the definition in support/oracle.c, or is
 * written out where the point is a corner.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <sys/mman.h>

static const int64_t six[] = {2, 3};

/* The levels one after the other: for (context of each level). */
typedef struct level_loop {
    poslabel_isa levels[ISA_LEVELS];
    int count, at;
    poslabel_context *context;
} level_loop;

static bool next_level(level_loop *loop)
{
    if (!loop->count)
        loop->count = isa_levels(loop->levels);
    poslabel_context_destroy(loop->context);
    loop->context = NULL;
    if (loop->at == loop->count) {
        test_case_is("%s", "");
        return false;
    }
    loop->context = context_new(loop->levels[loop->at++], 2);
    test_case_is("%s", poslabel_isa_name(poslabel_context_isa(loop->context)));
    return true;
}

/* Six rows of 7 classes with explicit labels, or of 12 with Gaussian targets. */
static loss_case small_case(loss_kind kind, poslabel_dtype dtype, int reduction)
{
    const poslabel_grid grid = kind == LOSS_DROPPOS ? (poslabel_grid){3, 4} : (poslabel_grid){1, 7};
    loss_case c = loss_case_new(kind, grid, dtype, 2, six, (layout){0}, reduction, 41);
    c.sigma = 1;
    return c;
}

static void reductions_and_upstream_gradients(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int reduction = 0; reduction < 3; reduction++)
            for (int upstream = 0; upstream < 5; upstream++)
                for (int kind = LOSS_EXPLICIT; kind <= LOSS_DROPPOS; kind++) {
                    loss_case c = small_case((loss_kind)kind, dtype_f32, reduction);
                    loss_case_add_weights(&c, dtype_f32, 1);
                    c.grad_scale = upstream == 4 ? -65536 : 0.5;
                    if (upstream == 1)
                        c.grad_loss = tensor_scalar(dtype_f32, 3);
                    if (upstream == 2) {
                        c.grad_loss = tensor_new(dtype_f64, 1, (int64_t[]){1}); /* a scalar of rank 1 */
                        tensor_set(c.grad_loss, 0, -4);
                    }
                    if (upstream == 3 && reduction == POSLABEL_REDUCTION_NONE) {
                        c.grad_loss = tensor_new(dtype_f32, 2, six);
                        tensor_fill_normal(c.grad_loss, 2, 2);
                    }
                    test_case_is("%s, reduction %d, upstream %d, %s",
                                 poslabel_isa_name(poslabel_context_isa(loop.context)), reduction, upstream,
                                 loss_kind_names[kind]);
                    expect_solved(loop.context, &c);
                    loss_case_free(&c);
                }
}

/* [R, C] logits and a grad_loss of shape [1]: that is a scalar, with every reduction. */
static void scalars_may_have_rank_1(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    for (int reduction = 0; reduction < 3; reduction++) {
        const int64_t rows = 6, one = 1;
        loss_case c =
            loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 7}, dtype_f32, 1, &rows, (layout){0}, reduction, 3);
        c.grad_loss = tensor_new(dtype_f32, 1, &one);
        tensor_set(c.grad_loss, 0, 2.5);
        c.normalizer = tensor_new(dtype_f64, 1, &one);
        tensor_set(c.normalizer, 0, 4);
        tensor **const outputs[] = {&c.accuracy, &c.weight_sum, &c.flags, &c.loss};
        for (int i = 0; i < (reduction == POSLABEL_REDUCTION_NONE ? 3 : 4); i++) {
            const poslabel_dtype dtype = (*outputs[i])->t.dtype;
            tensor_free(*outputs[i]);
            *outputs[i] = tensor_new(dtype, 1, &one);
        }
        test_case_is("reduction %d", reduction);
        expect_solved(context, &c);
        loss_case_free(&c);
    }
    test_case_is("%s", "");
    poslabel_context_destroy(context);
}

static void masks_and_weights_of_every_dtype(void **state)
{
    (void)state;
    const poslabel_dtype masks[] = {dtype_bool, dtype_u8,   dtype_i32, dtype_i64,
                                    dtype_f16,  dtype_bf16, dtype_f32, dtype_f64};
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int m = 0; m < COUNT(masks); m++)
            for (int w = 3; w < COUNT(masks); w++) {
                loss_case c = small_case(LOSS_DROPPOS, dtype_f32, m % 3);
                loss_case_add_mask(&c, masks[m], 5 + (uint64_t)m);
                if (w > 3)
                    loss_case_add_weights(&c, masks[w], 6);
                expect_solved(loop.context, &c);
                loss_case_free(&c);
            }
}

/* Any number but 0 counts, whatever its bits: a byte of 2, -1, the smallest float, a NaN; and -0 is 0. */
static void masks_are_compared_with_zero(void **state)
{
    (void)state;
    static const struct {
        double value;
        bool counts;
    } values[] = {{1, true}, {-1, true}, {0x1p-149, true}, {NAN, true}, {0.0, false}, {-0.0, false}};
    poslabel_context *context = context_default();
    for (int i = 0; i < COUNT(values); i++) {
        loss_case c = small_case(LOSS_EXPLICIT, dtype_f32, POSLABEL_REDUCTION_SUM);
        c.mask = tensor_new(dtype_f32, 2, six);
        tensor_fill(c.mask, values[i].value);
        expect_ok(context, loss_call(context, &c));
        expect_number("weight_sum", tensor_get(c.weight_sum, 0), values[i].counts ? 6 : 0, 0);
        loss_case_free(&c);
    }
    loss_case c = small_case(LOSS_EXPLICIT, dtype_f32, POSLABEL_REDUCTION_SUM);
    c.mask = tensor_new(dtype_u8, 2, six);
    tensor_fill(c.mask, 0);
    tensor_set(c.mask, 2, 128);
    expect_ok(context, loss_call(context, &c));
    expect_number("weight_sum", tensor_get(c.weight_sum, 0), 1, 0);
    loss_case_free(&c);
    poslabel_context_destroy(context);
}

static void outputs_of_both_dtypes(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int reduction = 0; reduction < 3; reduction++) {
            loss_case c = small_case(LOSS_DROPPOS, dtype_f32, reduction);
            loss_case_add_weights(&c, dtype_f32, 9);
            tensor **const outputs[] = {&c.loss, &c.accuracy, &c.weight_sum};
            for (int i = 0; i < 3; i++) {
                tensor *single = tensor_copy(*outputs[i], dtype_f32, (layout){0});
                tensor_free(*outputs[i]);
                *outputs[i] = single;
            }
            expect_solved(loop.context, &c);
            /* each of the outputs may be left out */
            for (int left_out = 0; left_out < 5; left_out++) {
                loss_case part = c;
                tensor **const all[] = {&part.loss, &part.grad, &part.accuracy, &part.weight_sum, &part.flags};
                *all[left_out] = NULL;
                expect_solved(loop.context, &part);
            }
            loss_case only = c;
            only.grad = only.accuracy = only.weight_sum = only.flags = NULL;
            expect_solved(loop.context, &only);
            only = c;
            only.loss = only.accuracy = only.weight_sum = only.flags = NULL;
            expect_solved(loop.context, &only);
            loss_case_free(&c);
        }
}

static void positions_of_both_dtypes(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int kind = LOSS_EXPLICIT; kind <= LOSS_DROPPOS; kind++) {
            loss_case c = small_case((loss_kind)kind, dtype_f32, POSLABEL_REDUCTION_MEAN);
            tensor *narrow = tensor_copy(c.positions, dtype_i32, (layout){0});
            tensor_free(c.positions);
            c.positions = narrow;
            expect_solved(loop.context, &c);
            loss_case_free(&c);
        }
}

/* One row without leading dimensions; and four of them. */
static void ranks(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int rank = 0; rank <= 5; rank++)
            for (int reduction = 0; reduction < 3; reduction++) {
                const int64_t leading[] = {2, 1, 3, 1, 2};
                loss_case c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 5}, dtype_f32, rank, leading, (layout){0},
                                            reduction, 3);
                test_case_is("rank %d, reduction %d", rank, reduction);
                expect_solved(loop.context, &c);
                loss_case_free(&c);
            }
}

/* Inputs may be expanded: stride 0. */
static void expanded_inputs(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);) {
        const int64_t zero[] = {0, 0}, rows_only[] = {0, 0, 1};
        loss_case c = small_case(LOSS_DROPPOS, dtype_f32, POSLABEL_REDUCTION_MEAN);
        loss_case_add_weights(&c, dtype_f32, 4);
        tensor_fill(c.weights, 0.25);
        tensor_fill(c.positions, 5);
        for (int64_t i = 12; i < c.logits->count; i++)
            tensor_set(c.logits, i, tensor_get(c.logits, i % 12));
        loss_answer answer = loss_solve(&c);
        c.weights->t.strides = c.positions->t.strides = zero;
        c.logits->t.strides = rows_only;
        expect_ok(loop.context, loss_call(loop.context, &c));
        expect_answer(&c, &answer, 1e-5);
        loss_answer_free(&answer);
        loss_case_free(&c);
    }
}

/* A transposed batch: rows [b, v] at b * C + v * B * C, two levels of strides, in and out. */
static void transposed_rows(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int in_place = 0; in_place < 2; in_place++) {
            loss_case c = small_case(LOSS_DROPPOS, dtype_f32, POSLABEL_REDUCTION_MEAN);
            loss_answer answer = loss_solve(&c);
            const int64_t strides[] = {12, 24, 1};
            tensor *logits = tensor_copy(c.logits, dtype_f32, (layout){0});
            float *const to = c.logits->memory.data;
            for (int64_t b = 0; b < 2; b++)
                for (int64_t v = 0; v < 3; v++)
                    for (int64_t k = 0; k < 12; k++)
                        to[b * 12 + v * 24 + k] = (float)tensor_get(logits, (b * 3 + v) * 12 + k);
            tensor_free(logits);
            c.logits->t.strides = strides;
            if (in_place) {
                tensor_free(c.grad);
                c.grad = c.logits;
            } else {
                c.grad->t.strides = strides;
            }
            memcpy(c.grad->strides, strides, sizeof strides); /* for tensor_get() */
            expect_ok(loop.context, loss_call(loop.context, &c));
            expect_answer(&c, &answer, 1e-5);
            loss_answer_free(&answer);
            loss_case_free(&c);
        }
}

/* Column slices of one buffer: logits and gradient side by side share an extent, but no element. */
static void column_slices(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);) {
        loss_case c = small_case(LOSS_EXPLICIT, dtype_f32, POSLABEL_REDUCTION_MEAN);
        loss_answer answer = loss_solve(&c);
        const int64_t shape[] = {2, 3, 14}, strides[] = {42, 14, 1};
        tensor *both = tensor_new(dtype_f32, 3, shape);
        for (int64_t r = 0; r < 6; r++)
            for (int64_t k = 0; k < 7; k++)
                tensor_set(both, r * 14 + k, tensor_get(c.logits, r * 7 + k));
        poslabel_tensor left = c.logits->t, right = c.grad->t;
        left.data = both->t.data;
        right.data = (float *)both->t.data + 7;
        left.strides = right.strides = strides;
        poslabel_position_cross_entropy_args args = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
        args.labels = POSLABEL_LABELS_EXPLICIT;
        args.logits = &left;
        args.positions = &c.positions->t;
        args.grad_logits = &right;
        args.loss = &c.loss->t;
        expect_ok(loop.context, poslabel_position_cross_entropy(loop.context, &args));
        for (int64_t r = 0; r < 6; r++)
            for (int64_t k = 0; k < 7; k++) {
                assert_true(tensor_get(both, r * 14 + k) == tensor_get(c.logits, r * 7 + k));
                tensor_set(c.grad, r * 7 + k, tensor_get(both, r * 14 + 7 + k));
            }
        loss_case asked = c;
        asked.accuracy = asked.weight_sum = asked.flags = NULL;
        expect_answer(&asked, &answer, 1e-5);
        tensor_free(both);
        loss_answer_free(&answer);
        loss_case_free(&c);
    }
}

static void a_normalizer_takes_the_place_of_the_sum(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int reduction = 0; reduction < 3; reduction++)
            for (int single = 0; single < 2; single++) {
                loss_case c = small_case(LOSS_DROPPOS, dtype_f32, reduction);
                loss_case_add_mask(&c, dtype_u8, 3);
                c.normalizer = tensor_scalar(single ? dtype_f32 : dtype_f64, 12.5);
                expect_solved(loop.context, &c);
                loss_case_free(&c);
            }
}

static void nothing_counts(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int reduction = 0; reduction < 3; reduction++)
            for (int how = 0; how < 4; how++) {
                loss_case c = small_case(how == 3 ? LOSS_EXPLICIT : LOSS_DROPPOS, dtype_f32, reduction);
                if (how == 0)
                    loss_case_add_mask(&c, dtype_u8, 3), tensor_fill(c.mask, 0);
                if (how == 1)
                    loss_case_add_weights(&c, dtype_f16, 3), tensor_fill(c.weights, 0);
                if (how == 2) { /* all rows are sure of their position */
                    c.confidence_filter = 1;
                    for (int64_t r = 0; r < 6; r++)
                        tensor_set(c.logits, r * 12 + (int64_t)tensor_get(c.positions, r), 80);
                }
                if (how == 3)
                    tensor_fill(c.positions, (double)c.ignore_index);
                loss_case_forget_outputs(&c);
                expect_ok(loop.context, loss_call(loop.context, &c));
                for (int64_t i = 0; i < c.grad->count; i++)
                    assert_true(tensor_get(c.grad, i) == 0);
                for (int64_t i = 0; i < c.loss->count; i++)
                    assert_true(tensor_get(c.loss, i) == 0);
                assert_true(tensor_get(c.accuracy, 0) == 0 && tensor_get(c.weight_sum, 0) == 0);
                assert_int_equal(tensor_get(c.flags, 0), POSLABEL_LOSS_EMPTY);
                loss_case_free(&c);
            }
}

/* A normalizer of 0 says the same, though rows have weights. */
static void a_normalizer_of_zero(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);) {
        loss_case c = small_case(LOSS_EXPLICIT, dtype_f32, POSLABEL_REDUCTION_MEAN);
        c.normalizer = tensor_scalar(dtype_f32, 0);
        tensor_set(c.logits, 0, NAN); /* which would show */
        loss_case_forget_outputs(&c);
        expect_ok(loop.context, loss_call(loop.context, &c));
        for (int64_t i = 0; i < c.grad->count; i++)
            assert_true(tensor_get(c.grad, i) == 0);
        assert_true(tensor_get(c.loss, 0) == 0 && tensor_get(c.accuracy, 0) == 0);
        assert_int_equal(tensor_get(c.flags, 0), POSLABEL_LOSS_EMPTY);
        assert_true(tensor_get(c.weight_sum, 0) == 6);
        loss_case_free(&c);
    }
}

static void empty_batches(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int kind = 0; kind < LOSS_KINDS; kind++)
            for (int reduction = 0; reduction < 3; reduction++) {
                const int64_t leading[] = {0, kind == LOSS_RELATIVE ? 16 : 4};
                loss_case c = loss_case_new((loss_kind)kind, (poslabel_grid){2, 2}, dtype_f32, 2, leading, (layout){0},
                                            reduction, 1);
                c.sigma = 1;
                c.logits->t.data = c.grad->t.data = NULL;
                if (c.positions)
                    c.positions->t.data = NULL;
                loss_case_forget_outputs(&c);
                expect_ok(loop.context, loss_call(loop.context, &c));
                if (reduction != POSLABEL_REDUCTION_NONE)
                    assert_true(tensor_get(c.loss, 0) == 0);
                assert_true(tensor_get(c.accuracy, 0) == 0 && tensor_get(c.weight_sum, 0) == 0);
                assert_int_equal(tensor_get(c.flags, 0), POSLABEL_LOSS_EMPTY);
                loss_case_free(&c);
            }
}

static void a_scale_of_zero(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);) {
        loss_case c = small_case(LOSS_DROPPOS, dtype_f32, POSLABEL_REDUCTION_MEAN);
        c.grad_scale = 0;
        expect_solved(loop.context, &c);
        for (int64_t i = 0; i < c.grad->count; i++)
            assert_true(tensor_get(c.grad, i) == 0);
        assert_true(tensor_get(c.loss, 0) > 0);
        loss_case_free(&c);
    }
}

static void ignored_rows(void **state)
{
    (void)state;
    static const int64_t values[] = {-100, 3, -1, INT32_MAX};
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int i = 0; i < COUNT(values); i++) {
            loss_case c = small_case(LOSS_EXPLICIT, dtype_f32, i % 3);
            c.ignore_index = values[i];
            tensor_set(c.positions, 1, (double)values[i]);
            tensor_set(c.positions, 4, (double)values[i]);
            tensor_set(c.logits, 7 + 2, NAN); /* in an ignored row */
            expect_solved(loop.context, &c);
            loss_case_free(&c);
        }
}

/* Of equal maxima the first counts; the label may be before, at or after it. */
static void ties(void **state)
{
    (void)state;
    static const int64_t classes[] = {2, 5, 16, 33, 196, 1025};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int n = 0; n < COUNT(classes); n++)
            for (int d = 0; d < 4; d++) {
                const int64_t size = classes[n], rows = 6;
                loss_case c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, (int32_t)size}, dtypes[d], 1, &rows,
                                            (layout){0}, POSLABEL_REDUCTION_SUM, 2);
                const int64_t first = size / 2, last = size - 1;
                const int64_t labels[] = {first, last, 0, 0, last, first};
                for (int64_t r = 0; r < rows; r++) {
                    for (int64_t k = 0; k < size; k++)
                        tensor_set(c.logits, r * size + k, r < 3 ? (k == first || k == last ? 2 : 1) : 0.5);
                    tensor_set(c.positions, r, (double)labels[r]);
                }
                c.normalizer = tensor_scalar(dtype_f64, 1); /* the accuracy is then a count */
                expect_ok(loop.context, loss_call(loop.context, &c));
                /* row 0 is right, 1 the second maximum; row 2 is right only if class 0 is the maximum;
                 * 3 is the first of equals, 4 the last of them, 5 one in the middle */
                const int want = 1 + (first == last) + (first == 0) + 1 + (last == 0) + (first == 0);
                expect_number("right rows", tensor_get(c.accuracy, 0), want, 0);
                loss_case_free(&c);
            }
}

/* -0 and +0 are equal maxima. */
static void zeros_tie(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);) {
        const int64_t rows = 2;
        loss_case c = loss_case_new(LOSS_EXPLICIT, (poslabel_grid){1, 20}, dtype_f32, 1, &rows, (layout){0},
                                    POSLABEL_REDUCTION_NONE, 2);
        tensor_fill(c.logits, -1);
        tensor_set(c.logits, 3, -0.0), tensor_set(c.logits, 17, 0.0);
        tensor_set(c.logits, 20 + 3, 0.0), tensor_set(c.logits, 20 + 17, -0.0);
        tensor_set(c.positions, 0, 3);
        tensor_set(c.positions, 1, 3);
        expect_solved(loop.context, &c);
        expect_number("accuracy", tensor_get(c.accuracy, 0), 1, 0);
        loss_case_free(&c);
    }
}

/* "The loss and the gradient depend on the row alone", so what rows of weight 0 hold must not show anywhere. */
static void rows_of_weight_zero_are_not_read(void **state)
{
    (void)state;
    for (level_loop loop = {.at = 0}; next_level(&loop);)
        for (int kind = LOSS_EXPLICIT; kind <= LOSS_DROPPOS; kind++)
            for (int reduction = 0; reduction < 3; reduction++)
                for (int in_place = 0; in_place < 2; in_place++) {
                    loss_case c = small_case((loss_kind)kind, dtype_f32, reduction);
                    loss_case_add_weights(&c, dtype_f32, 3);
                    tensor_fill(c.weights, 1);
                    tensor_set(c.weights, 1, 0);
                    tensor_set(c.weights, 5, 0);
                    const int64_t n = loss_classes(&c);
                    for (int64_t k = 0; k < n; k++) {
                        tensor_set(c.logits, n + k, NAN);
                        tensor_set(c.logits, 5 * n + k, k % 2 ? INFINITY : -INFINITY);
                    }
                    loss_answer answer = loss_solve(&c);
                    if (in_place) {
                        tensor_free(c.grad);
                        c.grad = c.logits;
                    }
                    expect_ok(loop.context, loss_call(loop.context, &c));
                    expect_answer(&c, &answer, 1e-5);
                    loss_answer_free(&answer);
                    loss_case_free(&c);
                }
}

/* Rows 4 GiB apart: offsets in elements and in bytes that no 32-bit number holds.  Only a few pages are ever touched.
 */
static void offsets_beyond_32_bits(void **state)
{
    (void)state;
    skip_on_cuda(); /* its memory is the host's alone */
    enum { ROWS = 5, CLASSES = 300 };
    const int64_t stride = (int64_t)1 << 30, shape[] = {ROWS, CLASSES}, strides[] = {stride, 1}, rows = ROWS;
    const size_t size = (size_t)stride * ROWS * sizeof(float);
    char *const room = test_is_quick() ? MAP_FAILED
                                       : mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        skip();
    for (level_loop loop = {.at = 0}; next_level(&loop);) {
        loss_case c = loss_case_new(LOSS_EXPLICIT, grid_of(CLASSES), dtype_f32, 1, &rows, (layout){0},
                                    POSLABEL_REDUCTION_MEAN, 42);
        loss_answer answer = loss_solve(&c);
        float *const logits = (float *)(void *)room, *const grad = logits + size / sizeof(float);
        for (int64_t r = 0; r < ROWS; r++)
            memcpy(logits + r * stride, tensor_at(c.logits, r * CLASSES), CLASSES * sizeof(float));
        poslabel_tensor far_logits = POSLABEL_CPU_TENSOR(logits, POSLABEL_FLOAT32, 2, shape), far_grad = far_logits;
        far_grad.data = grad;
        far_logits.strides = far_grad.strides = strides;
        poslabel_position_cross_entropy_args args = position_args(&c);
        args.logits = &far_logits;
        args.grad_logits = &far_grad;
        expect_ok(loop.context, poslabel_position_cross_entropy(loop.context, &args));
        for (int64_t r = 0; r < ROWS; r++)
            memcpy(tensor_at(c.grad, r * CLASSES), grad + r * stride, CLASSES * sizeof(float));
        expect_answer(&c, &answer, 1e-5);
        loss_answer_free(&answer);
        loss_case_free(&c);
    }
    munmap(room, 2 * size);
}

/* An id and a weight where the mask is 0, a weight where the id is ignored, an id where the weight is 0. */
static void rows_that_do_not_count_may_hold_anything(void **state)
{
    (void)state;
    static const int64_t bad_ids[] = {-1, 20, INT64_MIN, INT64_MAX, -100};
    static const double bad_weights[] = {NAN, -1, INFINITY};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++)
        for (int kind = LOSS_EXPLICIT; kind <= LOSS_DROPPOS; kind++)
            for (int reduction = 0; reduction < 3; reduction++)
                for (int filter = 0; filter < (kind == LOSS_DROPPOS ? 2 : 1); filter++) {
                    poslabel_context *const context = context_new(levels[i], 2);
                    loss_case c = loss_case_new((loss_kind)kind, (poslabel_grid){4, 5}, dtype_f32, SHAPE(7, 30),
                                                (layout){0}, reduction, 3);
                    loss_case_add_mask(&c, dtype_bool, 4);
                    loss_case_add_weights(&c, dtype_f32, 5);
                    c.confidence_filter = filter;
                    c.sigma = 1;
                    int64_t *const ids = c.positions->t.data;
                    for (int64_t r = 0; r < loss_rows(&c); r++)
                        ids[r] = kind == LOSS_EXPLICIT && r % 9 == 0 ? c.ignore_index : ids[r];
                    loss_answer answer = loss_solve(&c);
                    for (int64_t r = 0; r < loss_rows(&c); r++) {
                        const bool masked = tensor_get(c.mask, r) == 0, ignored = ids[r] == c.ignore_index;
                        const bool weightless = tensor_get(c.weights, r) == 0;
                        if (masked || (weightless && !ignored))
                            ids[r] = bad_ids[r % COUNT(bad_ids)];
                        if (masked || ignored)
                            tensor_set(c.weights, r, bad_weights[r % COUNT(bad_weights)]);
                    }
                    test_case_is("%s, %s, reduction %d, filter %d", poslabel_isa_name(levels[i]),
                                 loss_kind_names[kind], reduction, filter);
                    expect_ok(context, loss_call(context, &c));
                    expect_answer(&c, &answer, loss_tolerance(dtype_f32));
                    loss_answer_free(&answer);
                    loss_case_free(&c);
                    poslabel_context_destroy(context);
                }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reductions_and_upstream_gradients),
        cmocka_unit_test(scalars_may_have_rank_1),
        cmocka_unit_test(masks_and_weights_of_every_dtype),
        cmocka_unit_test(masks_are_compared_with_zero),
        cmocka_unit_test(outputs_of_both_dtypes),
        cmocka_unit_test(positions_of_both_dtypes),
        cmocka_unit_test(ranks),
        cmocka_unit_test(expanded_inputs),
        cmocka_unit_test(transposed_rows),
        cmocka_unit_test(column_slices),
        cmocka_unit_test(a_normalizer_takes_the_place_of_the_sum),
        cmocka_unit_test(nothing_counts),
        cmocka_unit_test(a_normalizer_of_zero),
        cmocka_unit_test(empty_batches),
        cmocka_unit_test(a_scale_of_zero),
        cmocka_unit_test(ignored_rows),
        cmocka_unit_test(ties),
        cmocka_unit_test(zeros_tie),
        cmocka_unit_test(rows_of_weight_zero_are_not_read),
        cmocka_unit_test(offsets_beyond_32_bits),
        cmocka_unit_test(rows_that_do_not_count_may_hold_anything),
    };
    return cmocka_run_group_tests_name("loss", tests, NULL, NULL);
}
