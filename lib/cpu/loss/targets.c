/*
 * The label of each row, and which ids are allowed.
 *
 * The usual layouts have loops of their own here, for a kernel takes no more than some ten nanoseconds a row.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/targets.h"

#include "cpu/core/numbers.h"

/* Ids as the fast loops read them: int64, evenly spaced. */
typedef struct even_ids {
    char *at;
    int64_t step;
} even_ids;

static bool are_even(const plb_rows *ids, int64_t first, int count, even_ids *even)
{
    return ids->dtype == PLB_I64 && plb_even_rows(ids, first, count, &even->at, &even->step);
}

static int64_t even_id(const even_ids *ids, int k)
{
    return *(const int64_t *)(void *)(ids->at + k * ids->step);
}

static int64_t id_at(const plb_rows *ids, int64_t r)
{
    return plb_load_id(plb_row(ids, r), ids->dtype);
}

/* Whether all ids are seen to be allowed by a loop without branches. */
static bool are_allowed(const plb_targets *targets, int64_t first, int count, const double *weight)
{
    even_ids ids;
    uint64_t outside = 0;
    if (!are_even(&targets->ids, first, count, &ids))
        return false;
    if (weight)
        for (int k = 0; k < count; k++)
            outside |= (weight[k] != 0) & ((uint64_t)even_id(&ids, k) >= (uint64_t)targets->classes);
    else
        for (int k = 0; k < count; k++)
            outside |= (uint64_t)even_id(&ids, k) >= (uint64_t)targets->classes;
    return !outside;
}

/* Ignored rows have weight 0. */
static int64_t first_bad(const void *argument, int64_t first, int count, const double *weight)
{
    const plb_targets *const targets = argument;
    for (int k = are_allowed(targets, first, count, weight) ? count : 0; k < count; k++) {
        const int64_t id = id_at(&targets->ids, first + k);
        if ((!weight || weight[k] != 0) && (id < 0 || id >= targets->classes))
            return first + k;
    }
    return -1;
}

static poslabel_status report(const plb_call *call, const void *argument, int64_t r)
{
    const plb_targets *const targets = argument;
    return plb_fail(call, POSLABEL_ERROR_INVALID, "positions[%s] = %lld, must be in [0, %lld)",
                    plb_index_text(&targets->ids, r, 0).data, (long long)id_at(&targets->ids, r),
                    (long long)targets->classes);
}

static void ignore(const void *argument, int64_t first, int count, double *weight)
{
    const plb_targets *const targets = argument;
    even_ids ids;
    if (are_even(&targets->ids, first, count, &ids))
        for (int k = 0; k < count; k++)
            weight[k] = even_id(&ids, k) == targets->ignore_index ? 0 : weight[k];
    else
        for (int k = 0; k < count; k++)
            if (id_at(&targets->ids, first + k) == targets->ignore_index)
                weight[k] = 0;
}

plb_row_check plb_targets_check(const plb_targets *targets)
{
    return (plb_row_check){targets, first_bad, report, targets->has_ignore_index ? ignore : NULL};
}

/* A division for each row would be slow: most often a row is the one after the row before. */
static void absolute_labels(poslabel_grid grid, const plb_row_list *list, int count, int32_t *label)
{
    const int64_t n = (int64_t)grid.height * grid.width;
    int64_t position = 0, after = -1;
    for (int k = 0; k < count; k++) {
        const int64_t r = plb_row_at(list, k);
        position = r == after ? position + 1 : r % n;
        position = position == n ? 0 : position;
        label[k] = (int32_t)position;
        after = r + 1;
    }
}

static void relative_labels(poslabel_grid grid, const plb_row_list *list, int count, int32_t *label)
{
    const int32_t h = grid.height, w = grid.width;
    const int64_t n = (int64_t)h * w;
    int64_t after = -1;
    int32_t query_y = 0, query_x = 0, key_y = 0, key_x = 0;
    for (int k = 0; k < count; k++) {
        const int64_t r = plb_row_at(list, k);
        if (r == after && ++key_x == w) {
            key_x = 0;
            key_y++;
        }
        if (r != after || key_y == h) {
            const int64_t query = r / n % n;
            query_y = (int32_t)(query / w);
            query_x = (int32_t)(query % w);
            key_y = (int32_t)(r % n / w);
            key_x = (int32_t)(r % n % w);
        }
        label[k] = (query_y - key_y + h - 1) * (2 * w - 1) + (query_x - key_x + w - 1);
        after = r + 1;
    }
}

static void explicit_labels(const plb_rows *ids, const plb_row_list *list, int count, int32_t *label)
{
    even_ids even;
    if (!list->rows && are_even(ids, list->first, count, &even))
        for (int k = 0; k < count; k++)
            label[k] = (int32_t)even_id(&even, k);
    else
        for (int k = 0; k < count; k++)
            label[k] = (int32_t)id_at(ids, plb_row_at(list, k));
}

void plb_targets_labels(const plb_targets *targets, const plb_row_list *list, int count, int32_t *label)
{
    switch (targets->kind) {
    case PLB_TARGET_ABSOLUTE:
        absolute_labels(targets->grid, list, count, label);
        break;
    case PLB_TARGET_RELATIVE:
        relative_labels(targets->grid, list, count, label);
        break;
    case PLB_TARGET_EXPLICIT:
    case PLB_TARGET_GAUSSIAN:
        explicit_labels(&targets->ids, list, count, label);
        break;
    }
}
