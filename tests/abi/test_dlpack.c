/*
 * poslabel_tensor against DLPack's own header.
 *
 * Versions before 0.6 call the first two fields of DLTensor otherwise named, but lay them out alike; from 1.0 on the
 * struct is the same.  A pointer to the one is passed as a pointer to the other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <dlpack/dlpack.h>

#define SAME_FIELD(ours, theirs)                                                                                       \
    do {                                                                                                               \
        assert_int_equal(offsetof(poslabel_tensor, ours), offsetof(DLTensor, theirs));                                 \
        assert_int_equal(sizeof((poslabel_tensor *)NULL)->ours, sizeof((DLTensor *)NULL)->theirs);                     \
    } while (0)

static void layouts(void **state)
{
    (void)state;
    assert_int_equal(sizeof(poslabel_tensor), sizeof(DLTensor));
    assert_int_equal(_Alignof(poslabel_tensor), _Alignof(DLTensor));
    SAME_FIELD(data, data);
    SAME_FIELD(device, device);
    SAME_FIELD(ndim, ndim);
    SAME_FIELD(dtype, dtype);
    SAME_FIELD(shape, shape);
    SAME_FIELD(strides, strides);
    SAME_FIELD(byte_offset, byte_offset);
    assert_int_equal(offsetof(poslabel_device, type), offsetof(DLDevice, device_type));
    assert_int_equal(offsetof(poslabel_device, id), offsetof(DLDevice, device_id));
    assert_int_equal(sizeof(poslabel_device), sizeof(DLDevice));
    assert_int_equal(offsetof(poslabel_dtype, code), offsetof(DLDataType, code));
    assert_int_equal(offsetof(poslabel_dtype, bits), offsetof(DLDataType, bits));
    assert_int_equal(offsetof(poslabel_dtype, lanes), offsetof(DLDataType, lanes));
    assert_int_equal(sizeof(poslabel_dtype), sizeof(DLDataType));
}

static void numbers(void **state)
{
    (void)state;
    assert_int_equal(POSLABEL_DEVICE_CPU, kDLCPU);
    assert_int_equal(POSLABEL_DEVICE_CUDA, kDLCUDA);
    assert_int_equal(POSLABEL_CODE_INT, kDLInt);
    assert_int_equal(POSLABEL_CODE_UINT, kDLUInt);
    assert_int_equal(POSLABEL_CODE_FLOAT, kDLFloat);
    assert_int_equal(POSLABEL_CODE_BFLOAT, kDLBfloat);
#if DLPACK_VERSION >= 80 || defined(DLPACK_MAJOR_VERSION)
    assert_int_equal(POSLABEL_CODE_BOOL, kDLBool);
#endif
}

/* A DLTensor, filled in by its own names, is an argument. */
static void a_dltensor_is_an_argument(void **state)
{
    (void)state;
    int32_t labels[12];
    int64_t shape[] = {2, 6};
    DLTensor given = {.data = labels, .ndim = 2, .shape = shape, .strides = NULL, .byte_offset = 0};
    given.device.device_type = kDLCPU;
    given.dtype.code = kDLInt;
    given.dtype.bits = 32;
    given.dtype.lanes = 1;
    poslabel_absolute_labels_args args = POSLABEL_ABSOLUTE_LABELS_ARGS_INIT;
    args.grid = (poslabel_grid){2, 3};
    args.labels = (const poslabel_tensor *)&given;
    poslabel_context *context = context_default();
    expect_ok(context, poslabel_absolute_labels(context, &args));
    for (int i = 0; i < 12; i++)
        assert_int_equal(labels[i], i % 6);
    poslabel_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts),
        cmocka_unit_test(numbers),
        cmocka_unit_test(a_dltensor_is_an_argument),
    };
    return cmocka_run_group_tests_name("dlpack", tests, NULL, NULL);
}
