/*
 * Token assembly.
 *
 * Each row of x is a row of tokens or of the prefix, plus at most one embedding, and is written once.  Blocks go
 * through the visible tokens in the order of the indices, not of x, so that no inverse of `places` is needed: a row
 * finds its place in x when it is stored.  A thread has one piece of four rows.  It loads the indices of all four at
 * once, and then their elements.
 *
 * Rows of two dtypes are sums of unequal pieces, so that the rows of the prefix, where both are float32, have a launch
 * of their own.  Tokens whose channels lie apart go through shared memory, in tiles: lanes are tokens when they load,
 * so that the L1 cache has what of a line is not wanted at once, and channels when they store.
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
    int mask_dtype;
    bool prefix_is_apart; /* the rows of the prefix are another launch's */
    long long column;     /* bytes from channel to channel of tokens */
    plb_sharing sharing;
    long long checks; /* blocks that check places */
    long long channels;
    int window;
};

/* A row of x, and the two rows that it is the sum of.  x NULL: there is no such row. */
struct assemble_row {
    const char *token, *embedding;
    char *x;
    int with; /* dtype of the embedding */
};

PLB_DEVICE assemble_row find_row(const assemble_run &run, long long image, int k, bool report)
{
    const plb_token_view &view = run.view;
    if (k < view.prefix && run.prefix_is_apart)
        return assemble_row{NULL, NULL, NULL, 0};
    if (k < view.prefix)
        return assemble_row{plb_image_row(run.prefix_tokens, 0, k),
                            k < view.embedded ? plb_image_row(run.pos_embed, 0, k) : NULL,
                            plb_image_row(run.x, image, k), run.pos_embed.dtype};
    const plb_token_source source = plb_find_token(view, image, k - view.prefix, report);
    if (source.id < 0 || !source.is_placed)
        return assemble_row{NULL, NULL, NULL, 0};
    const char *embedding = NULL;
    if (source.position < 0)
        embedding = run.mask_token;
    else if (run.pos_embed.data)
        embedding = plb_image_row(run.pos_embed, 0, view.embedded + source.position);
    return assemble_row{plb_image_row(run.tokens, image, source.id), embedding,
                        plb_image_row(run.x, image, view.prefix + source.place),
                        source.position < 0 ? run.mask_dtype : run.pos_embed.dtype};
}

template <int DTYPE, int WITH, bool ALIGNED>
__global__ void __launch_bounds__(256) assemble_rows(const assemble_run run)
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
    plb_piece token[ROWS_AT_ONCE] = {};
    plb_addend<DTYPE, WITH> embedding[ROWS_AT_ONCE] = {};
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
            plb_load_addend<DTYPE, WITH, ALIGNED>(&embedding[i], row[i].embedding, piece, count);
    }
#pragma unroll
    for (int i = 0; i < ROWS_AT_ONCE; i++) {
        if (!row[i].x)
            continue;
        const plb_piece sum = row[i].embedding ? plb_sum_of<DTYPE, WITH>(token[i], embedding[i]) : token[i];
        if (ALIGNED)
            plb_store_whole(row[i].x + piece * PLB_PIECE, sum);
        else
            plb_store_part<size>(row[i].x + piece * PLB_PIECE, sum, 0, count);
    }
}

/* x = token + embedding, one element. */
PLB_DEVICE void store_sum(char *x, int dtype, double token, const char *embedding, int with)
{
    if (embedding) {
        const double added = plb_load_number(embedding, with);
        token = dtype == PLB_F64 ? token + added : (double)((float)token + (float)added);
    }
    plb_store_number(x, dtype, token);
}

__global__ void __launch_bounds__(256) assemble_prefix(const assemble_run run)
{
    const long long element = (long long)blockIdx.x * 256 + threadIdx.x;
    long long channel, k;
    const long long image = plb_divide(plb_divide(element, run.channels, &channel), run.view.prefix, &k);
    if (image >= run.view.images)
        return;
    const int dtype = run.prefix_tokens.dtype, size = plb_element_size(dtype);
    const char *const embedding =
        k < run.view.embedded ? plb_image_row(run.pos_embed, 0, k) + channel * plb_element_size(run.pos_embed.dtype)
                              : NULL;
    store_sum(plb_image_row(run.x, image, k) + channel * plb_element_size(run.x.dtype), run.x.dtype,
              plb_load_number(plb_image_row(run.prefix_tokens, 0, k) + channel * size, dtype), embedding,
              run.pos_embed.dtype);
}

__global__ void __launch_bounds__(PLB_TILE_THREADS) assemble_columns(const assemble_run run)
{
    PLB_SHARED(double, tile, PLB_TILE *(PLB_TILE + 1));
    PLB_SHARED_BYTES(memory);
    if (blockIdx.x < run.checks) {
        plb_check_places(run.view, blockIdx.x, (int *)memory, run.window);
        return;
    }
    const int lane = (int)threadIdx.x % PLB_TILE, line = (int)threadIdx.x / PLB_TILE,
              size = plb_element_size(run.x.dtype);
    const plb_tile begin = plb_tile_of((long long)blockIdx.x - run.checks, run.view.visible, run.channels);
    const int prefix = run.view.prefix;
    if (begin.token + lane < run.view.visible) {
        const char *const token =
            find_row(run, begin.image, prefix + (int)begin.token + lane, begin.channel == 0 && line == 0).token;
        for (int c = line; token && c < PLB_TILE && begin.channel + c < run.channels; c += PLB_TILE_LINES)
            tile[c * (PLB_TILE + 1) + lane] =
                plb_load_number(token + (begin.channel + c) * run.column, run.tokens.dtype);
    }
    PLB_BARRIER(); /* the tile is complete before other threads store it */
    if (begin.channel + lane >= run.channels)
        return;
    for (int r = line; r < PLB_TILE && begin.token + r < run.view.visible; r += PLB_TILE_LINES) {
        const assemble_row row = find_row(run, begin.image, prefix + (int)begin.token + r, false);
        const long long channel = begin.channel + lane;
        if (row.x)
            store_sum(row.x + channel * size, run.x.dtype, tile[lane * (PLB_TILE + 1) + r],
                      row.embedding ? row.embedding + channel * plb_element_size(row.with) : NULL, row.with);
    }
}

poslabel_status plb_cuda_assemble_tokens(const plb_call *call, const plb_assemble_job *job)
{
    void *none;
    PLB_TRY(plb_cuda_workspace(call, 0, &none));
    static void (*const kernels[PLB_F64 + 1][2])(assemble_run) = {
        {assemble_rows<PLB_F32, PLB_F32, false>, assemble_rows<PLB_F32, PLB_F32, true>},
        {assemble_rows<PLB_F16, PLB_F16, false>, assemble_rows<PLB_F16, PLB_F16, true>},
        {assemble_rows<PLB_BF16, PLB_BF16, false>, assemble_rows<PLB_BF16, PLB_BF16, true>},
        {assemble_rows<PLB_F64, PLB_F64, false>, assemble_rows<PLB_F64, PLB_F64, true>},
    };
    static void (*const with_f32[PLB_BF16 + 1][2])(assemble_run) = {
        {NULL, NULL},
        {assemble_rows<PLB_F16, PLB_F32, false>, assemble_rows<PLB_F16, PLB_F32, true>},
        {assemble_rows<PLB_BF16, PLB_F32, false>, assemble_rows<PLB_BF16, PLB_F32, true>},
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
    /* Rows whose embeddings have several dtypes go the way of columns: that way takes any. */
    const bool wide = job->pos_embed.data && job->pos_embed.dtype != job->x.dtype;
    const bool wide_mask = job->mask_token.data && job->mask_token.dtype != job->x.dtype;
    const bool in_tiles =
        job->tokens.element_stride != 1 || (wide != wide_mask && job->pos_embed.data && job->mask_token.data);
    run.mask_dtype = job->mask_token.dtype;
    run.prefix_is_apart = layout->prefix && (in_tiles || wide || wide_mask || job->prefix_tokens.dtype != job->x.dtype);
    run.column = job->tokens.element_stride * plb_dtype_bytes(job->tokens.dtype);
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
    if (run.prefix_is_apart)
        PLB_TRY(plb_launch(call, PLB_INDEPENDENT, assemble_prefix,
                           (layout->images * layout->prefix * layout->channels + 255) / 256, 256, 0, run));
    if (in_tiles)
        return plb_launch(call, PLB_INDEPENDENT, assemble_columns,
                          run.checks + plb_tiles_in(layout->images, layout->visible, layout->channels),
                          PLB_TILE_THREADS, (size_t)run.window * sizeof(int), run);
    void (*const kernel)(assemble_run) = (wide || wide_mask ? with_f32 : kernels)[job->x.dtype][aligned];
    return plb_launch(call, PLB_INDEPENDENT, kernel, run.checks + blocks, run.sharing.threads,
                      (size_t)run.window * sizeof(int), run);
}
