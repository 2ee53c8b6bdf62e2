/*
 * backend.c: the CPU as a machine for the model, and the choice between it and CUDA.  SPDX-License-Identifier:
 * Apache-2.0
 *
 * On the CPU the model's memory is the host's, so that a copy to where it comes from is none.
 */
#include "cpu.h"
#include "memory.h"

#ifdef PRETRAIN_CUDA
#include "gpu.h"
#endif

#include <stdlib.h>
#include <string.h>

static void copy(void *to, const void *from, size_t size)
{
    if (to != from)
        memcpy(to, from, size);
}

static void zero(real *data, size_t count)
{
    memset(data, 0, count * sizeof(real));
}

static void copy_rows(real *to, size_t to_stride, const real *from, size_t from_stride, size_t width, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        memcpy(to + r * to_stride, from + r * from_stride, width * sizeof(real));
}

static const backend cpu = {
    .name = "CPU",
    .shards = 8,
    .allocate = allocate,
    .release = free,
    .upload = copy,
    .download = copy,
    .zero = zero,
    .copy_rows = copy_rows,
    .linear = cpu_linear,
    .linear_backward = cpu_linear_backward,
    .layer_norm = cpu_layer_norm,
    .layer_norm_backward = cpu_layer_norm_backward,
    .gelu = cpu_gelu,
    .gelu_backward = cpu_gelu_backward,
    .add = cpu_add,
    .attention = cpu_attention,
    .attention_backward = cpu_attention_backward,
    .clip = cpu_clip,
    .adamw = cpu_adamw,
};

const backend *backend_open(bool cuda)
{
    if (!cuda)
        return &cpu;
#ifdef PRETRAIN_CUDA
    return gpu_open();
#else
    fail("--device cuda: this trainer was built without CUDA.  Install the CUDA toolkit 12 or 13 with cuBLAS, set the "
         "build up anew with -Dcuda=enabled, and see what meson says of the trainer");
#endif
}
