/*
 * Philox4x32-10.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "random.h"

void poslabel_philox(uint64_t seed, const uint32_t counter[4], uint32_t words[4])
{
    plb_philox(seed, counter[0], counter[1], counter[2], counter[3], words);
}

uint32_t poslabel_random_below(uint32_t word, uint32_t n)
{
    return plb_random_below(word, n);
}

float poslabel_random_unit(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}
