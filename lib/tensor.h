/*
 * From a caller's tensor to checked rows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_TENSOR_H
#define PLB_TENSOR_H

#include "call.h"
#include "rows.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sets of dtypes that an argument accepts. */
enum {
    PLB_LOGITS = 1 << PLB_F32 | 1 << PLB_F16 | 1 << PLB_BF16 | 1 << PLB_F64,
    PLB_FEATURES = 1 << PLB_F32 | 1 << PLB_F16 | 1 << PLB_BF16,
    PLB_SCALARS = 1 << PLB_F32 | 1 << PLB_F64,
    PLB_IDS = 1 << PLB_I32 | 1 << PLB_I64,
    PLB_FLAGS = 1 << PLB_I32,
    PLB_MASKS = PLB_LOGITS | PLB_IDS | 1 << PLB_U8 | 1 << PLB_BOOL
};

enum { PLB_MAX_RANK = 8, PLB_UNKNOWN = -1 };

/* The shape an argument must have.  PLB_UNKNOWN matches any size and is replaced by it. */
typedef struct plb_shape {
    int rank;
    int64_t dim[PLB_MAX_RANK];
} plb_shape;

typedef enum plb_access {
    PLB_INPUT,
    PLB_OUTPUT
} plb_access;

/* How strictly the rank is taken. */
typedef enum plb_rank_rule {
    PLB_EXACT,    /* as the shape says                                                            */
    PLB_LEADING,  /* any dimensions may stand before the shape                                    */
    PLB_PARAMETER /* dimensions of size 1 may stand before the shape ([1, N, D] for [N, D])       */
} plb_rank_rule;

/*
 * Checks a tensor and folds it.  The last `row_rank` (0 or 1) dimensions form a row, the others the rows.  A NULL
 * tensor gives rows->data = NULL and POSLABEL_OK; plb_required() is for those that must be there.
 */
poslabel_status plb_view(const plb_call *call, const char *name, const poslabel_tensor *tensor, unsigned dtypes,
                         plb_shape *shape, plb_rank_rule rule, int row_rank, plb_access access, plb_rows *rows);

/* A scalar: rank 0, or rank 1 and size 1. */
poslabel_status plb_view_scalar(const plb_call *call, const char *name, const poslabel_tensor *tensor, unsigned dtypes,
                                plb_access access, plb_rows *rows);

/* That an argument was given and its rank can be trusted (0 .. PLB_MAX_RANK, shape there). */
poslabel_status plb_required(const plb_call *call, const char *name, const poslabel_tensor *tensor);

/* "0, 5": a row-major index in the terms of a shape, for messages. */
typedef struct plb_text {
    char data[200];
} plb_text;

plb_text plb_index_text(const plb_shape *shape, int64_t index);

/* The shape of `tensor` without its last dimension.  The tensor must have passed plb_required(). */
plb_shape plb_leading_shape(const poslabel_tensor *tensor);

/* That all given float tensors share the dtype of the first. */
poslabel_status plb_same_dtype(const plb_call *call, const plb_rows *const *rows, int count);

/* That no output shares memory with any other of the views.  Those not given are skipped. */
poslabel_status plb_no_overlap(const plb_call *call, const plb_rows *const *rows, int count);

/* Whether a and b are the same elements at the same places. */
bool plb_same_rows(const plb_rows *a, const plb_rows *b);

/* That both sides are >= 1 and height * width < 2^31. */
poslabel_status plb_check_grid(const plb_call *call, poslabel_grid grid);

bool plb_grid_is_valid(poslabel_grid grid);

#ifdef __cplusplus
}
#endif
#endif
