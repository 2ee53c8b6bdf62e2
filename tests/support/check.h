/*
 * check.h: expectations that explain themselves when they fail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <poslabel.h>
#include <stdbool.h>
#include <stddef.h>

/* Fails the running test with a printf text that is reported with the caller's file and line. */
#define test_fail(...) test_fail_at(__FILE__, __LINE__, __VA_ARGS__)
void test_fail_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4), noreturn));

/*
 * A line that is printed, before the reason, when a test fails: which of many cases was running.  The text stays until
 * the next call; "" removes it.
 */
void test_case_is(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* That `call`, an expression that gives a status, gave POSLABEL_OK; else shows the message of `context`. */
#define expect_ok(context, call) expect_ok_at(__FILE__, __LINE__, #call, (context), (call))
void expect_ok_at(const char *file, int line, const char *text, poslabel_context *context,
                  poslabel_status status);

/*
 * That `call` gave the status `want`, and that the message of `context` contains every one of the words that follow:
 *
 *     expect_error(context, poslabel_droppos_loss(context, &args), POSLABEL_ERROR_INVALID,
 *                  "droppos_loss: ", "sigma = -1");
 */
#define expect_error(context, call, want, ...)                                                                         \
    expect_error_at(__FILE__, __LINE__, #call, (context), (call), (want), __VA_ARGS__, (const char *)NULL)
void expect_error_at(const char *file, int line, const char *text, poslabel_context *context,
                     poslabel_status status, poslabel_status want, ...) __attribute__((sentinel));

/*
 * Whether the error of the last expect_error() was found on the device: then the outputs have been written, and hold what
 * the header says of such values on CUDA.
 */
bool error_came_later(void);

/*
 * That `got` is near `want` everywhere: |got - want| <= tolerance * max |want|, the largest finite value of the array
 * being the measure (and at least `floor`, so that an array of zeros can be compared).  Infinities must be equal, and a
 * NaN answers a NaN only.  `what` names the array in the failure message.
 */
#define expect_near(what, got, want, count, tolerance)                                                                 \
    expect_near_at(__FILE__, __LINE__, (what), (got), (want), (count), (tolerance), 0.0)
#define expect_near_floor(what, got, want, count, tolerance, floor)                                                    \
    expect_near_at(__FILE__, __LINE__, (what), (got), (want), (count), (tolerance), (floor))
void expect_near_at(const char *file, int line, const char *what, const double *got, const double *want, size_t count,
                    double tolerance, double floor);

/* The same for one number. */
#define expect_number(what, got, want, tolerance)                                                                      \
    expect_number_at(__FILE__, __LINE__, (what), (got), (want), (tolerance))
void expect_number_at(const char *file, int line, const char *what, double got, double want, double tolerance);

/* That two pieces of memory hold the same bytes; `size` is that of an element, for the index in the message. */
#define expect_same_bits(what, got, want, count, size)                                                                 \
    expect_same_bits_at(__FILE__, __LINE__, (what), (got), (want), (count), (size))
void expect_same_bits_at(const char *file, int line, const char *what, const void *got, const void *want, size_t count,
                         size_t size);

/*
 * Whether heavy loops should shrink: under valgrind (the test set-up sets POSLABEL_TEST_QUICK) and in sanitizer builds.
 */
bool test_is_quick(void);

#endif
