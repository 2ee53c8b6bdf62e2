/*
 * The CPU backend.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/environment.h"
#include "cpu/core/parallel.h"
#include "cpu/isa/levels.h"
#include "cpu/operations.h"

#include <unistd.h>

static poslabel_status cpu_open(poslabel_context *context, const poslabel_context_options *options, char *reason,
                                size_t reason_size)
{
    (void)options, (void)reason, (void)reason_size; /* a CPU is always to be had */
    const plb_kernels *const kernels = plb_kernels_at(context->isa);
    context->backend_state = (void *)kernels;
    context->isa = kernels->isa;
    /* Half of the last-level cache: what is larger would push the caller's own data out of it.  In virtual machines
     * sysconf() may report the sum over a whole server, of which no core has more than about 32 MiB at hand. */
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE), most = 32 << 20;
    context->stream_bytes = (size_t)(l3 > 0 && l3 < most ? l3 : most) / 2;
    if (!context->threads)
        context->threads = plb_parallel_default();
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

/* The operations, in the library's own floating-point environment. */
#define PLB_JOB(name, job, backends)                                                                                   \
    static poslabel_status cpu_##name(const plb_call *call, const struct job *argument)                                \
    {                                                                                                                  \
        const plb_environment found = plb_environment_begin();                                                         \
        const poslabel_status status = plb_cpu_##name(call, argument);                                                 \
        plb_environment_end(found);                                                                                    \
        return status;                                                                                                 \
    }
#include "operations.def"

const plb_backend plb_cpu_backend = {
    .version = PLB_BACKEND_VERSION,
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .threads = plb_parallel_most,
    .allocate = cpu_allocate,
    .release = cpu_release,
    .set_stream = cpu_set_stream,
    .synchronize = cpu_synchronize,
#define PLB_JOB(name, job, backends) .name = (backends) & PLB_ON_CPU ? cpu_##name : NULL,
#include "operations.def"
};
