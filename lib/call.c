/*
 * One call of one operation: how it begins, how it fails, and its workspace.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

poslabel_status plb_fail(const plb_call *call, poslabel_status status, const char *format, ...)
{
    poslabel_context *context = call->context;
    const int prefix = snprintf(context->message, sizeof context->message, "%s: ", call->operation);
    va_list values;
    va_start(values, format);
    vsnprintf(context->message + prefix, sizeof context->message - (size_t)prefix, format, values);
    va_end(values);
    if (context->log)
        context->log(context->log_user, POSLABEL_LOG_ERROR, context->message);
    return status;
}

poslabel_status plb_begin(plb_call *call, poslabel_context *context, const char *operation, const void *args,
                          void *copy, size_t size)
{
    if (!context)
        return POSLABEL_ERROR_INVALID;
    call->context = context;
    call->operation = operation;
    call->lent = NULL;
    if (!args)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "args is NULL");

    size_t given;
    memcpy(&given, args, sizeof given);
    if (given < sizeof given)
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "args->struct_size = %zu, must be the size of the struct: start from its _INIT macro", given);
    for (size_t i = size; i < given; i++)
        if (((const char *)args)[i])
            return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED,
                            "args has a field at byte %zu that libposlabel %s does not know; it must be 0", i,
                            poslabel_version_string());
    memcpy(copy, args, given < size ? given : size);
    return POSLABEL_OK;
}

static poslabel_status borrow(const plb_call *call, size_t size, void **data)
{
    poslabel_workspace *const lent = call->lent;
    const unsigned alignment = call->context->device.type == POSLABEL_DEVICE_CPU ? 64 : 256;
    if (!lent->data) {
        lent->size = size;
        return PLB_ASKED;
    }
    if (lent->size < size)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "workspace.size = %zu, must be at least %zu", lent->size, size);
    if ((uintptr_t)lent->data % alignment)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "workspace.data is at address %p, must be aligned to %u",
                        lent->data, alignment);
    *data = lent->data;
    return POSLABEL_OK;
}

poslabel_status plb_workspace(const plb_call *call, size_t size, void **data)
{
    poslabel_context *context = call->context;
    if (call->lent)
        return borrow(call, size, data);
    if (size > context->workspace_size) {
        void *larger;
        PLB_TRY(context->backend->allocate(call, size, &larger));
        poslabel_context_trim(context);
        context->workspace = larger;
        context->workspace_size = size;
    }
    *data = context->workspace;
    return POSLABEL_OK;
}

void poslabel_context_trim(poslabel_context *context)
{
    if (!context || !context->workspace)
        return;
    context->backend->release(context, context->workspace, context->workspace_size);
    context->workspace = NULL;
    context->workspace_size = 0;
}

size_t poslabel_context_workspace(const poslabel_context *context)
{
    return context ? context->workspace_size : 0;
}

poslabel_status poslabel_context_reserve(poslabel_context *context, size_t size)
{
    void *data;
    const plb_call call = {context, "context_reserve", NULL};
    return context ? plb_workspace(&call, size, &data) : POSLABEL_ERROR_INVALID;
}
