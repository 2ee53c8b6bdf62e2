/*
 * The label of each row, and which ids are allowed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_TARGETS_H
#define PLB_CPU_TARGETS_H

#include "cpu/loss/reduction.h"
#include "loss.h"

/* The check of ids, for plb_reduction_begin(). */
plb_row_check plb_targets_check(const plb_targets *targets);

/* The labels of up to PLB_ROW_BATCH rows, or the positions of their Gaussians. */
void plb_targets_labels(const plb_targets *targets, const plb_row_list *list, int count, int32_t *label);

#endif
