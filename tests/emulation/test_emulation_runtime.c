/*
 * The emulated runtime: streams, deferral, graphs, faults, cuBLAS.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control.h"
#include "cublas.h"
#include "right.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ok(call) assert_int_equal((call), cudaSuccess)

enum { COUNT = 100, BYTES = COUNT * sizeof(float) };

static int clean(void **state)
{
    (void)state;
    emulation_defer(0);
    emulation_fail_at(0, 0);
    emulation_break_device(0);
    cudaGetLastError();
    assert_int_equal(emulation_live_allocations(), 0);
    assert_int_equal(emulation_live_objects(), 0);
    return 0;
}

/* These tests look at device memory without synchronising, which nothing else may. */
static int peek(void **state)
{
    (void)state;
    emulation_hide_memory(0);
    return 0;
}

static void deferred_work_waits(void **state)
{
    (void)state;
    cudaStream_t stream, other;
    cudaEvent_t event;
    float *x = NULL, *y = NULL, out[COUNT];
    ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    ok(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    ok(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    ok(cudaMalloc((void **)&x, BYTES));
    ok(cudaMallocAsync((void **)&y, BYTES, stream));
    emulation_defer(1);
    const long before = emulation_launches();
    ok(cudaMemsetAsync(x, 0, BYTES, stream));
    ok(right_increment(x, COUNT, stream));
    assert_true(isnan(x[0]));
    assert_int_equal(cudaStreamQuery(stream), cudaErrorNotReady);
    ok(cudaStreamSynchronize(stream));
    assert_true(x[0] == 1);
    assert_int_equal(cudaStreamQuery(stream), cudaSuccess);
    assert_int_equal(emulation_launches(), before + 1);

    /* One stream waits for another through an event, which takes along what came before it only. */
    ok(right_increment(x, COUNT, stream));
    ok(cudaEventRecord(event, stream));
    ok(right_increment(x, COUNT, stream));
    ok(cudaStreamWaitEvent(other, event, 0));
    ok(cudaMemcpyAsync(y, x, BYTES, cudaMemcpyDeviceToDevice, other));
    ok(cudaStreamSynchronize(other));
    assert_true(y[0] == 2 && x[0] == 2);
    ok(cudaDeviceSynchronize());
    assert_true(x[0] == 3);

    /* Memory that is not pinned is read at once, and written before the call returns. */
    float value = 7;
    ok(cudaMemcpyAsync(x, &value, sizeof value, cudaMemcpyHostToDevice, stream));
    value = 8;
    assert_true(x[0] == 3);
    ok(cudaMemcpyAsync(out, x, BYTES, cudaMemcpyDeviceToHost, stream));
    assert_true(out[0] == 7 && out[1] == 3);

    ok(cudaFreeAsync(y, stream));
    assert_int_equal(emulation_live_allocations(), 2);
    ok(cudaStreamDestroy(stream));
    assert_int_equal(emulation_live_allocations(), 1);
    ok(cudaStreamDestroy(other));
    ok(cudaEventDestroy(event));
    ok(cudaFree(x));
}

static void default_stream_waits_for_blocking_ones(void **state)
{
    (void)state;
    cudaStream_t stream;
    float *x = NULL;
    ok(cudaStreamCreate(&stream));
    ok(cudaMalloc((void **)&x, BYTES));
    emulation_defer(1);
    ok(cudaMemsetAsync(x, 0, BYTES, NULL));
    ok(right_increment(x, COUNT, stream));
    ok(cudaMemsetAsync(x, 0, sizeof *x, NULL));
    ok(right_increment(x, COUNT, stream));
    ok(cudaStreamSynchronize(stream));
    assert_true(x[0] == 1 && x[1] == 2);
    ok(cudaFree(x));
    ok(cudaStreamDestroy(stream));
}

static void graphs_replay(void **state)
{
    (void)state;
    cudaStream_t stream, branch;
    cudaEvent_t fork, join;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    enum cudaStreamCaptureStatus status;
    float *x = NULL;
    ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    ok(cudaStreamCreateWithFlags(&branch, cudaStreamNonBlocking));
    ok(cudaEventCreate(&fork));
    ok(cudaEventCreate(&join));
    ok(cudaMalloc((void **)&x, BYTES));
    ok(cudaMemset(x, 0, BYTES));
    ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    ok(cudaStreamIsCapturing(stream, &status));
    assert_int_equal(status, cudaStreamCaptureStatusActive);
    ok(right_increment(x, COUNT, stream));
    ok(cudaEventRecord(fork, stream));
    ok(cudaStreamWaitEvent(branch, fork, 0));
    ok(right_increment(x, COUNT / 2, branch));
    ok(cudaEventRecord(join, branch));
    ok(cudaStreamWaitEvent(stream, join, 0));
    ok(right_increment(x, COUNT, stream));
    ok(cudaStreamEndCapture(stream, &graph));
    assert_true(x[0] == 0);
    ok(cudaGraphInstantiate(&executable, graph, 0));
    ok(cudaGraphDestroy(graph));
    for (int i = 1; i <= 3; i++) {
        ok(cudaGraphLaunch(executable, branch));
        ok(cudaStreamSynchronize(branch));
        assert_true(x[0] == (float)(3 * i) && x[COUNT - 1] == (float)(2 * i));
    }
    ok(cudaGraphExecDestroy(executable));
    ok(cudaEventDestroy(fork));
    ok(cudaEventDestroy(join));
    ok(cudaStreamDestroy(stream));
    ok(cudaStreamDestroy(branch));
    ok(cudaFree(x));
}

static void captures_forbid(void **state)
{
    (void)state;
    cudaStream_t stream;
    float *x = NULL, *y = NULL;
    ok(cudaStreamCreate(&stream));
    ok(cudaMalloc((void **)&x, BYTES));
    for (int i = 0; i < 9; i++) {
        cudaGraph_t graph;
        cudaError_t error = cudaSuccess, want = cudaErrorStreamCaptureUnsupported;
        ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
        switch (i) {
        case 0:
            error = cudaMalloc((void **)&y, BYTES);
            break;
        case 1:
            error = cudaFree(x);
            break;
        case 2:
            error = cudaStreamSynchronize(stream);
            break;
        case 3:
            error = cudaDeviceSynchronize();
            break;
        case 4:
            error = cudaMallocAsync((void **)&y, BYTES, stream);
            break;
        case 5:
            error = cudaFreeAsync(x, stream);
            break;
        case 6:
            error = cudaMemset(x, 0, BYTES);
            break;
        case 7:
            error = cudaMallocHost((void **)&y, BYTES);
            break;
        case 8:
            error = right_increment(x, COUNT, NULL);
            want = cudaErrorStreamCaptureImplicit;
            break;
        }
        assert_int_equal(error, want);
        assert_int_equal(right_increment(x, COUNT, stream), cudaErrorStreamCaptureInvalidated);
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
        assert_null(graph);
    }
    assert_int_equal(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeGlobal), cudaErrorStreamCaptureUnsupported);
    ok(cudaFree(x));
    ok(cudaStreamDestroy(stream));
}

static void memory_is_checked(void **state)
{
    (void)state;
    float host[COUNT] = {0}, *x = NULL;
    struct cudaPointerAttributes attributes;
    ok(cudaMalloc((void **)&x, BYTES));
    assert_int_equal(cudaMemcpy(x, host, BYTES + 1, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(host, host, BYTES, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(host, 0, BYTES), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(x + 1, 0, BYTES), cudaErrorInvalidValue);
    assert_int_equal(cudaFree(x + 1), cudaErrorInvalidValue);
    assert_int_equal(cudaFreeHost(x), cudaErrorInvalidValue);
    assert_int_equal(cudaMalloc((void **)&host[0], (size_t)1 << 40), cudaErrorMemoryAllocation);
    ok(cudaPointerGetAttributes(&attributes, x + 5));
    assert_int_equal(attributes.type, cudaMemoryTypeDevice);
    ok(cudaPointerGetAttributes(&attributes, host));
    assert_int_equal(attributes.type, cudaMemoryTypeUnregistered);
    ok(cudaMemcpy2DAsync(x, 40, host, 20, 20, 10, cudaMemcpyHostToDevice, NULL));
    assert_true(x[0] == 0 && isnan(x[5]) && x[10] == 0 && isnan(x[95]));
    ok(cudaFree(x));
    assert_int_equal(cudaFree(x), cudaErrorInvalidValue);
    ok(cudaFree(NULL));
}

static void *launch_often(void *data)
{
    float *x = NULL, out[COUNT];
    cudaStream_t stream;
    ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    ok(cudaMalloc((void **)&x, BYTES));
    ok(cudaMemsetAsync(x, 0, BYTES, stream));
    for (int i = 0; i < 50; i++)
        ok(right_increment(x, COUNT, stream));
    ok(cudaMemcpyAsync(out, x, BYTES, cudaMemcpyDeviceToHost, stream));
    ok(cudaStreamSynchronize(stream));
    ok(cudaFree(x));
    ok(cudaStreamDestroy(stream));
    *(int *)data = out[0] == 50 && out[COUNT - 1] == 50;
    return NULL;
}

static void host_threads_launch_at_once(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    int right[THREADS] = {0};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, launch_often, &right[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(right[i]);
    }
}

static cudaError_t use(void)
{
    float *x = NULL;
    cudaError_t error = cudaMalloc((void **)&x, BYTES);
    if (error == cudaSuccess)
        error = cudaMemsetAsync(x, 0, BYTES, NULL);
    if (error == cudaSuccess)
        error = right_increment(x, COUNT, NULL);
    if (error == cudaSuccess)
        error = cudaDeviceSynchronize();
    const cudaError_t freed = cudaFree(x);
    return error != cudaSuccess ? error : freed;
}

static void each_call_can_fail(void **state)
{
    (void)state;
    const long before = emulation_fault_points();
    ok(use());
    assert_int_equal(emulation_fault_points() - before, 5);
    for (long n = 1; n <= 5; n++) {
        emulation_fail_at(n, cudaErrorLaunchFailure);
        assert_int_equal(use(), cudaErrorLaunchFailure);
        assert_int_equal(emulation_live_allocations(), 0);
        ok(use());
    }
    emulation_break_device(cudaErrorIllegalAddress);
    assert_int_equal(use(), cudaErrorIllegalAddress);
    assert_int_equal(use(), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    emulation_break_device(0);
    ok(use());
    assert_string_equal(cudaGetErrorName(cudaErrorIllegalAddress), "cudaErrorIllegalAddress");
}

static void matrices_multiply(void **state)
{
    (void)state;
    enum { M = 3, N = 4, K = 5 };
    const cublasOperation_t operations[2] = {CUBLAS_OP_N, CUBLAS_OP_T};
    float a[K * K], b[K * K], c[M * N], out[M * N], *da = NULL, *db = NULL, *dc = NULL;
    for (int i = 0; i < K * K; i++) {
        a[i] = (float)(i % 7) - 3;
        b[i] = (float)(i % 5) - 2;
    }
    for (int i = 0; i < M * N; i++)
        c[i] = (float)i;
    cublasHandle_t handle;
    cudaStream_t stream;
    ok(cudaStreamCreate(&stream));
    ok(cublasCreate_v2(&handle));
    ok(cublasSetStream_v2(handle, stream));
    ok(cudaMalloc((void **)&da, sizeof a));
    ok(cudaMalloc((void **)&db, sizeof b));
    ok(cudaMalloc((void **)&dc, sizeof c));
    ok(cudaMemcpy(da, a, sizeof a, cudaMemcpyHostToDevice));
    ok(cudaMemcpy(db, b, sizeof b, cudaMemcpyHostToDevice));
    for (int way = 0; way < 4; way++) {
        const float alpha = 2, beta = 3;
        ok(cudaMemcpy(dc, c, sizeof c, cudaMemcpyHostToDevice));
        ok(cublasGemmEx(handle, operations[way & 1], operations[way >> 1], M, N, K, &alpha, da, CUDA_R_32F, K, db,
                        CUDA_R_32F, K, &beta, dc, CUDA_R_32F, M, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
        ok(cudaStreamSynchronize(stream));
        ok(cudaMemcpy(out, dc, sizeof c, cudaMemcpyDeviceToHost));
        for (int j = 0; j < N; j++)
            for (int i = 0; i < M; i++) {
                float sum = 0;
                for (int k = 0; k < K; k++)
                    sum += ((way & 1) != 0 ? a[k + i * K] : a[i + k * K]) *
                           ((way >> 1) != 0 ? b[j + k * K] : b[k + j * K]);
                assert_true(out[i + j * M] == 2 * sum + 3 * c[i + j * M]);
            }
        const float zero = 0; /* what is there, NaN or not, does not count */
        ok(cudaMemset(dc, 0xFF, sizeof c));
        ok(cublasGemmEx(handle, operations[way & 1], CUBLAS_OP_N, M, 1, M, &alpha, da, CUDA_R_32F, K, db, CUDA_R_32F, K,
                        &zero, dc, CUDA_R_32F, M, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
        ok(cudaMemcpy(out, dc, sizeof c, cudaMemcpyDeviceToHost));
        for (int i = 0; i < M; i++) {
            float sum = 0;
            for (int k = 0; k < M; k++)
                sum += ((way & 1) != 0 ? a[k + i * K] : a[i + k * K]) * b[k];
            assert_true(out[i] == 2 * sum);
        }
    }
    emulation_fail_at(1, cudaErrorMemoryAllocation);
    assert_int_equal(cublasSetStream_v2(handle, NULL), CUBLAS_STATUS_ALLOC_FAILED);
    ok(cublasDestroy_v2(handle));
    ok(cudaFree(da));
    ok(cudaFree(db));
    ok(cudaFree(dc));
    ok(cudaStreamDestroy(stream));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(deferred_work_waits, clean),
        cmocka_unit_test_teardown(default_stream_waits_for_blocking_ones, clean),
        cmocka_unit_test_teardown(graphs_replay, clean),
        cmocka_unit_test_teardown(captures_forbid, clean),
        cmocka_unit_test_teardown(memory_is_checked, clean),
        cmocka_unit_test_teardown(host_threads_launch_at_once, clean),
        cmocka_unit_test_teardown(each_call_can_fail, clean),
        cmocka_unit_test_teardown(matrices_multiply, clean),
    };
    return cmocka_run_group_tests_name("emulated runtime", tests, peek, NULL);
}
