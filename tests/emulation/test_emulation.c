/*
 * The emulation itself, with kernels that are right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control.h"
#include "right.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ok(call) assert_int_equal((call), cudaSuccess)

/* Device memory with the bytes of `from`, or as it comes. */
static void *device(const void *from, size_t size)
{
    void *memory = NULL;
    ok(cudaMalloc(&memory, size));
    if (from != NULL)
        ok(cudaMemcpy(memory, from, size, cudaMemcpyHostToDevice));
    return memory;
}

static void fetch(void *to, const void *from, size_t size)
{
    ok(cudaMemcpy(to, from, size, cudaMemcpyDeviceToHost));
}

static const unsigned seeds[] = {0, 1, 2, 12345};
enum { SEEDS = sizeof seeds / sizeof seeds[0] };

static int clean(void **state)
{
    (void)state;
    emulation_shuffle(0);
    emulation_defer(0);
    emulation_fail_at(0, 0);
    emulation_break_device(0);
    cudaGetLastError();
    assert_int_equal(emulation_live_allocations(), 0);
    assert_int_equal(emulation_live_objects(), 0);
    return 0;
}

static void blocks_and_warps_sum(void **state)
{
    (void)state;
    enum { BLOCKS = 7, LENGTH = 1000 };
    static float x[BLOCKS][LENGTH];
    float want[BLOCKS] = {0}, sums[BLOCKS];
    for (int b = 0; b < BLOCKS; b++)
        for (int i = 0; i < LENGTH; i++)
            want[b] += x[b][i] = (float)((b * 31 + i * 7) % 11);
    float *dx = device(x, sizeof x), *dsums = device(NULL, sizeof sums);
    for (int s = 0; s < SEEDS; s++) {
        emulation_shuffle(seeds[s]);
        for (int threads = 32; threads <= 1024; threads *= 2) {
            ok(right_block_sum(dx, dsums, BLOCKS, LENGTH, threads, threads > 64 ? 4 : 1, NULL));
            fetch(sums, dsums, sizeof sums);
            assert_memory_equal(sums, want, sizeof sums);
        }
        ok(cudaMemset(dsums, 0, sizeof sums));
        ok(right_warp_sum(dx, dsums, BLOCKS, LENGTH, LENGTH * sizeof(float), NULL));
        fetch(sums, dsums, sizeof sums);
        assert_memory_equal(sums, want, sizeof sums);
    }
    ok(cudaFree(dx));
    ok(cudaFree(dsums));
}

static void warps_exchange(void **state)
{
    (void)state;
    unsigned out[32][12], *dout = device(NULL, sizeof out);
    for (int s = 0; s < SEEDS; s++) {
        emulation_shuffle(seeds[s]);
        ok(right_warp_operations(dout, NULL));
        fetch(out, dout, sizeof out);
        for (unsigned lane = 0; lane < 32; lane++) {
            const unsigned want[12] = {
                15,
                lane == 0 ? 0 : lane - 1,
                lane % 8 < 6 ? lane + 2 : lane,
                lane ^ 16,
                0x49249249,
                1,
                0,
                0xFFu << lane / 8 * 8,
                31 - lane,
                3,
                lane < 16 ? lane ^ 8 : 0xAAAA0000u,
                1,
            };
            assert_memory_equal(out[lane], want, sizeof want);
        }
    }
    ok(cudaFree(dout));
}

static void grids_wait_for_each_other(void **state)
{
    (void)state;
    enum { BLOCKS = 8, STEPS = 5 };
    const unsigned zero[2 + STEPS] = {0};
    unsigned seen[STEPS][BLOCKS];
    unsigned *dseen = device(NULL, sizeof seen);
    for (int s = 0; s < SEEDS; s++) {
        emulation_shuffle(seeds[s]);
        unsigned *sync = device(zero, sizeof zero);
        ok(right_grid_barrier(sync, sync + 2, dseen, BLOCKS, 128, STEPS, NULL));
        fetch(seen, dseen, sizeof seen);
        for (int i = 0; i < STEPS * BLOCKS; i++)
            assert_int_equal(seen[i / BLOCKS][i % BLOCKS], BLOCKS * (BLOCKS + 1) / 2);
        ok(cudaFree(sync));
    }
    assert_int_equal(right_grid_barrier(dseen, dseen, dseen, BLOCKS + 1, 128, 1, NULL),
                     cudaErrorCooperativeLaunchTooLarge);
    assert_int_equal(cudaGetLastError(), cudaErrorCooperativeLaunchTooLarge);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    ok(cudaFree(dseen));
}

static void numbers_are_cudas(void **state)
{
    (void)state;
    static const double want[24] = {8,  31,         32, 4, 2147483648.0, 3,   3, 1065353216.0, 2, 0x77441100,
                                    24, 0x10000001, 3,  4, -1.5,         0.5, 1, 0.25,         2, -2,
                                    8,  0,          -1, 1};
    double out[24], *dout = device(NULL, sizeof out);
    ok(right_functions(dout, NULL));
    fetch(out, dout, sizeof out);
    for (int i = 0; i < 24; i++)
        assert_true(out[i] == want[i]);
    ok(cudaFree(dout));

    const float x[5] = {1.0f, 1.0f + 1.0f / 2048, 3.0e38f, -0.1f, 65504};
    const float as_half[5] = {1.0f, 1.0f, INFINITY, -0.0999755859375f, 65504};
    const float as_brain[5] = {1.0f, 1.0f, 0x1.C4p127f, -0.10009765625f, 65536};
    float halves[5], brains[5], *dx = device(x, sizeof x), *dh = device(NULL, sizeof x), *db = device(NULL, sizeof x);
    ok(right_halves(dx, dh, db, 5, NULL));
    fetch(halves, dh, sizeof halves);
    fetch(brains, db, sizeof brains);
    for (int i = 0; i < 5; i++) {
        assert_true(halves[i] == as_half[i]);
        assert_true(brains[i] == as_brain[i]);
    }
    ok(cudaFree(dx));
    ok(cudaFree(dh));
    ok(cudaFree(db));
}

static void atomics_lose_nothing(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    unsigned x[COUNT], result[8];
    uint64_t sum = 0;
    for (unsigned i = 0; i < COUNT; i++)
        sum += x[i] = 0x8000 + i * 2654435761u % 4096;
    unsigned *dx = device(x, sizeof x);
    for (int s = 0; s < SEEDS; s++) {
        emulation_shuffle(seeds[s]);
        const unsigned start[8] = {0, ~0u, 0, 0, ~0u, 0, 0, 0};
        unsigned *dresult = device(start, sizeof start);
        ok(right_atomics(dx, dresult, COUNT, NULL));
        fetch(result, dresult, sizeof result);
        uint64_t wide;
        memcpy(&wide, result + 6, sizeof wide);
        assert_int_equal(result[0], (unsigned)sum);
        assert_int_equal(result[5], (unsigned)sum);
        assert_true(wide == sum << 20);
        assert_in_range(result[1], 0x8000, 0x8010);
        assert_in_range(result[2], 0x8FF0, 0x8FFF);
        assert_int_equal(result[3], 0x8FFF);
        assert_int_equal(result[4], 0x8000);
        ok(cudaFree(dresult));
    }
    ok(cudaFree(dx));
}

static void vectors_move(void **state)
{
    (void)state;
    enum { COUNT = 260 };
    float x[COUNT], y[COUNT];
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)i;
    float *dx = device(x, sizeof x), *dy = device(NULL, sizeof y);
    ok(right_vectors(dx, dy, COUNT, NULL));
    fetch(y, dy, sizeof y);
    for (int i = 0; i < COUNT; i++)
        assert_true(y[i] == (float)(2 * i + 1));
    ok(cudaFree(dx));
    ok(cudaFree(dy));
}

static void launches_have_limits(void **state)
{
    (void)state;
    const unsigned zero = 0;
    unsigned *count = device(&zero, sizeof zero), got;
    const struct {
        unsigned grid[3], block[3];
        size_t shared;
        cudaError_t want;
    } cases[] = {
        {{2, 3, 4}, {4, 2, 8}, 0, cudaSuccess},
        {{1, 1, 1}, {1024, 1, 1}, 48 * 1024, cudaSuccess},
        {{0, 1, 1}, {32, 1, 1}, 0, cudaErrorInvalidConfiguration},
        {{1, 1, 1}, {32, 0, 1}, 0, cudaErrorInvalidConfiguration},
        {{1, 1, 1}, {1025, 1, 1}, 0, cudaErrorInvalidConfiguration},
        {{1, 1, 1}, {512, 4, 1}, 0, cudaErrorInvalidConfiguration},
        {{1, 1, 1}, {1, 1, 65}, 0, cudaErrorInvalidConfiguration},
        {{1, 65536, 1}, {32, 1, 1}, 0, cudaErrorInvalidConfiguration},
        {{1, 1, 65536}, {32, 1, 1}, 0, cudaErrorInvalidConfiguration},
        {{0x80000000u, 1, 1}, {32, 1, 1}, 0, cudaErrorInvalidConfiguration},
        {{1, 1, 1}, {32, 1, 1}, 48 * 1024 + 1, cudaErrorInvalidValue},
    };
    unsigned want = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const unsigned *g = cases[i].grid, *b = cases[i].block;
        const cudaError_t error =
            right_shape(count, (dim3){g[0], g[1], g[2]}, (dim3){b[0], b[1], b[2]}, cases[i].shared, 0, NULL);
        assert_int_equal(error, cases[i].want);
        if (error == cudaSuccess)
            want += g[0] * g[1] * g[2] * b[0] * b[1] * b[2];
    }
    fetch(&got, count, sizeof got);
    assert_int_equal(got, want);
    ok(right_allow_shared(64 * 1024));
    ok(right_shape(count, (dim3){1, 1, 1}, (dim3){32, 1, 1}, 64 * 1024, 0, NULL));
    assert_int_equal(right_allow_shared(64 * 1024 + 1), cudaErrorInvalidValue);
    ok(right_allow_shared(48 * 1024));
    int blocks = 0;
    ok(right_occupancy(&blocks, 128, 0));
    assert_int_equal(blocks, 4);
    ok(cudaFree(count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(blocks_and_warps_sum, clean),
        cmocka_unit_test_teardown(warps_exchange, clean),
        cmocka_unit_test_teardown(grids_wait_for_each_other, clean),
        cmocka_unit_test_teardown(numbers_are_cudas, clean),
        cmocka_unit_test_teardown(atomics_lose_nothing, clean),
        cmocka_unit_test_teardown(vectors_move, clean),
        cmocka_unit_test_teardown(launches_have_limits, clean),
    };
    return cmocka_run_group_tests_name("emulation", tests, NULL, NULL);
}
