/*
 * Masks on CUDA.
 *
 * Patches, positions and places of an image are three rankings, which do not depend on one another and are sorted side
 * by side.  All outputs are then copied from the orders and ranks, so that neighbouring threads write neighbouring
 * elements.  For up to PLB_BLOCK_KEYS numbers an image, a block does all of this in one launch, and only inputs and
 * outputs are in device memory: launches and latency take the time here, not bandwidth.  The 196 patches of DropPos
 * take three warps, each with a ranking in its registers.
 *
 * Larger images take one launch to sort runs of PLB_BLOCK_KEYS, one for each pass that merges runs, and one to copy the
 * outputs.  The batch is cut so that its keys fit into the second-level cache, about, which also bounds the workspace.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "masks/outputs.cuh"
#include "masks/masks.cuh"

enum {
    MERGE_THREADS = 256,
    COPY_THREADS = 256,
    COPY_ITEMS = 4 /* elements of each output that a thread copies */
};

static const long long MOST_BLOCKS = 1ll << 30;     /* of a launch */
static const long long MOST_WORKSPACE = 64ll << 20; /* bytes, unless one image needs more */

/* Stores the index that each rank p came from: for the second stage in `before`, else in order and rank. */
PLB_DEVICE void settle(const plb_mask_plan &plan, const plb_warp_part &part, const plb_key (&k)[PLB_THREAD_KEYS],
                       int *before, int *order, int *rank)
{
    const unsigned length = plan.rankings[part.which].length;
#pragma unroll
    for (unsigned j = 0; j < PLB_THREAD_KEYS; j++) {
        const unsigned p = part.at + j * 32 + threadIdx.x % 32;
        if (p >= length)
            continue;
        unsigned index = (unsigned)k[j];
        if (part.stage + 1 < plan.stages) {
            before[p] = (int)index;
            continue;
        }
        if (part.stage)
            index = (unsigned)before[index];
        order[p] = (int)index;
        rank[index] = (int)p;
    }
}

/* A block makes the masks of an image. */
static __global__ void __launch_bounds__(PLB_BLOCK_THREADS, 2) mask_images(const __grid_constant__ plb_mask_plan plan)
{
    PLB_SHARED_BYTES(memory);
    plb_key *const keys = (plb_key *)memory;
    int *const order = (int *)memory, *const rank = order + plan.pitch; /* in place of the keys */
    int *const before = rank + plan.pitch;
    const unsigned number = threadIdx.x / 32 * PLB_WARP_KEYS;
    const int which = plb_ranking_at(plan, number);
    const unsigned start = (unsigned)plan.rankings[which].start;
    plb_warp_part part = {which, number - start, plan.first_image + blockIdx.x, 0, before + start};
    if (threadIdx.x == 0)
        plb_check_draw(plan, part.image);
    plb_key k[PLB_THREAD_KEYS];
#pragma unroll 1
    for (; part.stage < plan.stages; part.stage++) {
        plb_make_keys(plan, part, keys + number);
        plb_sort_block(keys + start, part.at, plan.rankings[which].length, plan.longest, k);
        PLB_BARRIER(); /* all keys are in registers */
        settle(plan, part, k, before + start, order + start, rank + start);
        PLB_BARRIER(); /* the orders are complete */
    }
    plb_copy_outputs(plan, part.image, order, rank, plb_items{threadIdx.x, blockDim.x});
}

/* Orders and ranks of larger images replace the keys in the buffer that the last pass does not read. */
PLB_DEVICE int *orders_of(const plb_mask_plan &plan, int buffer)
{
    return (int *)plan.keys[buffer];
}

PLB_DEVICE int *ranks_of(const plb_mask_plan &plan, int buffer)
{
    return (int *)plan.keys[buffer] + plan.images * plan.pitch;
}

/* Stores the keys of a part, as they are sorted so far, for the next pass; after the last pass, settles them. */
PLB_DEVICE void store_keys(const plb_mask_plan &plan, const plb_warp_part &part, long long start, int to, bool is_last,
                        const plb_key (&k)[PLB_THREAD_KEYS])
{
    if (is_last) {
        settle(plan, part, k, plan.before + start, orders_of(plan, to) + start, ranks_of(plan, to) + start);
        return;
    }
    plb_key *const keys = plan.keys[to] + start + part.at;
#pragma unroll
    for (unsigned j = 0; j < PLB_THREAD_KEYS; j++)
        if (part.at + j * 32 + threadIdx.x % 32 < plan.rankings[part.which].length)
            keys[j * 32 + threadIdx.x % 32] = k[j];
}

/* A block sorts a run of PLB_BLOCK_KEYS numbers; the last run of a ranking can be shorter. */
static __global__ void __launch_bounds__(PLB_BLOCK_THREADS, 2)
    sort_runs(const __grid_constant__ plb_mask_plan plan, unsigned stage, unsigned blocks, bool is_last)
{
    PLB_SHARED(plb_key, keys, PLB_BLOCK_KEYS);
    const unsigned slice = blockIdx.x / blocks;
    unsigned tile = blockIdx.x - slice * blocks;
    int which = 0;
    for (; tile >= plan.rankings[which].tiles; which++)
        tile -= plan.rankings[which].tiles;
    const unsigned at = tile * PLB_BLOCK_KEYS, here = threadIdx.x / 32 * PLB_WARP_KEYS;
    const unsigned length = min(plan.rankings[which].length - at, (unsigned)PLB_BLOCK_KEYS);
    const long long start = slice * plan.pitch + plan.rankings[which].start;
    const plb_warp_part part = {which, at + here, plan.first_image + slice, stage, plan.before + start};
    if (stage == 0 && blockIdx.x == slice * blocks && threadIdx.x == 0)
        plb_check_draw(plan, part.image);
    plb_key k[PLB_THREAD_KEYS];
    plb_make_keys(plan, part, keys + here);
    plb_sort_block(keys, here, length, length, k);
    store_keys(plan, part, start, 0, is_last, k);
}

/* Merges pairs of sorted runs.  A thread makes eight numbers of the runs of twice the width. */
static __global__ void __launch_bounds__(MERGE_THREADS)
    merge_runs(const __grid_constant__ plb_mask_plan plan, unsigned stage, unsigned blocks, unsigned width, int from,
               bool is_last)
{
    PLB_SHARED(plb_key, keys, MERGE_THREADS * PLB_THREAD_KEYS);
    const unsigned slice = blockIdx.x / blocks, here = threadIdx.x / 32 * PLB_WARP_KEYS;
    const long long number = (long long)(blockIdx.x - slice * blocks) * (MERGE_THREADS * PLB_THREAD_KEYS) + here;
    if (number >= plan.pitch)
        return;
    const int which = plb_ranking_at(plan, number);
    const unsigned at = (unsigned)(number - plan.rankings[which].start);
    const long long start = slice * plan.pitch + plan.rankings[which].start;
    const plb_warp_part part = {which, at, plan.first_image + slice, stage, NULL};
    plb_key k[PLB_THREAD_KEYS];
    plb_merge<false>(plan.keys[from] + start, at + threadIdx.x % 32 * PLB_THREAD_KEYS, width,
                     plan.rankings[which].length, k);
    plb_put_in_order(keys + here, k);
    plb_take_in_turns(keys + here, k);
    store_keys(plan, part, start, 1 - from, is_last, k);
}

static __global__ void __launch_bounds__(COPY_THREADS)
    copy_images(const __grid_constant__ plb_mask_plan plan, unsigned blocks, int from)
{
    const unsigned slice = blockIdx.x / blocks, block = blockIdx.x - slice * blocks;
    const long long start = slice * plan.pitch;
    plb_copy_outputs(plan, plan.first_image + slice, orders_of(plan, from) + start, ranks_of(plan, from) + start,
                     plb_items{block * COPY_THREADS + threadIdx.x, blocks * COPY_THREADS});
}

/* ---- host ---- */

static unsigned ceiling(unsigned long long a, unsigned b)
{
    return (unsigned)((a + b - 1) / b);
}

/* Adds the numbers of a ranking to the plan, if an output needs it or its noise has to be checked. */
static void add_ranking(plb_mask_plan *plan, int which, const plb_rows *noise, bool is_needed, int64_t length)
{
    plb_ranking *const ranking = &plan->rankings[which];
    ranking->noise = plb_view_of(noise);
    ranking->start = plan->pitch;
    ranking->length = is_needed || noise->data ? (unsigned)length : 0;
    ranking->tiles = ceiling(ranking->length, PLB_BLOCK_KEYS);
    plan->pitch += (long long)ceiling(ranking->length, PLB_WARP_KEYS) * PLB_WARP_KEYS;
    plan->longest = max(plan->longest, ranking->length);
    if (ranking->length && noise->data && noise->dtype == PLB_F64)
        plan->stages = 2;
}

static plb_mask_plan plan_of(const plb_call *call, const plb_masks_job *job)
{
    plb_mask_plan plan = {};
    const bool positions =
        job->ids_keep_pos.data || job->ids_restore_pos.data || job->mask_pos.data || job->positions.data;
    const bool patches =
        job->ids_keep.data || job->ids_remove.data || job->ids_restore.data || job->mask.data || job->positions.data;
    plan.stages = 1;
    add_ranking(&plan, PLB_RANK_PATCHES, &job->patch_noise, patches, job->tokens);
    add_ranking(&plan, PLB_RANK_POSITIONS, &job->pos_noise, positions, job->keep);
    add_ranking(&plan, PLB_RANK_PLACES, &job->shuffle_noise, job->places.data != NULL, job->keep);
    plan.tokens = (unsigned)job->tokens;
    plan.keep = (unsigned)job->keep;
    plan.keep_pos = (unsigned)job->keep_pos;
    plan.height = (unsigned)job->grid.height;
    plan.width = (unsigned)job->grid.width;
    plan.side = (unsigned)job->block_side;
    plan.seed = job->seed;
    plan.first_sample = job->first_sample;
    plan.step = job->step;
    plan.samples = job->samples.data;
    plan.samples_dtype = job->samples.dtype;
    plan.step_scalar = job->step_scalar.data;
    plan.step_dtype = job->step_scalar.dtype;
    plan.patch_mask = (unsigned char)job->patch_mask;
    plan.wrong_positions = job->wrong_positions;
    plan.ids_keep = plb_view_of(&job->ids_keep);
    plan.ids_remove = plb_view_of(&job->ids_remove);
    plan.ids_restore = plb_view_of(&job->ids_restore);
    plan.mask = plb_view_of(&job->mask);
    plan.ids_keep_pos = plb_view_of(&job->ids_keep_pos);
    plan.ids_restore_pos = plb_view_of(&job->ids_restore_pos);
    plan.mask_pos = plb_view_of(&job->mask_pos);
    plan.positions = plb_view_of(&job->positions);
    plan.places = plb_view_of(&job->places);
    plan.state = plb_cuda_of(call)->state;
    return plan;
}

/* Bytes of shared memory, or of workspace, for a number of an image: its key and its place in the first order. */
static size_t key_bytes(const plb_mask_plan *plan)
{
    return sizeof(plb_key) + (plan->stages > 1 ? sizeof(int) : 0);
}

static poslabel_status sort_images(const plb_call *call, const plb_mask_plan *plan)
{
    const unsigned tiles = plan->rankings[PLB_RANK_PATCHES].tiles + plan->rankings[PLB_RANK_POSITIONS].tiles +
                           plan->rankings[PLB_RANK_PLACES].tiles;
    const unsigned merges = ceiling((unsigned long long)plan->pitch, MERGE_THREADS * PLB_THREAD_KEYS);
    const unsigned copies = ceiling(max(plan->tokens, plan->keep), COPY_THREADS * COPY_ITEMS);
    int from = 0;
    for (unsigned stage = 0; stage < plan->stages; stage++) {
        unsigned long long width = PLB_BLOCK_KEYS;
        PLB_TRY(plb_launch(call, PLB_INDEPENDENT, sort_runs, plan->images * tiles, PLB_BLOCK_THREADS, 0, *plan, stage,
                           tiles, width >= plan->longest));
        for (from = 0; width < plan->longest; width *= 2, from = 1 - from)
            PLB_TRY(plb_launch(call, PLB_INDEPENDENT, merge_runs, plan->images * merges, MERGE_THREADS, 0, *plan, stage,
                               merges, width, from, 2 * width >= plan->longest));
    }
    return plb_launch(call, PLB_INDEPENDENT, copy_images, plan->images * copies, COPY_THREADS, 0, *plan, copies, from);
}

poslabel_status plb_cuda_masks(const plb_call *call, const plb_masks_job *job)
{
    plb_mask_plan plan = plan_of(call, job);
    const bool is_small = plan.pitch <= PLB_BLOCK_KEYS;
    const long long bytes = plan.pitch * (long long)(is_small ? key_bytes(&plan) : key_bytes(&plan) + sizeof(plb_key));
    const long long most = is_small ? MOST_BLOCKS : max(MOST_WORKSPACE / bytes, 1ll);
    const long long at_a_time = is_small ? most : min((long long)job->images, most);
    void *workspace;
    PLB_TRY(plb_cuda_workspace(call, is_small ? 0 : (size_t)(at_a_time * bytes), &workspace));
    if (job->images == 0 || plan.pitch == 0)
        return POSLABEL_OK;
    if (!is_small) {
        plan.keys[0] = (plb_key *)workspace;
        plan.keys[1] = plan.keys[0] + at_a_time * plan.pitch;
        plan.before = (int *)(plan.keys[1] + at_a_time * plan.pitch);
    }
    for (; plan.first_image < job->images; plan.first_image += at_a_time) {
        plan.images = min(job->images - plan.first_image, at_a_time);
        PLB_TRY(is_small ? plb_launch(call, PLB_INDEPENDENT, mask_images, plan.images,
                                      (int)(plan.pitch / PLB_THREAD_KEYS), (size_t)bytes, plan)
                         : sort_images(call, &plan));
    }
    return POSLABEL_OK;
}
