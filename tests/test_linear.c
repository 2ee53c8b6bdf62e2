/*
 * The linear head with its position cross-entropy: against the definition, in chunks of every size.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "test.h"

/* The arguments of a call.  `loss` has all of them but the tensors of the head; its float64 logits and their gradient
 * are the definition's. */
typedef struct head {
    loss_case loss;
    int64_t channels;
    int accumulate;
    uint64_t limit;
    tensor *features, *weight, *bias, *grad_features, *grad_weight, *grad_bias;
} head;

/* The dtypes of the gradients of weight and bias follow that of the bias. */
static head head_new(loss_kind kind, poslabel_grid grid, poslabel_dtype dtype, poslabel_dtype parameters, int rank,
                     const int64_t *leading, int64_t channels, layout how, int reduction, uint64_t seed)
{
    head h = {.channels = channels};
    h.loss = loss_case_new(kind, grid, dtype_f64, rank, leading, (layout){0}, reduction, seed);
    const int64_t classes = loss_classes(&h.loss), matrix[] = {classes, channels};
    int64_t shape[TENSOR_MAX_RANK];
    memcpy(shape, leading, (size_t)rank * sizeof *shape);
    shape[rank] = channels;
    h.features = tensor_laid_out(dtype, rank + 1, shape, how);
    h.grad_features = tensor_laid_out(dtype, rank + 1, shape, how);
    h.weight = tensor_laid_out(dtype, 2, matrix, how);
    h.grad_weight = tensor_laid_out(parameters, 2, matrix, how);
    h.bias = tensor_new(parameters, 1, &classes);
    h.grad_bias = tensor_new(parameters, 1, &classes);
    tensor_fill_normal(h.features, seed + 1, 1);
    tensor_fill_normal(h.weight, seed + 2, 2 / sqrt((double)channels));
    tensor_fill_normal(h.bias, seed + 3, 1);
    return h;
}

static void head_free(head *h)
{
    tensor *const all[] = {h->features, h->weight, h->bias, h->grad_features, h->grad_weight, h->grad_bias};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
    loss_case_free(&h->loss);
}

static poslabel_linear_position_loss_args head_args(const head *h)
{
    const poslabel_position_cross_entropy_args loss = position_args(&h->loss);
    poslabel_linear_position_loss_args args = POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT;
    args.grid = loss.grid;
    args.labels = loss.labels;
    args.reduction = loss.reduction;
    args.accumulate = h->accumulate;
    args.features = tensor_of(h->features);
    args.weight = tensor_of(h->weight);
    args.bias = tensor_of(h->bias);
    args.positions = loss.positions;
    args.mask = loss.mask;
    args.weights = loss.weights;
    args.ignore_index = loss.ignore_index;
    args.label_smoothing = loss.label_smoothing;
    args.grad_scale = loss.grad_scale;
    args.grad_loss = loss.grad_loss;
    args.normalizer = loss.normalizer;
    args.workspace_limit = h->limit;
    args.loss = loss.loss;
    args.grad_features = tensor_of(h->grad_features);
    args.grad_weight = tensor_of(h->grad_weight);
    args.grad_bias = tensor_of(h->grad_bias);
    args.accuracy = loss.accuracy;
    args.weight_sum = loss.weight_sum;
    args.flags = loss.flags;
    return args;
}

static poslabel_status head_call(poslabel_context *context, const head *h)
{
    const poslabel_linear_position_loss_args args = head_args(h);
    return poslabel_linear_position_loss(context, &args);
}

enum { OUTPUTS = 7 };

static void outputs_of(const head *h, tensor *outputs[OUTPUTS])
{
    tensor *const all[OUTPUTS] = {h->loss.loss,     h->grad_features,   h->grad_weight, h->grad_bias,
                                  h->loss.accuracy, h->loss.weight_sum, h->loss.flags};
    memcpy(outputs, all, sizeof all);
}

static void forget(const head *h)
{
    tensor *outputs[OUTPUTS];
    outputs_of(h, outputs);
    for (int i = 0; i < OUTPUTS; i++)
        if (outputs[i])
            tensor_forget(outputs[i]);
}

static bool untouched(const head *h)
{
    tensor *outputs[OUTPUTS];
    outputs_of(h, outputs);
    for (int i = 0; i < OUTPUTS; i++)
        if (outputs[i] && !tensor_is_untouched(outputs[i]))
            return false;
    return true;
}

#ifdef TEST_HAVE_CBLAS

/* What the header defines; rows of weight 0 are not looked at. */
typedef struct head_answer {
    loss_answer loss;
    double *grad_features, *grad_weight, *grad_bias;
} head_answer;

static head_answer head_solve(head *h)
{
    const int64_t rows = loss_rows(&h->loss), classes = loss_classes(&h->loss), d = h->channels;
    double *const x = tensor_doubles(h->features), *const w = tensor_doubles(h->weight);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < classes; c++) {
            long double z = h->bias ? tensor_get(h->bias, c) : 0;
            for (int64_t i = 0; i < d; i++)
                z += (long double)x[r * d + i] * w[c * d + i];
            tensor_set(h->loss.logits, r * classes + c, (double)z);
        }
    head_answer a = {.loss = loss_solve(&h->loss)};
    a.grad_features = calloc((size_t)(rows * d) + 1, sizeof(double));
    a.grad_weight = calloc((size_t)(classes * d), sizeof(double));
    a.grad_bias = calloc((size_t)classes, sizeof(double));
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < classes && a.loss.row_weight[r] != 0; c++) {
            const double g = a.loss.grad[r * classes + c];
            a.grad_bias[c] += g;
            for (int64_t i = 0; i < d; i++) {
                a.grad_features[r * d + i] += g * w[c * d + i];
                a.grad_weight[c * d + i] += g * x[r * d + i];
            }
        }
    free(x);
    free(w);
    return a;
}

static void head_answer_free(head_answer *a)
{
    loss_answer_free(&a->loss);
    free(a->grad_features);
    free(a->grad_weight);
    free(a->grad_bias);
}

/* Errors of float32 sums, or float64, and one rounding to the dtype of the output. */
static void check_gradient(const char *what, const tensor *got, const double *want, poslabel_dtype arithmetic)
{
    const bool is_short = dtype_is(arithmetic, dtype_f16) || dtype_is(arithmetic, dtype_bf16);
    /* on CUDA the products are those of 16-bit gradients of logits */
    const double factors = is_short && test_on_cuda() ? dtype_epsilon(arithmetic) : 0;
    const double sums = dtype_is(arithmetic, dtype_f64) ? 1e-12 : 2e-5 + factors;
    if (!got)
        return;
    tensor_check(got);
    expect_near_doubles(what, got, want, sums + dtype_epsilon(got->t.dtype) / 2 * (1 + sums));
}

static void check_head(const head *h, const head_answer *a)
{
    loss_case scalars = h->loss;
    const poslabel_dtype dtype = h->features->t.dtype;
    const int64_t rows = a->loss.rows, d = h->channels;
    scalars.grad = NULL;
    expect_answer(&scalars, &a->loss, dtype_is(dtype, dtype_f64) ? 1e-12 : 1e-5);
    check_gradient("grad_features", h->grad_features, a->grad_features, dtype);
    check_gradient("grad_weight", h->grad_weight, a->grad_weight, dtype);
    check_gradient("grad_bias", h->grad_bias, a->grad_bias, dtype);
    for (int64_t r = 0; h->grad_features && r < rows; r++)
        for (int64_t i = 0; i < d && a->loss.row_weight[r] == 0; i++)
            if (tensor_get(h->grad_features, r * d + i) != 0)
                test_fail("row %lld has weight 0 and a gradient of %g", (long long)r,
                          tensor_get(h->grad_features, r * d + i));
}

/* The smallest workspace_limit of a call, from the message that refuses a smaller one. */
static uint64_t least_limit(poslabel_context *context, head *h)
{
    static const char text[] = "must be at least ";
    const uint64_t was = h->limit;
    h->limit = 1;
    expect_error(context, head_call(context, h), POSLABEL_ERROR_INVALID,
                 "linear_position_loss: ", "workspace_limit = 1, ", text);
    h->limit = was;
    return strtoull(strstr(poslabel_context_message(context), text) + strlen(text), NULL, 10);
}

typedef struct variant {
    loss_kind kind;
    int reduction;
    bool mask, weights, grad_loss, row_grad_loss, normalizer, ignored, no_bias;
    double smoothing, grad_scale;
} variant;

static const variant variants[] = {
    {.kind = LOSS_ABSOLUTE, .grad_scale = 1},
    {.kind = LOSS_ABSOLUTE, .weights = true, .grad_scale = -2, .smoothing = 0.1},
    {.kind = LOSS_ABSOLUTE, .mask = true, .reduction = POSLABEL_REDUCTION_SUM, .grad_scale = 1, .no_bias = true},
    {.kind = LOSS_RELATIVE, .grad_scale = 1, .reduction = POSLABEL_REDUCTION_SUM},
    {.kind = LOSS_RELATIVE, .grad_scale = 1, .mask = true, .weights = true, .grad_loss = true},
    {.kind = LOSS_RELATIVE, .grad_scale = 1, .normalizer = true},
    {.kind = LOSS_EXPLICIT, .grad_scale = 1},
    {.kind = LOSS_EXPLICIT, .grad_scale = 3, .ignored = true, .weights = true, .no_bias = true},
    {.kind = LOSS_EXPLICIT, .grad_scale = 1, .reduction = POSLABEL_REDUCTION_NONE, .mask = true},
    {.kind = LOSS_EXPLICIT, .grad_scale = 1, .reduction = POSLABEL_REDUCTION_NONE, .row_grad_loss = true},
    {.kind = LOSS_ABSOLUTE, .grad_scale = 1, .reduction = POSLABEL_REDUCTION_NONE, .row_grad_loss = true, .mask = true},
};

/* 72 rows: 12 images of 6 absolute positions, 2 of 36 pairs. */
static head variant_head(const variant *v, poslabel_dtype dtype, poslabel_dtype parameters, layout how, uint64_t seed)
{
    static const int64_t leading[] = {2, 36};
    head h = head_new(v->kind, (poslabel_grid){2, 3}, dtype, parameters, v->kind == LOSS_ABSOLUTE ? 1 : 2,
                      v->kind == LOSS_ABSOLUTE ? (int64_t[]){72} : leading, 21, how, v->reduction, seed);
    h.loss.label_smoothing = v->smoothing;
    h.loss.grad_scale = v->grad_scale;
    if (v->mask) {
        loss_case_add_mask(&h.loss, dtype_bool, seed + 4);
        tensor_set(h.loss.mask, 3, 1);
    }
    if (v->weights)
        loss_case_add_weights(&h.loss, dtype_f32, seed + 5);
    if (v->normalizer)
        h.loss.normalizer = tensor_scalar(dtype_f64, 17.5);
    if (v->grad_loss)
        h.loss.grad_loss = tensor_scalar(dtype_f32, 0.75);
    if (v->row_grad_loss) {
        h.loss.grad_loss = tensor_new(dtype_f64, h.features->t.ndim - 1, h.features->shape);
        tensor_fill_normal(h.loss.grad_loss, seed + 6, 1);
    }
    for (int64_t r = 0; v->ignored && r < 72; r += 5)
        tensor_set(h.loss.positions, r, -100);
    if (v->no_bias) {
        tensor_free(h.bias);
        h.bias = NULL;
    }
    return h;
}

static void every_dtype_and_layout(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[][2] = {{dtype_f32, dtype_f32}, {dtype_f64, dtype_f64},   {dtype_f16, dtype_f16},
                                        {dtype_f16, dtype_f32}, {dtype_bf16, dtype_bf16}, {dtype_bf16, dtype_f32}};
    static const layout layouts[] = {{0}, {.row_padding = 3}, {.row_padding = 5, .side = GUARD_BEGIN, .gap = 8}};
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    for (int l = 0; l < count; l++)
        for (int v = 0; v < COUNT(variants); v++)
            for (int t = 0; t < COUNT(dtypes); t++)
                for (int i = 0; i < COUNT(layouts); i++)
                    for (int small = 0; small < 2; small++) {
                        if (test_leaves_out(7))
                            continue;
                        poslabel_context *context = context_new(levels[l], 1 + v % 3);
                        head h = variant_head(&variants[v], dtypes[t][0], dtypes[t][1], layouts[i], 71);
                        test_case_is("%s, variant %d, %s with %s, layout %d, %s chunks", poslabel_isa_name(levels[l]),
                                     v, dtype_name(dtypes[t][0]), dtype_name(dtypes[t][1]), i,
                                     small ? "small" : "large");
                        if (small)
                            h.limit = least_limit(context, &h) + 2000;
                        head_answer a = head_solve(&h);
                        expect_ok(context, head_call(context, &h));
                        check_head(&h, &a);
                        head_answer_free(&a);
                        head_free(&h);
                        poslabel_context_destroy(context);
                    }
    test_case_is("%s", "");
}

/* grad_scale * grad_loss . loss */
static double objective(poslabel_context *context, const head *h)
{
    head only = *h;
    only.grad_features = only.grad_weight = only.grad_bias = NULL;
    expect_ok(context, head_call(context, &only));
    const tensor *const g = h->loss.grad_loss;
    double sum = 0;
    for (int64_t r = 0; r < h->loss.loss->count; r++)
        sum += tensor_get(h->loss.loss, r) * (g ? tensor_get(g, g->count > 1 ? r : 0) : 1);
    return sum * h->loss.grad_scale;
}

static void check_differences(poslabel_context *context, const head *h, tensor *of, const tensor *grad)
{
    const double step = 1e-5;
    double *const want = malloc(sizeof *want * (size_t)of->count);
    for (int64_t i = 0; i < of->count; i++) {
        const double x = tensor_get(of, i);
        want[i] = tensor_get(grad, i);
        if (test_leaves_out(97))
            continue;
        tensor_set(of, i, x + step);
        const double above = objective(context, h);
        tensor_set(of, i, x - step);
        want[i] = (above - objective(context, h)) / (2 * step);
        tensor_set(of, i, x);
    }
    expect_near_doubles("gradient", grad, want, 1e-7);
    free(want);
}

static void gradients_are_differences(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    for (int v = 0; v < COUNT(variants); v++) {
        head h = variant_head(&variants[v], dtype_f64, dtype_f64, (layout){0}, 72);
        test_case_is("variant %d", v);
        h.limit = least_limit(context, &h) + 3000;
        expect_ok(context, head_call(context, &h));
        check_differences(context, &h, h.features, h.grad_features);
        check_differences(context, &h, h.weight, h.grad_weight);
        if (h.bias)
            check_differences(context, &h, h.bias, h.grad_bias);
        head_free(&h);
    }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* A head as large as many_rows allows, in a batch whose chunks end within an image. */
static head big_head(loss_kind kind, poslabel_dtype dtype, bool weights)
{
    const int64_t rows = test_is_quick() ? 504 : 1512; /* of 12 absolute positions, or 36 pairs */
    const poslabel_grid grid = kind == LOSS_RELATIVE ? (poslabel_grid){2, 3} : (poslabel_grid){3, 4};
    head h = head_new(kind, grid, dtype, dtype, 1, &rows, 40, (layout){0}, POSLABEL_REDUCTION_MEAN, 73);
    if (weights)
        loss_case_add_weights(&h.loss, dtype_f32, 74);
    return h;
}

/* Copies of all outputs, to be freed. */
static void copy_outputs(const head *h, tensor *copies[OUTPUTS])
{
    outputs_of(h, copies);
    for (int i = 0; i < OUTPUTS; i++)
        if (copies[i])
            copies[i] = tensor_copy(copies[i], copies[i]->t.dtype, (layout){0});
}

static void expect_same_outputs(const head *h, tensor *const want[OUTPUTS])
{
    static const char *const names[OUTPUTS] = {"loss",     "grad_features", "grad_weight", "grad_bias",
                                               "accuracy", "weight_sum",    "flags"};
    tensor *got[OUTPUTS];
    outputs_of(h, got);
    for (int i = 0; i < OUTPUTS; i++)
        if (got[i])
            expect_same_tensor(names[i], got[i], want[i]);
}

static void free_outputs(tensor *copies[OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++)
        tensor_free(copies[i]);
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
                tensor *first[OUTPUTS] = {NULL};
                for (int again = 0; again < 4; again++) {
                    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, again < 2 ? 1 : again == 2 ? 2 : 7);
                    if (again == 0)
                        h.limit = least_limit(context, &h) + more[m];
                    test_case_is("%s, %s, limit %llu, time %d", loss_kind_names[kinds[k]],
                                 dtype_name(h.features->t.dtype), (unsigned long long)h.limit, again);
                    forget(&h);
                    expect_ok(context, head_call(context, &h));
                    if (poslabel_context_workspace(context) > h.limit)
                        test_fail("the workspace is %zu bytes", poslabel_context_workspace(context));
                    if (again == 0) {
                        check_head(&h, &a);
                        copy_outputs(&h, first);
                    } else {
                        expect_same_outputs(&h, first);
                    }
                    poslabel_context_destroy(context);
                }
                free_outputs(first);
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
    const int64_t rows = test_is_quick() ? 700 : 2000;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_f64};
    for (int t = 0; t < COUNT(dtypes); t++) {
        head h = head_new(LOSS_EXPLICIT, (poslabel_grid){14, 15}, dtypes[t], dtypes[t], 1, &rows, 300, (layout){0},
                          POSLABEL_REDUCTION_SUM, 75);
        tensor *first[OUTPUTS] = {NULL};
        h.limit = 4 << 20;
        static const int threads[] = {1, 2, 3, 7, 16};
        for (int i = 0; i < COUNT(threads); i++) {
            poslabel_context *context = context_new(POSLABEL_ISA_AUTO, threads[i]);
            test_case_is("%s, %d threads", dtype_name(dtypes[t]), threads[i]);
            forget(&h);
            expect_ok(context, head_call(context, &h));
            if (i == 0)
                copy_outputs(&h, first);
            else
                expect_same_outputs(&h, first);
            poslabel_context_destroy(context);
        }
        free_outputs(first);
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
            h.limit = least_limit(context, &h) + 20000;
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
            tensor *want[OUTPUTS];
            test_case_is("%s%s", loss_kind_names[kind], masked ? ", masked" : "");
            expect_ok(context, head_call(context, &given));
            copy_outputs(&given, want);
            forget(&h);
            expect_ok(context, head_call(context, &h));
            expect_same_outputs(&h, want);
            free_outputs(want);
            tensor_free(given.loss.positions);
            head_free(&h);
            poslabel_context_destroy(context);
        }
    test_case_is("%s", "");
}

/* The loss, accuracy, weight sum and flags of poslabel_position_cross_entropy() on the logits. */
static void like_the_loss_on_logits(void **state)
{
    (void)state;
    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, 2);
    for (int v = 0; v < COUNT(variants); v++) {
        head h = variant_head(&variants[v], dtype_f64, dtype_f64, (layout){0}, 77);
        head_answer a = head_solve(&h); /* also makes the logits */
        h.limit = least_limit(context, &h) + 4000;
        expect_ok(context, head_call(context, &h));
        tensor *outputs[OUTPUTS];
        copy_outputs(&h, outputs);
        expect_ok(context, loss_call(context, &h.loss));
        test_case_is("variant %d", v);
        expect_near_tensor("loss", outputs[0], h.loss.loss, 1e-13);
        expect_near_tensor("accuracy", outputs[4], h.loss.accuracy, 1e-13);
        expect_same_tensor("weight_sum", outputs[5], h.loss.weight_sum);
        expect_same_tensor("flags", outputs[6], h.loss.flags);
        const int64_t classes = a.loss.classes;
        double *const bias = calloc((size_t)classes, sizeof *bias); /* from the gradient that the loss on logits gave */
        for (int64_t i = 0; i < h.loss.grad->count; i++)
            bias[i % classes] += tensor_get(h.loss.grad, i);
        expect_near_doubles("grad_bias", outputs[3], bias, 1e-12);
        free(bias);
        free_outputs(outputs);
        head_answer_free(&a);
        head_free(&h);
    }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Every set of outputs with a loss or a gradient in it gives the bits of the whole set. */
static void any_outputs(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16};
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int v = 0; v < COUNT(variants); v += 4) {
            head h = variant_head(&variants[v], dtypes[t], dtypes[t], (layout){0}, 78);
            tensor *want[OUTPUTS];
            expect_ok(context, head_call(context, &h));
            copy_outputs(&h, want);
            for (int set = 0; set < 1 << OUTPUTS; set++) {
                if (test_leaves_out(7))
                    continue;
                head some = h;
                tensor **const fields[OUTPUTS] = {
                    &some.loss.loss,     &some.grad_features,   &some.grad_weight, &some.grad_bias,
                    &some.loss.accuracy, &some.loss.weight_sum, &some.loss.flags,
                };
                for (int i = 0; i < OUTPUTS; i++)
                    if (!(set >> i & 1))
                        *fields[i] = NULL;
                test_case_is("%s, variant %d, set %d", dtype_name(dtypes[t]), v, set);
                forget(&h);
                if (set & 15) {
                    expect_ok(context, head_call(context, &some));
                    expect_same_outputs(&some, want);
                } else {
                    expect_error(context, head_call(context, &some), POSLABEL_ERROR_INVALID, "all NULL");
                }
            }
            free_outputs(want);
            head_free(&h);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

static void accumulation(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[][2] = {{dtype_f32, dtype_f32},
                                        {dtype_f64, dtype_f64},
                                        {dtype_f16, dtype_f16},
                                        {dtype_bf16, dtype_f32},
                                        {dtype_bf16, dtype_bf16}};
    poslabel_context *context = context_default();
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int v = 0; v < COUNT(variants); v += 3)
            for (int small = 0; small < 2; small++) {
                head h = variant_head(&variants[v], dtypes[t][0], dtypes[t][1], (layout){.row_padding = 2}, 79);
                test_case_is("%s with %s, variant %d", dtype_name(dtypes[t][0]), dtype_name(dtypes[t][1]), v);
                head_answer a = head_solve(&h);
                tensor_fill_normal(h.grad_weight, 80, 1);
                tensor_fill_normal(h.grad_bias, 81, 1);
                for (int64_t i = 0; i < h.grad_weight->count; i++)
                    a.grad_weight[i] += tensor_get(h.grad_weight, i);
                for (int64_t i = 0; i < h.grad_bias->count; i++)
                    a.grad_bias[i] += tensor_get(h.grad_bias, i);
                h.accumulate = 1;
                if (small)
                    h.limit = least_limit(context, &h) + 2000;
                expect_ok(context, head_call(context, &h));
                check_head(&h, &a);
                head_answer_free(&a);
                head_free(&h);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* What rows of weight 0 hold does not matter: not in the sums, either. */
static void rows_that_do_not_count(void **state)
{
    (void)state;
    static const double poisons[] = {NAN, INFINITY, -INFINITY};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_f64};
    poslabel_context *context = context_new(POSLABEL_ISA_AUTO, 2);
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int way = 0; way < 4; way++)
            for (int small = 0; small < 2; small++) {
                const variant v = {.kind = LOSS_EXPLICIT, .grad_scale = 1, .reduction = way == 3 ? 2 : 0};
                head h = variant_head(&v, dtypes[t], dtypes[t], (layout){0}, 82);
                loss_case_add_mask(&h.loss, dtype_bool, 83);
                loss_case_add_weights(&h.loss, dtype_f32, 84);
                for (int64_t r = 0; r < 72; r++) {
                    const bool counts = way == 1 ? r >= 20 && r < 60 : r % 3 != 0;
                    tensor_set(h.loss.mask, r, way == 0 ? counts : 1);
                    tensor_set(h.loss.weights, r, way == 1 || way == 3 ? counts : 1);
                    tensor_set(h.loss.positions, r, way == 2 && !counts ? -100 : (double)(r % 6));
                    if (!counts)
                        for (int64_t i = 0; i < 21; i++)
                            tensor_set(h.features, r * 21 + i, poisons[r % 3]);
                }
                test_case_is("%s, way %d", dtype_name(dtypes[t]), way);
                if (small)
                    h.limit = least_limit(context, &h) + 1500;
                head_answer a = head_solve(&h);
                expect_ok(context, head_call(context, &h));
                check_head(&h, &a);
                assert_true(isfinite(tensor_get(h.loss.loss, 1)) || way != 3);
                head_answer_free(&a);

                /* and a NaN in a row that counts is seen */
                tensor_set(h.features, 40 * 21 + 5, (double)NAN);
                expect_ok(context, head_call(context, &h));
                assert_true(isnan(tensor_get(h.loss.loss, way == 3 ? 40 : 0)));
                assert_true(isnan(tensor_get(h.grad_weight, 5)));
                assert_true(isnan(tensor_get(h.grad_bias, 2)));
                assert_true(isnan(tensor_get(h.grad_features, 40 * 21)));
                assert_false(isnan(tensor_get(h.grad_features, 41 * 21)));
                head_free(&h);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

static void expect_all(const char *what, const tensor *t, double value)
{
    for (int64_t i = 0; i < t->count; i++)
        if (tensor_get(t, i) != value)
            test_fail("%s[%lld] = %g, want %g", what, (long long)i, tensor_get(t, i), value);
}

static void nothing_counts(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_bf16};
    poslabel_context *context = context_default();
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int way = 0; way < 3; way++)
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                const int64_t rows = way == 2 ? 0 : 12;
                head h = head_new(LOSS_ABSOLUTE, (poslabel_grid){2, 3}, dtypes[t], dtypes[t], 1, &rows, 5,
                                  (layout){.row_padding = 1}, POSLABEL_REDUCTION_MEAN, 85);
                test_case_is("%s, way %d, accumulate %d", dtype_name(dtypes[t]), way, accumulate);
                if (way == 0) {
                    loss_case_add_mask(&h.loss, dtype_u8, 86);
                    tensor_fill(h.loss.mask, 0);
                    tensor_fill(h.features, (double)NAN);
                } else if (way == 1) {
                    h.loss.normalizer = tensor_scalar(dtype_f32, 0);
                    tensor_fill(h.features, (double)NAN);
                }
                h.accumulate = accumulate;
                tensor_fill(h.grad_weight, 3);
                tensor_fill(h.grad_bias, 4);
                expect_ok(context, head_call(context, &h));
                expect_all("loss", h.loss.loss, 0);
                expect_all("accuracy", h.loss.accuracy, 0);
                expect_all("weight_sum", h.loss.weight_sum, way == 1 ? 12 : 0);
                expect_all("flags", h.loss.flags, POSLABEL_LOSS_EMPTY);
                expect_all("grad_features", h.grad_features, 0);
                expect_all("grad_weight", h.grad_weight, accumulate ? 3 : 0);
                expect_all("grad_bias", h.grad_bias, accumulate ? 4 : 0);
                head_free(&h);
            }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* Views that a CBLAS cannot take as they are: rows on two levels, expanded rows, rows that overlap. */
static void strange_strides(void **state)
{
    (void)state;
    enum { B = 4, T = 7, D = 10, C = 5 };
    poslabel_context *context = context_default();
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_f64};
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int way = 0; way < 4; way++) {
            head h = head_new(LOSS_EXPLICIT, (poslabel_grid){1, C}, dtypes[t], dtypes[t], 2, (int64_t[]){B, T - 1}, D,
                              (layout){0}, POSLABEL_REDUCTION_MEAN, 87);
            tensor *const storage = tensor_new(dtypes[t], 3, (int64_t[]){B, T, D});
            tensor *const grads = tensor_new(dtypes[t], 3, (int64_t[]){B, T, D});
            tensor_fill_normal(storage, 88, 1);
            tensor_fill(grads, 7);
            poslabel_linear_position_loss_args args = head_args(&h);
            poslabel_tensor features = h.features->t, grad_features = h.grad_features->t, weight = h.weight->t;
            const int64_t images[] = {T * D, D, 1}, same[] = {0, 0, 1}, close[] = {3, 1};
            if (way == 0 || way == 1) { /* x[:, 1:, :] */
                features.data = tensor_at(storage, D);
                features.strides = images;
                for (int64_t i = 0; i < h.features->count; i++)
                    tensor_set(h.features, i, tensor_get(storage, i / (6 * D) * T * D + D + i % (6 * D)));
                args.features = &features;
            }
            if (way == 1) {
                grad_features.data = tensor_at(grads, D);
                grad_features.strides = images;
                args.grad_features = &grad_features;
            }
            if (way == 2) {
                features.strides = same;
                for (int64_t i = 0; i < h.features->count; i++)
                    tensor_set(h.features, i, tensor_get(h.features, i % D));
                args.features = &features;
            }
            if (way == 3) {
                weight.data = storage->memory.data;
                weight.strides = close;
                for (int64_t i = 0; i < C * D; i++)
                    tensor_set(h.weight, i, tensor_get(storage, i / D * 3 + i % D));
                args.weight = &weight;
            }
            test_case_is("%s, way %d", dtype_name(dtypes[t]), way);
            head_answer a = head_solve(&h);
            expect_ok(context, poslabel_linear_position_loss(context, &args));
            if (way == 1)
                for (int64_t i = 0; i < grads->count; i++) {
                    if (i % (T * D) < D)
                        assert_true(tensor_get(grads, i) == 7); /* the first token of each image */
                    else
                        tensor_set(h.grad_features, i - (i / (T * D) + 1) * D, tensor_get(grads, i));
                }
            check_head(&h, &a);
            head_answer_free(&a);
            tensor_free(storage);
            tensor_free(grads);
            head_free(&h);
        }
    poslabel_context_destroy(context);
    test_case_is("%s", "");
}

/* The least limit is the least, and no allocation is larger than what is allowed. */
static void workspace_limit(void **state)
{
    (void)state;
    skip_on_cuda(); /* the counted memory is the host's */
    for (int threads = 1; threads <= 4; threads += 3)
        for (int v = 0; v < COUNT(variants); v++) {
            counting_allocator counter;
            counting_allocator_init(&counter);
            poslabel_context *context = context_counted(&counter, POSLABEL_ISA_AUTO, threads, NULL);
            const size_t context_bytes = counter.live_bytes;
            head h = variant_head(&variants[v], v % 2 ? dtype_f32 : dtype_f16, dtype_f32, (layout){0}, 89);
            const uint64_t least = least_limit(context, &h);
            test_case_is("variant %d, %d threads, at least %llu", v, threads, (unsigned long long)least);
            assert_true(counter.live_bytes == context_bytes);
            h.limit = least - 1;
            forget(&h);
            expect_error(context, head_call(context, &h), POSLABEL_ERROR_INVALID, "workspace_limit = ");
            assert_true(untouched(&h));
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

/* Features of two thousand rows that are one row: all have to be copied, which takes more than the default allows. */
/* The same on CUDA, by what the context says that it holds. */
static void workspace_limit_of_the_device(void **state)
{
    (void)state;
    if (!test_on_cuda())
        skip();
    poslabel_context *context = context_default();
    for (int v = 0; v < COUNT(variants); v++) {
        head h = variant_head(&variants[v], v % 2 ? dtype_f32 : dtype_f16, dtype_f32, (layout){0}, 89);
        const uint64_t least = least_limit(context, &h);
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

#endif

static poslabel_context *context;
static head good;

#define INVALID POSLABEL_ERROR_INVALID

/* One thing is changed in arguments that are right. */
#define REFUSED(change, ...)                                                                                           \
    do {                                                                                                               \
        poslabel_linear_position_loss_args args = head_args(&good);                                                    \
        change;                                                                                                        \
        forget(&good);                                                                                                 \
        expect_error(context, poslabel_linear_position_loss(context, &args), INVALID,                                  \
                     "linear_position_loss: ", __VA_ARGS__);                                                           \
        if (!error_came_later() && !untouched(&good))                                                                  \
            test_fail("%s: the call failed, but an output was written", #change);                                      \
    } while (0)

static void errors(void **state)
{
    (void)state;
    context = context_default();
    assert_int_equal(poslabel_linear_position_loss(NULL, NULL), INVALID);
    expect_error(context, poslabel_linear_position_loss(context, NULL), INVALID, "args is NULL");
    good = head_new(LOSS_EXPLICIT, (poslabel_grid){3, 4}, dtype_f32, dtype_f32, 2, (int64_t[]){2, 3}, 8, (layout){0},
                    POSLABEL_REDUCTION_MEAN, 91);
    loss_case_add_weights(&good.loss, dtype_f32, 92);
    REFUSED(args.struct_size = 3, "struct_size = 3");
    REFUSED(args.features = NULL, "features is NULL");
    REFUSED(args.weight = NULL, "weight is NULL");
    REFUSED(args.positions = NULL, "positions is NULL");
    REFUSED((args.loss = args.grad_features = args.grad_weight = args.grad_bias = NULL),
            "loss, grad_features, grad_weight and grad_bias are all NULL");
    REFUSED(args.accumulate = 2, "accumulate = 2", "0 or 1");
    REFUSED(args.accumulate = -1, "accumulate = -1");
    REFUSED(args.labels = 9, "labels = 9");
    REFUSED(args.reduction = 5, "reduction = 5");
    REFUSED(args.grad_scale = NAN, "grad_scale = ", "finite");
    REFUSED(args.label_smoothing = 2, "label_smoothing = 2", "[0, 1]");

    const int64_t nine[] = {12, 9}, none[] = {0, 8}, empty[] = {12, 0}, wide[] = {2, 3, 0}, eleven[] = {11};
    const int64_t huge[] = {((int64_t)1 << 30) + 1, 8}, still[] = {0, 1};
    poslabel_tensor other = good.weight->t;
    other.shape = nine;
    REFUSED(args.weight = &other, "weight has shape [12, 9], must be [*, 8]");
    other.shape = none;
    REFUSED((args.weight = &other, args.grad_weight = args.bias = args.grad_bias = NULL), "weight has shape [0, 8]",
            "1 to 2^30");
    other.shape = huge;
    other.strides = still;
    REFUSED(args.weight = &other, "weight has shape [1073741825, 8]", "1 to 2^30");
    other = good.weight->t;
    other.shape = empty;
    poslabel_tensor narrow = good.features->t;
    narrow.shape = wide;
    REFUSED((args.features = &narrow, args.weight = &other, args.grad_features = args.grad_weight = NULL),
            "weight has shape [12, 0]", "1 to 2^30");
    other = good.weight->t;
    other.dtype = dtype_f64;
    REFUSED(args.weight = &other, "weight has dtype float64, must be float32");
    other = good.features->t;
    other.dtype = dtype_i32;
    REFUSED(args.features = &other, "features has dtype int32");
    other = good.grad_features->t;
    other.dtype = dtype_f16;
    REFUSED(args.grad_features = &other, "grad_features has dtype float16, must be float32");
    other = good.grad_weight->t;
    other.dtype = dtype_f64;
    REFUSED(args.grad_weight = &other, "grad_weight has dtype float64, must be float32");
    REFUSED(args.grad_weight = &good.features->t, "grad_weight has shape [2, 3, 8], must be [12, 8]");
    REFUSED(args.grad_features = &good.grad_weight->t, "grad_features has shape [12, 8], must be [2, 3, 8]");
    other = good.bias->t;
    other.shape = eleven;
    REFUSED(args.bias = &other, "bias has shape [11], must be [12]");
    REFUSED(args.grad_bias = &other, "grad_bias has shape [11], must be [12]");
    other = good.loss.positions->t;
    REFUSED(args.mask = &good.bias->t, "mask has shape [12], must be [2, 3]");
    REFUSED(args.weights = &good.bias->t, "weights has shape [12], must be [2, 3]");
    REFUSED(args.loss = &good.bias->t, "loss has shape [12]");

    /* no output may be anything else */
    REFUSED(args.grad_features = &good.features->t, "grad_features overlaps features");
    REFUSED(args.grad_weight = &good.weight->t, "grad_weight overlaps weight");
    REFUSED(args.grad_bias = &good.bias->t, "grad_bias overlaps bias");
    other = good.grad_bias->t;
    other.data = good.grad_weight->memory.data;
    REFUSED(args.grad_bias = &other, "grad_weight overlaps grad_bias");
    other = good.loss.accuracy->t;
    other.data = good.loss.loss->memory.data;
    REFUSED(args.accuracy = &other, "loss overlaps accuracy");
    other.data = good.loss.weights->memory.data;
    REFUSED(args.weight_sum = &other, "weight_sum overlaps weights");
    other.data = good.loss.positions->memory.data;
    REFUSED(args.loss = &other, "loss overlaps positions");

#ifdef TEST_HAVE_CBLAS
    REFUSED(args.workspace_limit = 100, "workspace_limit = 100, must be at least ");
    const double was = tensor_get(good.loss.positions, 4);
    tensor_set(good.loss.positions, 4, 12);
    REFUSED(args.accumulate = 0, "positions[1, 1] = 12, must be in [0, 12)");
    tensor_set(good.loss.positions, 4, was);
    tensor_set(good.loss.weights, 2, -0.5);
    REFUSED(args.accumulate = 0, "weights[0, 2] = -0.5");
    tensor_set(good.loss.weights, 2, 1);
    expect_ok(context, head_call(context, &good));
    head_answer a = head_solve(&good);
    check_head(&good, &a);
    head_answer_free(&a);
#endif
    head_free(&good);

    good = head_new(LOSS_ABSOLUTE, (poslabel_grid){2, 3}, dtype_f64, dtype_f64, 1, (int64_t[]){12}, 8, (layout){0},
                    POSLABEL_REDUCTION_MEAN, 93);
    REFUSED(args.grid.width = 0, "grid is 2 x 0");
    REFUSED(args.grid.width = 4, "weight has 6 classes, must have 8 on a 2 x 4 grid");
    REFUSED(args.positions = &good.features->t, "positions");
    const int64_t seven[] = {7, 8};
    poslabel_tensor part = good.features->t;
    part.shape = seven;
    REFUSED((args.features = &part, args.grad_features = NULL), "features have 7 rows, must be a multiple of 6");
    other = good.bias->t;
    other.dtype = dtype_f32;
    REFUSED(args.bias = &other, "bias has dtype float32, must be float64");
    other = good.grad_weight->t;
    other.dtype = dtype_f32;
    REFUSED(args.grad_weight = &other, "grad_weight has dtype float32, must be float64");
    const int64_t strides[] = {8, 2};
    part = good.features->t;
    part.strides = strides;
    poslabel_linear_position_loss_args args = head_args(&good);
    args.features = &part;
    expect_error(context, poslabel_linear_position_loss(context, &args), POSLABEL_ERROR_UNSUPPORTED, "features",
                 "stride 2");
    head_free(&good);
    poslabel_context_destroy(context);
}

#ifndef TEST_HAVE_CBLAS
static void unsupported(void **state)
{
    (void)state;
    context = context_default();
    good = head_new(LOSS_ABSOLUTE, (poslabel_grid){2, 3}, dtype_f32, dtype_f32, 1, (int64_t[]){12}, 8, (layout){0},
                    POSLABEL_REDUCTION_MEAN, 94);
    forget(&good);
    expect_error(context, head_call(context, &good), POSLABEL_ERROR_UNSUPPORTED, "linear_position_loss: ", "CBLAS",
                 "libopenblas");
    assert_true(untouched(&good));
    head_free(&good);
    poslabel_context_destroy(context);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef TEST_HAVE_CBLAS
        cmocka_unit_test(every_dtype_and_layout),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(chunks_of_every_size),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(labels_over_chunks),
        cmocka_unit_test(like_the_loss_on_logits),
        cmocka_unit_test(any_outputs),
        cmocka_unit_test(accumulation),
        cmocka_unit_test(rows_that_do_not_count),
        cmocka_unit_test(nothing_counts),
        cmocka_unit_test(strange_strides),
        cmocka_unit_test(workspace_limit),
        cmocka_unit_test(workspace_limit_of_the_device),
        cmocka_unit_test(default_limit),
#else
        cmocka_unit_test(unsupported),
#endif
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests_name("linear", tests, NULL, NULL);
}
