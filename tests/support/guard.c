/*
 * Memory whose edges are watched.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <sys/mman.h>
#include <unistd.h>

/* The canary differs from byte to byte, so that a copy from elsewhere in the canary is noticed too. */
enum { PERIOD = 65521 };

static const unsigned char *canary_from(size_t offset)
{
    static unsigned char pattern[2 * PERIOD];
    if (!pattern[0])
        for (size_t i = 0; i < sizeof pattern; i++)
            pattern[i] = (unsigned char)(0xa5u ^ (i % PERIOD * 37u + i % PERIOD / 251u));
    return pattern + offset % PERIOD;
}

/* `size` bytes of it at p, those that belong `offset` bytes into the pages. */
static void put_canary(unsigned char *p, size_t offset, size_t size)
{
    for (size_t done = 0; done < size; done += PERIOD)
        memcpy(p + done, canary_from(offset + done), size - done < PERIOD ? size - done : PERIOD);
}

static bool is_canary(const unsigned char *p, size_t offset, size_t size)
{
    for (size_t done = 0; done < size; done += PERIOD)
        if (memcmp(p + done, canary_from(offset + done), size - done < PERIOD ? size - done : PERIOD))
            return false;
    return true;
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

guard guard_new(size_t size, guard_side side, size_t gap)
{
    const size_t page = page_size();
    const size_t inner = (size + gap + page - 1) / page * page + (size + gap == 0 ? page : 0);
    guard g = {NULL, size, NULL, inner + 2 * page};
    g.map = mmap(NULL, g.map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED || mprotect((char *)g.map + page, inner, PROT_READ | PROT_WRITE))
        test_fail("no memory for %zu guarded bytes", size);
    char *first = (char *)g.map + page;
    g.data = side == GUARD_BEGIN ? first + gap : first + inner - size - gap;
    put_canary((unsigned char *)first, 0, inner);
    test_share(first, inner);
    return g;
}

void guard_free(guard *g)
{
    if (g->map) {
        test_unshare((char *)g->map + page_size());
        munmap(g->map, g->map_size);
    }
    *g = (guard){NULL, 0, NULL, 0};
}

void guard_fill(guard *g)
{
    const size_t offset = (size_t)((char *)g->data - ((char *)g->map + page_size()));
    put_canary(g->data, offset, g->size);
}

bool guard_holds_canary(const guard *g, const void *begin, size_t size)
{
    const size_t offset = (size_t)((const char *)begin - ((const char *)g->map + page_size()));
    return is_canary(begin, offset, size);
}

bool guard_is_untouched(const guard *g)
{
    return guard_holds_canary(g, g->data, g->size);
}

void guard_check_at(const char *file, int line, const guard *g)
{
    const size_t page = page_size(), inner = g->map_size - 2 * page;
    const unsigned char *first = (const unsigned char *)g->map + page;
    const size_t begin = (size_t)((const unsigned char *)g->data - first), end = begin + g->size;
    if (is_canary(first, 0, begin) && is_canary(first + end, end, inner - end))
        return;
    for (size_t i = 0; i < inner; i++)
        if ((i < begin || i >= end) && first[i] != *canary_from(i))
            test_fail_at(file, line, "a byte was written %zu bytes %s the buffer of %zu bytes",
                         i < begin ? begin - i : i - end + 1, i < begin ? "before" : "past", g->size);
}

void guard_read_only(guard *g, bool on)
{
    const size_t page = page_size();
    if (mprotect((char *)g->map + page, g->map_size - 2 * page, on ? PROT_READ : PROT_READ | PROT_WRITE))
        test_fail("mprotect failed");
}
