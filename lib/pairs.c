/*
 * Pairs of cells: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pairs.h"

#include "backend.h"
#include "masks.h"

#include <poslabel/pairs.h>

/* B, m, and the two cells of a pair or axes of an offset. */
enum { B = 1, M, TWO };

static poslabel_status check_pairs(const plb_call *call, const plb_cell_pairs_job *job)
{
    const int64_t cells = (int64_t)job->grid.height * job->grid.width;
    if (job->pairs > INT32_MAX)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "cells has %lld pairs an image, must be fewer than 2^31",
                        (long long)job->pairs);
    if (job->kind == POSLABEL_PAIRS_ALL && job->pairs != cells)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "cells has %lld pairs an image, must be %lld: kind is POSLABEL_PAIRS_ALL and the grid %d x %d",
                        (long long)job->pairs, (long long)cells, (int)job->grid.height, (int)job->grid.width);
    return job->samples.data ? POSLABEL_OK : plb_check_first_sample(call, job->first_sample, job->images);
}

poslabel_status poslabel_cell_pairs(poslabel_context *context, const poslabel_cell_pairs_args *given)
{
    poslabel_cell_pairs_args args = POSLABEL_CELL_PAIRS_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "cell_pairs", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_grid(&call, args.grid));
    if (args.kind != POSLABEL_PAIRS_RANDOM && args.kind != POSLABEL_PAIRS_ALL)
        return plb_fail(&call, POSLABEL_ERROR_INVALID,
                        "kind = %d, must be POSLABEL_PAIRS_RANDOM (0) or POSLABEL_PAIRS_ALL (1)", (int)args.kind);

    plb_cell_pairs_job job = {
        .grid = args.grid, .kind = args.kind, .seed = args.seed, .first_sample = args.first_sample, .step = args.step};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    reader.size[TWO] = 2;
    const plb_argument arguments[] = {
        {"samples", args.samples, &job.samples, PLB_IDS, PLB_IN, {B}},
        {"step_scalar", args.step_scalar, &job.step_scalar, PLB_IDS, PLB_IN, {0}},
        {"cells", args.cells, &job.cells, PLB_IDS, PLB_OUT | PLB_REQUIRED, {B, M, TWO}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    job.images = reader.size[B];
    job.pairs = reader.size[M];
    PLB_TRY(check_pairs(&call, &job));
    return PLB_RUN(&call, cell_pairs, &job);
}

poslabel_status poslabel_cell_offsets(poslabel_context *context, const poslabel_cell_offsets_args *given)
{
    poslabel_cell_offsets_args args = POSLABEL_CELL_OFFSETS_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "cell_offsets", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_grid(&call, args.grid));
    PLB_TRY(plb_check_flag(&call, "absolute", args.absolute));
    PLB_TRY(plb_check_flag(&call, "normalized", args.normalized));

    plb_cell_offsets_job job = {.grid = args.grid, .absolute = args.absolute, .normalized = args.normalized};
    const unsigned dtypes = args.normalized ? PLB_LOGITS : PLB_LOGITS | PLB_IDS;
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    reader.size[TWO] = 2;
    const plb_argument arguments[] = {
        {"cells", args.cells, &job.cells, PLB_IDS, PLB_IN | PLB_REQUIRED, {PLB_DOTS, TWO}},
        {"offsets", args.offsets, &job.offsets, dtypes, PLB_OUT | PLB_REQUIRED, {PLB_DOTS, TWO}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    return PLB_RUN(&call, cell_offsets, &job);
}
