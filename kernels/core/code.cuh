/*
 * Which devices the module has code for.
 *
 * Code for compute capability x.y runs on every x.z with z >= y, and the driver translates the PTX of the newest for
 * what is newer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CODE_H
#define PLB_CODE_H

#include "core/device.cuh"

/* Whether that is so for a device, by its number alone: this makes no CUDA context. */
cudaError_t plb_has_code(int device, bool *has_code);

/* Loads a kernel for the current device.  The driver has the last word: it may be too old for the PTX. */
cudaError_t plb_load_code();

/* Whether an error of that means that there is no code, and the reason to give for it. */
bool plb_is_lack_of_code(cudaError_t error);
void plb_tell_lack_of_code(int device, cudaError_t error, char *reason, size_t reason_size);

#endif
