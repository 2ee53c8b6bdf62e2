/*
 * Between a caller's rows and matrices in the workspace, of the dtype of the arithmetic.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_COPIES_H
#define PLB_CPU_COPIES_H

#include "rows.h"

/* A matrix of float32 or float64; data NULL: it is not there. */
typedef struct plb_matrix {
    char *data;
    plb_dtype dtype;
    int64_t rows, columns, stride; /* elements from row to row */
} plb_matrix;

static inline char *plb_matrix_row(const plb_matrix *matrix, int64_t row)
{
    return matrix->data + row * matrix->stride * plb_dtype_size[matrix->dtype];
}

/* Row `to` of the matrix becomes row `from` of the argument. */
void plb_copy_in(const plb_matrix *matrix, int64_t to, const plb_rows *rows, int64_t from);

/* The way back.  What is there is added to if `add`; both are rounded once. */
void plb_copy_out(const plb_matrix *matrix, int64_t from, const plb_rows *rows, int64_t to, bool add);

#endif
