/*
 * Checks of index tensors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_IDS_H
#define PLB_CPU_IDS_H

#include "cpu/core/numbers.h"
#include "cpu/core/parallel.h"
#include "rows.h"

/* What a check of the indices of `images` rows of `length` reads: for plb_parallel_threads(). */
static inline size_t plb_ids_bytes(int64_t images, int64_t length)
{
    return plb_size_mul(plb_size_mul((size_t)images, (size_t)length), 8);
}

/* That every id is in [low, high).  Passes when `ids` is not given. */
poslabel_status plb_check_ids(const plb_call *call, const plb_rows *ids, int64_t low, int64_t high);

/*
 * That every row is a permutation of 0 .. length - 1.  Passes when `places` is not given.  Thread t uses
 * inverse + t * pitch, `length` numbers.
 */
poslabel_status plb_check_places(const plb_call *call, const plb_rows *places, int32_t *inverse, size_t pitch);

/* inverse[places[b, r]] = r.  Returns -1, or the first r whose place is out of range or taken. */
int64_t plb_invert_places(const plb_rows *places, int64_t image, int32_t *inverse);

#endif
