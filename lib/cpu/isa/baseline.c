/*
 * The kernels at the baseline level.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/vectors/baseline.h"

#include "cpu/isa/families.inc.h"

#define LEVEL baseline
#define LEVEL_ISA POSLABEL_ISA_BASELINE
#include "cpu/isa/level.inc.h"
