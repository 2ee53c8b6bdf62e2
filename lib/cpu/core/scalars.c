/*
 * Scalar tensors that take the place of a host number.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/scalars.h"

#include "cpu/core/numbers.h"

#include <float.h>

poslabel_status plb_read_sigma(const plb_call *call, const plb_rows *scalar, double *sigma)
{
    if (!scalar->data || plb_only_asks(call))
        return POSLABEL_OK;
    const double value = plb_load_number(scalar->data, scalar->dtype);
    if (!(value >= 0 && value <= DBL_MAX))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s = %g, must be >= 0 and finite", scalar->name, value);
    *sigma = value;
    return POSLABEL_OK;
}

poslabel_status plb_read_step(const plb_call *call, const plb_rows *scalar, uint32_t *step)
{
    if (!scalar->data || plb_only_asks(call))
        return POSLABEL_OK;
    const int64_t value = plb_load_id(scalar->data, scalar->dtype);
    if (value < 0 || value > UINT32_MAX)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s = %lld, must be in [0, 2^32)", scalar->name, (long long)value);
    *step = (uint32_t)value;
    return POSLABEL_OK;
}
