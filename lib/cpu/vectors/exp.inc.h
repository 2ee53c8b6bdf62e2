/*
 * The exponential of a vector, as a polynomial, unless the vectors have one of their own, as those of AVX-512 do.
 *
 * Needs the vectors of an instruction set (<isa>.h), with vf_exp2_biased().  Gives vf_exp_kit, vf_exp_begin(),
 * vf_exp_again(), vf_exp() and VF_EXP_OVERFLOWS.
 *
 * SPDX-License-Identifier: Apache-2.0
 */

#ifndef VF_EXP_OVERFLOWS
#define VF_EXP_OVERFLOWS 0 /* above 88 the result is undefined */

/* Constants that stay in registers over many calls. */
typedef struct vf_exp_kit {
    vf log2e;
    vf magic; /* leaves the nearest integer, biased, in the last bits */
} vf_exp_kit;

static inline vf_exp_kit vf_exp_begin(void)
{
    return (vf_exp_kit){vf_set(0x1.715476p+0f), vf_set(0x1.8p23f + 127)};
}

static inline vf_exp_kit vf_exp_again(vf_exp_kit kit)
{
    return kit;
}

/*
 * e^d for d < 88, within 2 units in the last place near 0 and 1e-6 at -80 and 80; 0 below -88; NaN for NaN.
 * 2^f for |f| <= 1/2 is a minimax polynomial of degree 5 with a relative error of 9e-8, exact at 0.
 */
static inline vf vf_exp(vf d, const vf_exp_kit *kit)
{
    d = vf_max(vf_set(-88.0f), d);
    const vf shifted = vf_fma(d, kit->log2e, kit->magic);
    const vf f = vf_fms(d, kit->log2e, vf_sub(shifted, kit->magic));
    vf p = vf_set(0x1.5bba14p-10f);
    p = vf_fma(p, f, vf_set(0x1.3cea88p-7f));
    p = vf_fma(p, f, vf_set(0x1.c6b752p-5f));
    p = vf_fma(p, f, vf_set(0x1.ebf9bcp-3f));
    p = vf_fma(p, f, vf_set(0x1.62e42ap-1f));
    p = vf_fma(p, f, vf_set(1.0f));
    return vf_mul(p, vf_exp2_biased(shifted));
}

#endif
