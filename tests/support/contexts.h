/*
 * contexts.h: contexts of every kind, and allocators that count and fail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_CONTEXTS_H
#define TEST_CONTEXTS_H

#include <poslabel.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The instruction sets that this machine has, the reference first.  Gives how many there are, at most ISA_LEVELS.  On
 * CUDA the reference and POSLABEL_ISA_AUTO, which stands for the device.
 */
enum { ISA_LEVELS = 4 };
int isa_levels(poslabel_isa levels[ISA_LEVELS]);

/* A context of one level and thread count (0: as many as there are).  Fails the running test if it cannot be had. */
poslabel_context *context_new(poslabel_isa isa, int threads);

/* The same with the best level and one thread, for tests that are about something else. */
poslabel_context *context_default(void);

/*
 * Allocator hooks that keep books: every block is remembered with its size and surrounded by a canary, a wrong size in
 * release, a foreign pointer, a write past the end and a block never released are noticed, and one allocation can be
 * made to fail.  A block is filled with garbage, so nothing can rely on zeros.
 */
typedef struct counting_allocator {
    long allocations; /* calls of allocate so far, including the one that failed                        */
    long live;        /* blocks not yet released                                                        */
    size_t live_bytes;
    size_t peak_bytes;
    long fail_at;    /* the allocation with this number (from 1) fails; 0: none                        */
    bool fail_after; /* and so do all after it                                                         */
    long failed;     /* how many were made to fail                                                     */
    struct counting_block *blocks;
    char problem[256]; /* the first misuse seen; "" if none                                             */
} counting_allocator;

void counting_allocator_init(counting_allocator *counter);
poslabel_allocator counting_allocator_hooks(counting_allocator *counter);

/* Fails the running test on any misuse, and when blocks are left. */
#define counting_allocator_check(counter) counting_allocator_check_at(__FILE__, __LINE__, (counter))
void counting_allocator_check_at(const char *file, int line, const counting_allocator *counter);

/* A context that takes its host memory from `counter`; NULL with the status when that cannot be had. */
poslabel_context *context_counted(counting_allocator *counter, poslabel_isa isa, int threads, poslabel_status *status);

#endif
