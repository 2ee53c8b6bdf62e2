/*
 * Expectations that explain themselves when they fail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

static char current_case[512];

void test_case_is(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(current_case, sizeof current_case, format, values);
    va_end(values);
}

void test_fail_at(const char *file, int line, const char *format, ...)
{
    char text[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (*current_case)
        print_error("in the case: %s\n", current_case);
    print_error("%s\n", text);
    _fail(file, line);
    abort(); /* _fail() jumps out of a test; outside of one there is nothing to return to */
}

void expect_ok_at(const char *file, int line, const char *text, poslabel_context *context, poslabel_status status)
{
    if (status == POSLABEL_OK && test_on_cuda())
        status = poslabel_context_synchronize(context);
    if (status != POSLABEL_OK)
        test_fail_at(file, line, "%s gave \"%s\" (%d): %s", text, poslabel_status_name(status), (int)status,
                     poslabel_context_message(context));
}

static bool came_later;

bool error_came_later(void)
{
    return came_later;
}

void expect_error_at(const char *file, int line, const char *text, poslabel_context *context, poslabel_status status,
                     poslabel_status want, ...)
{
    came_later = false; /* then the words are others */
    if (status == POSLABEL_OK && test_on_cuda()) {
        status = poslabel_context_synchronize(context);
        came_later = status != POSLABEL_OK;
    }
    const char *message = poslabel_context_message(context), *word;
    if (status != want)
        test_fail_at(file, line, "%s gave \"%s\" (%d), want \"%s\" (%d); the message is \"%s\"", text,
                     poslabel_status_name(status), (int)status, poslabel_status_name(want), (int)want, message);
    va_list words;
    va_start(words, want);
    while ((word = va_arg(words, const char *)))
        if (!came_later && !strstr(message, word)) {
            va_end(words);
            test_fail_at(file, line, "%s: the message is \"%s\", which lacks \"%s\"", text, message, word);
        }
    va_end(words);
}

void expect_near_at(const char *file, int line, const char *what, const double *got, const double *want, size_t count,
                    double tolerance, double floor)
{
    double largest = floor, worst = 0;
    size_t at = 0, bad = 0;
    for (size_t i = 0; i < count; i++)
        if (isfinite(want[i]) && fabs(want[i]) > largest)
            largest = fabs(want[i]);
    for (size_t i = 0; i < count; i++) {
        double error = fabs(got[i] - want[i]);
        if (got[i] == want[i] || (isnan(got[i]) && isnan(want[i])))
            error = 0;
        else if (!isfinite(error))
            error = INFINITY;
        if (error > tolerance * largest) {
            if (!bad || error > worst)
                at = i, worst = error;
            bad++;
        }
    }
    if (bad)
        test_fail_at(file, line,
                     "%s: %zu of %zu values are off; the worst is [%zu]: got %.17g, want %.17g, error %.3g of the "
                     "largest value %.6g, tolerance %.3g",
                     what, bad, count, at, got[at], want[at], worst / (largest > 0 ? largest : 1), largest, tolerance);
}

void expect_number_at(const char *file, int line, const char *what, double got, double want, double tolerance)
{
    expect_near_at(file, line, what, &got, &want, 1, tolerance, 0);
}

void expect_same_bits_at(const char *file, int line, const char *what, const void *got, const void *want, size_t count,
                         size_t size)
{
    const unsigned char *a = got, *b = want;
    for (size_t i = 0; i < count * size; i++)
        if (a[i] != b[i]) {
            const size_t element = i / size * size;
            char text_a[64] = "", text_b[64] = "";
            for (size_t k = 0; k < size && k < 16; k++) { /* most significant byte first, as one reads a number */
                snprintf(text_a + 2 * k, 3, "%02x", a[element + size - 1 - k]);
                snprintf(text_b + 2 * k, 3, "%02x", b[element + size - 1 - k]);
            }
            test_fail_at(file, line, "%s: element %zu of %zu differs: got 0x%s, want 0x%s", what, i / size, count,
                         text_a, text_b);
        }
}

bool test_is_quick(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
    return true;
#endif
#endif
    const char *quick = getenv("POSLABEL_TEST_QUICK");
    return quick && *quick && *quick != '0';
}
