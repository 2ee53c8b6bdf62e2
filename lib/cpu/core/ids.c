/*
 * Checks of index tensors.
 *
 * The threads look for the first image with a bad index; the caller's thread then finds the index again and reports it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/ids.h"

#include <stdatomic.h>

typedef struct id_check {
    const plb_rows *ids;
    int64_t low, high;
    int32_t *inverse; /* of places; NULL: plain ids */
    size_t pitch;
    _Atomic int64_t first_bad;
} id_check;

/* The first index of an image that is outside [low, high), or -1. */
static int64_t find_outside(const plb_rows *ids, int64_t image, int64_t low, int64_t high)
{
    if (ids->dtype == PLB_I32) {
        const int32_t *const row = (const int32_t *)plb_row(ids, image);
        for (int64_t r = 0; r < ids->length; r++)
            if (row[r] < low || row[r] >= high)
                return r;
        return -1;
    }
    const int64_t *const row = (const int64_t *)plb_row(ids, image);
    for (int64_t r = 0; r < ids->length; r++)
        if (row[r] < low || row[r] >= high)
            return r;
    return -1;
}

int64_t plb_invert_places(const plb_rows *places, int64_t image, int32_t *inverse)
{
    const char *const row = plb_row(places, image);
    const int64_t n = places->length, size = plb_dtype_size[places->dtype];
    for (int64_t r = 0; r < n; r++)
        inverse[r] = -1;
    for (int64_t r = 0; r < n; r++) {
        const int64_t place = plb_load_id(row + r * size, places->dtype);
        if (place < 0 || place >= n || inverse[place] >= 0)
            return r;
        inverse[place] = (int32_t)r;
    }
    return -1;
}

static void check_images(void *argument, int thread, int threads)
{
    id_check *const check = argument;
    int64_t begin, end;
    plb_share(check->ids->count, thread, threads, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        const int64_t bad = check->inverse
                                ? plb_invert_places(check->ids, b, check->inverse + (size_t)thread * check->pitch)
                                : find_outside(check->ids, b, check->low, check->high);
        if (bad < 0)
            continue;
        int64_t first = atomic_load(&check->first_bad);
        while (b < first && !atomic_compare_exchange_weak(&check->first_bad, &first, b))
            ;
        return;
    }
}

/* The first image with a bad index, or INT64_MAX. */
static int64_t first_bad_image(const plb_call *call, id_check *check)
{
    atomic_init(&check->first_bad, INT64_MAX);
    const size_t bytes = plb_ids_bytes(check->ids->count, check->ids->length);
    plb_parallel(call->context, plb_shared_bytes(check->ids->count, bytes), check_images, check);
    return atomic_load(&check->first_bad);
}

static int64_t id_at(const plb_rows *ids, int64_t image, int64_t r)
{
    return plb_load_id(plb_row(ids, image) + r * plb_dtype_size[ids->dtype], ids->dtype);
}

poslabel_status plb_check_ids(const plb_call *call, const plb_rows *ids, int64_t low, int64_t high)
{
    id_check check = {.ids = ids, .low = low, .high = high};
    if (!ids->data || ids->length == 0)
        return POSLABEL_OK;
    const int64_t image = first_bad_image(call, &check);
    if (image == INT64_MAX)
        return POSLABEL_OK;
    const int64_t r = find_outside(ids, image, low, high);
    return plb_fail(call, POSLABEL_ERROR_INVALID, "%s[%s] = %lld, must be in [%lld, %lld)", ids->name,
                    plb_index_text(ids, image, r).data, (long long)id_at(ids, image, r), (long long)low,
                    (long long)high);
}

poslabel_status plb_check_places(const plb_call *call, const plb_rows *places, int32_t *inverse, size_t pitch)
{
    id_check check = {.ids = places, .inverse = inverse, .pitch = pitch};
    if (!places->data || places->length == 0)
        return POSLABEL_OK;
    const int64_t image = first_bad_image(call, &check);
    if (image == INT64_MAX)
        return POSLABEL_OK;
    const int64_t r = plb_invert_places(places, image, inverse), place = id_at(places, image, r);
    if (place < 0 || place >= places->length)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s[%s] = %lld, must be in [0, %lld)", places->name,
                        plb_index_text(places, image, r).data, (long long)place, (long long)places->length);
    return plb_fail(call, POSLABEL_ERROR_INVALID, "%s[%s] = %lld a second time, must be a permutation",
                    places->name, plb_index_text(places, image, r).data, (long long)place);
}
