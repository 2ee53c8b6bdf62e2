/*
 * Cross-entropy of rows of logits: batches and threads around the kernels.
 *
 * A call makes up to three passes: a check of ids and weights that also sums the weights (without logits, and skipped
 * when both are implied); for the confidence filter, the losses; and the losses with their gradients.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/cross_entropy.h"

#include "cpu/core/kernels.h"
#include "cpu/core/parallel.h"
#include "cpu/core/scalars.h"
#include "cpu/operations.h"
#include "labels.h"

#include <poslabel/labels.h>
#include <string.h>

/*
 * Bytes between what one thread writes and another writes or reads all the time.  Prefetchers run that far ahead, and
 * take lines from the thread that they belong to: a line or four between them are not enough.
 */
enum { GAP = 2048 };

/* The bytes of `rows` rows of logits. */
static size_t logits_bytes(const plb_cross_entropy_plan *plan, int64_t rows)
{
    return (size_t)rows * (size_t)plan->targets->classes * plb_dtype_size[plan->dtype];
}

/* Whether targets are kept as rows of numbers: of all positions at once, or in tables. */
static bool has_rows(const plb_cross_entropy_plan *plan, int normalization)
{
    const plb_targets *const targets = plan->targets;
    return targets->kind == PLB_TARGET_GAUSSIAN && plan->dtype != PLB_F64 &&
           targets->classes <= PLB_MOST_TABLE_CLASSES && targets->normalization == normalization &&
           (normalization == POSLABEL_NORMALIZATION_REFERENCE || plb_gaussian_has_rows(targets->grid));
}

static bool has_table(const plb_cross_entropy_plan *plan)
{
    return has_rows(plan, POSLABEL_NORMALIZATION_REFERENCE);
}

/* A batch, in whole lines. */
static size_t batch_size(void)
{
    return (sizeof(plb_loss_rows) + 63) / 64 * 64;
}

/* Whether threads keep windows of Gaussian targets. */
static bool has_windows(const plb_cross_entropy_plan *plan)
{
    return plan->targets->kind == PLB_TARGET_GAUSSIAN && !has_rows(plan, POSLABEL_NORMALIZATION_ROW);
}

/* The bytes that say which windows and which rows of the table are there. */
static size_t flags_size(const plb_cross_entropy_plan *plan)
{
    const size_t rows = has_table(plan) ? (size_t)plan->targets->classes : 0;
    return has_windows(plan) ? 2 * PLB_MOST_WINDOWS + rows : 0;
}

/*
 * Cuts up a thread's scratch, unless `batch` is NULL, and gives its size: the batch itself, exponentials, windows,
 * table, flags.  The batch is not on the stack, for there are processors that find a line in the L1 cache by a hash of
 * its address: of two lines far apart, each may put the other out.
 */
static size_t cut_scratch(const plb_cross_entropy_plan *plan, plb_loss_rows *batch)
{
    const int64_t classes = plan->targets->classes;
    const poslabel_grid grid = plan->targets->grid;
    const size_t exponentials = plb_loss_scratch(classes), table = has_table(plan) ? plb_loss_table_floats(classes) : 0;
    const size_t y = has_windows(plan) ? plb_loss_window_floats(grid.height) : 0;
    const size_t x = has_windows(plan) ? plb_loss_window_floats(grid.width) : 0;
    if (batch) {
        char *const scratch = (char *)batch + batch_size();
        batch->scratch = (float *)(void *)scratch;
        batch->y.factors = (float *)(void *)(scratch + exponentials);
        batch->x.factors = batch->y.factors + y;
        batch->table = table ? batch->x.factors + x : NULL;
        batch->y.has = (uint8_t *)(batch->x.factors + x + table);
        batch->x.has = batch->y.has + PLB_MOST_WINDOWS;
        batch->has_row = batch->x.has + PLB_MOST_WINDOWS;
    }
    const size_t floats = plb_size_mul(plb_size_add(plb_size_add(y, x), table), sizeof(float));
    return plb_size_add(plb_size_add(batch_size(), exponentials), plb_size_add(floats, flags_size(plan)));
}

static plb_loss_rows *batch_of(const plb_cross_entropy *run, int thread)
{
    return (plb_loss_rows *)(void *)(run->scratch + (size_t)thread * run->scratch_size);
}

/* Weighs the rows that the model is already sure of with 0, and adds up the weights of the others. */
static void filter_batch(const plb_cross_entropy *run, const plb_loss_rows *batch, double *weight, int64_t first,
                         plb_block_sums *sums)
{
    for (int k = 0; k < batch->count; k++) {
        run->counts[first + k] = !batch->confident[k];
        weight[k] *= run->counts[first + k];
        sums->weight += weight[k];
    }
}

/* The addresses of `count` rows from `first` on. */
static void fill_addresses(const plb_rows *rows, int64_t first, int count, char **to)
{
    char *at;
    int64_t step;
    if (plb_even_rows(rows, first, count, &at, &step))
        for (int k = 0; k < count; k++)
            to[k] = at + k * step;
    else
        for (int k = 0; k < count; k++)
            to[k] = plb_row(rows, first + k);
}

/* Fills a batch, and its weights, with the rows of `list`. */
static void fill_batch(const plb_cross_entropy *run, plb_loss_rows *batch, double *weight, const plb_row_list *list,
                       int count)
{
    const plb_targets *const targets = run->plan.targets;
    const int64_t at = list->first - run->first; /* of the logits of this pass */
    batch->classes = targets->classes;
    batch->gaussian = targets->kind == PLB_TARGET_GAUSSIAN ? &run->gaussian : NULL;
    batch->base = targets->label_smoothing / (double)targets->classes;
    batch->peak = 1 - targets->label_smoothing;
    batch->stream = run->stream;
    batch->filter = run->filter;
    batch->accuracy = run->plan.reduction->accuracy.data != NULL;
    batch->count = count;
    fill_addresses(&run->logits, at, count, (char **)(void *)batch->logits);
    if (run->grad_logits.data)
        fill_addresses(&run->grad_logits, at, count, (char **)(void *)batch->grad);
    else
        memset(batch->grad, 0, sizeof batch->grad);
    plb_targets_labels(targets, list, count, batch->label);
    plb_reduction_weigh(&run->reduction, list, count, weight);
    for (int k = 0; run->counts && !run->filter && k < count; k++)
        weight[k] *= run->counts[plb_row_at(list, k)];
    for (int k = 0; k < count; k++)
        batch->label[k] = weight[k] == 0 ? -1 : batch->label[k];
    plb_reduction_scale(&run->reduction, list, count, weight, batch->scale);
}

static void loss_batch(void *argument, int thread, const plb_row_list *list, int count, plb_block_sums *sums)
{
    const plb_cross_entropy *const run = argument;
    double weight[PLB_ROW_BATCH];
    plb_loss_rows *const batch = batch_of(run, thread);
    cut_scratch(&run->plan, batch);
    fill_batch(run, batch, weight, list, count);
    run->kernel(batch);
    if (run->filter)
        filter_batch(run, batch, weight, list->first, sums);
    plb_reduction_add(&run->reduction, sums, list, count, weight, batch->loss,
                      batch->accuracy ? batch->correct : NULL);
}

static size_t pass_traffic(const plb_cross_entropy_plan *plan, int64_t rows)
{
    return plan->has_gradient ? 2 * logits_bytes(plan, rows) : logits_bytes(plan, rows);
}

/* Cuts the memory up, unless it is NULL, and gives its size: what must be aligned to a line comes first. */
static size_t cut_memory(plb_cross_entropy *run, int threads, char *memory, char **sums)
{
    const plb_cross_entropy_plan *const plan = &run->plan;
    const plb_targets *const targets = plan->targets;
    const bool is_soft = targets->kind == PLB_TARGET_GAUSSIAN && plan->reduction->rows > 0;
    run->scratch_size = plb_size_add(cut_scratch(plan, NULL), 63 + GAP) / 64 * 64;
    const size_t scratch = plb_size_mul((size_t)threads, run->scratch_size);
    run->threads = threads;
    const size_t blocks = plb_reduction_memory(plan->reduction);
    const bool is_ready = is_soft && has_rows(plan, POSLABEL_NORMALIZATION_ROW);
    const size_t ready = is_ready ? (plb_gaussian_rows_size(targets->grid) + 63) / 64 * 64 : 0;
    const size_t factors = is_soft ? ready + plb_size_add(plb_gaussian_size(targets->grid), 63 + GAP) / 64 * 64 : 0;
    const size_t counts = plan->confidence_filter ? (size_t)plan->reduction->rows : 0;
    if (memory) {
        if (is_soft)
            plb_gaussian_fill(&run->gaussian, targets->grid, targets->sigma, targets->normalization, memory + ready);
        if (ready)
            plb_gaussian_fill_rows(&run->gaussian, memory);
        run->scratch = memory + factors;
        *sums = run->scratch + scratch;
        run->counts = plan->confidence_filter ? (uint8_t *)(*sums + blocks) : NULL;
    }
    return plb_size_add(plb_size_add(scratch, blocks), plb_size_add(factors, counts));
}

size_t plb_cross_entropy_memory(const plb_cross_entropy_plan *plan, int threads)
{
    plb_cross_entropy run = {.plan = *plan};
    return cut_memory(&run, threads, NULL, NULL);
}

int plb_cross_entropy_threads(const plb_call *call, const plb_cross_entropy_plan *plan, int64_t rows)
{
    const int64_t batches = (rows + PLB_ROW_BATCH - 1) / PLB_ROW_BATCH; /* as many as blocks, or more */
    return rows ? plb_parallel_threads(call->context, plb_shared_bytes(batches, pass_traffic(plan, rows))) : 0;
}

poslabel_status plb_cross_entropy_begin(plb_cross_entropy *run, const plb_call *call,
                                        const plb_cross_entropy_plan *plan, int threads, void *memory)
{
    *run = (plb_cross_entropy){
        .call = call,
        .plan = *plan,
        .check = plb_targets_check(plan->targets),
        .kernel = plb_kernels_of(call->context)->loss->rows[plan->dtype],
    };
    char *sums = NULL;
    cut_memory(run, threads, memory, &sums);
    for (int t = 0; has_windows(plan) && t < threads; t++) {
        cut_scratch(plan, batch_of(run, t));
        memset(batch_of(run, t)->y.has, 0, flags_size(plan));
    }
    return plb_reduction_begin(&run->reduction, call, plan->reduction, plan->targets->ids.data ? &run->check : NULL,
                               sums);
}

void plb_cross_entropy_pass(plb_cross_entropy *run, const plb_rows *logits, const plb_rows *grad_logits, int64_t first,
                            int64_t count, const int64_t *rows)
{
    const size_t bytes = logits_bytes(&run->plan, count);
    run->logits = *logits;
    run->grad_logits = *grad_logits;
    run->first = first;
    run->stream = grad_logits->data && !run->plan.in_place && bytes > run->call->context->stream_bytes;
    plb_reduction_pass(&run->reduction, first, count, rows, run->threads, grad_logits->data ? 2 * bytes : bytes,
                       loss_batch, run);
}

void plb_cross_entropy_end(const plb_cross_entropy *run)
{
    plb_reduction_end(&run->reduction);
}

/* Leaves the losses of rows that the model is not yet sure of. */
static void filter_rows(plb_cross_entropy *run, const plb_loss_job *job)
{
    const plb_rows no_gradient = {.data = NULL};
    run->filter = true;
    run->reduction.no_row_counts = false; /* the filter judges a row by its logits */
    plb_cross_entropy_pass(run, &job->logits, &no_gradient, 0, job->reduction.rows, NULL);
    run->filter = false;
    plb_reduction_recount(&run->reduction);
}

poslabel_status plb_cpu_row_loss(const plb_call *call, const plb_loss_job *job)
{
    plb_targets targets = job->targets;
    PLB_TRY(plb_read_sigma(call, &targets.sigma_scalar, &targets.sigma));
    if (targets.kind == PLB_TARGET_GAUSSIAN && !plb_only_asks(call) && !plb_has_neighbours(targets.sigma))
        targets.kind = PLB_TARGET_EXPLICIT;
    const plb_cross_entropy_plan plan = {
        .targets = &targets,
        .reduction = &job->reduction,
        .dtype = job->logits.dtype,
        .has_gradient = job->grad_logits.data != NULL,
        .in_place = job->in_place,
        .confidence_filter = job->confidence_filter,
    };
    plb_cross_entropy run;
    void *memory;
    const int threads = plb_cross_entropy_threads(call, &plan, job->reduction.rows);
    PLB_TRY(plb_workspace(call, plb_cross_entropy_memory(&plan, threads), &memory));
    PLB_TRY(plb_cross_entropy_begin(&run, call, &plan, threads, memory));
    if (plan.confidence_filter)
        filter_rows(&run, job);
    if (plan.has_gradient || !plan.confidence_filter) { /* else the filter's pass has made the losses */
        plb_reduction_clear(&run.reduction);
        plb_cross_entropy_pass(&run, &job->logits, &job->grad_logits, 0, job->reduction.rows, NULL);
    }
    plb_cross_entropy_end(&run);
    return POSLABEL_OK;
}
