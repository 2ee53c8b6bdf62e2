/*
 * The gradient of token assembly.
 *
 * The work is cut by position, not by image: a tile is a few neighbouring rows of [prefix; tokens], and whoever has the
 * tile walks it through all images.  So each row of grad_tokens, grad_pos_embed and grad_prefix_tokens has one owner
 * and is summed in the order of the images, and each row of grad_x is read once, for its copy and its sum.  Only
 * grad_mask_token collects from everywhere: each tile leaves a partial sum, and those are added in the order of the
 * tiles.  Tiles depend on P + N alone, so the bits do not depend on the threads.
 *
 * Which visible tokens stand at a position is looked up in lists, which are built for a chunk of images at a time.
 * Chunks are large because each ends with all threads waiting for the slowest.  Within one a thread takes a few images
 * at a time through all its tiles: enough of them that a tile's sums need not come from the L2 cache for every row, and
 * so few that what is read and written lies near together.
 *
 * A grad_tokens whose channels lie apart has a walk of its own over each chunk, a tile of channels of an image at a
 * time: tiles of positions would write to a few bytes of each line.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/tokens/layout.h"

#include "cpu/core/columns.h"
#include "cpu/core/kernels.h"
#include "cpu/operations.h"
#include "cpu/tokens/kernels.h"

enum { LEAST_CHUNK = 64, LIST_BYTES = 1 << 20, MOST_TILES = 64, IMAGES_AT_A_TIME = 8 };

/* Visible tokens by position: first[n], then next[r] until -1, ascending. */
typedef struct token_lists {
    int32_t *first, *next;
    const plb_rows *keys; /* NULL: token r is at r */
} token_lists;

typedef struct backward_run {
    const plb_assemble_backward_job *job;
    const poslabel_context *context;
    plb_token_grad_kernel *kernel;
    plb_round_kernel *round, *round_pos_embed, *round_prefix;
    plb_tiles columns; /* of grad_tokens, if its channels lie apart */
    char *buffers;     /* for each thread: such a tile */
    int64_t tile_rows, tiles;
    int64_t sum_rows;                  /* positions that have a sum */
    size_t pitch;                      /* of the sums */
    double *sums, *mask_sums, *spare;  /* rows by position, by tile, by thread */
    token_lists by_token, by_position; /* by_position only where positions say other than by_token */
    int64_t chunk;                     /* images that are listed at a time */
    int64_t first_image, images;       /* of this chunk */
    bool has_positions;                /* there are lists by position */
    bool prefix_sums;                  /* those of the prefix are wanted */
    bool writes_rows;                  /* of grad_tokens, in the walk by position */
    bool last;                         /* of the chunks */
    bool stream;
} backward_run;

/* The rows that a thread has collected for the kernel, and where it is. */
typedef struct backward_walk {
    const backward_run *run;
    plb_token_grads batch;
    double *mask_sum, *spare;
    const char *grad_x; /* of the image */
    int64_t grad_step;
    int64_t image;
} backward_walk;

static void list_image(const backward_run *run, const token_lists *lists, int64_t slot)
{
    const plb_token_layout *const layout = &run->job->layout;
    int32_t *const first = lists->first + slot * layout->tokens, *const next = lists->next + slot * layout->visible;
    for (int64_t n = 0; n < layout->tokens; n++)
        first[n] = -1;
    for (int64_t r = layout->visible - 1; r >= 0; r--) {
        const int64_t n = lists->keys ? plb_token_index(lists->keys, run->first_image + slot, r) : r;
        if (n < 0)
            continue;
        next[r] = first[n];
        first[n] = (int32_t)r;
    }
}

static void list_images(void *argument, int thread, int threads)
{
    const backward_run *const run = argument;
    int64_t begin, end;
    plb_share(run->images, thread, threads, &begin, &end);
    for (int64_t slot = begin; slot < end; slot++) {
        list_image(run, &run->by_token, slot);
        if (run->by_position.first)
            list_image(run, &run->by_position, slot);
    }
}

static void flush(backward_walk *walk)
{
    plb_flush_grads(walk->run->kernel, &walk->batch);
}

static void push(backward_walk *walk, const void *grad, void *to, double *sum)
{
    plb_push_grad(walk->run->kernel, &walk->batch, grad, to, sum);
}

static const char *grad_of(const backward_walk *walk, int64_t r)
{
    const plb_token_layout *const layout = &walk->run->job->layout;
    return walk->grad_x + (layout->prefix + plb_token_place(layout, walk->image, r)) * walk->grad_step;
}

/* Where visible token r of position n adds to, besides grad_tokens; NULL: nowhere, or by way of by_position. */
static double *sum_of(const backward_walk *walk, int64_t r, int64_t n)
{
    const backward_run *const run = walk->run;
    const plb_token_layout *const layout = &run->job->layout;
    if (plb_token_position(layout, walk->image, r, n) < 0)
        return walk->mask_sum;
    if (!run->job->grad_pos_embed.data || run->by_position.first)
        return NULL;
    return run->sums + (size_t)(layout->prefix + n) * run->pitch;
}

/* A token that is visible several times: its gradient is a sum too. */
static void add_duplicates(backward_walk *walk, char *to, int32_t r, const int32_t *next)
{
    memset(walk->spare, 0, plb_sum_pitch(walk->batch.channels) * sizeof(double));
    for (; r >= 0; r = next[r])
        push(walk, grad_of(walk, r), NULL, walk->spare);
    flush(walk);
    walk->run->round(to, walk->spare, walk->batch.channels);
}

static void walk_position(backward_walk *walk, int64_t slot, int64_t n, char *to)
{
    const backward_run *const run = walk->run;
    const plb_token_layout *const layout = &run->job->layout;
    const int32_t *next = run->by_token.next + slot * layout->visible;
    const int32_t first = run->by_token.first[slot * layout->tokens + n];
    if (first < 0) {
        push(walk, NULL, to, NULL);
    } else if (next[first] < 0) {
        push(walk, grad_of(walk, first), to, sum_of(walk, first, n));
    } else {
        for (int32_t r = first; r >= 0; r = next[r])
            push(walk, grad_of(walk, r), NULL, sum_of(walk, r, n));
        if (to)
            add_duplicates(walk, to, first, next);
    }
    if (!run->by_position.first)
        return;
    next = run->by_position.next + slot * layout->visible;
    for (int32_t r = run->by_position.first[slot * layout->tokens + n]; r >= 0; r = next[r])
        push(walk, grad_of(walk, r), NULL, run->sums + (size_t)(layout->prefix + n) * run->pitch);
}

/* The sums of a tile are complete: into the outputs. */
static void store_sums(const backward_run *run, int64_t first, int64_t last)
{
    const plb_assemble_backward_job *const job = run->job;
    const plb_token_layout *const layout = &job->layout;
    for (int64_t k = first; k < last; k++) {
        const double *const sum = run->sums + (size_t)k * run->pitch;
        const int64_t row = k < layout->embedded ? k : k < layout->prefix ? -1 : k - layout->prefix + layout->embedded;
        if (k < layout->prefix && job->grad_prefix_tokens.data)
            run->round_prefix(plb_row(&job->grad_prefix_tokens, k), sum, layout->channels);
        if (row >= 0 && job->grad_pos_embed.data)
            run->round_pos_embed(plb_row(&job->grad_pos_embed, row), sum, layout->channels);
    }
}

/* The rows first .. last - 1 of the images [slot, end) of the chunk. */
static void walk_tile(backward_walk *walk, int64_t first, int64_t last, int64_t slot, int64_t end)
{
    const backward_run *const run = walk->run;
    const plb_assemble_backward_job *const job = run->job;
    const plb_token_layout *const layout = &job->layout;
    const int64_t prefix = layout->prefix;
    for (; slot < end; slot++) {
        int64_t step = 0;
        walk->image = run->first_image + slot;
        walk->grad_x = plb_image_rows(&job->grad_x, walk->image, prefix + layout->visible, &walk->grad_step);
        char *const tokens =
            run->writes_rows ? plb_image_rows(&job->grad_tokens, walk->image, layout->tokens, &step) : NULL;
        for (int64_t k = first; k < last; k++)
            if (k >= prefix)
                walk_position(walk, slot, k - prefix, tokens ? tokens + (k - prefix) * step : NULL);
            else if (run->prefix_sums)
                push(walk, walk->grad_x + k * walk->grad_step, NULL, run->sums + (size_t)k * run->pitch);
    }
}

/* The next few images, from `slot` of the chunk on, in the tiles [begin, end). */
static void walk_tiles(backward_walk *walk, int64_t begin, int64_t end, int64_t slot)
{
    const backward_run *const run = walk->run;
    const int64_t rows = run->job->layout.prefix + run->job->layout.tokens;
    const int64_t last_slot = slot + IMAGES_AT_A_TIME < run->images ? slot + IMAGES_AT_A_TIME : run->images;
    for (int64_t tile = begin; tile < end; tile++) {
        const int64_t first = tile * run->tile_rows;
        const int64_t last = first + run->tile_rows < rows ? first + run->tile_rows : rows;
        const int64_t last_sum = last < run->sum_rows ? last : run->sum_rows;
        const bool is_first = run->first_image + slot == 0, is_last = run->last && last_slot == run->images;
        walk->mask_sum = run->mask_sums ? run->mask_sums + (size_t)tile * run->pitch : NULL;
        if (is_first && first < last_sum)
            memset(run->sums + (size_t)first * run->pitch, 0, (size_t)(last_sum - first) * run->pitch * sizeof(double));
        if (is_first && walk->mask_sum)
            memset(walk->mask_sum, 0, run->pitch * sizeof(double));
        walk_tile(walk, first, last, slot, last_slot);
        if (is_last && first < last_sum) {
            flush(walk);
            store_sums(run, first, last_sum);
        }
    }
}

static void walk_images(void *argument, int thread, int threads)
{
    const backward_run *const run = argument;
    backward_walk walk = {
        .run = run,
        .batch = {.channels = run->job->layout.channels, .stream = run->stream},
        .spare = run->spare + (size_t)thread * run->pitch,
    };
    int64_t begin, end, slot = 0;
    plb_share(run->tiles, thread, threads, &begin, &end);
    do { /* once at least: sums over no images are 0 */
        walk_tiles(&walk, begin, end, slot);
        slot += IMAGES_AT_A_TIME;
    } while (slot < run->images);
    flush(&walk);
}

/* The tokens of an image in one tile of channels, as rows. */
static void copy_tile(backward_walk *walk, int64_t slot, char *tile)
{
    const backward_run *const run = walk->run;
    const plb_token_layout *const layout = &run->job->layout;
    const int32_t *const next = run->by_token.next + slot * layout->visible;
    for (int64_t n = 0; n < layout->tokens; n++) {
        const int32_t first = run->by_token.first[slot * layout->tokens + n];
        char *const to = tile + n * run->columns.pitch;
        if (first >= 0 && next[first] >= 0)
            add_duplicates(walk, to, first, next);
        else
            push(walk, first < 0 ? NULL : grad_of(walk, first), to, NULL);
    }
    flush(walk);
}

static void walk_columns(void *argument, int thread, int threads)
{
    const backward_run *const run = argument;
    const plb_assemble_backward_job *const job = run->job;
    const plb_token_layout *const layout = &job->layout;
    const plb_rows *const tokens = &job->grad_tokens;
    const int64_t size = plb_dtype_size[tokens->dtype];
    char *const tile = run->buffers + (size_t)thread * run->columns.bytes;
    backward_walk walk = {.run = run, .spare = run->spare + (size_t)thread * run->pitch};
    int64_t i, end, step;
    plb_share(run->images * run->columns.count, thread, threads, &i, &end);
    for (; i < end; i++) {
        const int64_t slot = i / run->columns.count, channel = i % run->columns.count * run->columns.channels;
        const int64_t left = layout->channels - channel;
        walk.image = run->first_image + slot;
        walk.batch.channels = left < run->columns.channels ? left : run->columns.channels;
        walk.grad_x = plb_image_rows(&job->grad_x, walk.image, layout->prefix + layout->visible, &walk.grad_step) +
                      channel * size;
        copy_tile(&walk, slot, tile);
        char *const image = plb_image_rows(tokens, walk.image, layout->tokens, &step);
        plb_store_columns(tokens, image + channel * tokens->element_stride * size, tile, run->columns.pitch,
                          layout->tokens, walk.batch.channels);
    }
}

static void store_mask_sum(const backward_run *run)
{
    double *const sum = run->mask_sums;
    for (int64_t tile = 1; tile < run->tiles; tile++)
        for (size_t i = 0; i < run->pitch; i++)
            sum[i] += run->mask_sums[(size_t)tile * run->pitch + i];
    const plb_rows *const grad = &run->job->grad_mask_token;
    plb_kernels_of(run->context)->tokens->round_sum[grad->dtype](grad->data, sum, grad->length);
}

/* As many images as LIST_BYTES hold lists for, or LEAST_CHUNK. */
static int64_t chunk_of(const backward_run *run)
{
    const plb_token_layout *const layout = &run->job->layout;
    const int64_t fitting = LIST_BYTES / ((run->has_positions ? 8 : 4) * (layout->tokens + layout->visible + 1));
    const int64_t most = fitting > LEAST_CHUNK ? fitting : LEAST_CHUNK;
    return layout->images < most ? layout->images : most;
}

/* Cuts the workspace up.  The places are checked where the lists will be. */
static poslabel_status prepare(const plb_call *call, backward_run *run, size_t threads)
{
    const plb_assemble_backward_job *const job = run->job;
    const plb_token_layout *const layout = &job->layout;
    const size_t visible = (size_t)layout->visible, tokens = (size_t)layout->tokens, images = (size_t)run->chunk;
    const size_t mask_rows = job->grad_mask_token.data ? (size_t)run->tiles : 0;
    const size_t rows = plb_size_add((size_t)run->sum_rows, plb_size_add(mask_rows, threads));
    const size_t sums = plb_size_mul(rows, plb_size_mul(run->pitch, sizeof(double)));
    const size_t lists = plb_size_mul(plb_size_mul(images, run->has_positions ? 8 : 4), tokens + visible);
    const size_t inverse_pitch = (visible + 15) / 16 * 16;
    const size_t inverses = layout->places.data ? plb_size_mul(threads, inverse_pitch * sizeof(int32_t)) : 0;
    const size_t buffers = plb_size_mul(threads, run->columns.bytes);

    void *workspace;
    PLB_TRY(plb_workspace(call, plb_size_add(buffers, plb_size_add(sums, lists > inverses ? lists : inverses)),
                          &workspace));
    run->buffers = workspace;
    run->sums = (double *)(run->buffers + buffers);
    run->spare = run->sums + (size_t)run->sum_rows * run->pitch;
    run->mask_sums = mask_rows ? run->spare + threads * run->pitch : NULL;
    int32_t *const indices = (int32_t *)((char *)run->sums + sums);
    run->by_token.first = indices;
    run->by_token.next = indices + images * tokens;
    run->by_token.keys = layout->ids_keep.data ? &layout->ids_keep : NULL;
    if (run->has_positions) {
        run->by_position.first = run->by_token.next + images * visible;
        run->by_position.next = run->by_position.first + images * tokens;
        run->by_position.keys = &layout->positions;
    }
    return plb_check_token_layout(call, layout, indices, inverse_pitch);
}

poslabel_status plb_cpu_assemble_tokens_backward(const plb_call *call, const plb_assemble_backward_job *job)
{
    const plb_token_layout *const layout = &job->layout;
    poslabel_context *const context = call->context;
    const plb_token_kernels *const kernels = plb_kernels_of(context)->tokens;
    const size_t row_bytes = (size_t)layout->channels * plb_dtype_size[job->grad_x.dtype];
    const bool has_columns = plb_has_columns(&job->grad_tokens), writes_rows = job->grad_tokens.data && !has_columns;
    const size_t grad_bytes = writes_rows ? (size_t)(layout->images * layout->tokens) * row_bytes : 0;
    const int64_t rows = layout->prefix + layout->tokens;
    backward_run run = {
        .job = job,
        .context = context,
        .kernel = kernels->grads[job->grad_x.dtype],
        .round = kernels->round_sum[job->grad_x.dtype],
        .round_pos_embed = kernels->round_sum[job->grad_pos_embed.dtype],
        .round_prefix = kernels->round_sum[job->grad_prefix_tokens.dtype],
        .tile_rows = (rows + MOST_TILES - 1) / MOST_TILES,
        .pitch = plb_sum_pitch(layout->channels),
        .prefix_sums = job->grad_prefix_tokens.data || (job->grad_pos_embed.data && layout->embedded),
        .writes_rows = writes_rows,
        .stream = grad_bytes > context->stream_bytes,
    };
    if (has_columns)
        run.columns = plb_tiles_of(&job->grad_tokens, layout->tokens, layout->channels);
    run.tiles = rows ? (rows + run.tile_rows - 1) / run.tile_rows : 0;
    run.sum_rows = job->grad_pos_embed.data ? rows : run.prefix_sums ? layout->prefix : 0;

    run.has_positions = layout->positions.data && job->grad_pos_embed.data;
    run.chunk = chunk_of(&run);
    const size_t image_bytes = (size_t)(rows + layout->prefix + layout->visible) * row_bytes;
    const size_t list_bytes = (size_t)run.chunk * (size_t)(layout->tokens + layout->visible) * 8;
    const size_t index_bytes = plb_token_index_bytes(layout);
    const size_t most_bytes = (size_t)run.chunk * image_bytes;
    const int threads = plb_parallel_threads(context, index_bytes > most_bytes ? index_bytes : most_bytes);
    PLB_TRY(prepare(call, &run, (size_t)threads));
    if (row_bytes == 0)
        return POSLABEL_OK;

    do { /* once at least: sums over an empty batch are 0 */
        const int64_t left = layout->images - run.first_image;
        run.images = left < run.chunk ? left : run.chunk;
        run.last = run.images == left;
        plb_parallel(context, list_bytes, list_images, &run);
        if (!has_columns || run.sum_rows || run.mask_sums)
            plb_parallel(context, (size_t)run.images * image_bytes, walk_images, &run);
        if (has_columns)
            plb_parallel(context, (size_t)run.images * image_bytes, walk_columns, &run);
        run.first_image += run.images;
    } while (!run.last);
    if (run.mask_sums)
        store_mask_sum(&run);
    else if (job->grad_mask_token.data)
        memset(job->grad_mask_token.data, 0, /* no tiles: N = P = 0 */
               (size_t)layout->channels * plb_dtype_size[job->grad_mask_token.dtype]);
    return POSLABEL_OK;
}
