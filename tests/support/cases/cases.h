/*
 * cases.h: what the files of this folder share, each of which has the ready calls of one family of operations.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_CASES_H
#define TEST_CASES_H

#include "support/test.h"

/*
 * The calls of each operation of operations.def.  A case gets the operation's args as the init macro makes them, and
 * sets what one call of it needs:
 *
 *     static void absolute(operation *op, poslabel_absolute_labels_args *args, int64_t many)
 *     {
 *         args->grid = case_grid;
 *         args->labels = add_output(op, dtype_i64, SHAPE(many, N));
 *     }
 *     CASES(absolute_labels, {"", absolute});
 *
 * An operation without CASES() does not link: cases_<name> is missing.  Scalar outputs are float64, so that a sum whose
 * order depends on the threads is found.
 */
#define PLB_OPERATION(name, NAME, job)                                                                                 \
    typedef struct name##_case {                                                                                       \
        const char *variant;                                                                                           \
        void (*make)(operation *op, poslabel_##name##_args *args, int64_t many);                                       \
    } name##_case;                                                                                                     \
    extern const name##_case cases_##name[];
#include "operations.def"

/* All calls of an operation, each with the name of its variant: CASES(random_mask, {"", seeded}, {"noise", noisy}). */
#define CASES(name, ...) const name##_case cases_##name[] = {__VA_ARGS__, {NULL, NULL}}

/* 42 tokens, of which 10 are visible, with 24 channels. */
static const poslabel_grid case_grid = {7, 6};
enum { N = 42, V = 10, D = 24 };

/* Tensors that live as long as the operation: normal numbers, ids in [0, below), any others; and outputs. */
const poslabel_tensor *add_floats(operation *op, uint64_t seed, int rank, const int64_t *shape);
const poslabel_tensor *add_ids(operation *op, int64_t below, uint64_t seed, int rank, const int64_t *shape);
const poslabel_tensor *add_input(operation *op, tensor *t);
const poslabel_tensor *add_output(operation *op, poslabel_dtype dtype, int rank, const int64_t *shape);

#endif
