/*
 * Labels as tensors: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "labels.h"

#include "backend.h"

#include <math.h>
#include <poslabel/labels.h>

poslabel_status poslabel_absolute_labels(poslabel_context *context, const poslabel_absolute_labels_args *given)
{
    poslabel_absolute_labels_args args = POSLABEL_ABSOLUTE_LABELS_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "absolute_labels", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_grid(&call, args.grid));

    enum { N = 1 };
    plb_labels_job job = {.grid = args.grid};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    reader.size[N] = (int64_t)args.grid.height * args.grid.width;
    const plb_argument labels = {"labels", args.labels, &job.labels, PLB_IDS, PLB_OUT | PLB_REQUIRED, {PLB_DOTS, N}};
    PLB_TRY(plb_read(&reader, &labels, 1));
    return PLB_RUN(&call, absolute_labels, &job);
}

poslabel_status poslabel_relative_labels(poslabel_context *context, const poslabel_relative_labels_args *given)
{
    poslabel_relative_labels_args args = POSLABEL_RELATIVE_LABELS_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "relative_labels", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_relative_grid(&call, args.grid));

    enum { N = 1 };
    plb_labels_job job = {.grid = args.grid};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    reader.size[N] = (int64_t)args.grid.height * args.grid.width;
    const plb_argument labels = {"labels", args.labels, &job.labels, PLB_IDS, PLB_OUT | PLB_REQUIRED, {PLB_DOTS, N, N}};
    PLB_TRY(plb_read(&reader, &labels, 1));
    return PLB_RUN(&call, relative_labels, &job);
}

poslabel_status poslabel_smoothing_map(poslabel_context *context, const poslabel_smoothing_map_args *given)
{
    poslabel_smoothing_map_args args = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "smoothing_map", given, &args, sizeof args));
    call.lent = args.workspace;
    PLB_TRY(plb_check_grid(&call, args.grid));
    PLB_TRY(plb_check_sigma(&call, args.sigma, args.normalization));

    enum { N = 1 };
    plb_smoothing_map_job job = {.grid = args.grid, .sigma = args.sigma, .normalization = args.normalization};
    plb_reader reader;
    plb_reader_begin(&reader, &call);
    reader.size[N] = (int64_t)args.grid.height * args.grid.width;
    const plb_argument arguments[] = {
        {"map", args.map, &job.map, PLB_LOGITS, PLB_OUT | PLB_REQUIRED, {N, N}},
        {"sigma_scalar", args.sigma_scalar, &job.sigma_scalar, PLB_SCALARS, PLB_IN, {0}},
    };
    PLB_TRY(plb_read(&reader, arguments, PLB_COUNT(arguments)));
    return PLB_RUN(&call, smoothing_map, &job);
}

poslabel_status plb_check_relative_grid(const plb_call *call, poslabel_grid grid)
{
    PLB_TRY(plb_check_grid(call, grid));
    if ((2 * (int64_t)grid.height - 1) * (2 * (int64_t)grid.width - 1) > INT32_MAX)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "grid is %d x %d, its (2 h - 1) (2 w - 1) relative labels must be fewer than 2^31",
                        (int)grid.height, (int)grid.width);
    return POSLABEL_OK;
}

poslabel_status plb_check_sigma(const plb_call *call, double sigma, int normalization)
{
    if (!(sigma >= 0) || isinf(sigma))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "sigma = %g, must be >= 0 and finite", sigma);
    if (normalization != POSLABEL_NORMALIZATION_ROW && normalization != POSLABEL_NORMALIZATION_REFERENCE)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "normalization = %d, must be POSLABEL_NORMALIZATION_ROW (0) or _REFERENCE (1)", normalization);
    return POSLABEL_OK;
}

bool plb_has_neighbours(double sigma)
{
    return sigma > 0 && exp(-1 / (sigma * sigma)) > 0;
}
