/*
 * Bits, conversions, and the overloads of min and max.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_LANGUAGE_BITS_H
#define EMULATION_LANGUAGE_BITS_H

#include "machine.h"

#include <cstring>

namespace emulation
{
template <typename To, typename From> inline To same_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
} // namespace emulation

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}

inline int __clz(int x)
{
    return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}

inline int __clzll(long long x)
{
    return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}

inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

inline int __ffsll(long long x)
{
    return __builtin_ffsll(x);
}

inline unsigned __brev(unsigned x)
{
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; bit++)
        reversed |= (x >> bit & 1) << (31 - bit);
    return reversed;
}

inline unsigned long long __brevll(unsigned long long x)
{
    return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 |
           __brev(static_cast<unsigned>(x >> 32));
}

inline unsigned __umulhi(unsigned a, unsigned b)
{
    return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}

inline int __mulhi(int a, int b)
{
    return static_cast<int>(static_cast<long long>(a) * b >> 32);
}

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    __extension__ typedef unsigned __int128 wide;
    return static_cast<unsigned long long>(static_cast<wide>(a) * b >> 64);
}

inline long long __mul64hi(long long a, long long b)
{
    __extension__ typedef __int128 wide;
    return static_cast<long long>(static_cast<wide>(a) * b >> 64);
}

inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector)
{
    const unsigned long long bytes = static_cast<unsigned long long>(high) << 32 | low;
    unsigned result = 0;
    for (int i = 0; i < 4; i++)
        result |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7) & 0xFF) << 8 * i;
    return result;
}

inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) << (shift & 31) >> 32);
}

inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> (shift & 31));
}

#define EMULATION_SAME_BITS(name, to, from)                                                                            \
    inline to name(from x)                                                                                             \
    {                                                                                                                  \
        return emulation::same_bits<to>(x);                                                                            \
    }
EMULATION_SAME_BITS(__float_as_int, int, float)
EMULATION_SAME_BITS(__float_as_uint, unsigned, float)
EMULATION_SAME_BITS(__int_as_float, float, int)
EMULATION_SAME_BITS(__uint_as_float, float, unsigned)
EMULATION_SAME_BITS(__double_as_longlong, long long, double)
EMULATION_SAME_BITS(__longlong_as_double, double, long long)
#undef EMULATION_SAME_BITS

/* Of two types, the result has the one that C's usual conversions give, unsigned winning over signed. */
#define EMULATION_MIN_MAX(result, a, b)                                                                                \
    inline result min(a x, b y)                                                                                        \
    {                                                                                                                  \
        return static_cast<result>(x) < static_cast<result>(y) ? static_cast<result>(x) : static_cast<result>(y);      \
    }                                                                                                                  \
    inline result max(a x, b y)                                                                                        \
    {                                                                                                                  \
        return static_cast<result>(x) > static_cast<result>(y) ? static_cast<result>(x) : static_cast<result>(y);      \
    }
#define EMULATION_MIN_MAX_UNSIGNED(type)                                                                               \
    EMULATION_MIN_MAX(type, type, type)                                                                                \
    EMULATION_MIN_MAX(unsigned type, unsigned type, unsigned type)                                                     \
    EMULATION_MIN_MAX(unsigned type, unsigned type, type)                                                              \
    EMULATION_MIN_MAX(unsigned type, type, unsigned type)
EMULATION_MIN_MAX_UNSIGNED(int)
EMULATION_MIN_MAX_UNSIGNED(long)
EMULATION_MIN_MAX_UNSIGNED(long long)
#undef EMULATION_MIN_MAX_UNSIGNED
#undef EMULATION_MIN_MAX

#endif
