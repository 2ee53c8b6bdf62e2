/*
 * Contexts of every kind, and allocators that count and fail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "context.h"
#include "support/test.h"

int isa_levels(poslabel_isa levels[ISA_LEVELS])
{
    static const poslabel_isa all[ISA_LEVELS] = {POSLABEL_ISA_REFERENCE, POSLABEL_ISA_BASELINE, POSLABEL_ISA_AVX2,
                                                 POSLABEL_ISA_AVX512};
    int count = 0;
    if (test_on_cuda()) {
        levels[0] = POSLABEL_ISA_REFERENCE;
        levels[1] = POSLABEL_ISA_AUTO;
        return 2;
    }
    for (int i = 0; i < ISA_LEVELS; i++)
        if (poslabel_isa_supported(all[i], NULL, 0) == POSLABEL_OK)
            levels[count++] = all[i];
    return count;
}

poslabel_context *context_new(poslabel_isa isa, int threads)
{
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context;
    char message[256] = "";
    options.isa = isa;
    options.threads = threads;
    options.message = message;
    options.message_size = sizeof message;
    if (isa == POSLABEL_ISA_AUTO)
        options.device = test_device();
    if (poslabel_context_create(&options, &context) != POSLABEL_OK)
        test_fail("no context: %s", message);
    context->device = test_device();
    return context;
}

poslabel_context *context_default(void)
{
    return context_new(POSLABEL_ISA_AUTO, 1);
}

/* What stands before each block; 64 bytes, so that the block keeps its alignment. */
typedef struct counting_block {
    struct counting_block *next;
    void *raw;
    size_t size;
    char pad[64 - 3 * sizeof(void *)];
} counting_block;

enum { TAIL = 64, TAIL_BYTE = 0x5c };

static void *count_allocate(void *user, size_t size, size_t alignment)
{
    counting_allocator *counter = user;
    counter->allocations++;
    if (counter->fail_at && (counter->allocations == counter->fail_at ||
                             (counter->fail_after && counter->allocations > counter->fail_at))) {
        counter->failed++;
        return NULL;
    }
    if (!*counter->problem && (!alignment || alignment & (alignment - 1) || alignment > 64))
        snprintf(counter->problem, sizeof counter->problem, "allocate was asked for an alignment of %zu", alignment);
    if (size > SIZE_MAX - 256 - TAIL)
        return NULL;
    char *raw = malloc(sizeof(counting_block) + 63 + size + TAIL);
    if (!raw)
        return NULL;
    char *data = raw + sizeof(counting_block);
    data += -(uintptr_t)data & 63;
    counting_block *block = (counting_block *)(void *)(data - sizeof *block);
    *block = (counting_block){.next = counter->blocks, .raw = raw, .size = size};
    memset(data, 0xdb, size);
    memset(data + size, TAIL_BYTE, TAIL);
    counter->blocks = block;
    counter->live++;
    counter->live_bytes += size;
    if (counter->live_bytes > counter->peak_bytes)
        counter->peak_bytes = counter->live_bytes;
    return data;
}

static void count_release(void *user, void *data, size_t size)
{
    counting_allocator *counter = user;
    counting_block **link = &counter->blocks;
    while (*link && (char *)*link + sizeof(counting_block) != data)
        link = &(*link)->next;
    counting_block *block = *link;
    if (!block) {
        if (!*counter->problem)
            snprintf(counter->problem, sizeof counter->problem, "release got %p, which is no live block", data);
        return;
    }
    if (block->size != size && !*counter->problem)
        snprintf(counter->problem, sizeof counter->problem, "release got a size of %zu for a block of %zu bytes", size,
                 block->size);
    for (int i = 0; i < TAIL; i++)
        if (((char *)data + block->size)[i] != TAIL_BYTE && !*counter->problem)
            snprintf(counter->problem, sizeof counter->problem,
                     "a block of %zu bytes was written %d bytes past its end", block->size, i + 1);
    *link = block->next;
    counter->live--;
    counter->live_bytes -= block->size;
    memset(data, 0xdd, block->size); /* whoever still reads it sees garbage */
    free(block->raw);
}

void counting_allocator_init(counting_allocator *counter)
{
    memset(counter, 0, sizeof *counter);
}

poslabel_allocator counting_allocator_hooks(counting_allocator *counter)
{
    return (poslabel_allocator){counter, count_allocate, count_release};
}

void counting_allocator_check_at(const char *file, int line, const counting_allocator *counter)
{
    if (*counter->problem)
        test_fail_at(file, line, "%s", counter->problem);
    if (counter->live)
        test_fail_at(file, line, "%ld blocks of %zu bytes were never released", counter->live, counter->live_bytes);
}

poslabel_context *context_counted(counting_allocator *counter, poslabel_isa isa, int threads, poslabel_status *status)
{
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context;
    options.isa = isa;
    options.threads = threads;
    options.allocator = counting_allocator_hooks(counter);
    if (isa == POSLABEL_ISA_AUTO)
        options.device = test_device();
    const poslabel_status result = poslabel_context_create(&options, &context);
    if (status)
        *status = result;
    else if (result != POSLABEL_OK)
        test_fail("no context: %s", poslabel_status_name(result));
    if (context)
        context->device = test_device();
    return context;
}
