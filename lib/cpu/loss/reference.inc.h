/*
 * The kernels of the losses in plain C and double precision: the definition of correct.
 *
 * Gives loss_kernels, and the function that every instruction set uses for float64.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/numbers.h"
#include "cpu/loss/kernels.h"

#include <float.h>
#include <math.h>

static double target(const plb_loss_rows *rows, int64_t label, int64_t c)
{
    if (rows->gaussian)
        return plb_gaussian_target(rows->gaussian, label, c);
    return rows->base + (c == label ? rows->peak : 0);
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

    double max = -INFINITY;
    int64_t argmax = -1;
    for (int64_t c = 0; c < n; c++) {
        const double x = plb_load_number(z + c * size, dtype);
        if (x > max) {
            max = x;
            argmax = c;
        }
    }
    double sum = 0, total = 0, weighted = 0;
    for (int64_t c = 0; c < n; c++) {
        const double d = plb_load_number(z + c * size, dtype) - max, t = target(rows, label, c);
        sum += exp(d);
        total += t;
        if (t != 0)
            weighted += t * (d < -DBL_MAX && rows->gaussian ? -DBL_MAX : d);
    }
    rows->loss[r] = total * log(sum) - weighted;
    rows->correct[r] = sum == sum && argmax == label;
    rows->confident[r] = exp(plb_load_number(z + label * size, dtype) - max) / sum >= target(rows, label, label);
    for (int64_t c = 0; grad && c < n; c++) {
        const double p = exp(plb_load_number(z + c * size, dtype) - max) / sum;
        plb_store_number(grad + c * size, dtype, rows->scale[r] * (p * total - target(rows, label, c)));
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
};
