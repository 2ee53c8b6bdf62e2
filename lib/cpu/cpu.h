/* What the parts of the CPU backend share.  SPDX-License-Identifier: Apache-2.0 */
#ifndef PLB_CPU_H
#define PLB_CPU_H

#include "half.h"
#include "simd.h"

/* The kernels of the context's instruction set. */
const plb_simd *plb_cpu_simd(const poslabel_context *context);

/*
 * Runs body(argument, 0 .. n - 1, n) on n threads and waits; the body divides the work by its index and n.  n is at
 * most the context's threads, and 1 when the work moves so few bytes that waking a thread would cost more, or in a
 * forked child.
 */
typedef void plb_parallel_body(void *argument, int thread, int threads);
void plb_parallel(const poslabel_context *context, size_t bytes, plb_parallel_body *body, void *argument);

/* The most threads that plb_parallel() would use: for sizing workspace. */
int plb_parallel_threads(const poslabel_context *context, size_t bytes);

/*
 * From _alone() on, OpenMP code of other libraries that this thread calls, itself or in a body of plb_parallel(), stays
 * on the thread that calls it; _restore() takes back what _alone() gave.  For a CBLAS: its threads would be too many,
 * and in a forked child wait for ever.
 */
int plb_parallel_alone(void);
void plb_parallel_restore(int before);

/* The share of one thread of `items`: [*begin, *end). */
static inline void plb_share(int64_t items, int thread, int threads, int64_t *begin, int64_t *end)
{
    *begin = items / threads * thread + (items % threads < thread ? items % threads : thread);
    *end = *begin + items / threads + (thread < items % threads);
}

/* One element of a view at `p`, by dtype. */
static inline int64_t plb_load_id(const void *p, plb_dtype dtype)
{
    return dtype == PLB_I32 ? *(const int32_t *)p : *(const int64_t *)p;
}

static inline void plb_store_id(void *p, plb_dtype dtype, int64_t value)
{
    if (dtype == PLB_I32)
        *(int32_t *)p = (int32_t)value;
    else
        *(int64_t *)p = value;
}

static inline double plb_load_number(const void *p, plb_dtype dtype)
{
    switch (dtype) {
    case PLB_F32:
        return *(const float *)p;
    case PLB_F16:
        return plb_from_f16(*(const uint16_t *)p);
    case PLB_BF16:
        return plb_from_bf16(*(const uint16_t *)p);
    case PLB_F64:
        return *(const double *)p;
    case PLB_I32:
        return *(const int32_t *)p;
    case PLB_I64:
        return (double)*(const int64_t *)p;
    default:
        return *(const uint8_t *)p;
    }
}

static inline void plb_store_number(void *p, plb_dtype dtype, double value)
{
    switch (dtype) {
    case PLB_F32:
        *(float *)p = (float)value;
        break;
    case PLB_F16:
        *(uint16_t *)p = plb_to_f16((float)value);
        break;
    case PLB_BF16:
        *(uint16_t *)p = plb_to_bf16((float)value);
        break;
    case PLB_F64:
        *(double *)p = value;
        break;
    case PLB_I32:
        *(int32_t *)p = (int32_t)value;
        break;
    case PLB_I64:
        *(int64_t *)p = (int64_t)value;
        break;
    default:
        *(uint8_t *)p = (uint8_t)value;
        break;
    }
}

poslabel_status plb_cpu_absolute_labels(const plb_call *call, const plb_labels_job *job);
poslabel_status plb_cpu_relative_labels(const plb_call *call, const plb_labels_job *job);
poslabel_status plb_cpu_smoothing_map(const plb_call *call, const plb_smoothing_map_job *job);
poslabel_status plb_cpu_masks(const plb_call *call, const plb_masks_job *job);
poslabel_status plb_cpu_assemble_tokens(const plb_call *call, const plb_assemble_job *job);
poslabel_status plb_cpu_assemble_tokens_backward(const plb_call *call, const plb_assemble_backward_job *job);
poslabel_status plb_cpu_attentive_weights(const plb_call *call, const plb_attention_job *job);
poslabel_status plb_cpu_row_loss(const plb_call *call, const plb_loss_job *job);
poslabel_status plb_cpu_scale_gradient(const plb_call *call, const plb_scale_job *job);
poslabel_status plb_cpu_linear_loss(const plb_call *call, const plb_linear_job *job);

#endif
