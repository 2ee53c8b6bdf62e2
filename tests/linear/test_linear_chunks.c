/*
 * The linear head in chunks of every size: the same answer, and no more workspace than allowed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/linear.h"

/* A head as large as many_rows allows, in a batch whose chunks end within an image. */
static head big_head(loss_kind kind, poslabel_dtype dtype, bool weights)
{
    /* of 12 absolute positions, or 36 pairs */
    const int64_t rows = test_on_emulation() ? 108 : test_is_quick() ? 504 : 1512;
    const poslabel_grid grid = kind == LOSS_RELATIVE ? (poslabel_grid){2, 3} : (poslabel_grid){3, 4};
    head h = head_new(kind, grid, dtype, dtype, 1, &rows, 40, (layout){0}, POSLABEL_REDUCTION_MEAN, 73);
    if (weights)
        loss_case_add_weights(&h.loss, dtype_f32, 74);
    return h;
}

/* Whatever the limit: the answer, the same bits again and on more threads, and no more workspace than allowed. */
static void chunks_of_every_size(void **state)
{
    (void)state;
    static const uint64_t more[] = {0, 1000, 12345, 60000, 100000, 1000000, (uint64_t)1 << 60};
    static const loss_kind kinds[] = {LOSS_ABSOLUTE, LOSS_RELATIVE, LOSS_EXPLICIT};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16, dtype_f64};
    for (int k = 0; k < 3; k++)
        for (int weights = 0; weights < 2; weights++) {
            head h = big_head(kinds[k], dtypes[(k + weights) % 3], weights);
            head_answer a = head_solve(&h);
            for (int m = 0; m < COUNT(more); m++) {
                tensor *first[HEAD_OUTPUTS] = {NULL};
                for (int again = 0; again < (test_on_emulation() ? 2 : 4); again++) {
                    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, again < 2 ? 1 : again == 2 ? 2 : 7);
                    if (again == 0)
                        h.limit = head_least_limit(context, &h) + more[m];
                    test_case_is("%s, %s, limit %llu, time %d", loss_kind_names[kinds[k]],
                                 dtype_name(h.features->t.dtype), (unsigned long long)h.limit, again);
                    head_forget_outputs(&h);
                    expect_ok(context, head_call(context, &h));
                    if (poslabel_context_workspace(context) > h.limit)
                        test_fail("the workspace is %zu bytes", poslabel_context_workspace(context));
                    if (again == 0) {
                        expect_head(&h, &a);
                        head_copy_outputs(&h, first);
                    } else {
                        expect_same_outputs(&h, first);
                    }
                    poslabel_context_destroy(context);
                }
                head_free_copies(first);
            }
            head_answer_free(&a);
            head_free(&h);
        }
    test_case_is("%s", "");
}

/* Larger products, which are cut into tiles: still the same bits for any number of threads. */
static void threads_do_not_matter(void **state)
{
    (void)state;
    skip_on_cuda(); /* which has none */
    const int64_t rows = test_is_quick() ? 700 : 2000;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_f64};
    for (int t = 0; t < COUNT(dtypes); t++) {
        head h = head_new(LOSS_EXPLICIT, (poslabel_grid){14, 15}, dtypes[t], dtypes[t], 1, &rows, 300, (layout){0},
                          POSLABEL_REDUCTION_SUM, 75);
        tensor *first[HEAD_OUTPUTS] = {NULL};
        h.limit = 4 << 20;
        static const int threads[] = {1, 2, 3, 7, 16};
        for (int i = 0; i < COUNT(threads); i++) {
            poslabel_context *context = context_new(POSLABEL_ISA_AUTO, threads[i]);
            test_case_is("%s, %d threads", dtype_name(dtypes[t]), threads[i]);
            head_forget_outputs(&h);
            expect_ok(context, head_call(context, &h));
            if (i == 0)
                head_copy_outputs(&h, first);
            else
                expect_same_outputs(&h, first);
            poslabel_context_destroy(context);
        }
        head_free_copies(first);
        head_free(&h);
    }
    test_case_is("%s", "");
}

/* Implied labels go on over the borders of chunks: the same bits as explicit ones. */
static void labels_over_chunks(void **state)
{
    (void)state;
    for (int kind = LOSS_ABSOLUTE; kind <= LOSS_RELATIVE; kind++)
        for (int masked = 0; masked < 2; masked++) {
            head h = big_head((loss_kind)kind, dtype_f32, false);
            const int64_t rows = loss_rows(&h.loss), n = kind == LOSS_ABSOLUTE ? 12 : 6, w = 3, height = 2;
            poslabel_context *context = context_default();
            loss_case_add_mask(&h.loss, dtype_u8, 76); /* so that both copy their features, into chunks of one size */
            if (!masked)
                tensor_fill(h.loss.mask, 1);
            h.limit = head_least_limit(context, &h) + 20000;
            head given = h;
            given.loss.kind = LOSS_EXPLICIT;
            given.loss.positions = tensor_new(dtype_i64, 1, &rows);
            for (int64_t r = 0; r < rows; r++) {
                const int64_t q = r / n % n, k = r % n;
                tensor_set(given.loss.positions, r,
                           (double)(kind == LOSS_ABSOLUTE
                                        ? k
                                        : (q / w - k / w + height - 1) * (2 * w - 1) + q % w - k % w + w - 1));
            }
            tensor *want[HEAD_OUTPUTS];
            test_case_is("%s%s", loss_kind_names[kind], masked ? ", masked" : "");
            expect_ok(context, head_call(context, &given));
            head_copy_outputs(&given, want);
            head_forget_outputs(&h);
            expect_ok(context, head_call(context, &h));
            expect_same_outputs(&h, want);
            head_free_copies(want);
            tensor_free(given.loss.positions);
            head_free(&h);
            poslabel_context_destroy(context);
        }
    test_case_is("%s", "");
}

/* The least limit is the least, and no allocation is larger than what is allowed. */
static void workspace_limit(void **state)
{
    (void)state;
    skip_on_cuda(); /* the counted memory is the host's */
    for (int threads = 1; threads <= 4; threads += 3)
        for (int v = 0; v < HEAD_VARIANTS; v++) {
            counting_allocator counter;
            counting_allocator_init(&counter);
            poslabel_context *context = context_counted(&counter, POSLABEL_ISA_AUTO, threads, NULL);
            const size_t context_bytes = counter.live_bytes;
            head h = head_of_variant(&head_variants[v], v % 2 ? dtype_f32 : dtype_f16, dtype_f32, (layout){0}, 89);
            const uint64_t least = head_least_limit(context, &h);
            test_case_is("variant %d, %d threads, at least %llu", v, threads, (unsigned long long)least);
            assert_true(counter.live_bytes == context_bytes);
            h.limit = least - 1;
            head_forget_outputs(&h);
            expect_error(context, head_call(context, &h), POSLABEL_ERROR_INVALID, "workspace_limit = ");
            assert_true(head_outputs_untouched(&h));
            for (uint64_t limit = least; limit < 40 * least; limit += limit / 3) {
                poslabel_context_trim(context);
                counter.peak_bytes = counter.live_bytes;
                h.limit = limit;
                expect_ok(context, head_call(context, &h));
                if (counter.peak_bytes - context_bytes > limit)
                    test_fail("%zu bytes with a limit of %llu", counter.peak_bytes - context_bytes,
                              (unsigned long long)limit);
            }
            head_free(&h);
            poslabel_context_destroy(context);
            counting_allocator_check(&counter);
        }
    test_case_is("%s", "");
}

/* The same on CUDA, by what the context says that it holds. */
static void workspace_limit_of_the_device(void **state)
{
    (void)state;
    if (!test_on_cuda())
        skip();
    poslabel_context *context = context_default();
    for (int v = 0; v < HEAD_VARIANTS; v++) {
        head h = head_of_variant(&head_variants[v], v % 2 ? dtype_f32 : dtype_f16, dtype_f32, (layout){0}, 89);
        const uint64_t least = head_least_limit(context, &h);
        test_case_is("variant %d, at least %llu", v, (unsigned long long)least);
        for (uint64_t limit = least; limit < 20 * least; limit += limit / 2) {
            poslabel_context_trim(context);
            h.limit = limit;
            expect_ok(context, head_call(context, &h));
            if (poslabel_context_workspace(context) > limit)
                test_fail("%zu bytes with a limit of %llu", poslabel_context_workspace(context),
                          (unsigned long long)limit);
        }
        head_free(&h);
    }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Features of two thousand rows that are one row: all have to be copied, which takes more than the default allows. */
static void default_limit(void **state)
{
    (void)state;
    enum { ROWS = 2000, WIDE = 10000, CLASSES = 4 };
    poslabel_context *context = context_default();
    const int64_t rows = ROWS, shape[] = {ROWS, WIDE}, strides[] = {0, 1};
    head h = head_new(LOSS_EXPLICIT, (poslabel_grid){1, CLASSES}, dtype_f32, dtype_f32, 1, &rows, 1, (layout){0},
                      POSLABEL_REDUCTION_MEAN, 90);
    tensor *const row = tensor_new(dtype_f32, 1, (int64_t[]){WIDE});
    tensor *const weight = tensor_new(dtype_f32, 2, (int64_t[]){CLASSES, WIDE});
    tensor_fill_normal(row, 95, 1);
    tensor_fill_normal(weight, 96, 0.01);
    poslabel_tensor features = row->t;
    features.ndim = 2;
    features.shape = shape;
    features.strides = strides;
    poslabel_linear_position_loss_args args = head_args(&h);
    args.features = &features;
    args.weight = &weight->t;
    args.grad_features = args.grad_weight = NULL;
    args.workspace_limit = (uint64_t)1 << 40;
    expect_ok(context, poslabel_linear_position_loss(context, &args));
    const double loss = tensor_get(h.loss.loss, 0);
    assert_true(poslabel_context_workspace(context) > (size_t)64 << 20);
    poslabel_context_trim(context);
    args.workspace_limit = 0;
    expect_ok(context, poslabel_linear_position_loss(context, &args));
    expect_number("loss", tensor_get(h.loss.loss, 0), loss, 1e-6);
    assert_true(poslabel_context_workspace(context) <= (size_t)64 << 20);
    assert_true(poslabel_context_workspace(context) >= (size_t)32 << 20);
    tensor_free(row);
    tensor_free(weight);
    head_free(&h);
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_of_every_size),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(labels_over_chunks),
        cmocka_unit_test(workspace_limit),
        cmocka_unit_test(workspace_limit_of_the_device),
        cmocka_unit_test(default_limit),
    };
    return cmocka_run_group_tests_name("linear_chunks", tests, NULL, NULL);
}
