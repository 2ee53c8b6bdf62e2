/*
 * Checking and folding tensors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tensor.h"

#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(void *) != 8 || (sizeof(poslabel_tensor) == 48 && offsetof(poslabel_tensor, device) == 8 &&
                                       offsetof(poslabel_tensor, ndim) == 16 && offsetof(poslabel_tensor, dtype) == 20 &&
                                       offsetof(poslabel_tensor, shape) == 24 &&
                                       offsetof(poslabel_tensor, strides) == 32 &&
                                       offsetof(poslabel_tensor, byte_offset) == 40),
               "poslabel_tensor must have the layout of DLTensor");

const uint8_t plb_dtype_size[PLB_DTYPES] = {4, 2, 2, 8, 4, 8, 1, 1};

static const char *const dtype_names[PLB_DTYPES] = {"float32", "float16", "bfloat16", "float64",
                                                    "int32",   "int64",   "uint8",    "bool"};

static const poslabel_dtype dtypes_public[PLB_DTYPES] = {
    POSLABEL_FLOAT32, POSLABEL_FLOAT16, POSLABEL_BFLOAT16, POSLABEL_FLOAT64,
    POSLABEL_INT32,   POSLABEL_INT64,   POSLABEL_UINT8,    POSLABEL_BOOL};

static plb_text shape_text(const int64_t *dim, int rank, const char *before)
{
    plb_text t;
    int n = snprintf(t.data, sizeof t.data, "[%s", before);
    for (int i = 0; i < rank && n < (int)sizeof t.data - 24; i++)
        if (dim[i] < 0)
            n += snprintf(t.data + n, sizeof t.data - (size_t)n, "%s*", i || *before ? ", " : "");
        else
            n += snprintf(t.data + n, sizeof t.data - (size_t)n, "%s%lld", i || *before ? ", " : "", (long long)dim[i]);
    snprintf(t.data + n, sizeof t.data - (size_t)n, "]");
    return t;
}

/* The name of a dtype, also of those that no operation takes; numbers for one without a name. */
static plb_text dtype_text(poslabel_dtype dtype)
{
    static const char *const families[] = {"int", "uint", "float", "", "bfloat", "complex"};
    static const char *const small[] = {"float8_e3m4",     "float8_e4m3",    "float8_e4m3b11fnuz", "float8_e4m3fn",
                                        "float8_e4m3fnuz", "float8_e5m2",    "float8_e5m2fnuz",    "float8_e8m0fnu",
                                        "float6_e2m3fn",   "float6_e3m2fn",  "float4_e2m1fn"};
    const int code = dtype.code, bits = dtype.bits, index = code - 7; /* DLPack's code of the first small float is 7 */
    plb_text t;
    for (int i = 0; i < PLB_DTYPES; i++)
        if (!memcmp(&dtype, &dtypes_public[i], sizeof dtype)) {
            snprintf(t.data, sizeof t.data, "%s", dtype_names[i]);
            return t;
        }
    if (dtype.lanes == 1 && bits >= 8 && !(bits & (bits - 1)) && code <= 5 && *families[code])
        snprintf(t.data, sizeof t.data, "%s%d", families[code], bits);
    else if (dtype.lanes == 1 && index >= 0 && index < (int)(sizeof small / sizeof *small) &&
             bits == small[index][5] - '0') /* "float8_..." has 8 bits */
        snprintf(t.data, sizeof t.data, "%s", small[index]);
    else
        snprintf(t.data, sizeof t.data, "{code %d, bits %d, lanes %d}", dtype.code, dtype.bits, dtype.lanes);
    return t;
}

static plb_text dtype_set_text(unsigned set)
{
    plb_text t = {""};
    int n = 0;
    for (int i = 0; i < PLB_DTYPES; i++)
        if (set >> i & 1)
            n += snprintf(t.data + n, sizeof t.data - (size_t)n, "%s%s", n == 0 ? "" : set >> (i + 1) ? ", " : " or ",
                          dtype_names[i]);
    return t;
}

plb_text plb_index_text(const plb_rows *rows, int64_t row, int64_t element)
{
    plb_text t = {""};
    int64_t at[PLB_MAX_RANK], index = row * rows->length + element;
    for (int i = rows->rank - 1; i >= 0; i--) {
        at[i] = index % rows->shape[i];
        index /= rows->shape[i];
    }
    int n = 0;
    for (int i = 0; i < rows->rank; i++)
        n += snprintf(t.data + n, sizeof t.data - (size_t)n, "%s%lld", i ? ", " : "", (long long)at[i]);
    return t;
}

static poslabel_status check_rank(const plb_call *call, const char *name, const poslabel_tensor *tensor)
{
    if (tensor->ndim < 0)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has rank %d", name, (int)tensor->ndim);
    if (tensor->ndim > PLB_MAX_RANK)
        return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED, "%s has rank %d, at most %d is supported", name,
                        (int)tensor->ndim, PLB_MAX_RANK);
    if (tensor->ndim > 0 && !tensor->shape)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s.shape is NULL", name);
    for (int i = 0; i < tensor->ndim; i++)
        if (tensor->shape[i] < 0)
            return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has size %lld in dimension %d, must be >= 0", name,
                            (long long)tensor->shape[i], i);
    return POSLABEL_OK;
}

static poslabel_status match_shape(const plb_call *call, const char *name, const poslabel_tensor *tensor,
                                   const plb_shape *shape, plb_rank_rule rule)
{
    const int extra = tensor->ndim - shape->rank;
    bool matches = extra == 0 || (extra > 0 && rule != PLB_RANK_EXACT);
    if (matches && rule == PLB_RANK_LEADING_ONES)
        for (int i = 0; i < extra; i++)
            matches = matches && tensor->shape[i] == 1;
    for (int i = 0; matches && i < shape->rank; i++)
        matches = shape->dim[i] < 0 || shape->dim[i] == tensor->shape[extra + i];
    if (!matches)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has shape %s, must be %s", name,
                        shape_text(tensor->shape, tensor->ndim, "").data,
                        shape_text(shape->dim, shape->rank, rule == PLB_RANK_LEADING ? "..." : "").data);
    return POSLABEL_OK;
}

static poslabel_status match_dtype(const plb_call *call, const char *name, const poslabel_tensor *tensor,
                                   unsigned dtypes, plb_dtype *dtype)
{
    for (int i = 0; i < PLB_DTYPES; i++)
        if (dtypes >> i & 1 && !memcmp(&tensor->dtype, &dtypes_public[i], sizeof tensor->dtype)) {
            *dtype = (plb_dtype)i;
            return POSLABEL_OK;
        }
    return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has dtype %s, must be %s", name,
                    dtype_text(tensor->dtype).data, dtype_set_text(dtypes).data);
}

static poslabel_status match_device(const plb_call *call, const char *name, const poslabel_tensor *tensor)
{
    const poslabel_device want = call->context->device, have = tensor->device;
    if (have.type != want.type || (want.type != POSLABEL_DEVICE_CPU && have.id != want.id))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s is on device {type %d, id %d}, the context is on {%d, %d}",
                        name, (int)have.type, (int)have.id, (int)want.type, (int)want.id);
    return POSLABEL_OK;
}

typedef struct dimension {
    int64_t size, stride;
} dimension;

/* Two elements of an output must not share memory: from the smallest stride up, each must step past all below it. */
static bool is_injective(const dimension *dim, int rank)
{
    dimension sorted[PLB_MAX_RANK];
    int n = 0;
    for (int i = 0; i < rank; i++) {
        if (dim[i].size == 1)
            continue;
        int k = n++;
        for (; k > 0 && sorted[k - 1].stride > dim[i].stride; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = dim[i];
    }
    int64_t span = 1;
    for (int i = 0; i < n; i++) {
        if (sorted[i].stride < span)
            return false;
        span += (sorted[i].size - 1) * sorted[i].stride;
    }
    return true;
}

/* Sizes and strides of all dimensions, with every product that will be formed checked for overflow. */
static poslabel_status read_dimensions(const plb_call *call, const char *name, const poslabel_tensor *tensor,
                                       dimension *dim, int64_t *elements, int64_t *last)
{
    int64_t stride = 1;
    *elements = 1;
    *last = 0;
    for (int i = 0; i < tensor->ndim; i++)
        if (tensor->shape[i] == 0)
            *elements = 0;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        const int64_t size = tensor->shape[i];
        int64_t step;
        dim[i].size = size;
        dim[i].stride = tensor->strides ? tensor->strides[i] : stride;
        if (*elements == 0)
            continue;
        if (dim[i].stride < 0 && size > 1)
            return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED,
                            "%s has stride %lld in dimension %d, negative strides are not supported", name,
                            (long long)dim[i].stride, i);
        if (__builtin_mul_overflow(*elements, size, elements) || __builtin_mul_overflow(stride, size, &stride) ||
            (size > 1 && (__builtin_mul_overflow(dim[i].stride, size - 1, &step) ||
                          __builtin_add_overflow(*last, step, last))) ||
            *elements > INT64_MAX / 16 || *last > INT64_MAX / 16)
            return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has shape %s, whose size overflows", name,
                            shape_text(tensor->shape, tensor->ndim, "").data);
    }
    return POSLABEL_OK;
}

/* An address that is not NULL and says "given", of data that nobody will touch. */
static _Alignas(8) char nowhere[8];

/* Folds the leading dimensions into at most two levels of rows. */
static bool fold(const dimension *dim, int leading, plb_rows *rows)
{
    dimension level[PLB_MAX_RANK];
    int levels = 0;
    for (int i = leading - 1; i >= 0; i--) {
        if (dim[i].size == 1)
            continue;
        if (levels && dim[i].stride == level[levels - 1].stride * level[levels - 1].size)
            level[levels - 1].size *= dim[i].size;
        else
            level[levels++] = dim[i];
    }
    rows->inner = levels ? level[0].size : 1;
    rows->inner_stride = levels ? level[0].stride : 0;
    rows->outer_stride = levels > 1 ? level[1].stride : 0;
    rows->count = rows->inner * (levels > 1 ? level[1].size : 1);
    return levels <= 2;
}

poslabel_status plb_view(const plb_call *call, const char *name, const poslabel_tensor *tensor, unsigned dtypes,
                         const plb_shape *shape, plb_rank_rule rule, int row_rank, bool may_stride, bool is_output,
                         plb_rows *rows)
{
    memset(rows, 0, sizeof *rows);
    rows->name = name;
    rows->is_output = is_output;
    rows->element_stride = 1;
    if (!tensor)
        return POSLABEL_OK;

    dimension dim[PLB_MAX_RANK];
    int64_t elements, last;
    PLB_TRY(check_rank(call, name, tensor));
    PLB_TRY(match_dtype(call, name, tensor, dtypes, &rows->dtype));
    PLB_TRY(match_device(call, name, tensor));
    PLB_TRY(match_shape(call, name, tensor, shape, rule));
    PLB_TRY(read_dimensions(call, name, tensor, dim, &elements, &last));

    rows->shape = tensor->shape;
    rows->rank = tensor->ndim;
    const int leading = tensor->ndim - row_rank, size = plb_dtype_size[rows->dtype];
    rows->length = row_rank ? tensor->shape[leading] : 1;
    if (elements == 0) {
        rows->data = rows->end = tensor->data ? tensor->data : nowhere;
        rows->count = 1;
        for (int i = 0; i < leading; i++)
            rows->count = tensor->shape[i] ? rows->count : 0;
        for (int i = 0; i < leading && rows->count; i++)
            if (__builtin_mul_overflow(rows->count, tensor->shape[i], &rows->count))
                return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has shape %s, whose size overflows", name,
                                shape_text(tensor->shape, tensor->ndim, "").data);
        rows->inner = rows->count;
        return POSLABEL_OK;
    }
    if (!tensor->data && !plb_only_asks(call))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s.data is NULL", name);
    rows->data = tensor->data ? (char *)tensor->data + tensor->byte_offset : nowhere;
    if ((uintptr_t)rows->data % (unsigned)size)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s is at address %p, must be aligned to its elements of %d bytes",
                        name, (void *)rows->data, size);
    rows->end = rows->data + (last + 1) * size;
    if (rows->is_output && tensor->strides && !is_injective(dim, tensor->ndim))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has strides by which its elements share memory", name);
    if (row_rank && dim[leading].size > 1)
        rows->element_stride = dim[leading].stride;
    if (rows->element_stride != 1 && !may_stride)
        return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED,
                        "%s has stride %lld in its last dimension, must be 1; make it contiguous", name,
                        (long long)dim[leading].stride);
    if (!fold(dim, leading, rows))
        return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED,
                        "%s has strides that do not fold into two levels of rows; make it contiguous", name);
    return POSLABEL_OK;
}
