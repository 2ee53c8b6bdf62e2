/*
 * A linear head and its loss, in chunks of rows.
 *
 * A chunk's logits are made by a matrix product, become their own gradient in the row-loss engine, and go into the two
 * products of the backward pass; then the next chunk's take their place.  Only rows that count are put into a chunk: a
 * row that is masked out costs no arithmetic, and what it holds, a NaN for instance, cannot get into a sum.
 *
 * Products are of float32, or float64 for float64.  Features that a CBLAS can read where they are stay there; others
 * (half precision, rows on two levels, rows that are picked) are first copied to the workspace, where the gradient of
 * the features then takes their place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/numbers.h"
#include "cpu/core/parallel.h"
#include "cpu/linear/gemm.h"
#include "cpu/loss/cross_entropy.h"
#include "cpu/operations.h"
#include "linear.h"

#include <poslabel/linear.h>
#include <string.h>

enum { DEFAULT_LIMIT = 64 << 20, DEFAULT_ROWS = 256, MOST_THREADS = 64 };

/* Where things are in the workspace, and what is not there because the caller's memory does. */
typedef struct workspace {
    size_t loss, weight, grad_weight, bias, grad_bias, logits, features, picks; /* offsets */
    size_t size;
} workspace;

typedef struct linear_run {
    const plb_call *call;
    const plb_linear_job *job;
    plb_cross_entropy_plan plan;
    plb_cross_entropy cross_entropy;
    plb_dtype dtype; /* of the arithmetic */
    size_t element;
    int64_t classes, channels, logits_stride, copy_stride;
    int64_t chunk; /* the most rows of one */
    int threads;   /* of the engine */
    bool has_gradient, may_pick, copies;
    /* 0: not as they are */
    int64_t features_stride, weight_stride, grad_features_stride, grad_weight_stride;
    char *memory;
    workspace at;

    /* the chunk: rows [begin, end) of the arguments, `count` of which count */
    int64_t begin, end, count;
    const int64_t *picks; /* which; NULL: all */
    bool picked;          /* they do not follow one another */
    char *features;       /* of the chunk: the caller's, or copied */
    int64_t stride;
} linear_run;

/* The stride by which a CBLAS can take rows as they are; 0 if it cannot. */
static int64_t blas_stride(const plb_rows *rows, plb_dtype dtype)
{
    if (!rows->data || rows->dtype != dtype || rows->inner != rows->count)
        return 0;
    if (rows->count <= 1)
        return rows->length;
    return rows->inner_stride >= rows->length && rows->inner_stride <= INT32_MAX ? rows->inner_stride : 0;
}

static size_t claim(workspace *at, size_t count, size_t size)
{
    const size_t offset = at->size;
    at->size = plb_size_add(at->size, plb_size_add(plb_size_mul(count, size), 63) / 64 * 64);
    return offset;
}

static workspace lay_out(const linear_run *run, int64_t chunk)
{
    const plb_linear_job *job = run->job;
    const size_t matrix = plb_size_mul((size_t)run->classes, (size_t)run->copy_stride);
    const size_t classes = (size_t)run->classes, rows = (size_t)chunk;
    workspace at = {.size = 0};
    at.loss = claim(&at, plb_cross_entropy_memory(&run->plan, run->threads), 1);
    at.weight = claim(&at, run->weight_stride ? 0 : matrix, run->element);
    at.grad_weight = claim(&at, job->grad_weight.data && !run->grad_weight_stride ? matrix : 0, run->element);
    at.bias = claim(&at, job->bias.data ? classes : 0, run->element);
    at.grad_bias = claim(&at, job->grad_bias.data ? classes : 0, sizeof(double));
    at.logits = claim(&at, plb_size_mul(rows, (size_t)run->logits_stride), run->element);
    at.features = claim(&at, run->copies ? plb_size_mul(rows, (size_t)run->copy_stride) : 0, run->element);
    at.picks = claim(&at, run->may_pick ? rows : 0, sizeof(int64_t));
    return at;
}

/* The most rows, at least 1, whose chunk fits; or 1 if none does. */
static int64_t rows_that_fit(const linear_run *run, size_t limit)
{
    int64_t fits = 1, beyond = (run->job->reduction.rows < INT32_MAX ? run->job->reduction.rows : INT32_MAX - 1) + 1;
    while (beyond - fits > 1) {
        const int64_t middle = fits + (beyond - fits) / 2;
        if (lay_out(run, middle).size <= limit)
            fits = middle;
        else
            beyond = middle;
    }
    return fits;
}

/*
 * How many rows a chunk has, which decides how sums are grouped, so that it must not depend on the number of threads:
 * what these need beyond the first is set aside.
 */
static poslabel_status choose_chunk(linear_run *run)
{
    const uint64_t given = run->job->workspace_limit;
    const size_t limit = !given ? DEFAULT_LIMIT : given < SIZE_MAX ? (size_t)given : SIZE_MAX - 1;
    const int64_t rows = run->job->reduction.rows;
    const size_t scratch = plb_cross_entropy_memory(&run->plan, 2) - plb_cross_entropy_memory(&run->plan, 1);
    run->threads = 1;
    const size_t least = lay_out(run, 1).size;
    if (given && least > limit)
        return plb_fail(run->call, POSLABEL_ERROR_INVALID,
                        "workspace_limit = %llu, must be at least %zu: one row at a time needs that much",
                        (unsigned long long)given, least);
    const size_t more_threads = limit > least ? (limit - least) / 4 / scratch : 0;
    run->threads += more_threads < MOST_THREADS - 1 ? (int)more_threads : MOST_THREADS - 1;

    int64_t most = rows_that_fit(run, limit);
    if (!given && most < DEFAULT_ROWS)
        most = rows < 1 ? 1 : rows < DEFAULT_ROWS ? rows : DEFAULT_ROWS;
    run->chunk = most;
    if (rows > most) {
        /* even chunks, and whole batches of the engine where that is possible */
        const int64_t chunks = (rows + most - 1) / most, even = (rows + chunks - 1) / chunks;
        const int64_t whole = (even + PLB_ROW_BATCH - 1) / PLB_ROW_BATCH * PLB_ROW_BATCH;
        run->chunk = whole <= most ? whole : even;
    }
    const int useful = plb_cross_entropy_threads(run->call, &run->plan, rows ? run->chunk : 0);
    run->threads = useful < run->threads ? useful : run->threads;
    if (rows)
        run->at = lay_out(run, run->chunk);
    return POSLABEL_OK;
}

/* to[0 .. n) = from[0 .. n), in the dtype of the arithmetic. */
static void widen(const linear_run *run, void *to, const void *from, plb_dtype dtype, int64_t n)
{
    float *const f = to;
    const uint16_t *const half = from;
    if (dtype == run->dtype)
        memcpy(to, from, (size_t)n * run->element);
    else if (dtype == PLB_F16)
        for (int64_t i = 0; i < n; i++)
            f[i] = plb_from_f16(half[i]);
    else
        for (int64_t i = 0; i < n; i++)
            f[i] = plb_from_bf16(half[i]);
}

/* The way back; what is there is added to first if `add`. */
static void narrow(const linear_run *run, void *to, plb_dtype dtype, const void *from, int64_t n, bool add)
{
    const float *const f = from;
    const double *const d = from;
    uint16_t *const half = to;
    if (!add && dtype == run->dtype)
        memcpy(to, from, (size_t)n * run->element);
    else if (dtype == PLB_F16)
        for (int64_t i = 0; i < n; i++)
            half[i] = plb_to_f16(add ? plb_from_f16(half[i]) + f[i] : f[i]);
    else if (dtype == PLB_BF16)
        for (int64_t i = 0; i < n; i++)
            half[i] = plb_to_bf16(add ? plb_from_bf16(half[i]) + f[i] : f[i]);
    else if (dtype == PLB_F32)
        for (int64_t i = 0; i < n; i++)
            ((float *)to)[i] += f[i];
    else
        for (int64_t i = 0; i < n; i++)
            ((double *)to)[i] += d[i];
}

static void widen_weight(void *argument, int thread, int threads)
{
    const linear_run *run = argument;
    int64_t begin, end;
    plb_share(run->classes, thread, threads, &begin, &end);
    for (int64_t c = begin; c < end; c++)
        widen(run, run->memory + run->at.weight + (size_t)(c * run->copy_stride) * run->element,
              plb_row(&run->job->weight, c), run->job->weight.dtype, run->channels);
}

static void narrow_grad_weight(void *argument, int thread, int threads)
{
    const linear_run *run = argument;
    const plb_rows *const grad = &run->job->grad_weight;
    int64_t begin, end;
    plb_share(run->classes, thread, threads, &begin, &end);
    for (int64_t c = begin; c < end; c++)
        narrow(run, plb_row(grad, c), grad->dtype,
               run->memory + run->at.grad_weight + (size_t)(c * run->copy_stride) * run->element, run->channels,
               run->job->accumulate);
}

static int64_t row_of(const linear_run *run, int64_t k)
{
    return run->picks ? run->picks[k] : run->begin + k;
}

static void copy_features(void *argument, int thread, int threads)
{
    const linear_run *run = argument;
    const plb_rows *const features = &run->job->features;
    int64_t begin, end;
    plb_share(run->count, thread, threads, &begin, &end);
    for (int64_t k = begin; k < end; k++)
        widen(run, run->memory + run->at.features + (size_t)(k * run->copy_stride) * run->element,
              plb_row(features, row_of(run, k)), features->dtype, run->channels);
}

/* The gradients of the chunk's rows go to the caller, who gets zeros for those that do not count. */
static void store_grad_features(void *argument, int thread, int threads)
{
    const linear_run *run = argument;
    const plb_rows *const grad = &run->job->grad_features;
    const bool is_there = run->grad_features_stride && !run->picked;
    const size_t bytes = (size_t)run->channels * plb_dtype_size[grad->dtype];
    int64_t begin, end;
    plb_share(run->count + 1, thread, threads, &begin, &end);
    for (int64_t k = begin; k < end; k++) {
        const int64_t row = k < run->count ? row_of(run, k) : run->end;
        for (int64_t r = k ? row_of(run, k - 1) + 1 : run->begin; r < row; r++)
            memset(plb_row(grad, r), 0, bytes);
        if (k < run->count && !is_there)
            narrow(run, plb_row(grad, row), grad->dtype,
                   run->memory + run->at.features + (size_t)(k * run->copy_stride) * run->element, run->channels,
                   false);
    }
}

enum { COLUMNS = 64 };

/* grad_bias += the sums of the columns of the chunk's gradient. */
static void sum_columns(void *argument, int thread, int threads)
{
    const linear_run *run = argument;
    double *const sums = (double *)(void *)(run->memory + run->at.grad_bias);
    int64_t begin, end;
    plb_share((run->classes + COLUMNS - 1) / COLUMNS, thread, threads, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * COLUMNS, n = run->classes - first < COLUMNS ? run->classes - first : COLUMNS;
        for (int64_t k = 0; k < run->count; k++) {
            const int64_t at = k * run->logits_stride + first;
            if (run->dtype == PLB_F32)
                for (int64_t c = 0; c < n; c++)
                    sums[first + c] += ((const float *)(const void *)(run->memory + run->at.logits))[at + c];
            else
                for (int64_t c = 0; c < n; c++)
                    sums[first + c] += ((const double *)(const void *)(run->memory + run->at.logits))[at + c];
        }
    }
}

static void store_grad_bias(const linear_run *run)
{
    const plb_rows *const grad = &run->job->grad_bias;
    const double *const sums = (const double *)(const void *)(run->memory + run->at.grad_bias);
    for (int64_t c = 0; c < run->classes; c++) {
        char *const to = grad->data + c * plb_dtype_size[grad->dtype];
        const double sum = run->job->accumulate ? plb_load_number(to, grad->dtype) + sums[c] : sums[c];
        const bool is_half = grad->dtype == PLB_F16 || grad->dtype == PLB_BF16;
        plb_store_number(to, grad->dtype, is_half ? plb_round_odd(sum) : sum);
    }
}

static bool counts(const linear_run *run, int64_t r)
{
    const plb_row_list row = {r, NULL};
    double weight;
    plb_reduction_weigh(&run->cross_entropy.reduction, &row, 1, &weight);
    return weight != 0;
}

/* Takes up to a chunk of rows that count, from row `begin` on. */
static void pick_rows(linear_run *run, int64_t begin)
{
    const plb_rows *const loss = &run->job->reduction.loss;
    int64_t r = begin, count = 0;
    run->begin = begin;
    run->picks = NULL;
    run->picked = false;
    if (run->may_pick) {
        int64_t *const picks = (int64_t *)(void *)(run->memory + run->at.picks);
        for (; r < run->job->reduction.rows && count < run->chunk; r++)
            if (counts(run, r))
                picks[count++] = r;
            else if (loss->data && run->job->reduction.kind == POSLABEL_REDUCTION_NONE)
                plb_store_number(plb_row(loss, r), loss->dtype, 0);
        run->picks = picks;
        run->picked = count && picks[count - 1] - picks[0] != count - 1;
    } else {
        r = run->job->reduction.rows - begin < run->chunk ? run->job->reduction.rows : begin + run->chunk;
        count = r - begin;
    }
    run->end = r;
    run->count = count;
}

/* One chunk; the first of all begins at row 0 of the engine. */
static void do_chunk(linear_run *run, int64_t done)
{
    const plb_linear_job *job = run->job;
    poslabel_context *const context = run->call->context;
    char *const logits = run->memory + run->at.logits;
    const plb_gemm common = {.dtype = run->dtype};
    const size_t copy_bytes = 2 * (size_t)run->count * (size_t)run->channels * run->element;

    run->features = job->features.data;
    run->stride = run->features_stride;
    if (run->stride && !run->picked) {
        run->features += (size_t)(row_of(run, 0) * run->stride) * run->element;
    } else {
        run->features = run->memory + run->at.features;
        run->stride = run->copy_stride;
        plb_parallel(context, copy_bytes, copy_features, run);
    }

    plb_gemm forward = common;
    forward.rows = run->count;
    forward.columns = run->classes;
    forward.depth = run->channels;
    forward.a = run->features;
    forward.a_stride = run->stride;
    forward.b = run->weight_stride ? job->weight.data : run->memory + run->at.weight;
    forward.b_stride = run->weight_stride ? run->weight_stride : run->copy_stride;
    forward.transpose_b = true;
    forward.c = logits;
    forward.c_stride = run->logits_stride;
    forward.start = job->bias.data ? run->memory + run->at.bias : NULL;
    plb_multiply(context, &forward);

    const plb_rows rows = {
        .data = logits,
        .dtype = run->dtype,
        .count = run->count,
        .inner = run->count,
        .inner_stride = run->logits_stride,
        .length = run->classes,
    };
    const plb_rows none = {.data = NULL};
    plb_cross_entropy_pass(&run->cross_entropy, &rows, run->has_gradient ? &rows : &none, done, run->count, run->picks);
    if (job->grad_bias.data)
        plb_parallel(context, (size_t)run->count * (size_t)run->classes * run->element, sum_columns, run);

    if (job->grad_weight.data) {
        plb_gemm product = common;
        product.rows = run->classes;
        product.columns = run->channels;
        product.depth = run->count;
        product.a = logits;
        product.a_stride = run->logits_stride;
        product.transpose_a = true;
        product.b = run->features;
        product.b_stride = run->stride;
        product.c = run->grad_weight_stride ? job->grad_weight.data : run->memory + run->at.grad_weight;
        product.c_stride = run->grad_weight_stride ? run->grad_weight_stride : run->copy_stride;
        product.add = done > 0 || (run->grad_weight_stride && job->accumulate);
        plb_multiply(context, &product);
    }
    if (job->grad_features.data) { /* last: it may take the place of the features */
        const bool direct = run->grad_features_stride && !run->picked;
        plb_gemm product = common;
        product.rows = run->count;
        product.columns = run->channels;
        product.depth = run->classes;
        product.a = logits;
        product.a_stride = run->logits_stride;
        product.b = forward.b;
        product.b_stride = forward.b_stride;
        product.c = direct
                        ? job->grad_features.data + (size_t)(row_of(run, 0) * run->grad_features_stride) * run->element
                        : run->memory + run->at.features;
        product.c_stride = direct ? run->grad_features_stride : run->copy_stride;
        plb_multiply(context, &product);
    }
}

/* Without any row that counts, the gradients of weight and bias are zeros, or what they were. */
static void zero_gradients(const linear_run *run)
{
    const plb_rows *const weight = &run->job->grad_weight, *const bias = &run->job->grad_bias;
    if (run->job->accumulate)
        return;
    for (int64_t c = 0; weight->data && c < run->classes; c++)
        memset(plb_row(weight, c), 0, (size_t)run->channels * plb_dtype_size[weight->dtype]);
    if (bias->data)
        memset(bias->data, 0, (size_t)run->classes * plb_dtype_size[bias->dtype]);
}

static void do_chunks(linear_run *run)
{
    const plb_linear_job *job = run->job;
    poslabel_context *const context = run->call->context;
    const int64_t rows = run->job->reduction.rows;
    const size_t matrix_bytes = 2 * (size_t)run->classes * (size_t)run->channels * run->element;
    if (rows && !run->weight_stride)
        plb_parallel(context, matrix_bytes, widen_weight, run);
    if (rows && job->bias.data)
        widen(run, run->memory + run->at.bias, job->bias.data, job->bias.dtype, run->classes);
    if (rows && job->grad_bias.data)
        memset(run->memory + run->at.grad_bias, 0, (size_t)run->classes * sizeof(double));

    int64_t done = 0;
    for (int64_t begin = 0; begin < rows; begin = run->end) {
        if (run->cross_entropy.reduction.no_row_counts) {
            run->begin = 0;
            run->end = rows;
            run->count = 0;
        } else {
            pick_rows(run, begin);
        }
        if (run->count)
            do_chunk(run, done);
        done += run->count;
        if (job->grad_features.data)
            plb_parallel(context, (size_t)(run->end - run->begin) * (size_t)run->channels * run->element,
                         store_grad_features, run);
    }
    if (done == 0) {
        zero_gradients(run);
        return;
    }
    if (job->grad_weight.data && !run->grad_weight_stride)
        plb_parallel(context, matrix_bytes, narrow_grad_weight, run);
    if (job->grad_bias.data)
        store_grad_bias(run);
}

poslabel_status plb_cpu_linear_loss(const plb_call *call, const plb_linear_job *job)
{
    if (plb_gemm_missing)
        return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED, "%s", plb_gemm_missing);
    linear_run run = {
        .call = call,
        .job = job,
        .dtype = job->features.dtype == PLB_F64 ? PLB_F64 : PLB_F32,
        .classes = job->targets.classes,
        .channels = job->channels,
        .has_gradient = job->grad_features.data || job->grad_weight.data || job->grad_bias.data,
        .may_pick = job->reduction.mask.data || job->reduction.weights.data || job->targets.has_ignore_index,
    };
    run.element = plb_dtype_size[run.dtype];
    run.logits_stride = (run.classes + 15) / 16 * 16;
    run.copy_stride = (run.channels + 15) / 16 * 16;
    run.features_stride = blas_stride(&job->features, run.dtype);
    run.weight_stride = blas_stride(&job->weight, run.dtype);
    run.grad_features_stride = blas_stride(&job->grad_features, run.dtype);
    run.grad_weight_stride = blas_stride(&job->grad_weight, run.dtype);
    run.copies = run.may_pick || !run.features_stride || (job->grad_features.data && !run.grad_features_stride);
    run.plan = (plb_cross_entropy_plan){
        .targets = &job->targets,
        .reduction = &job->reduction,
        .dtype = run.dtype,
        .has_gradient = run.has_gradient,
        .in_place = run.has_gradient,
    };
    PLB_TRY(choose_chunk(&run));
    void *memory;
    PLB_TRY(plb_workspace(call, run.at.size, &memory));
    run.memory = memory;
    PLB_TRY(plb_cross_entropy_begin(&run.cross_entropy, call, &run.plan, run.threads, run.memory + run.at.loss));

    const int before = plb_parallel_alone();
    do_chunks(&run);
    plb_parallel_restore(before);
    plb_cross_entropy_end(&run.cross_entropy);
    return POSLABEL_OK;
}
