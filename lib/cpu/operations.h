/*
 * The operations of the CPU backend.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_OPERATIONS_H
#define PLB_CPU_OPERATIONS_H

#include "backend.h"

#define PLB_JOB(name, job, backends) poslabel_status plb_cpu_##name(const plb_call *call, const struct job *job);
#include "operations.def"

#endif
