/*
 * status.h: the status that a call returns.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_STATUS_H
#define POSLABEL_STATUS_H

#include <poslabel/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Every operation returns one of these.  The numbers never change.  New ones may appear in the gaps, so treat any
 * value other than POSLABEL_OK as a failure.
 *
 * A call that fails has written no output and leaked nothing, and the context can be used for the next call.
 * poslabel_context_message() then names the operation and the argument at fault, the value found and the rule that it
 * broke: "droppos_loss: positions[0, 5] = 200, must be in [0, 196)".
 */
typedef enum poslabel_status {
    POSLABEL_OK = 0,                  /* success                                                                */
    POSLABEL_ERROR_INVALID = 100,     /* the caller's mistake: a NULL, a shape, a dtype, a value, an alias      */
    POSLABEL_ERROR_UNSUPPORTED = 200, /* a legal request that this build, machine or version cannot serve       */
    POSLABEL_ERROR_MEMORY = 300,      /* the allocator returned NULL                                            */
    POSLABEL_ERROR_DEVICE = 400,      /* CUDA failed; after a device fault the context is lost for good         */
    POSLABEL_ERROR_INTERNAL = 500     /* a bug in libposlabel; please report it                                 */
} poslabel_status;

/*
 * Returns "ok", "invalid", "unsupported", ..., or "unknown" for a number that is not above.  The string is static.
 * Since 0.1.
 */
POSLABEL_API const char *poslabel_status_name(poslabel_status status);

#ifdef __cplusplus
}
#endif
#endif
