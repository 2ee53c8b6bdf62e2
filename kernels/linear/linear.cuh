/*
 * The small kernels around the matrix products of a linear head.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LINEAR_H
#define PLB_CUDA_LINEAR_H

#include "linear.h"
#include "loss/loss.cuh"

/* Blocks of 256 threads for a launch on `items`: at most as many as fill the device. */
static inline long long plb_blocks_for(const plb_call *call, long long items)
{
    const long long most = (long long)plb_cuda_of(call)->multiprocessors * 8, wanted = (items + 255) / 256;
    return wanted < most ? wanted : most;
}

/*
 * Factors for gradients in 16 bits, in device memory, because they may depend on values that only the device knows: the
 * scale of the gradients of the logits, its inverse, 0 and 1.
 */
enum { PLB_LINEAR_NARROWS, PLB_LINEAR_WIDENS, PLB_LINEAR_ZERO, PLB_LINEAR_ONE, PLB_LINEAR_FACTORS };

/*
 * Stores the sum of the weights of all rows to *sum, and reports rows that are not allowed.  `of_blocks` holds two
 * numbers a block.  `factors`, unless NULL, are filled.  With `scales` the scale is a power of two that brings the
 * largest gradient that a row can have near the limit of float16; else it is 1.
 */
poslabel_status plb_linear_weigh(const plb_call *call, const plb_loss_parameters *p, double *sum, double *of_blocks,
                                 int blocks, bool scales, float *factors);

/*
 * to[r] = row first + r of `from`, where rows of `to` have `pitch` elements.  With `p` the rows are features, and a row
 * that does not count becomes zeros: its weight is 0, or the normaliser of a mean is 0.
 */
poslabel_status plb_linear_gather(const plb_call *call, const plb_loss_parameters *p, const plb_rows *from,
                                  long long first, long long rows, void *to, long long pitch);

/* Copies the rows of `from`, `pitch` elements each, to grad_features, whose rows can be on two levels. */
poslabel_status plb_linear_scatter(const plb_call *call, const plb_rows *grad_features, long long first, long long rows,
                                   const void *from, long long pitch);

/*
 * One pass over the gradient of the logits, whose rows are `pitch` elements apart.  `to`, unless NULL, receives it
 * times factors[PLB_LINEAR_NARROWS] in the 16 bits of `dtype`, with the same pitch.  `of_slabs`, unless NULL, is memory
 * for plb_linear_slabs() * classes numbers, and sums[c] += the sum of column c.
 */
poslabel_status plb_linear_round_and_sum(const plb_call *call, const void *gradient, bool is_double, long long rows,
                                         int classes, long long pitch, void *to, int dtype, const float *factors,
                                         double *of_slabs, double *sums);

/* The number of slabs that rows are cut into for sums.  The order of the sums depends on it. */
long long plb_linear_slabs(const plb_call *call, long long rows);

/* Converts a row of any float dtype to floats or doubles. */
poslabel_status plb_linear_widen(const plb_call *call, const plb_rows *from, void *to, bool is_double, int count);

/* out = from, or out += from with `accumulate`: rows of floats or doubles, `pitch` elements apart, rounded once. */
poslabel_status plb_linear_finish(const plb_call *call, const plb_rows *out, const void *from, bool from_double,
                                  long long pitch, bool accumulate);

#endif
