/*
 * Workspace that the caller lends: how much a call needs, and calls that take nothing from the context.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/cuda.h"

static size_t alignment(void)
{
    return test_on_cuda() ? 256 : 64;
}

/* Memory of the device under test: on the CPU it ends shortly before an unreadable page. */
typedef struct memory {
    void *data;
    tensor *host;
} memory;

static memory memory_new(size_t size)
{
    memory m = {NULL, NULL};
    size += size == 0;
    if (test_on_cuda()) {
        cuda_ok(cuda()->malloc(&m.data, size));
        return m;
    }
    const size_t gap = (alignment() - size % alignment()) % alignment();
    m.host = tensor_laid_out(dtype_u8, SHAPE((int64_t)size), (layout){.gap = gap});
    m.data = m.host->t.data;
    return m;
}

static void memory_free(memory *m)
{
    if (m->host)
        tensor_free(m->host);
    else
        cuda_ok(cuda()->free(m->data));
}

/* Takes the data away from all tensors, as a host has them that plans its memory; and gives them back. */
static void swap_data(operation *op, void *data[2 * OPERATION_TENSORS])
{
    for (int i = 0; i < OPERATION_TENSORS; i++) {
        tensor *const both[] = {op->inputs[i], op->outputs[i]};
        for (int k = 0; k < 2; k++)
            if (both[k]) {
                void *const given = data[2 * i + k];
                data[2 * i + k] = both[k]->t.data;
                both[k]->t.data = given;
            }
    }
}

/* The answer to how much a call needs; it must write nothing, with the data of its tensors and without. */
static size_t ask(poslabel_context *context, operation *op)
{
    poslabel_workspace asked = {NULL, 12345}, without = {NULL, 54321};
    void *data[2 * OPERATION_TENSORS] = {NULL};
    operation_reset(op);
    *operation_workspace(op) = &asked;
    expect_ok(context, operation_call(context, op));
    assert_true(operation_is_untouched(op));
    swap_data(op, data);
    *operation_workspace(op) = &without;
    expect_ok(context, operation_call(context, op));
    swap_data(op, data);
    assert_true(operation_is_untouched(op));
    assert_int_equal(asked.size, without.size);
    assert_null(asked.data);
    return asked.size;
}

/* A call with the memory that it asked for gives what the call without gives, and takes nothing from the context. */
static void lend(operation *op, int threads)
{
    poslabel_context *const own = context_new(POSLABEL_ISA_AUTO, threads);
    size_t size, lent_size;
    operation_reset(op);
    *operation_workspace(op) = NULL;
    expect_ok(own, operation_call(own, op));
    unsigned char *const want = operation_outputs(op, &size);

    poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, threads);
    const size_t needed = ask(context, op);
    assert_true(needed <= poslabel_context_workspace(own));
    memory m = memory_new(needed);
    poslabel_workspace lent = {m.data, needed};
    operation_reset(op);
    *operation_workspace(op) = &lent;
    expect_ok(context, operation_call(context, op));
    unsigned char *const got = operation_outputs(op, &lent_size);
    assert_int_equal(size, lent_size);
    assert_memory_equal(want, got, size);
    assert_int_equal(lent.size, needed);
    assert_int_equal(poslabel_context_workspace(context), 0);

    if (needed > 0) {
        char text[96];
        snprintf(text, sizeof text, "workspace.size = %zu, must be at least %zu", needed - 1, needed);
        lent.size = needed - 1;
        operation_reset(op);
        expect_error(context, operation_call(context, op), POSLABEL_ERROR_INVALID, text, op->name);
        assert_true(operation_is_untouched(op));
    }
    lent = (poslabel_workspace){(char *)m.data + 8, needed};
    if (needed > 0) {
        expect_error(context, operation_call(context, op), POSLABEL_ERROR_INVALID, "workspace.data is at address",
                     op->name);
        assert_true(operation_is_untouched(op));
    }
    *operation_workspace(op) = NULL;
    memory_free(&m);
    free(want);
    free(got);
    poslabel_context_destroy(own);
    poslabel_context_destroy(context);
}

static void every_operation(void **state)
{
    (void)state;
    for (int number = 0; number < operation_count(); number++) {
        operation op;
        operation_new(&op, number, test_on_cuda() ? 20 : 300);
        test_case_is("%s, %s", op.name, op.variant);
        for (int threads = 1; operation_workspace(&op) && threads <= 3; threads += 2)
            lend(&op, threads);
        operation_free(&op);
    }
}

/* Asking finds what is wrong with the arguments. */
static void bad_arguments(void **state)
{
    (void)state;
    poslabel_context *const context = context_default();
    poslabel_random_mask_args args = POSLABEL_RANDOM_MASK_ARGS_INIT;
    poslabel_workspace asked = {NULL, 7};
    args.workspace = &asked;
    args.tokens = 196;
    expect_error(context, poslabel_random_mask(context, &args), POSLABEL_ERROR_INVALID, "random_mask: no output", "");
    assert_int_equal(asked.size, 7);
    poslabel_context_destroy(context);
}

/* Whose outputs are empty needs no workspace, however large other sizes are: it has nothing to do. */
#define EXPECT_NOTHING(operation, given)                                                                               \
    do {                                                                                                               \
        poslabel_workspace asked = {NULL, 7};                                                                          \
        (given).workspace = &asked;                                                                                    \
        expect_ok(context, operation(context, &(given)));                                                              \
        assert_int_equal(asked.size, 0);                                                                               \
        (given).workspace = NULL;                                                                                      \
        expect_ok(context, operation(context, &(given)));                                                              \
        assert_int_equal(poslabel_context_workspace(context), 0);                                                      \
    } while (0)

static void nothing_to_do(void **state)
{
    (void)state;
    if (test_on_cuda())
        skip();
    poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, 2);
    tensor *const logits = tensor_new(dtype_f32, SHAPE(0, 1000000)), *const ids = tensor_new(dtype_i64, SHAPE(0));
    tensor *const loss = tensor_scalar(dtype_f32, 1), *const none = tensor_new(dtype_i32, SHAPE(64, 0));
    poslabel_position_cross_entropy_args hard = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    hard.labels = POSLABEL_LABELS_EXPLICIT;
    hard.logits = &logits->t;
    hard.positions = &ids->t;
    hard.loss = &loss->t;
    EXPECT_NOTHING(poslabel_position_cross_entropy, hard);
    poslabel_droppos_loss_args soft = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    soft.grid = (poslabel_grid){1, 1000000};
    soft.logits = &logits->t;
    soft.positions = &ids->t;
    soft.sigma = 1;
    soft.loss = &loss->t;
    EXPECT_NOTHING(poslabel_droppos_loss, soft);
    assert_true(tensor_get(loss, 0) == 0);

    poslabel_random_mask_args mask = POSLABEL_RANDOM_MASK_ARGS_INIT;
    mask.tokens = INT32_MAX;
    mask.mask_ratio = 1;
    mask.ids_keep = &none->t;
    EXPECT_NOTHING(poslabel_random_mask, mask);
    poslabel_droppos_masks_args masks = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    masks.grid = (poslabel_grid){40000, 40000};
    masks.mask_ratio = 1;
    masks.positions = &none->t;
    EXPECT_NOTHING(poslabel_droppos_masks, masks);

    tensor *const tokens = tensor_new(dtype_f32, SHAPE(64, 5, 3)), *const cls = tensor_new(dtype_f32, SHAPE(3));
    poslabel_attentive_weights_args weights = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
    tensor *const no_weights = tensor_new(dtype_f32, SHAPE(64, 0));
    weights.tokens = &tokens->t;
    weights.cls = &cls->t;
    weights.ids_keep = &none->t;
    weights.weights = &no_weights->t;
    EXPECT_NOTHING(poslabel_attentive_weights, weights);
    tensor *const all[] = {logits, ids, loss, none, tokens, cls, no_weights};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
    poslabel_context_destroy(context);
}

/* A head without rows does not widen its weight; its gradients are sums over nothing. */
static void a_head_without_rows(void **state)
{
    (void)state;
    if (test_on_cuda())
        skip();
    poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, 2);
    tensor *const features = tensor_new(dtype_bf16, SHAPE(0, 30)), *const weight =
                                                                       tensor_new(dtype_bf16, SHAPE(20, 30));
    tensor *const ids = tensor_new(dtype_i64, SHAPE(0)), *const bias = tensor_new(dtype_bf16, SHAPE(20));
    tensor *const grad_weight = tensor_new(dtype_f32, SHAPE(20, 30)), *const grad_bias =
                                                                          tensor_new(dtype_f32, SHAPE(20));
    poslabel_linear_position_loss_args args = POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT;
    args.labels = POSLABEL_LABELS_EXPLICIT;
    args.features = &features->t;
    args.weight = &weight->t;
    args.bias = &bias->t;
    args.positions = &ids->t;
    args.grad_weight = &grad_weight->t;
    args.grad_bias = &grad_bias->t;
    if (poslabel_linear_position_loss(context, &args) == POSLABEL_ERROR_UNSUPPORTED)
        skip();
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        tensor_fill(grad_weight, 3);
        tensor_fill(grad_bias, 3);
        args.accumulate = accumulate;
        EXPECT_NOTHING(poslabel_linear_position_loss, args);
        for (int64_t i = 0; i < grad_weight->count; i++)
            assert_true(tensor_get(grad_weight, i) == 3 * accumulate);
        for (int64_t i = 0; i < grad_bias->count; i++)
            assert_true(tensor_get(grad_bias, i) == 3 * accumulate);
    }
    tensor *const all[] = {features, weight, ids, bias, grad_weight, grad_bias};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(a_head_without_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
