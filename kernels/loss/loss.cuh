/*
 * What the kernels of the losses are told, and what they share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LOSS_H
#define PLB_CUDA_LOSS_H

#include "core/rows.cuh"
#include "loss.h"

enum { PLB_LOSS_THREADS = 256, PLB_LOSS_WARPS = PLB_LOSS_THREADS / 32 };
enum { PLB_MOST_OF_A_WARP = 1408 }; /* classes of a row that a part of a warp has, or all of it */
enum { PLB_MOST_SHARED_ROW = 256 }; /* classes of which Gaussian targets are long rows, see gaussian.cuh */

/* Sums over the rows of a block. */
struct plb_loss_sums {
    double weight, loss, correct, bad;
};

/* A scalar on the device. */
struct plb_scalar {
    char *at; /* NULL: not given */
    int dtype;
};

static inline plb_scalar plb_scalar_of(const plb_rows *rows)
{
    return plb_scalar{rows->data, rows->dtype};
}

struct plb_loss_parameters {
    plb_view_rows logits, grad, ids, mask, weights, row_grad_loss, row_loss;
    plb_scalar grad_loss, normalizer, loss, accuracy, weight_sum, flags;
    const char *inside_end; /* a row of logits that begins before it ends a piece of memory before they do, or more */
    long long rows;
    long long first_row; /* of a chunk of logits in the batch, whose other tensors are whole */
    long long ignore_index;
    int batch; /* rows that a warp has at a time, or a block whose lanes are one team */
    int classes, target, height, width, reduction;
    unsigned width_inverse; /* 2^32 / width rounded up, or 0 for a width of 1: see plb_grid_row() */
    bool has_ignore_index;
    bool weigh_first; /* the weight sum is needed before the first gradient */
    bool reports;     /* the pass that makes losses reports what is not allowed */
    bool filter;
    double base, peak; /* of the uniform smoothing: t = base, and peak more at the label */
    double grad_scale, sigma;
    int normalization;
    void *table;           /* of Gaussian targets, see gaussian.cuh; of doubles for float64 logits, else floats */
    const void *bias;      /* added to the logits: one float a class, or double for float64; or NULL */
    plb_loss_sums *totals; /* of the chunks before, and with this one; or NULL */
    bool is_last_chunk;
    plb_loss_sums *sums;   /* one a block */
    double *weights_of;    /* one a block: sums of weights, before any gradient */
    unsigned char *counts; /* with the filter: 1 for rows that count */
    plb_device_state *state;
};

/* What host code needs to know of the kernel that suits a job, and how to launch it. */
struct plb_loss_launch {
    const plb_call *call;
    plb_loss_parameters parameters;
    bool is_soft;
    bool has_table;   /* of Gaussian targets in the workspace; else each block makes its own in shared memory */
    bool shares_rows; /* of Gaussian targets, see gaussian.cuh: as long rows; else as factors */
};

/* How many blocks will run, at most: one entry of sums each. */
poslabel_status plb_loss_rows_f32(plb_loss_launch *launch, bool only_blocks, int *blocks);
poslabel_status plb_loss_rows_f16(plb_loss_launch *launch, bool only_blocks, int *blocks);
poslabel_status plb_loss_rows_bf16(plb_loss_launch *launch, bool only_blocks, int *blocks);
poslabel_status plb_loss_rows_f64(plb_loss_launch *launch, bool only_blocks, int *blocks);

/* The parameters that follow from targets and reduction; logits, filter and workspace are the caller's to add. */
plb_loss_parameters plb_loss_parameters_of(const plb_call *call, const plb_targets *targets,
                                           const plb_reduction *reduction);

/* Once those are there: whether the weight sum is needed before the first gradient, and which pass reports bad rows. */
void plb_loss_weigh_first(plb_loss_parameters *parameters);

#endif
