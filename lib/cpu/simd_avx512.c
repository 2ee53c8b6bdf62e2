/* The kernels at the avx512 level.  SPDX-License-Identifier: Apache-2.0 */
#include "simd_avx512.h"

#include "simd.h"

#include <math.h>
#include <string.h>

#include "loss_rows.inc.h"

const plb_simd plb_simd_avx512 = {
    .isa = POSLABEL_ISA_AVX512,
    .loss_rows = {loss_rows_f32, loss_rows_f16, loss_rows_bf16, plb_loss_rows_reference_f64},
};
