/*
 * Switches of the emulated device, for tests.
 *
 * The functions have C linkage and are visible, so that a test finds them with dlsym() in the module under test.  All
 * of them act on the whole process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_CONTROL_H
#define EMULATION_CONTROL_H

#ifdef __cplusplus
extern "C" {
#endif

#define EMULATION_VISIBLE __attribute__((visibility("default")))

/*
 * Calls so far that could have failed: every function of the CUDA runtime and of cuBLAS but those that only report.
 * emulation_fail_at(n, error) makes the n-th from now fail once with that cudaError_t (1: the next); 0 switches it off.
 * What frees or synchronises does so and then fails, as CUDA does when it reports an error of work queued earlier.
 */
EMULATION_VISIBLE long emulation_fault_points(void);
EMULATION_VISIBLE void emulation_fail_at(long n, int error);

/* Makes every later call fail with that cudaError_t, as after a fault on the device; 0 repairs the device. */
EMULATION_VISIBLE void emulation_break_device(int error);

/* Whether queued work waits until something synchronises with it, instead of running at once. */
EMULATION_VISIBLE void emulation_defer(int on);

/*
 * How many devices there are, 1 at the start, at most 8; they have everything in common but their streams.  0: none is
 * found.  No device has a context afterwards, nor has the calling thread, as when a process begins.
 */
EMULATION_VISIBLE void emulation_devices(int count);

/* Whether the devices have memory pools (at the start they do), and 10 times the compute capability of one (0: 90). */
EMULATION_VISIBLE void emulation_pools(int on);
EMULATION_VISIBLE void emulation_capability(int device, int capability);

/* A function of the emulated runtime or driver, as dlsym() would give it of a real one; NULL: there is none. */
EMULATION_VISIBLE void *emulation_function(const char *name);

/*
 * The order in which threads and blocks take turns; 0, the default, is that of their indices.  The environment variable
 * EMULATION_SEED sets what it is at the start.
 */
EMULATION_VISIBLE void emulation_shuffle(unsigned seed);

/*
 * Whether AddressSanitizer stops the host when it reads or writes memory of the device (not of cudaMallocManaged() or
 * pinned memory) itself, as a segmentation fault would on a real one: on at the start.
 */
EMULATION_VISIBLE void emulation_hide_memory(int on);

/* Kernels that have run so far, those of graphs among them (cuBLAS is not counted). */
EMULATION_VISIBLE long emulation_launches(void);

/* Allocations of device, managed or pinned memory that have not been freed; streams, events and graphs likewise. */
EMULATION_VISIBLE long emulation_live_allocations(void);
EMULATION_VISIBLE long emulation_live_objects(void);

#ifdef __cplusplus
}
#endif

#endif
