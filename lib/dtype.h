/*
 * The types of elements.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_DTYPE_H
#define PLB_DTYPE_H

#include <stdint.h>

typedef enum plb_dtype {
    PLB_F32,
    PLB_F16,
    PLB_BF16,
    PLB_F64,
    PLB_I32,
    PLB_I64,
    PLB_U8,
    PLB_BOOL,
    PLB_DTYPES
} plb_dtype;

/* Bytes of an element. */
extern const uint8_t plb_dtype_size[PLB_DTYPES];

#endif
