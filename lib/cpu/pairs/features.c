/*
 * The features of pairs of cells, and their gradient.
 *
 * A row of pairs is two rows of features side by side, so the pass forward is a list of rows that are copied, and the
 * kernel of token assembly copies them.  On the way back the halves of the rows of grad_pairs are listed by cell.  A
 * cell that is in no pair gets zeros, and one that is in one pair a copy.  For one that is in two token assembly adds
 * two rows, as a token and its embedding, and for one in more a kernel adds them all.  The order is that of the pairs,
 * a before b.
 *
 * Features whose channels lie apart become rows, or are made of rows, a tile of channels of an image at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/columns.h"
#include "cpu/core/ids.h"
#include "cpu/core/kernels.h"
#include "cpu/operations.h"
#include "cpu/tokens/kernels.h"
#include "cpu/tokens/layout.h"
#include "pairs.h"

typedef struct features_run {
    const plb_pair_features_job *job;
    const plb_token_kernels *kernels;
    plb_tiles tiles;
    char *scratch; /* for each thread: a tile; on the way back, lists before it */
    size_t scratch_size, lists_size;
    bool stream;
} features_run;

static size_t whole_lines(size_t bytes)
{
    return plb_size_add(bytes, 63) / 64 * 64;
}

/* Cell `side` (0: a, 1: b) of pair i. */
static int64_t cell_of(const plb_pair_features_job *job, int64_t image, int64_t i, int side)
{
    const plb_dtype dtype = job->cells.dtype;
    return plb_load_id(plb_row(&job->cells, image * job->pairs + i) + side * plb_dtype_size[dtype], dtype);
}

/* What is done for `channels` channels of one image from `channel` on. */
typedef struct features_part {
    int64_t image, channel, channels;
    char *features; /* of the image, from that channel on: the caller's, or a tile */
    int64_t step;
} features_part;

/* Half `side` of row i of pairs, from the channel on. */
static char *half_of(const plb_pair_features_job *job, const features_part *part, int64_t i, int side)
{
    return plb_row(&job->rows, part->image * job->pairs + i) +
           (side * job->channels + part->channel) * plb_dtype_size[job->rows.dtype];
}

static void flush_rows(const features_run *run, plb_token_rows *batch)
{
    if (batch->count)
        run->kernels->rows[run->job->rows.dtype](batch);
    batch->count = 0;
}

static void copy_pairs(const features_run *run, plb_token_rows *batch, const features_part *part, int64_t first,
                       int64_t last)
{
    const plb_pair_features_job *const job = run->job;
    for (int64_t i = first; i < last; i++)
        for (int side = 0; side < 2; side++) {
            batch->token[batch->count] = part->features + cell_of(job, part->image, i, side) * part->step;
            batch->embedding[batch->count] = NULL;
            batch->x[batch->count++] = half_of(job, part, i, side);
            if (batch->count == PLB_TOKEN_BATCH)
                flush_rows(run, batch);
        }
}

/* Threads take equal shares of the pairs. */
static void gather_rows(void *argument, int thread, int threads)
{
    const features_run *const run = argument;
    const plb_pair_features_job *const job = run->job;
    plb_token_rows batch = {.channels = job->channels, .stream = run->stream};
    features_part part = {.channels = job->channels};
    int64_t row, end;
    plb_share(job->images * job->pairs, thread, threads, &row, &end);
    while (row < end) {
        part.image = row / job->pairs;
        const int64_t first = row % job->pairs, left = end - part.image * job->pairs;
        const int64_t last = left < job->pairs ? left : job->pairs;
        part.features = plb_image_rows(&job->features, part.image, job->tokens, &part.step);
        copy_pairs(run, &batch, &part, first, last);
        row += last - first;
    }
    flush_rows(run, &batch);
}

/* Tile number `tile` of all images' tiles; `memory` is where it lies if channels lie apart. */
static features_part part_of(const features_run *run, int64_t tile, char *memory)
{
    const plb_pair_features_job *const job = run->job;
    features_part part = {.image = tile / run->tiles.count, .channel = tile % run->tiles.count * run->tiles.channels};
    const int64_t left = job->channels - part.channel;
    part.channels = left < run->tiles.channels ? left : run->tiles.channels;
    part.features = memory;
    part.step = run->tiles.pitch;
    if (!plb_has_columns(&job->features))
        part.features = plb_image_rows(&job->features, part.image, job->tokens, &part.step);
    return part;
}

/* Where the first of these channels of the image lies. */
static char *columns_of(const plb_pair_features_job *job, const features_part *part)
{
    int64_t step;
    return plb_image_rows(&job->features, part->image, job->tokens, &step) +
           part->channel * job->features.element_stride * plb_dtype_size[job->features.dtype];
}

static void gather_tiles(void *argument, int thread, int threads)
{
    const features_run *const run = argument;
    const plb_pair_features_job *const job = run->job;
    plb_token_rows batch = {.stream = run->stream};
    int64_t tile, end;
    plb_share(job->images * run->tiles.count, thread, threads, &tile, &end);
    for (; tile < end; tile++) {
        const features_part part = part_of(run, tile, run->scratch + (size_t)thread * run->scratch_size);
        plb_load_columns(part.features, part.step, &job->features, columns_of(job, &part), job->tokens, part.channels);
        batch.channels = part.channels;
        copy_pairs(run, &batch, &part, 0, job->pairs);
        flush_rows(run, &batch); /* before the tile is another's */
    }
}

/* Of all features and all pairs. */
static size_t feature_bytes(const plb_pair_features_job *job)
{
    return (size_t)(job->images * job->tokens * job->channels) * plb_dtype_size[job->features.dtype];
}

static size_t pair_bytes(const plb_pair_features_job *job)
{
    return (size_t)(job->images * job->pairs * 2 * job->channels) * plb_dtype_size[job->rows.dtype];
}

poslabel_status plb_cpu_pair_features(const plb_call *call, const plb_pair_features_job *job)
{
    const size_t bytes = pair_bytes(job), ids = plb_ids_bytes(job->images, 2 * job->pairs);
    const bool columns = plb_has_columns(&job->features);
    const size_t traffic = bytes + (columns ? feature_bytes(job) : bytes);
    const size_t threads = (size_t)plb_parallel_threads(call->context, ids > traffic ? ids : traffic);
    features_run run = {
        .job = job,
        .kernels = plb_kernels_of(call->context)->tokens,
        .tiles = plb_tiles_of(&job->features, job->tokens, job->channels),
        .stream = bytes > call->context->stream_bytes,
    };
    run.scratch_size = whole_lines(run.tiles.bytes);
    void *workspace;
    PLB_TRY(plb_workspace(call, plb_size_mul(threads, run.scratch_size), &workspace));
    PLB_TRY(plb_check_ids(call, &job->cells, 0, job->tokens));
    if (bytes == 0)
        return POSLABEL_OK;
    run.scratch = workspace;
    plb_parallel(call->context, traffic, columns ? gather_tiles : gather_rows, &run);
    return POSLABEL_OK;
}

/* ---- the gradient ---- */

/* The halves of the rows of grad_pairs by cell: first[n], then next[k] until -1; half k is side k % 2 of pair k / 2. */
typedef struct pair_lists {
    const void **halves; /* room for those of one cell */
    int32_t *first, *next;
} pair_lists;

static pair_lists lists_at(const plb_pair_features_job *job, char *memory)
{
    const void **const halves = (const void **)memory;
    int32_t *const first = (int32_t *)(halves + 2 * job->pairs);
    return (pair_lists){halves, first, first + job->tokens};
}

static size_t lists_size(const plb_pair_features_job *job)
{
    const size_t numbers = (size_t)(job->tokens + 2 * job->pairs) * sizeof(int32_t);
    return whole_lines((size_t)(2 * job->pairs) * sizeof(void *) + numbers);
}

static void list_image(const plb_pair_features_job *job, const pair_lists *lists, int64_t image)
{
    for (int64_t n = 0; n < job->tokens; n++)
        lists->first[n] = -1;
    for (int64_t k = 2 * job->pairs - 1; k >= 0; k--) { /* so that each list ascends */
        const int64_t n = cell_of(job, image, k / 2, (int)(k % 2));
        lists->next[k] = lists->first[n];
        lists->first[n] = (int32_t)k;
    }
}

/* What a thread has collected for the kernels: copies and sums of two, and zeros. */
typedef struct scatter_walk {
    const features_run *run;
    plb_token_rows rows;
    plb_token_grads zeros;
} scatter_walk;

static void flush_walk(scatter_walk *walk)
{
    flush_rows(walk->run, &walk->rows);
    plb_flush_grads(walk->run->kernels->grads[walk->run->job->rows.dtype], &walk->zeros);
}

static void scatter_cell(scatter_walk *walk, const features_part *part, const pair_lists *lists, int64_t n)
{
    const plb_pair_features_job *const job = walk->run->job;
    const plb_token_kernels *const kernels = walk->run->kernels;
    const plb_dtype dtype = job->rows.dtype;
    char *const to = part->features + n * part->step;
    int64_t count = 0;
    for (int32_t k = lists->first[n]; k >= 0; k = lists->next[k])
        lists->halves[count++] = half_of(job, part, k / 2, k % 2);
    if (count == 0) {
        plb_push_grad(kernels->grads[dtype], &walk->zeros, NULL, to, NULL);
    } else if (count > 2) {
        kernels->sum_rows[dtype](to, lists->halves, count, part->channels);
    } else {
        plb_token_rows *const rows = &walk->rows;
        rows->token[rows->count] = lists->halves[0];
        rows->embedding[rows->count] = count == 2 ? lists->halves[1] : NULL;
        rows->x[rows->count++] = to;
        if (rows->count == PLB_TOKEN_BATCH)
            flush_rows(walk->run, rows);
    }
}

/* Threads take equal shares of the tiles, of which an image has one unless its channels lie apart. */
static void scatter_tiles(void *argument, int thread, int threads)
{
    const features_run *const run = argument;
    const plb_pair_features_job *const job = run->job;
    char *const scratch = run->scratch + (size_t)thread * run->scratch_size;
    const pair_lists lists = lists_at(job, scratch);
    scatter_walk walk = {.run = run, .rows = {.stream = run->stream}, .zeros = {.stream = run->stream}};
    int64_t tile, end, listed = -1;
    plb_share(job->images * run->tiles.count, thread, threads, &tile, &end);
    for (; tile < end; tile++) {
        const features_part part = part_of(run, tile, scratch + run->lists_size);
        if (part.image != listed)
            list_image(job, &lists, part.image);
        listed = part.image;
        walk.rows.channels = walk.zeros.channels = part.channels;
        for (int64_t n = 0; n < job->tokens; n++)
            scatter_cell(&walk, &part, &lists, n);
        flush_walk(&walk);
        if (plb_has_columns(&job->features))
            plb_store_columns(&job->features, columns_of(job, &part), part.features, part.step, job->tokens,
                              part.channels);
    }
}

poslabel_status plb_cpu_pair_features_backward(const plb_call *call, const plb_pair_features_job *job)
{
    const size_t bytes = feature_bytes(job), ids = plb_ids_bytes(job->images, 2 * job->pairs);
    const bool columns = plb_has_columns(&job->features);
    features_run run = {
        .job = job,
        .kernels = plb_kernels_of(call->context)->tokens,
        .tiles = plb_tiles_of(&job->features, job->tokens, job->channels),
        .lists_size = lists_size(job),
        .stream = !columns && bytes > call->context->stream_bytes,
    };
    run.scratch_size = plb_size_add(run.lists_size, whole_lines(run.tiles.bytes));
    const size_t traffic = plb_shared_bytes(job->images * run.tiles.count, bytes + pair_bytes(job));
    const size_t threads = (size_t)plb_parallel_threads(call->context, ids > traffic ? ids : traffic);
    void *workspace;
    PLB_TRY(plb_workspace(call, plb_size_mul(threads, run.scratch_size), &workspace));
    PLB_TRY(plb_check_ids(call, &job->cells, 0, job->tokens));
    if (bytes == 0)
        return POSLABEL_OK;
    run.scratch = workspace;
    plb_parallel(call->context, traffic, scatter_tiles, &run);
    return POSLABEL_OK;
}
