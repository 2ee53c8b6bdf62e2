/* The inside of a context, and how a call fails.  SPDX-License-Identifier: Apache-2.0 */
#ifndef PLB_CONTEXT_H
#define PLB_CONTEXT_H

#include <poslabel/context.h>
#include <stdarg.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct plb_backend;

struct poslabel_context {
    const struct plb_backend *backend;
    void *backend_state; /* what the backend's open() made of this context */
    size_t stream_bytes; /* CPU: outputs of more bytes are stored past the caches */
    poslabel_device device;
    void *stream;
    int threads;
    poslabel_isa isa;
    poslabel_allocator allocator;
    poslabel_device_allocator device_allocator;
    poslabel_log_callback log;
    void *log_user;
    void *workspace; /* kept from call to call, grown when a call needs more */
    size_t workspace_size;
    char message[512];
};

/* One call of one operation: what a check needs to report a failure. */
typedef struct plb_call {
    poslabel_context *context;
    const char *operation; /* "droppos_loss" */
} plb_call;

/* Stores "operation: text" as the context's message, logs it, and returns the status. */
poslabel_status plb_fail(const plb_call *call, poslabel_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Starts a call: checks the context and copies the caller's args over the defaults that `copy` holds, by the rules of
 * poslabel.h for older and newer callers.  `size` is the size of the struct that this library knows.
 */
poslabel_status plb_begin(plb_call *call, poslabel_context *context, const char *operation, const void *args,
                          void *copy, size_t size);

/* At least `size` bytes, aligned to 64, that stay valid until the next call of plb_workspace() on the context. */
poslabel_status plb_workspace(const plb_call *call, size_t size, void **data);

/* a * b, or a + b, saturated: a size that cannot be is larger than any allocator grants. */
static inline size_t plb_size_mul(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

static inline size_t plb_size_add(size_t a, size_t b)
{
    size_t sum;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

#ifdef __cplusplus
}
#endif
#endif
