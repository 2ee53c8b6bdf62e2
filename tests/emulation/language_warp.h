/*
 * Warp operations.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_LANGUAGE_WARP_H
#define EMULATION_LANGUAGE_WARP_H

#include "machine.h"

#include <cstring>
#include <type_traits>

namespace emulation
{
template <typename T> inline std::uint64_t to_bits(T value)
{
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

/*
 * Shuffles move a value within sections of `width` lanes; a lane that would read beyond its section keeps its own
 * value.
 */
enum class Shuffle { index, up, down, bitwise };

template <typename T> inline T shuffle(Shuffle kind, unsigned mask, T value, int by, int width, Place place)
{
    static_assert(std::is_arithmetic_v<T> || sizeof(T) == 2 || sizeof(T) == 4, "CUDA has no such shuffle");
    if (width <= 0 || width > 32 || (width & (width - 1)) != 0)
        stop(place, "shuffle: width = %d is not a power of two up to 32", width);
    const int self = lane(), begin = self & ~(width - 1);
    int source = self;
    switch (kind) {
    case Shuffle::index:
        source = begin + (by & (width - 1));
        break;
    case Shuffle::up:
        source = self - by >= begin ? self - by : self;
        break;
    case Shuffle::down:
        source = self + by < begin + width ? self + by : self;
        break;
    case Shuffle::bitwise:
        source = (self ^ by) < begin + width ? self ^ by : self;
        break;
    }
    const std::uint64_t bits = exchange(place, Exchange::shuffle, mask, to_bits(value), source);
    std::memcpy(static_cast<void *>(&value), &bits, sizeof value);
    return value;
}
} // namespace emulation

template <typename T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, emulation::Place place = emulation::Place())
{
    return emulation::shuffle(emulation::Shuffle::index, mask, value, source, width, place);
}

template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                        emulation::Place place = emulation::Place())
{
    return emulation::shuffle(emulation::Shuffle::up, mask, value, static_cast<int>(delta), width, place);
}

template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                          emulation::Place place = emulation::Place())
{
    return emulation::shuffle(emulation::Shuffle::down, mask, value, static_cast<int>(delta), width, place);
}

template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, emulation::Place place = emulation::Place())
{
    return emulation::shuffle(emulation::Shuffle::bitwise, mask, value, bits, width, place);
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, emulation::Place place = emulation::Place())
{
    emulation::exchange(place, emulation::Exchange::sync, mask);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, emulation::Place place = emulation::Place())
{
    return static_cast<unsigned>(emulation::exchange(place, emulation::Exchange::ballot, mask, predicate != 0));
}

inline int __any_sync(unsigned mask, int predicate, emulation::Place place = emulation::Place())
{
    return static_cast<int>(emulation::exchange(place, emulation::Exchange::any, mask, predicate != 0));
}

inline int __all_sync(unsigned mask, int predicate, emulation::Place place = emulation::Place())
{
    return static_cast<int>(emulation::exchange(place, emulation::Exchange::all, mask, predicate != 0));
}

template <typename T>
inline unsigned __match_any_sync(unsigned mask, T value, emulation::Place place = emulation::Place())
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA matches 4 or 8 bytes");
    return static_cast<unsigned>(
        emulation::exchange(place, emulation::Exchange::match, mask, emulation::to_bits(value)));
}

#endif
