/*
 * The kernels' view of a tensor: plb_rows with strides in bytes, and loads and stores of single elements of any dtype.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_ROWS_H
#define PLB_CUDA_ROWS_H

#include "core/cuda.cuh"
#include "rows.h"

struct plb_view_rows {
    char *data;                                  /* NULL: not given */
    long long inner, outer_stride, inner_stride; /* bytes; inner 0: one level of rows */
    int dtype;                                   /* a plb_dtype */
};

/* Bytes of an element.  A kernel cannot read the host's table. */
PLB_DEVICE int plb_element_size(int dtype)
{
    return dtype == PLB_F32 || dtype == PLB_I32    ? 4
           : dtype == PLB_F16 || dtype == PLB_BF16 ? 2
           : dtype == PLB_F64 || dtype == PLB_I64  ? 8
                                                   : 1;
}

static inline plb_view_rows plb_view_of(const plb_rows *rows)
{
    static const int sizes[PLB_DTYPES] = {4, 2, 2, 8, 4, 8, 1, 1};
    const long long size = sizes[rows->dtype];
    plb_view_rows view;
    view.data = rows->data;
    view.inner = rows->inner == rows->count ? 0 : rows->inner;
    view.outer_stride = rows->outer_stride * size;
    view.inner_stride = rows->inner_stride * size;
    view.dtype = rows->dtype;
    return view;
}

PLB_DEVICE char *plb_view_row(const plb_view_rows &rows, long long r)
{
    if (!rows.inner)
        return rows.data + r * rows.inner_stride;
    /* A 64-bit division takes about a hundred instructions, and few tensors need it. */
    long long outer, inner;
    if (((unsigned long long)r | (unsigned long long)rows.inner) >> 32) {
        outer = r / rows.inner;
        inner = r - outer * rows.inner;
    } else {
        outer = (unsigned)r / (unsigned)rows.inner;
        inner = (unsigned)r - (unsigned)outer * (unsigned)rows.inner;
    }
    return rows.data + outer * rows.outer_stride + inner * rows.inner_stride;
}

/* An element of any dtype as a double; exact but for int64 beyond 2^53. */
PLB_DEVICE double plb_load_number(const char *at, int dtype)
{
    switch (dtype) {
    case PLB_F32:
        return *(const float *)at;
    case PLB_F16:
        return __half2float(*(const __half *)at);
    case PLB_BF16:
        return __bfloat162float(*(const __nv_bfloat16 *)at);
    case PLB_F64:
        return *(const double *)at;
    case PLB_I32:
        return *(const int *)at;
    case PLB_I64:
        return (double)*(const long long *)at;
    default:
        return *(const unsigned char *)at;
    }
}

/* Whether an element is 0.  -0 counts as 0.  The test is of bits, which needs no conversion. */
PLB_DEVICE bool plb_is_zero(const char *at, int dtype)
{
    switch (dtype) {
    case PLB_F32:
        return (*(const unsigned *)at & 0x7fffffffu) == 0;
    case PLB_F16:
    case PLB_BF16:
        return (*(const unsigned short *)at & 0x7fffu) == 0;
    case PLB_F64:
        return (*(const unsigned long long *)at & 0x7fffffffffffffffull) == 0;
    case PLB_I32:
        return *(const int *)at == 0;
    case PLB_I64:
        return *(const long long *)at == 0;
    default:
        return *(const unsigned char *)at == 0;
    }
}

PLB_DEVICE long long plb_load_id(const char *at, int dtype)
{
    return dtype == PLB_I32 ? *(const int *)at : *(const long long *)at;
}

PLB_DEVICE void plb_store_id(char *at, int dtype, long long id)
{
    if (dtype == PLB_I32)
        *(int *)at = (int)id;
    else
        *(long long *)at = id;
}

/* Rounds once, to nearest even. */
PLB_DEVICE void plb_store_number(char *at, int dtype, double value)
{
    switch (dtype) {
    case PLB_F32:
        *(float *)at = (float)value;
        break;
    case PLB_F16:
        *(__half *)at = __double2half(value);
        break;
    case PLB_BF16:
        *(__nv_bfloat16 *)at = __double2bfloat16(value);
        break;
    case PLB_F64:
        *(double *)at = value;
        break;
    case PLB_I32:
        *(int *)at = (int)value;
        break;
    case PLB_I64:
        *(long long *)at = (long long)value;
        break;
    default:
        *(unsigned char *)at = (unsigned char)value;
    }
}

#endif
