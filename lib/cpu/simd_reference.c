/*
 * The kernels in plain C and double precision: the definition of correct, and what float64 runs on at every level.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu.h"
#include "gaussian.h"

#include <float.h>
#include <math.h>

#include "mask_rows.inc.h"

static double target(const plb_loss_rows *rows, int64_t label, int64_t c)
{
    if (rows->gaussian)
        return plb_gaussian_target(rows->gaussian, label, c);
    return rows->base + (c == label ? rows->peak : 0);
}

static void loss_row(plb_loss_rows *rows, int r, plb_dtype dtype)
{
    const char *const z = rows->logits[r];
    char *const grad = rows->grad[r];
    const int64_t n = rows->classes, label = rows->label[r], size = plb_dtype_size[dtype];
    rows->loss[r] = 0;
    rows->correct[r] = rows->confident[r] = false;
    if (label < 0) {
        for (int64_t c = 0; grad && c < n; c++)
            plb_store_number(grad + c * size, dtype, 0);
        return;
    }

    double max = -INFINITY;
    int64_t argmax = -1;
    for (int64_t c = 0; c < n; c++) {
        const double x = plb_load_number(z + c * size, dtype);
        if (x > max) {
            max = x;
            argmax = c;
        }
    }
    double sum = 0, total = 0, weighted = 0;
    for (int64_t c = 0; c < n; c++) {
        const double d = plb_load_number(z + c * size, dtype) - max, t = target(rows, label, c);
        sum += exp(d);
        total += t;
        if (t != 0)
            weighted += t * (d < -DBL_MAX && rows->gaussian ? -DBL_MAX : d);
    }
    rows->loss[r] = total * log(sum) - weighted;
    rows->correct[r] = sum == sum && argmax == label;
    rows->confident[r] = exp(plb_load_number(z + label * size, dtype) - max) / sum >= target(rows, label, label);
    for (int64_t c = 0; grad && c < n; c++) {
        const double p = exp(plb_load_number(z + c * size, dtype) - max) / sum;
        plb_store_number(grad + c * size, dtype, rows->scale[r] * (p * total - target(rows, label, c)));
    }
}

static void loss_rows(plb_loss_rows *rows, plb_dtype dtype)
{
    for (int r = 0; r < rows->count; r++)
        loss_row(rows, r, dtype);
}

static void loss_rows_f32(plb_loss_rows *rows)
{
    loss_rows(rows, PLB_F32);
}

static void loss_rows_f16(plb_loss_rows *rows)
{
    loss_rows(rows, PLB_F16);
}

static void loss_rows_bf16(plb_loss_rows *rows)
{
    loss_rows(rows, PLB_BF16);
}

void plb_loss_rows_reference_f64(plb_loss_rows *rows)
{
    loss_rows(rows, PLB_F64);
}

static void token_rows(const plb_token_rows *rows, plb_dtype dtype)
{
    const int64_t size = plb_dtype_size[dtype];
    for (int r = 0; r < rows->count; r++) {
        const char *const token = rows->token[r], *const embedding = rows->embedding[r];
        char *const x = rows->x[r];
        if (!embedding)
            memcpy(x, token, (size_t)(rows->channels * size));
        for (int64_t i = 0; embedding && i < rows->channels; i++)
            plb_store_number(x + i * size, dtype,
                             plb_load_number(token + i * size, dtype) + plb_load_number(embedding + i * size, dtype));
    }
}

static void token_grads(const plb_token_grads *rows, plb_dtype dtype)
{
    const int64_t size = plb_dtype_size[dtype];
    for (int r = 0; r < rows->count; r++) {
        const char *const grad = rows->grad[r];
        for (int64_t i = 0; grad && rows->sum[r] && i < rows->channels; i++)
            rows->sum[r][i] += plb_load_number(grad + i * size, dtype);
        if (rows->to[r] && grad)
            memcpy(rows->to[r], grad, (size_t)(rows->channels * size));
        else if (rows->to[r])
            memset(rows->to[r], 0, (size_t)(rows->channels * size));
    }
}

static void round_sum(void *to, const double *sum, int64_t channels, plb_dtype dtype)
{
    const int64_t size = plb_dtype_size[dtype];
    for (int64_t i = 0; i < channels; i++)
        plb_store_number((char *)to + i * size, dtype, dtype == PLB_F32 ? sum[i] : plb_round_odd(sum[i]));
}

static double sum_at(const char *a, const char *b, int64_t i, plb_dtype dtype)
{
    const int64_t at = i * plb_dtype_size[dtype];
    return plb_load_number(a + at, dtype) + (b ? plb_load_number(b + at, dtype) : 0);
}

static double norm(double square)
{
    const double length = sqrt(square);
    return length < PLB_SIMILARITY_EPS ? PLB_SIMILARITY_EPS : length;
}

static void similarity_of_image(const plb_similarity_rows *rows, int image, plb_dtype dtype)
{
    double *const c = rows->scratch, *const similarity = rows->similarity + image * rows->count;
    double cls_square = 0;
    for (int64_t i = 0; i < rows->channels; i++) {
        c[i] = sum_at(rows->cls[image], rows->cls_embedding, i, dtype);
        cls_square += c[i] * c[i];
    }
    for (int64_t k = 0; k < rows->count; k++) {
        const char *const token = rows->token[image] + k * rows->token_step;
        const char *const embedding = rows->embedding ? rows->embedding + k * rows->embedding_step : NULL;
        double product = 0, square = 0;
        for (int64_t i = 0; i < rows->channels; i++) {
            const double t = sum_at(token, embedding, i, dtype);
            product += c[i] * t;
            square += t * t;
        }
        similarity[k] = product / (norm(cls_square) * norm(square));
    }
}

static void similarity_rows(const plb_similarity_rows *rows, plb_dtype dtype)
{
    for (int image = 0; image < rows->images; image++)
        similarity_of_image(rows, image, dtype);
}

#define TOKEN_ROWS(suffix, dtype)                                                                                      \
    static void token_rows_##suffix(const plb_token_rows *rows)                                                        \
    {                                                                                                                  \
        token_rows(rows, dtype);                                                                                       \
    }                                                                                                                  \
    static void token_grads_##suffix(const plb_token_grads *rows)                                                      \
    {                                                                                                                  \
        token_grads(rows, dtype);                                                                                      \
    }                                                                                                                  \
    static void round_sum_##suffix(void *to, const double *sum, int64_t channels)                                      \
    {                                                                                                                  \
        round_sum(to, sum, channels, dtype);                                                                           \
    }                                                                                                                  \
    static void similarity_rows_##suffix(const plb_similarity_rows *rows)                                              \
    {                                                                                                                  \
        similarity_rows(rows, dtype);                                                                                  \
    }

TOKEN_ROWS(f32, PLB_F32)
TOKEN_ROWS(f16, PLB_F16)
TOKEN_ROWS(bf16, PLB_BF16)

void plb_similarity_rows_reference_f64(const plb_similarity_rows *rows)
{
    similarity_rows(rows, PLB_F64);
}

const plb_simd plb_simd_reference = {
    .isa = POSLABEL_ISA_REFERENCE,
    .loss_rows = {loss_rows_f32, loss_rows_f16, loss_rows_bf16, plb_loss_rows_reference_f64},
    .token_rows = {token_rows_f32, token_rows_f16, token_rows_bf16},
    .token_grads = {token_grads_f32, token_grads_f16, token_grads_bf16},
    .round_sum = {round_sum_f32, round_sum_f16, round_sum_bf16},
    .similarity_rows = {similarity_rows_f32, similarity_rows_f16, similarity_rows_bf16,
                        plb_similarity_rows_reference_f64},
    .masks = MASK_KERNELS,
};
