/*
 * random.h: counter-based random numbers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_RANDOM_H
#define POSLABEL_RANDOM_H

#include <poslabel/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * All random numbers in libposlabel come from Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers:
 * as easy as 1, 2, 3", SC 2011).  A draw is a pure function of
 *
 *     key      the seed: key[0] holds its low, key[1] its high 32 bits
 *     counter  [0] the low 32 bits of the index of the image,  [1] the index of the draw within the image,
 *              [2] the stream of the task (below) + 256 * the upper bits of the index of the image,
 *              [3] the step of the training run
 *
 * An index of an image is below 2^56, so no two images share a draw.
 *
 * A draw therefore does not depend on the device, the number of threads, the batch size or how a batch is split over
 * ranks.  One evaluation gives four 32-bit words.  Word n of a stream is word n % 4 of the evaluation with
 * counter[1] = n / 4.  All of this is part of the ABI, together with the stream numbers and the two conversions below.
 */

/* Which random numbers an operation draws. */
typedef enum poslabel_stream {
    POSLABEL_STREAM_PATCH_MASK = 1,    /* word n: the noise of token n                                    */
    POSLABEL_STREAM_POSITION_MASK = 2, /* word r: the noise of visible token r                            */
    POSLABEL_STREAM_SHUFFLE = 3,       /* word r: the noise of visible token r                            */
    POSLABEL_STREAM_REGULAR_MASK = 4,  /* word c: the choice in cell c, row-major                         */
    POSLABEL_STREAM_BLOCK_MASK = 5,    /* word 0: the row, word 1: the column of the block                */
    POSLABEL_STREAM_CELL_PAIRS = 6     /* words 4 i to 4 i + 3: pair i; or word n: the noise of cell n     */
} poslabel_stream;

/*
 * Evaluates Philox4x32-10 once.  `counter` and `words` hold four numbers each and may be the same array.  Key 0 with
 * counter 0, 0, 0, 0 gives 6627e8d5 e169c58d bc57ac4c 9b00dbd8.  Since 0.1.
 */
POSLABEL_API void poslabel_philox(uint64_t seed, const uint32_t counter[4], uint32_t words[4]);

/*
 * Returns an integer in [0, n) made from one word: the upper 32 bits of the 64-bit product word * n.  Each value has a
 * probability within 2^-32 of 1/n.  n = 0 gives 0.  Since 0.1.
 */
POSLABEL_API uint32_t poslabel_random_below(uint32_t word, uint32_t n);

/* Returns a float in [0, 1) made from one word: (word >> 8) * 2^-24, exactly.  Since 0.1. */
POSLABEL_API float poslabel_random_unit(uint32_t word);

#ifdef __cplusplus
}
#endif
#endif
