/*
 * Which version this is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <poslabel/version.h>

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

uint32_t poslabel_version(void)
{
    return POSLABEL_VERSION;
}

const char *poslabel_version_string(void)
{
    return TEXT(POSLABEL_VERSION_MAJOR) "." TEXT(POSLABEL_VERSION_MINOR) "." TEXT(POSLABEL_VERSION_PATCH);
}
