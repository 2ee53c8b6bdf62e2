/*
 * How many rows are worked on at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_BATCH_H
#define PLB_CPU_BATCH_H

enum { PLB_ROW_BATCH = 64 };

#endif
