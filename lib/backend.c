/* Which backends there are.  SPDX-License-Identifier: Apache-2.0 */
#include "backend.h"

#include <stdio.h>

static void give_reason(char *reason, size_t size, const char *text)
{
    if (reason && size)
        snprintf(reason, size, "%s", text);
}

poslabel_status poslabel_device_supported(poslabel_device_type type, char *reason, size_t reason_size)
{
    switch (type) {
    case POSLABEL_DEVICE_CPU:
        give_reason(reason, reason_size, "");
        return POSLABEL_OK;
    case POSLABEL_DEVICE_CUDA:
        give_reason(reason, reason_size, "this version of libposlabel has no CUDA backend");
        return POSLABEL_ERROR_UNSUPPORTED;
    }
    give_reason(reason, reason_size, "no such device type; 1 is the CPU, 2 is CUDA");
    return POSLABEL_ERROR_INVALID;
}

const plb_backend *plb_backend_for(poslabel_device device)
{
    (void)device;
    return &plb_cpu_backend;
}
