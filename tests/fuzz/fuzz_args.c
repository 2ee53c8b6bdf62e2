/*
 * Random arguments.
 *
 * A call that could be right is made for some operation, on tensors in one small piece of memory, and then spoilt here
 * and there: ranks, sizes, strides, dtypes, addresses, numbers, NULLs, two arguments that are one.  What is described
 * never reaches outside of that memory unless the library must refuse to touch it.  Whatever comes out,
 *
 *   - nothing outside the elements of the outputs has changed, and after a failure nothing at all;
 *   - a failure has a status and a message that begins with the operation;
 *   - nothing is read or written beyond the memory (unreadable pages), nothing leaks.
 *
 * As a test the program draws its own numbers: fuzz_args [calls [seed]].  Compiled by clang with
 * -fsanitize=fuzzer -DTEST_LIBFUZZER they come from libFuzzer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

enum { LARGEST_BLOCK = 64 << 20 };
static const double untouched_number = -42;

static unsigned char before[ARENA], may_change[ARENA];
static poslabel_context *contexts[8];
static int context_count;

/* Workspace, but no more than a little: a spoilt size must not take the machine's memory. */
static void *allocate(void *user, size_t size, size_t alignment)
{
    (void)user;
    return size > LARGEST_BLOCK ? NULL : aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void release(void *user, void *data, size_t size)
{
    (void)user;
    (void)size;
    free(data);
}

static void open_contexts(void)
{
    poslabel_isa levels[ISA_LEVELS];
    context_count = isa_levels(levels);
    for (int i = 0; i < context_count; i++) {
        poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
        options.isa = (int)levels[i];
        options.threads = 1 + i % 2;
        options.allocator = (poslabel_allocator){NULL, allocate, release};
        if (poslabel_context_create(&options, &contexts[i]) != POSLABEL_OK)
            abort();
    }
    open_arena();
}

/* Shows the call, for whoever has to find out what is wrong with it. */
static void die(const fuzz *f, const char *what, long detail)
{
    fprintf(stderr, "%s: %s (%ld)\n", f->name, what, detail);
    for (int i = 0; i < f->count; i++) {
        const slot *const s = &f->slots[i];
        fprintf(stderr, "  field at %td, role %d: %s, rank %d, {%d, %d, %d}, at %td + %llu,", (char *)s->at - f->args,
                (int)s->role,
                *s->at == &s->t ? "given"
                : *s->at        ? "another's"
                                : "NULL",
                (int)s->t.ndim, s->t.dtype.code, s->t.dtype.bits, s->t.dtype.lanes, (unsigned char *)s->t.data - arena,
                (unsigned long long)s->t.byte_offset);
        for (int k = 0; k < s->t.ndim && k < RANK && s->t.shape; k++)
            fprintf(stderr, " %lld by %lld", (long long)s->t.shape[k], s->t.strides ? (long long)s->t.strides[k] : -1);
        fprintf(stderr, "\n");
    }
    abort();
}

/* Now and then the call asks for its workspace, or gets it. */
static void lend(fuzz *f, poslabel_workspace **field)
{
    static _Alignas(64) unsigned char memory[1 << 20];
    static poslabel_workspace lent;
    if (!one_in(f, 4))
        return;
    f->only_asks = one_in(f, 2);
    lent = (poslabel_workspace){f->only_asks ? NULL : memory, sizeof memory};
    *field = &lent;
    f->kept = field;
}

/* One function for each operation: a call that could be right. */
#define PLB_HOST_OPERATION(name, NAME)
#define PLB_OPERATION(name, NAME, job)                                                                                 \
    static void lend_##name(fuzz *f, poslabel_##name##_args *args)                                                     \
    {                                                                                                                  \
        lend(f, &args->workspace);                                                                                     \
    }
#include "operations.def"
#define PLB_HOST_OPERATION(name, NAME)                                                                                 \
    static void lend_##name(fuzz *f, poslabel_##name##_args *args)                                                     \
    {                                                                                                                  \
        (void)f, (void)args;                                                                                           \
    }
#include "operations.def"
#define PLB_OPERATION(name_, NAME, job)                                                                                \
    static poslabel_status call_##name_(poslabel_context *context, const void *args)                                   \
    {                                                                                                                  \
        return poslabel_##name_(context, args);                                                                        \
    }                                                                                                                  \
    static void make_##name_(fuzz *f)                                                                                  \
    {                                                                                                                  \
        static const poslabel_##name_##_args init = POSLABEL_##NAME##_ARGS_INIT;                                       \
        static poslabel_##name_##_args args;                                                                           \
        args = init;                                                                                                   \
        f->name = #name_;                                                                                              \
        f->args = (char *)&args;                                                                                       \
        f->args_size = sizeof args;                                                                                    \
        f->call = call_##name_;                                                                                        \
        fuzz_##name_(f, &args);                                                                                        \
        lend_##name_(f, &args);                                                                                        \
    }
#include "operations.def"

static void (*const makers[])(fuzz *) = {
#define PLB_OPERATION(name, NAME, job) make_##name,
#include "operations.def"
};

/* Makes one call; gives its status. */
static poslabel_status fuzz_call(source from)
{
    static fuzz storage;
    fuzz *const f = &storage;
    memset(f, 0, sizeof *f);
    f->from = from;
    makers[draw(f, COUNT(makers))](f);
    for (uint64_t spoils = draw(f, 4); spoils > 0; spoils--)
        if (f->count && draw(f, 4))
            spoil_tensor(f);
        else
            spoil_number(f);
    const size_t full = f->args_size;
    if (one_in(f, 16))
        *(size_t *)(void *)f->args = 8 * draw(f, full / 8 + 1); /* an older caller */
    if (f->only_asks && *(size_t *)(void *)f->args <= (size_t)((const char *)f->kept - f->args))
        f->only_asks = false; /* a caller so old that it cannot */
    for (int i = 0; i < f->count; i++)
        keep_inside(&f->slots[i]);
    for (int i = 0; i < f->count; i++)
        fill_elements(f, &f->slots[i]);

    memcpy(before, arena, ARENA);
    f->number = untouched_number;
    poslabel_context *const context = contexts[draw(f, (uint64_t)context_count)];
    const poslabel_status status = f->call(context, f->args);
    memset(may_change, 0, ARENA);
    if (status == POSLABEL_OK && !f->only_asks) {
        for (int i = 0; i < f->count; i++)
            for (int k = 0; k < f->count; k++)
                if (*f->slots[i].at == &f->slots[k].t && f->slots[i].role == OUTPUT)
                    mark_elements(&f->slots[k], may_change);
    } else if (status != POSLABEL_OK) {
        if (status != POSLABEL_ERROR_INVALID && status != POSLABEL_ERROR_UNSUPPORTED && status != POSLABEL_ERROR_MEMORY)
            die(f, "an odd status", status);
        const char *message = poslabel_context_message(context);
        if (strncmp(message, f->name, strlen(f->name)) || strncmp(message + strlen(f->name), ": ", 2) ||
            strlen(message) < strlen(f->name) + 10)
            die(f, message, status);
        if (f->number != untouched_number)
            die(f, "a call that failed wrote its number", status);
    }
    if (memcmp(before, arena, ARENA))
        for (size_t i = 0; i < ARENA; i++)
            if (before[i] != arena[i] && !may_change[i])
                die(f, status == POSLABEL_OK ? "a byte outside of the outputs was changed" : "a call that failed wrote",
                    (long)i);
    return status;
}

#ifdef TEST_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!arena)
        open_contexts();
    fuzz_call((source){data, size, {0}});
    return 0;
}

#else

int main(int argc, char **argv)
{
    const long calls = argc > 1 ? atol(argv[1]) : test_is_quick() ? 20000 : 200000;
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    long right = 0;
    open_contexts();
    for (long i = 0; i < calls; i++) {
        const source from = {NULL, 0, {seed * 0x9e3779b97f4a7c15u + (uint64_t)i}};
        right += fuzz_call(from) == POSLABEL_OK;
    }
    for (int i = 0; i < context_count; i++)
        poslabel_context_destroy(contexts[i]);
    printf("%ld calls, %ld of them right\n", calls, right);
    if (right < calls / 5 || right > calls - calls / 5) {
        fprintf(stderr, "hardly any calls are right, or wrong: this shows little\n");
        return 1;
    }
    return 0;
}

#endif
