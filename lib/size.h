/*
 * Sizes that cannot overflow: one that cannot be is larger than any allocator grants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_SIZE_H
#define PLB_SIZE_H

#include <stddef.h>
#include <stdint.h>

static inline size_t plb_size_mul(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

static inline size_t plb_size_add(size_t a, size_t b)
{
    size_t sum;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

#endif
