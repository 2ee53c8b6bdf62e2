/*
 * guard.h: memory whose edges are watched.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_GUARD_H
#define TEST_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Which edge of the memory lies at an unreadable page. */
typedef enum guard_side {
    GUARD_END,  /* one byte past the data faults, when gap is 0 */
    GUARD_BEGIN /* one byte before the data faults, when gap is 0 */
} guard_side;

/*
 * `size` bytes at `data`, between two unreadable pages.  On one side they touch it but for `gap` bytes, which sets any
 * alignment: GUARD_BEGIN with gap 4 gives an address 4 bytes past a page, GUARD_END one that ends 4 bytes before it.
 * What is left of the pages around the data holds a canary, which guard_check() looks at, so a write that is too short
 * to reach the unreadable page is found as well.
 */
typedef struct guard {
    void *data;
    size_t size;
    void *map; /* private from here on */
    size_t map_size;
} guard;

/* Memory filled with the canary.  Fails the running test when the system has none. */
guard guard_new(size_t size, guard_side side, size_t gap);
void guard_free(guard *g);

/* Fills the data with the canary again; guard_is_untouched() says whether all of it is still there. */
void guard_fill(guard *g);
bool guard_is_untouched(const guard *g);

/* The same for `size` bytes at `begin`, a place within the data. */
bool guard_holds_canary(const guard *g, const void *begin, size_t size);

/* Fails the running test when something was written around the data. */
#define guard_check(g) guard_check_at(__FILE__, __LINE__, (g))
void guard_check_at(const char *file, int line, const guard *g);

/*
 * Makes the pages of the data read-only, so that a write faults, or writable again.  Any write to them is a fault even
 * when it stores what is there already.
 */
void guard_read_only(guard *g, bool on);

#endif
