/*
 * From the losses of rows to one loss: weights, normaliser, upstream gradient, sums.
 *
 * A loss of rows, whatever its formula, calls
 *
 *     plb_reduction_begin()    checks the weights, sums them up, and settles the normaliser
 *     plb_reduction_pass()     calls the loss for a few rows at a time, on all threads; for each of these calls
 *         plb_reduction_weigh()    gives the weights of the rows,
 *         plb_reduction_scale()    gives the factors of their gradients, and
 *         plb_reduction_add()      takes their losses
 *     plb_reduction_end()      stores the sums
 *
 * A row of weight 0 is not to be read; its loss may be anything and its gradient is 0.  plb_check_ids() of core/ids.h
 * checks ids that have nothing to do with the weights.
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
    const void *argument; /* of the functions */
    /* The first of the rows that counts and is not allowed, or -1.  Rows of weight 0 do not count; NULL: all do. */
    int64_t (*first_bad)(const void *argument, int64_t first, int count, const double *weight);
    /* Fails with the reason why row r is not allowed. */
    poslabel_status (*report)(const plb_call *call, const void *argument, int64_t r);
    /* Sets the weights of ignored rows to 0.  NULL: none is ignored. */
    void (*ignore)(const void *argument, int64_t first, int count, double *weight);
} plb_row_check;

typedef struct plb_reduction_run {
    const plb_call *call;
    const plb_reduction *reduction;
    const plb_row_check *check; /* or NULL */
    int64_t block_rows, blocks;
    plb_block_sums *sums;       /* of each block */
    bool has_weights;           /* rows may have weights other than 1 */
    bool no_row_counts;         /* the normaliser is 0 */
    double unit;                /* a power of two by which all weights are multiplied, most often 1 */
    double weight_sum;
    double normalizer;          /* the divisor of a mean: the weight sum, or the tensor in its place */
    double grad_factor;         /* of all rows: grad_scale, grad_loss, 1 / normalizer */
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

/* Does what a loss does with up to PLB_ROW_BATCH rows; `sums` are those of their block. */
typedef void plb_reduction_body(void *argument, int thread, const plb_row_list *list, int count, plb_block_sums *sums);

/*
 * Calls body(argument, ...) for the rows first .. first + count - 1 of the run, in order within each block.  With `rows`,
 * a list of `count` rows of the arguments, these are the rows.  The sums go on from where the pass before left them.
 * `threads` is the most threads to use, `bytes` the traffic of the pass.
 */
void plb_reduction_pass(plb_reduction_run *run, int64_t first, int64_t count, const int64_t *rows, int threads,
                        size_t bytes, plb_reduction_body *body, void *argument);

/* A pass that decided which rows count, and added their weights to the sums: settles the normaliser by these. */
void plb_reduction_recount(plb_reduction_run *run);

/* Sets the sums to 0, before the rows are added once more. */
void plb_reduction_clear(const plb_reduction_run *run);

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
