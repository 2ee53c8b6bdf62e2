/*
 * Launches of the kernels in right.cu and wrong.cu.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_RIGHT_H
#define EMULATION_RIGHT_H

#include <cuda_runtime_api.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* sums[b] = sum of x[b][0..length), with blocks of so many threads (in two dimensions if `rows` is not 1). */
cudaError_t right_block_sum(const float *x, float *sums, int blocks, int length, int threads, int rows,
                            cudaStream_t stream);
/* The same with one warp a sum, in dynamic shared memory of so many bytes. */
cudaError_t right_warp_sum(const float *x, float *sums, int count, int length, size_t shared, cudaStream_t stream);
/* out[i] = i-th lane's answers to each warp operation: 12 numbers a lane, for 32 lanes. */
cudaError_t right_warp_operations(unsigned *out, cudaStream_t stream);
/* Every block adds its index to total[step], waits for the whole grid, and copies what it sees. */
cudaError_t right_grid_barrier(unsigned *state, unsigned *totals, unsigned *seen, int blocks, int threads, int steps,
                               cudaStream_t stream);
/* y = 2 x + 1 by four elements at a time, with the hinted loads and stores. */
cudaError_t right_vectors(const float *x, float *y, int count, cudaStream_t stream);
/* Rounds to a 16-bit type and back. */
cudaError_t right_halves(const float *x, float *halves, float *brains, int count, cudaStream_t stream);
/* Counts, bounds and bits of x by atomic operations, in result[0..7]. */
cudaError_t right_atomics(const unsigned *x, unsigned *result, int count, cudaStream_t stream);
/* Integer and floating point functions: 24 numbers. */
cudaError_t right_functions(double *out, cudaStream_t stream);
/* x += 1 */
cudaError_t right_increment(float *x, int count, cudaStream_t stream);
/* A launch of any shape; the kernel writes the number of its threads to *count. */
cudaError_t right_shape(unsigned *count, dim3 grid, dim3 block, size_t shared, int cooperative, cudaStream_t stream);
cudaError_t right_allow_shared(int bytes);
cudaError_t right_occupancy(int *blocks, int threads, size_t shared);

/* Bugs, by name: each stops the process or, if it is a race, gives different results by the seed. */
cudaError_t wrong_run(const char *name, float *x, int count, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
