/*
 * tensor.h: how a caller describes its tensors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_TENSOR_H
#define POSLABEL_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * libposlabel owns no tensor.  It reads and writes memory that the caller describes with a poslabel_tensor.  That
 * struct has the layout of DLPack's DLTensor (versions 0.2 to 1.2), so a pointer to a DLTensor may be passed as a
 * pointer to a poslabel_tensor.  Tensors of NumPy, PyTorch, JAX or CuPy therefore come in without a copy.
 *
 * These rules hold for every operation, unless its own text says otherwise:
 *
 *   - A tensor argument is a pointer.  NULL means "not given", and the operation says what that means.
 *   - The library reads the descriptor, its shape and its strides during the call and never keeps them.
 *   - "Rows may be strided": the last dimension must have stride 1 (or size 1).  The other dimensions may have any
 *     strides >= 0 that fold into at most two levels.  A tensor that does not fold is POSLABEL_ERROR_UNSUPPORTED; make
 *     it contiguous first.  Negative strides are POSLABEL_ERROR_UNSUPPORTED.
 *   - Inputs may be expanded (stride 0).  Outputs may not: two elements of one output never share memory.
 *   - An output overlaps no input and no other output, except where the operation allows it.  Rows may lie between one
 *     another, as slices of one buffer do.  Only where their strides differ and finding out would take thousands of
 *     steps do tensors count as overlapping as soon as the ranges from their first to their last byte do.
 *   - data + byte_offset is aligned to the size of an element.
 *   - The leading dimensions may have size 0 (an empty batch).  Then there is nothing to do, sums are 0, and data may
 *     be NULL.
 *   - A scalar is a tensor of rank 0, or of rank 1 and size 1.
 *   - Parameters without a batch ([D], [N, D]) may have leading dimensions of size 1, as PyTorch writes them.
 */

/* DLPack's DLDeviceType.  Any other number is POSLABEL_ERROR_INVALID. */
typedef enum poslabel_device_type {
    POSLABEL_DEVICE_CPU = 1,
    POSLABEL_DEVICE_CUDA = 2
} poslabel_device_type;

typedef struct poslabel_device {
    int32_t type; /* a poslabel_device_type            */
    int32_t id;   /* the ordinal; 0 for the CPU        */
} poslabel_device;

/* DLPack's DLDataTypeCode. */
typedef enum poslabel_dtype_code {
    POSLABEL_CODE_INT = 0,
    POSLABEL_CODE_UINT = 1,
    POSLABEL_CODE_FLOAT = 2,
    POSLABEL_CODE_BFLOAT = 4,
    POSLABEL_CODE_BOOL = 6
} poslabel_dtype_code;

typedef struct poslabel_dtype {
    uint8_t code;   /* a poslabel_dtype_code      */
    uint8_t bits;   /* of one element             */
    uint16_t lanes; /* always 1                   */
} poslabel_dtype;

/* Initialisers of a poslabel_dtype, named as in PyTorch and NumPy. */
#define POSLABEL_FLOAT16 {POSLABEL_CODE_FLOAT, 16, 1}
#define POSLABEL_FLOAT32 {POSLABEL_CODE_FLOAT, 32, 1}
#define POSLABEL_FLOAT64 {POSLABEL_CODE_FLOAT, 64, 1}
#define POSLABEL_BFLOAT16 {POSLABEL_CODE_BFLOAT, 16, 1}
#define POSLABEL_INT32 {POSLABEL_CODE_INT, 32, 1}
#define POSLABEL_INT64 {POSLABEL_CODE_INT, 64, 1}
#define POSLABEL_UINT8 {POSLABEL_CODE_UINT, 8, 1}
#define POSLABEL_BOOL {POSLABEL_CODE_BOOL, 8, 1}

typedef struct poslabel_tensor {
    void *data;             /* first byte, before byte_offset                                          */
    poslabel_device device; /* where data lives                                                        */
    int32_t ndim;           /* rank; 0 is a scalar                                                     */
    poslabel_dtype dtype;
    const int64_t *shape;   /* ndim sizes >= 0; may be NULL when ndim is 0                             */
    const int64_t *strides; /* ndim strides in elements; NULL: compact, row-major                      */
    uint64_t byte_offset;
} poslabel_tensor;

/*
 * Initialises a compact tensor in host memory:
 *
 *     int64_t shape[] = {64, 49, 196};
 *     poslabel_tensor logits = POSLABEL_CPU_TENSOR(data, POSLABEL_FLOAT32, 3, shape);
 *
 * `shape` must outlive the descriptor.  `data` may point to const, because the library writes only to outputs.
 */
#define POSLABEL_CPU_TENSOR(data, dtype, ndim, shape)                                                                  \
    {                                                                                                                  \
        (void *)(data), {POSLABEL_DEVICE_CPU, 0}, (ndim), dtype, (shape), NULL, 0                                      \
    }

/*
 * Each tensor field of an args struct has a comment that says which tensors the operation takes:
 *
 *     in [..., C] or [C] f16 f32, or NULL
 *
 *   - `in` is read, `out` is written, `in out` is both.
 *   - Shapes follow.  `[]` is a scalar.  `...` stands for any number of dimensions, the same ones in all fields of the
 *     struct.  A letter stands for one size, which the text of the operation explains.
 *   - Dtypes follow: f16, bf16, f32 and f64 (floats), i32 and i64 (integers), u8, bool.  `any` is each of these.
 *     `like logits` is the dtype of that tensor.  `like features or f32` is the dtype of that tensor or float32, but
 *     only float64 where that tensor is float64.
 *   - `or NULL`: there are calls that leave the tensor out.  The text says which.
 */

/* The grid of patches of one image, height x width.  Patch (y, x) has position y * width + x. */
typedef struct poslabel_grid {
    int32_t height; /* patches, >= 1; height * width < 2^31 */
    int32_t width;  /* patches, >= 1                        */
} poslabel_grid;

#ifdef __cplusplus
}
#endif
#endif
