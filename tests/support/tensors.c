/*
 * Tensors of any layout for tests, in guarded memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

tensor *tensor_laid_out(poslabel_dtype dtype, int ndim, const int64_t *shape, layout how)
{
    tensor *t = calloc(1, sizeof *t);
    if (!t || ndim > TENSOR_MAX_RANK)
        test_fail("no memory for a tensor of rank %d", ndim);
    int64_t stride = 1, last = 0;
    t->count = 1;
    for (int k = ndim - 1; k >= 0; k--) {
        const int i = how.columns && k >= ndim - 2 ? 2 * ndim - 3 - k : k;
        t->shape[i] = shape[i];
        t->strides[i] = stride;
        t->count *= shape[i];
        if (how.shared && i == ndim - 1) {
            t->strides[i] = 0;
            continue;
        }
        last += (shape[i] - 1) * stride;
        stride *= shape[i];
        if (k == ndim - 1)
            stride += how.row_padding;
    }
    const size_t size = t->count ? (size_t)(last + 1) * dtype_size(dtype) : 0;
    t->memory = guard_new(size, how.side, how.gap);
    t->t = (poslabel_tensor){(char *)t->memory.data - how.byte_offset,
                             test_device(),
                             ndim,
                             dtype,
                             t->shape,
                             how.row_padding || how.columns || how.shared ? t->strides : NULL,
                             how.byte_offset};
    return t;
}

tensor *tensor_new(poslabel_dtype dtype, int ndim, const int64_t *shape)
{
    return tensor_laid_out(dtype, ndim, shape, (layout){0});
}

tensor *tensor_scalar(poslabel_dtype dtype, double value)
{
    tensor *t = tensor_new(dtype, 0, NULL);
    tensor_set(t, 0, value);
    return t;
}

tensor *tensor_from_npz(const npz_array *array, poslabel_dtype dtype, layout how)
{
    tensor *t = tensor_laid_out(dtype, array->ndim, array->shape, how);
    for (int64_t i = 0; i < t->count; i++)
        tensor_set(t, i, npz_at(array, i));
    return t;
}

tensor *tensor_copy(const tensor *from, poslabel_dtype dtype, layout how)
{
    tensor *t = tensor_laid_out(dtype, from->t.ndim, from->shape, how);
    for (int64_t i = 0; i < t->count; i++)
        tensor_set(t, i, tensor_get(from, i));
    return t;
}

void tensor_free(tensor *t)
{
    if (!t)
        return;
    guard_check(&t->memory);
    guard_free(&t->memory);
    free(t);
}

const poslabel_tensor *tensor_of(const tensor *t)
{
    return t ? &t->t : NULL;
}

static size_t offset_of(const tensor *t, int64_t index)
{
    int64_t offset = 0;
    for (int i = t->t.ndim - 1; i >= 0; i--) {
        offset += index % t->shape[i] * t->strides[i];
        index /= t->shape[i];
    }
    return (size_t)offset;
}

double tensor_get(const tensor *t, int64_t index)
{
    return number_load(t->memory.data, t->t.dtype, offset_of(t, index));
}

void tensor_set(tensor *t, int64_t index, double value)
{
    number_store(t->memory.data, t->t.dtype, offset_of(t, index), value);
}

void *tensor_at(const tensor *t, int64_t index)
{
    return (char *)t->memory.data + offset_of(t, index) * dtype_size(t->t.dtype);
}

void tensor_fill(tensor *t, double value)
{
    for (int64_t i = 0; i < t->count; i++)
        tensor_set(t, i, value);
}

void tensor_fill_normal(tensor *t, uint64_t seed, double scale)
{
    rng r = {seed};
    for (int64_t i = 0; i < t->count; i++)
        tensor_set(t, i, scale * rng_normal(&r));
}

void tensor_fill_below(tensor *t, uint64_t seed, int64_t n)
{
    rng r = {seed};
    for (int64_t i = 0; i < t->count; i++)
        tensor_set(t, i, (double)rng_below(&r, n));
}

void tensor_fill_between(tensor *t, uint64_t seed, double low, double high)
{
    rng r = {seed};
    for (int64_t i = 0; i < t->count; i++)
        tensor_set(t, i, rng_between(&r, low, high));
}

double *tensor_doubles(const tensor *t)
{
    double *values = malloc(sizeof *values * (size_t)(t->count + 1));
    if (!values)
        test_fail("no memory for %lld numbers", (long long)t->count);
    for (int64_t i = 0; i < t->count; i++)
        values[i] = t->t.strides ? tensor_get(t, i) : number_load(t->memory.data, t->t.dtype, (size_t)i);
    return values;
}

void tensor_forget(tensor *t)
{
    guard_fill(&t->memory);
}

bool tensor_is_untouched(const tensor *t)
{
    return guard_is_untouched(&t->memory);
}

void tensor_check_at(const char *file, int line, const tensor *t)
{
    guard_check_at(file, line, &t->memory);
    const int rank = t->t.ndim;
    if (!t->t.strides || t->count == 0 || !t->strides[rank - 1])
        return;
    const bool columns = rank > 1 && t->strides[rank - 2] == 1 && t->shape[rank - 1] > 1;
    const int64_t length = t->shape[columns ? rank - 2 : rank - 1],
                  block = columns ? length * t->shape[rank - 1] : length;
    const size_t size = dtype_size(t->t.dtype);
    const int64_t rows = t->count / length, in_block = block / length;
    for (int64_t r = 0; r + 1 < rows; r++) {
        const char *begin = (const char *)tensor_at(t, r / in_block * block + r % in_block) + (size_t)length * size;
        const char *end = tensor_at(t, (r + 1) / in_block * block + (r + 1) % in_block);
        if (!guard_holds_canary(&t->memory, begin, (size_t)(end - begin)))
            test_fail_at(file, line, "something was written between rows %lld and %lld", (long long)r,
                         (long long)r + 1);
    }
}

void expect_same_tensor_at(const char *file, int line, const char *what, const tensor *got, const tensor *want)
{
    if (got->count != want->count || !dtype_is(got->t.dtype, want->t.dtype))
        test_fail_at(file, line, "%s: %lld elements of %s, want %lld of %s", what, (long long)got->count,
                     dtype_name(got->t.dtype), (long long)want->count, dtype_name(want->t.dtype));
    const size_t size = dtype_size(got->t.dtype);
    if (!got->t.strides && !want->t.strides) {
        expect_same_bits_at(file, line, what, got->memory.data, want->memory.data, (size_t)got->count, size);
        return;
    }
    for (int64_t i = 0; i < got->count; i++)
        if (memcmp(tensor_at(got, i), tensor_at(want, i), size))
            test_fail_at(file, line, "%s: element %lld of %lld differs: got %.17g, want %.17g", what, (long long)i,
                         (long long)got->count, tensor_get(got, i), tensor_get(want, i));
}

void expect_near_doubles_at(const char *file, int line, const char *what, const tensor *got, const double *want,
                            double tolerance)
{
    double *values = tensor_doubles(got);
    expect_near_at(file, line, what, values, want, (size_t)got->count, tolerance, 0);
    free(values);
}

void expect_near_tensor_at(const char *file, int line, const char *what, const tensor *got, const tensor *want,
                           double tolerance)
{
    double *values = tensor_doubles(want);
    if (got->count != want->count)
        test_fail_at(file, line, "%s: %lld elements, want %lld", what, (long long)got->count, (long long)want->count);
    expect_near_doubles_at(file, line, what, got, values, tolerance);
    free(values);
}
