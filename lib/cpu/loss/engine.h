/*
 * The row-loss engine, for operations that make their logits themselves.
 *
 * plb_loss_begin() checks and weighs all rows of a job, plb_loss_pass() takes some of them at a time, in order, and
 * plb_loss_end() stores the sums.  Sums over rows are those of one pass over all rows, bit for bit, however the rows
 * are cut into passes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_LOSS_ENGINE_H
#define PLB_CPU_LOSS_ENGINE_H

#include "cpu/core/numbers.h"
#include "cpu/core/parallel.h"
#include "cpu/loss/kernels.h"
#include "loss.h"

struct plb_block_sums;

typedef struct plb_loss_run {
    const plb_call *call;
    const plb_loss_job *job;
    plb_loss_kernel *kernel;
    plb_gaussian gaussian;
    int64_t block_rows, blocks;
    struct plb_block_sums *sums;
    char *scratch;
    size_t scratch_size; /* of one thread                                                              */
    int threads;         /* that have scratch                                                          */
    uint8_t *counts;     /* with the confidence filter: 1 for rows that count                          */
    bool has_weights;    /* rows may have weights other than 1                                         */
    bool filter;         /* this pass decides `counts`                                                 */
    bool nothing;        /* the normaliser is 0: no row counts                                         */
    double weight_sum;
    double norm;          /* what takes its place                                                       */
    double upstream;      /* scale of all gradients, normaliser included                                */
    int64_t first, count; /* of this pass: the rows first .. first + count - 1, whose logits are        */
    const int64_t *rows;  /* rows 0 .. count - 1 of the job's; if not NULL, these rows of the arguments */
} plb_loss_run;

/* The bytes of memory, aligned to 64, that a run on up to `threads` threads needs. */
size_t plb_loss_memory(const plb_loss_job *job, int threads);

/* The most threads that are of use to a pass over `rows` rows. */
int plb_loss_threads(const plb_call *call, const plb_loss_job *job, int64_t rows);

/* Checks ids and weights and settles the normaliser.  Writes no output.  `run` and `job` must stay where they are. */
poslabel_status plb_loss_begin(plb_loss_run *run, const plb_call *call, const plb_loss_job *job, int threads,
                               void *memory);

/* The weight of row r of the arguments: 0 if it does not count. */
double plb_loss_weight(const plb_loss_run *run, int64_t r);

/* The row of the arguments that is row `at` of the run. */
static inline int64_t plb_loss_row_at(const plb_loss_run *run, int64_t at)
{
    return run->rows ? run->rows[at - run->first] : at;
}

/* batch.c: whether the id of row r is not allowed. */
bool plb_loss_bad_id(const plb_loss_job *job, int64_t r);

/* The weights of rows first .. last - 1, summed; *first_bad becomes the first whose id or weight is not allowed. */
double plb_loss_weigh(const plb_loss_job *job, int64_t first, int64_t last, int64_t *first_bad);

/* Fills a batch, and its weights, with the rows of the run from `first` on. */
void plb_loss_fill(const plb_loss_run *run, plb_loss_rows *batch, double *weight, int64_t first, int count);

/*
 * Losses, and gradients if the job has a place for them, of the next `count` rows; the first pass has first = 0, the
 * next begins where it ended.  With `rows`, a list of `count` rows in ascending order, rows may be left out; their
 * losses are then not stored.
 */
void plb_loss_pass(plb_loss_run *run, int64_t first, int64_t count, const int64_t *rows);

void plb_loss_end(const plb_loss_run *run);

#endif
