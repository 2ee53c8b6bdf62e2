/*
 * What is changed in arguments that could be right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

static int64_t a_strange_number(fuzz *f)
{
    /* clang-format off */
    static const int64_t strange[] = {
        0, 1, -1, 2, 3, 7, 8, 16, 100, -2, 1024, INT32_MAX, INT32_MIN, (int64_t)1 << 31, (int64_t)1 << 32,
        (int64_t)1 << 40, INT64_MAX, INT64_MIN, INT64_MAX / 16, (int64_t)1 << 62,
    };
    /* clang-format on */
    return strange[draw(f, COUNT(strange))];
}

static void nudge(fuzz *f, int64_t *number)
{
    *number = (int64_t)((uint64_t)*number + (draw(f, 2) ? 1 : UINT64_MAX));
}

void spoil_tensor(fuzz *f)
{
    slot *const s = &f->slots[draw(f, (uint64_t)f->count)];
    const uint64_t dimension = draw(f, RANK);
    switch (draw(f, 14)) {
    case 0:
        s->t.ndim = (int32_t)a_strange_number(f);
        break;
    case 1:
        s->t.ndim = (int32_t)((uint32_t)s->t.ndim + (draw(f, 2) ? 1u : UINT32_MAX));
        break;
    case 2:
        s->shape[dimension % 4] = a_strange_number(f);
        break;
    case 3:
        nudge(f, &s->shape[dimension % 4]);
        break;
    case 4:
        s->strides[dimension % 4] = a_strange_number(f);
        break;
    case 5:
        nudge(f, &s->strides[dimension % 4]);
        break;
    case 6:
        s->t.dtype = draw(f, 2)
                         ? a_mask(f)
                         : (poslabel_dtype){(uint8_t)draw(f, 8), (uint8_t)(8 << draw(f, 5)), (uint16_t)draw(f, 3)};
        break;
    case 7:
        s->t.device.type = (int32_t)a_strange_number(f);
        break;
    case 8:
        s->t.data = NULL;
        break;
    case 9:
        s->t.data = (void *)((uintptr_t)s->t.data + (uintptr_t)draw(f, 33) - 16);
        break;
    case 10:
        s->t.shape = NULL;
        break;
    case 11:
        s->t.strides = NULL;
        break;
    case 12:
        *s->at = NULL;
        break;
    default: { /* two arguments that share memory, or are one */
        slot *const other = &f->slots[draw(f, (uint64_t)f->count)];
        if (draw(f, 2))
            s->t.data = other->t.data, s->t.byte_offset = other->t.byte_offset;
        else
            *s->at = &other->t;
    }
    }
}

void spoil_number(fuzz *f)
{
    const size_t at = 8 + 4 * draw(f, (f->args_size - 8) / 4);
    for (int i = 0; i < f->count; i++) {
        const size_t pointer = (size_t)((char *)f->slots[i].at - f->args);
        if (at - at % 8 == pointer)
            return;
    }
    if (f->kept == f->args + at - at % 8)
        return;
    void *word;
    memcpy(&word, f->args + at - at % 8, sizeof word);
    const int64_t value = a_strange_number(f);
    static const double doubles[] = {-1, 0.5, 1.5, 1e300, -0.0};
    if (at % 8 == 0 && draw(f, 2)) {
        const double number = draw(f, 2) ? (double)NAN : doubles[draw(f, COUNT(doubles))];
        if (word) /* a field of zeros may be a tensor that was not given */
            memcpy(f->args + at, &number, sizeof number);
    } else if (word) {
        memcpy(f->args + at, &value, 4);
    }
}
