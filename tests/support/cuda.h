/*
 * cuda.h: the CUDA runtime for tests, found at run time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_CUDA_H
#define TEST_CUDA_H

#include "emulation/control.h"

#include <stddef.h>

/*
 * The tests are built without CUDA, and one program runs on a real device and on the emulation.  What they need of the
 * runtime comes from the emulated module or from libcudart; handles are void *, errors int.
 */
enum {
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_MEMORY = 2,
    CUDA_ERROR_STUB_LIBRARY = 34,
    CUDA_ERROR_INSUFFICIENT_DRIVER = 35,
    CUDA_ERROR_INVALID_RESOURCE_HANDLE = 400,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_NOT_SUPPORTED = 801,
    CUDA_BLOCKING = 0,
    CUDA_NON_BLOCKING = 1,
    CUDA_CAPTURE_GLOBAL = 0,
    CUDA_COPY_ANY = 4
};

typedef struct cuda_runtime {
    int (*get_device_count)(int *count);
    int (*get_device)(int *device);
    int (*set_device)(int device);
    int (*device_synchronize)(void);
    int (*get_last_error)(void);
    int (*peek_at_last_error)(void);
    int (*malloc)(void **memory, size_t size);
    int (*free)(void *memory);
    int (*memcpy)(void *to, const void *from, size_t size, int kind);
    int (*stream_create)(void **stream, unsigned flags);
    int (*stream_destroy)(void *stream);
    int (*stream_synchronize)(void *stream);
    int (*begin_capture)(void *stream, int mode);
    int (*end_capture)(void *stream, void **graph);
    int (*instantiate)(void **executable, void *graph, unsigned long long flags);
    int (*launch)(void *executable, void *stream);
    int (*destroy_executable)(void *executable);
    int (*destroy_graph)(void *graph);
    /* of the driver */
    int (*create_context)(void **context, unsigned flags, int device);
    int (*destroy_context)(void *context);
    int (*current_context)(void **context);
    int (*primary_state)(int device, unsigned *flags, int *is_active);
} cuda_runtime;

/* Leaves the running test out where it is not on CUDA, or where there is no libcudart. */
const cuda_runtime *cuda(void);

/* That a function of the runtime succeeded. */
#define cuda_ok(call) cuda_ok_at(__FILE__, __LINE__, #call, (call))
void cuda_ok_at(const char *file, int line, const char *text, int error);

void *cuda_stream_new(unsigned flags);

/* The switches of the emulation, without the beginnings of their names. */
typedef struct emulation_controls {
    __typeof__(emulation_fault_points) *fault_points;
    __typeof__(emulation_fail_at) *fail_at;
    __typeof__(emulation_break_device) *break_device;
    __typeof__(emulation_defer) *defer;
    __typeof__(emulation_devices) *devices;
    __typeof__(emulation_pools) *pools;
    __typeof__(emulation_capability) *capability;
    __typeof__(emulation_shuffle) *shuffle;
    __typeof__(emulation_launches) *launches;
    __typeof__(emulation_live_allocations) *live_allocations;
    __typeof__(emulation_live_objects) *live_objects;
} emulation_controls;

/* Leaves the running test out where it is not on the emulation. */
const emulation_controls *emulation(void);

/*
 * For setup and teardown: repair the emulated device; the teardown fails when the test has left something on it.  A
 * real device has nothing to repair.
 */
int emulation_begin(void **state);
int emulation_end(void **state);

#endif
