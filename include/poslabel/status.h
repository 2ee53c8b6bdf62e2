/* status.h: what a call returns.  SPDX-License-Identifier: Apache-2.0 */
#ifndef POSLABEL_STATUS_H
#define POSLABEL_STATUS_H

#include <poslabel/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Every operation returns one of these.  The numbers never change; new ones may appear in the gaps, so treat
 * any value other than POSLABEL_OK as a failure.
 *
 * After a failure no output of the call has been written, nothing has leaked, and the context can be used for
 * the next call.  poslabel_context_message() then says which argument of which operation was at fault, the
 * value seen, and the rule it broke: "droppos_loss: positions[0, 5] = 200, must be in [0, 196)".
 */
typedef enum poslabel_status {
    POSLABEL_OK = 0,                  /* done                                                                   */
    POSLABEL_ERROR_INVALID = 100,     /* the caller's mistake: a NULL, a shape, a dtype, a value, an alias      */
    POSLABEL_ERROR_UNSUPPORTED = 200, /* a legal request that this build, machine or version cannot serve       */
    POSLABEL_ERROR_MEMORY = 300,      /* the allocator returned NULL                                            */
    POSLABEL_ERROR_DEVICE = 400,      /* CUDA failed; after a fault of the device the context is lost for good  */
    POSLABEL_ERROR_INTERNAL = 500     /* a defect of libposlabel; please report it                              */
} poslabel_status;

/* "ok", "invalid", "unsupported", ...; "unknown" for a number not above.  The string is static.  Since 0.1. */
POSLABEL_API const char *poslabel_status_name(poslabel_status status);

#ifdef __cplusplus
}
#endif
#endif
