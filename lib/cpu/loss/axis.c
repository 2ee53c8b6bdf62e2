/*
 * Per-axis losses: batches and threads around the kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/axis_rows.h"

#include "cpu/core/kernels.h"
#include "cpu/core/numbers.h"
#include "cpu/core/parallel.h"
#include "cpu/loss/kernels.h"
#include "cpu/loss/reduction.h"
#include "cpu/operations.h"

#include <string.h>

typedef struct axis_run {
    const plb_axis_job *job;
    plb_reduction_run reduction;
    plb_axis_kernel *kernel;
    char *scratch; /* for each thread: the kernel's, then a batch */
    size_t scratch_size;
    bool pairs;
} axis_run;

/* ---- targets ---- */

static int64_t target_at(const plb_rows *targets, int64_t r, int axis)
{
    const int64_t step = targets->element_stride * plb_dtype_size[targets->dtype];
    return plb_load_id(plb_row(targets, r) + axis * step, targets->dtype);
}

static bool is_allowed(const plb_axis_job *job, int64_t target, int axis)
{
    return (uint64_t)target < (uint64_t)job->logits[axis].length;
}

/* Whether all targets are seen to be allowed by a loop without branches, for the usual layout. */
static bool are_allowed(const plb_axis_job *job, int64_t first, int count, const double *weight)
{
    const plb_rows *const targets = &job->targets;
    const uint64_t n_y = (uint64_t)job->logits[0].length, n_x = (uint64_t)job->logits[1].length;
    uint64_t outside = 0;
    char *at;
    int64_t step;
    if (targets->dtype != PLB_I64 || targets->element_stride != 1 || !plb_even_rows(targets, first, count, &at, &step))
        return false;
    for (int k = 0; k < count; k++) {
        const uint64_t *const pair = (const uint64_t *)(const void *)(at + k * step);
        outside |= (!weight || weight[k] != 0) & ((pair[0] >= n_y) | (pair[1] >= n_x));
    }
    return !outside;
}

static int64_t first_bad(const void *argument, int64_t first, int count, const double *weight)
{
    const plb_axis_job *const job = argument;
    for (int k = are_allowed(job, first, count, weight) ? count : 0; k < count; k++)
        for (int a = 0; a < PLB_AXES && (!weight || weight[k] != 0); a++)
            if (!is_allowed(job, target_at(&job->targets, first + k, a), a))
                return first + k;
    return -1;
}

static poslabel_status report(const plb_call *call, const void *argument, int64_t r)
{
    const plb_axis_job *const job = argument;
    const int a = is_allowed(job, target_at(&job->targets, r, 0), 0);
    return plb_fail(call, POSLABEL_ERROR_INVALID, "targets[%s] = %lld, must be in [0, %lld)",
                    plb_index_text(&job->targets, r, a).data, (long long)target_at(&job->targets, r, a),
                    (long long)job->logits[a].length);
}

/* ---- rows ---- */

/* Whether the two axes lie as pairs of one tensor. */
static bool are_pairs(const plb_rows *y, const plb_rows *x)
{
    return x->data == y->data + plb_dtype_size[y->dtype] && x->length == y->length && y->element_stride == 2 &&
           x->element_stride == 2 && x->inner == y->inner && x->inner_stride == y->inner_stride &&
           x->outer_stride == y->outer_stride;
}

static void clear_row(const axis_run *run, int64_t r)
{
    for (int a = 0; a < PLB_AXES; a++) {
        const plb_rows *const grad = &run->job->grad[a];
        char *const row = plb_row(grad, r);
        for (int64_t c = 0; c < grad->length; c++)
            plb_store_number(row + c * grad->element_stride * plb_dtype_size[grad->dtype], grad->dtype, 0);
    }
}

/* The rows of a batch that count; `place` says which they are. */
static void fill_batch(const axis_run *run, plb_axis_rows *batch, const plb_row_list *list, int count,
                       const double *weight, int *place)
{
    const plb_axis_job *const job = run->job;
    double scale[PLB_ROW_BATCH];
    plb_reduction_scale(&run->reduction, list, count, weight, scale);
    batch->kind = job->kind;
    batch->pairs = run->pairs;
    batch->count = 0;
    for (int k = 0; k < count; k++) {
        const int64_t r = plb_row_at(list, k);
        if (weight[k] == 0) {
            if (job->grad[0].data)
                clear_row(run, r);
            continue;
        }
        const int at = batch->count++;
        place[at] = k;
        batch->scale[at] = scale[k];
        for (int a = 0; a < PLB_AXES; a++) {
            batch->logits[a][at] = plb_row(&job->logits[a], r);
            batch->grad[a][at] = job->grad[a].data ? plb_row(&job->grad[a], r) : NULL;
            batch->target[a][at] = (int32_t)target_at(&job->targets, r, a);
        }
    }
    for (int a = 0; a < PLB_AXES; a++) {
        batch->classes[a] = job->logits[a].length;
        batch->logit_step[a] = job->logits[a].element_stride;
        batch->grad_step[a] = job->grad[a].element_stride;
    }
}

static void loss_batch(void *argument, int thread, const plb_row_list *list, int count, plb_block_sums *sums)
{
    const axis_run *const run = argument;
    char *const scratch = run->scratch + (size_t)thread * run->scratch_size;
    plb_axis_rows *const batch = (plb_axis_rows *)(void *)scratch;
    double weight[PLB_ROW_BATCH], loss[PLB_ROW_BATCH] = {0};
    int place[PLB_ROW_BATCH];
    batch->scratch = (float *)(void *)(scratch + (sizeof *batch + 63) / 64 * 64);
    plb_reduction_weigh(&run->reduction, list, count, weight);
    fill_batch(run, batch, list, count, weight, place);
    run->kernel(batch);
    for (int k = 0; k < batch->count; k++)
        loss[place[k]] = batch->loss[k];
    plb_reduction_add(&run->reduction, sums, list, count, weight, loss, NULL);
}

poslabel_status plb_cpu_axis_loss(const plb_call *call, const plb_axis_job *job)
{
    const plb_rows *const logits = job->logits, *const grad = job->grad;
    const plb_row_check check = {job, first_bad, report, NULL};
    const int64_t rows = job->reduction.rows, batches = (rows + PLB_ROW_BATCH - 1) / PLB_ROW_BATCH;
    const size_t row_bytes = (size_t)(logits[0].length + logits[1].length) * plb_dtype_size[logits[0].dtype];
    const size_t bytes = (grad[0].data ? 2 : 1) * (size_t)rows * row_bytes;
    const int threads = rows ? plb_parallel_threads(call->context, plb_shared_bytes(batches, bytes)) : 0;
    axis_run run = {
        .job = job,
        .kernel = plb_kernels_of(call->context)->loss->axes[logits[0].dtype],
        .pairs = are_pairs(&logits[0], &logits[1]) && (!grad[0].data || are_pairs(&grad[0], &grad[1])),
    };
    const size_t scratch = plb_axis_scratch(logits[0].length, logits[1].length);
    run.scratch_size = plb_size_add(scratch, (sizeof(plb_axis_rows) + 63) / 64 * 64 + 2048); /* apart: see batches of
                                                                                                cross_entropy.c */
    const size_t all = plb_size_mul((size_t)threads, run.scratch_size);
    void *memory;
    PLB_TRY(plb_workspace(call, plb_size_add(all, plb_reduction_memory(&job->reduction)), &memory));
    run.scratch = memory;
    PLB_TRY(plb_reduction_begin(&run.reduction, call, &job->reduction, &check, run.scratch + all));
    plb_reduction_pass(&run.reduction, 0, rows, NULL, threads, bytes, loss_batch, &run);
    plb_reduction_end(&run.reduction);
    return POSLABEL_OK;
}
