/*
 * The memory that all tensors of the fuzzer lie in.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

unsigned char *arena;

void open_arena(void)
{
    static guard g;
    g = guard_new(ARENA, GUARD_END, 0);
    arena = g.data;
}

void give(fuzz *f, const poslabel_tensor **at, role what, poslabel_dtype dtype, int64_t limit, int rank,
          const int64_t *shape)
{
    slot *s = &f->slots[f->count];
    if (f->count == MOST)
        return;
    int64_t elements = 1;
    for (int i = rank - 1; i >= 0; i--) {
        s->shape[i] = shape[i];
        s->strides[i] = elements;
        elements *= shape[i];
        if (i == rank - 1 && one_in(f, 8))
            elements += (int64_t)draw(f, 4); /* rows with gaps */
    }
    const size_t size = dtype_size(dtype);
    f->used += (size_t)-f->used % size + size * draw(f, 3);
    if (f->used + (size_t)elements * size > ARENA)
        return; /* not given */
    s->t = (poslabel_tensor){arena + f->used, {POSLABEL_DEVICE_CPU, 0}, rank, dtype, s->shape, s->strides, 0};
    if (one_in(f, 4)) {
        const uint64_t by = draw(f, 64);
        s->t.data = (char *)s->t.data - by; /* byte_offset brings it back */
        s->t.byte_offset = by;
    }
    f->used += (size_t)elements * size;
    s->at = at;
    s->role = what;
    s->limit = limit;
    *at = &s->t;
    f->count++;
}

void give_again(fuzz *f, const poslabel_tensor **at)
{
    if (f->count == 0 || f->count == MOST)
        return;
    slot *const last = &f->slots[f->count - 1], *const same = last + 1;
    *same = *last;
    same->t.shape = same->shape;
    same->t.strides = same->strides;
    same->role = OUTPUT;
    same->at = at;
    *at = &same->t;
    f->count++;
}

void keep_inside(slot *s)
{
    poslabel_tensor *const t = &s->t;
    if (t->ndim < 0 || t->ndim > RANK || (t->ndim && !t->shape) || !t->data)
        return;
    __int128 last = 0, compact = 1;
    bool empty = false, backwards = false, huge = false;
    for (int i = t->ndim - 1; i >= 0; i--) {
        const int64_t size = t->shape[i];
        if (size < 0)
            return;
        const __int128 stride = size <= 1 ? 0 : t->strides ? (__int128)t->strides[i] : compact;
        empty = empty || size == 0;
        backwards = backwards || (stride < 0 && size > 1);
        last += (__int128)(size > 0 ? size - 1 : 0) * stride;
        compact *= size > 0 ? size : 1;
        huge = huge || compact > INT64_MAX / 16 || last > INT64_MAX / 16 || last < -(__int128)(INT64_MAX / 16);
        if (huge)
            break;
    }
    if (empty && !huge)
        for (int i = 0; i < t->ndim; i++)
            if (t->shape[i] > ARENA) /* nothing in each of billions of images: legal, but it takes its time */
                s->shape[i] = 3;
    if (empty || backwards || huge)
        return;
    const size_t element = t->dtype.bits > 8 ? t->dtype.bits / 8u : 1;
    const uintptr_t start = (uintptr_t)arena;
    for (int attempt = 0;; attempt++) {
        const uintptr_t from = (uintptr_t)t->data + t->byte_offset;
        if (from >= start && from < start + ARENA && (last + 1) * (__int128)element <= (__int128)(start + ARENA - from))
            return;
        if (attempt == 0) {
            t->data = arena;
            t->byte_offset = 0;
        } else {
            for (int i = 0; i < t->ndim; i++)
                s->shape[i] = 1;
            t->shape = s->shape;
            t->strides = NULL;
            last = 0;
        }
    }
}

/* Calls `each` with every element of a tensor that keep_inside() has approved. */
static void for_elements(const slot *s, void (*each)(const slot *, unsigned char *, int64_t, void *), void *argument)
{
    const poslabel_tensor *const t = &s->t;
    int64_t at[RANK] = {0}, strides[RANK], count = 1;
    if (t->ndim < 0 || t->ndim > RANK || !t->data || (t->ndim && !t->shape))
        return;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] <= 0 || t->shape[i] > ARENA)
            return;
        strides[i] = t->shape[i] == 1 ? 0 : t->strides ? t->strides[i] : count;
        count *= t->shape[i];
        if (count > ARENA || strides[i] < -ARENA || strides[i] > ARENA)
            return;
    }
    const int64_t size = t->dtype.bits > 8 ? t->dtype.bits / 8 : 1;
    for (int64_t k = 0; k < count; k++) {
        int64_t offset = 0;
        for (int i = 0; i < t->ndim; i++)
            offset += at[i] * strides[i];
        const uintptr_t place = (uintptr_t)t->data + t->byte_offset + (uintptr_t)(offset * size) - (uintptr_t)arena;
        if (place <= (uintptr_t)(ARENA - size))
            each(s, arena + place, k, argument);
        for (int i = t->ndim - 1; i >= 0 && ++at[i] == t->shape[i]; i--)
            at[i] = 0;
    }
}

static void fill_element(const slot *s, unsigned char *p, int64_t k, void *argument)
{
    fuzz *const f = argument;
    const poslabel_dtype known[] = {dtype_f16, dtype_bf16, dtype_f32, dtype_f64,
                                    dtype_i32, dtype_i64,  dtype_u8,  dtype_bool};
    bool is_known = false;
    for (int i = 0; i < COUNT(known); i++)
        is_known = is_known || dtype_is(s->t.dtype, known[i]);
    if (!is_known)
        return;
    double value = (double)draw(f, 64) / 8 - 4;
    if (s->role == WEIGHTS)
        value = (double)draw(f, 3) / 2;
    if (s->role == IDS)
        value = (double)draw(f, (uint64_t)(s->limit > 0 ? s->limit : 1));
    if (s->role == MASK)
        value = (double)draw(f, 2);
    if (s->role == ORDER)
        value = (double)(k % (s->limit > 0 ? s->limit : 1));
    number_store(p, s->t.dtype, 0, value);
}

void fill_elements(fuzz *f, const slot *s)
{
    for_elements(s, fill_element, f);
}

static void mark_element(const slot *s, unsigned char *p, int64_t k, void *argument)
{
    unsigned char *const marks = argument;
    (void)k;
    memset(marks + (p - arena), 1, s->t.dtype.bits > 8 ? s->t.dtype.bits / 8u : 1);
}

void mark_elements(const slot *s, unsigned char *marks)
{
    for_elements(s, mark_element, marks);
}
