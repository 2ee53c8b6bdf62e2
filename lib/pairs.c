/*
 * Pairs of cells: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pairs.h"

#include "backend.h"
#include "masks.h"

#include <poslabel/pairs.h>

/* B, m, the two cells of a pair or axes of an offset, and of features N, C and 2 C. */
enum { B = 1, M, TWO, N, C, BOTH };

/* Their cells, two of each, are counted in 32 bits. */
static poslabel_status check_pair_count(const plb_call *call, int64_t pairs)
{
    if (pairs >= (int64_t)1 << 30)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "cells has %lld pairs an image, must be fewer than 2^30",
                        (long long)pairs);
    return POSLABEL_OK;
}

static poslabel_status check_pairs(const plb_call *call, const plb_cell_pairs_job *job)
{
    const int64_t cells = (int64_t)job->grid.height * job->grid.width;
    PLB_TRY(check_pair_count(call, job->pairs));
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

/* What both passes need to know of the counts: the lists on the way back have 32 bits. */
static poslabel_status settle_features(const plb_call *call, const plb_reader *reader, plb_pair_features_job *job)
{
    job->images = reader->size[B];
    job->tokens = reader->size[N];
    job->pairs = reader->size[M];
    job->channels = reader->size[C];
    if (job->tokens > INT32_MAX)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has %lld cells an image, must be fewer than 2^31",
                        job->features.name, (long long)job->tokens);
    return check_pair_count(call, job->pairs);
}

poslabel_status poslabel_pair_features(poslabel_context *context, const poslabel_pair_features_args *given)
{
    poslabel_pair_features_args args = POSLABEL_PAIR_FEATURES_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "pair_features", given, &args, sizeof args));
    call.lent = args.workspace;

    plb_pair_features_job job = {.images = 0};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    reader.size[TWO] = 2;
    const plb_argument arguments[] = {
        {"features", args.features, &job.features, PLB_LOGITS, PLB_IN | PLB_REQUIRED | PLB_STRIDED, {B, N, C}},
        {"cells", args.cells, &job.cells, PLB_IDS, PLB_IN | PLB_REQUIRED, {B, M, TWO}},
        {"pairs", args.pairs, &job.rows, PLB_LIKE_FIRST, PLB_OUT | PLB_REQUIRED, {B, M, PLB_SUM(C, C)}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    PLB_TRY(settle_features(&call, &reader, &job));
    return PLB_RUN(&call, pair_features, &job);
}

poslabel_status poslabel_pair_features_backward(poslabel_context *context,
                                                const poslabel_pair_features_backward_args *given)
{
    poslabel_pair_features_backward_args args = POSLABEL_PAIR_FEATURES_BACKWARD_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "pair_features_backward", given, &args, sizeof args));
    call.lent = args.workspace;

    plb_pair_features_job job = {.images = 0};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    reader.size[TWO] = 2;
    const plb_argument first = {"grad_pairs", args.grad_pairs,       &job.rows,
                                PLB_LOGITS,   PLB_IN | PLB_REQUIRED, {B, M, BOTH}};
    PLB_TRY(plb_read(&reader, &first, 1));
    if (reader.size[BOTH] % 2)
        return plb_fail(&call, POSLABEL_ERROR_INVALID,
                        "grad_pairs has %lld channels, must have 2 C: those of two cells",
                        (long long)reader.size[BOTH]);
    reader.size[C] = reader.size[BOTH] / 2;
    const plb_argument arguments[] = {
        {"cells", args.cells, &job.cells, PLB_IDS, PLB_IN | PLB_REQUIRED, {B, M, TWO}},
        {"grad_features",
         args.grad_features,
         &job.features,
         PLB_LIKE_FIRST,
         PLB_OUT | PLB_REQUIRED | PLB_STRIDED,
         {B, N, C}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    PLB_TRY(settle_features(&call, &reader, &job));
    return PLB_RUN(&call, pair_features_backward, &job);
}
