/*
 * Which instruction sets this machine has, and the kernels that a context runs on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/isa/levels.h"

#include <stdio.h>
#ifdef PLB_HAVE_X86
#include <cpuid.h>
#endif

/* The best first. */
static const plb_kernels *const levels[] = {
#ifdef PLB_HAVE_X86
    &plb_kernels_avx512, &plb_kernels_avx2,
#endif
    &plb_kernels_baseline, &plb_kernels_reference};

#ifdef PLB_HAVE_X86
/* By number, because clang 14 does not know it by name.  AVX2, asked for too, needs the same of the operating system. */
static bool has_f16c(void)
{
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}
#endif

/* NULL: this machine has it; else what is missing. */
static const char *missing_for(poslabel_isa isa)
{
#ifdef PLB_HAVE_X86
    __builtin_cpu_init();
    if (isa == POSLABEL_ISA_AVX2) {
        if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c())
            return "this CPU, or its operating system, lacks AVX2, FMA or F16C";
        return NULL;
    }
    if (isa == POSLABEL_ISA_AVX512) {
        if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
            !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
            return "this CPU, or its operating system, lacks AVX-512 F, BW, DQ or VL";
        return NULL;
    }
#else
    if (isa == POSLABEL_ISA_AVX2 || isa == POSLABEL_ISA_AVX512)
        return "this build is not for x86-64";
#endif
    return NULL;
}

poslabel_status poslabel_isa_supported(poslabel_isa isa, char *reason, size_t reason_size)
{
    const char *text = "no such instruction set";
    poslabel_status status = POSLABEL_ERROR_INVALID;
    switch (isa) {
    case POSLABEL_ISA_AUTO:
    case POSLABEL_ISA_REFERENCE:
    case POSLABEL_ISA_BASELINE:
    case POSLABEL_ISA_AVX2:
    case POSLABEL_ISA_AVX512:
        text = missing_for(isa);
        status = text ? POSLABEL_ERROR_UNSUPPORTED : POSLABEL_OK;
    }
    if (reason && reason_size)
        snprintf(reason, reason_size, "%s", text ? text : "");
    return status;
}

const char *poslabel_isa_name(poslabel_isa isa)
{
    switch (isa) {
    case POSLABEL_ISA_AUTO:
        return "auto";
    case POSLABEL_ISA_REFERENCE:
        return "reference";
    case POSLABEL_ISA_BASELINE:
        return "baseline";
    case POSLABEL_ISA_AVX2:
        return "avx2";
    case POSLABEL_ISA_AVX512:
        return "avx512";
    }
    return "unknown";
}

const plb_kernels *plb_kernels_at(poslabel_isa isa)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (isa == POSLABEL_ISA_AUTO ? !missing_for(levels[i]->isa) : isa == levels[i]->isa)
            return levels[i];
    return &plb_kernels_reference;
}
