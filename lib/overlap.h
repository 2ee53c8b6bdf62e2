/*
 * Whether two tensors share memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_OVERLAP_H
#define PLB_OVERLAP_H

#include "call.h"
#include "rows.h"

/*
 * That no output among `rows` shares memory with `last`, and the other way round.  Rows may lie between one another, as
 * slices of one buffer do.  That is decided exactly, unless strides differ so that it takes thousands of steps: then
 * tensors overlap if their extents do.
 */
poslabel_status plb_no_overlap(const plb_call *call, const plb_rows *const *rows, int count, const plb_rows *last);

/* Whether a and b are the same elements at the same places. */
bool plb_same_rows(const plb_rows *a, const plb_rows *b);

#endif
