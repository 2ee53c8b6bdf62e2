/*
 * The inside of a context.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CONTEXT_H
#define PLB_CONTEXT_H

#include <poslabel/context.h>
#include <stdbool.h>

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

#endif
