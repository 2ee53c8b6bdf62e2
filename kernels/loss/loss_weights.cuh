/*
 * Weights and labels of rows, and what the loss makes of their sums.
 *
 * What a row counts is decided here alone, for the pass that sums weights and for the one that makes losses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LOSS_WEIGHTS_H
#define PLB_CUDA_LOSS_WEIGHTS_H

#include "core/grid.cuh"
#include "loss/loss.cuh"

#include <float.h>
#include <poslabel/loss.h>

/* Label and weight of row r of the chunk; a row whose id or weight is not allowed has weight 0 and is_bad. */
struct plb_row_use {
    double weight;
    int label;
    bool is_bad;
};

/* a mod b; in 32 bits where they fit, since a division in 64 takes about a hundred instructions. */
PLB_DEVICE long long plb_modulo(long long a, long long b)
{
    if ((unsigned long long)(a | b) >> 32)
        return a % b;
    return (unsigned)a % (unsigned)b;
}

PLB_DEVICE int plb_relative_label(const plb_loss_parameters &p, long long row)
{
    const long long n = (long long)p.height * p.width, pair = plb_modulo(row, n * n);
    const int j = (int)plb_modulo(pair, n);
    const int i = pair >> 32 ? (int)(pair / n) : (int)((unsigned)pair / (unsigned)n);
    return (i / p.width - j / p.width + p.height - 1) * (2 * p.width - 1) + (i % p.width - j % p.width + p.width - 1);
}

PLB_DEVICE plb_row_use plb_use_of_row(const plb_loss_parameters &p, long long r, bool report)
{
    r += p.first_row;
    plb_row_use use = {1, 0, false};
    bool is_left_out = p.mask.data && plb_is_zero(plb_view_row(p.mask, r), p.mask.dtype);
    if (p.target == PLB_TARGET_ABSOLUTE)
        use.label = (int)plb_modulo(r, (long long)p.height * p.width);
    else if (p.target == PLB_TARGET_RELATIVE)
        use.label = plb_relative_label(p, r);
    else {
        const long long id = plb_load_id(plb_view_row(p.ids, r), p.ids.dtype);
        if (p.has_ignore_index && id == p.ignore_index)
            is_left_out = true;
        else if (id < 0 || id >= p.classes) {
            use.is_bad = true;
            if (report)
                plb_found(p.state, PLB_FOUND_POSITIONS, r);
        } else
            use.label = (int)id;
    }
    if (p.weights.data) {
        const double weight = plb_load_number(plb_view_row(p.weights, r), p.weights.dtype);
        if (!(weight >= 0 && weight <= DBL_MAX)) {
            use.is_bad = true;
            if (report)
                plb_found(p.state, PLB_FOUND_WEIGHTS, r);
        } else
            use.weight = weight;
    }
    if (use.is_bad || is_left_out)
        use.weight = 0;
    return use;
}

/* What a thread adds up. */
struct plb_thread_sums {
    double weight, loss, correct;
    int bad;
};

PLB_DEVICE void plb_store_scalar(const plb_scalar &scalar, double value)
{
    if (scalar.at)
        plb_store_number(scalar.at, scalar.dtype, value);
}

PLB_DEVICE void plb_store_results(const plb_loss_parameters &p, const plb_loss_sums &all)
{
    const double norm = p.normalizer.at ? plb_load_number(p.normalizer.at, p.normalizer.dtype) : all.weight;
    if (p.reduction != POSLABEL_REDUCTION_NONE)
        plb_store_scalar(p.loss, p.reduction == POSLABEL_REDUCTION_SUM ? all.loss : norm == 0 ? 0 : all.loss / norm);
    plb_store_scalar(p.accuracy, norm == 0 ? 0 : all.correct / norm);
    plb_store_scalar(p.weight_sum, all.weight);
    plb_store_scalar(p.flags, (norm == 0 ? POSLABEL_LOSS_EMPTY : 0) | (all.bad > 0 ? POSLABEL_LOSS_INVALID : 0));
}

/* What all rows have in common once their weights are known. */
struct plb_loss_scale {
    double upstream;
    bool nothing; /* no row counts */
};

PLB_DEVICE plb_loss_scale plb_scale_of(const plb_loss_parameters &p, double weight)
{
    const double norm = p.normalizer.at ? plb_load_number(p.normalizer.at, p.normalizer.dtype) : weight;
    plb_loss_scale scale = {p.grad_scale, false};
    if (p.reduction == POSLABEL_REDUCTION_MEAN) {
        scale.nothing = norm == 0;
        scale.upstream *= norm == 0 ? 0 : 1 / norm;
    }
    if (p.grad_loss.at)
        scale.upstream *= plb_load_number(p.grad_loss.at, p.grad_loss.dtype);
    return scale;
}

#endif
