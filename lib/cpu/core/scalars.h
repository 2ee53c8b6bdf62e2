/*
 * Scalar tensors that take the place of a host number.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_SCALARS_H
#define PLB_CPU_SCALARS_H

#include "call.h"
#include "rows.h"

/*
 * Read and check a value.  Nothing happens when the tensor is not given, or when the caller only asks how much
 * workspace a call needs: the number stays as it is.
 */
poslabel_status plb_read_sigma(const plb_call *call, const plb_rows *scalar, double *sigma);
poslabel_status plb_read_step(const plb_call *call, const plb_rows *scalar, uint32_t *step);

#endif
