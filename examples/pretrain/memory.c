/*
 * memory.c: how the trainer gives up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void fail(const char *format, ...)
{
    va_list arguments;
    fputs("pretrain: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

void *allocate(size_t count, size_t size)
{
    void *data = calloc(count > 0 ? count : 1, size);
    if (data == NULL)
        fail("no memory for %zu x %zu bytes; try a smaller --batch, --dim or --depth", count, size);
    return data;
}
