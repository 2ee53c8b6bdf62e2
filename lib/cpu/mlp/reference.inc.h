/*
 * Activations in double precision: the definition of correct.
 *
 * Gives mlp_kernels, and the function that every instruction set uses for float64.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/mlp/kernels.h"

#include <math.h>
#include <poslabel/mlp.h>

typedef struct activation_result {
    double value, slope;
} activation_result;

static activation_result gelu_erf(double u)
{
    const double below = 0.5 * erfc(-u * 0.70710678118654752440);
    return (activation_result){u * below, below + u * 0.39894228040143267794 * exp(-0.5 * u * u)};
}

/* Beyond 30 the result is that of ReLU to the last bit. */
static activation_result gelu_tanh(double u)
{
    const double x = u > 30 ? 30 : u < -30 ? -30 : u, c = 0.79788456080286535588;
    const double sigmoid = 1 / (1 + exp(-2 * c * (x + 0.044715 * x * x * x)));
    return (activation_result){u * sigmoid, sigmoid + x * sigmoid * (1 - sigmoid) * 2 * c * (1 + 3 * 0.044715 * x * x)};
}

static activation_result activate_one(int activation, double u)
{
    switch (activation) {
    case POSLABEL_ACTIVATION_GELU:
        return gelu_erf(u);
    case POSLABEL_ACTIVATION_GELU_TANH:
        return gelu_tanh(u);
    default:
        return (activation_result){u <= 0 ? 0 : u, u > 0};
    }
}

void plb_activation_f64(int activation, const double *a, const double *b, double *value, double *slope, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const activation_result result = activate_one(activation, b ? a[i] + b[i] : a[i]);
        value[i] = result.value;
        if (slope)
            slope[i] = result.slope;
    }
}

static void activate(int activation, const float *a, const float *b, float *value, float *slope, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const activation_result result = activate_one(activation, b ? a[i] + b[i] : a[i]);
        value[i] = (float)result.value;
        if (slope)
            slope[i] = (float)result.slope;
    }
}

static const plb_mlp_kernels mlp_kernels = {.activation = activate};
