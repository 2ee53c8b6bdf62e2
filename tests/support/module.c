/*
 * Modules that the library must not take for its own.
 *
 * One refuses as a module of another version does; one, with TEST_MODULE_STALE, gives a table of another version.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "backend.h"

#include <stdio.h>

__attribute__((visibility("default"))) plb_module_entry plb_module;

const plb_backend *plb_module(uint32_t version, const char *library, const plb_services *services, char *reason,
                              size_t reason_size)
{
    (void)services;
#ifdef TEST_MODULE_STALE
    static const plb_backend stale = {.version = PLB_BACKEND_VERSION + 1, .name = "stale"};
    (void)version, (void)library, (void)reason, (void)reason_size;
    return &stale;
#else
    if (reason && reason_size)
        snprintf(reason, reason_size, "this module is too old for libposlabel %s (seam %u)", library, (unsigned)version);
    return NULL;
#endif
}
