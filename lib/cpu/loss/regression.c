/*
 * Regression of small vectors: L1, smooth L1 and squares.
 *
 * Elements are worked on in tiles of doubles: a few whole rows that follow one another, or a piece of a long one.  In a
 * tile each step is a loop over numbers of one type that compilers turn into vectors.  No instruction set has kernels
 * of its own: rows have two or three elements, and what surrounds them costs more.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "regression.h"

#include "cpu/core/half.h"
#include "cpu/core/numbers.h"
#include "cpu/core/parallel.h"
#include "cpu/loss/reduction.h"
#include "cpu/operations.h"

#include <math.h>
#include <poslabel/regression.h>
#include <string.h>

enum { TILE = 256 };

typedef struct tile {
    double difference[TILE], target[TILE]; /* the slope takes the place of the difference; the loss, of the target */
} tile;

typedef struct regression_run {
    const plb_regression_job *job;
    plb_reduction_run reduction;
} regression_run;

static void load(const char *from, plb_dtype dtype, int64_t count, double *to)
{
    const float *const single = (const float *)(const void *)from;
    const uint16_t *const half = (const uint16_t *)(const void *)from;
    if (dtype == PLB_F32)
        for (int64_t i = 0; i < count; i++)
            to[i] = (double)single[i];
    else if (dtype == PLB_F64)
        memcpy(to, from, (size_t)count * sizeof *to);
    else if (dtype == PLB_F16)
        for (int64_t i = 0; i < count; i++)
            to[i] = (double)plb_from_f16(half[i]);
    else
        for (int64_t i = 0; i < count; i++)
            to[i] = (double)plb_from_bf16(half[i]);
}

static void store(char *to, plb_dtype dtype, int64_t count, const double *from)
{
    float *const single = (float *)(void *)to;
    uint16_t *const half = (uint16_t *)(void *)to;
    if (dtype == PLB_F32)
        for (int64_t i = 0; i < count; i++)
            single[i] = (float)from[i];
    else if (dtype == PLB_F64)
        memcpy(to, from, (size_t)count * sizeof *from);
    else if (dtype == PLB_F16)
        for (int64_t i = 0; i < count; i++)
            half[i] = plb_to_f16((float)from[i]);
    else
        for (int64_t i = 0; i < count; i++)
            half[i] = plb_to_bf16((float)from[i]);
}

/* The sign of a difference; NaN of a NaN. */
static double sign_of(double d)
{
    return d > 0 ? 1 : d < 0 ? -1 : d;
}

/* Losses and slopes from the predictions and targets of a tile. */
static void regress(const plb_regression_job *job, int64_t count, tile *t)
{
    double *const difference = t->difference, *const loss = t->target;
    const double beta = job->beta;
    for (int64_t i = 0; i < count; i++)
        difference[i] -= t->target[i];
    if (job->kind == POSLABEL_REGRESSION_L1)
        for (int64_t i = 0; i < count; i++) {
            loss[i] = fabs(difference[i]);
            difference[i] = sign_of(difference[i]);
        }
    else if (job->kind == POSLABEL_REGRESSION_MSE)
        for (int64_t i = 0; i < count; i++) {
            loss[i] = difference[i] * difference[i];
            difference[i] *= 2;
        }
    else
        for (int64_t i = 0; i < count; i++) {
            const double d = difference[i], size = fabs(d), part = d / beta;
            const int is_near = size < beta;
            loss[i] = is_near ? 0.5 * d * part : size - 0.5 * beta;
            difference[i] = is_near ? part : sign_of(d);
        }
}

/* A tile of `count` elements: gives the sum of the losses of each of its rows, and stores the gradient. */
static void finish(const plb_rows *grad, char *to, int64_t rows, int64_t length, const double *factor, tile *t,
                   double *sum)
{
    for (int64_t r = 0; r < rows; r++) {
        double *const slope = t->difference + r * length;
        double row = 0;
        for (int64_t i = 0; i < length; i++) { /* one loop: most rows are short */
            row += t->target[r * length + i];
            slope[i] *= factor[r];
        }
        sum[r] = row;
    }
    if (grad->data)
        store(to, grad->dtype, rows * length, t->difference);
}

/* The rows r .. r + count - 1 of a tensor without gaps, or NULL: they have gaps. */
static char *without_gaps(const plb_rows *rows, int64_t first, int count)
{
    char *at;
    int64_t step;
    const bool even = plb_even_rows(rows, first, count, &at, &step);
    return even && (count == 1 || step == rows->length * plb_dtype_size[rows->dtype]) ? at : NULL;
}

/* Rows that all count and follow one another: as many of them at a time as a tile has room for. */
static void whole_rows(const plb_regression_job *job, char *const at[3], int count, const double *factor, double *loss)
{
    const int64_t n = job->predictions.length;
    const int most = (int)(TILE / n);
    tile t;
    for (int k = 0; k < count; k += most) {
        const int rows = count - k < most ? count - k : most;
        const int64_t from = k * n;
        load(at[0] + from * plb_dtype_size[job->predictions.dtype], job->predictions.dtype, rows * n, t.difference);
        load(at[1] + from * plb_dtype_size[job->targets.dtype], job->targets.dtype, rows * n, t.target);
        regress(job, rows * n, &t);
        finish(&job->grad_predictions, at[2] ? at[2] + from * plb_dtype_size[job->predictions.dtype] : NULL, rows, n,
               factor + k, &t, loss + k);
    }
}

/* One row that counts, in pieces. */
static double one_row(const plb_regression_job *job, int64_t r, double factor)
{
    const int64_t n = job->predictions.length;
    const char *const predictions = plb_row(&job->predictions, r), *const targets = plb_row(&job->targets, r);
    char *const grad = job->grad_predictions.data ? plb_row(&job->grad_predictions, r) : NULL;
    const size_t size = plb_dtype_size[job->predictions.dtype], target_size = plb_dtype_size[job->targets.dtype];
    double loss = 0;
    tile t;
    for (int64_t i = 0; i < n; i += TILE) {
        const int64_t count = n - i < TILE ? n - i : TILE;
        double piece;
        load(predictions + (size_t)i * size, job->predictions.dtype, count, t.difference);
        load(targets + (size_t)i * target_size, job->targets.dtype, count, t.target);
        regress(job, count, &t);
        finish(&job->grad_predictions, grad ? grad + (size_t)i * size : NULL, 1, count, &factor, &t, &piece);
        loss += piece;
    }
    return loss;
}

static void regress_batch(void *argument, int thread, const plb_row_list *list, int count, plb_block_sums *sums)
{
    const regression_run *const run = argument;
    const plb_regression_job *const job = run->job;
    const int64_t n = job->predictions.length;
    const double share = 1 / (double)n; /* of an element in the mean */
    double weight[PLB_ROW_BATCH], factor[PLB_ROW_BATCH], loss[PLB_ROW_BATCH];
    (void)thread;
    plb_reduction_weigh(&run->reduction, list, count, weight);
    plb_reduction_scale(&run->reduction, list, count, weight, factor);
    bool all_count = n <= TILE;
    for (int k = 0; k < count; k++) {
        factor[k] *= share;
        all_count = all_count && weight[k] != 0;
    }
    char *const at[3] = {
        without_gaps(&job->predictions, list->first, count),
        without_gaps(&job->targets, list->first, count),
        job->grad_predictions.data ? without_gaps(&job->grad_predictions, list->first, count) : NULL,
    };
    if (all_count && at[0] && at[1] && (at[2] || !job->grad_predictions.data))
        whole_rows(job, at, count, factor, loss);
    else
        for (int k = 0; k < count; k++) {
            const int64_t r = list->first + k;
            loss[k] = weight[k] == 0 ? 0 : one_row(job, r, factor[k]);
            if (weight[k] == 0 && job->grad_predictions.data)
                memset(plb_row(&job->grad_predictions, r), 0, (size_t)n * plb_dtype_size[job->predictions.dtype]);
        }
    for (int k = 0; k < count; k++)
        loss[k] *= share;
    plb_reduction_add(&run->reduction, sums, list, count, weight, loss, NULL);
}

/* The bytes that a call reads and writes. */
static size_t traffic_of(const plb_regression_job *job)
{
    const size_t size = plb_dtype_size[job->predictions.dtype] * (job->grad_predictions.data ? 2u : 1u);
    const size_t numbers = (size_t)job->predictions.count * (size_t)job->predictions.length;
    return numbers * (size + plb_dtype_size[job->targets.dtype]);
}

poslabel_status plb_cpu_regression_loss(const plb_call *call, const plb_regression_job *job)
{
    regression_run run = {.job = job};
    const int64_t rows = job->reduction.rows, batches = (rows + PLB_ROW_BATCH - 1) / PLB_ROW_BATCH;
    const size_t bytes = traffic_of(job);
    const int threads = rows ? plb_parallel_threads(call->context, plb_shared_bytes(batches, bytes)) : 0;
    void *memory;
    PLB_TRY(plb_workspace(call, plb_reduction_memory(&job->reduction), &memory));
    PLB_TRY(plb_reduction_begin(&run.reduction, call, &job->reduction, NULL, memory));
    plb_reduction_pass(&run.reduction, 0, rows, NULL, threads, bytes, regress_batch, &run);
    plb_reduction_end(&run.reduction);
    return POSLABEL_OK;
}
