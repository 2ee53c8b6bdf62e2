/*
 * Scaling a gradient in place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/kernels.h"
#include "cpu/core/numbers.h"
#include "cpu/core/parallel.h"
#include "cpu/loss/kernels.h"
#include "cpu/operations.h"
#include "loss.h"

typedef struct scale_run {
    const plb_scale_job *job;
    plb_scale_kernel *kernel;
} scale_run;

static void scale_rows(void *argument, int thread, int threads)
{
    const scale_run *const run = argument;
    const plb_scale_job *const job = run->job;
    int64_t begin, end;
    plb_share(job->grad.count, thread, threads, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        const char *p = job->scale.count == job->grad.count ? plb_row(&job->scale, r) : job->scale.data;
        const double scale = plb_load_number(p, job->scale.dtype);
        if (scale != 1)
            run->kernel(plb_row(&job->grad, r), job->grad.dtype, job->grad.length, scale);
    }
}

poslabel_status plb_cpu_scale_gradient(const plb_call *call, const plb_scale_job *job)
{
    scale_run run = {job, plb_kernels_of(call->context)->loss->scale};
    void *none;
    PLB_TRY(plb_workspace(call, 0, &none));
    if (job->grad.count == 0 || job->grad.length == 0)
        return POSLABEL_OK;
    if (job->scale.count == 1 && plb_load_number(job->scale.data, job->scale.dtype) == 1)
        return POSLABEL_OK;
    const size_t bytes = 2 * (size_t)job->grad.count * (size_t)job->grad.length * plb_dtype_size[job->grad.dtype];
    plb_parallel(call->context, plb_shared_bytes(job->grad.count, bytes), scale_rows, &run);
    return POSLABEL_OK;
}
