/*
 * Names of statuses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <poslabel/status.h>

const char *poslabel_status_name(poslabel_status status)
{
    switch (status) {
    case POSLABEL_OK:
        return "ok";
    case POSLABEL_ERROR_INVALID:
        return "invalid";
    case POSLABEL_ERROR_UNSUPPORTED:
        return "unsupported";
    case POSLABEL_ERROR_MEMORY:
        return "out of memory";
    case POSLABEL_ERROR_DEVICE:
        return "device";
    case POSLABEL_ERROR_INTERNAL:
        return "internal";
    }
    return "unknown";
}
