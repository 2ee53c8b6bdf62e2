/*
 * A head with a hidden layer and its loss, on rows of features or on all pairs of an image's tokens.
 *
 *     u = W1 x + b1,   a = f(u),   z = M a + m,   G = dloss/dz,   da = G M,   du = da f'(u)
 *
 * For a pair W1 x is a sum of two halves, one for each token: u_ij = W1q q_i + (W1k k_j + b1).  Each half is made once
 * a token.  Only the rest is done for each pair, a tile of pairs at a time; du is added up over the partners of a token
 * before it goes back through W1.
 *
 * A block is an image, or some rows.  What a row that does not count holds stays out of every sum: its features and its
 * activation are 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/kernels.h"
#include "cpu/core/parallel.h"
#include "cpu/linear/gemm.h"
#include "cpu/loss/cross_entropy.h"
#include "cpu/mlp/kernels.h"
#include "cpu/mlp/layers.h"
#include "cpu/operations.h"

#include <poslabel/mlp.h>
#include <string.h>

enum { DEFAULT_LIMIT = 64 << 20, TILE_ROWS = 1024, COLUMNS = 64 };

/* What a block has of one side. */
typedef struct side_block {
    plb_matrix features; /* later their gradient */
    plb_matrix hidden;   /* W1 x                 */
    plb_matrix grad;     /* of that, summed over partners */
} side_block;

typedef struct mlp_run {
    const plb_call *call;
    const plb_mlp_job *job;
    plb_cross_entropy_plan plan;
    plb_cross_entropy cross_entropy;
    plb_dtype dtype;
    int64_t element, width; /* of the hidden layer */
    int64_t block_rows;     /* features of a block */
    int64_t tile_rows;      /* of a block's first side */
    int threads;
    bool wants_parameters, wants_hidden; /* gradients of M; of u */
    bool may_skip;                       /* rows may not count */
    plb_layers layers;
    side_block side[2];
    plb_matrix value, slope, logits; /* of a tile */
    uint8_t *counts;                 /* of the rows of a block, if some may not */
    char *loss_memory;

    int64_t block, first, count; /* the block's first row of features and how many; the tile's, in the block */
    int which;                   /* the side that is worked on */
    int64_t begin;
} mlp_run;

static int64_t partners(const mlp_run *run)
{
    return run->job->pairs ? run->job->tokens : 1;
}

/* Cuts up the workspace, or finds its size. */
static size_t lay_out(mlp_run *run, char *memory)
{
    const plb_mlp_job *const job = run->job;
    plb_cut cut = {memory, 0};
    run->loss_memory = plb_cut_bytes(&cut, plb_cross_entropy_memory(&run->plan, run->threads), 1);
    run->layers = plb_layers_cut(job, run->dtype, &cut);
    const int64_t tile = run->tile_rows * partners(run);
    for (int s = 0; s < (job->pairs ? 2 : 1); s++) {
        side_block *const side = &run->side[s];
        side->features = plb_cut_matrix(&cut, run->dtype, run->block_rows, job->side[s].channels);
        side->hidden = side->features;
        if (job->hidden.weight.data)
            side->hidden = plb_cut_matrix(&cut, run->dtype, run->block_rows, run->width);
        if (run->wants_hidden)
            side->grad = plb_cut_matrix(&cut, run->dtype, run->block_rows, run->width);
    }
    run->value = plb_cut_matrix(&cut, run->dtype, tile, run->width);
    if (run->wants_hidden)
        run->slope = plb_cut_matrix(&cut, run->dtype, tile, run->width);
    run->logits = plb_cut_matrix(&cut, run->dtype, tile, job->last.outputs);
    run->counts = run->may_skip ? plb_cut_bytes(&cut, (size_t)run->block_rows, 1) : NULL;
    return cut.size;
}

static void set_tile(mlp_run *run, int64_t rows)
{
    const int64_t all = run->job->pairs ? run->job->tokens : run->job->reduction.rows;
    run->tile_rows = rows < all ? rows : all;
    run->block_rows = run->job->pairs ? run->job->tokens : run->tile_rows;
}

/* Tiles depend on sizes and the limit alone, not on threads: they decide how sums are grouped. */
static poslabel_status choose_tile(mlp_run *run)
{
    const uint64_t given = run->job->workspace_limit;
    const size_t limit = !given ? DEFAULT_LIMIT : given < SIZE_MAX ? (size_t)given : SIZE_MAX - 1;
    int64_t rows = TILE_ROWS / partners(run);
    const int wanted = plb_cross_entropy_threads(run->call, &run->plan, TILE_ROWS);
    run->threads = 1;
    set_tile(run, 1);
    const size_t least = lay_out(run, NULL);
    if (given && least > limit)
        return plb_fail(run->call, POSLABEL_ERROR_INVALID, "workspace_limit = %llu, must be at least %zu",
                        (unsigned long long)given, least);
    for (set_tile(run, rows < 1 ? 1 : rows); run->tile_rows > 1 && lay_out(run, NULL) > limit; set_tile(run, rows))
        rows = run->tile_rows / 2;
    while (run->threads < wanted && (run->threads++, lay_out(run, NULL) <= limit)) {
    }
    if (run->threads > 1 && lay_out(run, NULL) > limit)
        run->threads--;
    return POSLABEL_OK;
}

/* Which rows of the block count. */
static void find_counts(mlp_run *run)
{
    for (int64_t r = 0; run->counts && r < run->count; r++) {
        const plb_row_list row = {run->block + r, NULL};
        double weight;
        plb_reduction_weigh(&run->cross_entropy.reduction, &row, 1, &weight);
        run->counts[r] = weight != 0;
    }
}

static bool counts(const mlp_run *run, int64_t r)
{
    return !run->counts || run->counts[r];
}

static size_t bytes_of(const mlp_run *run, int64_t rows, int64_t columns)
{
    return (size_t)rows * (size_t)columns * (size_t)run->element;
}

static void copy_features(void *argument, int thread, int threads)
{
    const mlp_run *const run = argument;
    int64_t begin, end;
    plb_share(run->count, thread, threads, &begin, &end);
    for (int s = 0; s < (run->job->pairs ? 2 : 1); s++) {
        const plb_side *const side = &run->job->side[s];
        for (int64_t r = begin; r < end; r++)
            if (counts(run, r))
                plb_copy_in(&run->side[s].features, r, &side->features, run->block + r);
            else
                memset(plb_matrix_row(&run->side[s].features, r), 0, bytes_of(run, 1, side->channels));
    }
}

static void store_features(void *argument, int thread, int threads)
{
    const mlp_run *const run = argument;
    int64_t begin, end;
    plb_share(run->count, thread, threads, &begin, &end);
    for (int s = 0; s < (run->job->pairs ? 2 : 1); s++) {
        const plb_rows *const grad = &run->job->side[s].grad;
        for (int64_t r = begin; grad->data && r < end; r++)
            if (counts(run, r))
                plb_copy_out(&run->side[s].features, r, grad, run->block + r, false);
            else
                memset(plb_row(grad, run->block + r), 0, (size_t)(grad->length * plb_dtype_size[grad->dtype]));
    }
}

static void zero_features(void *argument, int thread, int threads)
{
    const mlp_run *const run = argument;
    for (int s = 0; s < 2; s++) {
        const plb_rows *const grad = &run->job->side[s].grad;
        int64_t begin, end;
        plb_share(grad->count, thread, threads, &begin, &end);
        for (int64_t r = begin; grad->data && r < end; r++)
            memset(plb_row(grad, r), 0, (size_t)(grad->length * plb_dtype_size[grad->dtype]));
    }
}

/* The matrices of a product; the caller says which of them is transposed. */
static plb_gemm product_of(int64_t rows, int64_t columns, int64_t depth, const plb_matrix *a, const plb_matrix *b,
                           const plb_matrix *c)
{
    return (plb_gemm){
        .dtype = c->dtype,
        .rows = rows,
        .columns = columns,
        .depth = depth,
        .a = a->data,
        .a_stride = a->stride,
        .b = b->data,
        .b_stride = b->stride,
        .c = c->data,
        .c_stride = c->stride,
    };
}

/* The columns of the hidden layer's weight that belong to a side. */
static plb_matrix columns_of(const mlp_run *run, const plb_matrix *weight, int side)
{
    plb_matrix columns = *weight;
    columns.data += side ? run->job->side[0].channels * run->element : 0;
    columns.columns = run->job->side[side].channels;
    return columns;
}

/* W1 x of every row of the block. */
static void make_hidden(mlp_run *run)
{
    for (int s = 0; run->job->hidden.weight.data && s < (run->job->pairs ? 2 : 1); s++) {
        const plb_matrix weight = columns_of(run, &run->layers.hidden, s);
        plb_gemm product = product_of(run->count, run->width, run->job->side[s].channels, &run->side[s].features,
                                      &weight, &run->side[s].hidden);
        product.transpose_b = true;
        product.start = s == 0 ? run->layers.hidden_bias.data : NULL;
        plb_multiply(run->call->context, &product);
    }
}

static void activate(void *argument, int thread, int threads)
{
    const mlp_run *const run = argument;
    const plb_mlp_kernels *const kernels = plb_kernels_of(run->call->context)->mlp;
    const int64_t n = partners(run);
    int64_t begin, end;
    plb_share(run->tile_rows * n, thread, threads, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        const int64_t row = run->first + r / n;
        void *const value = plb_matrix_row(&run->value, r);
        void *const slope = run->slope.data ? plb_matrix_row(&run->slope, r) : NULL;
        const void *const a = plb_matrix_row(&run->side[0].hidden, row);
        const void *const b = run->job->pairs ? plb_matrix_row(&run->side[1].hidden, r % n) : NULL;
        if (!counts(run, row)) {
            memset(value, 0, bytes_of(run, 1, run->width));
            if (slope)
                memset(slope, 0, bytes_of(run, 1, run->width));
        } else if (run->dtype == PLB_F32) {
            kernels->activation(run->job->activation, a, b, value, slope, run->width);
        } else {
            plb_activation_f64(run->job->activation, a, b, value, slope, run->width);
        }
    }
}

/* sums[c] += the sum of column c, a few columns at a time. */
typedef struct sum_run {
    const plb_matrix *matrix;
    int64_t rows;
    double *sums;
} sum_run;

static void sum_columns(void *argument, int thread, int threads)
{
    const sum_run *const run = argument;
    int64_t begin, end;
    plb_share((run->matrix->columns + COLUMNS - 1) / COLUMNS, thread, threads, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * COLUMNS, left = run->matrix->columns - first, n = left < COLUMNS ? left : COLUMNS;
        double *const sums = run->sums + first;
        for (int64_t r = 0; r < run->rows; r++) {
            const void *const row = plb_matrix_row(run->matrix, r);
            if (run->matrix->dtype == PLB_F32)
                for (int64_t c = 0; c < n; c++)
                    sums[c] += ((const float *)row)[first + c];
            else
                for (int64_t c = 0; c < n; c++)
                    sums[c] += ((const double *)row)[first + c];
        }
    }
}

static void add_columns(const mlp_run *run, const plb_matrix *matrix, int64_t rows, double *sums)
{
    sum_run sum = {matrix, rows, sums};
    if (sums)
        plb_parallel(run->call->context, bytes_of(run, rows, matrix->columns), sum_columns, &sum);
}

/*
 * du = da f'(u) of the tile, added to both of its tokens.  The order in which a channel's are added is that of the
 * pairs, so that threads share the channels.
 */
#define ADD_TO_TOKENS(type)                                                                                            \
    static void add_to_tokens_##type(const mlp_run *run, int64_t first, int64_t n)                                     \
    {                                                                                                                  \
        const int64_t keys = partners(run);                                                                            \
        for (int64_t i = 0; i < run->tile_rows; i++) {                                                                 \
            type *const query = (type *)(void *)plb_matrix_row(&run->side[0].grad, run->first + i) + first;            \
            for (int64_t j = 0; j < keys; j++) {                                                                       \
                const type *restrict const value =                                                                     \
                    (const type *)(const void *)plb_matrix_row(&run->value, i * keys + j) + first;                     \
                const type *restrict const slope =                                                                     \
                    (const type *)(const void *)plb_matrix_row(&run->slope, i * keys + j) + first;                     \
                type *restrict const key =                                                                             \
                    run->job->pairs ? (type *)(void *)plb_matrix_row(&run->side[1].grad, j) + first : NULL;            \
                for (int64_t c = 0; key && c < n; c++) {                                                               \
                    query[c] += value[c] * slope[c];                                                                   \
                    key[c] += value[c] * slope[c];                                                                     \
                }                                                                                                      \
                for (int64_t c = 0; !key && c < n; c++)                                                                \
                    query[c] = value[c] * slope[c];                                                                    \
            }                                                                                                          \
        }                                                                                                              \
    }

ADD_TO_TOKENS(float)
ADD_TO_TOKENS(double)

static void add_to_tokens(void *argument, int thread, int threads)
{
    const mlp_run *const run = argument;
    int64_t begin, end;
    plb_share((run->width + COLUMNS - 1) / COLUMNS, thread, threads, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * COLUMNS, left = run->width - first, n = left < COLUMNS ? left : COLUMNS;
        if (run->dtype == PLB_F32)
            add_to_tokens_float(run, first, n);
        else
            add_to_tokens_double(run, first, n);
    }
}

/* `tile_rows` rows of the block's first side, from `first` on, with all their partners. */
static void do_tile(mlp_run *run)
{
    const plb_mlp_job *const job = run->job;
    poslabel_context *const context = run->call->context;
    const int64_t rows = run->tile_rows * partners(run), classes = job->last.outputs, done = run->begin;
    const plb_matrix *const weight = &run->layers.weight;
    /* an activation takes about as long as copying ten numbers */
    plb_parallel(context, 10 * bytes_of(run, rows, run->width), activate, run);

    plb_gemm product = product_of(rows, classes, run->width, &run->value, weight, &run->logits);
    product.transpose_b = true;
    product.start = run->layers.bias.data;
    plb_multiply(context, &product);

    const plb_rows logits = {
        .data = run->logits.data,
        .dtype = run->dtype,
        .count = rows,
        .inner = rows,
        .inner_stride = run->logits.stride,
        .length = classes,
        .element_stride = 1,
    };
    const plb_rows none = {.data = NULL};
    plb_cross_entropy_pass(&run->cross_entropy, &logits, run->plan.has_gradient ? &logits : &none, done, rows, NULL);
    run->begin += rows;
    add_columns(run, &run->logits, rows, run->layers.grad_bias);
    if (run->layers.grad_weight.data) {
        product = product_of(classes, run->width, rows, &run->logits, &run->value, &run->layers.grad_weight);
        product.transpose_a = true;
        product.add = true;
        plb_multiply(context, &product);
    }
    if (run->wants_hidden) {
        product = product_of(rows, run->width, classes, &run->logits, weight, &run->value);
        plb_multiply(context, &product);
        plb_parallel(context, 3 * bytes_of(run, rows, run->width), add_to_tokens, run);
    }
}

/* From du of every row of the block to the gradients of W1, b1 and the features. */
static void go_back(mlp_run *run)
{
    const plb_mlp_job *const job = run->job;
    poslabel_context *const context = run->call->context;
    add_columns(run, &run->side[0].grad, run->count, run->layers.grad_hidden_bias);
    for (int s = 0; s < (job->pairs ? 2 : 1); s++) {
        side_block *const side = &run->side[s];
        const int64_t channels = job->side[s].channels;
        if (run->layers.grad_hidden.data) {
            const plb_matrix grad = columns_of(run, &run->layers.grad_hidden, s);
            plb_gemm product = product_of(run->width, channels, run->count, &side->grad, &side->features, &grad);
            product.transpose_a = true;
            product.add = true;
            plb_multiply(context, &product);
        }
        if (!job->side[s].grad.data)
            continue;
        if (job->hidden.weight.data) {
            const plb_matrix weight = columns_of(run, &run->layers.hidden, s);
            plb_gemm product = product_of(run->count, channels, run->width, &side->grad, &weight, &side->features);
            plb_multiply(context, &product);
        } else {
            memcpy(side->features.data, side->grad.data, bytes_of(run, run->count, side->grad.stride));
        }
    }
    plb_parallel(context, bytes_of(run, run->count, job->hidden.inputs), store_features, run);
}

static void do_block(mlp_run *run)
{
    const plb_mlp_job *const job = run->job;
    poslabel_context *const context = run->call->context;
    const int64_t tile = run->tile_rows;
    find_counts(run);
    plb_parallel(context, 2 * bytes_of(run, run->count, job->hidden.inputs), copy_features, run);
    make_hidden(run);
    for (int s = 0; run->wants_hidden && s < (job->pairs ? 2 : 1); s++)
        memset(run->side[s].grad.data, 0, bytes_of(run, run->count, run->side[s].grad.stride));
    for (run->first = 0; run->first < run->count; run->first += tile) {
        run->tile_rows = run->count - run->first < tile ? run->count - run->first : tile;
        do_tile(run);
    }
    run->tile_rows = tile;
    if (run->wants_hidden)
        go_back(run);
}

static void do_blocks(mlp_run *run)
{
    const plb_mlp_job *const job = run->job;
    poslabel_context *const context = run->call->context;
    const int64_t rows = job->side[0].features.count;
    plb_layers_begin(&run->layers, context);
    if (run->cross_entropy.reduction.no_row_counts || !rows) {
        plb_parallel(context, bytes_of(run, rows, job->hidden.inputs), zero_features, run);
    } else {
        for (run->block = 0; run->block < rows; run->block += run->block_rows) {
            run->count = rows - run->block < run->block_rows ? rows - run->block : run->block_rows;
            do_block(run);
        }
    }
    plb_layers_end(&run->layers, context);
}

poslabel_status plb_cpu_mlp_loss(const plb_call *call, const plb_mlp_job *job)
{
    if (plb_gemm_missing)
        return plb_fail(call, POSLABEL_ERROR_UNSUPPORTED, "%s", plb_gemm_missing);
    const plb_layer *const hidden = &job->hidden, *const middle = &job->middle, *const last = &job->last;
    mlp_run run = {
        .call = call,
        .job = job,
        .dtype = job->side[0].features.dtype == PLB_F64 ? PLB_F64 : PLB_F32,
        .width = middle->weight.data ? middle->inputs : last->inputs,
        .wants_parameters =
            middle->grad_weight.data || middle->grad_bias.data || last->grad_weight.data || last->grad_bias.data,
        .wants_hidden =
            hidden->grad_weight.data || hidden->grad_bias.data || job->side[0].grad.data || job->side[1].grad.data,
        .may_skip = job->reduction.mask.data || job->reduction.weights.data || job->targets.has_ignore_index,
    };
    run.element = plb_dtype_size[run.dtype];
    run.plan = (plb_cross_entropy_plan){
        .targets = &job->targets,
        .reduction = &job->reduction,
        .dtype = run.dtype,
        .has_gradient = run.wants_parameters || run.wants_hidden,
        .in_place = true,
    };
    PLB_TRY(choose_tile(&run));
    void *memory;
    PLB_TRY(plb_workspace(call, lay_out(&run, NULL), &memory));
    lay_out(&run, memory);
    PLB_TRY(plb_cross_entropy_begin(&run.cross_entropy, call, &run.plan, run.threads, run.loss_memory));
    const int before = plb_parallel_alone();
    do_blocks(&run);
    plb_parallel_restore(before);
    plb_cross_entropy_end(&run.cross_entropy);
    return POSLABEL_OK;
}
