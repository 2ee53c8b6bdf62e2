/* The CPU backend: its table, and which instruction set it runs on.  SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#include <stdio.h>
#include <unistd.h>
#ifdef PLB_HAVE_X86
#include <cpuid.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

/* The best first. */
static const plb_simd *const levels[] = {
#ifdef PLB_HAVE_X86
    &plb_simd_avx512, &plb_simd_avx2,
#endif
    &plb_simd_baseline, &plb_simd_reference};

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

const plb_simd *plb_cpu_simd(const poslabel_context *context)
{
    return context->backend_state;
}

static poslabel_status cpu_open(poslabel_context *context, const poslabel_context_options *options, char *reason,
                                size_t reason_size)
{
    (void)options, (void)reason, (void)reason_size; /* a CPU is always to be had */
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (context->isa == POSLABEL_ISA_AUTO ? !missing_for(levels[i]->isa) : context->isa == levels[i]->isa) {
            context->backend_state = (void *)levels[i];
            context->isa = levels[i]->isa;
            break;
        }
    /* Half of the last-level cache: what is larger would push the caller's own data out of it.  In virtual machines
     * sysconf() may report the sum over a whole server, of which no core has more than about 32 MiB at hand. */
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE), most = 32 << 20;
    context->stream_bytes = (size_t)(l3 > 0 && l3 < most ? l3 : most) / 2;
#ifdef _OPENMP
    if (!context->threads)
        context->threads = omp_get_max_threads();
#else
    context->threads = 1;
#endif
    return POSLABEL_OK;
}

static void cpu_close(poslabel_context *context)
{
    (void)context;
}

static poslabel_status cpu_allocate(const plb_call *call, size_t size, void **data)
{
    const poslabel_allocator *const allocator = &call->context->allocator;
    *data = size == SIZE_MAX ? NULL : allocator->allocate(allocator->user, size, 64);
    if (!*data)
        return plb_fail(call, POSLABEL_ERROR_MEMORY, "no memory for a workspace of %zu bytes", size);
    return POSLABEL_OK;
}

static void cpu_release(poslabel_context *context, void *data, size_t size)
{
    context->allocator.release(context->allocator.user, data, size);
}

static poslabel_status cpu_set_stream(const plb_call *call, void *stream)
{
    return stream ? plb_fail(call, POSLABEL_ERROR_INVALID, "stream must be NULL on the CPU") : POSLABEL_OK;
}

static poslabel_status cpu_synchronize(const plb_call *call)
{
    (void)call; /* a call returns when its work is done */
    return POSLABEL_OK;
}

const plb_backend plb_cpu_backend = {
    .version = PLB_BACKEND_VERSION,
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .allocate = cpu_allocate,
    .release = cpu_release,
    .set_stream = cpu_set_stream,
    .synchronize = cpu_synchronize,
    .absolute_labels = plb_cpu_absolute_labels,
    .relative_labels = plb_cpu_relative_labels,
    .smoothing_map = plb_cpu_smoothing_map,
    .masks = plb_cpu_masks,
    .assemble_tokens = plb_cpu_assemble_tokens,
    .assemble_tokens_backward = plb_cpu_assemble_tokens_backward,
    .attentive_weights = plb_cpu_attentive_weights,
    .row_loss = plb_cpu_row_loss,
    .scale_gradient = plb_cpu_scale_gradient,
    .linear_loss = plb_cpu_linear_loss,
};
