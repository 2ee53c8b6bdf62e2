/*
 * memory.h: how the trainer gives up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_MEMORY_H
#define PRETRAIN_MEMORY_H

#include <stddef.h>

/* Prints "pretrain: " and the message to stderr and ends the program with status 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* count * size bytes of zeros, or fail(). */
void *allocate(size_t count, size_t size);

#endif
