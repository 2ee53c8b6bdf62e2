/*
 * The same bits for any number of threads, any split of the batch and every time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "context.h" /* to force non-temporal stores, which large gradients take */

static const int thread_counts[] = {1, 2, 3, 7};

/* Enough rows that every one of seven threads gets work, and several blocks of partial sums. */
static int64_t many_rows(void)
{
    return test_is_quick() ? 400 : 1301;
}

static loss_case big_case(loss_kind kind, poslabel_dtype dtype, int reduction, uint64_t seed)
{
    const poslabel_grid grid = kind == LOSS_RELATIVE ? (poslabel_grid){3, 4} : (poslabel_grid){14, 14};
    const int64_t unit = kind == LOSS_ABSOLUTE ? 196 : kind == LOSS_RELATIVE ? 144 : 1;
    const int64_t rows = (many_rows() + unit - 1) / unit * unit * (kind == LOSS_RELATIVE ? 4 : 1);
    loss_case c = loss_case_new(kind, grid, dtype, 1, &rows, (layout){.side = GUARD_BEGIN, .gap = 8}, reduction, seed);
    c.sigma = 1;
    loss_case_add_weights(&c, dtype_f32, seed + 2);
    return c;
}

static tensor *copy_of(const tensor *t)
{
    return tensor_copy(t, t->t.dtype, (layout){0});
}

/* Calls with 1, 2, 3 and 7 threads, each twice; all outputs must equal those of the first call. */
static void check_threads(poslabel_isa isa, loss_case *c)
{
    tensor *grad = NULL, *loss = NULL, *accuracy = NULL, *sum = NULL;
    for (int i = 0; i < COUNT(thread_counts); i++) {
        poslabel_context *context = context_new(isa, thread_counts[i]);
        for (int again = 0; again < 4; again++) {
            test_case_is("%s, %s, %s, %d threads, time %d", loss_kind_names[c->kind], dtype_name(c->logits->t.dtype),
                         poslabel_isa_name(isa), thread_counts[i], again);
            context->stream_bytes = again < 2 ? SIZE_MAX : 0;
            loss_case_forget_outputs(c);
            expect_ok(context, loss_call(context, c));
            if (!grad) {
                grad = copy_of(c->grad);
                loss = copy_of(c->loss);
                accuracy = copy_of(c->accuracy);
                sum = copy_of(c->weight_sum);
            }
            expect_same_tensor("grad", c->grad, grad);
            expect_same_tensor("loss", c->loss, loss);
            expect_same_tensor("accuracy", c->accuracy, accuracy);
            expect_same_tensor("weight_sum", c->weight_sum, sum);
            tensor_check(c->grad);
        }
        poslabel_context_destroy(context);
    }
    tensor_free(grad);
    tensor_free(loss);
    tensor_free(accuracy);
    tensor_free(sum);
    test_case_is("%s", "");
}

/* Sums that are stored as float64 tell whether their order does. */
static void threads_do_not_matter_to_any_operation(void **state)
{
    (void)state;
    for (int number = 0; number < operation_count(); number++) {
        operation op;
        unsigned char *want = NULL;
        operation_new(&op, number, test_is_quick() || test_on_cuda() ? 40 : 400);
        for (int i = 0; i < COUNT(thread_counts); i++) {
            size_t size;
            poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, thread_counts[i]);
            test_case_is("%s, %s, %d threads", op.name, op.variant, thread_counts[i]);
            operation_reset(&op);
            expect_ok(context, operation_call(context, &op));
            unsigned char *const got = operation_outputs(&op, &size);
            if (want && memcmp(want, got, size))
                test_fail("the outputs of %s depend on the number of threads", op.name);
            free(want);
            want = got;
            poslabel_context_destroy(context);
        }
        free(want);
        operation_free(&op);
    }
    test_case_is("%s", "");
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    static const int reductions[] = {POSLABEL_REDUCTION_MEAN, POSLABEL_REDUCTION_SUM, POSLABEL_REDUCTION_NONE};
    for (int i = 0; i < count; i++)
        for (int kind = 0; kind < LOSS_KINDS; kind++) {
            const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
            loss_case c = big_case((loss_kind)kind, dtypes[(i + kind) % 4], reductions[(i + kind) % 3], 17);
            check_threads(levels[i], &c);
            loss_case_free(&c);
        }
}

static void threads_do_not_matter_to_the_filter(void **state)
{
    (void)state;
    loss_case c = big_case(LOSS_DROPPOS, dtype_f32, POSLABEL_REDUCTION_MEAN, 18);
    for (int64_t r = 0; r < loss_rows(&c); r += 2) /* half of the rows are sure of themselves */
        tensor_set(c.logits, r * 196 + (int64_t)tensor_get(c.positions, r), 12);
    c.confidence_filter = 1;
    check_threads(POSLABEL_ISA_AUTO, &c);
    loss_case_free(&c);
}

/* A row's worth of descriptors for rows [first, first + count) of a case of rank 2. */
typedef struct slice {
    int64_t shape[2];
    poslabel_tensor logits, positions, weights, grad, loss;
} slice;

static void cut(slice *s, const loss_case *c, tensor *grad, tensor *loss, int64_t first, int64_t count)
{
    const int64_t classes = loss_classes(c);
    s->shape[0] = count;
    s->shape[1] = classes;
    const poslabel_dtype dtype = c->logits->t.dtype;
    s->logits = (poslabel_tensor)POSLABEL_CPU_TENSOR(tensor_at(c->logits, first * classes), dtype, 2, s->shape);
    s->grad = (poslabel_tensor)POSLABEL_CPU_TENSOR(tensor_at(grad, first * classes), dtype, 2, s->shape);
    s->positions = (poslabel_tensor)POSLABEL_CPU_TENSOR(tensor_at(c->positions, first), POSLABEL_INT64, 1, s->shape);
    s->weights = (poslabel_tensor)POSLABEL_CPU_TENSOR(tensor_at(c->weights, first), POSLABEL_FLOAT32, 1, s->shape);
    s->loss = (poslabel_tensor)POSLABEL_CPU_TENSOR(tensor_at(loss, first), POSLABEL_FLOAT64, 1, s->shape);
    s->logits.device = s->grad.device = s->positions.device = s->weights.device = s->loss.device = test_device();
}

/*
 * Two ranks with half of the batch each and the all-reduced weight sum: the gradients have the bits of the whole
 * batch's, and the losses add up to its loss.
 */
static void splits_do_not_matter(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++)
        for (int reduction = 0; reduction < 3; reduction++) {
            loss_case c = big_case(LOSS_DROPPOS, dtype_f32, reduction, 19);
            const bool none = reduction == POSLABEL_REDUCTION_NONE;
            const int64_t rows = loss_rows(&c), at = 501 % rows;
            poslabel_context *context = context_new(levels[i], 2);
            expect_ok(context, loss_call(context, &c));

            tensor *grad = tensor_new(dtype_f32, 2, (int64_t[]){rows, 196}),
                   *loss = tensor_new(dtype_f64, 1, (int64_t[]){rows});
            tensor *scalar = tensor_scalar(dtype_f64, 0), *weights = tensor_scalar(dtype_f64, 0),
                   *hits = tensor_scalar(dtype_f64, 0);
            double losses = 0, sums = 0, accuracy = 0;
            for (int half = 0; half < 2; half++) {
                slice s;
                cut(&s, &c, grad, loss, half ? at : 0, half ? rows - at : at);
                poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
                args.grid = c.grid;
                args.sigma = c.sigma;
                args.reduction = reduction;
                args.logits = &s.logits;
                args.positions = &s.positions;
                args.weights = &s.weights;
                args.grad_logits = &s.grad;
                args.loss = none ? &s.loss : &scalar->t;
                args.normalizer = &c.weight_sum->t;
                args.weight_sum = &weights->t;
                args.accuracy = &hits->t;
                test_case_is("%s, reduction %d, half %d", poslabel_isa_name(levels[i]), reduction, half);
                expect_ok(context, poslabel_droppos_loss(context, &args));
                losses += tensor_get(scalar, 0);
                sums += tensor_get(weights, 0);
                accuracy += tensor_get(hits, 0);
            }
            expect_same_tensor("grad", grad, c.grad);
            if (none)
                expect_same_tensor("row losses", loss, c.loss);
            else
                expect_number("sum of the losses", losses, tensor_get(c.loss, 0), 1e-12);
            expect_number("sum of the weights", sums, tensor_get(c.weight_sum, 0), 1e-12);
            expect_number("sum of the accuracies", accuracy, tensor_get(c.accuracy, 0), 1e-12);
            tensor *const all[] = {grad, loss, scalar, weights, hits};
            for (int k = 0; k < COUNT(all); k++)
                tensor_free(all[k]);
            poslabel_context_destroy(context);
            loss_case_free(&c);
        }
    test_case_is("%s", "");
}

/* The loss alone, loss with gradient, and the gradient in place are one function. */
static void what_is_asked_for_does_not_matter(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int i = 0; i < count; i++)
        for (int filter = 0; filter < 2; filter++) {
            loss_case c = big_case(LOSS_DROPPOS, dtype_f32, POSLABEL_REDUCTION_MEAN, 20);
            c.confidence_filter = filter;
            poslabel_context *context = context_new(levels[i], 2);
            test_case_is("%s, filter %d", poslabel_isa_name(levels[i]), filter);
            expect_ok(context, loss_call(context, &c));
            tensor *loss = copy_of(c.loss), *accuracy = copy_of(c.accuracy), *sum = copy_of(c.weight_sum),
                   *grad = c.grad;
            c.grad = NULL;
            loss_case_forget_outputs(&c);
            expect_ok(context, loss_call(context, &c));
            expect_same_tensor("loss without gradient", c.loss, loss);
            expect_same_tensor("accuracy without gradient", c.accuracy, accuracy);
            expect_same_tensor("weight_sum without gradient", c.weight_sum, sum);
            c.grad = c.logits;
            loss_case_forget_outputs(&c);
            expect_ok(context, loss_call(context, &c));
            expect_same_tensor("loss in place", c.loss, loss);
            expect_same_tensor("gradient in place", c.logits, grad);
            tensor *const all[] = {loss, accuracy, sum, grad};
            for (int k = 0; k < COUNT(all); k++)
                tensor_free(all[k]);
            poslabel_context_destroy(context);
            loss_case_free(&c);
        }
    test_case_is("%s", "");
}

/* A row's bits are its own: they do not change with its neighbours, its place or its address. */
static void rows_do_not_see_each_other(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    static const int64_t classes[] = {5, 49, 169, 197, 1025};
    for (int i = 0; i < count; i++)
        for (int k = 0; k < COUNT(classes); k++) {
            const int64_t rows = 70;
            loss_case c = loss_case_new(LOSS_EXPLICIT, grid_of(classes[k]), dtype_f32, 1, &rows, (layout){0},
                                        POSLABEL_REDUCTION_NONE, 21);
            c.label_smoothing = 0.1;
            poslabel_context *context = context_new(levels[i], 1);
            expect_ok(context, loss_call(context, &c));
            for (int64_t r = 0; r < rows; r += 3) {
                const int64_t one = 1;
                loss_case alone = loss_case_new(LOSS_EXPLICIT, c.grid, dtype_f32, 1, &one,
                                                (layout){.gap = 4 * (size_t)(r % 16)}, POSLABEL_REDUCTION_NONE, 0);
                alone.label_smoothing = 0.1;
                memcpy(tensor_at(alone.logits, 0), tensor_at(c.logits, r * classes[k]), 4 * (size_t)classes[k]);
                tensor_set(alone.positions, 0, tensor_get(c.positions, r));
                test_case_is("%s, %lld classes, row %lld", poslabel_isa_name(levels[i]), (long long)classes[k],
                             (long long)r);
                expect_ok(context, loss_call(context, &alone));
                expect_same_bits("gradient", tensor_at(alone.grad, 0), tensor_at(c.grad, r * classes[k]),
                                 (size_t)classes[k], 4);
                expect_same_bits("loss", tensor_at(alone.loss, 0), tensor_at(c.loss, r), 1, 8);
                loss_case_free(&alone);
            }
            poslabel_context_destroy(context);
            loss_case_free(&c);
        }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_matter_to_any_operation),
        cmocka_unit_test(threads_do_not_matter),      cmocka_unit_test(threads_do_not_matter_to_the_filter),
        cmocka_unit_test(splits_do_not_matter),       cmocka_unit_test(what_is_asked_for_does_not_matter),
        cmocka_unit_test(rows_do_not_see_each_other),
    };
    return cmocka_run_group_tests_name("determinism", tests, NULL, NULL);
}
