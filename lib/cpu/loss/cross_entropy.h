/*
 * Cross-entropy of rows of logits, for operations that have the logits and for those that make them a few at a time.
 *
 * plb_cross_entropy_begin() checks and weighs all rows, plb_cross_entropy_pass() takes some of them at a time, in order,
 * and plb_cross_entropy_end() stores the sums.  Sums over rows are those of one pass over all rows, bit for bit, however
 * the rows are cut into passes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_CROSS_ENTROPY_H
#define PLB_CPU_CROSS_ENTROPY_H

#include "cpu/loss/kernels.h"
#include "cpu/loss/reduction.h"
#include "cpu/loss/targets.h"

/* What is known before there are logits. */
typedef struct plb_cross_entropy_plan {
    const plb_targets *targets;
    const plb_reduction *reduction;
    plb_dtype dtype;   /* of the logits                          */
    bool has_gradient; /* passes will have room for gradients,   */
    bool in_place;     /* which is that of the logits            */
    bool confidence_filter;
} plb_cross_entropy_plan;

typedef struct plb_cross_entropy {
    const plb_call *call;
    plb_cross_entropy_plan plan;
    plb_reduction_run reduction;
    plb_row_check check;
    plb_loss_kernel *kernel;
    plb_gaussian gaussian;
    char *scratch;
    size_t scratch_size; /* of one thread                                      */
    int threads;         /* that have scratch                                  */
    uint8_t *counts;     /* with the confidence filter: 1 for rows that count  */
    bool filter;         /* this pass decides `counts`                         */
    plb_rows logits, grad_logits; /* of this pass, whose first row is row `first` of the run */
    int64_t first;
    bool stream;         /* gradients are stored past the caches               */
} plb_cross_entropy;

/* The bytes of memory, aligned to 64, that a run on up to `threads` threads needs. */
size_t plb_cross_entropy_memory(const plb_cross_entropy_plan *plan, int threads);

/* The most threads that are of use to a pass over `rows` rows; 0 if there are none. */
int plb_cross_entropy_threads(const plb_call *call, const plb_cross_entropy_plan *plan, int64_t rows);

/* Checks ids and weights and settles the normaliser.  Writes no output.  `run` must stay where it is. */
poslabel_status plb_cross_entropy_begin(plb_cross_entropy *run, const plb_call *call,
                                        const plb_cross_entropy_plan *plan, int threads, void *memory);

/*
 * Losses of the next `count` rows, and gradients unless the data of grad_logits are NULL.  Row 0 of logits is row
 * `first` of the run; the first pass has first = 0, the next begins where it ended.  With `rows`, a list of `count` rows
 * of the arguments in ascending order, rows may be left out; their losses are then not stored.
 */
void plb_cross_entropy_pass(plb_cross_entropy *run, const plb_rows *logits, const plb_rows *grad_logits, int64_t first,
                            int64_t count, const int64_t *rows);

void plb_cross_entropy_end(const plb_cross_entropy *run);

#endif
