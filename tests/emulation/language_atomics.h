/*
 * Atomic operations on integers, and fences.
 *
 * The fibers of a host thread cannot interrupt each other, so that any of these would be atomic; they are also places
 * where others get their turn, since a loop may spin on one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_LANGUAGE_ATOMICS_H
#define EMULATION_LANGUAGE_ATOMICS_H

#include "machine.h"

namespace emulation
{
template <typename T, typename Change> inline T atomically(T *address, Place place, Change change)
{
    expect_aligned(address, sizeof(T), place);
    interleave(place);
    const T old = __atomic_load_n(address, __ATOMIC_RELAXED);
    __atomic_store_n(address, change(old), __ATOMIC_RELAXED);
    touched(address);
    return old;
}

/* Of what others change in atomic operations. */
template <typename T> inline T load_volatile(const T *address, Place place = Place())
{
    expect_aligned(address, sizeof(T), place);
    const T value = __atomic_load_n(address, __ATOMIC_RELAXED);
    touched(address);
    return value;
}
} // namespace emulation

/* One function of CUDA for one type.  The second operand is `value`, what was there is `old`. */
#define EMULATION_ATOMIC(name, type, expression)                                                                       \
    inline type name(type *address, type value, emulation::Place place = emulation::Place())                           \
    {                                                                                                                  \
        return emulation::atomically(address, place, [value](type old) -> type { return expression; });                \
    }
/* Unsigned arithmetic, since the hardware's wraps around. */
EMULATION_ATOMIC(atomicAdd, int, static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value)))
EMULATION_ATOMIC(atomicAdd, unsigned, old + value)
EMULATION_ATOMIC(atomicAdd, unsigned long long, old + value)
EMULATION_ATOMIC(atomicSub, int, static_cast<int>(static_cast<unsigned>(old) - static_cast<unsigned>(value)))
EMULATION_ATOMIC(atomicSub, unsigned, old - value)
EMULATION_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
EMULATION_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)
EMULATION_ATOMIC(atomicExch, int, (static_cast<void>(old), value))
EMULATION_ATOMIC(atomicExch, unsigned, (static_cast<void>(old), value))
EMULATION_ATOMIC(atomicExch, unsigned long long, (static_cast<void>(old), value))
EMULATION_ATOMIC(atomicMin, int, old < value ? old : value)
EMULATION_ATOMIC(atomicMin, unsigned, old < value ? old : value)
EMULATION_ATOMIC(atomicMin, long long, old < value ? old : value)
EMULATION_ATOMIC(atomicMin, unsigned long long, old < value ? old : value)
EMULATION_ATOMIC(atomicMax, int, old > value ? old : value)
EMULATION_ATOMIC(atomicMax, unsigned, old > value ? old : value)
EMULATION_ATOMIC(atomicMax, long long, old > value ? old : value)
EMULATION_ATOMIC(atomicMax, unsigned long long, old > value ? old : value)
EMULATION_ATOMIC(atomicAnd, int, old &value)
EMULATION_ATOMIC(atomicAnd, unsigned, old &value)
EMULATION_ATOMIC(atomicAnd, unsigned long long, old &value)
EMULATION_ATOMIC(atomicOr, int, old | value)
EMULATION_ATOMIC(atomicOr, unsigned, old | value)
EMULATION_ATOMIC(atomicOr, unsigned long long, old | value)
EMULATION_ATOMIC(atomicXor, int, old ^ value)
EMULATION_ATOMIC(atomicXor, unsigned, old ^ value)
EMULATION_ATOMIC(atomicXor, unsigned long long, old ^ value)
#undef EMULATION_ATOMIC

#define EMULATION_CAS(type)                                                                                            \
    inline type atomicCAS(type *address, type compare, type value, emulation::Place place = emulation::Place())        \
    {                                                                                                                  \
        return emulation::atomically(address, place,                                                                   \
                                     [compare, value](type old) -> type { return old == compare ? value : old; });     \
    }
EMULATION_CAS(int)
EMULATION_CAS(unsigned)
EMULATION_CAS(unsigned long long)
EMULATION_CAS(unsigned short)
#undef EMULATION_CAS

/* Sums of floating point that depend on who comes first: not in this library. */
float atomicAdd(float *, float) = delete;
double atomicAdd(double *, double) = delete;

inline void __threadfence()
{
    emulation::fence();
}

inline void __threadfence_block()
{
    __asm__ volatile("" ::: "memory"); /* for the compiler: a grid runs on one host thread */
}

inline void __threadfence_system()
{
    emulation::fence();
}

inline void __nanosleep(unsigned, emulation::Place place = emulation::Place())
{
    emulation::sleep(place);
}

[[noreturn]] inline void emulation_trap(emulation::Place place = emulation::Place())
{
    emulation::stop(place, "__trap()");
}
#define __trap() emulation_trap()

#endif
