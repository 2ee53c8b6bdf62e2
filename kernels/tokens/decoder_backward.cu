/*
 * The gradient of the tokens of the decoder.
 *
 * There are three launches.  The first says of each token of an image where its row of grad_out goes.  Mostly that is
 * one row of grad_x, or the sum for the mask token.  A visible token that stands at no place, or at several, is rare:
 * its row of grad_x is made at once.
 *
 * The second reads grad_out once, for the copies and the sums.  The work is divided by rows of an image of grad_out: a
 * tile is a few neighbouring ones, and a block takes one tile through a slice of the images.  A thread loads four
 * images at once.  The sum of a row stays in registers, in double precision.  With one slice it is stored at once; else
 * each slice stores its part in the workspace.  The sum for the mask token is over the tile, and its parts are always
 * in the workspace.
 *
 * The third launch adds up the parts.  Tiles, slices and the order of every sum depend on sizes alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tokens/decoder.cuh"
#include "tokens/sums.cuh"

enum {
    DECODER_IMAGES_AT_ONCE = 4,
    DECODER_MOST_PARTS = 1024,
    DECODER_FINISH_THREADS = 1024,
    DECODER_LIST_THREADS = 256
};

struct decoder_backward_run {
    plb_decoder_view view;
    plb_images grad_out, grad_x, grad_pos_embed;
    char *grad_mask_token;
    int *first; /* [images, K]: the least n at which a visible token stands, or INT_MAX; of the first launch alone */
    int *to;    /* [images, N]: where a row goes; NULL: no output depends on that */
    plb_sharing sharing;
    long long channels;
    int rows;                /* P + N */
    int tile, tiles, slices; /* rows of a tile; numbers of tiles and of slices of the images */
    int dtype;
    double *sums;      /* [slices, rows, channels]; not used with one slice */
    double *mask_sums; /* [tiles * slices, channels], or NULL */
};

/*
 * Values of `to`: a visible token; or masked; or, for a visible token that stands at several places, DECODER_SEVERAL
 * less the next place, which is none of 0.
 */
static constexpr int DECODER_MASKED = -1, DECODER_SEVERAL = -2;

/* Fills `to` for an image.  All threads of a block call this. */
PLB_DEVICE void list_decoder_image(const decoder_backward_run &run, long long image, int *first, int *to)
{
    const plb_decoder_view &view = run.view;
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x;
    for (long long i = thread; i < view.visible; i += threads)
        first[i] = INT_MAX;
    PLB_BARRIER(); /* no token has a place before one gets it */
    for (long long n = thread; n < view.tokens; n += threads) {
        const int id = plb_decoder_id(view, image, (int)n, true);
        to[n] = id < view.visible ? id : DECODER_MASKED;
        if (id < view.visible)
            atomicMin(&first[id], (int)n);
    }
    PLB_BARRIER(); /* every token has its first place before one finds that it is another */
    for (long long n = thread; n < view.tokens; n += threads)
        if (to[n] >= 0 && first[to[n]] != (int)n)
            to[n] = DECODER_SEVERAL;
    PLB_BARRIER(); /* all places but the first are marked before one becomes the next of another */
    for (long long n = thread; n < view.tokens; n += threads) {
        const int id = plb_decoder_id(view, image, (int)n, false);
        if (id >= view.visible || first[id] == (int)n)
            continue;
        int before = (int)n - 1; /* there is an earlier place, so the search ends */
        while (plb_decoder_id(view, image, before, false) != id)
            before--;
        to[before] = DECODER_SEVERAL - (int)n;
    }
    PLB_BARRIER(); /* all places are known before they are used */
}

PLB_DEVICE bool has_one_place(const int *first, const int *to, long long i)
{
    return first[i] != INT_MAX && to[first[i]] >= 0;
}

__global__ void __launch_bounds__(DECODER_LIST_THREADS) list_decoder_places(const decoder_backward_run run)
{
    PLB_SHARED(int, is_odd, 1);
    const long long image = blockIdx.x;
    const int thread = (int)threadIdx.x;
    int *const first = run.first + image * run.view.visible, *const to = run.to + image * run.view.tokens;
    if (thread == 0)
        is_odd[0] = 0;
    list_decoder_image(run, image, first, to);
    if (!run.grad_x.data)
        return;
    for (long long i = thread; i < run.view.visible; i += DECODER_LIST_THREADS)
        if (!has_one_place(first, to, i))
            atomicOr(is_odd, 1);
    PLB_BARRIER(); /* all tokens were looked at */
    if (!PLB_LOAD_VOLATILE(int, is_odd))
        return;
    const int size = plb_element_size(run.dtype);
    for (int i = 0; i < run.view.visible; i++) {
        if (has_one_place(first, to, i))
            continue;
        for (long long channel = thread; channel < run.channels; channel += DECODER_LIST_THREADS) {
            double sum = 0;
            for (int n = first[i]; n != INT_MAX;) {
                const char *const grad = plb_image_row(run.grad_out, image, run.view.prefix + (long long)n);
                sum += plb_load_number(grad + channel * size, run.dtype);
                n = to[n] == DECODER_SEVERAL ? INT_MAX : DECODER_SEVERAL - to[n];
            }
            char *const grad_x = plb_image_row(run.grad_x, image, run.view.prefix + (long long)i);
            plb_store_number(grad_x + channel * size, run.dtype, sum);
        }
    }
}

/* One row of every step-th of images [begin, end). */
template <int DTYPE, bool ALIGNED>
PLB_DEVICE void walk_decoder_row(const decoder_backward_run &run, plb_walker<DTYPE> *walk, int row, long long begin,
                                 long long end, int step)
{
    constexpr int size = plb_walker<DTYPE>::size;
    const plb_decoder_view &view = run.view;
    const long long at = walk->piece * PLB_PIECE;
    for (long long base = begin; base < end; base += DECODER_IMAGES_AT_ONCE * step) {
        int to[DECODER_IMAGES_AT_ONCE]; /* in grad_x; DECODER_MASKED; DECODER_SEVERAL: to neither */
        plb_piece grad[DECODER_IMAGES_AT_ONCE] = {};
#pragma unroll
        for (int i = 0; i < DECODER_IMAGES_AT_ONCE; i++) {
            const long long image = base + i * step;
            to[i] = DECODER_SEVERAL;
            if (image < end && row < view.prefix)
                to[i] = row;
            else if (image < end && run.to)
                to[i] = run.to[image * view.tokens + row - view.prefix];
            if (row >= view.prefix && to[i] >= 0)
                to[i] += view.prefix;
        }
#pragma unroll
        for (int i = 0; i < DECODER_IMAGES_AT_ONCE; i++) {
            const long long image = base + i * step;
            const bool is_used = to[i] >= 0 ? run.grad_x.data != NULL : to[i] == DECODER_MASKED && run.mask_sums;
            if (image >= end || !(is_used || walk->has_sum))
                continue;
            const char *const from = plb_image_row(run.grad_out, image, row) + at;
            grad[i] = ALIGNED ? plb_load_whole(from) : plb_load_part<size>(from, 0, walk->present);
        }
#pragma unroll
        for (int i = 0; i < DECODER_IMAGES_AT_ONCE; i++) {
            const long long image = base + i * step;
            if (image >= end)
                break;
            if (to[i] >= 0 && run.grad_x.data) {
                char *const grad_x = plb_image_row(run.grad_x, image, to[i]) + at;
                if (ALIGNED)
                    plb_store_whole(grad_x, grad[i]);
                else
                    plb_store_part<size>(grad_x, grad[i], 0, walk->present);
            }
            if (to[i] == DECODER_MASKED && run.mask_sums)
                plb_add_piece<DTYPE>(walk->mask_sum, grad[i]);
            if (walk->has_sum)
                plb_add_piece<DTYPE>(walk->sum, grad[i]);
        }
    }
}

/* Stores the complete sum of a row. */
PLB_DEVICE void store_decoder_sum(const decoder_backward_run &run, int row, long long channel, double sum)
{
    const int embedding = plb_decoder_embedding(run.view, row);
    if (embedding >= 0)
        plb_store_number(plb_image_row(run.grad_pos_embed, 0, embedding) + channel * plb_element_size(run.dtype),
                         run.dtype, sum);
}

template <int DTYPE, bool ALIGNED>
__global__ void __launch_bounds__(256) walk_decoder_tiles(const decoder_backward_run run)
{
    constexpr int count = plb_walker<DTYPE>::count;
    PLB_SHARED(double, memory, 128 * count);
    const plb_sharing &sharing = run.sharing;
    const unsigned group = threadIdx.x / (unsigned)sharing.lanes, lane = threadIdx.x - group * (unsigned)sharing.lanes;
    const unsigned part = blockIdx.x / (unsigned)sharing.chunks, chunk = blockIdx.x - part * (unsigned)sharing.chunks;
    const int tile = (int)(part / (unsigned)run.slices), slice = (int)(part - (unsigned)tile * (unsigned)run.slices);
    const int first = tile * run.tile, last = run.tile < run.rows - first ? first + run.tile : run.rows;
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
        walk.has_sum = run.grad_pos_embed.data && plb_decoder_embedding(run.view, row) >= 0;
        if (works)
            walk_decoder_row<DTYPE, ALIGNED>(run, &walk, row, begin + group, end, sharing.groups);
        if (!walk.has_sum)
            continue;
        plb_add_groups<count>(walk.sum, memory, sharing, group, lane);
        double *const sums = run.sums + ((long long)slice * run.rows + row) * run.channels + channel;
#pragma unroll
        for (int i = 0; i < count; i++)
            if (group == 0 && i < walk.present) {
                if (run.slices == 1)
                    store_decoder_sum(run, row, channel + i, walk.sum[i]);
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

/* The first blocks have 32 channels of the mask token each, the others elements of grad_pos_embed. */
__global__ void __launch_bounds__(DECODER_FINISH_THREADS)
    finish_decoder_sums(const decoder_backward_run run, int mask_blocks)
{
    PLB_SHARED(double, partial, DECODER_FINISH_THREADS);
    if ((int)blockIdx.x < mask_blocks) {
        const long long channel = (long long)blockIdx.x * 32 + threadIdx.x % 32;
        const double sum =
            plb_add_parts(run.mask_sums, (long long)run.tiles * run.slices, run.channels, channel, partial);
        if (threadIdx.x < 32 && channel < run.channels)
            plb_store_number(run.grad_mask_token + channel * plb_element_size(run.dtype), run.dtype, sum);
        return;
    }
    const long long element = (long long)(blockIdx.x - (unsigned)mask_blocks) * DECODER_FINISH_THREADS + threadIdx.x;
    const long long elements = run.rows * run.channels;
    long long channel;
    if (element >= elements)
        return;
    const int row = (int)plb_divide(element, run.channels, &channel);
    if (plb_decoder_embedding(run.view, row) < 0)
        return; /* it has no parts */
    double sum = 0;
#pragma unroll 4
    for (int slice = 0; slice < run.slices; slice++)
        sum += run.sums[slice * elements + element];
    store_decoder_sum(run, row, channel, sum);
}

/* ---- the host's part ---- */

/* Plans a call: the work, and how it is divided. */
static decoder_backward_run plan(const plb_call *call, const plb_decoder_backward_job *job)
{
    const plb_decoder_layout *const layout = &job->layout;
    decoder_backward_run run = {};
    run.view = plb_decoder_view_of(call, layout);
    run.grad_out = plb_images_of(&job->grad_out, layout->prefix + layout->tokens);
    run.grad_x = plb_images_of(&job->grad_x, layout->prefix + layout->visible);
    run.grad_pos_embed = plb_images_of(&job->grad_pos_embed, 0);
    run.grad_mask_token = job->grad_mask_token.data;
    run.dtype = job->grad_out.dtype;
    run.channels = layout->channels;
    run.sharing = plb_sharing_of(plb_pieces_in(layout->channels, plb_dtype_bytes(run.dtype)));
    run.rows = (int)(layout->prefix + layout->tokens);
    run.tile = run.rows / DECODER_MOST_PARTS + (run.rows % DECODER_MOST_PARTS != 0);
    run.tiles = run.rows ? run.rows / run.tile + (run.rows % run.tile != 0) : 0;
    /* Enough slices to give the device enough blocks, as long as each slice has images for all threads of a block. */
    const long long fitting = layout->images / (DECODER_IMAGES_AT_ONCE * run.sharing.groups);
    const long long wanted = run.tiles ? DECODER_MOST_PARTS / ((long long)run.tiles * run.sharing.chunks) : 1;
    run.slices = (int)(wanted < fitting ? wanted : fitting);
    run.slices = run.slices < 1 ? 1 : run.slices;
    return run;
}

/* Takes and divides the workspace. */
static poslabel_status allocate(const plb_call *call, decoder_backward_run *run)
{
    const bool is_listed = run->grad_x.data || run->grad_mask_token;
    const size_t row = plb_size_mul((size_t)run->channels, sizeof(double)), parts = (size_t)run->slices;
    const size_t sums = run->slices > 1 && run->grad_pos_embed.data ? plb_size_mul(parts * (size_t)run->rows, row) : 0;
    const size_t mask_sums = run->grad_mask_token ? plb_size_mul((size_t)run->tiles * parts, row) : 0;
    const size_t first = is_listed ? (size_t)run->view.images * (size_t)run->view.visible : 0;
    const size_t to = is_listed ? (size_t)run->view.images * (size_t)run->view.tokens : 0;
    void *memory;
    PLB_TRY(plb_cuda_workspace(call, plb_size_add(plb_size_add(sums, mask_sums), plb_size_mul(first + to, sizeof(int))),
                               &memory));
    char *const at = (char *)memory;
    run->sums = (double *)at;
    run->mask_sums = run->grad_mask_token ? (double *)(at + sums) : NULL;
    run->first = (int *)(at + sums + mask_sums);
    run->to = is_listed ? run->first + first : NULL;
    return POSLABEL_OK;
}

poslabel_status plb_cuda_decoder_tokens_backward(const plb_call *call, const plb_decoder_backward_job *job)
{
    static void (*const kernels[PLB_BF16 + 1][2])(decoder_backward_run) = {
        {walk_decoder_tiles<PLB_F32, false>, walk_decoder_tiles<PLB_F32, true>},
        {walk_decoder_tiles<PLB_F16, false>, walk_decoder_tiles<PLB_F16, true>},
        {walk_decoder_tiles<PLB_BF16, false>, walk_decoder_tiles<PLB_BF16, true>},
    };
    decoder_backward_run run = plan(call, job);
    const bool aligned = run.channels * plb_dtype_bytes(run.dtype) % PLB_PIECE == 0 &&
                         plb_images_are_aligned(&run.grad_out) && plb_images_are_aligned(&run.grad_x);
    if (run.channels == 0)
        return POSLABEL_OK;
    PLB_TRY(allocate(call, &run));
    if (run.to)
        PLB_TRY(plb_launch(call, PLB_INDEPENDENT, list_decoder_places, run.view.images, DECODER_LIST_THREADS, 0, run));
    PLB_TRY(plb_launch(call, PLB_INDEPENDENT, kernels[run.dtype][aligned],
                       (long long)run.tiles * run.slices * run.sharing.chunks, run.sharing.threads, 0, run));
    const long long mask_blocks = run.grad_mask_token ? (run.channels + 31) / 32 : 0;
    const long long elements = run.slices > 1 && run.grad_pos_embed.data ? run.rows * run.channels : 0;
    return plb_launch(call, PLB_INDEPENDENT, finish_decoder_sums,
                      mask_blocks + (elements + DECODER_FINISH_THREADS - 1) / DECODER_FINISH_THREADS,
                      DECODER_FINISH_THREADS, 0, run, mask_blocks);
}
