/*
 * The row-loss engine: weights, normalisation, blocks and threads around the kernels.
 *
 * Rows are cut into blocks by their number alone.  Each block leaves partial sums in double precision, which are added
 * in the order of the blocks: the results do not depend on the threads.  A call makes up to three passes: a check of
 * ids and weights that also sums the weights (without logits, and skipped when both are implied); for the confidence
 * filter, the losses; and the losses with their gradients.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/engine.h"

#include "cpu/core/kernels.h"
#include "cpu/operations.h"

#include <poslabel/labels.h>
#include <poslabel/loss.h>

enum { MOST_BLOCKS = 4096 };

/*
 * Bytes between what one thread writes and another writes or reads all the time.  Prefetchers run that far ahead, and
 * take lines from the thread that they belong to: a line or four between them are not enough.
 */
enum { GAP = 2048 };

typedef struct plb_block_sums {
    double weight, loss, correct;
    int64_t first_bad; /* the first row whose id or weight is not allowed, or -1 */
} block_sums;

static const block_sums no_sums = {0, 0, 0, -1};

static void weigh_blocks(void *argument, int thread, int threads)
{
    const plb_loss_run *run = argument;
    int64_t begin, end;
    plb_share(run->blocks, thread, threads, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * run->block_rows;
        const int64_t last = first + run->block_rows < run->job->rows ? first + run->block_rows : run->job->rows;
        run->sums[b] = no_sums;
        run->sums[b].weight = plb_loss_weigh(run->job, first, last, &run->sums[b].first_bad);
    }
}

static poslabel_status report_bad_row(const plb_loss_run *run, int64_t r)
{
    const plb_loss_job *job = run->job;
    const plb_text at = plb_index_text(&job->row_shape, r);
    if (plb_loss_bad_id(job, r))
        return plb_fail(run->call, POSLABEL_ERROR_INVALID, "positions[%s] = %lld, must be in [0, %lld)", at.data,
                        (long long)plb_load_id(plb_row(&job->ids, r), job->ids.dtype), (long long)job->classes);
    return plb_fail(run->call, POSLABEL_ERROR_INVALID, "weights[%s] = %g, must be >= 0 and finite", at.data,
                    plb_load_number(plb_row(&job->weights, r), job->weights.dtype));
}

/* The bytes of `rows` rows of logits. */
static size_t logits_bytes(const plb_loss_job *job, int64_t rows)
{
    return (size_t)rows * (size_t)job->classes * plb_dtype_size[job->logits.dtype];
}

/* Whether targets are kept as rows of numbers: of all positions at once, or in tables. */
static bool has_rows(const plb_loss_job *job, int normalization)
{
    return job->target == PLB_TARGET_GAUSSIAN && job->logits.dtype != PLB_F64 &&
           job->classes <= PLB_MOST_TABLE_CLASSES && job->normalization == normalization;
}

static bool has_table(const plb_loss_job *job)
{
    return has_rows(job, POSLABEL_NORMALIZATION_REFERENCE);
}

/* A batch, in whole lines, and what the kernel keeps of it. */
static size_t batch_size(void)
{
    return (sizeof(plb_loss_rows) + 63) / 64 * 64 + PLB_LOSS_WORK;
}

/*
 * A thread's scratch: its batch, exponentials, table, and which rows the table has.  The batch is not on the stack, for
 * there are processors that find a line in the L1 cache by a hash of its address: of two lines far apart, each may put
 * the other out.
 */
static plb_loss_rows *cut_scratch(const plb_loss_run *run, int thread)
{
    const int64_t classes = run->job->classes;
    char *const scratch = run->scratch + (size_t)thread * run->scratch_size;
    char *const table = scratch + batch_size() + plb_loss_scratch(classes);
    plb_loss_rows *const batch = (plb_loss_rows *)(void *)scratch;
    batch->work = scratch + batch_size() - PLB_LOSS_WORK;
    batch->scratch = (float *)(void *)(scratch + batch_size());
    batch->table = NULL;
    if (has_table(run->job)) {
        batch->table = (float *)(void *)table;
        batch->has_row = (uint8_t *)(batch->table + plb_loss_table_floats(classes));
    }
    return batch;
}

/* Weighs the rows that the model is already sure of with 0. */
static void filter_batch(const plb_loss_run *run, const plb_loss_rows *batch, double *weight, int64_t first)
{
    for (int k = 0; k < batch->count; k++) {
        run->counts[first + k] = !batch->confident[k];
        weight[k] *= run->counts[first + k];
    }
}

static void loss_blocks(void *argument, int thread, int threads)
{
    const plb_loss_run *run = argument;
    const plb_loss_job *job = run->job;
    if (thread >= run->threads)
        return;
    threads = threads < run->threads ? threads : run->threads;
    const int64_t end_row = run->first + run->count, first_block = run->first / run->block_rows;
    double weight[PLB_ROW_BATCH];
    plb_loss_rows *const batch = cut_scratch(run, thread);
    batch->classes = job->classes;
    batch->gaussian = job->target == PLB_TARGET_GAUSSIAN ? &run->gaussian : NULL;
    batch->base = job->label_smoothing / (double)job->classes;
    batch->peak = 1 - job->label_smoothing;
    batch->stream = job->grad_logits.data && !run->filter && !job->in_place &&
                    logits_bytes(job, run->count) > run->call->context->stream_bytes;
    batch->filter = run->filter;
    batch->accuracy = job->accuracy.data != NULL;

    int64_t begin, end;
    plb_share((end_row + run->block_rows - 1) / run->block_rows - first_block, thread, threads, &begin, &end);
    for (int64_t b = first_block + begin; b < first_block + end; b++) {
        const int64_t first = b * run->block_rows > run->first ? b * run->block_rows : run->first;
        const int64_t last = (b + 1) * run->block_rows < end_row ? (b + 1) * run->block_rows : end_row;
        block_sums sums = run->sums[b]; /* of its rows in the pass before */
        for (int64_t at = first; at < last; at += PLB_ROW_BATCH) {
            plb_loss_fill(run, batch, weight, at, (int)(last - at < PLB_ROW_BATCH ? last - at : PLB_ROW_BATCH));
            run->kernel(batch);
            if (run->filter)
                filter_batch(run, batch, weight, at);
            for (int k = 0; k < batch->count; k++) {
                batch->loss[k] = weight[k] == 0 ? 0 : weight[k] * batch->loss[k];
                sums.weight += weight[k];
                sums.loss += batch->loss[k];
                sums.correct += batch->correct[k] ? weight[k] : 0;
            }
            if (job->loss.data && job->reduction == POSLABEL_REDUCTION_NONE)
                for (int k = 0; k < batch->count; k++)
                    plb_store_number(plb_row(&job->loss, plb_loss_row_at(run, at + k)), job->loss.dtype,
                                     batch->loss[k]);
        }
        run->sums[b] = sums;
    }
}

static block_sums add_blocks(const plb_loss_run *run)
{
    block_sums all = no_sums;
    for (int64_t b = 0; b < run->blocks; b++) {
        all.weight += run->sums[b].weight;
        all.loss += run->sums[b].loss;
        all.correct += run->sums[b].correct;
        if (all.first_bad < 0)
            all.first_bad = run->sums[b].first_bad;
    }
    return all;
}

static void store_scalar(const plb_rows *scalar, double value)
{
    if (scalar->data)
        plb_store_number(scalar->data, scalar->dtype, value);
}

static void forget_blocks(const plb_loss_run *run)
{
    for (int64_t b = 0; b < run->blocks; b++)
        run->sums[b] = no_sums;
}

static size_t pass_traffic(const plb_loss_job *job, int64_t rows)
{
    return job->grad_logits.data ? 2 * logits_bytes(job, rows) : logits_bytes(job, rows);
}

/* Cuts the memory up, unless it is NULL, and gives its size: what must be aligned to a line comes first. */
static size_t cut_memory(plb_loss_run *run, int threads, char *memory)
{
    const plb_loss_job *job = run->job;
    run->block_rows = ((job->rows + MOST_BLOCKS - 1) / MOST_BLOCKS + PLB_ROW_BATCH - 1) / PLB_ROW_BATCH * PLB_ROW_BATCH;
    run->blocks = job->rows ? (job->rows + run->block_rows - 1) / run->block_rows : 0;

    const bool is_soft = job->target == PLB_TARGET_GAUSSIAN;
    run->scratch_size = plb_size_add(batch_size(), plb_loss_scratch(job->classes));
    if (has_table(job))
        run->scratch_size += plb_loss_table_floats(job->classes) * sizeof(float) + (size_t)job->classes;
    run->scratch_size = plb_size_add(run->scratch_size, 63 + GAP) / 64 * 64;
    const size_t scratch = plb_size_mul((size_t)threads, run->scratch_size);
    run->threads = threads;
    const size_t sums = plb_size_mul((size_t)run->blocks, sizeof(block_sums));
    const size_t ready =
        has_rows(job, POSLABEL_NORMALIZATION_ROW) ? (plb_gaussian_rows_size(job->grid) + 63) / 64 * 64 : 0;
    const size_t factors = is_soft ? ready + plb_size_add(plb_gaussian_size(job->grid), 63 + GAP) / 64 * 64 : 0;
    const size_t counts = job->confidence_filter ? (size_t)job->rows : 0;
    if (memory) {
        if (is_soft)
            plb_gaussian_fill(&run->gaussian, job->grid, job->sigma, job->normalization, memory + ready);
        if (ready)
            plb_gaussian_fill_rows(&run->gaussian, memory);
        run->scratch = memory + factors;
        run->sums = (block_sums *)(void *)(run->scratch + scratch);
        run->counts = job->confidence_filter ? (uint8_t *)(run->sums + run->blocks) : NULL;
    }
    return plb_size_add(plb_size_add(scratch, sums), plb_size_add(factors, counts));
}

size_t plb_loss_memory(const plb_loss_job *job, int threads)
{
    plb_loss_run run = {.job = job};
    return cut_memory(&run, threads, NULL);
}

int plb_loss_threads(const plb_call *call, const plb_loss_job *job, int64_t rows)
{
    return plb_parallel_threads(call->context, pass_traffic(job, rows));
}

poslabel_status plb_loss_begin(plb_loss_run *run, const plb_call *call, const plb_loss_job *job, int threads,
                               void *memory)
{
    *run = (plb_loss_run){
        .call = call,
        .job = job,
        .kernel = plb_kernels_of(call->context)->loss->rows[job->logits.dtype],
        .has_weights = job->mask.data || job->weights.data || job->has_ignore_index,
        .weight_sum = (double)job->rows,
    };
    cut_memory(run, threads, memory);
    for (int t = 0; has_table(job) && t < threads; t++)
        memset(cut_scratch(run, t)->has_row, 0, (size_t)job->classes);
    if (run->has_weights || job->ids.data) {
        plb_parallel(call->context, (size_t)job->rows * 16, weigh_blocks, run);
        const block_sums all = add_blocks(run);
        if (all.first_bad >= 0)
            return report_bad_row(run, all.first_bad);
        run->weight_sum = all.weight;
        if (!job->weights.data && all.weight == (double)job->rows)
            run->has_weights = false; /* nothing is masked or ignored */
    }
    forget_blocks(run);
    if (run->counts) {
        run->filter = true;
        plb_loss_pass(run, 0, job->rows, NULL);
        run->filter = false;
        run->weight_sum = add_blocks(run).weight;
    }

    const bool mean = job->reduction == POSLABEL_REDUCTION_MEAN;
    run->norm = job->normalizer.data ? plb_load_number(job->normalizer.data, job->normalizer.dtype) : run->weight_sum;
    run->upstream = job->grad_scale * (!mean ? 1 : run->norm == 0 ? 0 : 1 / run->norm);
    if (job->grad_loss.data && job->grad_loss.count <= 1 && job->rows > 0)
        run->upstream *= plb_load_number(job->grad_loss.data, job->grad_loss.dtype);
    run->nothing = mean && run->norm == 0;
    return POSLABEL_OK;
}

void plb_loss_pass(plb_loss_run *run, int64_t first, int64_t count, const int64_t *rows)
{
    const size_t traffic = run->filter ? logits_bytes(run->job, count) : pass_traffic(run->job, count);
    run->first = first;
    run->count = count;
    run->rows = rows;
    if (count)
        plb_parallel(run->call->context, traffic, loss_blocks, run);
}

void plb_loss_end(const plb_loss_run *run)
{
    const plb_loss_job *job = run->job;
    const block_sums all = add_blocks(run);
    if (job->reduction == POSLABEL_REDUCTION_MEAN)
        store_scalar(&job->loss, run->norm == 0 ? 0 : all.loss / run->norm);
    if (job->reduction == POSLABEL_REDUCTION_SUM)
        store_scalar(&job->loss, all.loss);
    store_scalar(&job->accuracy, run->norm == 0 ? 0 : all.correct / run->norm);
    store_scalar(&job->weight_sum, run->weight_sum);
    store_scalar(&job->flags, run->norm == 0 ? POSLABEL_LOSS_EMPTY : 0);
}

poslabel_status plb_cpu_row_loss(const plb_call *call, const plb_loss_job *job)
{
    plb_loss_run run;
    void *memory;
    const int threads = plb_loss_threads(call, job, job->rows);
    poslabel_status status = plb_workspace(call, plb_loss_memory(job, threads), &memory);
    if (status != POSLABEL_OK || (status = plb_loss_begin(&run, call, job, threads, memory)) != POSLABEL_OK)
        return status;
    if (job->grad_logits.data || !run.counts) { /* else the filter's pass has made the losses */
        forget_blocks(&run);
        plb_loss_pass(&run, 0, job->rows, NULL);
    }
    plb_loss_end(&run);
    return POSLABEL_OK;
}
