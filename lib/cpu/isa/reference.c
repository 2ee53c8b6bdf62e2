/*
 * The kernels in plain C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/attention/reference.inc.h"
#include "cpu/loss/reference.inc.h"
#include "cpu/masks/rows.inc.h"
#include "cpu/mlp/reference.inc.h"
#include "cpu/tokens/reference.inc.h"

#define LEVEL reference
#define LEVEL_ISA POSLABEL_ISA_REFERENCE
#include "cpu/isa/level.inc.h"
