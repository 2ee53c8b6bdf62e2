/*
 * The label and the weight of each row, and which ids are allowed.
 *
 * The pass that sums weights and the pass that makes losses both ask here, so they agree on which rows count.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LOSS_LABELS_H
#define PLB_CUDA_LOSS_LABELS_H

#include "loss/loss.cuh"

/* A row whose id or weight is not allowed has weight 0 and is_bad. */
struct plb_row_use {
    double weight;
    int label;
    bool is_bad;
};

/* a mod b.  In 32 bits where they fit, since a 64-bit division takes about a hundred instructions. */
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

/* Row r of the chunk.  Where an id is ignored the weight may be anything; where the weight is 0, so may the id. */
PLB_DEVICE plb_row_use plb_use_of_row(const plb_loss_parameters &p, long long r, bool reports)
{
    plb_row_use use = {0, 0, false};
    const long long at = r + p.reduction.first_row;
    long long id = 0;
    if (p.target == PLB_TARGET_ABSOLUTE)
        use.label = (int)plb_modulo(at, (long long)p.height * p.width);
    else if (p.target == PLB_TARGET_RELATIVE)
        use.label = plb_relative_label(p, at);
    else {
        id = plb_load_id(plb_view_row(p.ids, at), p.ids.dtype);
        if (p.has_ignore_index && id == p.ignore_index)
            return use;
    }
    const plb_row_weight row = plb_reduction_weigh(p.reduction, r, reports);
    use.is_bad = row.is_bad;
    use.weight = row.weight;
    if (row.weight == 0 || !p.ids.data)
        return use;
    use.label = (int)id;
    if (id < 0 || id >= p.classes) {
        use = plb_row_use{0, 0, true};
        if (reports)
            plb_found(p.reduction.state, PLB_FOUND_POSITIONS, at);
    }
    return use;
}

#endif
