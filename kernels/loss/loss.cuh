/*
 * The parameters of the cross-entropy kernels, and how host code launches them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LOSS_H
#define PLB_CUDA_LOSS_H

#include "loss/reduction.cuh"
#include "loss/sigma.cuh"

enum { PLB_LOSS_THREADS = 256, PLB_LOSS_WARPS = PLB_LOSS_THREADS / 32 };
enum { PLB_MOST_SHARED_ROW = 256 }; /* the most classes of Gaussian targets as long rows, see gaussian.cuh */

/* The order of the fields decides which of them nvcc loads in pairs, and so how much kernels spill (registers.py). */
struct plb_loss_parameters {
    plb_reduction_parameters reduction;
    plb_view_rows logits, grad; /* of this launch's rows alone */
    plb_view_rows ids;          /* of all rows */
    const char *inside_end;     /* rows that start below this address end at least one piece before the logits do */
    long long ignore_index;
    int batch; /* rows that a warp has at a time, or a block that is one team */
    int classes, target, height, width;
    int normalization;      /* of Gaussian targets */
    unsigned width_inverse; /* 2^32 / width rounded up, or 0 for a width of 1: see plb_grid_row() */
    bool has_ignore_index;
    bool filter;
    double base, peak; /* uniform smoothing: t = base, and base + peak at the label */
    plb_sigma sigma;
    void *table;           /* Gaussian targets, see gaussian.cuh: doubles for float64 logits, else floats */
    const void *bias;      /* added to the logits: a double a class for float64 logits, else a float; or NULL */
    unsigned char *counts; /* with the filter: 1 for rows that count */
};

/* A launch: its parameters, and what else the choice of the kernel depends on. */
struct plb_loss_launch {
    const plb_call *call;
    plb_loss_parameters parameters;
    bool is_soft;
    bool has_table;   /* Gaussian targets: a table in the workspace; else each block makes one in shared memory */
    bool shares_rows; /* Gaussian targets: as long rows, see gaussian.cuh; else as factors */
};

/*
 * Launches the kernel that suits the parameters, with *blocks blocks.  With `only_blocks`, launches nothing and sets
 * *blocks.
 */
poslabel_status plb_loss_rows_f32(plb_loss_launch *launch, bool only_blocks, int *blocks);
poslabel_status plb_loss_rows_f16(plb_loss_launch *launch, bool only_blocks, int *blocks);
poslabel_status plb_loss_rows_bf16(plb_loss_launch *launch, bool only_blocks, int *blocks);
poslabel_status plb_loss_rows_f64(plb_loss_launch *launch, bool only_blocks, int *blocks);

/* The parameters that follow from targets and reduction.  The caller adds logits, filter and workspace. */
plb_loss_parameters plb_loss_parameters_of(const plb_call *call, const plb_targets *targets,
                                           const plb_reduction *reduction);

#endif
