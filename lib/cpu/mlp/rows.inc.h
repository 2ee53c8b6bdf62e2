/*
 * Activations in float32.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives mlp_kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/mlp/kernels.h"
#include "cpu/vectors/elements.inc.h"
#include "cpu/vectors/exp.inc.h"

#include <poslabel/mlp.h>

typedef struct activated {
    vf value, slope;
} activated;

/* Below -bound and above bound the bound; NaN for NaN. */
INLINE vf clamp(vf a, float bound)
{
    const vf low = vf_set(-bound), zero = vf_set(0);
    return vf_sub(zero, vf_max(low, vf_sub(zero, vf_max(low, a))));
}

/* 1 for u > 0, -1 for u < 0, and something between about 0, where what it is multiplied by is 0. */
INLINE vf sign_of(vf u)
{
    return clamp(vf_mul(u, vf_set(0x1p100f)), 1);
}

/*
 * Phi(u) = 1 - erfc(|u| / sqrt 2) / 2 above 0, by Abramowitz and Stegun 7.1.26, whose error is at most 1.5e-7.  One
 * exponential gives both the density and the distribution.  Beyond 30 both are flat; a larger u would overflow.
 */
INLINE activated gelu_erf(vf u, const vf_exp_kit *kit)
{
    const vf x = clamp(u, 30), half = vf_set(0.5f), one = vf_set(1);
    const vf distance = vf_max(vf_sub(vf_set(0), x), x), t = vf_div(one, vf_fma(vf_set(0.23164189f), distance, one));
    const vf e = vf_exp(vf_mul(vf_mul(vf_set(-0.5f), x), x), kit);
    vf p = vf_fma(vf_set(0.5307027145f), t, vf_set(-0.7265760135f));
    p = vf_fma(p, t, vf_set(0.7107068705f));
    p = vf_fma(p, t, vf_set(-0.142248368f));
    p = vf_fma(p, t, vf_set(0.127414796f));
    const vf beyond = vf_mul(vf_mul(p, t), e); /* 1 - Phi(|u|) */
    const vf below = vf_fma(sign_of(u), vf_sub(half, beyond), half);
    return (activated){vf_mul(u, below), vf_fma(vf_mul(x, vf_set(0.39894228f)), e, below)};
}

/* u sigmoid(s) for s = 2 sqrt(2 / pi) (u + 0.044715 u^3), by e^-|s|, which cannot overflow. */
INLINE activated gelu_tanh(vf u, const vf_exp_kit *kit)
{
    const vf x = clamp(u, 30), square = vf_mul(x, x), half = vf_set(0.5f), one = vf_set(1);
    const vf s = vf_mul(x, vf_fma(square, vf_set(0.071354816f), vf_set(1.59576912f)));
    const vf e = vf_exp(vf_sub(vf_set(0), vf_max(vf_sub(vf_set(0), s), s)), kit);
    const vf larger = vf_div(one, vf_add(one, e)), smaller = vf_mul(e, larger);
    const vf below = vf_fma(sign_of(u), vf_sub(half, smaller), half);
    const vf inner = vf_fma(square, vf_set(0.21406445f), vf_set(1.59576912f));
    return (activated){vf_mul(u, below), vf_fma(vf_mul(vf_mul(x, larger), smaller), inner, below)};
}

INLINE activated relu(vf u, const vf_exp_kit *kit)
{
    (void)kit;
    return (activated){vf_max(vf_set(0), u), vf_max(vf_set(0), sign_of(u))};
}

#define ACTIVATE(name, f)                                                                                              \
    static void name(const float *a, const float *b, float *value, float *slope, int64_t count)                        \
    {                                                                                                                  \
        const vf_exp_kit kit = vf_exp_begin();                                                                         \
        int64_t i = 0;                                                                                                 \
        for (; i + VF_LANES <= count; i += VF_LANES) {                                                                 \
            const vf u = b ? vf_add(vf_load(a + i), vf_load(b + i)) : vf_load(a + i);                                  \
            const activated result = f(u, &kit);                                                                       \
            vf_store(value + i, result.value);                                                                         \
            if (slope)                                                                                                 \
                vf_store(slope + i, result.slope);                                                                     \
        }                                                                                                              \
        const int left = (int)(count - i);                                                                             \
        if (left) {                                                                                                    \
            const vf u = b ? vf_add(vf_load_n(a + i, left), vf_load_n(b + i, left)) : vf_load_n(a + i, left);          \
            const activated result = f(u, &kit);                                                                       \
            vf_store_n(value + i, result.value, left);                                                                 \
            if (slope)                                                                                                 \
                vf_store_n(slope + i, result.slope, left);                                                             \
        }                                                                                                              \
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
