/*
 * From the losses of rows to one loss: weights, normaliser, upstream gradient, sums.
 *
 * A loss of rows, whatever its formula, calls
 *
 *     plb_reduction_begin()    checks the weights, sums them up, and settles the normaliser
 *     plb_reduction_weigh()    the weights of up to PLB_ROW_BATCH rows
 *     plb_reduction_scale()    the factors of their gradients
 *     plb_reduction_add()      takes their losses
 *     plb_reduction_end()      stores the sums
 *
 * Rows are cut into blocks by their number alone.  Each block has partial sums in double precision, which are added in
 * the order of the blocks: results do not depend on the threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_REDUCTION_H
#define PLB_CPU_REDUCTION_H

#include "call.h"
#include "cpu/loss/batch.h"
#include "loss.h"

typedef struct plb_block_sums {
    double weight, loss, correct;
    int64_t first_bad; /* the first row that is not allowed, or -1 */
} plb_block_sums;

/* The rows that a loss does not allow, and those that it ignores whatever their mask and weights say. */
typedef struct plb_row_check {
    const void *loss; /* for the functions */
    /* The first of the rows that counts and is not allowed, or -1.  Rows of weight 0 do not count; NULL: all do. */
    int64_t (*first_bad)(const void *loss, int64_t first, int count, const double *weight);
    /* Fails with the reason why row r is not allowed. */
    poslabel_status (*report)(const plb_call *call, const void *loss, int64_t r);
    /* Sets the weights of ignored rows to 0.  NULL: none is ignored. */
    void (*ignore)(const void *loss, int64_t first, int count, double *weight);
} plb_row_check;

typedef struct plb_reduction_run {
    const plb_call *call;
    const plb_reduction *reduction;
    const plb_row_check *check; /* or NULL */
    int64_t block_rows, blocks;
    plb_block_sums *sums;       /* of each block */
    bool has_weights;           /* rows may have weights other than 1 */
    bool nothing;               /* the normaliser is 0: no row counts */
    double weight_sum;
    double norm;                /* the normaliser in place of it */
    double upstream;            /* the factor of all gradients, normaliser included */
} plb_reduction_run;

/* Rows of the arguments: those from `first` on, or those of a list. */
typedef struct plb_row_list {
    int64_t first;
    const int64_t *rows; /* NULL: they follow one another */
} plb_row_list;

static inline int64_t plb_row_at(const plb_row_list *list, int k)
{
    return list->rows ? list->rows[k] : list->first + k;
}

/* The bytes of memory, aligned to 8, that a run needs. */
size_t plb_reduction_memory(const plb_reduction *reduction);

/* Writes no output.  `reduction` and `check`, which may be NULL, must stay where they are. */
poslabel_status plb_reduction_begin(plb_reduction_run *run, const plb_call *call, const plb_reduction *reduction,
                                    const plb_row_check *check, void *memory);

/* A pass over the rows that only decided which of them count: settles the normaliser by the weights that it added. */
void plb_reduction_recount(plb_reduction_run *run);

/* Before the rows are added once more. */
void plb_reduction_forget(const plb_reduction_run *run);

void plb_reduction_weigh(const plb_reduction_run *run, const plb_row_list *list, int count, double *weight);

void plb_reduction_scale(const plb_reduction_run *run, const plb_row_list *list, int count, const double *weight,
                         double *scale);

/*
 * Adds the losses of a few rows, which become weighted, to the sums of their block.  `correct` says which rows have the
 * right class on top; NULL: none.  Stores the losses without reduction.
 */
void plb_reduction_add(const plb_reduction_run *run, plb_block_sums *sums, const plb_row_list *list, int count,
                       const double *weight, double *loss, const bool *correct);

void plb_reduction_end(const plb_reduction_run *run);

#endif
