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
    plb_labels_job job;
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "absolute_labels", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_check_grid(&call, args.grid)) != POSLABEL_OK ||
        (status = plb_required(&call, "labels", args.labels)) != POSLABEL_OK)
        return status;

    plb_shape shape = {1, {args.grid.height * args.grid.width}};
    job.grid = args.grid;
    status = plb_view(&call, "labels", args.labels, PLB_IDS, &shape, PLB_LEADING, 1, PLB_OUTPUT, &job.labels);
    return status == POSLABEL_OK ? PLB_RUN(&call, absolute_labels, &job) : status;
}

poslabel_status poslabel_relative_labels(poslabel_context *context, const poslabel_relative_labels_args *given)
{
    poslabel_relative_labels_args args = POSLABEL_RELATIVE_LABELS_ARGS_INIT;
    plb_labels_job job;
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "relative_labels", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_check_relative_grid(&call, args.grid)) != POSLABEL_OK ||
        (status = plb_required(&call, "labels", args.labels)) != POSLABEL_OK)
        return status;

    const int64_t n = args.grid.height * args.grid.width;
    plb_shape shape = {2, {n, n}};
    job.grid = args.grid;
    status = plb_view(&call, "labels", args.labels, PLB_IDS, &shape, PLB_LEADING, 1, PLB_OUTPUT, &job.labels);
    return status == POSLABEL_OK ? PLB_RUN(&call, relative_labels, &job) : status;
}

poslabel_status poslabel_smoothing_map(poslabel_context *context, const poslabel_smoothing_map_args *given)
{
    poslabel_smoothing_map_args args = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
    plb_smoothing_map_job job;
    plb_call call;
    poslabel_status status = plb_begin(&call, context, "smoothing_map", given, &args, sizeof args);
    if (status != POSLABEL_OK || (status = plb_check_grid(&call, args.grid)) != POSLABEL_OK ||
        (status = plb_check_sigma(&call, args.sigma, args.normalization)) != POSLABEL_OK ||
        (status = plb_required(&call, "map", args.map)) != POSLABEL_OK)
        return status;

    const int64_t n = args.grid.height * args.grid.width;
    plb_shape shape = {2, {n, n}};
    job.grid = args.grid;
    job.sigma = args.sigma;
    job.normalization = args.normalization;
    status = plb_view(&call, "map", args.map, PLB_LOGITS, &shape, PLB_EXACT, 1, PLB_OUTPUT, &job.map);
    return status == POSLABEL_OK ? PLB_RUN(&call, smoothing_map, &job) : status;
}

poslabel_status plb_check_relative_grid(const plb_call *call, poslabel_grid grid)
{
    poslabel_status status = plb_check_grid(call, grid);
    if (status == POSLABEL_OK && (2 * (int64_t)grid.height - 1) * (2 * (int64_t)grid.width - 1) > INT32_MAX)
        status = plb_fail(call, POSLABEL_ERROR_INVALID,
                          "grid is %d x %d, its (2 h - 1) (2 w - 1) relative labels must be fewer than 2^31",
                          (int)grid.height, (int)grid.width);
    return status;
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
