/*
 * The row losses of bfloat16 logits.  Each dtype is a source of its own, so that they compile in parallel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "loss/cross_entropy.cuh"

poslabel_status plb_loss_rows_bf16(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    return plb_loss_of_dtype<__nv_bfloat16>(launch, only_blocks, blocks);
}
