/*
 * The kernels of attentive weights in plain C and double precision: the definition of correct.
 *
 * Gives attention_kernels, and the function that every instruction set uses for float64.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/attention/kernels.h"
#include "cpu/core/numbers.h"

#include <math.h>

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

#define SIMILARITY_ROWS(name, dtype)                                                                                   \
    static void name(const plb_similarity_rows *rows)                                                                  \
    {                                                                                                                  \
        similarity_rows(rows, dtype);                                                                                  \
    }

SIMILARITY_ROWS(similarity_rows_f32, PLB_F32)
SIMILARITY_ROWS(similarity_rows_f16, PLB_F16)
SIMILARITY_ROWS(similarity_rows_bf16, PLB_BF16)

void plb_similarity_rows_reference_f64(const plb_similarity_rows *rows)
{
    similarity_rows(rows, PLB_F64);
}

static const plb_attention_kernels attention_kernels = {
    .similarity = {similarity_rows_f32, similarity_rows_f16, similarity_rows_bf16, plb_similarity_rows_reference_f64},
};
