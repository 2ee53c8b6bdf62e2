/*
 * Labels as tensors, on the CPU.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/numbers.h"
#include "cpu/core/parallel.h"
#include "cpu/core/scalars.h"
#include "cpu/loss/gaussian.h"
#include "cpu/operations.h"
#include "labels.h"

#include <math.h>

/* Rows of a label tensor, whose elements are of one of two types. */
#define LABEL_ROWS(type, suffix)                                                                                       \
    static void absolute_row_##suffix(type *label, poslabel_grid grid)                                                 \
    {                                                                                                                  \
        for (int32_t n = 0; n < grid.height * grid.width; n++)                                                         \
            label[n] = n;                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    static void relative_row_##suffix(type *label, poslabel_grid grid, int32_t y, int32_t x)                           \
    {                                                                                                                  \
        for (int32_t j = 0; j < grid.height; j++) {                                                                    \
            const int32_t first = (y - j + grid.height - 1) * (2 * grid.width - 1) + x + grid.width - 1;               \
            for (int32_t i = 0; i < grid.width; i++)                                                                   \
                *label++ = first - i;                                                                                  \
        }                                                                                                              \
    }

LABEL_ROWS(int32_t, i32)
LABEL_ROWS(int64_t, i64)

static void absolute_rows(void *argument, int thread, int threads)
{
    const plb_labels_job *const job = argument;
    int64_t row, end;
    plb_share(job->labels.count, thread, threads, &row, &end);
    for (; row < end; row++)
        if (job->labels.dtype == PLB_I32)
            absolute_row_i32((int32_t *)plb_row(&job->labels, row), job->grid);
        else
            absolute_row_i64((int64_t *)plb_row(&job->labels, row), job->grid);
}

static void relative_rows(void *argument, int thread, int threads)
{
    const plb_labels_job *const job = argument;
    const poslabel_grid grid = job->grid;
    int64_t row, end;
    plb_share(job->labels.count, thread, threads, &row, &end);
    for (; row < end; row++) {
        const int32_t query = (int32_t)(row % (grid.height * grid.width));
        const int32_t y = query / grid.width, x = query % grid.width;
        if (job->labels.dtype == PLB_I32)
            relative_row_i32((int32_t *)plb_row(&job->labels, row), grid, y, x);
        else
            relative_row_i64((int64_t *)plb_row(&job->labels, row), grid, y, x);
    }
}

static size_t label_bytes(const plb_labels_job *job)
{
    const size_t bytes = (size_t)(job->labels.count * job->labels.length) * plb_dtype_size[job->labels.dtype];
    return plb_shared_bytes(job->labels.count, bytes);
}

poslabel_status plb_cpu_absolute_labels(const plb_call *call, const plb_labels_job *job)
{
    void *none;
    PLB_TRY(plb_workspace(call, 0, &none));
    plb_parallel(call->context, label_bytes(job), absolute_rows, (void *)job);
    return POSLABEL_OK;
}

poslabel_status plb_cpu_relative_labels(const plb_call *call, const plb_labels_job *job)
{
    void *none;
    PLB_TRY(plb_workspace(call, 0, &none));
    plb_parallel(call->context, label_bytes(job), relative_rows, (void *)job);
    return POSLABEL_OK;
}

typedef struct map_run {
    const plb_smoothing_map_job *job;
    plb_gaussian gaussian;
} map_run;

/*
 * A value >= 0 as the float that a second rounding, to half precision, takes where it would have taken the value: cut
 * off, the last bit set if anything was lost.
 */
static float round_to_odd(double value)
{
    uint32_t bits = plb_to_bits((float)value);
    if ((double)plb_from_bits(bits) > value)
        bits--;
    return plb_from_bits((double)plb_from_bits(bits) < value ? bits | 1 : bits);
}

static void map_rows(void *argument, int thread, int threads)
{
    const map_run *const run = argument;
    const plb_rows *const map = &run->job->map;
    const bool half = map->dtype == PLB_F16 || map->dtype == PLB_BF16;
    const int size = plb_dtype_size[map->dtype];
    int64_t i, end;
    plb_share(map->count, thread, threads, &i, &end);
    for (; i < end; i++) {
        char *const row = plb_row(map, i);
        for (int64_t j = 0; j < map->length; j++) {
            const double target = plb_gaussian_target(&run->gaussian, i, j);
            plb_store_number(row + j * size, map->dtype, half ? round_to_odd(target) : target);
        }
    }
}

poslabel_status plb_cpu_smoothing_map(const plb_call *call, const plb_smoothing_map_job *job)
{
    map_run run = {.job = job};
    void *memory;
    PLB_TRY(plb_workspace(call, plb_gaussian_size(job->grid), &memory));
    double sigma = job->sigma;
    PLB_TRY(plb_read_sigma(call, &job->sigma_scalar, &sigma));
    plb_gaussian_fill(&run.gaussian, job->grid, plb_has_neighbours(sigma) ? sigma : 0, job->normalization, memory);
    plb_parallel(call->context, (size_t)(job->map.count * job->map.length) * sizeof(double), map_rows, &run);
    return POSLABEL_OK;
}
