/*
 * Token assembly.
 *
 * Every row of x is one row of tokens or of the prefix plus at most one embedding, so the whole pass is a list of rows
 * in the order in which x lies in memory: with places, their inverse says which token comes next.  Threads take
 * equal shares of the rows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/tokens/layout.h"

#include "cpu/core/kernels.h"
#include "cpu/operations.h"
#include "cpu/tokens/kernels.h"

typedef struct assemble_run {
    const plb_assemble_job *job;
    plb_token_kernel *kernel;
    int32_t *inverse; /* of the places of one image, for each thread */
    size_t pitch;
    bool stream;
} assemble_run;

poslabel_status plb_check_token_layout(const plb_call *call, const plb_token_layout *layout, int32_t *inverse,
                                       size_t pitch)
{
    PLB_TRY(plb_check_ids(call, &layout->ids_keep, 0, layout->tokens));
    PLB_TRY(plb_check_ids(call, &layout->positions, -1, layout->tokens));
    return plb_check_places(call, &layout->places, inverse, pitch);
}

/* Row k of x: what is added up there. */
static void find_sources(const plb_assemble_job *job, int64_t image, int64_t k, const int32_t *inverse,
                         const void **token, const void **embedding)
{
    const plb_token_layout *const layout = &job->layout;
    const int64_t prefix = layout->prefix;
    if (k < prefix) {
        *token = plb_row(&job->prefix_tokens, k);
        *embedding = layout->prefix_has_embedding ? plb_row(&job->pos_embed, k) : NULL;
        return;
    }
    const int64_t r = layout->places.data ? inverse[k - prefix] : k - prefix;
    const int64_t id = plb_token_id(layout, image, r), position = plb_token_position(layout, image, r, id);
    int64_t step;
    *token = plb_image_rows(&job->tokens, image, layout->tokens, &step) + id * step;
    if (position < 0)
        *embedding = job->mask_token.data;
    else if (job->pos_embed.data)
        *embedding = plb_row(&job->pos_embed, (layout->prefix_has_embedding ? prefix : 0) + position);
    else
        *embedding = NULL;
}

static void assemble_rows(void *argument, int thread, int threads)
{
    const assemble_run *const run = argument;
    const plb_assemble_job *const job = run->job;
    const plb_token_layout *const layout = &job->layout;
    const int64_t height = layout->prefix + layout->visible;
    int32_t *const inverse = run->inverse ? run->inverse + (size_t)thread * run->pitch : NULL;
    plb_token_rows batch = {.channels = layout->channels, .stream = run->stream};

    int64_t row, end, step;
    plb_share(layout->images * height, thread, threads, &row, &end);
    while (row < end) {
        const int64_t image = row / height;
        const int64_t last = end - image * height < height ? end - image * height : height;
        char *const x = plb_image_rows(&job->x, image, height, &step);
        if (layout->places.data)
            plb_invert_places(&layout->places, image, inverse);
        for (int64_t k = row % height; k < last; k++, row++) {
            const int i = batch.count++;
            find_sources(job, image, k, inverse, &batch.token[i], &batch.embedding[i]);
            batch.x[i] = x + k * step;
            if (batch.count == PLB_TOKEN_BATCH) {
                run->kernel(&batch);
                batch.count = 0;
            }
        }
    }
    if (batch.count)
        run->kernel(&batch);
}

poslabel_status plb_cpu_assemble_tokens(const plb_call *call, const plb_assemble_job *job)
{
    const plb_token_layout *const layout = &job->layout;
    const size_t row_bytes = (size_t)layout->channels * plb_dtype_size[job->x.dtype];
    const size_t bytes = (size_t)(layout->images * (layout->prefix + layout->visible)) * row_bytes;
    const size_t index_bytes = plb_token_index_bytes(layout);
    const size_t threads =
        (size_t)plb_parallel_threads(call->context, index_bytes > 2 * bytes ? index_bytes : 2 * bytes);
    /* a line of its own for each thread */
    const size_t pitch = layout->places.data ? ((size_t)layout->visible + 15) / 16 * 16 : 0;
    void *workspace;
    PLB_TRY(plb_workspace(call, plb_size_mul(threads, pitch * sizeof(int32_t)), &workspace));
    PLB_TRY(plb_check_token_layout(call, layout, workspace, pitch));
    if (bytes == 0)
        return POSLABEL_OK;

    assemble_run run = {
        .job = job,
        .kernel = plb_kernels_of(call->context)->tokens->rows[job->x.dtype],
        .inverse = workspace,
        .pitch = pitch,
        .stream = bytes > call->context->stream_bytes,
    };
    plb_parallel(call->context, 2 * bytes, assemble_rows, &run);
    return POSLABEL_OK;
}
