/*
 * The gradient of token assembly.
 *
 * There are three launches, or four.  The first lists the visible tokens of each image (lists.cuh).
 *
 * The second reads grad_x once and makes the sums and all of grad_tokens, zeros included.  The work is divided by
 * position: a tile is a few neighbouring rows of [prefix; tokens], and a block takes one tile through a slice of the
 * images.  A thread loads four images at once.  The sum of a position stays in registers, in double precision.  With
 * one slice the sum is stored at once; else each slice stores its part in the workspace.  The sum for the mask token is
 * over the tile, and its parts are always in the workspace.
 *
 * A grad_tokens whose channels lie apart has a launch of its own, in tiles of shared memory: lanes are channels when
 * they load, and tokens when they store.
 *
 * The last launch adds up the parts.  Tiles, slices and the order of every sum depend on sizes alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tokens/lists.cuh"
#include "tokens/sums.cuh"

enum { IMAGES_AT_ONCE = 4, MOST_PARTS = 1024, FINISH_THREADS = 1024, LIST_THREADS = 256 };

struct backward_run {
    plb_token_view view;
    plb_images grad_x, grad_tokens, grad_prefix_tokens, grad_pos_embed;
    char *grad_mask_token;
    int mask_dtype;                   /* of grad_mask_token */
    plb_images columns;               /* grad_tokens, if its channels lie apart */
    long long column;                 /* bytes from one to the next */
    plb_token_lists by_token, strays; /* strays.first NULL: there are none that count */
    plb_sharing sharing;
    long long channels;
    int first_row, rows;     /* rows of [prefix; tokens] that an output needs */
    int tile, tiles, slices; /* rows of a tile; numbers of tiles and of slices of the images */
    bool is_listed;          /* an output needs the lists of tokens */
    bool prefix_sums;        /* rows of the prefix have sums; rows of tokens have some if grad_pos_embed is given */
    int dtype, window;
    int sum_rows;      /* the first of `rows`, which have sums */
    double *sums;      /* [slices, sum_rows, channels]; not used with one slice */
    double *mask_sums; /* [tiles * slices, channels], or NULL */
};

__global__ void __launch_bounds__(LIST_THREADS, 4) list_tokens(const backward_run run)
{
    PLB_SHARED_BYTES(memory);
    plb_list_image(run.view, run.by_token, blockIdx.x, false);
    if (run.strays.first)
        plb_list_image(run.view, run.strays, blockIdx.x, true);
    if (run.view.places.data)
        plb_check_places(run.view, blockIdx.x, (int *)memory, run.window);
}

/* Stores the complete sum of a row to the outputs. */
PLB_DEVICE void store_sum(const backward_run &run, int row, long long channel, double sum)
{
    const plb_images &prefix = run.grad_prefix_tokens, &pos_embed = run.grad_pos_embed;
    const bool is_prefix = row < run.view.prefix;
    const int embedding = is_prefix ? row : row - run.view.prefix + run.view.embedded;
    if (is_prefix && prefix.data)
        plb_store_number(plb_image_row(prefix, 0, row) + channel * plb_element_size(prefix.dtype), prefix.dtype, sum);
    if (pos_embed.data && (!is_prefix || row < run.view.embedded))
        plb_store_number(plb_image_row(pos_embed, 0, embedding) + channel * plb_element_size(pos_embed.dtype),
                         pos_embed.dtype, sum);
}

PLB_DEVICE bool has_sum(const backward_run &run, int row)
{
    return row < run.view.prefix ? run.prefix_sums : run.grad_pos_embed.data != NULL;
}

template <int DTYPE, bool ALIGNED>
PLB_DEVICE plb_piece load_grad(const backward_run &run, const plb_walker<DTYPE> &walk, long long image, unsigned row)
{
    const char *const at = plb_image_row(run.grad_x, image, row & ~PLB_KEPT_FLAG) + walk.piece * PLB_PIECE;
    return ALIGNED ? plb_load_whole(at) : plb_load_part<plb_walker<DTYPE>::size>(at, 0, walk.present);
}

/* Adds a row to the sum of its position or of the mask token, if there is one. */
template <int DTYPE>
PLB_DEVICE void add_to_sums(const backward_run &run, plb_walker<DTYPE> *walk, const plb_kept &kept,
                            const plb_piece &grad)
{
    if (kept.row & PLB_KEPT_FLAG) {
        if (run.mask_sums)
            plb_add_piece<DTYPE>(walk->mask_sum, grad);
    } else if (walk->has_sum && !(kept.next & PLB_KEPT_FLAG)) {
        plb_add_piece<DTYPE>(walk->sum, grad);
    }
}

/* Moves on to the next entry of a chain.  Returns false if `kept` was the last. */
PLB_DEVICE bool follow(const backward_run &run, const plb_token_lists &lists, long long image, plb_kept *kept)
{
    const unsigned next = kept->next & ~PLB_KEPT_FLAG;
    if (next)
        *kept = lists.chain[image * run.view.visible + next - 1];
    return next != 0;
}

/* The gradient of a token that is visible several times: a sum. */
template <int DTYPE, bool ALIGNED>
PLB_DEVICE void add_duplicates(const backward_run &run, plb_walker<DTYPE> *walk, long long image, int n)
{
    constexpr int size = plb_walker<DTYPE>::size;
    plb_kept kept = run.by_token.first[image * run.view.tokens + n];
    if (kept.row == PLB_KEPT_NONE || !(kept.next & ~PLB_KEPT_FLAG))
        return;
    double sum[plb_walker<DTYPE>::count] = {};
    do {
        const plb_piece grad = load_grad<DTYPE, ALIGNED>(run, *walk, image, kept.row);
        plb_add_piece<DTYPE>(sum, grad);
        add_to_sums(run, walk, kept, grad);
    } while (follow(run, run.by_token, image, &kept));
    if (!run.grad_tokens.data)
        return;
    plb_piece bits = {{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < plb_walker<DTYPE>::count; i++)
        plb_put<size>(&bits, i, plb_to_bits<DTYPE>(sum[i]));
    plb_store_part<size>(plb_image_row(run.grad_tokens, image, n) + walk->piece * PLB_PIECE, bits, 0, walk->present);
}

template <int DTYPE, bool ALIGNED>
PLB_DEVICE void add_strays(const backward_run &run, plb_walker<DTYPE> *walk, long long image, int n)
{
    plb_kept kept = run.strays.first[image * run.view.tokens + n];
    if (kept.row == PLB_KEPT_NONE)
        return;
    do
        plb_add_piece<DTYPE>(walk->sum, load_grad<DTYPE, ALIGNED>(run, *walk, image, kept.row));
    while (follow(run, run.strays, image, &kept));
}

/* One row of [prefix; tokens] for every step-th of images [begin, end).  Duplicates and strays are rare and last. */
template <int DTYPE, bool ALIGNED>
PLB_DEVICE void walk_row(const backward_run &run, plb_walker<DTYPE> *walk, int row, long long begin, long long end,
                         int step)
{
    constexpr int size = plb_walker<DTYPE>::size;
    const int n = row - run.view.prefix;
    bool has_duplicates = false;
    for (long long first = begin; first < end; first += IMAGES_AT_ONCE * step) {
        plb_kept kept[IMAGES_AT_ONCE];
        plb_piece grad[IMAGES_AT_ONCE];
#pragma unroll
        for (int i = 0; i < IMAGES_AT_ONCE; i++) {
            const long long image = first + i * step;
            kept[i] = plb_kept{PLB_KEPT_NONE, 0};
            if (image < end)
                kept[i] = n < 0 ? plb_kept{(unsigned)row, 0} : run.by_token.first[image * run.view.tokens + n];
        }
#pragma unroll
        for (int i = 0; i < IMAGES_AT_ONCE; i++) {
            grad[i] = plb_piece{{0, 0, 0, 0}};
            if (kept[i].row != PLB_KEPT_NONE)
                grad[i] = load_grad<DTYPE, ALIGNED>(run, *walk, first + i * step, kept[i].row);
        }
#pragma unroll
        for (int i = 0; i < IMAGES_AT_ONCE; i++) {
            const long long image = first + i * step;
            const bool is_kept = kept[i].row != PLB_KEPT_NONE;
            if (image >= end)
                break;
            if (is_kept && kept[i].next & ~PLB_KEPT_FLAG) {
                has_duplicates = true;
                continue;
            }
            if (n >= 0 && run.grad_tokens.data) {
                char *const to = plb_image_row(run.grad_tokens, image, n) + walk->piece * PLB_PIECE;
                if (ALIGNED)
                    plb_store_whole(to, grad[i]);
                else
                    plb_store_part<size>(to, grad[i], 0, walk->present);
            }
            if (is_kept)
                add_to_sums(run, walk, kept[i], grad[i]);
        }
    }
    if (n < 0)
        return;
#pragma unroll 1
    for (long long image = begin; has_duplicates && image < end; image += step)
        add_duplicates<DTYPE, ALIGNED>(run, walk, image, n);
#pragma unroll 1
    for (long long image = begin; run.strays.first && image < end; image += step)
        add_strays<DTYPE, ALIGNED>(run, walk, image, n);
}

template <int DTYPE, bool ALIGNED> __global__ void __launch_bounds__(256) walk_tiles(const backward_run run)
{
    constexpr int count = plb_walker<DTYPE>::count;
    PLB_SHARED(double, memory, 128 * count);
    const plb_sharing &sharing = run.sharing;
    const unsigned group = threadIdx.x / (unsigned)sharing.lanes, lane = threadIdx.x - group * (unsigned)sharing.lanes;
    const unsigned part = blockIdx.x / (unsigned)sharing.chunks, chunk = blockIdx.x - part * (unsigned)sharing.chunks;
    const int tile = (int)(part / (unsigned)run.slices), slice = (int)(part - (unsigned)tile * (unsigned)run.slices);
    const int first = run.first_row + tile * run.tile;
    const int last = first + run.tile < run.first_row + run.rows ? first + run.tile : run.first_row + run.rows;
    const long long begin = run.view.images * slice / run.slices, end = run.view.images * (slice + 1) / run.slices;

    plb_walker<DTYPE> walk;
    walk.piece = (long long)chunk * sharing.lanes + lane;
    const bool works = group < (unsigned)sharing.groups && walk.piece < sharing.pieces;
    const long long channel = walk.piece * count, left = works ? run.channels - channel : 0;
    walk.present = left < count ? (int)left : count;
    for (int i = 0; i < count; i++)
        walk.mask_sum[i] = 0;
    for (int row = first; row < last; row++) {
        for (int i = 0; i < count; i++)
            walk.sum[i] = 0;
        walk.has_sum = has_sum(run, row);
        if (works)
            walk_row<DTYPE, ALIGNED>(run, &walk, row, begin + group, end, sharing.groups);
        if (!walk.has_sum)
            continue;
        plb_add_groups<count>(walk.sum, memory, sharing, group, lane);
        double *const sums =
            run.sums + ((long long)slice * run.sum_rows + row - run.first_row) * run.channels + channel;
#pragma unroll
        for (int i = 0; i < count; i++)
            if (group == 0 && i < walk.present) {
                if (run.slices == 1)
                    store_sum(run, row, channel + i, walk.sum[i]);
                else
                    sums[i] = walk.sum[i];
            }
    }
    if (!run.mask_sums)
        return;
    plb_add_groups<count>(walk.mask_sum, memory, sharing, group, lane);
#pragma unroll
    for (int i = 0; i < count; i++)
        if (group == 0 && i < walk.present)
            run.mask_sums[(long long)part * run.channels + channel + i] = walk.mask_sum[i];
}

/* ---- channels that lie apart ---- */

/* The gradient of one channel of token n of an image. */
PLB_DEVICE double gradient_of(const backward_run &run, long long image, long long n, long long channel)
{
    const long long at = channel * plb_element_size(run.dtype);
    plb_kept kept = run.by_token.first[image * run.view.tokens + n];
    double sum = 0;
    if (kept.row == PLB_KEPT_NONE)
        return sum;
    sum = plb_load_number(plb_image_row(run.grad_x, image, kept.row & ~PLB_KEPT_FLAG) + at, run.dtype);
    while (follow(run, run.by_token, image, &kept))
        sum += plb_load_number(plb_image_row(run.grad_x, image, kept.row & ~PLB_KEPT_FLAG) + at, run.dtype);
    return sum;
}

__global__ void __launch_bounds__(PLB_TILE_THREADS) store_columns(const backward_run run)
{
    PLB_SHARED(double, tile, PLB_TILE *(PLB_TILE + 1));
    const int lane = (int)threadIdx.x % PLB_TILE, line = (int)threadIdx.x / PLB_TILE;
    const plb_tile begin = plb_tile_of(blockIdx.x, run.view.tokens, run.channels);
    if (begin.channel + lane < run.channels)
        for (int n = line; n < PLB_TILE && begin.token + n < run.view.tokens; n += PLB_TILE_LINES)
            tile[n * (PLB_TILE + 1) + lane] = gradient_of(run, begin.image, begin.token + n, begin.channel + lane);
    PLB_BARRIER(); /* the tile is complete before other threads store it */
    if (begin.token + lane >= run.view.tokens)
        return;
    for (int c = line; c < PLB_TILE && begin.channel + c < run.channels; c += PLB_TILE_LINES)
        plb_store_number(plb_image_row(run.columns, begin.image, begin.token + lane) + (begin.channel + c) * run.column,
                         run.dtype, tile[lane * (PLB_TILE + 1) + c]);
}

/* ---- adding up the parts ---- */

__global__ void __launch_bounds__(FINISH_THREADS) finish_sums(const backward_run run, int mask_blocks)
{
    PLB_SHARED(double, partial, FINISH_THREADS);
    if ((int)blockIdx.x < mask_blocks) {
        const long long channel = (long long)blockIdx.x * 32 + threadIdx.x % 32;
        const double sum =
            plb_add_parts(run.mask_sums, (long long)run.tiles * run.slices, run.channels, channel, partial);
        if (threadIdx.x < 32 && channel < run.channels)
            plb_store_number(run.grad_mask_token + channel * plb_element_size(run.mask_dtype), run.mask_dtype, sum);
        return;
    }
    const long long element = (long long)(blockIdx.x - (unsigned)mask_blocks) * FINISH_THREADS + threadIdx.x;
    const long long elements = run.sum_rows * run.channels;
    if (element >= elements)
        return;
    long long channel;
    const int row = run.first_row + (int)plb_divide(element, run.channels, &channel);
    double sum = 0;
#pragma unroll 4
    for (int slice = 0; slice < run.slices; slice++)
        sum += run.sums[slice * elements + element];
    store_sum(run, row, channel, sum);
}

/* ---- the host's part ---- */

/* Plans a call: the work, and how it is divided. */
static backward_run plan(const plb_call *call, const plb_assemble_backward_job *job)
{
    const plb_token_layout *const layout = &job->layout;
    backward_run run = {};
    run.view = plb_token_view_of(call, layout);
    run.grad_x = plb_images_of(&job->grad_x, layout->prefix + layout->visible);
    run.grad_tokens = plb_images_of(&job->grad_tokens, layout->tokens);
    if (job->grad_tokens.element_stride != 1) {
        run.columns = run.grad_tokens;
        run.column = job->grad_tokens.element_stride * plb_dtype_bytes(job->grad_tokens.dtype);
        run.grad_tokens.data = NULL;
    }
    run.grad_prefix_tokens = plb_images_of(&job->grad_prefix_tokens, 0);
    run.grad_pos_embed = plb_images_of(&job->grad_pos_embed, 0);
    run.grad_mask_token = job->grad_mask_token.data;
    run.mask_dtype = job->grad_mask_token.dtype;
    run.dtype = job->grad_x.dtype;
    run.channels = layout->channels;
    run.sharing = plb_sharing_of(plb_pieces_in(layout->channels, plb_dtype_bytes(run.dtype)));
    run.window = plb_places_window(&run.view);

    run.prefix_sums = run.grad_prefix_tokens.data || (run.grad_pos_embed.data && layout->embedded);
    run.is_listed = job->grad_tokens.data || run.grad_pos_embed.data || run.grad_mask_token;
    run.first_row = run.prefix_sums ? 0 : run.view.prefix;
    run.rows = (run.is_listed ? run.view.prefix + run.view.tokens : run.view.prefix) - run.first_row;
    run.sum_rows = run.grad_pos_embed.data ? run.rows : run.prefix_sums ? run.view.prefix : 0;
    run.tile = run.rows / MOST_PARTS + (run.rows % MOST_PARTS != 0);
    run.tiles = run.rows ? (run.rows + run.tile - 1) / run.tile : 0;
    /* Enough slices to give the device enough blocks, as long as each slice has images for all threads of a block. */
    const long long fitting = layout->images / (IMAGES_AT_ONCE * run.sharing.groups);
    const long long wanted = run.tiles ? MOST_PARTS / ((long long)run.tiles * run.sharing.chunks) : 1;
    run.slices = (int)(wanted < fitting ? wanted : fitting);
    run.slices = run.slices < 1 ? 1 : run.slices;
    return run;
}

/* Takes and divides the workspace. */
static poslabel_status allocate(const plb_call *call, const plb_assemble_backward_job *job, backward_run *run)
{
    const plb_token_layout *const layout = &job->layout;
    const size_t row = plb_size_mul((size_t)run->channels, sizeof(double));
    const size_t sums = run->slices > 1 ? plb_size_mul((size_t)run->slices * (size_t)run->sum_rows, row) : 0;
    const size_t mask_sums = run->grad_mask_token ? plb_size_mul((size_t)run->tiles * (size_t)run->slices, row) : 0;
    const size_t first = run->is_listed ? (size_t)(layout->images * layout->tokens) : 0;
    const size_t chain = run->is_listed ? (size_t)(layout->images * layout->visible) : 0;
    const size_t lists = plb_size_mul(plb_size_add(first, chain), sizeof(plb_kept));
    const bool has_strays = layout->positions.data && run->grad_pos_embed.data;
    void *memory;
    PLB_TRY(plb_cuda_workspace(
        call, plb_size_add(plb_size_add(sums, mask_sums), plb_size_mul(has_strays ? 2 : 1, lists)), &memory));
    char *const at = (char *)memory;
    run->sums = (double *)at;
    run->mask_sums = run->grad_mask_token ? (double *)(at + sums) : NULL;
    plb_kept *const kept = (plb_kept *)(at + sums + mask_sums);
    run->by_token = plb_token_lists{kept, kept + first};
    if (has_strays)
        run->strays = plb_token_lists{kept + first + chain, kept + 2 * first + chain};
    return POSLABEL_OK;
}

poslabel_status plb_cuda_assemble_tokens_backward(const plb_call *call, const plb_assemble_backward_job *job)
{
    static void (*const kernels[PLB_F64 + 1][2])(backward_run) = {
        {walk_tiles<PLB_F32, false>, walk_tiles<PLB_F32, true>},
        {walk_tiles<PLB_F16, false>, walk_tiles<PLB_F16, true>},
        {walk_tiles<PLB_BF16, false>, walk_tiles<PLB_BF16, true>},
        {walk_tiles<PLB_F64, false>, walk_tiles<PLB_F64, true>},
    };
    const plb_token_layout *const layout = &job->layout;
    backward_run run = plan(call, job);
    const bool aligned = run.channels * plb_dtype_bytes(run.dtype) % PLB_PIECE == 0 &&
                         plb_images_are_aligned(&run.grad_x) && plb_images_are_aligned(&run.grad_tokens);
    if (run.channels == 0)
        return POSLABEL_OK;
    PLB_TRY(allocate(call, job, &run));
    if (run.is_listed)
        PLB_TRY(plb_launch(call, PLB_INDEPENDENT, list_tokens, run.view.images, LIST_THREADS,
                           (size_t)run.window * sizeof(int), run));
    if (run.columns.data)
        PLB_TRY(plb_launch(call, PLB_INDEPENDENT, store_columns,
                           plb_tiles_in(layout->images, layout->tokens, layout->channels), PLB_TILE_THREADS, 0, run));
    if (run.grad_tokens.data || run.sum_rows || run.mask_sums)
        PLB_TRY(plb_launch(call, PLB_INDEPENDENT, kernels[run.dtype][aligned],
                           (long long)run.tiles * run.slices * run.sharing.chunks, run.sharing.threads, 0, run));
    const long long mask_blocks = run.grad_mask_token ? (run.channels + 31) / 32 : 0;
    const long long elements = run.slices > 1 ? run.sum_rows * run.channels : 0;
    return plb_launch(call, PLB_INDEPENDENT, finish_sums,
                      mask_blocks + (elements + FINISH_THREADS - 1) / FINISH_THREADS, FINISH_THREADS, 0, run,
                      mask_blocks);
}
