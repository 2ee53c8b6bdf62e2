/*
 * Which backends there are.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "backend.h"

#include "module.h"

#include <stdio.h>

const plb_backend *plb_backend_for(poslabel_device_type type, char *reason, size_t reason_size)
{
    if (reason && reason_size)
        *reason = 0;
    return type == POSLABEL_DEVICE_CPU ? &plb_cpu_backend : plb_load_cuda(reason, reason_size);
}

poslabel_status poslabel_device_supported(poslabel_device_type type, char *reason, size_t reason_size)
{
    if (type == POSLABEL_DEVICE_CPU || type == POSLABEL_DEVICE_CUDA)
        return plb_backend_for(type, reason, reason_size) ? POSLABEL_OK : POSLABEL_ERROR_UNSUPPORTED;
    if (reason && reason_size)
        snprintf(reason, reason_size, "no such device type; 1 is the CPU, 2 is CUDA");
    return POSLABEL_ERROR_INVALID;
}

poslabel_status plb_not_there(const plb_call *call)
{
    return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED, "the %s backend does not have it yet",
                    call->context->backend->name);
}
