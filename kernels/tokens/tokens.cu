/*
 * Token assembly.
 *
 * Each row of x is a row of tokens or of the prefix, plus at most one embedding, and is written once.  Blocks go
 * through the visible tokens in the order of the indices, not of x, so that no inverse of `places` is needed: a row
 * finds its place in x when it is stored.  A thread has one piece of four rows.  It loads the indices of all four at
 * once, and then their elements.
 *
 * The first blocks of the same launch, one for each image, check that places are a permutation.  No other block waits
 * for them.  Their barriers are in plb_check_places().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tokens/tokens.cuh"

enum { ROWS_AT_ONCE = 4 };

struct assemble_run {
    plb_token_view view;
    plb_images tokens, prefix_tokens, pos_embed, x;
    const char *mask_token;
    plb_sharing sharing;
    long long checks; /* blocks that check places */
    long long channels;
    int window;
};

/* A row of x, and the two rows that it is the sum of.  x NULL: there is no such row. */
struct assemble_row {
    const char *token, *embedding;
    char *x;
};

PLB_DEVICE assemble_row find_row(const assemble_run &run, long long image, int k, bool report)
{
    const plb_token_view &view = run.view;
    if (k < view.prefix)
        return assemble_row{plb_image_row(run.prefix_tokens, 0, k),
                            view.prefix_has_embedding ? plb_image_row(run.pos_embed, 0, k) : NULL,
                            plb_image_row(run.x, image, k)};
    const plb_token_source source = plb_find_token(view, image, k - view.prefix, report);
    if (source.id < 0 || !source.is_placed)
        return assemble_row{NULL, NULL, NULL};
    const char *embedding = NULL;
    if (source.position < 0)
        embedding = run.mask_token;
    else if (run.pos_embed.data)
        embedding = plb_image_row(run.pos_embed, 0, (view.prefix_has_embedding ? view.prefix : 0) + source.position);
    return assemble_row{plb_image_row(run.tokens, image, source.id), embedding,
                        plb_image_row(run.x, image, view.prefix + source.place)};
}

/* The sum is formed in float32 and rounded once. */
template <int DTYPE> PLB_DEVICE plb_piece sum_of(const plb_piece &a, const plb_piece &b)
{
    constexpr int size = plb_kind<DTYPE>::size;
    plb_piece sum = {{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < PLB_PIECE / size; i++)
        plb_put<size>(&sum, i, plb_to_bits<DTYPE>(plb_number_at<DTYPE>(a, i) + plb_number_at<DTYPE>(b, i)));
    return sum;
}

template <int DTYPE, bool ALIGNED> __global__ void __launch_bounds__(256) assemble_rows(const assemble_run run)
{
    constexpr int size = plb_kind<DTYPE>::size;
    PLB_SHARED_BYTES(memory);
    if (blockIdx.x < run.checks) {
        plb_check_places(run.view, blockIdx.x, (int *)memory, run.window);
        return;
    }
    const plb_sharing &sharing = run.sharing;
    const unsigned block = blockIdx.x - (unsigned)run.checks;
    const unsigned group = threadIdx.x / (unsigned)sharing.lanes, lane = threadIdx.x - group * (unsigned)sharing.lanes;
    const unsigned chunk = block % (unsigned)sharing.chunks;
    const long long piece = (long long)chunk * sharing.lanes + lane;
    if (group >= (unsigned)sharing.groups || piece >= sharing.pieces)
        return;
    const int height = run.view.prefix + run.view.visible;
    const long long rows = run.view.images * height;
    const long long first = (long long)(block / (unsigned)sharing.chunks) * ROWS_AT_ONCE * sharing.groups + group;

    assemble_row row[ROWS_AT_ONCE];
    plb_piece token[ROWS_AT_ONCE] = {}, embedding[ROWS_AT_ONCE] = {};
    const long long left = run.channels - piece * (PLB_PIECE / size);
    const int count = left < PLB_PIECE / size ? (int)left : PLB_PIECE / size;
#pragma unroll
    for (int i = 0; i < ROWS_AT_ONCE; i++) {
        const long long r = first + i * sharing.groups;
        long long k;
        row[i].x = NULL;
        if (r < rows) {
            const long long image = plb_divide(r, height, &k);
            row[i] = find_row(run, image, (int)k, piece == 0);
        }
    }
#pragma unroll
    for (int i = 0; i < ROWS_AT_ONCE; i++) {
        const long long at = piece * PLB_PIECE;
        if (row[i].x)
            token[i] = ALIGNED ? plb_load_whole(row[i].token + at) : plb_load_part<size>(row[i].token + at, 0, count);
        if (row[i].x && row[i].embedding)
            embedding[i] =
                ALIGNED ? plb_load_whole(row[i].embedding + at) : plb_load_part<size>(row[i].embedding + at, 0, count);
    }
#pragma unroll
    for (int i = 0; i < ROWS_AT_ONCE; i++) {
        if (!row[i].x)
            continue;
        const plb_piece sum = row[i].embedding ? sum_of<DTYPE>(token[i], embedding[i]) : token[i];
        if (ALIGNED)
            plb_store_whole(row[i].x + piece * PLB_PIECE, sum);
        else
            plb_store_part<size>(row[i].x + piece * PLB_PIECE, sum, 0, count);
    }
}

poslabel_status plb_cuda_assemble_tokens(const plb_call *call, const plb_assemble_job *job)
{
    void *none;
    PLB_TRY(plb_cuda_workspace(call, 0, &none));
    static void (*const kernels[PLB_BF16 + 1][2])(assemble_run) = {
        {assemble_rows<PLB_F32, false>, assemble_rows<PLB_F32, true>},
        {assemble_rows<PLB_F16, false>, assemble_rows<PLB_F16, true>},
        {assemble_rows<PLB_BF16, false>, assemble_rows<PLB_BF16, true>},
    };
    const plb_token_layout *const layout = &job->layout;
    const int64_t height = layout->prefix + layout->visible, bytes = layout->channels * plb_dtype_bytes(job->x.dtype);
    assemble_run run;
    run.view = plb_token_view_of(call, layout);
    run.tokens = plb_images_of(&job->tokens, layout->tokens);
    run.x = plb_images_of(&job->x, height);
    run.prefix_tokens = plb_images_of(&job->prefix_tokens, 0);
    run.pos_embed = plb_images_of(&job->pos_embed, 0);
    run.mask_token = job->mask_token.data;
    run.sharing = plb_sharing_of(plb_pieces_in(layout->channels, plb_dtype_bytes(job->x.dtype)));
    run.checks = layout->places.data ? layout->images : 0;
    run.window = plb_places_window(&run.view);
    run.channels = layout->channels;
    const bool aligned = bytes % PLB_PIECE == 0 && (uintptr_t)run.mask_token % PLB_PIECE == 0 &&
                         plb_images_are_aligned(&run.tokens) && plb_images_are_aligned(&run.x) &&
                         plb_images_are_aligned(&run.prefix_tokens) && plb_images_are_aligned(&run.pos_embed);
    const long long rows_of_block = ROWS_AT_ONCE * run.sharing.groups;
    const long long blocks = (layout->images * height + rows_of_block - 1) / rows_of_block * run.sharing.chunks;
    if (bytes == 0)
        return POSLABEL_OK;
    return plb_launch(call, PLB_INDEPENDENT, kernels[job->x.dtype][aligned], run.checks + blocks, run.sharing.threads,
                      (size_t)run.window * sizeof(int), run);
}
