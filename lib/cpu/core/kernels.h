/*
 * Which kernels a context runs on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_CORE_KERNELS_H
#define PLB_CPU_CORE_KERNELS_H

#include "context.h"

/*
 * The kernels of one instruction set: for each family that has any, a table that the family declares in its folder and
 * calls through.
 */
typedef struct plb_kernels {
    poslabel_isa isa;
    const struct plb_attention_kernels *attention;
    const struct plb_loss_kernels *loss;
    const struct plb_mask_kernels *masks;
    const struct plb_mlp_kernels *mlp;
    const struct plb_token_kernels *tokens;
} plb_kernels;

static inline const plb_kernels *plb_kernels_of(const poslabel_context *context)
{
    return context->backend_state;
}

#endif
