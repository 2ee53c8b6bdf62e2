/*
 * What the linear head refuses.
 *
 * Each case changes one thing in arguments that are right.  The message must name the operation, the argument and the
 * value, and no output may be touched.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/linear.h"

static poslabel_context *context;
static head good; /* whose arguments each case starts from */

#define INVALID POSLABEL_ERROR_INVALID

#define REFUSED(change, ...)                                                                                           \
    do {                                                                                                               \
        poslabel_linear_position_loss_args args = head_args(&good);                                                    \
        change;                                                                                                        \
        head_forget_outputs(&good);                                                                                    \
        expect_error(context, poslabel_linear_position_loss(context, &args), INVALID,                                  \
                     "linear_position_loss: ", __VA_ARGS__);                                                           \
        if (!error_came_later() && !head_outputs_untouched(&good))                                                     \
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
    tensor_set(good.loss.weights, 4, 1);
    REFUSED(args.accumulate = 0, "positions[1, 1] = 12, must be in [0, 12)");
    tensor_set(good.loss.positions, 4, was);
    tensor_set(good.loss.weights, 2, -0.5);
    REFUSED(args.accumulate = 0, "weights[0, 2] = -0.5");
    tensor_set(good.loss.weights, 2, 1);
    expect_ok(context, head_call(context, &good));
    head_answer a = head_solve(&good);
    expect_head(&good, &a);
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

#ifdef TEST_NO_CBLAS
static void unsupported(void **state)
{
    (void)state;
    skip_on_cuda(); /* which needs no CBLAS */
    context = context_default();
    good = head_new(LOSS_ABSOLUTE, (poslabel_grid){2, 3}, dtype_f32, dtype_f32, 1, (int64_t[]){12}, 8, (layout){0},
                    POSLABEL_REDUCTION_MEAN, 94);
    head_forget_outputs(&good);
    expect_error(context, head_call(context, &good), POSLABEL_ERROR_UNSUPPORTED, "linear_position_loss: ", "CBLAS",
                 "libopenblas");
    assert_true(head_outputs_untouched(&good));
    head_free(&good);
    poslabel_context_destroy(context);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef TEST_NO_CBLAS
        cmocka_unit_test(unsupported),
#endif
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests_name("linear_errors", tests, NULL, NULL);
}
