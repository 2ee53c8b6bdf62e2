/*
 * Cosine similarity of tokens with the class tokens of their images.
 *
 * One read of each token gives both its product with the class token and its length.  The same token of a few images is
 * worked on at once, so that its embedding is loaded, and widened, once.  Sums are formed in float32 over short blocks
 * and in double precision over the blocks, so that their error does not grow with the channels.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives attention_kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/attention/kernels.h"
#include "cpu/vectors/elements.inc.h"

#include <math.h>

enum {
    SIMILARITY_BLOCK = 48 * VF_LANES,                /* channels whose products are summed in float32 */
    SIMILARITY_ROWS_AT_ONCE = VF_LANES == 16 ? 4 : 2 /* as many as have sums that fit the registers   */
};

/* What one read of a token gives: its product with the class token, and with itself. */
typedef struct token_sums {
    double product, square;
} token_sums;

/* Elements of token + embedding; the embedding may be NULL. */
INLINE vf load_sum(const char *token, const char *embedding, int64_t i, plb_dtype dtype)
{
    const vf t = load(token, i, dtype);
    return embedding ? vf_add(t, load(embedding, i, dtype)) : t;
}

INLINE vf load_sum_n(const char *token, const char *embedding, int64_t i, plb_dtype dtype, int n)
{
    const vf t = load_n(token, i, dtype, n);
    return embedding ? vf_add(t, load_n(embedding, i, dtype, n)) : t;
}

/* The same over a block, by even and odd vectors: the order of a token's sums does not depend on how many tokens. */
typedef struct block_sums {
    vf product[2], square[2];
} block_sums;

INLINE void add_product(block_sums *sums, int odd, vf cls, vf token)
{
    sums->product[odd] = vf_fma(cls, token, sums->product[odd]);
    sums->square[odd] = vf_fma(token, token, sums->square[odd]);
}

/* cls . t and t . t for t = token + embedding, for `count` tokens with a common embedding. */
INLINE void sum_products(token_sums *sums, const float *const *cls, const char *const *token, const char *embedding,
                         int64_t n, plb_dtype dtype, int count)
{
    for (int row = 0; row < count; row++)
        sums[row] = (token_sums){0, 0};
    for (int64_t i = 0; i < n;) {
        const int64_t end = n - i < SIMILARITY_BLOCK ? n : i + SIMILARITY_BLOCK;
        block_sums block[SIMILARITY_ROWS_AT_ONCE];
        for (int row = 0; row < count; row++)
            block[row] = (block_sums){{vf_set(0), vf_set(0)}, {vf_set(0), vf_set(0)}};
        for (; i + 2 * VF_LANES <= end; i += 2 * VF_LANES)
            for (int odd = 0; odd < 2; odd++) {
                const int64_t at = i + odd * VF_LANES;
                const vf added = embedding ? load(embedding, at, dtype) : vf_set(0);
                for (int row = 0; row < count; row++) {
                    const vf t = load(token[row], at, dtype);
                    add_product(&block[row], odd, vf_load(cls[row] + at), embedding ? vf_add(t, added) : t);
                }
            }
        for (int odd = 0; i < end; odd++, i += VF_LANES) /* at most two more, the last of them not whole */
            for (int row = 0; row < count; row++)
                if (i + VF_LANES <= end)
                    add_product(&block[row], odd, vf_load(cls[row] + i), load_sum(token[row], embedding, i, dtype));
                else
                    add_product(&block[row], odd, vf_load_n(cls[row] + i, (int)(end - i)),
                                load_sum_n(token[row], embedding, i, dtype, (int)(end - i)));
        i = end;
        for (int row = 0; row < count; row++) {
            sums[row].product += vf_sum(vf_add(block[row].product[0], block[row].product[1]));
            sums[row].square += vf_sum(vf_add(block[row].square[0], block[row].square[1]));
        }
    }
}

/* The length of a token, but never so small that dividing by it would overflow. */
INLINE double norm_of(double square)
{
    const double norm = sqrt(square);
    return norm < PLB_SIMILARITY_EPS ? PLB_SIMILARITY_EPS : norm;
}

/* sum = cls + embedding; gives its norm. */
INLINE double read_cls(float *sum, const char *cls, const char *embedding, int64_t n, plb_dtype dtype)
{
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store(sum + i, load_sum(cls, embedding, i, dtype));
    if (i < n)
        vf_store_n(sum + i, load_sum_n(cls, embedding, i, dtype, (int)(n - i)), (int)(n - i));
    const float *const as_cls = sum;
    const char *const as_token = (const char *)sum;
    token_sums sums;
    sum_products(&sums, &as_cls, &as_token, NULL, n, PLB_F32, 1);
    return norm_of(sums.square);
}

/* The similarities of `count` images, from `image` on, at token k. */
INLINE void similarity_of(const plb_similarity_rows *rows, const float *const *cls, const double *cls_norm, int image,
                          int64_t k, plb_dtype dtype, int count)
{
    const char *const embedding = rows->embedding ? rows->embedding + k * rows->embedding_step : NULL;
    const char *token[SIMILARITY_ROWS_AT_ONCE];
    token_sums sums[SIMILARITY_ROWS_AT_ONCE];
    for (int row = 0; row < count; row++)
        token[row] = rows->token[image + row] + k * rows->token_step;
    if (embedding)
        sum_products(sums, cls + image, token, embedding, rows->channels, dtype, count);
    else
        sum_products(sums, cls + image, token, NULL, rows->channels, dtype, count);
    for (int row = 0; row < count; row++)
        rows->similarity[(image + row) * rows->count + k] =
            sums[row].product / (cls_norm[image + row] * norm_of(sums[row].square));
}

INLINE void similarity_rows(const plb_similarity_rows *rows, plb_dtype dtype)
{
    const int64_t n = rows->channels;
    const float *cls[PLB_SIMILARITY_IMAGES];
    double cls_norm[PLB_SIMILARITY_IMAGES];
    for (int image = 0; image < rows->images; image++) {
        if (image > 0 && rows->cls[image] == rows->cls[0]) {
            cls[image] = cls[0];
            cls_norm[image] = cls_norm[0];
            continue;
        }
        float *const sum = (float *)rows->scratch + image * n;
        cls_norm[image] = read_cls(sum, rows->cls[image], rows->cls_embedding, n, dtype);
        cls[image] = sum;
    }
    for (int64_t k = 0; k < rows->count; k++) {
        int image = 0;
        for (; image + SIMILARITY_ROWS_AT_ONCE <= rows->images; image += SIMILARITY_ROWS_AT_ONCE)
            similarity_of(rows, cls, cls_norm, image, k, dtype, SIMILARITY_ROWS_AT_ONCE);
        for (; image + 2 <= rows->images; image += 2)
            similarity_of(rows, cls, cls_norm, image, k, dtype, 2);
        for (; image < rows->images; image++)
            similarity_of(rows, cls, cls_norm, image, k, dtype, 1);
    }
}

#define SIMILARITY_ROWS(name, dtype)                                                                                   \
    static void name(const plb_similarity_rows *rows)                                                                  \
    {                                                                                                                  \
        similarity_rows(rows, dtype);                                                                                  \
    }

SIMILARITY_ROWS(similarity_rows_f32, PLB_F32)
SIMILARITY_ROWS(similarity_rows_f16, PLB_F16)
SIMILARITY_ROWS(similarity_rows_bf16, PLB_BF16)

static const plb_attention_kernels attention_kernels = {
    .similarity = {similarity_rows_f32, similarity_rows_f16, similarity_rows_bf16, plb_similarity_rows_reference_f64},
};
