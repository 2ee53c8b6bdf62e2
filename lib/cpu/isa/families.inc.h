/*
 * The kernels of all families over the vectors of one instruction set.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/vectors/elements.inc.h"
#include "cpu/vectors/stream.inc.h"
#ifndef VF_EXP_OVERFLOWS /* these vectors have no exponential of their own */
#include "cpu/vectors/exp.inc.h"
#endif

#include "cpu/attention/rows.inc.h"
#include "cpu/loss/rows.inc.h"
#include "cpu/masks/rows.inc.h"
#include "cpu/tokens/rows.inc.h"
