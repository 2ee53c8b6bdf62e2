/*
 * CUDA's arithmetic that the host's libm lacks.
 *
 * The fast functions are the exact ones here, so that only a GPU shows what their errors do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_LANGUAGE_MATH_H
#define EMULATION_LANGUAGE_MATH_H

#include <cmath>
#include <math.h>

/* A minimum of a NaN and a number is the number, as fminf() has it. */
#define EMULATION_MIN_MAX(type, suffix)                                                                                \
    inline type min(type x, type y)                                                                                    \
    {                                                                                                                  \
        return ::fmin##suffix(x, y);                                                                                   \
    }                                                                                                                  \
    inline type max(type x, type y)                                                                                    \
    {                                                                                                                  \
        return ::fmax##suffix(x, y);                                                                                   \
    }
EMULATION_MIN_MAX(float, f)
EMULATION_MIN_MAX(double, )
#undef EMULATION_MIN_MAX

inline double min(float x, double y)
{
    return ::fmin(static_cast<double>(x), y);
}

inline double min(double x, float y)
{
    return ::fmin(x, static_cast<double>(y));
}

inline double max(float x, double y)
{
    return ::fmax(static_cast<double>(x), y);
}

inline double max(double x, float y)
{
    return ::fmax(x, static_cast<double>(y));
}

/* libm declares some of these names for itself: hence macros. */
#define __expf(x) ::expf(x)
#define __exp10f(x) ::exp10f(x)
#define __logf(x) ::logf(x)
#define __log2f(x) ::log2f(x)
#define __log10f(x) ::log10f(x)
#define __powf(x, y) ::powf(x, y)
#define __sinf(x) ::sinf(x)
#define __cosf(x) ::cosf(x)
#define __tanf(x) ::tanf(x)

inline float rsqrtf(float x)
{
    return 1 / ::sqrtf(x);
}

inline double rsqrt(double x)
{
    return 1 / ::sqrt(x);
}

inline float __fdividef(float x, float y)
{
    return x / y;
}

inline float fdividef(float x, float y)
{
    return x / y;
}

inline float __saturatef(float x)
{
    return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f;
}

/*
 * What is rounded on its own stays so: the volatile keeps the compiler from fusing a product with the sum that follows
 * it, as these names promise.
 */
#define EMULATION_ROUNDED(name, type, operation)                                                                       \
    inline type name(type x, type y)                                                                                   \
    {                                                                                                                  \
        volatile type result = x operation y;                                                                          \
        return result;                                                                                                 \
    }
EMULATION_ROUNDED(__fadd_rn, float, +)
EMULATION_ROUNDED(__fsub_rn, float, -)
EMULATION_ROUNDED(__fmul_rn, float, *)
EMULATION_ROUNDED(__fdiv_rn, float, /)
EMULATION_ROUNDED(__dadd_rn, double, +)
EMULATION_ROUNDED(__dsub_rn, double, -)
EMULATION_ROUNDED(__dmul_rn, double, *)
EMULATION_ROUNDED(__ddiv_rn, double, /)
#undef EMULATION_ROUNDED

inline float __fmaf_rn(float x, float y, float z)
{
    return ::fmaf(x, y, z);
}

inline double __fma_rn(double x, double y, double z)
{
    return ::fma(x, y, z);
}

inline float __frcp_rn(float x)
{
    return 1 / x;
}

inline double __drcp_rn(double x)
{
    return 1 / x;
}

inline float __fsqrt_rn(float x)
{
    return ::sqrtf(x);
}

inline double __dsqrt_rn(double x)
{
    return ::sqrt(x);
}

inline float __frsqrt_rn(float x)
{
    return static_cast<float>(1 / ::sqrt(static_cast<double>(x)));
}

/* Conversions: rounding to the nearest is the host's mode; towards zero is C's. Out of range saturates, NaN is 0. */
namespace emulation
{
template <typename To, typename From> inline To saturate(From x)
{
    constexpr From limit = sizeof(To) == 4
                               ? (To(-1) < To(0) ? From(2147483648.0) : From(4294967296.0))
                               : (To(-1) < To(0) ? From(9223372036854775808.0) : From(18446744073709551616.0));
    constexpr To highest = To(-1) < To(0) ? static_cast<To>(~(1ull << (8 * sizeof(To) - 1))) : To(-1);
    if (std::isnan(x))
        return To(0);
    if (x >= limit)
        return highest;
    if (x <= (To(-1) < To(0) ? -limit : From(0)))
        return To(-1) < To(0) ? static_cast<To>(-highest - 1) : To(0);
    return static_cast<To>(x);
}
} // namespace emulation

#define EMULATION_TO_INTEGER(from, type, name)                                                                         \
    inline type __##from##2##name##_rn(from x)                                                                         \
    {                                                                                                                  \
        return emulation::saturate<type>(std::nearbyint(x));                                                           \
    }                                                                                                                  \
    inline type __##from##2##name##_rz(from x)                                                                         \
    {                                                                                                                  \
        return emulation::saturate<type>(std::trunc(x));                                                               \
    }                                                                                                                  \
    inline type __##from##2##name##_rd(from x)                                                                         \
    {                                                                                                                  \
        return emulation::saturate<type>(std::floor(x));                                                               \
    }                                                                                                                  \
    inline type __##from##2##name##_ru(from x)                                                                         \
    {                                                                                                                  \
        return emulation::saturate<type>(std::ceil(x));                                                                \
    }                                                                                                                  \
    inline from __##name##2##from##_rn(type x)                                                                         \
    {                                                                                                                  \
        return static_cast<from>(x);                                                                                   \
    }
EMULATION_TO_INTEGER(float, int, int)
EMULATION_TO_INTEGER(float, unsigned, uint)
EMULATION_TO_INTEGER(float, long long, ll)
EMULATION_TO_INTEGER(float, unsigned long long, ull)
EMULATION_TO_INTEGER(double, int, int)
EMULATION_TO_INTEGER(double, unsigned, uint)
EMULATION_TO_INTEGER(double, long long, ll)
EMULATION_TO_INTEGER(double, unsigned long long, ull)
#undef EMULATION_TO_INTEGER

inline float __double2float_rn(double x)
{
    return static_cast<float>(x);
}

#endif
