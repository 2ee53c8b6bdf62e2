/*
 * test.h: all that a test program includes.  SPDX-License-Identifier: Apache-2.0
 *
 * CMocka wants its four standard headers first; the rest is the library's public interface and the harness.
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

#include "check.h"
#include "contexts.h"
#include "device.h"
#include "guard.h"
#include "losses.h"
#include "npz.h"
#include "numbers.h"
#include "operations.h"
#include "tensors.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

#endif
