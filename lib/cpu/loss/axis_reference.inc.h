/*
 * The kernels of the per-axis losses in plain C and double precision: the definition of correct.
 *
 * The sums of cycle-back are over c - a, where a is the integer nearest to mu: where the softmax is all but one-hot at
 * a, the variance is far below what rounding would leave of a difference of larger numbers.
 *
 * Gives axis_rows_f32() and those of the other dtypes, and the function that every instruction set uses for float64.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/numbers.h"
#include "cpu/loss/axis_rows.h"

#include <math.h>
#include <poslabel/axis.h>

/* One axis of one row. */
typedef struct axis_row {
    const char *logits;
    char *grad; /* may be the logits, or NULL */
    int64_t logit_bytes, grad_bytes, classes, target;
    double max, scale;
    plb_dtype dtype;
} axis_row;

static double axis_logit(const axis_row *row, int64_t c)
{
    return plb_load_number(row->logits + c * row->logit_bytes, row->dtype);
}

static double axis_exponential(const axis_row *row, int64_t c)
{
    return exp(axis_logit(row, c) - row->max);
}

static double axis_cross_entropy(const axis_row *row)
{
    double others = 0; /* without the target's, which has most of the sum where loss and gradient are small */
    for (int64_t c = 0; c < row->classes; c++)
        others += c == row->target ? 0 : axis_exponential(row, c);
    const double less = axis_logit(row, row->target) - row->max, own = exp(less), sum = others + own;
    for (int64_t c = 0; row->grad && c < row->classes; c++)
        plb_store_number(row->grad + c * row->grad_bytes, row->dtype,
                         row->scale * (c == row->target ? 0 - others / sum : axis_exponential(row, c) / sum));
    return own == 1 ? log1p(others) : log(sum) - less;
}

static double axis_cycle_back(const axis_row *row)
{
    double sum = 0, mean = 0, m = 0, variance = 0;
    for (int64_t c = 0; c < row->classes; c++) {
        sum += axis_exponential(row, c);
        mean += (double)c * axis_exponential(row, c);
    }
    const double a = rint(mean / sum);
    for (int64_t c = 0; c < row->classes; c++)
        m += ((double)c - a) * axis_exponential(row, c) / sum;
    for (int64_t c = 0; c < row->classes; c++) {
        const double d = (double)c - a - m;
        variance += d * d * axis_exponential(row, c) / sum;
    }
    const double v = variance + PLB_CYCLE_BACK_VARIANCE_FLOOR, off = a - (double)row->target + m;
    const double by_mean = 2 * off / v, by_variance = (PLB_CYCLE_BACK_LOG_VARIANCE - off * off / v) / v;
    for (int64_t c = 0; row->grad && c < row->classes; c++) {
        const double b = axis_exponential(row, c) / sum, d = (double)c - a - m;
        plb_store_number(row->grad + c * row->grad_bytes, row->dtype,
                         row->scale * (b * d * by_mean + (b * d * d - b * variance) * by_variance));
    }
    return off * off / v + PLB_CYCLE_BACK_LOG_VARIANCE * log(v);
}

static void axis_rows(plb_axis_rows *rows, plb_dtype dtype)
{
    const int64_t size = plb_dtype_size[dtype];
    for (int r = 0; r < rows->count; r++) {
        rows->loss[r] = 0;
        for (int a = 0; a < PLB_AXES; a++) {
            axis_row row = {rows->logits[a][r],
                            rows->grad[a][r],
                            rows->logit_step[a] * size,
                            rows->grad_step[a] * size,
                            rows->classes[a],
                            rows->target[a][r],
                            -INFINITY,
                            rows->scale[r],
                            dtype};
            for (int64_t c = 0; c < row.classes; c++)
                row.max = fmax(row.max, axis_logit(&row, c));
            rows->loss[r] +=
                rows->kind == POSLABEL_AXIS_LOSS_CYCLE_BACK ? axis_cycle_back(&row) : axis_cross_entropy(&row);
        }
    }
}

#define AXIS_ROWS(name, dtype)                                                                                         \
    static void name(plb_axis_rows *rows)                                                                              \
    {                                                                                                                  \
        axis_rows(rows, dtype);                                                                                        \
    }

AXIS_ROWS(axis_rows_f32, PLB_F32)
AXIS_ROWS(axis_rows_f16, PLB_F16)
AXIS_ROWS(axis_rows_bf16, PLB_BF16)

void plb_axis_rows_reference_f64(plb_axis_rows *rows)
{
    axis_rows(rows, PLB_F64);
}
