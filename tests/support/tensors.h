/*
 * tensors.h: tensors of any layout for tests, in guarded memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_TENSORS_H
#define TEST_TENSORS_H

#include "support/guard.h"

#include <poslabel.h>

enum { TENSOR_MAX_RANK = 8 };

/*
 * A tensor in guarded memory of its own.  Its elements are addressed by their row-major index, whatever the strides:
 * tensor_set(t, i, value) and tensor_get(t, i).
 */
typedef struct tensor {
    poslabel_tensor t; /* pass &x.t, or tensor_of(x) where x may be NULL */
    int64_t shape[TENSOR_MAX_RANK];
    int64_t strides[TENSOR_MAX_RANK];
    int64_t count; /* elements */
    guard memory;
} tensor;

/* Rank and shape of a new tensor: SHAPE(3, 4). */
/* clang-format off */
#define SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
/* clang-format on */

/* How a tensor lies in memory.  All zero: compact, and ending at the guard page. */
typedef struct layout {
    int64_t row_padding; /* elements between the end of one row (the last dimension) and the next                   */
    size_t gap;          /* bytes between the data and the guard page: the alignment, see guard_new()               */
    guard_side side;     /* which end lies at the guard page                                                        */
    size_t byte_offset;  /* passed on in the descriptor: the data begins that many bytes after t.data               */
    bool columns;        /* the last dimension but one is what is contiguous: [B, D, N] seen as [B, N, D]           */
    bool shared;         /* the last dimension has stride 0: one value for all of it.  For inputs only              */
} layout;

/*
 * A compact tensor: tensor_new(dtype_f32, 2, (int64_t[]){3, 4}).  Its memory holds the canary until something is
 * stored, so tensor_is_untouched() can tell whether anything was.  Free with tensor_free(), which also fails the
 * running test when memory around the elements was written.
 */
tensor *tensor_new(poslabel_dtype dtype, int ndim, const int64_t *shape);
tensor *tensor_laid_out(poslabel_dtype dtype, int ndim, const int64_t *shape, layout how);

/* A scalar that holds `value`. */
tensor *tensor_scalar(poslabel_dtype dtype, double value);

/* The values of a golden array in another dtype. */
struct npz_array;
tensor *tensor_from_npz(const struct npz_array *array, poslabel_dtype dtype, layout how);

/* A new tensor with the values of another. */
tensor *tensor_copy(const tensor *from, poslabel_dtype dtype, layout how);

void tensor_free(tensor *t);

/* The descriptor, or NULL for a NULL tensor: for arguments that may be left out. */
const poslabel_tensor *tensor_of(const tensor *t);

double tensor_get(const tensor *t, int64_t index);
void tensor_set(tensor *t, int64_t index, double value);

/* Where an element lies. */
void *tensor_at(const tensor *t, int64_t index);

void tensor_fill(tensor *t, double value);
void tensor_fill_normal(tensor *t, uint64_t seed, double scale); /* normal, times scale  */
void tensor_fill_below(tensor *t, uint64_t seed, int64_t n);     /* integers in [0, n)   */
void tensor_fill_between(tensor *t, uint64_t seed, double low, double high);

/* All elements as doubles in row-major order, to be freed with free(). */
double *tensor_doubles(const tensor *t);

/* Fills the memory with the canary again; whether it still holds nothing else. */
void tensor_forget(tensor *t);
bool tensor_is_untouched(const tensor *t);

/* Fails the running test when something was written between the rows or around the tensor. */
#define tensor_check(t) tensor_check_at(__FILE__, __LINE__, (t))
void tensor_check_at(const char *file, int line, const tensor *t);

/* That two tensors of one dtype and shape hold the same bits. */
#define expect_same_tensor(what, got, want) expect_same_tensor_at(__FILE__, __LINE__, (what), (got), (want))
void expect_same_tensor_at(const char *file, int line, const char *what, const tensor *got, const tensor *want);

/* expect_near() for tensors: `got` against `want`, or against doubles. */
#define expect_near_tensor(what, got, want, tolerance)                                                                 \
    expect_near_tensor_at(__FILE__, __LINE__, (what), (got), (want), (tolerance))
void expect_near_tensor_at(const char *file, int line, const char *what, const tensor *got, const tensor *want,
                           double tolerance);
#define expect_near_doubles(what, got, want, tolerance)                                                                \
    expect_near_doubles_at(__FILE__, __LINE__, (what), (got), (want), (tolerance))
void expect_near_doubles_at(const char *file, int line, const char *what, const tensor *got, const double *want,
                            double tolerance);

#endif
