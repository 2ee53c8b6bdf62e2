/*
 * The small kernels around the matrix products of a linear head.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LINEAR_H
#define PLB_CUDA_LINEAR_H

#include "linear.h"
#include "loss/loss.cuh"

/* A launch's worth of blocks of 256 threads for `items`: enough to fill the device. */
static inline long long plb_blocks_for(const plb_call *call, long long items)
{
    const long long most = (long long)plb_cuda_of(call)->multiprocessors * 8, wanted = (items + 255) / 256;
    return wanted < most ? wanted : most;
}

/*
 * Scales for gradients in 16 bits, on the device, for what they depend on may be known only there: what the gradients
 * of the logits are multiplied by, what undoes it, 0 and 1.
 */
enum { PLB_LINEAR_NARROWS, PLB_LINEAR_WIDENS, PLB_LINEAR_ZERO, PLB_LINEAR_ONE, PLB_LINEAR_FACTORS };

/*
 * W, the sum of the weights of all rows, to *sum; reports rows that are not allowed.  `of_blocks` holds two numbers a
 * block.  `factors`: NULL, or is filled; with `scales` by a power of two that brings the largest gradient which any row
 * can have near the end of float16, else by 1.
 */
poslabel_status plb_linear_weigh(const plb_call *call, const plb_loss_parameters *p, double *sum, double *of_blocks,
                                 int blocks, bool scales, float *factors);

/*
 * to[r] = row first + r of `from`, rows of `pitch` elements.  With `p` the rows are features, and zeros where a row
 * does not count: its weight is 0, or the normaliser of a mean is.
 */
poslabel_status plb_linear_gather(const plb_call *call, const plb_loss_parameters *p, const plb_rows *from,
                                  long long first, long long rows, void *to, long long pitch);

/* The rows of `from`, `pitch` elements each, to grad_features, which has rows on two levels. */
poslabel_status plb_linear_scatter(const plb_call *call, const plb_rows *grad_features, long long first, long long rows,
                                   const void *from, long long pitch);

/*
 * What else the gradient of the logits is needed for, in one pass over rows `pitch` elements apart.  `to`: NULL, or
 * receives floats times factors[PLB_LINEAR_NARROWS] in the 16 bits of `dtype`, rows as far apart.  `of_slabs`: NULL, or
 * sums[c] += the sum of column c, with memory for plb_linear_slabs() * classes numbers in between.
 */
poslabel_status plb_linear_round_and_sum(const plb_call *call, const void *gradient, bool is_double, long long rows,
                                         int classes, long long pitch, void *to, int dtype, const float *factors,
                                         double *of_slabs, double *sums);

/* How many parts the rows are cut into to be summed: the order of sums depends on it. */
long long plb_linear_slabs(const plb_call *call, long long rows);

/* A row of any float dtype as floats or doubles. */
poslabel_status plb_linear_widen(const plb_call *call, const plb_rows *from, void *to, bool is_double, int count);

/* out = from, or out += from: rows of floats or doubles, `pitch` apart, rounded once. */
poslabel_status plb_linear_finish(const plb_call *call, const plb_rows *out, const void *from, bool from_double,
                                  long long pitch, bool accumulate);

#endif
