/*
 * Masks: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "masks.h"

#include "backend.h"

#include <math.h>
#include <poslabel/masks.h>

static bool ratio_is_valid(double ratio)
{
    return ratio >= 0 && ratio <= 1;
}

int64_t poslabel_random_mask_keep(int64_t tokens, double mask_ratio)
{
    if (tokens < 0 || !ratio_is_valid(mask_ratio))
        return -1;
    const double keep = (double)tokens * (1 - mask_ratio);
    return keep < 0x1p63 ? (int64_t)keep : tokens;
}

int64_t poslabel_regular_mask_keep(poslabel_grid grid)
{
    if (!plb_grid_is_valid(grid))
        return -1;
    return ((int64_t)grid.height + 1) / 2 * (((int64_t)grid.width + 1) / 2);
}

/* The side of the block that stays visible, whether it fits or not. */
static int32_t block_side(poslabel_grid grid, double mask_ratio)
{
    const int64_t n = (int64_t)grid.height * grid.width;
    return (int32_t)sqrt((double)(n - (int64_t)(mask_ratio * (double)n)));
}

int64_t poslabel_block_mask_keep(poslabel_grid grid, double mask_ratio)
{
    if (!plb_grid_is_valid(grid) || !ratio_is_valid(mask_ratio))
        return -1;
    const int32_t side = block_side(grid, mask_ratio);
    return side <= grid.height && side <= grid.width ? (int64_t)side * side : -1;
}

static poslabel_status check_ratio(const plb_call *call, const char *name, double ratio)
{
    if (!ratio_is_valid(ratio))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s = %g, must be in [0, 1]", name, ratio);
    return POSLABEL_OK;
}

/* Sets the square of the job, and how many patches it keeps. */
static poslabel_status set_block(const plb_call *call, poslabel_grid grid, double mask_ratio, plb_masks_job *job)
{
    PLB_TRY(check_ratio(call, "mask_ratio", mask_ratio));
    job->block_side = block_side(grid, mask_ratio);
    job->keep = poslabel_block_mask_keep(grid, mask_ratio);
    if (job->keep < 0)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "mask_ratio = %g leaves a square of %d x %d patches, which does not fit a grid of %d x %d",
                        mask_ratio, (int)job->block_side, (int)job->block_side, (int)grid.height, (int)grid.width);
    return POSLABEL_OK;
}

poslabel_status plb_check_first_sample(const plb_call *call, uint32_t first_sample, int64_t images)
{
    if (images > ((int64_t)1 << 32) - first_sample)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "first_sample = %lu and %lld images, must end at 2^32 or before",
                        (unsigned long)first_sample, (long long)images);
    return POSLABEL_OK;
}

/* B, and the numbers of tokens, of those that stay and go, and of visible tokens that keep their position. */
enum { B = 1, N, K, REMOVED, KEPT_POSITIONS };

/* Reads the tensors, which settles the number of images, and leaves the job to the backend. */
static poslabel_status run(const plb_call *call, plb_masks_job *job, const plb_argument *arguments, int count)
{
    if (!plb_has_output(arguments, count))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "no output is given, at least one of %s to %s must be",
                        "ids_keep", arguments[count - 1].name);
    plb_reader reader;
    plb_reader_begin(&reader, call);
    reader.size[N] = job->tokens;
    reader.size[K] = job->keep;
    reader.size[REMOVED] = job->tokens - job->keep;
    reader.size[KEPT_POSITIONS] = job->keep_pos;
    PLB_TRY(plb_read(&reader, arguments, count));
    job->images = reader.size[B];
    if (!job->samples.data)
        PLB_TRY(plb_check_first_sample(call, job->first_sample, job->images));
    return PLB_RUN(call, masks, job);
}

/* Where random numbers come from, in all masks alike. */
#define SET_STREAM(args, job)                                                                                          \
    do {                                                                                                               \
        (job).seed = (args).seed;                                                                                      \
        (job).first_sample = (args).first_sample;                                                                      \
        (job).step = (args).step;                                                                                      \
    } while (0)

/* The tensors of random numbers that all masks take, */
#define STREAM_ARGUMENTS(args, job)                                                                                    \
    {"samples", (args).samples, &(job).samples, PLB_IDS, PLB_IN, {B}},                                                 \
    {                                                                                                                  \
        "step_scalar", (args).step_scalar, &(job).step_scalar, PLB_IDS, PLB_IN, {0}                                    \
    }

/* and the outputs that all have. */
#define PATCH_OUTPUTS(args, job)                                                                                       \
    {"ids_keep", (args).ids_keep, &(job).ids_keep, PLB_IDS, PLB_OUT, {B, K}},                                          \
        {"ids_remove", (args).ids_remove, &(job).ids_remove, PLB_IDS, PLB_OUT, {B, REMOVED}},                          \
        {"ids_restore", (args).ids_restore, &(job).ids_restore, PLB_IDS, PLB_OUT, {B, N}},                             \
    {                                                                                                                  \
        "mask", (args).mask, &(job).mask, PLB_MASKS, PLB_OUT, {B, N}                                                   \
    }

poslabel_status poslabel_random_mask(poslabel_context *context, const poslabel_random_mask_args *given)
{
    poslabel_random_mask_args args = POSLABEL_RANDOM_MASK_ARGS_INIT;
    plb_masks_job job = {.patch_mask = POSLABEL_PATCH_MASK_RANDOM};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "random_mask", given, &args, sizeof args));
    call.lent = args.workspace;
    if (args.tokens < 1 || args.tokens > INT32_MAX)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "tokens = %lld, must be >= 1 and below 2^31",
                        (long long)args.tokens);
    PLB_TRY(check_ratio(&call, "mask_ratio", args.mask_ratio));
    job.tokens = args.tokens;
    job.keep = poslabel_random_mask_keep(args.tokens, args.mask_ratio);
    SET_STREAM(args, job);
    const plb_argument arguments[] = {
        {"noise", args.noise, &job.patch_noise, PLB_LOGITS, PLB_IN, {B, N}},
        STREAM_ARGUMENTS(args, job),
        PATCH_OUTPUTS(args, job),
    };
    return run(&call, &job, arguments, PLB_COUNT(arguments));
}

poslabel_status poslabel_regular_mask(poslabel_context *context, const poslabel_regular_mask_args *given)
{
    poslabel_regular_mask_args args = POSLABEL_REGULAR_MASK_ARGS_INIT;
    plb_masks_job job = {.patch_mask = POSLABEL_PATCH_MASK_REGULAR};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "regular_mask", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_grid(&call, args.grid));
    job.grid = args.grid;
    job.tokens = (int64_t)args.grid.height * args.grid.width;
    job.keep = poslabel_regular_mask_keep(args.grid);
    SET_STREAM(args, job);
    const plb_argument arguments[] = {STREAM_ARGUMENTS(args, job), PATCH_OUTPUTS(args, job)};
    return run(&call, &job, arguments, PLB_COUNT(arguments));
}

poslabel_status poslabel_block_mask(poslabel_context *context, const poslabel_block_mask_args *given)
{
    poslabel_block_mask_args args = POSLABEL_BLOCK_MASK_ARGS_INIT;
    plb_masks_job job = {.patch_mask = POSLABEL_PATCH_MASK_BLOCK};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "block_mask", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_grid(&call, args.grid));
    PLB_TRY(set_block(&call, args.grid, args.mask_ratio, &job));
    job.grid = args.grid;
    job.tokens = (int64_t)args.grid.height * args.grid.width;
    SET_STREAM(args, job);
    const plb_argument arguments[] = {STREAM_ARGUMENTS(args, job), PATCH_OUTPUTS(args, job)};
    return run(&call, &job, arguments, PLB_COUNT(arguments));
}

/* How many patches the patch mask keeps, and the checks of the arguments that it uses. */
static poslabel_status set_patch_mask(const plb_call *call, const poslabel_droppos_masks_args *args, plb_masks_job *job)
{
    switch (args->patch_mask) {
    case POSLABEL_PATCH_MASK_RANDOM:
        job->keep = poslabel_random_mask_keep(job->tokens, args->mask_ratio);
        return check_ratio(call, "mask_ratio", args->mask_ratio);
    case POSLABEL_PATCH_MASK_REGULAR:
        job->keep = poslabel_regular_mask_keep(args->grid);
        return POSLABEL_OK;
    case POSLABEL_PATCH_MASK_BLOCK:
        return set_block(call, args->grid, args->mask_ratio, job);
    }
    return plb_fail(call, POSLABEL_ERROR_INVALID,
                    "patch_mask = %d, must be POSLABEL_PATCH_MASK_RANDOM (0), _REGULAR (1) or _BLOCK (2)",
                    (int)args->patch_mask);
}

poslabel_status poslabel_droppos_masks(poslabel_context *context, const poslabel_droppos_masks_args *given)
{
    poslabel_droppos_masks_args args = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    plb_masks_job job = {.images = 0};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "droppos_masks", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_grid(&call, args.grid));
    job.patch_mask = args.patch_mask;
    job.grid = args.grid;
    job.tokens = (int64_t)args.grid.height * args.grid.width;
    PLB_TRY(set_patch_mask(&call, &args, &job));
    PLB_TRY(check_ratio(&call, "pos_mask_ratio", args.pos_mask_ratio));
    PLB_TRY(plb_check_flag(&call, "wrong_positions", args.wrong_positions));
    job.keep_pos = poslabel_random_mask_keep(job.keep, args.pos_mask_ratio);
    job.wrong_positions = args.wrong_positions;
    SET_STREAM(args, job);
    const poslabel_tensor *const patch_noise = job.patch_mask == POSLABEL_PATCH_MASK_RANDOM ? args.patch_noise : NULL;
    const plb_argument arguments[] = {
        {"patch_noise", patch_noise, &job.patch_noise, PLB_LOGITS, PLB_IN, {B, N}},
        {"pos_noise", args.pos_noise, &job.pos_noise, PLB_LOGITS, PLB_IN, {B, K}},
        {"shuffle_noise", args.shuffle_noise, &job.shuffle_noise, PLB_LOGITS, PLB_IN, {B, K}},
        STREAM_ARGUMENTS(args, job),
        PATCH_OUTPUTS(args, job),
        {"ids_keep_pos", args.ids_keep_pos, &job.ids_keep_pos, PLB_IDS, PLB_OUT, {B, KEPT_POSITIONS}},
        {"ids_restore_pos", args.ids_restore_pos, &job.ids_restore_pos, PLB_IDS, PLB_OUT, {B, K}},
        {"mask_pos", args.mask_pos, &job.mask_pos, PLB_MASKS, PLB_OUT, {B, K}},
        {"positions", args.positions, &job.positions, PLB_IDS, PLB_OUT, {B, K}},
        {"places", args.places, &job.places, PLB_IDS, PLB_OUT, {B, K}},
    };
    return run(&call, &job, arguments, PLB_COUNT(arguments));
}
