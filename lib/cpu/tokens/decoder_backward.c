/*
 * The gradient of the tokens of the decoder.
 *
 * The work is cut by rows of an image of grad_out: a tile is a few neighbouring ones, and whoever has the tile walks it
 * through all images.  So each row of grad_out is read once, for its copy into grad_x and its sum, and each sum has one
 * owner and is formed in the order of the images.
 *
 * A place has two sums: of the images where it is visible, and of those where it is masked.  Together they are its row
 * of grad_pos_embed.  The masked ones of all places are grad_mask_token: added up within each tile, then in the order
 * of the tiles.  Tiles depend on P + N alone, so the bits do not depend on the threads.
 *
 * A row of grad_x mostly has one source, for ids_restore is a permutation.  A pass over the ids before that finds the
 * images where some visible token has none or several, and makes their grad_x.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/tokens/decoder_rows.h"

#include "cpu/core/kernels.h"
#include "cpu/operations.h"
#include "cpu/tokens/kernels.h"

enum { MOST_TILES = 64, IMAGES_AT_A_TIME = 8 };

typedef struct backward_run {
    const plb_decoder_backward_job *job;
    plb_token_grad_kernel *kernel;
    plb_round_kernel *round;
    int64_t tile_rows, tiles;
    size_t pitch;                  /* of the sums */
    double *kept, *masked, *spare; /* by row of grad_out; by row of grad_out; by thread */
    int32_t *lists;                /* of one image, for each thread */
    size_t list_pitch;
    char *is_made; /* by image: grad_x of its visible tokens is written before the walk */
    bool stream;
} backward_run;

/* The rows that a thread has collected for the kernel, and where it is. */
typedef struct backward_walk {
    const backward_run *run;
    plb_token_grads batch;
    int64_t image;
    const char *grad_out; /* of the image */
    char *grad_x;         /* of the image, or NULL */
    int64_t out_step, x_step;
} backward_walk;

static void flush(backward_walk *walk)
{
    plb_flush_grads(walk->run->kernel, &walk->batch);
}

static void push(backward_walk *walk, const void *grad, void *to, double *sum)
{
    plb_push_grad(walk->run->kernel, &walk->batch, grad, to, sum);
}

static backward_walk new_walk(const backward_run *run)
{
    return (backward_walk){.run = run, .batch = {.channels = run->job->layout.channels, .stream = run->stream}};
}

static void go_to_image(backward_walk *walk, int64_t image)
{
    const plb_decoder_backward_job *const job = walk->run->job;
    const plb_decoder_layout *const layout = &job->layout;
    const int64_t prefix = layout->prefix;
    walk->image = image;
    walk->grad_out = plb_image_rows(&job->grad_out, image, prefix + layout->tokens, &walk->out_step);
    if (job->grad_x.data)
        walk->grad_x = plb_image_rows(&job->grad_x, image, prefix + layout->visible, &walk->x_step);
}

/* ---- images where grad_x is more than copies ---- */

/* Lists the sources of each visible token: first[i], then next[n] until -1, ascending.  Whether each has just one. */
static bool list_sources(const plb_decoder_layout *layout, int64_t image, int32_t *first, int32_t *next)
{
    int64_t sources = 0, listed = 0;
    for (int64_t i = 0; i < layout->visible; i++)
        first[i] = -1;
    for (int64_t n = layout->tokens - 1; n >= 0; n--) {
        const int64_t id = plb_token_index(&layout->ids_restore, image, n);
        if (id >= layout->visible)
            continue;
        sources++;
        listed += first[id] < 0;
        next[n] = first[id];
        first[id] = (int32_t)n;
    }
    return sources == layout->visible && listed == layout->visible;
}

/* grad_x of the visible tokens of an image. */
static void gather_image(backward_walk *walk, const int32_t *first, const int32_t *next, double *spare)
{
    const plb_decoder_layout *const layout = &walk->run->job->layout;
    const char *const patches = walk->grad_out + layout->prefix * walk->out_step;
    for (int64_t i = 0; i < layout->visible; i++) {
        char *const to = walk->grad_x + (layout->prefix + i) * walk->x_step;
        if (first[i] < 0 || next[first[i]] < 0) {
            push(walk, first[i] < 0 ? NULL : patches + first[i] * walk->out_step, to, NULL);
            continue;
        }
        memset(spare, 0, walk->run->pitch * sizeof(double));
        for (int32_t n = first[i]; n >= 0; n = next[n])
            push(walk, patches + n * walk->out_step, NULL, spare);
        flush(walk);
        walk->run->round(to, spare, layout->channels);
    }
}

static void gather_images(void *argument, int thread, int threads)
{
    const backward_run *const run = argument;
    const plb_decoder_layout *const layout = &run->job->layout;
    int32_t *const first = run->lists + (size_t)thread * run->list_pitch, *const next = first + layout->visible;
    backward_walk walk = new_walk(run);
    int64_t image, end;
    plb_share(layout->images, thread, threads, &image, &end);
    for (; image < end; image++) {
        run->is_made[image] = !list_sources(layout, image, first, next);
        if (!run->is_made[image])
            continue;
        go_to_image(&walk, image);
        gather_image(&walk, first, next, run->spare + (size_t)thread * run->pitch);
    }
    flush(&walk);
}

/* ---- the walk ---- */

static double *sum_at(const backward_run *run, double *sums, int64_t k)
{
    return sums ? sums + (size_t)k * run->pitch : NULL;
}

/* Row k of the image. */
static void walk_row(backward_walk *walk, int64_t k)
{
    const backward_run *const run = walk->run;
    const plb_decoder_layout *const layout = &run->job->layout;
    const int64_t source = plb_decoder_source(layout, walk->image, k);
    const bool is_copied = walk->grad_x && source >= 0 && (k < layout->prefix || !run->is_made[walk->image]);
    double *const sum = sum_at(run, source < 0 ? run->masked : run->kept, k);
    push(walk, walk->grad_out + k * walk->out_step, is_copied ? walk->grad_x + source * walk->x_step : NULL,
         plb_decoder_embedding(layout, k) < 0 ? NULL : sum);
}

static void add_sum(const backward_run *run, double *to, const double *from)
{
    for (size_t i = 0; i < run->pitch; i++)
        to[i] += from[i];
}

/* The sums of a tile are complete: into grad_pos_embed, and into the masked sum of its first row. */
static void store_sums(const backward_run *run, int64_t first, int64_t last)
{
    const plb_decoder_backward_job *const job = run->job;
    for (int64_t k = first; k < last; k++) {
        const int64_t row = plb_decoder_embedding(&job->layout, k);
        if (run->kept && row >= 0) {
            add_sum(run, sum_at(run, run->kept, k), sum_at(run, run->masked, k));
            run->round(plb_row(&job->grad_pos_embed, row), sum_at(run, run->kept, k), job->layout.channels);
        }
        if (job->grad_mask_token.data && k > first)
            add_sum(run, sum_at(run, run->masked, first), sum_at(run, run->masked, k));
    }
}

static void clear_sums(const backward_run *run, double *sums, int64_t first, int64_t last)
{
    if (sums && first < last)
        memset(sum_at(run, sums, first), 0, (size_t)(last - first) * run->pitch * sizeof(double));
}

static int64_t end_of_tile(const backward_run *run, int64_t tile)
{
    const int64_t rows = run->job->layout.prefix + run->job->layout.tokens, end = (tile + 1) * run->tile_rows;
    return end < rows ? end : rows;
}

/*
 * A thread takes a few images at a time through all its rows: enough of them that a sum stays in the L1 cache for a
 * while, and so few that what is read and written lies near together.
 */
static void walk_images(void *argument, int thread, int threads)
{
    const backward_run *const run = argument;
    const int64_t images = run->job->layout.images;
    backward_walk walk = new_walk(run);
    int64_t begin, end;
    plb_share(run->tiles, thread, threads, &begin, &end);
    clear_sums(run, run->kept, begin * run->tile_rows, end_of_tile(run, end - 1));
    clear_sums(run, run->masked, begin * run->tile_rows, end_of_tile(run, end - 1));
    for (int64_t image = 0; image < images; image += IMAGES_AT_A_TIME)
        for (int64_t k = begin * run->tile_rows; k < end_of_tile(run, end - 1); k++)
            for (int64_t b = image; b < images && b < image + IMAGES_AT_A_TIME; b++) {
                go_to_image(&walk, b);
                walk_row(&walk, k);
            }
    flush(&walk);
    for (int64_t tile = begin; tile < end && run->masked; tile++)
        store_sums(run, tile * run->tile_rows, end_of_tile(run, tile));
}

static void store_mask_sum(const backward_run *run)
{
    for (int64_t tile = 1; tile < run->tiles; tile++)
        add_sum(run, run->masked, sum_at(run, run->masked, tile * run->tile_rows));
    run->round(run->job->grad_mask_token.data, run->masked, run->job->layout.channels);
}

/* Takes the workspace and cuts it up. */
static poslabel_status prepare(const plb_call *call, backward_run *run, size_t threads)
{
    const plb_decoder_backward_job *const job = run->job;
    const plb_decoder_layout *const layout = &job->layout;
    const size_t rows = (size_t)(layout->prefix + layout->tokens), spare_rows = job->grad_x.data ? threads : 0;
    const size_t kept_rows = job->grad_pos_embed.data ? rows : 0;
    const size_t masked_rows = job->grad_pos_embed.data || job->grad_mask_token.data ? rows : 0;
    const size_t sums = plb_size_mul(kept_rows + masked_rows + spare_rows, run->pitch * sizeof(double));
    run->list_pitch = ((size_t)layout->visible + (size_t)layout->tokens + 15) / 16 * 16; /* whole lines */
    const size_t lists = plb_size_mul(spare_rows, run->list_pitch * sizeof(int32_t));
    const size_t flags = job->grad_x.data ? (size_t)layout->images : 0;

    void *workspace;
    PLB_TRY(plb_workspace(call, plb_size_add(plb_size_add(sums, lists), flags), &workspace));
    run->kept = kept_rows ? workspace : NULL;
    run->masked = masked_rows ? (double *)workspace + kept_rows * run->pitch : NULL;
    run->spare = (double *)workspace + (kept_rows + masked_rows) * run->pitch;
    run->lists = (int32_t *)((char *)workspace + sums);
    run->is_made = (char *)workspace + sums + lists;
    return plb_check_ids(call, &layout->ids_restore, 0, layout->tokens);
}

poslabel_status plb_cpu_decoder_tokens_backward(const plb_call *call, const plb_decoder_backward_job *job)
{
    const plb_decoder_layout *const layout = &job->layout;
    poslabel_context *const context = call->context;
    const int64_t rows = layout->prefix + layout->tokens, copied = layout->prefix + layout->visible;
    const size_t row_bytes = (size_t)layout->channels * plb_dtype_size[job->grad_out.dtype];
    const size_t grad_bytes = job->grad_x.data ? (size_t)(layout->images * copied) * row_bytes : 0;
    const size_t bytes = (size_t)(layout->images * rows) * row_bytes + grad_bytes;
    const size_t index_bytes = plb_ids_bytes(layout->images, layout->tokens);
    backward_run run = {
        .job = job,
        .kernel = plb_kernels_of(context)->tokens->grads[job->grad_out.dtype],
        .round = plb_kernels_of(context)->tokens->round_sum[job->grad_out.dtype],
        .tile_rows = (rows + MOST_TILES - 1) / MOST_TILES,
        .pitch = plb_sum_pitch(layout->channels),
        .stream = grad_bytes > context->stream_bytes,
    };
    run.tiles = rows ? (rows + run.tile_rows - 1) / run.tile_rows : 0;
    PLB_TRY(prepare(call, &run, (size_t)plb_parallel_threads(context, index_bytes > bytes ? index_bytes : bytes)));
    if (row_bytes == 0)
        return POSLABEL_OK;

    if (job->grad_x.data)
        plb_parallel(context, index_bytes, gather_images, &run);
    plb_parallel(context, bytes, walk_images, &run);
    if (job->grad_mask_token.data && run.tiles)
        store_mask_sum(&run);
    else if (job->grad_mask_token.data)
        memset(job->grad_mask_token.data, 0, row_bytes); /* N = P = 0 */
    return POSLABEL_OK;
}
