/*
 * Backends that live in modules of their own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_MODULE_H
#define PLB_MODULE_H

#include "backend.h"

/* The CUDA backend, or NULL with the reason. */
const plb_backend *plb_load_cuda(char *reason, size_t reason_size);

#endif
