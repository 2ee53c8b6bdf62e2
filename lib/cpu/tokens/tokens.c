/*
 * Token assembly.
 *
 * Every row of x is one row of tokens or of the prefix plus at most one embedding, so the whole pass is a list of rows
 * in the order in which x lies in memory: with places, their inverse says which token comes next.  Threads take
 * equal shares of the rows.  Tokens whose channels lie apart become such rows first, a tile of channels of an image at
 * a time; threads then take equal shares of the tiles.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/tokens/layout.h"

#include "cpu/core/columns.h"
#include "cpu/core/kernels.h"
#include "cpu/operations.h"
#include "cpu/tokens/kernels.h"

typedef struct assemble_run {
    const plb_assemble_job *job;
    plb_token_kernel *kernel[2]; /* for embeddings of the dtype of tokens; in float32 beside 16 bits */
    plb_tiles tiles;
    const char *prefix; /* sums of prefix tokens and embeddings, if either is float32 beside 16 bits; or NULL */
    char *scratch;      /* for each thread: the inverse of the places of one image, then a tile */
    size_t scratch_size, inverse_size;
    bool stream;
} assemble_run;

/* The rows first .. last - 1 of one image of x, and their tokens from `channel` on. */
typedef struct assemble_part {
    int64_t image, first, last, channel;
    const char *tokens; /* of the image, from that channel on */
    int64_t step;
    const int32_t *inverse;
} assemble_part;

poslabel_status plb_check_token_layout(const plb_call *call, const plb_token_layout *layout, int32_t *inverse,
                                       size_t pitch)
{
    PLB_TRY(plb_check_ids(call, &layout->ids_keep, 0, layout->tokens));
    PLB_TRY(plb_check_ids(call, &layout->positions, -1, layout->tokens));
    return plb_check_places(call, &layout->places, inverse, pitch);
}

/* Rows for both kernels. */
typedef struct assemble_batches {
    plb_token_rows rows[2];
} assemble_batches;

/* Row k of x: what is added up there.  Gives the dtype of the embedding. */
static plb_dtype find_sources(const assemble_run *run, const assemble_part *part, int64_t k, const void **token,
                              const void **embedding)
{
    const plb_assemble_job *const job = run->job;
    const plb_token_layout *const layout = &job->layout;
    const int64_t prefix = layout->prefix, size = plb_dtype_size[job->x.dtype];
    if (k < prefix && run->prefix) {
        *token = run->prefix + (k * layout->channels + part->channel) * size;
        *embedding = NULL;
        return job->x.dtype;
    }
    const plb_rows *added = &job->pos_embed;
    int64_t row;
    if (k < prefix) {
        *token = plb_row(&job->prefix_tokens, k) + part->channel * size;
        row = k < layout->embedded ? k : -1;
    } else {
        const int64_t r = part->inverse ? part->inverse[k - prefix] : k - prefix;
        const int64_t id = plb_token_id(layout, part->image, r);
        *token = part->tokens + id * part->step;
        row = plb_token_position(layout, part->image, r, id);
        if (row < 0) {
            added = &job->mask_token;
            row = 0;
        } else {
            row += layout->embedded;
        }
    }
    const bool is_none = row < 0 || !added->data;
    *embedding = is_none ? NULL : plb_row(added, row) + part->channel * plb_dtype_size[added->dtype];
    return is_none ? job->x.dtype : added->dtype;
}

static assemble_batches batches_of(const assemble_run *run)
{
    assemble_batches batches;
    for (int i = 0; i < 2; i++) {
        batches.rows[i].count = 0;
        batches.rows[i].stream = run->stream;
        batches.rows[i].channels = run->job->layout.channels;
    }
    return batches;
}

static void flush(const assemble_run *run, assemble_batches *batches)
{
    for (int i = 0; i < 2; i++) {
        if (batches->rows[i].count)
            run->kernel[i](&batches->rows[i]);
        batches->rows[i].count = 0;
    }
}

static void push_rows(const assemble_run *run, assemble_batches *batches, const assemble_part *part)
{
    const plb_token_layout *const layout = &run->job->layout;
    const plb_dtype dtype = run->job->x.dtype;
    int64_t step;
    char *const x = plb_image_rows(&run->job->x, part->image, layout->prefix + layout->visible, &step) +
                    part->channel * plb_dtype_size[dtype];
    for (int64_t k = part->first; k < part->last; k++) {
        const void *token, *embedding;
        const plb_dtype with = find_sources(run, part, k, &token, &embedding);
        plb_token_rows *const batch = &batches->rows[with != dtype];
        const int i = batch->count++;
        batch->token[i] = token;
        batch->embedding[i] = embedding;
        batch->x[i] = x + k * step;
        if (batch->count == PLB_TOKEN_BATCH)
            flush(run, batches);
    }
}

static void assemble_rows(void *argument, int thread, int threads)
{
    const assemble_run *const run = argument;
    const plb_assemble_job *const job = run->job;
    const plb_token_layout *const layout = &job->layout;
    const int64_t height = layout->prefix + layout->visible;
    int32_t *const inverse = (int32_t *)(run->scratch + (size_t)thread * run->scratch_size);
    assemble_batches batches = batches_of(run);
    assemble_part part = {.inverse = layout->places.data ? inverse : NULL};

    int64_t row, end;
    plb_share(layout->images * height, thread, threads, &row, &end);
    while (row < end) {
        part.image = row / height;
        part.first = row % height;
        part.last = end - part.image * height < height ? end - part.image * height : height;
        part.tokens = plb_image_rows(&job->tokens, part.image, layout->tokens, &part.step);
        if (part.inverse)
            plb_invert_places(&layout->places, part.image, inverse);
        push_rows(run, &batches, &part);
        row += part.last - part.first;
    }
    flush(run, &batches);
}

static void assemble_tiles(void *argument, int thread, int threads)
{
    const assemble_run *const run = argument;
    const plb_assemble_job *const job = run->job;
    const plb_token_layout *const layout = &job->layout;
    const int64_t column = job->tokens.element_stride * plb_dtype_size[job->tokens.dtype];
    int32_t *const inverse = (int32_t *)(run->scratch + (size_t)thread * run->scratch_size);
    char *const tile = (char *)inverse + run->inverse_size;
    assemble_batches batches = batches_of(run);
    assemble_part part = {.inverse = layout->places.data ? inverse : NULL,
                          .last = layout->prefix + layout->visible,
                          .tokens = tile,
                          .step = run->tiles.pitch};

    int64_t i, end, step;
    plb_share(layout->images * run->tiles.count, thread, threads, &i, &end);
    for (; i < end; i++) {
        part.image = i / run->tiles.count;
        part.channel = i % run->tiles.count * run->tiles.channels;
        const int64_t left = layout->channels - part.channel;
        const int64_t channels = left < run->tiles.channels ? left : run->tiles.channels;
        batches.rows[0].channels = batches.rows[1].channels = channels;
        const char *const image = plb_image_rows(&job->tokens, part.image, layout->tokens, &step);
        plb_load_columns(tile, run->tiles.pitch, &job->tokens, image + part.channel * column, layout->tokens, channels);
        if (part.inverse)
            plb_invert_places(&layout->places, part.image, inverse);
        push_rows(run, &batches, &part);
        flush(run, &batches); /* before the tile is another's */
    }
}

/* Rounded once, as if each image had formed the sum. */
static void sum_prefix(const plb_assemble_job *job, char *prefix)
{
    const plb_token_layout *const layout = &job->layout;
    const plb_dtype dtype = job->x.dtype;
    for (int64_t k = 0; k < layout->prefix; k++) {
        const char *const token = plb_row(&job->prefix_tokens, k);
        const char *const embedding = k < layout->embedded ? plb_row(&job->pos_embed, k) : NULL;
        const plb_dtype of_token = job->prefix_tokens.dtype, of_embedding = job->pos_embed.dtype;
        for (int64_t i = 0; i < layout->channels; i++) {
            double sum = plb_load_number(token + i * plb_dtype_size[of_token], of_token);
            if (embedding)
                sum += plb_load_number(embedding + i * plb_dtype_size[of_embedding], of_embedding);
            plb_store_number(prefix + (k * layout->channels + i) * plb_dtype_size[dtype], dtype, sum);
        }
    }
}

static size_t whole_lines(size_t bytes)
{
    return plb_size_add(bytes, 63) / 64 * 64;
}

poslabel_status plb_cpu_assemble_tokens(const plb_call *call, const plb_assemble_job *job)
{
    const plb_token_layout *const layout = &job->layout;
    const plb_token_kernels *const kernels = plb_kernels_of(call->context)->tokens;
    const plb_dtype dtype = job->x.dtype;
    const size_t row_bytes = (size_t)layout->channels * plb_dtype_size[dtype];
    const size_t bytes = (size_t)(layout->images * (layout->prefix + layout->visible)) * row_bytes;
    const size_t index_bytes = plb_token_index_bytes(layout),
                 read = (size_t)(layout->images * layout->tokens) * row_bytes;
    const size_t traffic = bytes + (plb_has_columns(&job->tokens) ? read : bytes);
    const size_t threads = (size_t)plb_parallel_threads(call->context, index_bytes > traffic ? index_bytes : traffic);
    const bool sums_prefix =
        layout->prefix && (job->prefix_tokens.dtype != dtype || (layout->embedded && job->pos_embed.dtype != dtype));
    assemble_run run = {
        .job = job,
        .kernel = {kernels->rows[dtype], dtype == PLB_F16 || dtype == PLB_BF16 ? kernels->rows_with_f32[dtype] : NULL},
        .tiles = plb_tiles_of(&job->tokens, layout->tokens, layout->channels),
        /* a line of its own for each thread */
        .inverse_size = layout->places.data ? whole_lines((size_t)layout->visible * sizeof(int32_t)) : 0,
        .stream = bytes > call->context->stream_bytes,
    };
    run.scratch_size = plb_size_add(run.inverse_size, whole_lines(run.tiles.bytes));
    const size_t scratch = plb_size_mul(threads, run.scratch_size);
    const size_t prefix = sums_prefix ? plb_size_mul((size_t)layout->prefix, row_bytes) : 0;
    void *workspace;
    PLB_TRY(plb_workspace(call, plb_size_add(scratch, prefix), &workspace));
    PLB_TRY(plb_check_token_layout(call, layout, workspace, run.scratch_size / sizeof(int32_t)));
    if (bytes == 0)
        return POSLABEL_OK;

    run.scratch = workspace;
    if (sums_prefix) {
        sum_prefix(job, run.scratch + scratch);
        run.prefix = run.scratch + scratch;
    }
    plb_parallel(call->context, traffic, plb_has_columns(&job->tokens) ? assemble_tiles : assemble_rows, &run);
    return POSLABEL_OK;
}
