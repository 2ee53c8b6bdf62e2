/*
 * The kernels at the avx2 level.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/vectors/avx2.h"

#include "cpu/isa/families.inc.h"

#define LEVEL avx2
#define LEVEL_ISA POSLABEL_ISA_AVX2
#include "cpu/isa/level.inc.h"
