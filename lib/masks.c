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
    poslabel_status status = check_ratio(call, "mask_ratio", mask_ratio);
    if (status != POSLABEL_OK)
        return status;
    job->block_side = block_side(grid, mask_ratio);
    job->keep = poslabel_block_mask_keep(grid, mask_ratio);
    if (job->keep < 0)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "mask_ratio = %g leaves a square of %d x %d patches, which does not fit a grid of %d x %d",
                        mask_ratio, (int)job->block_side, (int)job->block_side, (int)grid.height, (int)grid.width);
    return POSLABEL_OK;
}

/* One tensor of a call, the view of it and the length that its rows must have. */
typedef struct mask_tensor {
    const char *name;
    const poslabel_tensor *tensor;
    plb_rows *rows;
    int64_t length;
    unsigned dtypes;
    plb_access access;
} mask_tensor;

enum { MAX_TENSORS = 12 };

/* Reads the tensors, which settles the number of images, and leaves the job to the backend. */
static poslabel_status run(const plb_call *call, plb_masks_job *job, const mask_tensor *tensors, int count)
{
    poslabel_status status = POSLABEL_OK;
    const plb_rows *filled[MAX_TENSORS];
    int outputs = 0, fill = 0;
    int64_t images = PLB_UNKNOWN;
    for (int i = 0; i < count; i++)
        outputs += tensors[i].tensor && tensors[i].access == PLB_OUTPUT;
    if (!outputs)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "no output is given, at least one of %s to %s must be",
                        "ids_keep", tensors[count - 1].name);
    for (int i = 0; i < count; i++) {
        const mask_tensor *const t = &tensors[i];
        plb_shape shape = {2, {images, t->length}};
        if ((status = plb_view(call, t->name, t->tensor, t->dtypes, &shape, PLB_EXACT, 1, t->access, t->rows)) !=
            POSLABEL_OK)
            return status;
        if (!t->tensor)
            continue;
        images = shape.dim[0];
        filled[fill++] = t->rows;
    }
    if ((status = plb_no_overlap(call, filled, fill)) != POSLABEL_OK)
        return status;
    if (images > ((int64_t)1 << 32) - job->first_sample)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "first_sample = %lu and %lld images, must end at 2^32 or before",
                        (unsigned long)job->first_sample, (long long)images);
    job->images = images;
    return PLB_RUN(call, masks, job);
}

/* The entries of the outputs that all masks have. */
#define PATCH_OUTPUTS(args, job)                                                                                       \
    {"ids_keep", (args).ids_keep, &(job).ids_keep, (job).keep, PLB_IDS, PLB_OUTPUT},                                   \
        {"ids_remove", (args).ids_remove, &(job).ids_remove, (job).tokens - (job).keep, PLB_IDS, PLB_OUTPUT},          \
        {"ids_restore", (args).ids_restore, &(job).ids_restore, (job).tokens, PLB_IDS, PLB_OUTPUT},                    \
        {"mask", (args).mask, &(job).mask, (job).tokens, PLB_MASKS, PLB_OUTPUT}

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

poslabel_status poslabel_random_mask(poslabel_context *context, const poslabel_random_mask_args *given)
{
    poslabel_random_mask_args args = POSLABEL_RANDOM_MASK_ARGS_INIT;
    plb_masks_job job = {.patch_mask = POSLABEL_PATCH_MASK_RANDOM};
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "random_mask", given, &args, sizeof args);
    if (status != POSLABEL_OK)
        return status;
    if (args.tokens < 1 || args.tokens > INT32_MAX)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "tokens = %lld, must be >= 1 and below 2^31",
                        (long long)args.tokens);
    if ((status = check_ratio(&call, "mask_ratio", args.mask_ratio)) != POSLABEL_OK)
        return status;
    job.tokens = args.tokens;
    job.keep = poslabel_random_mask_keep(args.tokens, args.mask_ratio);
    job.seed = args.seed;
    job.first_sample = args.first_sample;
    job.step = args.step;
    const mask_tensor tensors[] = {
        {"noise", args.noise, &job.patch_noise, job.tokens, PLB_LOGITS, PLB_INPUT},
        PATCH_OUTPUTS(args, job),
    };
    return run(&call, &job, tensors, COUNT(tensors));
}

poslabel_status poslabel_regular_mask(poslabel_context *context, const poslabel_regular_mask_args *given)
{
    poslabel_regular_mask_args args = POSLABEL_REGULAR_MASK_ARGS_INIT;
    plb_masks_job job = {.patch_mask = POSLABEL_PATCH_MASK_REGULAR};
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "regular_mask", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_check_grid(&call, args.grid)) != POSLABEL_OK)
        return status;
    job.grid = args.grid;
    job.tokens = (int64_t)args.grid.height * args.grid.width;
    job.keep = poslabel_regular_mask_keep(args.grid);
    job.seed = args.seed;
    job.first_sample = args.first_sample;
    job.step = args.step;
    const mask_tensor tensors[] = {PATCH_OUTPUTS(args, job)};
    return run(&call, &job, tensors, COUNT(tensors));
}

poslabel_status poslabel_block_mask(poslabel_context *context, const poslabel_block_mask_args *given)
{
    poslabel_block_mask_args args = POSLABEL_BLOCK_MASK_ARGS_INIT;
    plb_masks_job job = {.patch_mask = POSLABEL_PATCH_MASK_BLOCK};
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "block_mask", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_check_grid(&call, args.grid)) != POSLABEL_OK ||
        (status = set_block(&call, args.grid, args.mask_ratio, &job)) != POSLABEL_OK)
        return status;
    job.grid = args.grid;
    job.tokens = (int64_t)args.grid.height * args.grid.width;
    job.seed = args.seed;
    job.first_sample = args.first_sample;
    job.step = args.step;
    const mask_tensor tensors[] = {PATCH_OUTPUTS(args, job)};
    return run(&call, &job, tensors, COUNT(tensors));
}

/* What the patch mask keeps, and the checks of what it uses. */
static poslabel_status set_patch_mask(const plb_call *call, const poslabel_droppos_masks_args *args, plb_masks_job *job)
{
    poslabel_status status;
    switch (args->patch_mask) {
    case POSLABEL_PATCH_MASK_RANDOM:
        status = check_ratio(call, "mask_ratio", args->mask_ratio);
        job->keep = poslabel_random_mask_keep(job->tokens, args->mask_ratio);
        return status;
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
    plb_masks_job job = {0};
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "droppos_masks", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_check_grid(&call, args.grid)) != POSLABEL_OK)
        return status;
    job.patch_mask = args.patch_mask;
    job.grid = args.grid;
    job.tokens = (int64_t)args.grid.height * args.grid.width;
    if ((status = set_patch_mask(&call, &args, &job)) != POSLABEL_OK ||
        (status = check_ratio(&call, "pos_mask_ratio", args.pos_mask_ratio)) != POSLABEL_OK)
        return status;
    if (args.wrong_positions != 0 && args.wrong_positions != 1)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "wrong_positions = %d, must be 0 or 1",
                        (int)args.wrong_positions);
    job.keep_pos = poslabel_random_mask_keep(job.keep, args.pos_mask_ratio);
    job.wrong_positions = args.wrong_positions;
    job.seed = args.seed;
    job.first_sample = args.first_sample;
    job.step = args.step;
    const poslabel_tensor *const patch_noise = job.patch_mask == POSLABEL_PATCH_MASK_RANDOM ? args.patch_noise : NULL;
    const mask_tensor tensors[] = {
        {"patch_noise", patch_noise, &job.patch_noise, job.tokens, PLB_LOGITS, PLB_INPUT},
        {"pos_noise", args.pos_noise, &job.pos_noise, job.keep, PLB_LOGITS, PLB_INPUT},
        {"shuffle_noise", args.shuffle_noise, &job.shuffle_noise, job.keep, PLB_LOGITS, PLB_INPUT},
        PATCH_OUTPUTS(args, job),
        {"ids_keep_pos", args.ids_keep_pos, &job.ids_keep_pos, job.keep_pos, PLB_IDS, PLB_OUTPUT},
        {"ids_restore_pos", args.ids_restore_pos, &job.ids_restore_pos, job.keep, PLB_IDS, PLB_OUTPUT},
        {"mask_pos", args.mask_pos, &job.mask_pos, job.keep, PLB_MASKS, PLB_OUTPUT},
        {"positions", args.positions, &job.positions, job.keep, PLB_IDS, PLB_OUTPUT},
        {"places", args.places, &job.places, job.keep, PLB_IDS, PLB_OUTPUT},
    };
    return run(&call, &job, tensors, COUNT(tensors));
}
