/*
 * The tokens of the decoder.
 *
 * Each row of out is a row of x, or the mask token, plus at most one embedding, and is written once.  A thread has one
 * piece of four rows.  It loads the ids of all four at once, and then their elements.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tokens/decoder.cuh"

enum { DECODER_ROWS_AT_ONCE = 4 };

struct decoder_run {
    plb_decoder_view view;
    plb_images x, pos_embed, out;
    const char *mask_token;
    plb_sharing sharing;
    long long channels;
};

/* A row of out, and the two rows that it is the sum of; NULL: zeros, and no sum.  out NULL: there is no such row. */
struct decoder_row {
    const char *token, *embedding;
    char *out;
};

PLB_DEVICE decoder_row find_decoder_row(const decoder_run &run, long long image, int k, bool report)
{
    const plb_decoder_view &view = run.view;
    const int embedding = run.pos_embed.data ? plb_decoder_embedding(view, k) : -1;
    decoder_row row = {run.mask_token, NULL, plb_image_row(run.out, image, k)};
    const int id = k < view.prefix ? k - view.prefix : plb_decoder_id(view, image, k - view.prefix, report);
    if (id < view.visible)
        row.token = plb_image_row(run.x, image, view.prefix + id);
    if (embedding >= 0)
        row.embedding = plb_image_row(run.pos_embed, 0, embedding);
    return row;
}

template <int DTYPE, bool ALIGNED> __global__ void __launch_bounds__(256) decoder_rows(const decoder_run run)
{
    constexpr int size = plb_kind<DTYPE>::size;
    const plb_sharing &sharing = run.sharing;
    const unsigned group = threadIdx.x / (unsigned)sharing.lanes, lane = threadIdx.x - group * (unsigned)sharing.lanes;
    const unsigned chunk = blockIdx.x % (unsigned)sharing.chunks;
    const long long piece = (long long)chunk * sharing.lanes + lane;
    if (group >= (unsigned)sharing.groups || piece >= sharing.pieces)
        return;
    const int height = run.view.prefix + run.view.tokens;
    const long long rows = run.view.images * height, at = piece * PLB_PIECE;
    const long long first =
        (long long)(blockIdx.x / (unsigned)sharing.chunks) * DECODER_ROWS_AT_ONCE * sharing.groups + group;

    decoder_row row[DECODER_ROWS_AT_ONCE];
    plb_piece token[DECODER_ROWS_AT_ONCE] = {};
    plb_addend<DTYPE, DTYPE> embedding[DECODER_ROWS_AT_ONCE] = {};
    const long long left = run.channels - piece * (PLB_PIECE / size);
    const int count = left < PLB_PIECE / size ? (int)left : PLB_PIECE / size;
#pragma unroll
    for (int i = 0; i < DECODER_ROWS_AT_ONCE; i++) {
        const long long r = first + i * sharing.groups;
        long long k;
        row[i] = decoder_row{NULL, NULL, NULL};
        if (r < rows) {
            const long long image = plb_divide(r, height, &k);
            row[i] = find_decoder_row(run, image, (int)k, piece == 0);
        }
    }
#pragma unroll
    for (int i = 0; i < DECODER_ROWS_AT_ONCE; i++) {
        if (row[i].token)
            token[i] = ALIGNED ? plb_load_whole(row[i].token + at) : plb_load_part<size>(row[i].token + at, 0, count);
        if (row[i].embedding)
            plb_load_addend<DTYPE, DTYPE, ALIGNED>(&embedding[i], row[i].embedding, piece, count);
    }
#pragma unroll
    for (int i = 0; i < DECODER_ROWS_AT_ONCE; i++) {
        if (!row[i].out)
            continue;
        const plb_piece sum = row[i].embedding ? plb_sum_of<DTYPE, DTYPE>(token[i], embedding[i]) : token[i];
        if (ALIGNED)
            plb_store_whole(row[i].out + at, sum);
        else
            plb_store_part<size>(row[i].out + at, sum, 0, count);
    }
}

poslabel_status plb_cuda_decoder_tokens(const plb_call *call, const plb_decoder_job *job)
{
    void *none;
    PLB_TRY(plb_cuda_workspace(call, 0, &none));
    static void (*const kernels[PLB_BF16 + 1][2])(decoder_run) = {
        {decoder_rows<PLB_F32, false>, decoder_rows<PLB_F32, true>},
        {decoder_rows<PLB_F16, false>, decoder_rows<PLB_F16, true>},
        {decoder_rows<PLB_BF16, false>, decoder_rows<PLB_BF16, true>},
    };
    const plb_decoder_layout *const layout = &job->layout;
    const int64_t height = layout->prefix + layout->tokens, bytes = layout->channels * plb_dtype_bytes(job->out.dtype);
    decoder_run run;
    run.view = plb_decoder_view_of(call, layout);
    run.x = plb_images_of(&job->x, layout->prefix + layout->visible);
    run.out = plb_images_of(&job->out, height);
    run.pos_embed = plb_images_of(&job->pos_embed, 0);
    run.mask_token = job->mask_token.data;
    run.sharing = plb_sharing_of(plb_pieces_in(layout->channels, plb_dtype_bytes(job->out.dtype)));
    run.channels = layout->channels;
    const bool aligned = bytes % PLB_PIECE == 0 && (uintptr_t)run.mask_token % PLB_PIECE == 0 &&
                         plb_images_are_aligned(&run.x) && plb_images_are_aligned(&run.out) &&
                         plb_images_are_aligned(&run.pos_embed);
    const long long rows_of_block = DECODER_ROWS_AT_ONCE * run.sharing.groups;
    const long long blocks = (layout->images * height + rows_of_block - 1) / rows_of_block * run.sharing.chunks;
    if (bytes == 0)
        return POSLABEL_OK;
    return plb_launch(call, PLB_INDEPENDENT, kernels[job->out.dtype][aligned], blocks, run.sharing.threads, 0, run);
}
