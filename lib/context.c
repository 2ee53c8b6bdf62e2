/*
 * Contexts: what they are made of, and what they tell.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *default_allocate(void *user, size_t size, size_t alignment)
{
    (void)user;
    if (size > SIZE_MAX - alignment)
        return NULL;
    /* aligned_alloc wants a multiple of the alignment */
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void default_release(void *user, void *data, size_t size)
{
    (void)user;
    (void)size;
    free(data);
}

/* Fails before there is a context to hold the message. */
static poslabel_status refuse(const poslabel_context_options *options, poslabel_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static poslabel_status refuse(const poslabel_context_options *options, poslabel_status status, const char *format, ...)
{
    char message[512];
    const int prefix = snprintf(message, sizeof message, "context_create: ");
    va_list values;
    va_start(values, format);
    vsnprintf(message + prefix, sizeof message - (size_t)prefix, format, values);
    va_end(values);
    if (options->message && options->message_size)
        snprintf(options->message, options->message_size, "%s", message);
    if (options->log)
        options->log(options->log_user, POSLABEL_LOG_ERROR, message);
    return status;
}

static poslabel_status read_options(const poslabel_context_options *given, poslabel_context_options *options)
{
    if (!given)
        return POSLABEL_OK;
    const size_t size = given->struct_size;
    if (size < sizeof size)
        return refuse(options, POSLABEL_ERROR_INVALID,
                      "options->struct_size = %zu: start from POSLABEL_CONTEXT_OPTIONS_INIT", size);
    memcpy(options, given, size < sizeof *options ? size : sizeof *options);
    for (size_t i = sizeof *options; i < size; i++)
        if (((const char *)given)[i])
            return refuse(options, POSLABEL_ERROR_UNSUPPORTED,
                          "options has a field at byte %zu that libposlabel %s does not know; it must be 0", i,
                          poslabel_version_string());
    return POSLABEL_OK;
}

static poslabel_status check_options(const poslabel_context_options *options)
{
    char reason[256];
    if (options->threads < 0 || options->threads > 1024)
        return refuse(options, POSLABEL_ERROR_INVALID, "threads = %d, must be 0 (all) to 1024", (int)options->threads);
    if (!options->allocator.allocate != !options->allocator.release)
        return refuse(options, POSLABEL_ERROR_INVALID, "allocator needs both allocate and release, or neither");

    if (!options->device_allocator.allocate != !options->device_allocator.release)
        return refuse(options, POSLABEL_ERROR_INVALID, "device_allocator needs both allocate and release, or neither");

    if (options->device.type != POSLABEL_DEVICE_CPU && options->device.type != POSLABEL_DEVICE_CUDA)
        return refuse(options, POSLABEL_ERROR_INVALID, "device type %d: no such device type; 1 is the CPU, 2 is CUDA",
                      (int)options->device.type);
    if (options->device.type == POSLABEL_DEVICE_CPU) {
        if (options->device.id != 0)
            return refuse(options, POSLABEL_ERROR_INVALID, "device id = %d, must be 0 on the CPU",
                          (int)options->device.id);
        if (options->stream)
            return refuse(options, POSLABEL_ERROR_INVALID, "stream must be NULL on the CPU");
    }
    const poslabel_status status = poslabel_isa_supported((poslabel_isa)options->isa, reason, sizeof reason);
    if (status != POSLABEL_OK)
        return refuse(options, status, "isa = %d: %s", (int)options->isa, reason);
    return POSLABEL_OK;
}

poslabel_status poslabel_context_create(const poslabel_context_options *given, poslabel_context **out)
{
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    if (out)
        *out = NULL;
    poslabel_status status = read_options(given, &options);
    if (status == POSLABEL_OK)
        status = check_options(&options);
    if (status != POSLABEL_OK)
        return status;
    if (!out)
        return refuse(&options, POSLABEL_ERROR_INVALID, "context is NULL");
    char reason[400];
    const plb_backend *const backend =
        plb_backend_for((poslabel_device_type)options.device.type, reason, sizeof reason);
    if (!backend)
        return refuse(&options, POSLABEL_ERROR_UNSUPPORTED, "device type %d: %s", (int)options.device.type, reason);

    if (!options.allocator.allocate) {
        options.allocator.allocate = default_allocate;
        options.allocator.release = default_release;
    }
    poslabel_context *context = options.allocator.allocate(options.allocator.user, sizeof *context, 64);
    if (!context)
        return refuse(&options, POSLABEL_ERROR_MEMORY, "no memory for a context of %zu bytes", sizeof *context);
    memset(context, 0, sizeof *context);
    context->device = options.device;
    context->stream = options.stream;
    context->threads = options.threads;
    context->isa = (poslabel_isa)options.isa;
    context->allocator = options.allocator;
    context->log = options.log;
    context->log_user = options.log_user;
    context->device_allocator = options.device_allocator;
    context->backend = backend;
    status = backend->open(context, &options, reason, sizeof reason);
    if (status != POSLABEL_OK) {
        options.allocator.release(options.allocator.user, context, sizeof *context);
        return refuse(&options, status, "%s", reason);
    }

    if (context->log) {
        char text[128];
        const int threads = poslabel_context_threads(context);
        snprintf(text, sizeof text, "libposlabel %s: %s backend, %s, %d thread%s", poslabel_version_string(),
                 context->backend->name, poslabel_isa_name(context->isa), threads, threads == 1 ? "" : "s");
        context->log(context->log_user, POSLABEL_LOG_INFO, text);
    }
    *out = context;
    return POSLABEL_OK;
}

void poslabel_context_destroy(poslabel_context *context)
{
    if (!context)
        return;
    poslabel_context_trim(context);
    context->backend->close(context);
    const poslabel_allocator allocator = context->allocator;
    allocator.release(allocator.user, context, sizeof *context);
}

const char *poslabel_context_message(const poslabel_context *context)
{
    return context ? context->message : "the context is NULL";
}

poslabel_device poslabel_context_device(const poslabel_context *context)
{
    const poslabel_device none = {0, 0};
    return context ? context->device : none;
}

int32_t poslabel_context_threads(const poslabel_context *context)
{
    if (!context)
        return 0;
    return context->backend->threads ? context->backend->threads(context) : context->threads;
}

poslabel_isa poslabel_context_isa(const poslabel_context *context)
{
    return context ? context->isa : POSLABEL_ISA_AUTO;
}

poslabel_status poslabel_context_set_stream(poslabel_context *context, void *stream)
{
    const plb_call call = {context, "context_set_stream", NULL};
    return context ? context->backend->set_stream(&call, stream) : POSLABEL_ERROR_INVALID;
}

poslabel_status poslabel_context_synchronize(poslabel_context *context)
{
    const plb_call call = {context, "context_synchronize", NULL};
    return context ? context->backend->synchronize(&call) : POSLABEL_ERROR_INVALID;
}
