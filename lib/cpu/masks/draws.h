/*
 * Which words an image draws.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_DRAWS_H
#define PLB_CPU_DRAWS_H

#include "cpu/core/numbers.h"
#include "cpu/masks/kernels.h"
#include "random.h"
#include "rows.h"

/* The draws of image b from one stream; its index is samples[b], or first_sample + b where there are no samples. */
static inline plb_draw plb_draw_of(const plb_rows *samples, uint32_t first_sample, int64_t image, uint64_t seed,
                                   uint32_t stream, uint32_t step)
{
    int64_t sample = (int64_t)first_sample + image;
    if (samples->data)
        sample = plb_load_id(samples->data + image * plb_dtype_size[samples->dtype], samples->dtype);
    return (plb_draw){seed, (uint32_t)sample, plb_stream_of(stream, sample), step};
}

#endif
