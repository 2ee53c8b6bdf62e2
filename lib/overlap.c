/*
 * Whether two tensors share memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "overlap.h"

/* The multiples k * step for 0 <= k < count. */
typedef struct multiples {
    int64_t count, step;
} multiples;

/* Adds a level of rows to those so far, of which the largest step comes first. */
static int add_level(multiples *level, int levels, int64_t count, int64_t step)
{
    if (count == 1 || step == 0)
        return levels;
    int k = levels;
    for (int i = 0; i < levels; i++)
        if (level[i].step == step) {
            level[i].count += count - 1;
            return levels;
        }
    for (; k > 0 && level[k - 1].step < step; k--)
        level[k] = level[k - 1];
    level[k] = (multiples){count, step};
    return levels + 1;
}

static int add_levels(multiples *level, int levels, const plb_rows *rows)
{
    const int64_t size = plb_dtype_size[rows->dtype];
    levels = add_level(level, levels, rows->inner, rows->inner_stride * size);
    if (rows->element_stride != 1)
        levels = add_level(level, levels, rows->length, rows->element_stride * size);
    return add_level(level, levels, rows->count / rows->inner, rows->outer_stride * size);
}

static int64_t span_of(const multiples *level, int levels)
{
    int64_t span = 0;
    for (int i = 0; i < levels; i++)
        span += (level[i].count - 1) * level[i].step;
    return span;
}

/* Whether a sum of one multiple of each level lies in [low, high].  Yes, too, when *tries are used up. */
static bool reaches(const multiples *level, int levels, int64_t low, int64_t high, int *tries)
{
    if (levels == 0)
        return low <= 0 && high >= 0;
    const int64_t step = level->step, least = low - span_of(level + 1, levels - 1);
    int64_t k = least > 0 ? (least + step - 1) / step : 0;
    const int64_t last = high < 0 ? -1 : high / step < level->count ? high / step : level->count - 1;
    if (levels == 1)
        return k <= last;
    for (; k <= last; k++)
        if (--*tries < 0 || reaches(level + 1, levels - 1, low - k * step, high - k * step, tries))
            return true;
    return false;
}

/* Of a row, or of its first element where the elements lie apart. */
static int64_t contiguous_bytes(const plb_rows *rows)
{
    return (rows->element_stride == 1 ? rows->length : 1) * plb_dtype_size[rows->dtype];
}

enum { MOST_TRIES = 4096 };

/* Of larger tensors the distances would overflow. */
static const int64_t MOST_BYTES = INT64_MAX / 16;

/*
 * Whether a row of a and a row of b share a byte, where their extents do.  The distance from a row of a to a row of b
 * is a sum of multiples of the strides, if those of a are counted from its last row.
 */
static bool rows_meet(const plb_rows *a, const plb_rows *b)
{
    const int64_t bytes_a = contiguous_bytes(a), bytes_b = contiguous_bytes(b);
    multiples level[6];
    int levels = 0, tries = MOST_TRIES;
    if (a->end - a->data > MOST_BYTES || b->end - b->data > MOST_BYTES)
        return true;
    levels = add_levels(level, add_levels(level, levels, a), b);
    const int64_t first = (b->data - a->data) - (a->end - a->data - bytes_a);
    return reaches(level, levels, 1 - bytes_b - first, bytes_a - 1 - first, &tries);
}

static bool is_empty(const plb_rows *rows)
{
    return !rows->count || !rows->length;
}

/* Both given. */
static bool overlap(const plb_rows *a, const plb_rows *b)
{
    if (is_empty(a) || is_empty(b)) /* nothing shares nothing, wherever it points */
        return false;
    return (a->is_output || b->is_output) && a->data < b->end && b->data < a->end && rows_meet(a, b);
}

poslabel_status plb_no_overlap(const plb_call *call, const plb_rows *const *rows, int count, const plb_rows *last)
{
    for (int i = 0; i < count; i++)
        if (overlap(rows[i], last))
            return plb_fail(call, POSLABEL_ERROR_INVALID, "%s overlaps %s, must not share memory with it",
                            rows[i]->is_output ? rows[i]->name : last->name,
                            rows[i]->is_output ? last->name : rows[i]->name);
    return POSLABEL_OK;
}

bool plb_same_rows(const plb_rows *a, const plb_rows *b)
{
    return a->data == b->data && a->dtype == b->dtype && a->count == b->count && a->length == b->length &&
           a->inner == b->inner && a->inner_stride == b->inner_stride && a->outer_stride == b->outer_stride &&
           a->element_stride == b->element_stride;
}
