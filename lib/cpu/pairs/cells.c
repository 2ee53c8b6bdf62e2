/*
 * Pairs of cells and their offsets, on the CPU.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/ids.h"
#include "cpu/core/kernels.h"
#include "cpu/core/parallel.h"
#include "cpu/core/scalars.h"
#include "cpu/masks/draws.h"
#include "cpu/masks/ranks.h"
#include "cpu/operations.h"
#include "pairs.h"

#include <poslabel/pairs.h>

typedef struct pairs_run {
    const plb_cell_pairs_job *job;
    const plb_mask_kernels *kernels;
    uint32_t step;
    char *workspace;  /* of the permutations */
    size_t desk_size; /* of it for each thread */
} pairs_run;

static void store_pair(char *at, plb_dtype dtype, int64_t a, int64_t b)
{
    plb_store_id(at, dtype, a);
    plb_store_id(at + plb_dtype_size[dtype], dtype, b);
}

static int64_t random_cell(poslabel_grid grid, const uint32_t words[2])
{
    const int64_t y = plb_random_below(words[0], (uint32_t)grid.height);
    return y * grid.width + plb_random_below(words[1], (uint32_t)grid.width);
}

static void random_pairs(const plb_cell_pairs_job *job, const plb_draw *draw, int64_t image)
{
    for (int64_t i = 0; i < job->pairs; i++) {
        uint32_t words[4];
        plb_philox(draw->seed, draw->sample, (uint32_t)i, draw->stream, draw->step, words);
        store_pair(plb_row(&job->cells, image * job->pairs + i), job->cells.dtype, random_cell(job->grid, words),
                   random_cell(job->grid, words + 2));
    }
}

/* The numbers and the scratch of a permutation. */
static size_t desk_size(const plb_cell_pairs_job *job, const plb_mask_kernels *kernels)
{
    if (job->kind != POSLABEL_PAIRS_ALL)
        return 0;
    return 3 * plb_rank_pitch(job->pairs) * sizeof(int32_t) +
           (plb_rank_scratch(job->pairs, kernels->sorted) + 63) / 64 * 64;
}

static plb_ranking permutation_at(const pairs_run *run, int thread)
{
    const size_t pitch = plb_rank_pitch(run->job->pairs);
    int32_t *const memory = (int32_t *)(run->workspace + (size_t)thread * run->desk_size);
    return (plb_ranking){.length = run->job->pairs,
                         .wanted = run->job->pairs,
                         .noise = memory,
                         .dtype = PLB_I32,
                         .drawn = true,
                         .values = memory,
                         .order = memory + pitch,
                         .rank = memory + 2 * pitch,
                         .scratch = memory + 3 * pitch};
}

static void draw_pairs(void *argument, int thread, int threads)
{
    const pairs_run *const run = argument;
    const plb_cell_pairs_job *const job = run->job;
    plb_ranking permutation = {.length = 0};
    plb_noise_range range = {0, 0};
    if (job->kind == POSLABEL_PAIRS_ALL)
        permutation = permutation_at(run, thread);
    int64_t image, end;
    plb_share(job->images, thread, threads, &image, &end);
    for (; image < end; image++) {
        const plb_draw draw =
            plb_draw_of(&job->samples, job->first_sample, image, job->seed, POSLABEL_STREAM_CELL_PAIRS, run->step);
        if (job->kind == POSLABEL_PAIRS_RANDOM) {
            random_pairs(job, &draw, image);
            continue;
        }
        permutation.draw = draw;
        plb_rank(run->kernels, &permutation, 1, &range);
        for (int64_t i = 0; i < job->pairs; i++)
            store_pair(plb_row(&job->cells, image * job->pairs + i), job->cells.dtype, i, permutation.order[i]);
    }
}

poslabel_status plb_cpu_cell_pairs(const plb_call *call, const plb_cell_pairs_job *job)
{
    /* a pair is drawn, or a number ranked, in the time in which some 64 bytes are copied */
    const size_t count = plb_size_mul((size_t)job->images, (size_t)job->pairs);
    const size_t work = plb_shared_bytes(job->images, plb_size_mul(count, 64));
    const plb_mask_kernels *const kernels = plb_kernels_of(call->context)->masks;
    pairs_run run = {.job = job, .kernels = kernels, .step = job->step, .desk_size = desk_size(job, kernels)};
    const size_t threads = count ? (size_t)plb_parallel_threads(call->context, work) : 0;
    void *workspace;
    PLB_TRY(plb_workspace(call, plb_size_mul(threads, run.desk_size), &workspace));
    PLB_TRY(plb_check_ids(call, &job->samples, 0, PLB_SAMPLES));
    PLB_TRY(plb_read_step(call, &job->step_scalar, &run.step));
    if (count == 0)
        return POSLABEL_OK;
    run.workspace = workspace;
    plb_parallel(call->context, work, draw_pairs, &run);
    return POSLABEL_OK;
}

/* One axis of a pair; 16-bit floats are rounded once, by way of a float32 that was rounded to odd. */
static void store_offset(const plb_cell_offsets_job *job, char *at, int64_t a, int64_t b, int32_t side)
{
    const plb_dtype dtype = job->offsets.dtype;
    const int64_t most = job->absolute ? side - 1 : 2 * ((int64_t)side - 1);
    int64_t offset = a - b + side - 1;
    if (job->absolute)
        offset = a < b ? b - a : a - b;
    if (dtype == PLB_I32 || dtype == PLB_I64) {
        plb_store_id(at, dtype, offset);
        return;
    }
    const double value = job->normalized && most > 0 ? (double)offset / (double)most : (double)offset;
    plb_store_number(at, dtype, dtype == PLB_F16 || dtype == PLB_BF16 ? plb_round_odd(value) : value);
}

static void store_offsets(void *argument, int thread, int threads)
{
    const plb_cell_offsets_job *const job = argument;
    const int32_t h = job->grid.height, w = job->grid.width;
    const plb_dtype dtype = job->cells.dtype;
    int64_t row, end;
    plb_share(job->cells.count, thread, threads, &row, &end);
    for (; row < end; row++) {
        const char *const pair = plb_row(&job->cells, row);
        char *const to = plb_row(&job->offsets, row);
        const int64_t a = plb_load_id(pair, dtype), b = plb_load_id(pair + plb_dtype_size[dtype], dtype);
        store_offset(job, to, a / w, b / w, h);
        store_offset(job, to + plb_dtype_size[job->offsets.dtype], a % w, b % w, w);
    }
}

poslabel_status plb_cpu_cell_offsets(const plb_call *call, const plb_cell_offsets_job *job)
{
    void *none;
    PLB_TRY(plb_workspace(call, 0, &none));
    PLB_TRY(plb_check_ids(call, &job->cells, 0, (int64_t)job->grid.height * job->grid.width));
    const size_t bytes = plb_ids_bytes(job->cells.count, 4); /* two numbers in, two out */
    plb_parallel(call->context, plb_shared_bytes(job->cells.count, bytes), store_offsets, (void *)job);
    return POSLABEL_OK;
}
