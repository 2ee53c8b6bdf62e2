/*
 * A linear head and its position cross-entropy, in chunks of rows.
 *
 * For each chunk, cuBLAS computes logits = features weight^T, in float32 for 16-bit tensors.  The kernel of the row
 * losses adds the bias and replaces the logits by their gradient.  Products with it give the other gradients.  Only the
 * logits of one chunk exist at a time.  The sum of weights, which every gradient needs, comes before the first chunk.
 * The sums over the chunks stay on the device between launches.
 *
 * For 16-bit tensors these products need the gradient of the logits in 16 bits too.  In float16 it is scaled by a power
 * of two, since the small gradients of a mean would be lost otherwise.  The power depends on weights and grad_loss, and
 * is found together with the sum of weights.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linear/linear.cuh"

#include <math.h>
#include <poslabel/loss.h>
#include <string.h>

enum {
    DEFAULT_LIMIT = 64 << 20,
    FEWEST_ROWS = 256,
    MOST_ROWS = 1 << 30,
    LEAST_CUBLAS_WORKSPACE = 64 << 10, /* with less cuBLAS may fail */
    MOST_CUBLAS_WORKSPACE = 32 << 20,
    MOST_WEIGH_BLOCKS = 256
};

static bool has_one_level(const plb_rows *rows)
{
    return rows->inner == rows->count;
}

/* Elements from one row to the next.  cuBLAS needs a valid number for a single row too. */
static long long pitch_of(const plb_rows *rows)
{
    return rows->count > 1 ? rows->inner_stride : rows->length;
}

/* Whether cuBLAS can read and write the rows in place. */
static bool is_matrix(const plb_rows *rows)
{
    return has_one_level(rows) && pitch_of(rows) >= rows->length && pitch_of(rows) <= INT32_MAX;
}

/* The state of a call. */
struct linear_run {
    const plb_call *call;
    const plb_linear_job *job;
    const plb_cublas *cublas;
    cudaDataType_t type; /* of features and weight */
    cublasComputeType_t compute;
    bool is_double, is_short; /* 64 and 16 bits */
    bool copies_features, copies_grad_features, copies_weight;
    bool has_weight_sums;     /* the sums of grad_weight are in the workspace at first */
    long long pitch;          /* of a row of logits: a multiple of 16 */
    long long channels_pitch; /* of a row of copied features */
    long long chunk;          /* rows */
    int blocks;               /* of the row losses */
    plb_loss_parameters parameters;
    /* in the workspace */
    double *weight_sum, *weighed, *bias_sums, *of_slabs;
    float *factors; /* see plb_linear_weigh() */
    plb_loss_sums *totals;
    char *reduction, *bias, *weight, *weight_sums, *logits, *short_grad, *features, *grad_features, *cublas_workspace;
    size_t cublas_size;
};

static size_t real_size(const linear_run *run)
{
    return run->is_double ? sizeof(double) : sizeof(float);
}

/* Takes `size` bytes, rounded up to a multiple of 256, from the memory at `base`.  A NULL base only counts them. */
static char *take(char *base, size_t *used, size_t size)
{
    char *const at = base ? base + *used : NULL;
    *used = plb_size_add(*used, plb_size_add(size, 255) / 256 * 256);
    return at;
}

/* Divides the workspace at `base` for chunks of so many rows, and returns its size. */
static size_t cut(linear_run *run, long long rows, char *base)
{
    const plb_linear_job *const job = run->job;
    const size_t classes = (size_t)job->targets.classes, chunk = (size_t)rows, real = real_size(run);
    const size_t size = run->is_short ? 2 : real;
    size_t used = 0;
    run->weight_sum = (double *)take(base, &used, sizeof(double));
    run->factors = (float *)take(base, &used, PLB_LINEAR_FACTORS * sizeof(float));
    run->totals = (plb_loss_sums *)take(base, &used, sizeof(plb_loss_sums));
    run->weighed = (double *)take(base, &used, 2 * MOST_WEIGH_BLOCKS * sizeof(double));
    run->reduction = take(base, &used, plb_reduction_memory(run->blocks));
    run->bias = job->bias.data ? take(base, &used, classes * real) : NULL;
    run->bias_sums = job->grad_bias.data ? (double *)take(base, &used, classes * sizeof(double)) : NULL;
    run->weight = run->copies_weight ? take(base, &used, plb_size_mul(classes, (size_t)job->channels * size)) : NULL;
    run->weight_sums =
        run->has_weight_sums ? take(base, &used, plb_size_mul(classes, (size_t)job->channels) * real) : NULL;
    run->of_slabs =
        job->grad_bias.data
            ? (double *)take(base, &used,
                             plb_size_mul(classes * sizeof(double), (size_t)plb_linear_slabs(run->call, rows)))
            : NULL;
    run->cublas_workspace = take(base, &used, run->cublas_size);
    run->logits = take(base, &used, plb_size_mul(chunk, (size_t)run->pitch * real));
    run->short_grad = run->is_short ? take(base, &used, plb_size_mul(chunk, (size_t)run->pitch * 2)) : NULL;
    run->features =
        run->copies_features ? take(base, &used, plb_size_mul(chunk, (size_t)run->channels_pitch * size)) : NULL;
    run->grad_features =
        run->copies_grad_features ? take(base, &used, plb_size_mul(chunk, (size_t)run->channels_pitch * size)) : NULL;
    return used;
}

/* Chooses the chunk and takes the workspace. */
static poslabel_status prepare(linear_run *run)
{
    const plb_linear_job *const job = run->job;
    const uint64_t given = job->workspace_limit;
    const long long rows = job->reduction.rows < 1 ? 1 : job->reduction.rows;
    size_t limit = given && given < SIZE_MAX ? (size_t)given : given ? SIZE_MAX : (size_t)DEFAULT_LIMIT;
    const size_t fewest = LEAST_CUBLAS_WORKSPACE, most = MOST_CUBLAS_WORKSPACE;
    run->cublas_size = limit / 8 < fewest ? fewest : limit / 8 < most ? limit / 8 / 256 * 256 : most;
    size_t least = cut(run, given || rows < FEWEST_ROWS ? 1 : FEWEST_ROWS, NULL);
    if (given && least > limit) {
        run->cublas_size = fewest;
        least = cut(run, 1, NULL);
    }
    if (given && least > limit)
        return plb_cuda_fail(run->call, POSLABEL_ERROR_INVALID,
                             "workspace_limit = %llu, must be at least %zu: one row at a time needs that much",
                             (unsigned long long)given, least);
    limit = limit > least ? limit : least;
    run->chunk = given || rows < FEWEST_ROWS ? 1 : FEWEST_ROWS;
    const size_t one = cut(run, 1, NULL), many = cut(run, 4097, NULL), room = limit - least;
    if (many != SIZE_MAX && many > one)
        run->chunk += (long long)(room / ((many - one) / 4096 + 1));
    run->chunk = run->chunk > rows ? rows : run->chunk;
    if (run->chunk > MOST_ROWS)
        run->chunk = MOST_ROWS;
    while (run->chunk > 1 && cut(run, run->chunk, NULL) > limit)
        run->chunk -= run->chunk / 64 + 1; /* rounding up may have taken more than was estimated */
    void *memory;
    PLB_TRY(plb_cuda_workspace(run->call, cut(run, run->chunk, NULL), &memory));
    cut(run, run->chunk, (char *)memory);
    return POSLABEL_OK;
}

static poslabel_status read_scalars(const linear_run *run, cublasPointerMode_t where)
{
    return plb_cublas_check(run->call, run->cublas->set_pointer_mode(run->cublas->handle, where),
                            "telling cuBLAS where its scalars are");
}

/*
 * Row-major c[m, n] = a[m, k] b[k, n], or c += with `adds`, with a or b transposed.  `is_scaled`: a is the gradient of
 * the logits; the product undoes its scale, which only the device knows.
 */
static poslabel_status multiply(const linear_run *run, bool a_transposed, bool b_transposed, long long m, long long n,
                                long long k, bool is_scaled, const void *a, long long a_pitch, const void *b,
                                long long b_pitch, bool adds, void *c, cudaDataType_t c_type, long long c_pitch)
{
    static const float floats[] = {0, 1};
    static const double doubles[] = {0, 1};
    const void *alpha = run->is_double ? (const void *)&doubles[1] : &floats[1];
    const void *beta = run->is_double ? (const void *)&doubles[adds] : &floats[adds];
    if (m == 0 || k == 0)
        return POSLABEL_OK; /* there are no rows, and the sums have been cleared */
    is_scaled = is_scaled && run->type == CUDA_R_16F;
    poslabel_status status = POSLABEL_OK;
    if (is_scaled) {
        alpha = run->factors + PLB_LINEAR_WIDENS;
        beta = run->factors + (adds ? PLB_LINEAR_ONE : PLB_LINEAR_ZERO);
        status = read_scalars(run, CUBLAS_POINTER_MODE_DEVICE);
    }
    /* A row-major matrix is cuBLAS's column-major one, transposed: c^T = b^T a^T. */
    if (status == POSLABEL_OK)
        status = plb_cublas_check(run->call,
                                  run->cublas->gemm(run->cublas->handle, b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                                                    a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, (int)n, (int)m, (int)k,
                                                    alpha, b, run->type, (int)b_pitch, a, run->type, (int)a_pitch, beta,
                                                    c, c_type, (int)c_pitch, run->compute, CUBLAS_GEMM_DEFAULT),
                                  "a matrix product");
    if (is_scaled) { /* even after a failure: later calls use the handle */
        const poslabel_status back = read_scalars(run, CUBLAS_POINTER_MODE_HOST);
        status = status == POSLABEL_OK ? back : status;
    }
    return status;
}

/* The weight matrix, or its copy, as cuBLAS can read it. */
static const char *weight_of(const linear_run *run, long long *pitch)
{
    *pitch = run->copies_weight ? run->job->channels : pitch_of(&run->job->weight);
    return run->copies_weight ? run->weight : run->job->weight.data;
}

/* The row losses of a chunk: sets the number of blocks, or launches them. */
static poslabel_status chunk_losses(linear_run *run, bool only_blocks)
{
    plb_loss_launch launch = {run->call, run->parameters, false, false, false};
    return (run->is_double ? plb_loss_rows_f64 : plb_loss_rows_f32)(&launch, only_blocks, &run->blocks);
}

/* The features of `rows` rows from row `first` on: in place, or copied. */
static poslabel_status chunk_features(const linear_run *run, long long first, long long rows, const char **features,
                                      long long *pitch)
{
    const plb_rows *const from = &run->job->features;
    const long long size = run->is_short ? 2 : (long long)real_size(run);
    *features = run->copies_features ? run->features : from->data + first * from->inner_stride * size;
    *pitch = run->copies_features ? run->channels_pitch : pitch_of(from);
    if (!run->copies_features)
        return POSLABEL_OK;
    plb_loss_parameters p = run->parameters;
    p.reduction.first_row = 0;
    return plb_linear_gather(run->call, &p, from, first, rows, run->features, run->channels_pitch);
}

static poslabel_status chunk_gradients(const linear_run *run, long long first, long long rows, const char *features,
                                       long long features_pitch)
{
    const plb_linear_job *const job = run->job;
    const long long classes = job->targets.classes, channels = job->channels;
    const cudaDataType_t sum_type = run->is_double ? CUDA_R_64F : CUDA_R_32F;
    const char *gradient = run->logits;
    long long weight_pitch;
    const char *const weight = weight_of(run, &weight_pitch);
    const bool rounds = run->is_short && (job->grad_features.data || job->grad_weight.data);
    if (rounds || job->grad_bias.data)
        PLB_TRY(plb_linear_round_and_sum(run->call, run->logits, run->is_double, rows, (int)classes, run->pitch,
                                         rounds ? run->short_grad : NULL, job->features.dtype, run->factors,
                                         run->of_slabs, run->bias_sums));
    if (rounds)
        gradient = run->short_grad;
    if (job->grad_features.data) {
        const plb_rows *const to = &job->grad_features;
        const long long size = run->is_short ? 2 : (long long)real_size(run);
        char *const direct = to->data + first * to->inner_stride * size;
        PLB_TRY(multiply(run, false, false, rows, channels, classes, true, gradient, run->pitch, weight, weight_pitch,
                         false, run->copies_grad_features ? run->grad_features : direct, run->type,
                         run->copies_grad_features ? run->channels_pitch : pitch_of(to)));
        if (run->copies_grad_features)
            PLB_TRY(plb_linear_scatter(run->call, to, first, rows, run->grad_features, run->channels_pitch));
    }
    if (job->grad_weight.data) {
        const bool adds = run->has_weight_sums || job->accumulate || first > 0;
        PLB_TRY(multiply(run, true, false, classes, channels, rows, true, gradient, run->pitch, features,
                         features_pitch, adds, run->has_weight_sums ? run->weight_sums : job->grad_weight.data,
                         sum_type, run->has_weight_sums ? channels : pitch_of(&job->grad_weight)));
    }
    return POSLABEL_OK;
}

static poslabel_status run_chunk(linear_run *run, long long first, long long rows)
{
    const plb_linear_job *const job = run->job;
    const char *features;
    long long features_pitch, weight_pitch;
    const char *const weight = weight_of(run, &weight_pitch);
    PLB_TRY(chunk_features(run, first, rows, &features, &features_pitch));
    PLB_TRY(multiply(run, false, true, rows, job->targets.classes, job->channels, false, features, features_pitch,
                     weight, weight_pitch, false, run->logits, run->is_double ? CUDA_R_64F : CUDA_R_32F, run->pitch));
    run->parameters.reduction.first_row = first;
    run->parameters.reduction.rows = rows;
    run->parameters.reduction.is_last_chunk = first + rows == job->reduction.rows;
    PLB_TRY(chunk_losses(run, false));
    return chunk_gradients(run, first, rows, features, features_pitch);
}

static poslabel_status zero(const linear_run *run, void *at, size_t size)
{
    if (!at)
        return POSLABEL_OK;
    return plb_cuda_check(run->call, cudaMemsetAsync(at, 0, size, plb_cuda_of(run->call)->stream),
                          "clearing the workspace");
}

/* Work before the first chunk: clears sums, converts the bias, sums the weights. */
static poslabel_status begin(linear_run *run)
{
    const plb_linear_job *const job = run->job;
    const size_t classes = (size_t)job->targets.classes;
    plb_loss_parameters *const p = &run->parameters;
    const long long blocks = plb_blocks_for(run->call, job->reduction.rows < 1 ? 1 : job->reduction.rows);
    PLB_TRY(plb_cublas_check(run->call,
                             run->cublas->set_workspace(run->cublas->handle, run->cublas_workspace, run->cublas_size),
                             "giving cuBLAS its workspace"));
    PLB_TRY(zero(run, run->totals, sizeof *run->totals));
    PLB_TRY(zero(run, run->bias_sums, classes * sizeof(double)));
    PLB_TRY(zero(run, run->weight_sums, classes * (size_t)job->channels * real_size(run)));
    if (run->copies_weight)
        PLB_TRY(plb_linear_gather(run->call, NULL, &job->weight, 0, (long long)classes, run->weight, job->channels));
    if (job->bias.data)
        PLB_TRY(plb_linear_widen(run->call, &job->bias, run->bias, run->is_double, (int)classes));
    PLB_TRY(plb_linear_weigh(run->call, p, run->weight_sum, run->weighed,
                             blocks < MOST_WEIGH_BLOCKS ? (int)blocks : (int)MOST_WEIGH_BLOCKS,
                             run->type == CUDA_R_16F, run->is_short ? run->factors : NULL));

    p->logits =
        plb_view_rows{run->logits, 0, 0, run->pitch * (long long)real_size(run), run->is_double ? PLB_F64 : PLB_F32};
    p->grad = job->grad_features.data || job->grad_weight.data || job->grad_bias.data ? p->logits : plb_view_rows{};
    p->bias = run->bias;
    plb_reduction_use(&p->reduction, run->reduction, run->blocks);
    p->reduction.totals = run->totals;
    p->reduction.reports = false;
    if (!p->reduction.normalizer.at)
        p->reduction.normalizer = plb_scalar{(char *)run->weight_sum, PLB_F64};
    return POSLABEL_OK;
}

static poslabel_status finish(const linear_run *run)
{
    const plb_linear_job *const job = run->job;
    if (run->has_weight_sums)
        PLB_TRY(plb_linear_finish(run->call, &job->grad_weight, run->weight_sums, run->is_double, job->channels,
                                  job->accumulate));
    if (job->grad_bias.data)
        PLB_TRY(plb_linear_finish(run->call, &job->grad_bias, run->bias_sums, true, job->targets.classes,
                                  job->accumulate));
    return POSLABEL_OK;
}

poslabel_status plb_cuda_linear_loss(const plb_call *call, const plb_linear_job *job)
{
    linear_run run = {};
    const plb_reduction *const reduction = &job->reduction;
    const int dtype = job->features.dtype;
    run.call = call;
    run.job = job;
    run.cublas = &plb_cuda_of(call)->cublas;
    run.is_double = dtype == PLB_F64;
    run.is_short = dtype == PLB_F16 || dtype == PLB_BF16;
    run.type = dtype == PLB_F16    ? CUDA_R_16F
               : dtype == PLB_BF16 ? CUDA_R_16BF
               : run.is_double     ? CUDA_R_64F
                                   : CUDA_R_32F;
    run.compute = run.is_double ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;
    run.pitch = (job->targets.classes + 15) / 16 * 16;
    run.channels_pitch = (job->channels + 15) / 16 * 16;
    run.parameters = plb_loss_parameters_of(call, &job->targets, reduction);
    /* A row that does not count can hold NaN or infinity: its copy holds zeros, so that products get 0 from it. */
    const bool may_not_count = reduction->mask.data || reduction->weights.data || job->targets.ids.data ||
                               (reduction->normalizer.data && reduction->kind == POSLABEL_REDUCTION_MEAN);
    run.copies_features = !is_matrix(&job->features) || may_not_count;
    run.copies_grad_features = job->grad_features.data && !is_matrix(&job->grad_features);
    run.has_weight_sums =
        job->grad_weight.data && (job->grad_weight.dtype != (run.is_double ? PLB_F64 : PLB_F32) ||
                                  reduction->rows == 0 || !is_matrix(&job->grad_weight));
    run.copies_weight = !is_matrix(&job->weight);
    PLB_TRY(chunk_losses(&run, true));
    PLB_TRY(prepare(&run));
    PLB_TRY(plb_cublas_open(call));
    PLB_TRY(begin(&run));
    long long first = 0;
    do {
        const long long left = reduction->rows - first;
        PLB_TRY(run_chunk(&run, first, left < run.chunk ? left : run.chunk));
        first += run.chunk;
    } while (first < reduction->rows);
    return finish(&run);
}
