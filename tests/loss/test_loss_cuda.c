/*
 * The losses on CUDA where its kernels differ: lengths of rows, addresses, the order of threads, values that only the
 * device sees.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cuda.h"
#include "support/test.h"

/* On either side of every change of kernel, and of a warp; odd numbers; squares that grids have. */
static const int64_t class_counts[] = {1,   2,   31,  32,  33,  127,  128,  129,  196,  197,  255,  256,  257,  512,
                                       513, 576, 729, 784, 961, 1023, 1024, 1025, 2048, 2049, 4097, 8192, 8193, 16129};

static void device_only(void **state)
{
    (void)state;
    if (!test_on_cuda())
        skip();
}

static void every_length_of_row(void **state)
{
    device_only(state);
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16, dtype_f16, dtype_f64};
    poslabel_context *context = context_default();
    for (int i = 0; i < COUNT(class_counts); i++)
        for (int d = 0; d < COUNT(dtypes); d++)
            for (int kind = LOSS_EXPLICIT; kind <= LOSS_DROPPOS; kind++) {
                const int64_t rows = class_counts[i] > 1025 ? 3 : 19, row[] = {rows};
                const layout how = {
                    .row_padding = i % 4, .side = GUARD_BEGIN, .gap = dtype_size(dtypes[d]) * (size_t)(i % 5)};
                loss_case c = loss_case_new((loss_kind)kind, grid_of(class_counts[i]), dtypes[d], 1, row, how,
                                            POSLABEL_REDUCTION_MEAN, (uint64_t)(40 * i + d));
                c.sigma = 1.5;
                c.normalization = i % 2;
                c.label_smoothing = kind == LOSS_EXPLICIT && i % 3 == 0 ? 0.1 : 0;
                loss_case_add_mask(&c, dtype_bool, 5);
                tensor_set(c.mask, 0, 1);
                test_case_is("%lld classes, %s, %s", (long long)class_counts[i], dtype_name(dtypes[d]),
                             loss_kind_names[kind]);
                expect_solved(context, &c);
                loss_case_free(&c);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Rows whose slots are whole and aligned have kernels of their own: either side of every change among those. */
static void every_length_of_whole_slots(void **state)
{
    device_only(state);
    static const int64_t counts[] = {4,   64,  128, 132, 196,  224,  228,  256,  260,  512,  516,
                                     576, 580, 768, 772, 1024, 1028, 1408, 1412, 2048, 2052, 4096};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16, dtype_f16};
    poslabel_context *context = context_default();
    for (int i = 0; i < COUNT(counts); i++)
        for (int d = 0; d < COUNT(dtypes); d++)
            for (int target = 0; target < 4; target++) { /* hard, smoothed, Gaussian in both normalisations */
                const int64_t rows = counts[i] > 256 ? 5 : 9, row[] = {rows};
                loss_case c = loss_case_new(target < 2 ? LOSS_EXPLICIT : LOSS_DROPPOS, grid_of(counts[i]), dtypes[d], 1,
                                            row, (layout){0}, POSLABEL_REDUCTION_MEAN, (uint64_t)(40 * i + d));
                c.sigma = 1.5;
                c.normalization = target == 3;
                c.label_smoothing = target == 1 ? 0.1 : 0;
                loss_case_add_mask(&c, dtype_bool, 5);
                tensor_set(c.mask, 0, 1);
                tensor_set(c.mask, 2, 0);
                test_case_is("%lld classes, %s, target %d", (long long)counts[i], dtype_name(dtypes[d]), target);
                expect_solved(context, &c);
                c.grad_scale = -3;
                loss_case_add_weights(&c, dtype_f64, 6);
                tensor *const accuracy = c.accuracy;
                c.accuracy = NULL;
                expect_solved(context, &c);
                c.accuracy = accuracy;
                loss_case_free(&c);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Warps take up to 32 rows at a time, several times where there are many, and what is left over. */
static void every_number_of_rows(void **state)
{
    device_only(state);
    const int64_t counts[] = {1, 3, 770, 6200, test_on_emulation() ? 6145 : 500001};
    poslabel_context *context = context_default();
    for (int i = 0; i < COUNT(counts); i++)
        for (int filter = 0; filter < 2; filter++)
            for (int reduction = 0; reduction < 3; reduction++) {
                const int64_t row[] = {counts[i]};
                loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){2, 4}, dtype_f32, 1, row, (layout){0},
                                            reduction, (uint64_t)i);
                c.sigma = 1;
                c.confidence_filter = filter;
                loss_case_add_weights(&c, dtype_f32, 7);
                test_case_is("%lld rows, filter %d, reduction %d", (long long)counts[i], filter, reduction);
                expect_solved(context, &c);
                loss_case_free(&c);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/*
 * The gradient in the logits' place, and in rows that begin elsewhere than those of the logits: other kernels, but the
 * same bits.
 */
static void gradients_anywhere(void **state)
{
    device_only(state);
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16};
    static const int64_t counts[] = {5,   64,  128,  196,  197,  224,  256,  512,  576,  729,  768,
                                     900, 961, 1024, 1025, 1296, 1408, 1412, 2047, 2049, 4096, 8195};
    poslabel_context *context = context_default();
    for (int i = 0; i < COUNT(counts); i++)
        for (int d = 0; d < COUNT(dtypes); d++)
            for (int target = 0; target < 3; target++) { /* hard, and Gaussian in both normalisations */
                const int64_t row[] = {7};
                loss_case c = loss_case_new(target ? LOSS_DROPPOS : LOSS_EXPLICIT, grid_of(counts[i]), dtypes[d], 1,
                                            row, (layout){0}, POSLABEL_REDUCTION_SUM, 9);
                c.sigma = 2;
                c.normalization = target == 2;
                test_case_is("%lld classes, %s, target %d", (long long)counts[i], dtype_name(dtypes[d]), target);
                expect_ok(context, loss_call(context, &c));
                tensor *const want = c.grad, *const want_loss = c.loss;
                c.loss = tensor_scalar(dtype_f64, 0);
                for (size_t gap = 0; gap < 4; gap++) {
                    c.grad = tensor_laid_out(
                        dtypes[d], 2, (int64_t[]){7, counts[i]},
                        (layout){.row_padding = (int64_t)gap, .side = GUARD_BEGIN, .gap = gap * dtype_size(dtypes[d])});
                    expect_ok(context, loss_call(context, &c));
                    tensor_check(c.grad);
                    expect_same_tensor("a gradient elsewhere", c.grad, want);
                    expect_same_tensor("its loss", c.loss, want_loss);
                    tensor_free(c.grad);
                }
                c.grad = c.logits;
                expect_ok(context, loss_call(context, &c));
                expect_same_tensor("a gradient in place", c.logits, want);
                tensor_free(c.loss);
                c.grad = want;
                c.loss = want_loss;
                loss_case_free(&c);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

static void the_order_of_threads_does_not_matter(void **state)
{
    device_only(state);
    if (!test_on_emulation())
        skip();
    poslabel_context *context = context_default();
    for (int filter = 0; filter < 2; filter++)
        for (int i = 0; i < 2; i++) {
            const int64_t row[] = {71};
            loss_case c = loss_case_new(LOSS_DROPPOS, grid_of(i ? 1056 : 182), dtype_f32, 1, row, (layout){0},
                                        POSLABEL_REDUCTION_MEAN, 3);
            c.sigma = 1;
            c.confidence_filter = filter;
            loss_case_add_weights(&c, dtype_f32, 4);
            expect_ok(context, loss_call(context, &c));
            tensor *const grad = tensor_copy(c.grad, dtype_f32, (layout){0}), *const loss = tensor_scalar(dtype_f64, 0);
            tensor_set(loss, 0, tensor_get(c.loss, 0));
            for (unsigned seed = 1; seed < 8; seed++) {
                test_case_is("%d classes, filter %d, seed %u", i ? 1056 : 182, filter, seed);
                emulation()->shuffle(seed);
                loss_case_forget_outputs(&c);
                expect_ok(context, loss_call(context, &c));
                expect_same_tensor("grad", c.grad, grad);
                expect_same_tensor("loss", c.loss, loss);
            }
            emulation()->shuffle(0);
            tensor_free(grad);
            tensor_free(loss);
            loss_case_free(&c);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/*
 * Small grids have several kernels for Gaussian targets: for widths of 2 more than a multiple of 4 one that needs room
 * for two copies of them, and one that does not; for rows at any address another; all with the same bits.
 */
static void small_grids(void **state)
{
    device_only(state);
    static const poslabel_grid grids[] = {{2, 2},   {6, 6},  {10, 10}, {14, 14}, {8, 18},  {12, 18},
                                          {16, 16}, {7, 12}, {13, 16}, {16, 13}, {18, 14}, {14, 18}};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16, dtype_f16};
    poslabel_context *context = context_default();
    for (int i = 0; i < COUNT(grids); i++)
        for (int d = 0; d < COUNT(dtypes); d++) {
            const int64_t rows = 70, row[] = {rows}, classes = grids[i].height * grids[i].width;
            loss_case c = loss_case_new(LOSS_DROPPOS, grids[i], dtypes[d], 1, row, (layout){0}, POSLABEL_REDUCTION_MEAN,
                                        (uint64_t)i);
            c.sigma = 1 + i % 3;
            test_case_is("%d x %d, %s", (int)grids[i].height, (int)grids[i].width, dtype_name(dtypes[d]));
            expect_solved(context, &c);
            tensor *const want = c.grad;
            c.grad = tensor_laid_out(dtypes[d], 2, (int64_t[]){rows, classes}, (layout){.row_padding = 1});
            expect_ok(context, loss_call(context, &c));
            expect_same_tensor("a gradient elsewhere", c.grad, want);
            tensor_free(c.grad);
            c.grad = want;
            loss_case_free(&c);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Device memory that ends with the last row: nothing past it is read, wherever rows begin. */
static void memory_ends_with_the_rows(void **state)
{
    device_only(state);
    static const int64_t counts[] = {1, 2, 3, 5, 31, 50, 197, 226, 257, 513, 729, 1023, 1411, 1409, 2049};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16};
    poslabel_context *context = context_default();
    for (int i = 0; i < COUNT(counts); i++)
        for (int d = 0; d < COUNT(dtypes); d++)
            for (int64_t rows = 1; rows < 5; rows++) {
                loss_case c = loss_case_new(LOSS_EXPLICIT, grid_of(counts[i]), dtypes[d], 1, &rows, (layout){0},
                                            POSLABEL_REDUCTION_SUM, 9);
                const size_t size = (size_t)(rows * counts[i]) * dtype_size(dtypes[d]);
                test_case_is("%lld rows of %lld classes, %s", (long long)rows, (long long)counts[i],
                             dtype_name(dtypes[d]));
                expect_ok(context, loss_call(context, &c));
                expect_ok(context, poslabel_context_synchronize(context));
                tensor *const want = tensor_copy(c.grad, dtypes[d], (layout){0});
                loss_case_forget_outputs(&c);
                void *const host = c.logits->t.data;
                cuda_ok(cuda()->malloc(&c.logits->t.data, size));
                cuda_ok(cuda()->memcpy(c.logits->t.data, host, size, CUDA_COPY_ANY));
                expect_ok(context, loss_call(context, &c));
                expect_ok(context, poslabel_context_synchronize(context));
                expect_same_tensor("the gradient", c.grad, want);
                cuda_ok(cuda()->free(c.logits->t.data));
                c.logits->t.data = host;
                tensor_free(want);
                loss_case_free(&c);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Rows with an id or a weight that is not allowed count as rows of weight 0, raise a flag, and are reported. */
static void rows_that_are_not_allowed(void **state)
{
    device_only(state);
    poslabel_context *context = context_default();
    for (int reduction = 0; reduction < 3; reduction++)
        for (int gradient = 0; gradient < 2; gradient++) {
            const int64_t row[] = {40};
            loss_case c =
                loss_case_new(LOSS_DROPPOS, (poslabel_grid){3, 4}, dtype_f32, 1, row, (layout){0}, reduction, 11);
            c.sigma = 1;
            loss_case_add_weights(&c, dtype_f32, 12);
            tensor *const grad = c.grad;
            for (int64_t r = 0; r < 40; r++)
                tensor_set(c.weights, r, 0.5 + (double)(r % 3));
            static const int64_t bad[] = {3, 17, 30};
            for (int i = 0; i < COUNT(bad); i++)
                tensor_set(c.weights, bad[i], 0);
            c.grad = gradient ? grad : NULL;
            loss_answer answer = loss_solve(&c);
            answer.flags = POSLABEL_LOSS_INVALID;
            tensor_set(c.positions, 3, 12);
            tensor_set(c.weights, 3, 1);
            tensor_set(c.positions, 17, -1);
            tensor_set(c.weights, 17, 2);
            tensor_set(c.weights, 30, NAN);
            test_case_is("reduction %d, gradient %d", reduction, gradient);
            loss_case_forget_outputs(&c);
            assert_int_equal(loss_call(context, &c), POSLABEL_OK);
            expect_error(context, poslabel_context_synchronize(context), POSLABEL_ERROR_INVALID,
                         "positions of a loss out of range: 2, the first at index 3",
                         "weights of a loss negative, NaN or infinite: 1, the first at index 30");
            expect_answer(&c, &answer, 1e-5);
            expect_ok(context, poslabel_context_synchronize(context));
            loss_answer_free(&answer);
            c.grad = grad;
            loss_case_free(&c);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Tables of targets too large for shared memory are filled by launches of their own. */
static void large_grids(void **state)
{
    device_only(state);
    static const poslabel_grid grids[] = {{1, 130}, {150, 3}, {90, 90}, {1, 1300}, {1500, 1}, {2, 1290}};
    poslabel_context *context = context_default();
    for (int i = 0; i < COUNT(grids); i++)
        for (int normalization = 0; normalization < 2; normalization++)
            for (int d = 0; d < 2; d++) {
                const int64_t row[] = {5};
                loss_case c = loss_case_new(LOSS_DROPPOS, grids[i], d ? dtype_f64 : dtype_f32, 1, row, (layout){0},
                                            POSLABEL_REDUCTION_MEAN, 13);
                c.sigma = 2;
                c.normalization = normalization;
                test_case_is("%d x %d, normalization %d, %s", (int)grids[i].height, (int)grids[i].width, normalization,
                             d ? "f64" : "f32");
                expect_solved(context, &c);
                loss_case_free(&c);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_of_row),
        cmocka_unit_test(every_length_of_whole_slots),
        cmocka_unit_test(every_number_of_rows),
        cmocka_unit_test(gradients_anywhere),
        cmocka_unit_test(the_order_of_threads_does_not_matter),
        cmocka_unit_test(rows_that_are_not_allowed),
        cmocka_unit_test(large_grids),
        cmocka_unit_test(small_grids),
        cmocka_unit_test(memory_ends_with_the_rows),
    };
    return cmocka_run_group_tests_name("loss_cuda", tests, NULL, NULL);
}
