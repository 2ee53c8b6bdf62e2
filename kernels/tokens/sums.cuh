/*
 * Sums in double precision that threads of a block, or blocks, have parts of.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_TOKEN_SUMS_H
#define PLB_CUDA_TOKEN_SUMS_H

#include "core/pieces.cuh"

/* The state of a thread that walks over the rows of a gradient, with one piece of each. */
template <int DTYPE> struct plb_walker {
    static constexpr int size = plb_kind<DTYPE>::size, count = PLB_PIECE / size;
    long long piece;
    int present;  /* elements of the piece that the row has */
    bool has_sum; /* the row has one */
    double sum[count], mask_sum[count];
};

template <int DTYPE> PLB_DEVICE void plb_add_piece(double *sum, const plb_piece &piece)
{
#pragma unroll
    for (int i = 0; i < plb_walker<DTYPE>::count; i++)
        sum[i] += (double)plb_number_at<DTYPE>(piece, i);
}

/*
 * Adds up COUNT sums of each group pairwise; the first group gets the result.  `memory` has 128 * COUNT numbers.  All
 * threads of a block call this.
 */
template <int COUNT>
PLB_DEVICE void plb_add_groups(double *sum, double *memory, const plb_sharing &sharing, unsigned group, unsigned lane)
{
    for (unsigned below = (unsigned)sharing.groups / 2; below > 0; below /= 2) {
        double *const place = memory + (long long)(group % below) * COUNT * sharing.lanes + lane;
        if (group >= below && group < 2 * below)
            for (int i = 0; i < COUNT; i++)
                place[i * sharing.lanes] = sum[i];
        PLB_BARRIER(); /* the upper half has written before the lower reads */
        if (group < below)
            for (int i = 0; i < COUNT; i++)
                sum[i] += place[i * sharing.lanes];
        PLB_BARRIER(); /* the lower half has read before the next writes */
    }
}

/*
 * Sums over `parts` rows of `channels` numbers, of 32 channels in a block, one for each lane of the first warp.  The
 * warps take turns at the rows; then the first warp adds up what they have, and gets the result.  `partial` has a
 * number for each thread.  All threads of a block call this.
 */
PLB_DEVICE double plb_add_parts(const double *sums, long long parts, long long channels, long long channel,
                                double *partial)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
    double sum = 0;
    if (channel < channels) {
#pragma unroll 8
        for (long long part = warp; part < parts; part += warps)
            sum += sums[part * channels + channel];
    }
    partial[threadIdx.x] = sum;
    PLB_BARRIER(); /* all warps have written theirs */
    for (int i = 1; warp == 0 && i < warps; i++)
        sum += partial[i * 32 + lane];
    return sum;
}

#endif
