/*
 * Attentive weights.
 *
 * The kernel reads a few images once and leaves the similarities of their tokens in scratch; the two softmaxes, over
 * all tokens and over the visible ones, are a few numbers an image and run in double precision.  Tokens whose channels
 * lie apart become rows first, COLUMNS of them at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "attention.h"
#include "cpu/attention/kernels.h"
#include "cpu/core/columns.h"
#include "cpu/core/ids.h"
#include "cpu/core/kernels.h"
#include "cpu/operations.h"

#include <math.h>

typedef struct attention_run {
    const plb_attention_job *job;
    plb_similarity_kernel *kernel;
    char *scratch; /* for each thread: similarities, then what the kernel wants */
    size_t scratch_size;
    int together;   /* images that the kernel is given at once */
    int64_t pitch;  /* of the rows that columns become; 0: tokens are rows */
    size_t similar; /* bytes of scratch before those */
} attention_run;

enum { COLUMNS = 64 };

/* row[r] = softmax over r of similarity[id(r)] / temperature, with id(r) = r where there are no ids. */
static void store_softmax(const plb_rows *rows, int64_t image, const double *similarity, const plb_rows *ids,
                          double temperature)
{
    char *const row = plb_row(rows, image);
    const char *const id = ids ? plb_row(ids, image) : NULL;
    const int64_t n = rows->length, size = plb_dtype_size[rows->dtype], id_size = ids ? plb_dtype_size[ids->dtype] : 0;
    double max = -INFINITY, sum = 0;
    for (int64_t r = 0; r < n; r++) {
        const double s = similarity[id ? plb_load_id(id + r * id_size, ids->dtype) : r];
        max = s > max ? s : max;
    }
    for (int64_t r = 0; r < n; r++)
        sum += exp((similarity[id ? plb_load_id(id + r * id_size, ids->dtype) : r] - max) / temperature);
    for (int64_t r = 0; r < n; r++) {
        const double s = similarity[id ? plb_load_id(id + r * id_size, ids->dtype) : r];
        plb_store_number(row + r * size, rows->dtype, exp((s - max) / temperature) / sum);
    }
}

/* The kernel for one image whose tokens are columns. */
static void weigh_columns(const attention_run *run, plb_similarity_rows rows, char *buffer)
{
    const plb_rows *const features = &run->job->features;
    const int64_t step = features->inner_stride * plb_dtype_size[features->dtype], tokens = rows.count;
    const char *const image = rows.token[0];
    rows.token[0] = buffer;
    rows.token_step = run->pitch;
    for (int64_t n = 0; n < tokens; n += COLUMNS) {
        rows.count = tokens - n < COLUMNS ? tokens - n : COLUMNS;
        plb_load_columns(buffer, run->pitch, features, image + n * step, rows.count, rows.channels);
        run->kernel(&rows);
        rows.similarity += rows.count;
        rows.embedding = rows.embedding ? rows.embedding + rows.count * rows.embedding_step : NULL;
    }
}

static void weigh_images(void *argument, int thread, int threads)
{
    const attention_run *const run = argument;
    const plb_attention_job *const job = run->job;
    const plb_rows *const ids = job->ids_keep.data ? &job->ids_keep : NULL;
    const int64_t size = plb_dtype_size[job->features.dtype];
    double *const similarity = (double *)(run->scratch + (size_t)thread * run->scratch_size);
    plb_similarity_rows rows = {
        .channels = job->channels,
        .count = job->tokens,
        .token_step = job->features.inner_stride * size,
        .scratch = similarity + PLB_SIMILARITY_IMAGES * job->tokens,
        .similarity = similarity,
    };
    if (job->pos_embed.data) {
        rows.cls_embedding = job->pos_embed.data;
        rows.embedding = plb_row(&job->pos_embed, job->pos_embed.count - job->tokens);
        rows.embedding_step = job->pos_embed.inner_stride * size;
    }

    int64_t begin, end;
    plb_share(job->images, thread, threads, &begin, &end);
    for (int64_t first = begin; first < end; first += rows.images) {
        rows.images = (int)(end - first < run->together ? end - first : run->together);
        for (int i = 0; i < rows.images; i++) {
            rows.token[i] = plb_row(&job->features, (first + i) * job->tokens);
            rows.cls[i] = job->cls.count == job->images ? plb_row(&job->cls, first + i) : job->cls.data;
        }
        if (run->pitch)
            weigh_columns(run, rows, (char *)similarity + run->similar);
        else
            run->kernel(&rows);
        for (int i = 0; i < rows.images; i++) {
            const double *const s = similarity + i * job->tokens;
            if (job->attention.data)
                store_softmax(&job->attention, first + i, s, NULL, job->temperature);
            if (job->weights.data)
                store_softmax(&job->weights, first + i, s, ids, job->temperature);
        }
    }
}

poslabel_status plb_cpu_attentive_weights(const plb_call *call, const plb_attention_job *job)
{
    const size_t bytes =
        (size_t)(job->images * job->tokens) * (size_t)job->channels * plb_dtype_size[job->features.dtype];
    const size_t traffic =
        plb_shared_bytes(job->images, bytes + plb_ids_bytes(job->images, job->tokens + job->visible));
    const bool is_empty = job->images == 0 || (!job->attention.data && job->visible == 0);
    const size_t threads = is_empty ? 0 : (size_t)plb_parallel_threads(call->context, traffic);
    const size_t numbers = plb_size_add((size_t)job->tokens, (size_t)job->channels);
    attention_run run = {
        .job = job,
        .kernel = plb_kernels_of(call->context)->attention->similarity[job->features.dtype],
        .similar = plb_size_add(plb_size_mul(numbers, PLB_SIMILARITY_IMAGES * sizeof(double)), 63) / 64 * 64,
        .together = 1,
    };
    if (plb_has_columns(&job->features)) /* a line between rows, against a power of two */
        run.pitch = (job->channels * plb_dtype_size[job->features.dtype] + 63) / 64 * 64 + 64;
    run.scratch_size = plb_size_add(run.similar, plb_size_mul((size_t)run.pitch, COLUMNS));
    if (job->pos_embed.data &&
        !run.pitch) /* for the sake of the embeddings; class tokens of their own need room in the L1 cache */
        run.together = job->cls.count == 1 ? PLB_SIMILARITY_IMAGES : PLB_SIMILARITY_IMAGES / 2;
    void *workspace;
    PLB_TRY(plb_workspace(call, plb_size_mul(threads, run.scratch_size), &workspace));
    PLB_TRY(plb_check_ids(call, &job->ids_keep, 0, job->tokens));
    if (is_empty)
        return POSLABEL_OK;
    run.scratch = workspace;
    plb_parallel(call->context, traffic, weigh_images, &run);
    return POSLABEL_OK;
}
