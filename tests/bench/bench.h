/*
 * What the parts of the benchmark share.
 *
 *   buffers.c   memory: the two arenas that all large tensors lie in, random data, checks of outputs
 *   measure.c   time: the yardsticks, and an operation against them
 *   machine.c   facts about the machine
 *   report.c    the table and the JSON
 *
 * and the suites, which say what is measured at which sizes: bandwidth.c, latency.c, loss.c, axis.c, linear.c,
 * regression.c, scale.c, tokens.c, decoder.c, pairs.c, masks.c and labels.c.  The benchmark of the CUDA backend has suites
 * and a clock of its own: cuda.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BENCH_H
#define BENCH_H

#include <poslabel.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum bench_dtype { BENCH_F32, BENCH_F16, BENCH_BF16, BENCH_I64, BENCH_U8 } bench_dtype;

/* What an operation is compared with, on as many threads as it. */
typedef enum bench_yardstick {
    BENCH_NONE,
    BENCH_COPY, /* memcpy that moves as many bytes, read and written together */
    BENCH_READ, /* a sum over as many bytes                                   */
    BENCH_FILL  /* memset of as many bytes                                    */
} bench_yardstick;

/* A goal that is printed beside the measurement. */
typedef enum bench_target_kind {
    BENCH_NO_TARGET,
    BENCH_RATIO_AT_LEAST, /* time of the yardstick / time of the operation */
    BENCH_RIVAL_AT_MOST,  /* time of the operation / time of the rival     */
    BENCH_MICROSECONDS_AT_MOST,
    BENCH_MICROSECONDS_ABOVE_IDEAL_AT_MOST, /* result.figure */
    BENCH_SPREAD_AT_MOST /* of one quantity over several sizes, largest / smallest - 1: result.figure */
} bench_target_kind;

typedef struct bench_target {
    bench_target_kind kind;
    double value;
} bench_target;

typedef poslabel_status bench_call(poslabel_context *context, void *args);

/* A tensor with room for its shape.  Stays where it is: tensor.shape points into it. */
typedef struct bench_tensor {
    poslabel_tensor tensor;
    int64_t shape[3], strides[3];
    size_t bytes;
} bench_tensor;

/* An output, for the checks: every byte of it is poisoned, and after one call none may be left. */
typedef struct bench_output {
    void *data;
    bench_dtype dtype;
    size_t count;
    size_t row; /* > 0: rows of so many elements must each sum to about 0, as gradients of a softmax do */
} bench_output;

enum { BENCH_MAX_OUTPUTS = 6 };

/* One measurement. */
typedef struct bench_case {
    const char *operation, *size, *dtype;
    bench_call *call;
    void *args;
    size_t read, written; /* bytes that the operation must move: each input once, each output once */
    bench_yardstick yardstick;
    bool in_place;          /* works on arena b; the yardstick, a copy, restores it */
    bench_call *rival;      /* another operation to compare with, or NULL */
    void *rival_args;
    const char *rival_name; /* whose time is compared with: "the three products" */
    int64_t items;          /* images in a call, for the time of each; or 0 */
    int calls;              /* in one sample of the clock; 0: 1 */
    bench_target target, rival_target;
    bench_output outputs[BENCH_MAX_OUTPUTS];
} bench_case;

typedef struct bench_spread {
    double min, q1, median, q3, max;
} bench_spread;

typedef struct bench_result {
    char operation[64], size[72], dtype[16], rival_name[24];
    size_t read, written;
    bench_yardstick yardstick;
    bench_target target, rival_target;
    int64_t items;
    int rounds, calls;
    int disturbed; /* rounds left out, because another process took a core */
    double first;                        /* seconds of the first call, which is in none of the numbers below */
    bench_spread seconds, ratio, rival;  /* of one call; yardstick / operation; operation / rival            */
    bench_spread yardstick_seconds;
    double best_ratio; /* fastest yardstick / fastest operation */
    double figure;     /* what some targets are about           */
} bench_result;

/* The whole run. */
typedef struct bench_run {
    poslabel_context *context;
    int threads;
    const char *only; /* NULL: all */
    bool quick, huge_pages, counting;
    double pause;     /* seconds of sleep after each measurement */
    size_t max_bytes; /* traffic of one call, read and written */
    size_t arena_bytes;
    unsigned char *a, *b; /* a: inputs; b: outputs */
    bench_dtype a_dtype;  /* of the random numbers in a */
    bool a_filled;
    int cases, done;
    bench_result *results;
    int result_count;
} bench_run;

/* buffers.c */
void *bench_map(const bench_run *run, size_t bytes); /* touched; never NULL */
void bench_unmap(void *data, size_t bytes);
void bench_open_arenas(bench_run *run);
void bench_close_arenas(bench_run *run);
void *bench_normal(bench_run *run, bench_dtype dtype); /* arena a, filled with N(0, 2) */
uint64_t bench_random(uint64_t *state);
size_t bench_element(bench_dtype dtype);
const char *bench_dtype_name(bench_dtype dtype);
void bench_view(bench_tensor *view, void *data, bench_dtype dtype, int ndim, int64_t n0, int64_t n1, int64_t n2);
void bench_channels_first(bench_tensor *view); /* [B, D, N] seen as [B, N, D] */
void bench_poison(const bench_output *output);
bool bench_check(const bench_run *run, const bench_output *output, bool poisoned, char *why, size_t why_size);

/* measure.c */
bool bench_wanted(bench_run *run, const char *operation, const char *size, const char *dtype);
void bench_measure(bench_run *run, const bench_case *what);
double bench_now(void);
bench_spread bench_spread_of(double *values, int count); /* sorts them */

/* machine.c */
typedef struct bench_machine {
    char cpu[160], system[160], date[32];
    int cores;
    double memory_gib, l2_kib, l3_mib, load;
    char gpu[512]; /* "" when the CPU is measured */
} bench_machine;
void bench_read_machine(bench_machine *machine);

/* report.c */
void bench_print_machine(const bench_run *run, const bench_machine *machine);
void bench_print_header(void);
void bench_print_result(const bench_result *result);
void bench_print_summary(const bench_run *run, double seconds);
bool bench_write_json(const bench_run *run, const bench_machine *machine, const char *command, const char *path);

/* The suites. */
void bench_bandwidth(bench_run *run);
void bench_losses(bench_run *run);
void bench_axis(bench_run *run);
void bench_linear(bench_run *run);
void bench_regression(bench_run *run);
void bench_scale(bench_run *run);
void bench_latency(bench_run *run);
void bench_tokens(bench_run *run);
void bench_decoder(bench_run *run);
void bench_pairs(bench_run *run);
void bench_masks(bench_run *run);
void bench_labels(bench_run *run);

/* Says what went wrong and exits with 1. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
