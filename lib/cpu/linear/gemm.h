/*
 * Matrix products, by a CBLAS.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_GEMM_H
#define PLB_CPU_GEMM_H

#include "cpu/core/parallel.h"
#include "dtype.h"

/* NULL, or why this build has no matrix products. */
extern const char *const plb_gemm_missing;

/*
 * c = start + a b, or with transposes; all are row-major, and the strides are elements from row to row.  All sizes are
 * at least 1, sizes and strides below 2^31.
 */
typedef struct plb_gemm {
    plb_dtype dtype; /* of all three: float32 or float64 */
    bool transpose_a, transpose_b;
    int64_t rows, columns, depth; /* of c: rows x columns; of what is summed over: depth */
    const void *a, *b;
    int64_t a_stride, b_stride;
    void *c;
    int64_t c_stride;
    bool add;          /* start is what c holds                             */
    const void *start; /* a row of `columns`, for every row; NULL: zeros    */
} plb_gemm;

/*
 * On the threads of the context.  The same bits for any number of them: c is cut into tiles by its size alone, and the
 * CBLAS works on a tile alone.  Only between plb_parallel_alone() and plb_parallel_restore().
 */
void plb_multiply(poslabel_context *context, const plb_gemm *product);

#endif
