/*
 * An operation against a yardstick.
 *
 * Each round runs the yardstick, the rival if there is one, and the operation, one after the other on the same
 * buffers, and gives one ratio of times.  What slows the machine for longer than a round slows both sides of the ratio.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void bench_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fputs(isatty(STDERR_FILENO) ? "\r\033[Kbench: " : "bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* ---- yardsticks ---- */

/* Keeps the sums from being optimised away. */
static volatile uint64_t sink;

/*
 * Integer sums, which a compiler may reorder, on eight accumulators: enough loads in flight to be limited by memory.
 * Compiled for each instruction set where the compiler can pick one at run time.
 */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("default", "avx2", "avx512f")))
#endif
static uint64_t sum_words(const uint64_t *words, size_t count)
{
    uint64_t lanes[64] = {0};
    size_t i = 0;
    for (; i + 64 <= count; i += 64)
        for (size_t lane = 0; lane < 64; lane++)
            lanes[lane] += words[i + lane];
    for (; i < count; i++)
        lanes[0] += words[i];
    for (size_t lane = 1; lane < 64; lane++)
        lanes[0] += lanes[lane];
    return lanes[0];
}

/* Thread i of n works on bytes [*begin, *end), whole cache lines. */
static void share(size_t bytes, int i, int n, size_t *begin, size_t *end)
{
    const size_t lines = bytes / 64;
    *begin = lines * (size_t)i / (size_t)n * 64;
    *end = i + 1 == n ? bytes : lines * ((size_t)i + 1) / (size_t)n * 64;
}

static void run_yardstick(const bench_run *run, bench_yardstick yardstick, size_t bytes)
{
    uint64_t sum = 0;
#pragma omp parallel for num_threads(run->threads) schedule(static, 1) reduction(+ : sum)
    for (int i = 0; i < run->threads; i++) {
        size_t begin, end;
        share(bytes, i, run->threads, &begin, &end);
        if (yardstick == BENCH_COPY)
            memcpy(run->b + begin, run->a + begin, end - begin);
        else if (yardstick == BENCH_READ)
            sum += sum_words((const uint64_t *)(run->a + begin), (end - begin) / 8);
        else
            memset(run->b + begin, 1, end - begin);
    }
    sink += sum;
}

/* ---- one operation ---- */

static void call_once(const bench_run *run, const bench_case *what, bench_call *call, void *args)
{
    const poslabel_status status = call(run->context, args);
    if (status != POSLABEL_OK)
        bench_fail("%s %s %s: %s: %s", what->operation, what->size, what->dtype, poslabel_status_name(status),
                   poslabel_context_message(run->context));
}

static double time_calls(const bench_run *run, const bench_case *what, bench_call *call, void *args)
{
    const int calls = what->calls ? what->calls : 1;
    const double start = bench_now();
    for (int i = 0; i < calls; i++)
        call_once(run, what, call, args);
    return (bench_now() - start) / calls;
}

/* One call with poisoned outputs, and a look at what it wrote.  Returns its seconds. */
static double verify(const bench_run *run, const bench_case *what)
{
    if (what->in_place)
        run_yardstick(run, BENCH_COPY, what->written);
    else
        for (int i = 0; i < BENCH_MAX_OUTPUTS && what->outputs[i].data; i++)
            bench_poison(&what->outputs[i]);
    const double start = bench_now();
    call_once(run, what, what->call, what->args);
    const double seconds = bench_now() - start;
    for (int i = 0; i < BENCH_MAX_OUTPUTS && what->outputs[i].data; i++) {
        char why[128];
        if (!bench_check(run, &what->outputs[i], !what->in_place, why, sizeof why))
            bench_fail("%s %s %s: output %d: %s", what->operation, what->size, what->dtype, i, why);
    }
    if (what->in_place && what->outputs[0].data && !memcmp(run->a, run->b, what->written))
        bench_fail("%s %s %s: nothing was written", what->operation, what->size, what->dtype);
    return seconds;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bench_spread bench_spread_of(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    const int half = count / 2;
    const double median = count % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
    return (bench_spread){values[0], values[count / 4], median, values[count - 1 - count / 4], values[count - 1]};
}

bool bench_wanted(bench_run *run, const char *operation, const char *size, const char *dtype)
{
    char name[160];
    snprintf(name, sizeof name, "%s %s %s", operation, size, dtype);
    if (run->only && !strstr(name, run->only))
        return false;
    if (run->counting) {
        run->cases++;
        return false;
    }
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K[%d/%d] %s", run->done + 1, run->cases, name);
        fflush(stderr);
    }
    return true;
}

/* How often a thread of ours has lost its core to another process: rounds in which that happened tell little. */
static long preemptions(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : usage.ru_nivcsw;
}

enum { MAX_ROUNDS = 4001 };

typedef struct round_log {
    double seconds[MAX_ROUNDS], yards[MAX_ROUNDS], ratios[MAX_ROUNDS], rivals[MAX_ROUNDS];
    bool disturbed[MAX_ROUNDS];
    int count, undisturbed;
} round_log;

static void take_round(const bench_run *run, const bench_case *what, round_log *rounds, bool rival_first)
{
    const long before = preemptions();
    double yard = 0, rival = 0;
    if (what->yardstick != BENCH_NONE) {
        const size_t traffic = what->read + what->written;
        yard = bench_now();
        run_yardstick(run, what->yardstick, what->yardstick == BENCH_COPY ? traffic / 2 : traffic);
        yard = bench_now() - yard;
    }
    if (what->rival && rival_first)
        rival = time_calls(run, what, what->rival, what->rival_args);
    const double time = time_calls(run, what, what->call, what->args);
    if (what->rival && !rival_first)
        rival = time_calls(run, what, what->rival, what->rival_args);
    const int i = rounds->count++;
    rounds->seconds[i] = time;
    rounds->yards[i] = yard;
    rounds->ratios[i] = yard / time;
    rounds->rivals[i] = rival > 0 ? time / rival : 0;
    rounds->disturbed[i] = preemptions() != before;
    rounds->undisturbed += !rounds->disturbed[i];
}

/* Leaves out the disturbed rounds, unless hardly any others are there.  Returns how many were left out. */
static int drop_disturbed(round_log *rounds, int enough)
{
    const int all = rounds->count;
    if (rounds->undisturbed < enough)
        return 0;
    rounds->count = 0;
    for (int i = 0; i < all; i++)
        if (!rounds->disturbed[i]) {
            const int to = rounds->count++;
            rounds->seconds[to] = rounds->seconds[i];
            rounds->yards[to] = rounds->yards[i];
            rounds->ratios[to] = rounds->ratios[i];
            rounds->rivals[to] = rounds->rivals[i];
        }
    return all - rounds->count;
}

void bench_measure(bench_run *run, const bench_case *what)
{
    const double budget = run->quick ? 0.03 : 1.2;
    const int enough = run->quick ? 3 : 11;

    bench_result *const result = &run->results[run->result_count++];
    *result = (bench_result){.read = what->read,
                             .written = what->written,
                             .yardstick = what->yardstick,
                             .target = what->target,
                             .rival_target = what->rival_target,
                             .items = what->items,
                             .calls = what->calls ? what->calls : 1};
    snprintf(result->operation, sizeof result->operation, "%s", what->operation);
    snprintf(result->size, sizeof result->size, "%s", what->size);
    snprintf(result->dtype, sizeof result->dtype, "%s", what->dtype);
    snprintf(result->rival_name, sizeof result->rival_name, "%s", what->rival ? what->rival_name : "");
    result->first = verify(run, what);

    round_log *const rounds = calloc(1, sizeof *rounds);
    if (!rounds)
        bench_fail("no memory");
    take_round(run, what, rounds, false); /* warms up, and is thrown away */
    rounds->count = rounds->undisturbed = 0;
    const double start = bench_now();
    for (double elapsed = 0; rounds->count < MAX_ROUNDS; elapsed = bench_now() - start) {
        if (elapsed > budget && (rounds->undisturbed >= enough || elapsed > 2 * budget) && rounds->count >= 3)
            break;
        take_round(run, what, rounds, rounds->count % 2);
    }
    result->disturbed = drop_disturbed(rounds, enough);
    result->rounds = rounds->count;
    result->seconds = bench_spread_of(rounds->seconds, rounds->count);
    result->ratio = bench_spread_of(rounds->ratios, rounds->count);
    result->rival = bench_spread_of(rounds->rivals, rounds->count);
    result->yardstick_seconds = bench_spread_of(rounds->yards, rounds->count);
    result->best_ratio = result->yardstick_seconds.min / result->seconds.min;
    free(rounds);
    run->done++;
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    bench_print_result(result);
    if (run->pause > 0)
        usleep((useconds_t)(run->pause * 1e6));
}
