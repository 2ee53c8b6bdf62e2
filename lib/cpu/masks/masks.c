/*
 * Masks on the CPU.
 *
 * Threads take equal shares of the images.  A few images are finished before the next are begun: their noise is ranked,
 * or their patches are chosen, and what was asked for is copied out of the orders and the ranks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/ids.h"
#include "cpu/core/kernels.h"
#include "cpu/core/numbers.h"
#include "cpu/core/parallel.h"
#include "cpu/core/scalars.h"
#include "cpu/masks/draws.h"
#include "cpu/masks/ranks.h"
#include "cpu/operations.h"
#include "masks.h"
#include "random.h"

#include <poslabel/masks.h>
#include <stdatomic.h>

typedef struct mask_run {
    const plb_masks_job *job;
    const plb_mask_kernels *kernels;
    uint32_t step;
    char *workspace;
    size_t desk_size; /* bytes of workspace for each thread */
} mask_run;

/* What one thread works with: a few images at a time. */
typedef struct desk {
    const plb_masks_job *job;
    const plb_mask_kernels *kernels;
    uint32_t step;
    plb_ranking rows[PLB_RANK_ROWS];
    int32_t *visible; /* the visible patches of each, for their positions */
    size_t pitch;
    plb_noise_range patch_range, pos_range, shuffle_range;
} desk;

/* As many as the documented workspace has room for. */
static int images_at_a_time(const plb_mask_kernels *kernels, const plb_masks_job *job)
{
    return job->tokens > kernels->sorted ? 1 : job->positions.data ? PLB_RANK_ROWS * 2 / 3 : PLB_RANK_ROWS;
}

/* Of pitch numbers: an order, a rank and, for positions, the visible patches for each image; values. */
static size_t desk_arrays(const plb_mask_kernels *kernels, const plb_masks_job *job)
{
    return (size_t)images_at_a_time(kernels, job) * (job->positions.data ? 3 : 2) + 1;
}

static size_t desk_size(const plb_mask_kernels *kernels, const plb_masks_job *job)
{
    const size_t arrays = desk_arrays(kernels, job) * plb_rank_pitch(job->tokens) * sizeof(int32_t);
    return arrays + (plb_rank_scratch(job->tokens, kernels->sorted) + 63) / 64 * 64;
}

static desk desk_at(const mask_run *run, int thread)
{
    const size_t pitch = plb_rank_pitch(run->job->tokens);
    const int images = images_at_a_time(run->kernels, run->job);
    int32_t *const memory = (int32_t *)(run->workspace + (size_t)thread * run->desk_size);
    desk d = {.job = run->job, .kernels = run->kernels, .step = run->step, .pitch = pitch};
    for (int r = 0; r < images; r++) {
        d.rows[r].order = memory + (size_t)(2 * r + 1) * pitch;
        d.rows[r].rank = memory + (size_t)(2 * r + 2) * pitch;
        d.rows[r].values = memory;
        d.rows[r].scratch = memory + desk_arrays(run->kernels, run->job) * pitch;
    }
    d.visible = memory + (size_t)(2 * images + 1) * pitch;
    return d;
}

static plb_draw draw_of(const desk *d, int64_t image, uint32_t stream)
{
    return plb_draw_of(&d->job->samples, d->job->first_sample, image, d->job->seed, stream, d->step);
}

static void rank_noise(desk *d, const plb_rows *noise, uint32_t stream, plb_noise_range *range, int64_t image,
                       int count, int64_t length, int64_t wanted)
{
    for (int r = 0; r < count; r++) {
        plb_ranking *const row = &d->rows[r];
        row->length = length;
        row->wanted = wanted;
        row->drawn = !noise->data;
        row->noise = row->drawn ? row->values : plb_row(noise, image + r);
        row->dtype = row->drawn ? PLB_I32 : noise->dtype;
        row->draw = draw_of(d, image + r, stream);
    }
    if (length > 0)
        plb_rank(d->kernels, d->rows, count, range);
}

/* Those that were not chosen follow by index.  Their rank is still -1: no branch asks, as its answer is random. */
static void append_removed(plb_ranking *row, int64_t tokens, int64_t keep)
{
    int32_t place = (int32_t)keep;
    for (int64_t n = 0; n < tokens; n++) {
        const int32_t removed = (int32_t)((uint32_t)row->rank[n] >> 31);
        row->rank[n] += (place + 1) & -removed;
        place += removed;
    }
    for (int64_t n = 0; n < tokens; n++)
        row->order[row->rank[n]] = (int32_t)n;
}

/* One patch of each cell of 2 x 2, or of what the border leaves of it. */
static void choose_regular(const desk *d, plb_ranking *row, int64_t image)
{
    const int64_t h = d->job->grid.height, w = d->job->grid.width;
    const plb_draw draw = draw_of(d, image, POSLABEL_STREAM_REGULAR_MASK);
    const uint32_t *word = row->values;
    int32_t place = 0;
    d->kernels->draw_words(&draw, row->values, d->job->keep);
    for (int64_t y = 0; y < h; y += 2)
        for (int64_t x = 0; x < w; x += 2) {
            const uint32_t wide = x + 1 < w, high = y + 1 < h; /* one patch or two on a side */
            const uint32_t choice = plb_random_below(*word++, 1u << (wide + high));
            row->rank[(y + (choice >> wide)) * w + x + (choice & wide)] = place++;
        }
}

/* One square. */
static void choose_block(const desk *d, plb_ranking *row, int64_t image)
{
    const poslabel_grid grid = d->job->grid;
    const int32_t side = d->job->block_side;
    const plb_draw draw = draw_of(d, image, POSLABEL_STREAM_BLOCK_MASK);
    const uint32_t *const words = row->values;
    int32_t place = 0;
    d->kernels->draw_words(&draw, row->values, 2);
    const int64_t top = plb_random_below(words[0], (uint32_t)(grid.height - side) + 1);
    const int64_t left = plb_random_below(words[1], (uint32_t)(grid.width - side) + 1);
    for (int64_t y = top; y < top + side; y++)
        for (int64_t x = left; x < left + side; x++)
            row->rank[y * grid.width + x] = place++;
}

static void store_ids(const desk *d, const plb_rows *ids, int64_t image, const int32_t *from)
{
    if (ids->data)
        d->kernels->store_ids(plb_row(ids, image), ids->dtype, from, ids->length);
}

static void store_mask(const desk *d, const plb_rows *mask, int64_t image, const int32_t *rank, int64_t keep)
{
    if (mask->data)
        d->kernels->store_mask(plb_row(mask, image), mask->dtype, rank, keep, mask->length);
}

static void mask_patches(desk *d, int64_t image, int count)
{
    const plb_masks_job *const job = d->job;
    if (job->patch_mask == POSLABEL_PATCH_MASK_RANDOM)
        rank_noise(d, &job->patch_noise, POSLABEL_STREAM_PATCH_MASK, &d->patch_range, image, count, job->tokens,
                   job->ids_remove.data ? job->tokens : job->keep);
    for (int r = 0; r < count; r++) {
        plb_ranking *const row = &d->rows[r];
        if (job->patch_mask != POSLABEL_PATCH_MASK_RANDOM) {
            memset(row->rank, -1, (size_t)job->tokens * sizeof *row->rank);
            if (job->patch_mask == POSLABEL_PATCH_MASK_REGULAR)
                choose_regular(d, row, image + r);
            else
                choose_block(d, row, image + r);
            append_removed(row, job->tokens, job->keep);
        }
        store_ids(d, &job->ids_keep, image + r, row->order);
        store_ids(d, &job->ids_remove, image + r, row->order + job->keep);
        store_ids(d, &job->ids_restore, image + r, row->rank);
        store_mask(d, &job->mask, image + r, row->rank, job->keep);
        if (job->positions.data)
            memcpy(d->visible + (size_t)r * d->pitch, row->order, (size_t)job->keep * sizeof(int32_t));
    }
}

/* Whose embedding each visible token gets: its own, or that of the one that lost its position before it. */
static void store_positions(const desk *d, int64_t image, const plb_ranking *row, const int32_t *visible)
{
    const int64_t count = d->job->keep, keep = d->job->keep_pos;
    const int32_t *const order = row->order;
    int32_t *const positions = row->scratch;
    const bool pass_on = d->job->wrong_positions && count - keep > 1;
    for (int64_t p = 0; p < keep; p++)
        positions[order[p]] = visible[order[p]];
    for (int64_t p = keep; p < count; p++)
        positions[order[p]] = pass_on ? visible[order[p > keep ? p - 1 : count - 1]] : -1;
    store_ids(d, &d->job->positions, image, positions);
}

static void mask_positions(desk *d, int64_t image, int count)
{
    const plb_masks_job *const job = d->job;
    rank_noise(d, &job->pos_noise, POSLABEL_STREAM_POSITION_MASK, &d->pos_range, image, count, job->keep,
               job->positions.data ? job->keep : job->keep_pos);
    for (int r = 0; r < count; r++) {
        const plb_ranking *const row = &d->rows[r];
        store_ids(d, &job->ids_keep_pos, image + r, row->order);
        store_ids(d, &job->ids_restore_pos, image + r, row->rank);
        store_mask(d, &job->mask_pos, image + r, row->rank, job->keep_pos);
        if (job->positions.data)
            store_positions(d, image + r, row, d->visible + (size_t)r * d->pitch);
    }
}

static void shuffle(desk *d, int64_t image, int count)
{
    const plb_masks_job *const job = d->job;
    rank_noise(d, &job->shuffle_noise, POSLABEL_STREAM_SHUFFLE, &d->shuffle_range, image, count, job->keep, 0);
    for (int r = 0; r < count; r++)
        store_ids(d, &job->places, image + r, d->rows[r].rank);
}

/* An output with something in it. */
static bool is_wanted(const plb_rows *output)
{
    return output->data && output->length > 0;
}

static bool wants_patches(const plb_masks_job *job)
{
    return is_wanted(&job->ids_keep) || is_wanted(&job->ids_remove) || is_wanted(&job->ids_restore) ||
           is_wanted(&job->mask) || is_wanted(&job->positions);
}

static bool wants_positions(const plb_masks_job *job)
{
    return is_wanted(&job->ids_keep_pos) || is_wanted(&job->ids_restore_pos) || is_wanted(&job->mask_pos) ||
           is_wanted(&job->positions);
}

static void make_masks(void *argument, int thread, int threads)
{
    const mask_run *const run = argument;
    const plb_masks_job *const job = run->job;
    const bool patches = wants_patches(job), positions = wants_positions(job), places = is_wanted(&job->places);
    const int most = images_at_a_time(run->kernels, job);
    desk d = desk_at(run, thread);
    int64_t image, end;
    plb_share(job->images, thread, threads, &image, &end);
    for (; image < end; image += most) {
        const int count = end - image < most ? (int)(end - image) : most;
        if (patches)
            mask_patches(&d, image, count);
        if (positions)
            mask_positions(&d, image, count);
        if (places)
            shuffle(&d, image, count);
    }
}

/* The search for a NaN. */
typedef struct nan_check {
    const plb_rows *noise;
    const plb_mask_kernels *kernels;
    _Atomic int64_t first_bad;
} nan_check;

static bool image_has_nan(const nan_check *check, int64_t image)
{
    return check->kernels->has_nan(plb_row(check->noise, image), check->noise->dtype, check->noise->length);
}

static void check_images(void *argument, int thread, int threads)
{
    nan_check *const check = argument;
    const plb_rows *const noise = check->noise;
    int64_t image, end;
    plb_share(noise->count, thread, threads, &image, &end);
    /* rows without gaps are looked through as one */
    if (noise->inner == noise->count && noise->inner_stride == noise->length &&
        !check->kernels->has_nan(plb_row(noise, image), noise->dtype, (end - image) * noise->length))
        return;
    for (; image < end; image++)
        if (image_has_nan(check, image)) {
            int64_t first = atomic_load(&check->first_bad);
            while (image < first && !atomic_compare_exchange_weak(&check->first_bad, &first, image))
                ;
            return;
        }
}

static poslabel_status check_noise(const plb_call *call, const plb_mask_kernels *kernels, const plb_rows *noise)
{
    nan_check check = {.noise = noise, .kernels = kernels};
    if (!noise->data || noise->length == 0)
        return POSLABEL_OK;
    const int size = plb_dtype_size[noise->dtype];
    atomic_init(&check.first_bad, INT64_MAX);
    const size_t bytes = (size_t)(noise->count * noise->length * size);
    plb_parallel(call->context, plb_shared_bytes(noise->count, bytes), check_images, &check);
    const int64_t image = atomic_load(&check.first_bad);
    if (image == INT64_MAX)
        return POSLABEL_OK;
    int64_t n = 0;
    while (!kernels->has_nan(plb_row(noise, image) + n * size, noise->dtype, 1))
        n++;
    return plb_fail(call, POSLABEL_ERROR_INVALID, "%s[%s] is NaN", noise->name,
                    plb_index_text(noise, image, n).data);
}

poslabel_status plb_cpu_masks(const plb_call *call, const plb_masks_job *job)
{
    /* one number is ranked in the time in which some 32 bytes are copied */
    const size_t numbers = plb_size_mul((size_t)job->images, (size_t)job->tokens);
    const size_t work = plb_shared_bytes(job->images, plb_size_mul(numbers, 32));
    const plb_mask_kernels *const kernels = plb_kernels_of(call->context)->masks;
    mask_run run = {.job = job, .kernels = kernels, .step = job->step, .desk_size = desk_size(kernels, job)};
    void *workspace;
    const bool is_empty = job->images == 0 || !(wants_patches(job) || wants_positions(job) || is_wanted(&job->places));
    const size_t threads = is_empty ? 0 : (size_t)plb_parallel_threads(call->context, work);
    PLB_TRY(plb_workspace(call, plb_size_mul(threads, run.desk_size), &workspace));
    PLB_TRY(check_noise(call, kernels, &job->patch_noise));
    PLB_TRY(check_noise(call, kernels, &job->pos_noise));
    PLB_TRY(check_noise(call, kernels, &job->shuffle_noise));
    PLB_TRY(plb_check_ids(call, &job->samples, 0, PLB_SAMPLES));
    PLB_TRY(plb_read_step(call, &job->step_scalar, &run.step));
    if (is_empty)
        return POSLABEL_OK;
    run.workspace = workspace;
    plb_parallel(call->context, work, make_masks, &run);
    return POSLABEL_OK;
}
