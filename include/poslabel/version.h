/*
 * version.h: the version of libposlabel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_VERSION_H
#define POSLABEL_VERSION_H

#include <stdint.h>

/* Marks every symbol that the shared library exports. */
#if defined(__GNUC__)
#define POSLABEL_API __attribute__((visibility("default")))
#else
#define POSLABEL_API
#endif

#define POSLABEL_VERSION_MAJOR 0
#define POSLABEL_VERSION_MINOR 1
#define POSLABEL_VERSION_PATCH 0

/* The version of the headers as one comparable number: 0.1.0 is 100, 1.2.3 is 10203. */
#define POSLABEL_VERSION                                                                                               \
    (POSLABEL_VERSION_MAJOR * 10000 + POSLABEL_VERSION_MINOR * 100 + POSLABEL_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Returns the version of the loaded library, in the form of POSLABEL_VERSION.  A program built against older headers
 * of the same SOVERSION runs unchanged on a newer library.  A program built against newer headers runs on an older
 * library as long as it leaves at zero the fields that this library does not know.  Never fails; may be called at any
 * time from any thread.  Since 0.1.
 */
POSLABEL_API uint32_t poslabel_version(void);

/* Returns the same version as text, "0.1.0".  The string is static.  Since 0.1. */
POSLABEL_API const char *poslabel_version_string(void);

#ifdef __cplusplus
}
#endif
#endif
