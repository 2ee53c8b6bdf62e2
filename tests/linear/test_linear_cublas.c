/*
 * Where the CUDA backend finds cuBLAS, and what it says where there is none.  On the emulation only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cuda.h"
#include "support/linear.h"
#include "support/test.h"

#include <dlfcn.h>

#define VARIABLE "POSLABEL_CUBLAS"

static char *emulated;

static int begin(void **state)
{
    const int status = emulation_begin(state);
    if (!emulated && getenv(VARIABLE))
        emulated = strdup(getenv(VARIABLE)); /* the emulation names itself */
    return status;
}

static int end(void **state)
{
    if (emulated)
        setenv(VARIABLE, emulated, 1);
    return emulation_end(state);
}

static head head_of(void)
{
    head h = head_new(LOSS_ABSOLUTE, (poslabel_grid){2, 3}, dtype_f32, dtype_f32, 1, (int64_t[]){12}, 8, (layout){0},
                      POSLABEL_REDUCTION_MEAN, 94);
    head_forget_outputs(&h);
    return h;
}

static void expect_right(poslabel_context *context, head *h)
{
    expect_ok(context, head_call(context, h));
    head_answer a = head_solve(h);
    expect_head(h, &a);
    head_answer_free(&a);
}

/* Without cuBLAS this call says how to get one, all others work, and this one works once there is one. */
static void there_is_none(void **state)
{
    (void)state;
    static const char *const files[] = {"", "/nowhere/libcublas.so", "libm.so.6"};
    static const char *const words[] = {"libcublas-emulated.so.12", "/nowhere/libcublas.so", "cublasCreate_v2"};
    emulation();
    poslabel_context *const context = context_default();
    head h = head_of();
    loss_case c = loss_case_new(LOSS_DROPPOS, (poslabel_grid){2, 3}, dtype_f32, 1, (int64_t[]){5}, (layout){0},
                                POSLABEL_REDUCTION_MEAN, 7);
    for (int i = 0; i < COUNT(files); i++) {
        setenv(VARIABLE, files[i], 1);
        expect_error(context, head_call(context, &h), POSLABEL_ERROR_UNSUPPORTED,
                     "linear_position_loss: this call needs cuBLAS: ", words[i], VARIABLE);
        assert_true(head_outputs_untouched(&h));
        expect_ok(context, loss_call(context, &c));
    }
    unsetenv(VARIABLE);
    expect_error(context, head_call(context, &h), POSLABEL_ERROR_UNSUPPORTED, "needs cuBLAS", VARIABLE);
    setenv(VARIABLE, emulated, 1);
    expect_right(context, &h);
    loss_case_free(&c);
    head_free(&h);
    poslabel_context_destroy(context);
}

/* One that the process has loaded comes first, wherever it is from. */
static void the_process_has_one(void **state)
{
    (void)state;
    emulation();
    poslabel_context *context = context_default();
    head h = head_of();
    void *const library = dlopen(TEST_FALSE_CUBLAS, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    expect_error(context, head_call(context, &h), POSLABEL_ERROR_DEVICE, "opening cuBLAS failed: the false cuBLAS");
    assert_true(head_outputs_untouched(&h));
    poslabel_context_destroy(context);
    for (int i = 0; i < 2; i++) /* that call keeps it, too */
        dlclose(library);
    assert_null(dlopen(TEST_FALSE_CUBLAS, RTLD_NOW | RTLD_NOLOAD));
    context = context_default();
    expect_right(context, &h);
    head_free(&h);
    poslabel_context_destroy(context);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(there_is_none),
        TEST(the_process_has_one),
    };
    return cmocka_run_group_tests_name("linear_cublas", tests, NULL, NULL);
}
