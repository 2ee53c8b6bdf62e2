/*
 * The kernels at the avx512 level.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/vectors/avx512.h"

#include "cpu/isa/families.inc.h"

#define LEVEL avx512
#define LEVEL_ISA POSLABEL_ISA_AVX512
#include "cpu/isa/level.inc.h"
