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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
