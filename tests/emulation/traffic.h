/*
 * What kernels ask of memory, counted.
 *
 * The compiler tells of every load and store, as it would tell ThreadSanitizer, and each lane's k-th access by one
 * instruction since its warp last met is taken for one access of the warp.  Counted are
 *
 *     sectors      of 32 bytes, that an access to global memory touches
 *     wavefronts   turns that it takes: of global memory 128-byte lines; of shared memory the most words that one of
 * its 32 banks is asked for, by all lanes, or by halves and quarters of the warp for 8 and 16 bytes
 *
 * and beside each the least that as many bytes could do with.  Stacks are registers, parameters are constants, and
 * atomic operations are few: none of these count.  What nvcc would keep in a register rather than load again does.
 * Nothing here exists in other builds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_TRAFFIC_H
#define EMULATION_TRAFFIC_H

#include "grid.h"

namespace emulation
{
#ifdef EMULATION_TRAFFIC
/* A launch begins, or ends. */
void traffic_launch(const void *kernel);
void traffic_end();

/* All lanes of a warp have come to the same place. */
void traffic_met(const Warp &warp);

/* A shuffle, which takes a turn as well. */
void traffic_shuffled();
#else
inline void traffic_launch(const void *)
{
}

inline void traffic_end()
{
}

inline void traffic_met(const Warp &)
{
}

inline void traffic_shuffled()
{
}
#endif
} // namespace emulation

#endif
