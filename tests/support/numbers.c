/*
 * Dtypes, half precision and test data.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

const poslabel_dtype dtype_f16 = POSLABEL_FLOAT16, dtype_bf16 = POSLABEL_BFLOAT16, dtype_f32 = POSLABEL_FLOAT32,
                     dtype_f64 = POSLABEL_FLOAT64, dtype_i32 = POSLABEL_INT32, dtype_i64 = POSLABEL_INT64,
                     dtype_u8 = POSLABEL_UINT8, dtype_bool = POSLABEL_BOOL;

bool dtype_is(poslabel_dtype a, poslabel_dtype b)
{
    return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

size_t dtype_size(poslabel_dtype dtype)
{
    return dtype.bits / 8u;
}

const char *dtype_name(poslabel_dtype dtype)
{
    static const char *const floats[] = {"f16", "f32", "f64"};
    switch (dtype.code) {
    case POSLABEL_CODE_FLOAT:
        return floats[dtype.bits / 32];
    case POSLABEL_CODE_BFLOAT:
        return "bf16";
    case POSLABEL_CODE_INT:
        return dtype.bits == 32 ? "i32" : "i64";
    case POSLABEL_CODE_UINT:
        return "u8";
    default:
        return "bool";
    }
}

double dtype_epsilon(poslabel_dtype dtype)
{
    if (dtype.code == POSLABEL_CODE_BFLOAT)
        return 0x1p-7;
    if (dtype.code != POSLABEL_CODE_FLOAT)
        return 0;
    return dtype.bits == 16 ? 0x1p-10 : dtype.bits == 32 ? 0x1p-23 : 0x1p-52;
}

/* A binary format of 16 bits: sign, exponent, `fraction` bits; the exponent field of all ones is inf or NaN. */
static double decode(uint16_t bits, int fraction)
{
    const int exponents = 15 - fraction, bias = (1 << (exponents - 1)) - 1;
    const int exponent = bits >> fraction & ((1 << exponents) - 1), digits = bits & ((1 << fraction) - 1);
    double value;
    if (exponent == (1 << exponents) - 1)
        value = digits ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexp(digits, 1 - bias - fraction);
    else
        value = ldexp(digits + (1 << fraction), exponent - bias - fraction);
    return bits >> 15 ? -value : value;
}

static uint16_t encode(double value, int fraction)
{
    const int exponents = 15 - fraction, bias = (1 << (exponents - 1)) - 1, all = (1 << exponents) - 1;
    const uint16_t sign = signbit(value) ? 0x8000u : 0;
    if (isnan(value))
        return (uint16_t)(sign | all << fraction | 1 << (fraction - 1));
    value = fabs(value);
    int exponent = 1 - bias;
    if (value >= ldexp(1, exponent) && isfinite(value))
        exponent = ilogb(value);
    /* in units of the last place; rint() rounds ties to even, and a carry into the exponent is what it should be */
    const double units = rint(ldexp(value, fraction - exponent));
    const double code = units + ldexp(exponent + bias - 1, fraction);
    if (!(code < ldexp(all, fraction)))
        return (uint16_t)(sign | all << fraction);
    return (uint16_t)(sign | (uint16_t)code);
}

/* All 65536 of them, made at the first use. */
static double decoded(uint16_t bits, int fraction)
{
    static double table[2][65536];
    static bool made;
    if (!made) {
        for (int i = 0; i < 65536; i++) {
            table[0][i] = decode((uint16_t)i, 7);
            table[1][i] = decode((uint16_t)i, 10);
        }
        made = true;
    }
    return table[fraction == 10][bits];
}

double from_f16(uint16_t bits)
{
    return decoded(bits, 10);
}

double from_bf16(uint16_t bits)
{
    return decoded(bits, 7);
}

uint16_t to_f16(double value)
{
    return encode(value, 10);
}

uint16_t to_bf16(double value)
{
    return encode(value, 7);
}

/* memcpy, because a test may put elements at any address */
double number_load(const void *data, poslabel_dtype dtype, size_t index)
{
    const char *p = (const char *)data + index * dtype_size(dtype);
    union {
        uint16_t h;
        float f;
        double d;
        int32_t i;
        int64_t l;
        uint8_t b;
    } u;
    memcpy(&u, p, dtype_size(dtype));
    switch (dtype.code) {
    case POSLABEL_CODE_FLOAT:
        return dtype.bits == 16 ? from_f16(u.h) : dtype.bits == 32 ? (double)u.f : u.d;
    case POSLABEL_CODE_BFLOAT:
        return from_bf16(u.h);
    case POSLABEL_CODE_INT:
        return dtype.bits == 32 ? u.i : (double)u.l;
    default:
        return u.b;
    }
}

void number_store(void *data, poslabel_dtype dtype, size_t index, double value)
{
    char *p = (char *)data + index * dtype_size(dtype);
    union {
        uint16_t h;
        float f;
        double d;
        int32_t i;
        int64_t l;
        uint8_t b;
    } u;
    switch (dtype.code) {
    case POSLABEL_CODE_FLOAT:
        if (dtype.bits == 16)
            u.h = to_f16(value);
        else if (dtype.bits == 32)
            u.f = (float)value;
        else
            u.d = value;
        break;
    case POSLABEL_CODE_BFLOAT:
        u.h = to_bf16(value);
        break;
    case POSLABEL_CODE_INT:
        if (dtype.bits == 32)
            u.i = (int32_t)value;
        else
            u.l = (int64_t)value;
        break;
    default:
        u.b = (uint8_t)(int64_t)value;
        break;
    }
    memcpy(p, &u, dtype_size(dtype));
}

double number_round(poslabel_dtype dtype, double value)
{
    double stored;
    number_store(&stored, dtype, 0, value);
    return number_load(&stored, dtype, 0);
}

uint64_t rng_bits(rng *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double rng_unit(rng *r)
{
    return (double)(rng_bits(r) >> 11) * 0x1p-53;
}

int64_t rng_below(rng *r, int64_t n)
{
    return (int64_t)(rng_bits(r) % (uint64_t)n);
}

double rng_between(rng *r, double low, double high)
{
    return low + (high - low) * rng_unit(r);
}

/* The sum of four uniform numbers: near enough to a normal one for test data, and cheap. */
double rng_normal(rng *r)
{
    const uint64_t bits = rng_bits(r);
    const uint64_t sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    return ((double)sum * 0x1p-16 - 2) * 1.7320508075688772;
}
