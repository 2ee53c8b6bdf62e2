/*
 * One tensor of a caller: checked, and folded into rows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_TENSOR_H
#define PLB_TENSOR_H

#include "call.h"
#include "rows.h"

enum { PLB_MAX_RANK = 8 };

/* The shape that a tensor must have; a negative size matches any. */
typedef struct plb_shape {
    int rank;
    int64_t dim[2 * PLB_MAX_RANK]; /* what is too long fits no tensor */
} plb_shape;

/* How strictly the rank is taken. */
typedef enum plb_rank_rule {
    PLB_RANK_EXACT,       /* as the shape says                                */
    PLB_RANK_LEADING,     /* any dimensions may stand before the shape        */
    PLB_RANK_LEADING_ONES /* dimensions of size 1 may stand before the shape */
} plb_rank_rule;

/*
 * Checks a tensor and folds it.  The last `row_rank` (0 or 1) dimensions form a row, the others the rows.  A NULL
 * tensor gives rows->data = NULL and POSLABEL_OK.  The elements of a row are contiguous, or `may_stride`.
 */
poslabel_status plb_view(const plb_call *call, const char *name, const poslabel_tensor *tensor, unsigned dtypes,
                         const plb_shape *shape, plb_rank_rule rule, int row_rank, bool may_stride, bool is_output,
                         plb_rows *rows);

#endif
