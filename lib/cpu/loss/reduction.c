/*
 * From the losses of rows to one loss: weights, normaliser, upstream gradient, sums.
 *
 * The usual layouts have loops of their own here, for a kernel takes no more than some ten nanoseconds a row.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/reduction.h"

#include "cpu/core/numbers.h"
#include "cpu/core/parallel.h"

#include <float.h>
#include <math.h>

enum { MOST_BLOCKS = 4096 };

static const plb_block_sums no_sums = {0, 0, 0, -1};

static int64_t block_rows_of(int64_t rows)
{
    return ((rows + MOST_BLOCKS - 1) / MOST_BLOCKS + PLB_ROW_BATCH - 1) / PLB_ROW_BATCH * PLB_ROW_BATCH;
}

static int64_t blocks_of(int64_t rows)
{
    return rows ? (rows + block_rows_of(rows) - 1) / block_rows_of(rows) : 0;
}

size_t plb_reduction_memory(const plb_reduction *reduction)
{
    return plb_size_mul((size_t)blocks_of(reduction->rows), sizeof(plb_block_sums));
}

static void mask_weights(const plb_rows *mask, int64_t first, int count, double *weight)
{
    char *at;
    int64_t step;
    if ((mask->dtype == PLB_U8 || mask->dtype == PLB_BOOL) && plb_even_rows(mask, first, count, &at, &step))
        for (int k = 0; k < count; k++)
            weight[k] = at[k * step] ? 1 : 0;
    else
        for (int k = 0; k < count; k++)
            weight[k] = plb_load_number(plb_row(mask, first + k), mask->dtype) == 0 ? 0 : 1;
}

/* The weights of `count` rows of the arguments, whether they are allowed or not, in the unit of the run. */
static void weigh(const plb_reduction_run *run, int64_t first, int count, double *weight)
{
    const plb_rows *const mask = &run->reduction->mask, *const weights = &run->reduction->weights;
    for (int k = 0; k < count; k++)
        weight[k] = 1;
    if (mask->data)
        mask_weights(mask, first, count, weight);
    if (run->check && run->check->ignore)
        run->check->ignore(run->check->argument, first, count, weight);
    for (int k = 0; weights->data && k < count; k++)
        if (weight[k] != 0)
            weight[k] = plb_load_number(plb_row(weights, first + k), weights->dtype);
    for (int k = 0; run->unit != 1 && k < count; k++)
        weight[k] *= run->unit;
}

/* The first of the rows that counts and has a weight that is not allowed, or -1. */
static int64_t find_bad_weight(const plb_rows *weights, int64_t first, int count, const double *weight)
{
    for (int k = 0; weights->data && k < count; k++)
        if (!(weight[k] >= 0 && weight[k] <= DBL_MAX))
            return first + k;
    return -1;
}

/* The first of the rows that counts and is not allowed, or -1.  A row that does not count may hold anything. */
static int64_t find_bad(const plb_reduction_run *run, int64_t first, int count, const double *weight)
{
    const int64_t bad = find_bad_weight(&run->reduction->weights, first, count, weight);
    const int before = bad < 0 ? count : (int)(bad - first);
    const int64_t bad_row = run->check ? run->check->first_bad(run->check->argument, first, before, weight) : -1;
    return bad_row >= 0 ? bad_row : bad;
}

/* The sums of one block, of which only the weights are known. */
static plb_block_sums weigh_block(const plb_reduction_run *run, int64_t first, int64_t last)
{
    plb_block_sums sums = no_sums;
    double weight[PLB_ROW_BATCH];
    for (; first < last; first += PLB_ROW_BATCH) {
        const int count = (int)(last - first < PLB_ROW_BATCH ? last - first : PLB_ROW_BATCH);
        if (run->has_weights)
            weigh(run, first, count, weight);
        sums.first_bad = find_bad(run, first, count, run->has_weights ? weight : NULL);
        if (sums.first_bad >= 0)
            break;
        if (run->reduction->weights.data) {
            for (int k = 0; k < count; k++)
                sums.weight += weight[k];
        } else {
            int rows_that_count = run->has_weights ? 0 : count; /* no order of addition to keep */
            for (int k = 0; run->has_weights && k < count; k++)
                rows_that_count += weight[k] != 0;
            sums.weight += rows_that_count;
        }
    }
    return sums;
}

static void weigh_blocks(void *argument, int thread, int threads)
{
    const plb_reduction_run *const run = argument;
    const int64_t rows = run->reduction->rows;
    int64_t begin, end;
    plb_share(run->blocks, thread, threads, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * run->block_rows;
        run->sums[b] = weigh_block(run, first, first + run->block_rows < rows ? first + run->block_rows : rows);
    }
}

static plb_block_sums add_blocks(const plb_reduction_run *run)
{
    plb_block_sums all = no_sums;
    for (int64_t b = 0; b < run->blocks; b++) {
        all.weight += run->sums[b].weight;
        all.loss += run->sums[b].loss;
        all.correct += run->sums[b].correct;
        if (all.first_bad < 0)
            all.first_bad = run->sums[b].first_bad;
    }
    return all;
}

void plb_reduction_clear(const plb_reduction_run *run)
{
    for (int64_t b = 0; b < run->blocks; b++)
        run->sums[b] = no_sums;
}

static poslabel_status report(const plb_reduction_run *run, int64_t r)
{
    const plb_rows *const weights = &run->reduction->weights;
    double weight = 1;
    if (weights->data)
        weight = plb_load_number(plb_row(weights, r), weights->dtype);
    if (weight >= 0 && weight <= DBL_MAX)
        return run->check->report(run->call, run->check->argument, r);
    return plb_fail(run->call, POSLABEL_ERROR_INVALID, "weights[%s] = %g, must be >= 0 and finite",
                    plb_index_text(weights, r, 0).data, weight);
}

static double given_normalizer(const plb_reduction *reduction)
{
    return plb_load_number(reduction->normalizer.data, reduction->normalizer.dtype);
}

/*
 * The unit of all weights: 1, unless the normaliser of a mean is so large or small that it overflows, or its inverse
 * does.  A power of two then brings it near 1, and cancels in the mean.
 */
static double unit_of(const plb_reduction *reduction, double weight_sum)
{
    const double normalizer = fabs(reduction->normalizer.data ? given_normalizer(reduction) : weight_sum);
    int exponent;
    if (reduction->kind != POSLABEL_REDUCTION_MEAN || normalizer == 0 ||
        !(normalizer < 0x1p-500 || normalizer > 0x1p500))
        return 1;
    if (normalizer > DBL_MAX)
        return reduction->normalizer.data ? 1 : 0x1p-1000;
    frexp(normalizer, &exponent);
    return ldexp(1, exponent < -1000 ? 1000 : exponent > 1000 ? -1000 : -exponent);
}

/* The normaliser, and the factor of all gradients, from the sum of the weights. */
static void settle(plb_reduction_run *run)
{
    const plb_reduction *const reduction = run->reduction;
    const plb_rows *const grad_loss = &reduction->grad_loss;
    const bool mean = reduction->kind == POSLABEL_REDUCTION_MEAN;
    run->normalizer = reduction->normalizer.data ? given_normalizer(reduction) * run->unit : run->weight_sum;
    run->grad_factor = reduction->grad_scale * (!mean ? 1 : run->normalizer == 0 ? 0 : 1 / run->normalizer);
    if (grad_loss->data && grad_loss->count <= 1 && reduction->rows > 0)
        run->grad_factor *= plb_load_number(grad_loss->data, grad_loss->dtype);
    run->no_row_counts = mean && run->normalizer == 0;
}

poslabel_status plb_reduction_begin(plb_reduction_run *run, const plb_call *call, const plb_reduction *reduction,
                                    const plb_row_check *check, void *memory)
{
    *run = (plb_reduction_run){
        .call = call,
        .reduction = reduction,
        .check = check,
        .block_rows = block_rows_of(reduction->rows),
        .blocks = blocks_of(reduction->rows),
        .sums = memory,
        .has_weights = reduction->mask.data || reduction->weights.data || (check && check->ignore),
        .weight_sum = (double)reduction->rows,
        .unit = 1,
    };
    if (run->has_weights || check) {
        plb_parallel(call->context, (size_t)reduction->rows * 16, weigh_blocks, run);
        const plb_block_sums all = add_blocks(run);
        if (all.first_bad >= 0)
            return report(run, all.first_bad);
        run->weight_sum = all.weight;
        if (!reduction->weights.data && all.weight == (double)reduction->rows)
            run->has_weights = false; /* nothing is masked or ignored */
    }
    run->unit = unit_of(reduction, run->weight_sum);
    if (run->unit != 1) {
        run->has_weights = true;
        plb_parallel(call->context, (size_t)reduction->rows * 16, weigh_blocks, run);
        run->weight_sum = add_blocks(run).weight;
    }
    plb_reduction_clear(run);
    settle(run);
    return POSLABEL_OK;
}

void plb_reduction_recount(plb_reduction_run *run)
{
    run->weight_sum = add_blocks(run).weight;
    settle(run);
}

typedef struct row_pass {
    const plb_reduction_run *run;
    int64_t first, count;
    const int64_t *rows;
    int threads;
    plb_reduction_body *body;
    void *argument;
} row_pass;

static void pass_blocks(void *argument, int thread, int threads)
{
    const row_pass *const pass = argument;
    const int64_t block_rows = pass->run->block_rows, end_row = pass->first + pass->count;
    const int64_t first_block = pass->first / block_rows;
    if (thread >= pass->threads)
        return;
    threads = threads < pass->threads ? threads : pass->threads;
    int64_t begin, end;
    plb_share((end_row + block_rows - 1) / block_rows - first_block, thread, threads, &begin, &end);
    for (int64_t b = first_block + begin; b < first_block + end; b++) {
        const int64_t first = b * block_rows > pass->first ? b * block_rows : pass->first;
        const int64_t last = (b + 1) * block_rows < end_row ? (b + 1) * block_rows : end_row;
        plb_block_sums sums = pass->run->sums[b]; /* on the stack: blocks of other threads share its line */
        for (int64_t at = first; at < last; at += PLB_ROW_BATCH) {
            const int count = (int)(last - at < PLB_ROW_BATCH ? last - at : PLB_ROW_BATCH);
            const plb_row_list list = {at, pass->rows ? pass->rows + (at - pass->first) : NULL};
            pass->body(pass->argument, thread, &list, count, &sums);
        }
        pass->run->sums[b] = sums;
    }
}

void plb_reduction_pass(plb_reduction_run *run, int64_t first, int64_t count, const int64_t *rows, int threads,
                        size_t bytes, plb_reduction_body *body, void *argument)
{
    row_pass pass = {run, first, count, rows, threads, body, argument};
    if (!count)
        return; /* there may be no blocks to divide by */
    const int64_t blocks = (first + count - 1) / run->block_rows - first / run->block_rows + 1;
    plb_parallel(run->call->context, plb_shared_bytes(blocks, bytes), pass_blocks, &pass);
}

void plb_reduction_weigh(const plb_reduction_run *run, const plb_row_list *list, int count, double *weight)
{
    if (run->no_row_counts || !run->has_weights)
        for (int k = 0; k < count; k++)
            weight[k] = run->no_row_counts ? 0 : 1;
    else if (list->rows)
        for (int k = 0; k < count; k++)
            weigh(run, list->rows[k], 1, &weight[k]);
    else
        weigh(run, list->first, count, weight);
}

void plb_reduction_scale(const plb_reduction_run *run, const plb_row_list *list, int count, const double *weight,
                         double *scale)
{
    const plb_rows *const grad_loss = &run->reduction->grad_loss;
    for (int k = 0; k < count; k++)
        scale[k] = run->grad_factor * weight[k];
    if (grad_loss->data && run->reduction->kind == POSLABEL_REDUCTION_NONE && grad_loss->count > 1)
        for (int k = 0; k < count; k++)
            scale[k] *= plb_load_number(plb_row(grad_loss, plb_row_at(list, k)), grad_loss->dtype);
}

void plb_reduction_add(const plb_reduction_run *run, plb_block_sums *sums, const plb_row_list *list, int count,
                       const double *weight, double *loss, const bool *correct)
{
    const plb_rows *const losses = &run->reduction->loss;
    double loss_sum = sums->loss, correct_sum = sums->correct; /* the compiler cannot know that they fit registers */
    for (int k = 0; k < count; k++) {
        loss[k] = weight[k] == 0 ? 0 : weight[k] * loss[k];
        loss_sum += loss[k];
    }
    for (int k = 0; correct && k < count; k++)
        correct_sum += correct[k] ? weight[k] : 0;
    sums->loss = loss_sum;
    sums->correct = correct_sum;
    if (losses->data && run->reduction->kind == POSLABEL_REDUCTION_NONE)
        for (int k = 0; k < count; k++)
            plb_store_number(plb_row(losses, plb_row_at(list, k)), losses->dtype, loss[k]);
}

static void store_scalar(const plb_rows *scalar, double value)
{
    if (scalar->data)
        plb_store_number(scalar->data, scalar->dtype, value);
}

void plb_reduction_end(const plb_reduction_run *run)
{
    const plb_reduction *const reduction = run->reduction;
    const plb_block_sums all = add_blocks(run);
    if (reduction->kind == POSLABEL_REDUCTION_MEAN)
        store_scalar(&reduction->loss, run->normalizer == 0 ? 0 : all.loss / run->normalizer);
    if (reduction->kind == POSLABEL_REDUCTION_SUM)
        store_scalar(&reduction->loss, all.loss);
    store_scalar(&reduction->accuracy, run->normalizer == 0 ? 0 : all.correct / run->normalizer);
    store_scalar(&reduction->weight_sum, run->weight_sum / run->unit);
    store_scalar(&reduction->flags, run->normalizer == 0 ? POSLABEL_LOSS_EMPTY : 0);
}
