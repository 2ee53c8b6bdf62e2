/*
 * operations.h: ready calls of every operation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_OPERATIONS_H
#define TEST_OPERATIONS_H

#include "support/tensors.h"

enum { OPERATION_TENSORS = 12 };

/*
 * Tests that do the same to every operation (make its allocations fail, call it in a forked child, hand it an older
 * struct) take them from here.  The operations are those of lib/operations.def, and cases/ has the calls of each.
 */
typedef struct operation {
    const char *name;    /* as in messages: "droppos_loss" */
    const char *variant; /* which of several calls of it */
    int backends;        /* PLB_ON_CPU | PLB_ON_CUDA; 0: no backend takes part */
    size_t args_size;
    const void *init; /* what the init macro makes */
    union {
        size_t struct_size;
#define PLB_OPERATION(name, NAME, job) poslabel_##name##_args name;
#include "operations.def"
    } args;
    poslabel_status (*call)(poslabel_context *context, const void *args);
    tensor *inputs[OPERATION_TENSORS], *outputs[OPERATION_TENSORS]; /* the given ones, then NULL */
    double number;                                                  /* where sigma_schedule writes */
} operation;

/*
 * How many calls there are of operations that the backend under test has (device.h), and of those that it does not
 * have, whose numbers follow.  Neither counts the linear head where this build does not test it.
 */
int operation_count(void);
int operation_count_unsupported(void);

/* The number of the first call of an operation that the backend under test has. */
int operation_number(const char *name);

/*
 * Makes call `number` with random inputs; with `many` images or rows about that many, so that a large number puts every
 * thread to work.  The struct must stay where it is until operation_free().
 */
void operation_new(operation *op, int number, int64_t many);
void operation_free(operation *op);

poslabel_status operation_call(poslabel_context *context, const operation *op);

/* The field that lends a workspace; NULL: the operation has no tensors. */
poslabel_workspace **operation_workspace(operation *op);

/* Brings in-place inputs back and fills the outputs with the canary. */
void operation_reset(operation *op);

/* Whether no output was written since the reset. */
bool operation_is_untouched(const operation *op);

/* All outputs one after the other, for comparisons; to be freed with free(). */
unsigned char *operation_outputs(const operation *op, size_t *size);

#endif
