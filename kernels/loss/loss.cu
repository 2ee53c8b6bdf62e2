/*
 * The row losses: from a job to a launch.
 *
 * The kernel is in cross_entropy.cuh.  This file makes its parameters from a job, divides the workspace, and fills the
 * tables of Gaussian targets that are too large for shared memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "loss/gaussian.cuh"
#include "loss/loss.cuh"

#include <poslabel/loss.h>

/* Bytes of shared memory for a table.  A multiprocessor of any device has at least 64 KiB. */
enum { MOST_SHARED = 40 << 10 };

/* ---- Gaussian targets of large grids ---- */

__global__ void gaussian_norms_kernel(double *norms, int height, int width, plb_sigma given)
{
    const double sigma = plb_sigma_value(given);
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (long long)height + width;
         i += (long long)gridDim.x * blockDim.x) {
        const int at = (int)(i < height ? i : i - height), side = i < height ? height : width;
        double sum = 0;
        for (int j = 0; j < side; j++)
            sum += plb_gaussian_factor(at, j, sigma);
        norms[i] = sum;
    }
}

/* Factors that are computed where they are needed. */
struct factors_of_sigma {
    double sigma;
    PLB_DEVICE double operator()(int distance) const
    {
        return plb_gaussian_factor(distance, 0, sigma);
    }
};

template <typename real>
__global__ void gaussian_table_kernel(real *table, const double *norms, int height, int width, plb_sigma given,
                                      int normalization)
{
    const double sigma = plb_sigma_value(given);
    const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const long long threads = (long long)gridDim.x * blockDim.x;
    plb_gaussian_fill_axis(table, factors_of_sigma{sigma}, norms, height, normalization, thread, threads);
    plb_gaussian_fill_axis(table + (long long)PLB_ENTRIES_OF_AXIS * height, factors_of_sigma{sigma}, norms + height,
                           width, normalization, thread, threads);
}

template <typename real> static poslabel_status fill_table(const plb_loss_launch *launch, double *norms)
{
    const plb_loss_parameters *const p = &launch->parameters;
    const long long entries = (long long)plb_gaussian_entries(poslabel_grid{p->height, p->width});
    const long long most = (long long)plb_cuda_of(launch->call)->multiprocessors * 8, blocks = (entries + 255) / 256;
    const long long sides = ((long long)p->height + p->width + 255) / 256;
    PLB_TRY(plb_launch(launch->call, PLB_INDEPENDENT, gaussian_norms_kernel, sides < most ? sides : most, 256, 0, norms,
                       p->height, p->width, p->sigma));
    return plb_launch(launch->call, PLB_INDEPENDENT, gaussian_table_kernel<real>, blocks < most ? blocks : most, 256, 0,
                      (real *)p->table, norms, p->height, p->width, p->sigma, p->normalization);
}

/* ---- parameters ---- */

plb_loss_parameters plb_loss_parameters_of(const plb_call *call, const plb_targets *targets,
                                           const plb_reduction *reduction)
{
    plb_loss_parameters p = {};
    p.reduction = plb_reduction_parameters_of(call, reduction);
    p.ids = plb_view_of(&targets->ids);
    p.classes = (int)targets->classes;
    p.target = targets->kind;
    p.height = targets->grid.height;
    p.width = targets->grid.width;
    p.has_ignore_index = targets->has_ignore_index;
    p.ignore_index = targets->ignore_index;
    p.base = targets->label_smoothing / (double)targets->classes;
    p.peak = 1 - targets->label_smoothing;
    p.sigma = plb_sigma_of(targets->sigma, &targets->sigma_scalar);
    p.normalization = targets->normalization;
    return p;
}

typedef poslabel_status loss_rows_of_dtype(plb_loss_launch *launch, bool only_blocks, int *blocks);

poslabel_status plb_cuda_row_loss(const plb_call *call, const plb_loss_job *job)
{
    loss_rows_of_dtype *const rows_of_dtype = job->logits.dtype == PLB_F32    ? plb_loss_rows_f32
                                              : job->logits.dtype == PLB_F16  ? plb_loss_rows_f16
                                              : job->logits.dtype == PLB_BF16 ? plb_loss_rows_bf16
                                                                              : plb_loss_rows_f64;
    const bool is_double = job->logits.dtype == PLB_F64;
    plb_loss_launch launch = {call, plb_loss_parameters_of(call, &job->targets, &job->reduction),
                              job->targets.kind == PLB_TARGET_GAUSSIAN, false, false};
    plb_loss_parameters *const p = &launch.parameters;
    p->logits = plb_view_of(&job->logits);
    p->grad = plb_view_of(&job->grad_logits);
    p->filter = job->confidence_filter;
    const bool leaves_rows_out = p->ids.data != NULL; /* ignored ids and bad ids have weight 0 */
    p->reduction.weigh_first =
        p->filter || (p->grad.data && plb_reduction_needs_weights(&p->reduction, leaves_rows_out));
    p->reduction.reports = !p->reduction.weigh_first;
    poslabel_grid grid = job->targets.grid;
    size_t table = 0, scratch = 0;
    if (launch.is_soft) {
        if (grid.width == 1) { /* the same positions, transposed: slots rely on at least two columns */
            grid = poslabel_grid{1, grid.height};
            p->height = grid.height;
            p->width = grid.width;
        }
        p->width_inverse = grid.width > 1 ? 0xffffffffu / (unsigned)grid.width + 1 : 0;
        table = plb_gaussian_entries(grid) * (is_double ? sizeof(double) : sizeof(float));
        scratch = plb_gaussian_scratch(grid);
        launch.has_table = table + scratch > MOST_SHARED;
        launch.shares_rows =
            !is_double && p->classes <= PLB_MOST_SHARED_ROW && grid.width % 2 == 0 &&
            p->normalization == POSLABEL_NORMALIZATION_ROW &&
            plb_gaussian_long_entries(grid, PLB_MOST_SHARED_ROW) * sizeof(float) + scratch <= MOST_SHARED;
    }
    const bool has_table = launch.has_table;
    int blocks;
    PLB_TRY(rows_of_dtype(&launch, true, &blocks));

    const size_t norms = has_table ? scratch / 2 : 0;
    const size_t sums = plb_reduction_memory(blocks);
    const size_t tables = has_table ? (table + 15) / 16 * 16 : 0;
    const size_t counts = p->filter ? (size_t)p->reduction.rows : 0;
    void *memory;
    PLB_TRY(plb_cuda_workspace(call, sums + norms + tables + counts, &memory));
    plb_reduction_use(&p->reduction, memory, blocks);
    double *const norms_of_axes = (double *)((char *)memory + sums);
    p->counts = (unsigned char *)norms_of_axes + norms + tables;
    if (has_table) {
        p->table = (char *)norms_of_axes + norms;
        PLB_TRY(is_double ? fill_table<double>(&launch, norms_of_axes) : fill_table<float>(&launch, norms_of_axes));
    }
    return rows_of_dtype(&launch, false, &blocks);
}
