/*
 * Tensors as backends see them: rows.
 *
 * Everything below the public functions works on plb_rows: a tensor folded into at most two levels of rows, whose
 * shape, dtype, device, strides and alignment have been checked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_ROWS_H
#define PLB_ROWS_H

#include "dtype.h"

#include <stdbool.h>
#include <stddef.h>

/* Row r is at data + ((r / inner) * outer_stride + (r % inner) * inner_stride) * plb_dtype_size[dtype]. */
typedef struct plb_rows {
    char *data;       /* NULL: the tensor was not given */
    const char *name; /* of the argument, for messages */
    plb_dtype dtype;
    int64_t count;                      /* rows */
    int64_t inner;                      /* rows on the inner level; count if there is one level */
    int64_t outer_stride, inner_stride; /* elements */
    int64_t length;                     /* elements of a row; 1 for one value a row */
    int64_t element_stride; /* elements from one of a row to the next: 1, but for arguments that may be strided */
    char *end;              /* one past the last byte */
    bool is_output;
    int rank;             /* of the tensor,                                */
    const int64_t *shape; /* and its sizes, the caller's: during the call  */
} plb_rows;

static inline char *plb_row(const plb_rows *rows, int64_t r)
{
    int64_t element = r * rows->inner_stride;
    if (rows->inner != rows->count)
        element = r / rows->inner * rows->outer_stride + r % rows->inner * rows->inner_stride;
    return rows->data + element * plb_dtype_size[rows->dtype];
}

/* Whether `count` rows from `first` on are evenly spaced; then where they begin, and the bytes from each to the next.
 */
static inline bool plb_even_rows(const plb_rows *rows, int64_t first, int64_t count, char **at, int64_t *step)
{
    if (rows->inner != rows->count && first % rows->inner + count > rows->inner)
        return false;
    *at = plb_row(rows, first);
    *step = rows->inner_stride * plb_dtype_size[rows->dtype];
    return true;
}

/* "0, 5": where an element of a row is in its tensor, for messages. */
typedef struct plb_text {
    char data[200];
} plb_text;

plb_text plb_index_text(const plb_rows *rows, int64_t row, int64_t element);

#endif
