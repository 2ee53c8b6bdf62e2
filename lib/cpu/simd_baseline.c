/* The kernels at the baseline level.  SPDX-License-Identifier: Apache-2.0 */
#include "simd_baseline.h"

#include "simd.h"

#include <math.h>
#include <string.h>

#include "vectors.inc.h"
#include "stream.inc.h"
#include "exp.inc.h"
#include "loss_rows.inc.h"
#include "token_rows.inc.h"
#include "attention_rows.inc.h"
#include "mask_rows.inc.h"

const plb_simd plb_simd_baseline = {
    .isa = POSLABEL_ISA_BASELINE,
    .loss_rows = {loss_rows_f32, loss_rows_f16, loss_rows_bf16, plb_loss_rows_reference_f64},
    .token_rows = {token_rows_f32, token_rows_f16, token_rows_bf16},
    .token_grads = {token_grads_f32, token_grads_f16, token_grads_bf16},
    .round_sum = {round_sum_f32, round_sum_f16, round_sum_bf16},
    .similarity_rows = {similarity_rows_f32, similarity_rows_f16, similarity_rows_bf16,
                        plb_similarity_rows_reference_f64},
    .masks = MASK_KERNELS,
};
