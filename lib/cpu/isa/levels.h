/*
 * The levels of the CPU backend, one for each instruction set.
 *
 * levels.c chooses among them.  <level>.c includes the kernels of the families, which are written over the vectors of
 * that instruction set, and exports one table.  All else in it is static, so that no function compiled with ISA flags
 * can be called from elsewhere.  The reference level is plain C and double precision: the definition of correct.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_LEVELS_H
#define PLB_CPU_LEVELS_H

#include "cpu/core/kernels.h"

extern const plb_kernels plb_kernels_reference, plb_kernels_baseline;
#ifdef PLB_HAVE_X86
extern const plb_kernels plb_kernels_avx2, plb_kernels_avx512;
#endif

/* The kernels at a level that this machine has; for POSLABEL_ISA_AUTO those of the best. */
const plb_kernels *plb_kernels_at(poslabel_isa isa);

#endif
