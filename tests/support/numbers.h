/*
 * numbers.h: dtypes, half precision and test data.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_NUMBERS_H
#define TEST_NUMBERS_H

#include <poslabel.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The dtypes as values. */
extern const poslabel_dtype dtype_f16, dtype_bf16, dtype_f32, dtype_f64, dtype_i32, dtype_i64, dtype_u8, dtype_bool;

bool dtype_is(poslabel_dtype a, poslabel_dtype b);
size_t dtype_size(poslabel_dtype dtype);
const char *dtype_name(poslabel_dtype dtype); /* "f16", ... */

/* The distance from 1 to the next number: 2^-10, 2^-7, 2^-23, 2^-52.  0 for integers. */
double dtype_epsilon(poslabel_dtype dtype);

/*
 * Half precision, written from the formats' definition with ldexp() and rounding of a double, not from the library's
 * bit tricks.  `to` rounds to nearest, ties to even; what is too large becomes infinite.
 */
double from_f16(uint16_t bits);
double from_bf16(uint16_t bits);
uint16_t to_f16(double value);
uint16_t to_bf16(double value);

/* One element of memory of any dtype as a double, and back (rounded once). */
double number_load(const void *data, poslabel_dtype dtype, size_t index);
void number_store(void *data, poslabel_dtype dtype, size_t index, double value);

/* The value that `value` becomes when it is stored as `dtype`. */
double number_round(poslabel_dtype dtype, double value);

/* A small deterministic generator (splitmix64), unrelated to the library's.  Start from any number. */
typedef struct rng {
    uint64_t state;
} rng;

uint64_t rng_bits(rng *r);
double rng_unit(rng *r);                             /* in [0, 1)          */
int64_t rng_below(rng *r, int64_t n);                /* in [0, n)          */
double rng_between(rng *r, double low, double high); /* uniform            */
double rng_normal(rng *r);                           /* mean 0, variance 1, within 3.5 */

#endif
