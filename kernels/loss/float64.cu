/*
 * The row losses of float64 logits, for checks of gradients.  Rows are walked in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "loss/cross_entropy.cuh"

poslabel_status plb_loss_rows_f64(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    return plb_loss_of_size<double, 32, 0, false>(launch, only_blocks, blocks);
}
