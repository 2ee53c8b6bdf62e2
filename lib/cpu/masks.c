/*
 * Masks on the CPU.  SPDX-License-Identifier: Apache-2.0
 *
 * Threads take equal shares of the images.  An image is finished before the next one is begun: its noise is ranked, or its
 * patches are chosen, and what was asked for is copied out of the order and the ranks.
 */
#include "cpu.h"
#include "masks.h"

#include "../random.h"

#include <poslabel/masks.h>
#include <stdatomic.h>

typedef struct mask_run {
    const plb_masks_job *job;
    const plb_mask_kernels *kernels;
    char *workspace;
    size_t desk_size; /* bytes of workspace for each thread */
} mask_run;

/* What one thread works with. */
typedef struct desk {
    const plb_masks_job *job;
    const plb_mask_kernels *kernels;
    plb_ranking ranking;
    int32_t *visible; /* the visible patches, while their ranks are those of their positions */
    plb_noise_range patch_range, pos_range, shuffle_range;
} desk;

static size_t desk_size(int64_t tokens)
{
    const size_t arrays = plb_size_mul(4 * sizeof(int32_t), plb_rank_pitch(tokens));
    return plb_size_add(arrays, (plb_rank_scratch(tokens) + 63) / 64 * 64);
}

static desk desk_at(const mask_run *run, int thread)
{
    const size_t pitch = plb_rank_pitch(run->job->tokens);
    int32_t *const memory = (int32_t *)(run->workspace + (size_t)thread * run->desk_size);
    desk d = {.job = run->job, .kernels = run->kernels, .visible = memory + 3 * pitch};
    d.ranking.order = memory;
    d.ranking.rank = memory + pitch;
    d.ranking.values = memory + 2 * pitch;
    d.ranking.scratch = memory + 4 * pitch;
    return d;
}

static void draw(const desk *d, int64_t image, uint32_t stream, int64_t count, uint32_t *words)
{
    d->kernels->draw_words(d->job->seed, d->job->first_sample + (uint32_t)image, stream, d->job->step, words, count);
}

static void rank_noise(desk *d, const plb_rows *noise, uint32_t stream, plb_noise_range *range, int64_t image,
                       int64_t length)
{
    plb_ranking *const ranking = &d->ranking;
    ranking->length = length;
    if (length == 0)
        return;
    if (noise->data) {
        ranking->noise = plb_row(noise, image);
        ranking->dtype = noise->dtype;
    } else {
        draw(d, image, stream, length, ranking->values);
        ranking->noise = ranking->values;
        ranking->dtype = PLB_I32;
    }
    plb_rank(d->kernels, ranking, range);
}

/* The order of those that stay is settled; the others follow by index.  rank is -1 where a patch was not chosen. */
static void append_removed(plb_ranking *ranking, int64_t tokens, int64_t keep)
{
    int32_t place = (int32_t)keep;
    for (int64_t n = 0; n < tokens; n++)
        if (ranking->rank[n] < 0) {
            ranking->order[place] = (int32_t)n;
            ranking->rank[n] = place++;
        }
}

static void keep_patch(plb_ranking *ranking, int32_t place, int64_t patch)
{
    ranking->order[place] = (int32_t)patch;
    ranking->rank[patch] = place;
}

/* One patch of each cell of 2 x 2, or of what the border leaves of it. */
static void choose_regular(desk *d, int64_t image)
{
    const int64_t h = d->job->grid.height, w = d->job->grid.width;
    const uint32_t *word = d->ranking.values;
    int32_t place = 0;
    draw(d, image, POSLABEL_STREAM_REGULAR_MASK, d->job->keep, d->ranking.values);
    memset(d->ranking.rank, -1, (size_t)d->job->tokens * sizeof(int32_t));
    for (int64_t y = 0; y < h; y += 2)
        for (int64_t x = 0; x < w; x += 2) {
            const uint32_t width = x + 1 < w ? 2 : 1, height = y + 1 < h ? 2 : 1;
            const uint32_t choice = plb_random_below(*word++, width * height);
            keep_patch(&d->ranking, place++, (y + choice / width) * w + x + choice % width);
        }
    append_removed(&d->ranking, d->job->tokens, d->job->keep);
}

/* One square. */
static void choose_block(desk *d, int64_t image)
{
    const poslabel_grid grid = d->job->grid;
    const int32_t side = d->job->block_side;
    const uint32_t *const words = d->ranking.values;
    int32_t place = 0;
    draw(d, image, POSLABEL_STREAM_BLOCK_MASK, 2, d->ranking.values);
    const int64_t top = plb_random_below(words[0], (uint32_t)(grid.height - side) + 1);
    const int64_t left = plb_random_below(words[1], (uint32_t)(grid.width - side) + 1);
    memset(d->ranking.rank, -1, (size_t)d->job->tokens * sizeof(int32_t));
    for (int64_t y = top; y < top + side; y++)
        for (int64_t x = left; x < left + side; x++)
            keep_patch(&d->ranking, place++, y * grid.width + x);
    append_removed(&d->ranking, d->job->tokens, d->job->keep);
}

static void store_ids(const desk *d, const plb_rows *ids, int64_t image, const int32_t *from)
{
    if (ids->data)
        d->kernels->store_ids(plb_row(ids, image), ids->dtype, from, ids->length);
}

static void store_mask(const desk *d, const plb_rows *mask, int64_t image, int64_t keep)
{
    if (mask->data)
        d->kernels->store_mask(plb_row(mask, image), mask->dtype, d->ranking.rank, keep, mask->length);
}

static void mask_patches(desk *d, int64_t image)
{
    const plb_masks_job *const job = d->job;
    if (job->patch_mask == POSLABEL_PATCH_MASK_REGULAR)
        choose_regular(d, image);
    else if (job->patch_mask == POSLABEL_PATCH_MASK_BLOCK)
        choose_block(d, image);
    else
        rank_noise(d, &job->patch_noise, POSLABEL_STREAM_PATCH_MASK, &d->patch_range, image, job->tokens);
    store_ids(d, &job->ids_keep, image, d->ranking.order);
    store_ids(d, &job->ids_remove, image, d->ranking.order + job->keep);
    store_ids(d, &job->ids_restore, image, d->ranking.rank);
    store_mask(d, &job->mask, image, job->keep);
}

/* Whose embedding each visible token gets: its own, or that of the one that lost its position before it. */
static void store_positions(const desk *d, int64_t image)
{
    const int64_t visible = d->job->keep, keep = d->job->keep_pos;
    const int32_t *const order = d->ranking.order;
    int32_t *const positions = d->ranking.scratch;
    const bool pass_on = d->job->wrong_positions && visible - keep > 1;
    for (int64_t p = 0; p < keep; p++)
        positions[order[p]] = d->visible[order[p]];
    for (int64_t p = keep; p < visible; p++)
        positions[order[p]] = pass_on ? d->visible[order[p > keep ? p - 1 : visible - 1]] : -1;
    store_ids(d, &d->job->positions, image, positions);
}

static void mask_positions(desk *d, int64_t image)
{
    const plb_masks_job *const job = d->job;
    if (job->positions.data)
        memcpy(d->visible, d->ranking.order, (size_t)job->keep * sizeof(int32_t));
    rank_noise(d, &job->pos_noise, POSLABEL_STREAM_POSITION_MASK, &d->pos_range, image, job->keep);
    store_ids(d, &job->ids_keep_pos, image, d->ranking.order);
    store_ids(d, &job->ids_restore_pos, image, d->ranking.rank);
    store_mask(d, &job->mask_pos, image, job->keep_pos);
    if (job->positions.data)
        store_positions(d, image);
}

static void make_masks(void *argument, int thread, int threads)
{
    const mask_run *const run = argument;
    const plb_masks_job *const job = run->job;
    const bool patches = job->ids_keep.data || job->ids_remove.data || job->ids_restore.data || job->mask.data ||
                         job->positions.data;
    const bool positions =
        job->ids_keep_pos.data || job->ids_restore_pos.data || job->mask_pos.data || job->positions.data;
    desk d = desk_at(run, thread);
    int64_t image, end;
    plb_share(job->images, thread, threads, &image, &end);
    for (; image < end; image++) {
        if (patches)
            mask_patches(&d, image);
        if (positions)
            mask_positions(&d, image);
        if (job->places.data) {
            rank_noise(&d, &job->shuffle_noise, POSLABEL_STREAM_SHUFFLE, &d.shuffle_range, image, job->keep);
            store_ids(&d, &job->places, image, d.ranking.rank);
        }
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
    plb_parallel(call->context, (size_t)(noise->count * noise->length * size), check_images, &check);
    const int64_t image = atomic_load(&check.first_bad);
    if (image == INT64_MAX)
        return POSLABEL_OK;
    int64_t n = 0;
    while (!kernels->has_nan(plb_row(noise, image) + n * size, noise->dtype, 1))
        n++;
    return plb_fail(call, POSLABEL_ERROR_INVALID, "%s[%lld, %lld] is NaN", noise->name, (long long)image, (long long)n);
}

poslabel_status plb_cpu_masks(const plb_call *call, const plb_masks_job *job)
{
    /* one number is ranked in the time in which some 32 bytes are copied */
    const size_t work = plb_size_mul(plb_size_mul((size_t)job->images, (size_t)job->tokens), 32);
    mask_run run = {
        .job = job,
        .kernels = &plb_cpu_simd(call->context)->masks,
        .desk_size = desk_size(job->tokens),
    };
    if (job->images == 0)
        return POSLABEL_OK;
    void *workspace;
    const size_t threads = (size_t)plb_parallel_threads(call->context, work);
    poslabel_status status = plb_workspace(call, plb_size_mul(threads, run.desk_size), &workspace);
    if (status == POSLABEL_OK)
        status = check_noise(call, run.kernels, &job->patch_noise);
    if (status == POSLABEL_OK)
        status = check_noise(call, run.kernels, &job->pos_noise);
    if (status == POSLABEL_OK)
        status = check_noise(call, run.kernels, &job->shuffle_noise);
    if (status != POSLABEL_OK)
        return status;
    run.workspace = workspace;
    plb_parallel(call->context, work, make_masks, &run);
    return POSLABEL_OK;
}
