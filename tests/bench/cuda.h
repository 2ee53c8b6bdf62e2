/*
 * What the parts of the benchmark of the CUDA backend share.
 *
 *   cuda.c           options, the card, copies and the tiny call
 *   cuda_measure.c   device memory, and an operation against a copy inside the device
 *   cuda_loss.c      losses
 *   cuda_other.c     masks, tokens, attention, labels, scaling
 *
 * Reports, random numbers and checks are those of bench.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BENCH_CUDA_H
#define BENCH_CUDA_H

#include "bench.h"

#include <cuda_runtime_api.h>

typedef struct cuda_run {
    bench_run base;         /* base.a: random numbers of the host, base.arena_bytes of them; base.b is not used */
    poslabel_context *host; /* a CPU context, which says what is right */
    cudaStream_t stream;
    bool smoke;
    unsigned char *a, *b; /* arenas on the device, arena_bytes each */
    size_t arena_bytes;
    bench_dtype dtype; /* of what a holds */
    bool filled;
    unsigned char *flush; /* two halves of flush_bytes */
    size_t flush_bytes;
    size_t large;            /* bytes of traffic that no cache holds */
    double copy_bandwidth;   /* bytes read and written a second */
    int unsupported, no_room; /* cases left out */
} cuda_run;

/* A CUDA function that must not fail. */
#define CUDA(call) cuda_check((call), #call)
void cuda_check(cudaError_t error, const char *what);

/* Waits for the context's work; what went wrong ends the benchmark. */
void cuda_synchronize(cuda_run *run);

void cuda_open(cuda_run *run);
void cuda_close(cuda_run *run);
void *cuda_normal(cuda_run *run, bench_dtype dtype);                  /* arena a, filled with N(0, 2) */
void *cuda_upload(cuda_run *run, const void *data, size_t bytes);     /* a copy on the device; cudaFree() it */
void *cuda_new(cuda_run *run, size_t bytes);                          /* device memory; cudaFree() it */
void cuda_view(bench_tensor *view, void *data, bench_dtype dtype, int ndim, int64_t n0, int64_t n1, int64_t n2);

/* Whether the arenas have room for a case, which is counted if not. */
bool cuda_fits(cuda_run *run, size_t bytes);

/* Calls once; false, and counted, when the backend does not have the operation. */
bool cuda_try(cuda_run *run, bench_call *call, void *args, const char *name);

/*
 * Measures what->call against a copy of as many bytes, arena a to arena b.  outputs[].data are on the device.  NULL when
 * the operation is not to be had.
 */
bench_result *cuda_measure(cuda_run *run, const bench_case *what);

/* Seconds of a call as the graph that it is captured in; also against a copy. */
bench_result *cuda_measure_graph(cuda_run *run, const bench_case *what);

/* A line over several others: the median of `values`, and how far they lie apart. */
void cuda_report_spread(cuda_run *run, const char *operation, const char *size, const char *dtype, double *values,
                        int count, double at_most);

void cuda_losses(cuda_run *run);
void cuda_other(cuda_run *run);

#endif
