/*
 * The machine itself: how steady the yardstick is, and how good.
 *
 * memcpy against memcpy shows what a ratio of 1 looks like here.  A copy with streaming stores shows what memcpy leaves
 * on the table: glibc takes them only above a size that it derives from the caches it believes the machine has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef struct copy_job {
    const bench_run *run;
    size_t bytes; /* a multiple of 64 for each thread */
    bool stream;
} copy_job;

static void stream_copy(unsigned char *to, const unsigned char *from, size_t bytes)
{
#ifdef __SSE2__
    for (size_t i = 0; i < bytes; i += 64)
        for (size_t k = 0; k < 64; k += 16)
            _mm_stream_si128((__m128i *)(void *)(to + i + k),
                             _mm_load_si128((const __m128i *)(const void *)(from + i + k)));
    _mm_sfence();
#else
    memcpy(to, from, bytes);
#endif
}

static poslabel_status copy(poslabel_context *context, void *args)
{
    const copy_job *const job = args;
    const size_t part = job->bytes / (size_t)job->run->threads;
    (void)context;
#pragma omp parallel for num_threads(job->run->threads) schedule(static, 1)
    for (int i = 0; i < job->run->threads; i++) {
        const size_t begin = (size_t)i * part;
        if (job->stream)
            stream_copy(job->run->b + begin, job->run->a + begin, part);
        else
            memcpy(job->run->b + begin, job->run->a + begin, part);
    }
    return POSLABEL_OK;
}

void bench_bandwidth(bench_run *run)
{
    const size_t sizes[] = {(size_t)2 << 20, (size_t)256 << 20, (size_t)512 << 20};
    for (int stream = 0; stream < 2; stream++)
        for (int i = 0; i < 3; i++) {
            copy_job job = {run, sizes[i] / 64 / (size_t)run->threads * 64 * (size_t)run->threads, stream};
            char size[72];
            snprintf(size, sizeof size, "%zu MiB", sizes[i] >> 20);
            const char *const operation = stream ? "memcpy by streaming stores" : "memcpy";
#ifndef __SSE2__
            if (stream)
                continue;
#endif
            if (job.bytes > run->max_bytes / 2 || !bench_wanted(run, operation, size, "bytes"))
                continue;
            bench_normal(run, BENCH_F32);
            bench_measure(run, &(bench_case){.operation = operation,
                                             .size = size,
                                             .dtype = "bytes",
                                             .call = copy,
                                             .args = &job,
                                             .read = job.bytes,
                                             .written = job.bytes,
                                             .yardstick = BENCH_COPY,
                                             .outputs = {{run->b, BENCH_F32, job.bytes / 4, 0}}});
        }
}
