/*
 * The CUDA runtime's API, visible: programs that need it link the module that it is in.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_API_H
#define EMULATION_API_H

#pragma GCC visibility push(default)
#include <cuda_runtime_api.h>
#pragma GCC visibility pop

#endif
