/*
 * Sigma as a number, or as a scalar on the device that takes its place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_SIGMA_H
#define PLB_CUDA_SIGMA_H

#include "core/rows.cuh"

#include <float.h>

struct plb_sigma {
    double number;
    const char *scalar; /* NULL: the number */
    int dtype;
};

static inline plb_sigma plb_sigma_of(double number, const plb_rows *scalar)
{
    return plb_sigma{number, scalar->data, scalar->dtype};
}

/* Whether the scalar is not allowed. */
PLB_DEVICE bool plb_is_bad_sigma(const plb_sigma &sigma)
{
    const double value = sigma.scalar ? plb_load_number(sigma.scalar, sigma.dtype) : 0;
    return !(value >= 0 && value <= DBL_MAX);
}

/* The value; 0 for one that is not allowed. */
PLB_DEVICE double plb_sigma_value(const plb_sigma &sigma)
{
    if (!sigma.scalar)
        return sigma.number;
    return plb_is_bad_sigma(sigma) ? 0 : plb_load_number(sigma.scalar, sigma.dtype);
}

#endif
