/*
 * Device memory, and an operation against a copy inside the device.
 *
 * Everything of a round is queued at once: a copy that flushes the caches, an event, the work, an event.  While the device
 * flushes, the host gets ahead, so that what lies between two events is the time of the device, launch included, and not
 * that of the host.  The flush is itself a copy, of twice the L2: it leaves the cache half full of lines that have still to
 * be written, as a stream of such operations does, and as they it starts with none of its inputs in the cache.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cuda.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cuda_check(cudaError_t error, const char *what)
{
    if (error != cudaSuccess)
        bench_fail("%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

void cuda_synchronize(cuda_run *run)
{
    if (poslabel_context_synchronize(run->base.context) != POSLABEL_OK)
        bench_fail("%s", poslabel_context_message(run->base.context));
}

/* ---- memory ---- */

void cuda_open(cuda_run *run)
{
    size_t free_bytes, total;
    int l2 = 0, device;
    CUDA(cudaGetDevice(&device));
    CUDA(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device));
    CUDA(cudaMemGetInfo(&free_bytes, &total));
    run->flush_bytes = 2 * (size_t)l2;
    if (run->flush_bytes < (size_t)64 << 20)
        run->flush_bytes = (size_t)64 << 20;
    if (!run->smoke) {
        run->large = (size_t)256 << 20;
        if (run->large < 4 * (size_t)l2)
            run->large = 4 * (size_t)l2;
    }
    const size_t most = ((size_t)4 << 30) + ((size_t)512 << 20); /* 2^31 elements of two bytes, and some more */
    run->arena_bytes = free_bytes / 5 * 2 < most ? free_bytes / 5 * 2 / 4096 * 4096 : most;
    if (run->smoke) {
        run->flush_bytes = 1 << 14;
        run->arena_bytes = (3 << 20) + 8 * run->large;
    }
    if (run->arena_bytes < run->large / 2)
        bench_fail("%zu MiB of device memory are free; %zu MiB are needed", free_bytes >> 20, run->large * 5 / 4 >> 20);
    CUDA(cudaMalloc((void **)&run->a, run->arena_bytes));
    CUDA(cudaMalloc((void **)&run->b, run->arena_bytes));
    CUDA(cudaMalloc((void **)&run->flush, 2 * run->flush_bytes));
    CUDA(cudaMemset(run->flush, 0, 2 * run->flush_bytes));
    CUDA(cudaMemset(run->b, 0, run->arena_bytes));
    CUDA(cudaDeviceSynchronize()); /* the stream waits for nothing but its own work */
    run->base.arena_bytes = run->smoke ? 1 << 16 : 16 << 20;
    run->base.a = bench_map(&run->base, run->base.arena_bytes);
}

void cuda_close(cuda_run *run)
{
    CUDA(cudaFree(run->a));
    CUDA(cudaFree(run->b));
    CUDA(cudaFree(run->flush));
    bench_unmap(run->base.a, run->base.arena_bytes);
}

void *cuda_new(cuda_run *run, size_t bytes)
{
    void *data;
    (void)run;
    CUDA(cudaMalloc(&data, bytes ? bytes : 1));
    return data;
}

void *cuda_upload(cuda_run *run, const void *data, size_t bytes)
{
    void *const copy = cuda_new(run, bytes);
    CUDA(cudaMemcpy(copy, data, bytes, cudaMemcpyHostToDevice));
    CUDA(cudaDeviceSynchronize());
    return copy;
}

void *cuda_normal(cuda_run *run, bench_dtype dtype)
{
    if (run->filled && run->dtype == dtype)
        return run->a;
    size_t done = run->base.arena_bytes;
    CUDA(cudaMemcpy(run->a, bench_normal(&run->base, dtype), done, cudaMemcpyHostToDevice));
    for (; done < run->arena_bytes; done *= 2)
        CUDA(cudaMemcpy(run->a + done, run->a, done < run->arena_bytes - done ? done : run->arena_bytes - done,
                        cudaMemcpyDeviceToDevice));
    CUDA(cudaDeviceSynchronize());
    run->filled = true;
    run->dtype = dtype;
    return run->a;
}

void cuda_view(bench_tensor *view, void *data, bench_dtype dtype, int ndim, int64_t n0, int64_t n1, int64_t n2)
{
    bench_view(view, data, dtype, ndim, n0, n1, n2);
    view->tensor.device.type = POSLABEL_DEVICE_CUDA;
}

bool cuda_fits(cuda_run *run, size_t bytes)
{
    if (bytes <= run->arena_bytes)
        return true;
    run->no_room += run->base.counting;
    return false;
}

/* ---- one call ---- */

static void call_once(cuda_run *run, bench_call *call, void *args, const char *name)
{
    const poslabel_status status = call(run->base.context, args);
    if (status != POSLABEL_OK)
        bench_fail("%s: %s: %s", name, poslabel_status_name(status), poslabel_context_message(run->base.context));
}

bool cuda_try(cuda_run *run, bench_call *call, void *args, const char *name)
{
    if (call(run->base.context, args) == POSLABEL_ERROR_UNSUPPORTED) {
        if (isatty(STDERR_FILENO))
            fputs("\r\033[K", stderr);
        printf("%-38s left out: %s\n", name, poslabel_context_message(run->base.context));
        run->unsupported++;
        return false;
    }
    call_once(run, call, args, name);
    cuda_synchronize(run);
    return true;
}

/* Looks at the first and the last rows of an output, as much as a host has time for. */
static void check_output(cuda_run *run, const bench_case *what, const bench_output *output, int number)
{
    enum { PIECE = 64 << 20 };
    const size_t element = bench_element(output->dtype), row = output->row ? output->row : 1;
    const size_t rows = output->count / row, most = PIECE / (row * element) + 1;
    const size_t count = (rows < most ? rows : most) * row;
    const size_t offsets[2] = {0, (output->count - count) * element};
    void *const host = malloc(count * element);
    if (!host)
        bench_fail("no memory");
    for (int i = 0; i < (offsets[1] ? 2 : 1); i++) {
        char why[128];
        CUDA(cudaMemcpy(host, (char *)output->data + offsets[i], count * element, cudaMemcpyDeviceToHost));
        if (!bench_check(&run->base, &(bench_output){host, output->dtype, count, output->row}, !what->in_place, why,
                         sizeof why))
            bench_fail("%s %s %s: output %d: %s", what->operation, what->size, what->dtype, number, why);
    }
    free(host);
}

/* ---- rounds ---- */

enum { WORKS = 3, MAX_ROUNDS = 401 };

static poslabel_status copy(cuda_run *run, const bench_case *what)
{
    CUDA(cudaMemcpyAsync(run->b, run->a, (what->read + what->written) / 2, cudaMemcpyDeviceToDevice, run->stream));
    return POSLABEL_OK;
}

typedef struct timers {
    cudaEvent_t begin[WORKS], end[WORKS]; /* of the copy, the operation, the rival */
} timers;

/* Seconds of each; `turn` decides who goes first. */
static void take_round(cuda_run *run, const bench_case *what, const timers *events, int turn, double seconds[WORKS])
{
    const int works = what->rival ? 3 : 2;
    for (int i = 0; i < works; i++) {
        const int work = (i + turn) % works;
        if (what->in_place) /* the copy restores what the operation works on */
            copy(run, what);
        CUDA(cudaMemcpyAsync(run->flush, run->flush + run->flush_bytes, run->flush_bytes, cudaMemcpyDeviceToDevice,
                             run->stream));
        CUDA(cudaEventRecord(events->begin[work], run->stream));
        if (work == 0)
            copy(run, what);
        else
            call_once(run, work == 1 ? what->call : what->rival, work == 1 ? what->args : what->rival_args,
                      what->operation);
        CUDA(cudaEventRecord(events->end[work], run->stream));
    }
    CUDA(cudaStreamSynchronize(run->stream));
    for (int i = 0; i < works; i++) {
        float milliseconds;
        CUDA(cudaEventElapsedTime(&milliseconds, events->begin[i], events->end[i]));
        seconds[i] = milliseconds > 1e-6f ? 1e-3 * (double)milliseconds : 1e-9;
    }
}

static bench_result *new_result(cuda_run *run, const char *operation, const char *size, const char *dtype)
{
    bench_result *const result = &run->base.results[run->base.result_count++];
    *result = (bench_result){.calls = 1};
    snprintf(result->operation, sizeof result->operation, "%s", operation);
    snprintf(result->size, sizeof result->size, "%s", size);
    snprintf(result->dtype, sizeof result->dtype, "%s", dtype);
    return result;
}

static void print_result(cuda_run *run, const bench_result *result)
{
    run->base.done++;
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    bench_print_result(result);
}

/* The time above the ideal is known only when the time is. */
static void set_figure(cuda_run *run, bench_result *result)
{
    result->figure = 1e6 * (result->seconds.median - (double)(result->read + result->written) / run->copy_bandwidth);
}

static bench_result *measure_rounds(cuda_run *run, const bench_case *what)
{
    const double budget = run->smoke ? 0 : run->base.quick ? 0.05 : 0.5;
    const int enough = run->smoke ? 1 : run->base.quick ? 5 : 21;
    bench_result *const result = new_result(run, what->operation, what->size, what->dtype);
    result->read = what->read;
    result->written = what->written;
    result->yardstick = BENCH_COPY;
    snprintf(result->rival_name, sizeof result->rival_name, "%s", what->rival ? what->rival_name : "");
    if (!run->smoke) {
        result->target = what->target;
        result->rival_target = what->rival_target;
    }
    result->items = what->items;

    static double seconds[WORKS][MAX_ROUNDS], ratios[MAX_ROUNDS], rivals[MAX_ROUNDS];
    double round[WORKS] = {0};
    timers events;
    for (int i = 0; i < WORKS; i++) {
        CUDA(cudaEventCreate(&events.begin[i]));
        CUDA(cudaEventCreate(&events.end[i]));
    }
    take_round(run, what, &events, 0, round); /* warms up, and is thrown away */
    result->first = round[1];
    const double start = bench_now();
    int count = 0;
    while (count < MAX_ROUNDS && (count < enough || bench_now() - start < budget)) {
        take_round(run, what, &events, count, round);
        for (int i = 0; i < WORKS; i++)
            seconds[i][count] = round[i];
        ratios[count] = round[0] / round[1];
        rivals[count] = what->rival ? round[1] / round[2] : 0;
        count++;
    }
    for (int i = 0; i < WORKS; i++) {
        CUDA(cudaEventDestroy(events.begin[i]));
        CUDA(cudaEventDestroy(events.end[i]));
    }
    result->rounds = count;
    result->yardstick_seconds = bench_spread_of(seconds[0], count);
    result->seconds = bench_spread_of(seconds[1], count);
    result->ratio = bench_spread_of(ratios, count);
    result->rival = bench_spread_of(rivals, count);
    result->best_ratio = result->yardstick_seconds.min / result->seconds.min;
    if (run->copy_bandwidth > 0)
        set_figure(run, result);
    print_result(run, result);
    return result;
}

bench_result *cuda_measure(cuda_run *run, const bench_case *what)
{
    char name[160];
    snprintf(name, sizeof name, "%s %s %s", what->operation, what->size, what->dtype);
    if (what->in_place)
        copy(run, what);
    else
        for (int i = 0; i < BENCH_MAX_OUTPUTS && what->outputs[i].data; i++)
            CUDA(cudaMemsetAsync(what->outputs[i].data, 0xff,
                                 what->outputs[i].count * bench_element(what->outputs[i].dtype), run->stream));
    if (!cuda_try(run, what->call, what->args, name))
        return NULL;
    for (int i = 0; i < BENCH_MAX_OUTPUTS && what->outputs[i].data; i++)
        check_output(run, what, &what->outputs[i], i);
    return measure_rounds(run, what);
}

/* ---- graphs ---- */

typedef struct replay {
    cudaGraphExec_t graph;
    cudaStream_t stream;
} replay;

static poslabel_status launch_graph(poslabel_context *context, void *args)
{
    const replay *const what = args;
    (void)context;
    CUDA(cudaGraphLaunch(what->graph, what->stream));
    return POSLABEL_OK;
}

bench_result *cuda_measure_graph(cuda_run *run, const bench_case *what)
{
    replay replayed = {.stream = run->stream};
    cudaGraph_t graph;
    call_once(run, what->call, what->args, what->operation); /* takes the workspace */
    cuda_synchronize(run);
    CUDA(cudaStreamBeginCapture(run->stream, cudaStreamCaptureModeThreadLocal));
    call_once(run, what->call, what->args, what->operation);
    CUDA(cudaStreamEndCapture(run->stream, &graph));
    CUDA(cudaGraphInstantiate(&replayed.graph, graph, 0));
    CUDA(cudaGraphDestroy(graph));
    bench_case measured = *what;
    measured.call = launch_graph;
    measured.args = &replayed;
    bench_result *const result = cuda_measure(run, &measured);
    CUDA(cudaGraphExecDestroy(replayed.graph));
    return result;
}

/* ---- over several lines ---- */

void cuda_report_spread(cuda_run *run, const char *operation, const char *size, const char *dtype, double *values,
                        int count, double at_most)
{
    bench_result *const result = new_result(run, operation, size, dtype);
    const bench_spread spread = bench_spread_of(values, count);
    result->seconds = (bench_spread){spread.min, spread.median, spread.median, spread.median, spread.max};
    result->rounds = count;
    result->figure = spread.max / spread.min - 1;
    if (!run->smoke)
        result->target = (bench_target){BENCH_SPREAD_AT_MOST, at_most};
    print_result(run, result);
}
