/*
 * The tokens of the decoder.
 *
 * Every row of out is a row of x, or the mask token, plus at most one embedding: the list of rows that the kernels of
 * token assembly take, in the order in which out lies in memory.  Threads take equal shares of the rows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/tokens/decoder_rows.h"

#include "cpu/core/kernels.h"
#include "cpu/operations.h"
#include "cpu/tokens/kernels.h"

typedef struct decoder_run {
    const plb_decoder_job *job;
    plb_token_kernel *kernel;
    const void *mask_token;
    bool stream;
} decoder_run;

static void decoder_rows(void *argument, int thread, int threads)
{
    const decoder_run *const run = argument;
    const plb_decoder_job *const job = run->job;
    const plb_decoder_layout *const layout = &job->layout;
    const int64_t height = layout->prefix + layout->tokens;
    plb_token_rows batch = {.channels = layout->channels, .stream = run->stream};

    int64_t row, end, x_step, out_step;
    plb_share(layout->images * height, thread, threads, &row, &end);
    while (row < end) {
        const int64_t image = row / height;
        const int64_t last = end - image * height < height ? end - image * height : height;
        const char *const x = plb_image_rows(&job->x, image, layout->prefix + layout->visible, &x_step);
        char *const out = plb_image_rows(&job->out, image, height, &out_step);
        for (int64_t k = row % height; k < last; k++, row++) {
            const int i = batch.count++;
            const int64_t source = plb_decoder_source(layout, image, k), embedding = plb_decoder_embedding(layout, k);
            batch.token[i] = source < 0 ? run->mask_token : x + source * x_step;
            batch.embedding[i] = job->pos_embed.data && embedding >= 0 ? plb_row(&job->pos_embed, embedding) : NULL;
            batch.x[i] = out + k * out_step;
            if (batch.count == PLB_TOKEN_BATCH) {
                run->kernel(&batch);
                batch.count = 0;
            }
        }
    }
    if (batch.count)
        run->kernel(&batch);
}

poslabel_status plb_cpu_decoder_tokens(const plb_call *call, const plb_decoder_job *job)
{
    const plb_decoder_layout *const layout = &job->layout;
    const size_t row_bytes = (size_t)layout->channels * plb_dtype_size[job->out.dtype];
    const size_t bytes = (size_t)(layout->images * (layout->prefix + layout->tokens)) * row_bytes;
    void *zeros;
    PLB_TRY(plb_workspace(call, job->mask_token.data ? 0 : row_bytes, &zeros));
    PLB_TRY(plb_check_ids(call, &layout->ids_restore, 0, layout->tokens));
    if (bytes == 0)
        return POSLABEL_OK;
    if (!job->mask_token.data)
        memset(zeros, 0, row_bytes);

    decoder_run run = {
        .job = job,
        .kernel = plb_kernels_of(call->context)->tokens->rows[job->out.dtype],
        .mask_token = job->mask_token.data ? job->mask_token.data : zeros,
        .stream = bytes > call->context->stream_bytes,
    };
    plb_parallel(call->context, 2 * bytes, decoder_rows, &run);
    return POSLABEL_OK;
}
