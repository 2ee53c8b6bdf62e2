/*
 * Loads and stores with a hint for the caches.
 *
 * The hints mean nothing here, but the hardware wants an address that is a multiple of the size, and so does this.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_LANGUAGE_ACCESS_H
#define EMULATION_LANGUAGE_ACCESS_H

#include "machine.h"

#include <type_traits>

namespace emulation
{
template <typename T> inline void expect_access(const T *address, Place place)
{
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16, "CUDA has no such access");
    expect_aligned(address, alignof(T), place);
}
} // namespace emulation

#define EMULATION_LOAD(name)                                                                                           \
    template <typename T> inline T name(const T *address, emulation::Place place = emulation::Place())                 \
    {                                                                                                                  \
        emulation::expect_access(address, place);                                                                      \
        return *address;                                                                                               \
    }
EMULATION_LOAD(__ldg)
EMULATION_LOAD(__ldca)
EMULATION_LOAD(__ldcg)
EMULATION_LOAD(__ldcs)
EMULATION_LOAD(__ldcv)
EMULATION_LOAD(__ldlu)
#undef EMULATION_LOAD

#define EMULATION_STORE(name)                                                                                          \
    template <typename T>                                                                                              \
    inline void name(T *address, std::common_type_t<T> value, emulation::Place place = emulation::Place())             \
    {                                                                                                                  \
        emulation::expect_access(address, place);                                                                      \
        *address = value;                                                                                              \
    }
EMULATION_STORE(__stcg)
EMULATION_STORE(__stcs)
EMULATION_STORE(__stwb)
EMULATION_STORE(__stwt)
#undef EMULATION_STORE

#endif
