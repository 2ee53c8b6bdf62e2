/* gpu.h: the layers on CUDA; layers.h says what they do.  SPDX-License-Identifier: Apache-2.0 */
#ifndef PRETRAIN_GPU_H
#define PRETRAIN_GPU_H

#include "layers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The first CUDA device, or fail(). */
const backend *gpu_open(void);

#ifdef __cplusplus
}
#endif
#endif
