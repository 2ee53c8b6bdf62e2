/*
 * The row losses of float16 logits.  Each dtype is a source of its own, so that they compile in parallel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "loss/cross_entropy.cuh"

poslabel_status plb_loss_rows_f16(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    return plb_loss_of_dtype<__half>(launch, only_blocks, blocks);
}
