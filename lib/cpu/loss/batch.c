/*
 * What the row-loss engine reads of each row: where it is, its label and its weight.
 *
 * The usual layouts have loops of their own here, for a kernel takes no more than some ten nanoseconds a row.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/engine.h"

#include <float.h>
#include <poslabel/loss.h>

bool plb_loss_bad_id(const plb_loss_job *job, int64_t r)
{
    if (!job->ids.data)
        return false;
    const int64_t id = plb_load_id(plb_row(&job->ids, r), job->ids.dtype);
    return (id < 0 || id >= job->classes) && !(job->has_ignore_index && id == job->ignore_index);
}

static bool row_is_bad(const plb_loss_job *job, int64_t r)
{
    if (plb_loss_bad_id(job, r))
        return true;
    if (!job->weights.data)
        return false;
    const double weight = plb_load_number(plb_row(&job->weights, r), job->weights.dtype);
    return !(weight >= 0 && weight <= DBL_MAX);
}

/* The rows of an argument as a loop reads them: evenly spaced, of a type that it knows. */
typedef struct even_rows {
    char *at;
    int64_t step;
} even_rows;

static bool are_even(const plb_rows *rows, int64_t first, int64_t count, plb_dtype dtype, even_rows *even)
{
    return rows->dtype == dtype && plb_even_rows(rows, first, count, &even->at, &even->step);
}

static int64_t id_at(const even_rows *ids, int64_t k)
{
    return *(const int64_t *)(void *)(ids->at + k * ids->step);
}

static void mask_weights(const plb_loss_job *job, int64_t first, int count, double *weight)
{
    even_rows mask;
    if (are_even(&job->mask, first, count, PLB_U8, &mask) || are_even(&job->mask, first, count, PLB_BOOL, &mask))
        for (int k = 0; k < count; k++)
            weight[k] = mask.at[k * mask.step] ? 1 : 0;
    else
        for (int k = 0; k < count; k++)
            weight[k] = plb_load_number(plb_row(&job->mask, first + k), job->mask.dtype) == 0 ? 0 : 1;
}

static void ignore_weights(const plb_loss_job *job, int64_t first, int count, double *weight)
{
    even_rows ids;
    if (are_even(&job->ids, first, count, PLB_I64, &ids))
        for (int k = 0; k < count; k++)
            weight[k] = id_at(&ids, k) == job->ignore_index ? 0 : weight[k];
    else
        for (int k = 0; k < count; k++)
            if (plb_load_id(plb_row(&job->ids, first + k), job->ids.dtype) == job->ignore_index)
                weight[k] = 0;
}

/* The weights of `count` rows of the arguments; they are known to be allowed. */
static void row_weights(const plb_loss_job *job, int64_t first, int count, double *weight)
{
    for (int k = 0; k < count; k++)
        weight[k] = 1;
    if (job->mask.data)
        mask_weights(job, first, count, weight);
    if (job->has_ignore_index)
        ignore_weights(job, first, count, weight);
    for (int k = 0; job->weights.data && k < count; k++)
        if (weight[k] != 0)
            weight[k] = plb_load_number(plb_row(&job->weights, first + k), job->weights.dtype);
}

/* Whether ids and weights are seen to be allowed at a glance. */
static bool are_allowed(const plb_loss_job *job, int64_t first, int count)
{
    even_rows ids;
    uint64_t outside = 0;
    if (job->weights.data || (job->ids.data && !are_even(&job->ids, first, count, PLB_I64, &ids)))
        return false;
    for (int k = 0; job->ids.data && k < count; k++) {
        const int64_t id = job->has_ignore_index && id_at(&ids, k) == job->ignore_index ? 0 : id_at(&ids, k);
        outside |= (uint64_t)id >= (uint64_t)job->classes;
    }
    return !outside;
}

double plb_loss_weigh(const plb_loss_job *job, int64_t first, int64_t last, int64_t *first_bad)
{
    const bool all_count = !job->mask.data && !job->weights.data && !job->has_ignore_index;
    double sum = 0, weight[PLB_ROW_BATCH];
    for (; first < last; first += PLB_ROW_BATCH) {
        const int count = (int)(last - first < PLB_ROW_BATCH ? last - first : PLB_ROW_BATCH);
        for (int k = are_allowed(job, first, count) ? count : 0; k < count; k++)
            if (row_is_bad(job, first + k)) {
                *first_bad = first + k;
                return 0;
            }
        if (!all_count)
            row_weights(job, first, count, weight);
        for (int k = 0; k < count; k++)
            sum += all_count ? 1 : weight[k];
    }
    return sum;
}

double plb_loss_weight(const plb_loss_run *run, int64_t r)
{
    double weight = run->nothing ? 0 : 1;
    if (!run->nothing && run->has_weights)
        row_weights(run->job, r, 1, &weight);
    return weight;
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

/* A division for each row would be slow: most often a row is the one after the row before. */
static void fill_absolute(const plb_loss_run *run, int32_t *label, int64_t first, int count)
{
    const int64_t n = (int64_t)run->job->grid.height * run->job->grid.width;
    int64_t position = 0, after = -1;
    for (int k = 0; k < count; k++) {
        const int64_t r = plb_loss_row_at(run, first + k);
        position = r == after ? position + 1 : r % n;
        position = position == n ? 0 : position;
        label[k] = (int32_t)position;
        after = r + 1;
    }
}

static void fill_relative(const plb_loss_run *run, int32_t *label, int64_t first, int count)
{
    const int32_t h = run->job->grid.height, w = run->job->grid.width;
    const int64_t n = (int64_t)h * w;
    int64_t from, after = -1;
    int32_t y = 0, x = 0, to_y = 0, to_x = 0;
    for (int k = 0; k < count; k++) {
        const int64_t r = plb_loss_row_at(run, first + k);
        if (r == after && ++to_x == w) {
            to_x = 0;
            to_y++;
        }
        if (r != after || to_y == h) {
            from = r / n % n;
            y = (int32_t)(from / w);
            x = (int32_t)(from % w);
            to_y = (int32_t)(r % n / w);
            to_x = (int32_t)(r % n % w);
        }
        label[k] = (y - to_y + h - 1) * (2 * w - 1) + (x - to_x + w - 1);
        after = r + 1;
    }
}

static void fill_ids(const plb_loss_run *run, int32_t *label, int64_t first, int count)
{
    const plb_rows *const ids = &run->job->ids;
    even_rows even;
    if (!run->rows && are_even(ids, first, count, PLB_I64, &even))
        for (int k = 0; k < count; k++)
            label[k] = (int32_t)id_at(&even, k);
    else
        for (int k = 0; k < count; k++)
            label[k] = (int32_t)plb_load_id(plb_row(ids, plb_loss_row_at(run, first + k)), ids->dtype);
}

static void fill_weights(const plb_loss_run *run, double *weight, int64_t first, int count)
{
    const double all = run->nothing ? 0 : 1;
    if (run->nothing || !run->has_weights)
        for (int k = 0; k < count; k++)
            weight[k] = all;
    else if (run->rows)
        for (int k = 0; k < count; k++)
            row_weights(run->job, plb_loss_row_at(run, first + k), 1, &weight[k]);
    else
        row_weights(run->job, first, count, weight);
    for (int k = 0; run->counts && !run->filter && k < count; k++)
        weight[k] *= run->counts[plb_loss_row_at(run, first + k)];
}

void plb_loss_fill(const plb_loss_run *run, plb_loss_rows *batch, double *weight, int64_t first, int count)
{
    const plb_loss_job *const job = run->job;
    const int64_t at = first - run->first; /* of the logits */
    batch->count = count;
    fill_addresses(&job->logits, at, count, (char **)(void *)batch->logits);
    if (job->grad_logits.data && !run->filter)
        fill_addresses(&job->grad_logits, at, count, (char **)(void *)batch->grad);
    else
        memset(batch->grad, 0, sizeof batch->grad);
    if (job->target == PLB_TARGET_ABSOLUTE)
        fill_absolute(run, batch->label, first, count);
    else if (job->target == PLB_TARGET_RELATIVE)
        fill_relative(run, batch->label, first, count);
    else
        fill_ids(run, batch->label, first, count);
    fill_weights(run, weight, first, count);
    for (int k = 0; k < count; k++) {
        batch->label[k] = weight[k] == 0 ? -1 : batch->label[k];
        batch->scale[k] = run->upstream * weight[k];
    }
    if (job->grad_loss.data && job->reduction == POSLABEL_REDUCTION_NONE && job->grad_loss.count > 1)
        for (int k = 0; k < count; k++)
            batch->scale[k] *=
                plb_load_number(plb_row(&job->grad_loss, plb_loss_row_at(run, first + k)), job->grad_loss.dtype);
}
