/*
 * The kernels of the losses in plain C and double precision: the definition of correct.
 *
 * Gives loss_kernels, and the function that every instruction set uses for float64.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/numbers.h"
#include "cpu/loss/axis_reference.inc.h"
#include "cpu/loss/kernels.h"
#include "cpu/loss/scale.inc.h"

#include <float.h>
#include <math.h>

static double target(const plb_loss_rows *rows, int64_t label, int64_t c)
{
    if (rows->gaussian)
        return plb_gaussian_target(rows->gaussian, label, c);
    return rows->base + (c == label ? rows->peak : 0);
}

/* What is summed in one go: the sum of a million numbers would be off by a million roundings. */
enum { REFERENCE_BLOCK = 512 };

/* A row's softmax: its maximum, and the sum of the exponentials, relative to that, of all other classes. */
typedef struct reference_softmax {
    double max, others;
    int64_t argmax; /* -1: none */
} reference_softmax;

static reference_softmax softmax_of(const char *z, int64_t n, plb_dtype dtype)
{
    const int64_t size = plb_dtype_size[dtype];
    reference_softmax s = {-INFINITY, 0, -1};
    for (int64_t c = 0; c < n; c++) {
        const double x = plb_load_number(z + c * size, dtype);
        if (x > s.max) {
            s.max = x;
            s.argmax = c;
        }
    }
    for (int64_t begin = 0; begin < n; begin += REFERENCE_BLOCK) {
        const int64_t end = begin + REFERENCE_BLOCK < n ? begin + REFERENCE_BLOCK : n;
        double sum = 0;
        for (int64_t c = begin; c < end; c++)
            sum += c == s.argmax ? 0 : exp(plb_load_number(z + c * size, dtype) - s.max);
        s.others += sum;
    }
    s.others += s.max - s.max; /* NaN if the maximum is infinite */
    return s;
}

double plb_loss_probability(const void *logits, plb_dtype dtype, int64_t classes, int64_t label)
{
    const reference_softmax s = softmax_of(logits, classes, dtype);
    const double z = plb_load_number((const char *)logits + label * plb_dtype_size[dtype], dtype);
    return exp(z - s.max) / (1 + s.others);
}

static void loss_row(plb_loss_rows *rows, int r, plb_dtype dtype)
{
    const char *const z = rows->logits[r];
    char *const grad = rows->grad[r];
    const int64_t n = rows->classes, label = rows->label[r], size = plb_dtype_size[dtype];
    rows->loss[r] = 0;
    rows->correct[r] = rows->confident[r] = false;
    if (label < 0) {
        for (int64_t c = 0; grad && c < n; c++)
            plb_store_number(grad + c * size, dtype, 0);
        return;
    }

    const reference_softmax s = softmax_of(z, n, dtype);
    const double own = target(rows, label, label);
    double others = 0, weighted = 0; /* the sum of the other targets; of all t (z - max) */
    for (int64_t begin = 0; begin < n; begin += REFERENCE_BLOCK) {
        const int64_t end = begin + REFERENCE_BLOCK < n ? begin + REFERENCE_BLOCK : n;
        double sum = 0, weighted_sum = 0;
        for (int64_t c = begin; c < end; c++) {
            const double d = plb_load_number(z + c * size, dtype) - s.max, t = target(rows, label, c);
            sum += c == label ? 0 : t;
            if (t != 0)
                weighted_sum += t * (d < -DBL_MAX && rows->gaussian ? -DBL_MAX : d);
        }
        others += sum;
        weighted += weighted_sum;
    }
    const double total = own + others;
    rows->loss[r] = total * log1p(s.others) - weighted;
    rows->correct[r] = s.others == s.others && s.argmax == label;
    rows->confident[r] = rows->filter && plb_loss_probability(z, dtype, n, label) >= own;
    for (int64_t c = 0; grad && c < n; c++) {
        const double p = exp(plb_load_number(z + c * size, dtype) - s.max) / (1 + s.others);
        double slope = p * total - target(rows, label, c);
        if (c == label && c == s.argmax) /* the same, where p is so near 1 that nothing is left of 1 - p */
            slope = others - s.others / (1 + s.others) * total;
        plb_store_number(grad + c * size, dtype, rows->scale[r] * slope);
    }
}

static void loss_rows(plb_loss_rows *rows, plb_dtype dtype)
{
    for (int r = 0; r < rows->count; r++)
        loss_row(rows, r, dtype);
}

static void loss_rows_f32(plb_loss_rows *rows)
{
    loss_rows(rows, PLB_F32);
}

static void loss_rows_f16(plb_loss_rows *rows)
{
    loss_rows(rows, PLB_F16);
}

static void loss_rows_bf16(plb_loss_rows *rows)
{
    loss_rows(rows, PLB_BF16);
}

void plb_loss_rows_reference_f64(plb_loss_rows *rows)
{
    loss_rows(rows, PLB_F64);
}

static const plb_loss_kernels loss_kernels = {
    .rows = {loss_rows_f32, loss_rows_f16, loss_rows_bf16, plb_loss_rows_reference_f64},
    .axes = {axis_rows_f32, axis_rows_f16, axis_rows_bf16, plb_axis_rows_reference_f64},
    .scale = scale_numbers,
};
