/*
 * test.h: all that a test program includes.
 *
 * CMocka wants its four standard headers first; the rest is the library's public interface and the harness.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_H
#define TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poslabel.h>

#include "support/check.h"
#include "support/contexts.h"
#include "support/device.h"
#include "support/guard.h"
#include "support/losses.h"
#include "support/npz.h"
#include "support/numbers.h"
#include "support/operations.h"
#include "support/tensors.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

#endif
