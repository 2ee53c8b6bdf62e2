/*
 * The kernels of heads with a hidden layer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_MLP_KERNELS_H
#define PLB_CPU_MLP_KERNELS_H

#include <stdint.h>

/*
 * value = f(u) and slope = f'(u) of `count` elements, for u = a + b; b may be NULL, and so may the slope.  Nothing
 * overlaps.
 */
typedef void plb_activation_kernel(int activation, const float *a, const float *b, float *value, float *slope,
                                   int64_t count);

/* The same in float64, for every instruction set. */
void plb_activation_f64(int activation, const double *a, const double *b, double *value, double *slope, int64_t count);

typedef struct plb_mlp_kernels {
    plb_activation_kernel *activation;
} plb_mlp_kernels;

#endif
