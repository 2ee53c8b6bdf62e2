/*
 * The kernels of all families over the vectors of one instruction set.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives attention_kernels, loss_kernels, mask_kernels,
 * mlp_kernels and token_kernels, for level.inc.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/attention/rows.inc.h"
#include "cpu/loss/rows.inc.h"
#include "cpu/masks/rows.inc.h"
#include "cpu/mlp/rows.inc.h"
#include "cpu/tokens/rows.inc.h"
