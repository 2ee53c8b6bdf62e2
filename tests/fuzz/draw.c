/*
 * Where everything random of the fuzzer comes from.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "fuzz/fuzz.h"

uint64_t draw(fuzz *f, uint64_t below)
{
    uint64_t value = 0;
    if (!f->from.bytes)
        return rng_bits(&f->from.r) % below;
    for (uint64_t range = below - 1; range; range >>= 8) {
        value = value << 8 | (f->from.left ? *f->from.bytes : 0);
        if (f->from.left)
            f->from.bytes++, f->from.left--;
    }
    return value % below;
}

bool one_in(fuzz *f, uint64_t n)
{
    return draw(f, n) == n - 1; /* zeros, which come when the bytes have run out, mean no */
}

int64_t draw_size(fuzz *f, int64_t least, int64_t most)
{
    return least + (int64_t)draw(f, (uint64_t)(most - least) + 1);
}

poslabel_dtype a_float(fuzz *f)
{
    const poslabel_dtype all[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    return all[draw(f, 4)];
}

poslabel_dtype a_scalar(fuzz *f)
{
    return draw(f, 2) ? dtype_f64 : dtype_f32;
}

poslabel_dtype an_id(fuzz *f)
{
    return draw(f, 2) ? dtype_i64 : dtype_i32;
}

poslabel_dtype a_mask(fuzz *f)
{
    const poslabel_dtype all[] = {dtype_bool, dtype_u8,  dtype_i32,  dtype_i64,
                                  dtype_f32,  dtype_f16, dtype_bf16, dtype_f64};
    return all[draw(f, 8)];
}

poslabel_grid a_grid(fuzz *f)
{
    return (poslabel_grid){1 + (int32_t)draw(f, 4), 1 + (int32_t)draw(f, 4)};
}

poslabel_grid a_small_grid(fuzz *f)
{
    return (poslabel_grid){1 + (int32_t)draw(f, 2), 1 + (int32_t)draw(f, 3)};
}

int64_t grid_tokens(poslabel_grid grid)
{
    return (int64_t)grid.height * grid.width;
}

int64_t grid_offsets(poslabel_grid grid)
{
    return (2 * (int64_t)grid.height - 1) * (2 * (int64_t)grid.width - 1);
}
