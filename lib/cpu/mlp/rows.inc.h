/*
 * Activations in float32, as loops that the compiler turns into the vectors of an instruction set.
 *
 * Gives mlp_kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/mlp/kernels.h"
#include "cpu/vectors/elements.inc.h"

#include <poslabel/mlp.h>
#include <string.h>

/* e^x for x <= 0, within 2e-7 of it; 0 below -87, and for NaN.  2^f for |f| <= 1/2 is a polynomial of degree 6. */
INLINE float exp_below_0(float x)
{
    const float kept = x > -87.0f ? x : -87.0f;
    const int32_t n = (int32_t)(kept * 1.44269504f - 0.5f);
    const float f = (kept - (float)n * 0.693359375f) + (float)n * 2.12194440e-4f; /* ln 2 in two parts */
    float p = 1.0f / 720;
    p = p * f + 1.0f / 120;
    p = p * f + 1.0f / 24;
    p = p * f + 1.0f / 6;
    p = p * f + 0.5f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
    const int32_t bits = (n + 127) * (1 << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return x > -87.0f ? p * power : 0.0f;
}

/* Abramowitz and Stegun, 7.1.26: the error of erfc is at most 1.5e-7.  One exponential gives density and distribution.
 */
INLINE void gelu_erf(float u, float *value, float *slope)
{
    const float distance = u < 0 ? -u : u, t = 1.0f / (1.0f + 0.23164189f * distance);
    const float e = exp_below_0(-0.5f * u * u);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const float beyond = 0.5f * p * t * e, below = u < 0 ? beyond : 1.0f - beyond;
    *value = u * below;
    *slope = below + u * 0.39894228f * e;
}

/* sigmoid(2 c (x + 0.044715 x^3)) by e^-|..|, which cannot overflow. */
INLINE void gelu_tanh(float u, float *value, float *slope)
{
    const float x = u > 30.0f ? 30.0f : u < -30.0f ? -30.0f : u;
    const float s = 1.59576912f * (x + 0.044715f * x * x * x), e = exp_below_0(s < 0 ? s : -s);
    const float larger = 1.0f / (1.0f + e), smaller = e * larger, sigmoid = s < 0 ? smaller : larger;
    *value = u * sigmoid;
    *slope = sigmoid + x * larger * smaller * (1.59576912f + 0.21406445f * x * x);
}

INLINE void relu(float u, float *value, float *slope)
{
    *value = u <= 0 ? 0 : u;
    *slope = u > 0 ? 1.0f : 0.0f;
}

#define ACTIVATE(name, f)                                                                                              \
    static void name(const float *restrict a, const float *restrict b, float *restrict value, float *restrict slope,   \
                     int64_t count)                                                                                    \
    {                                                                                                                  \
        float unused;                                                                                                  \
        if (b && slope)                                                                                                \
            for (int64_t i = 0; i < count; i++)                                                                        \
                f(a[i] + b[i], &value[i], &slope[i]);                                                                  \
        else if (b)                                                                                                    \
            for (int64_t i = 0; i < count; i++)                                                                        \
                f(a[i] + b[i], &value[i], &unused);                                                                    \
        else if (slope)                                                                                                \
            for (int64_t i = 0; i < count; i++)                                                                        \
                f(a[i], &value[i], &slope[i]);                                                                         \
        else                                                                                                           \
            for (int64_t i = 0; i < count; i++)                                                                        \
                f(a[i], &value[i], &unused);                                                                           \
    }

ACTIVATE(activate_gelu_erf, gelu_erf)
ACTIVATE(activate_gelu_tanh, gelu_tanh)
ACTIVATE(activate_relu, relu)

static void activate(int activation, const float *a, const float *b, float *value, float *slope, int64_t count)
{
    if (activation == POSLABEL_ACTIVATION_GELU)
        activate_gelu_erf(a, b, value, slope, count);
    else if (activation == POSLABEL_ACTIVATION_GELU_TANH)
        activate_gelu_tanh(a, b, value, slope, count);
    else
        activate_relu(a, b, value, slope, count);
}

static const plb_mlp_kernels mlp_kernels = {.activation = activate};
