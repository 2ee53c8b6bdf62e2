/*
 * Cosine similarity of tokens with the class tokens of their images.
 *
 * One read of each token gives both its product with the class token and its length.  The same token of a few images is
 * worked on at once, so that its embedding is loaded, and widened, once.  Sums are formed in float32 over short blocks
 * and in double precision over the blocks, so that their error does not grow with the channels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/attention/kernels.h"

#include <math.h>

enum {
    SIMILARITY_BLOCK = 48 * VF_LANES,
    SIMILARITY_ROWS_AT_ONCE = VF_LANES == 16 ? 4 : 2 /* as their sums fit the registers */
};

typedef struct token_sums {
    double product, square;
} token_sums;

/* Elements of a + b; `b` may be NULL. */
INLINE vf load_sum(const char *a, const char *b, int64_t i, plb_dtype dtype)
{
    return b ? vf_add(load(a, i, dtype), load(b, i, dtype)) : load(a, i, dtype);
}

INLINE vf load_sum_n(const char *a, const char *b, int64_t i, plb_dtype dtype, int n)
{
    return b ? vf_add(load_n(a, i, dtype, n), load_n(b, i, dtype, n)) : load_n(a, i, dtype, n);
}

/* The two sums of some rows over a block; each row's are added up in the same order however many there are. */
typedef struct block_sums {
    vf product[2], square[2];
} block_sums;

INLINE void add_product(block_sums *sums, int part, vf c, vf t)
{
    sums->product[part] = vf_fma(c, t, sums->product[part]);
    sums->square[part] = vf_fma(t, t, sums->square[part]);
}

/* c . t and t . t for t = a + b, for `count` rows a with a common b. */
INLINE void multiply(token_sums *sums, const float *const *c, const char *const *a, const char *b, int64_t n,
                     plb_dtype dtype, int count)
{
    for (int row = 0; row < count; row++)
        sums[row] = (token_sums){0, 0};
    for (int64_t i = 0; i < n;) {
        const int64_t end = n - i < SIMILARITY_BLOCK ? n : i + SIMILARITY_BLOCK;
        block_sums block[SIMILARITY_ROWS_AT_ONCE];
        for (int row = 0; row < count; row++)
            block[row] = (block_sums){{vf_set(0), vf_set(0)}, {vf_set(0), vf_set(0)}};
        for (; i + 2 * VF_LANES <= end; i += 2 * VF_LANES)
            for (int part = 0; part < 2; part++) {
                const int64_t at = i + part * VF_LANES;
                const vf embedding = b ? load(b, at, dtype) : vf_set(0);
                for (int row = 0; row < count; row++) {
                    const vf token = load(a[row], at, dtype);
                    add_product(&block[row], part, vf_load(c[row] + at), b ? vf_add(token, embedding) : token);
                }
            }
        for (int part = 0; i < end; part++, i += VF_LANES) /* at most two more, the last of them not whole */
            for (int row = 0; row < count; row++)
                if (i + VF_LANES <= end)
                    add_product(&block[row], part, vf_load(c[row] + i), load_sum(a[row], b, i, dtype));
                else
                    add_product(&block[row], part, vf_load_n(c[row] + i, (int)(end - i)),
                                load_sum_n(a[row], b, i, dtype, (int)(end - i)));
        i = end;
        for (int row = 0; row < count; row++) {
            sums[row].product += vf_sum(vf_add(block[row].product[0], block[row].product[1]));
            sums[row].square += vf_sum(vf_add(block[row].square[0], block[row].square[1]));
        }
    }
}

/* c = cls + embedding; gives its norm */
INLINE double read_cls(float *c, const char *cls, const char *embedding, int64_t n, plb_dtype dtype)
{
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store(c + i, load_sum(cls, embedding, i, dtype));
    if (i < n)
        vf_store_n(c + i, load_sum_n(cls, embedding, i, dtype, (int)(n - i)), (int)(n - i));
    const float *const whole = c;
    const char *const itself = (const char *)c;
    token_sums sums;
    multiply(&sums, &whole, &itself, NULL, n, PLB_F32, 1);
    const double length = sqrt(sums.square);
    return length < PLB_SIMILARITY_EPS ? PLB_SIMILARITY_EPS : length;
}

/* The similarities of `count` images, from `image` on, at token k. */
INLINE void similarity_of(const plb_similarity_rows *rows, const float *const *c, const double *cls_norm, int image,
                          int64_t k, plb_dtype dtype, int count)
{
    const char *const embedding = rows->embedding ? rows->embedding + k * rows->embedding_step : NULL;
    const char *token[SIMILARITY_ROWS_AT_ONCE];
    token_sums sums[SIMILARITY_ROWS_AT_ONCE];
    for (int row = 0; row < count; row++)
        token[row] = rows->token[image + row] + k * rows->token_step;
    if (embedding)
        multiply(sums, c + image, token, embedding, rows->channels, dtype, count);
    else
        multiply(sums, c + image, token, NULL, rows->channels, dtype, count);
    for (int row = 0; row < count; row++) {
        const double length = sqrt(sums[row].square);
        rows->similarity[(image + row) * rows->count + k] =
            sums[row].product / (cls_norm[image + row] * (length < PLB_SIMILARITY_EPS ? PLB_SIMILARITY_EPS : length));
    }
}

INLINE void similarity_rows(const plb_similarity_rows *rows, plb_dtype dtype)
{
    const int64_t n = rows->channels;
    const float *c[PLB_SIMILARITY_IMAGES];
    double cls_norm[PLB_SIMILARITY_IMAGES];
    for (int image = 0; image < rows->images; image++) {
        if (image > 0 && rows->cls[image] == rows->cls[0]) {
            c[image] = c[0];
            cls_norm[image] = cls_norm[0];
            continue;
        }
        float *const own = (float *)rows->scratch + image * n;
        cls_norm[image] = read_cls(own, rows->cls[image], rows->cls_embedding, n, dtype);
        c[image] = own;
    }
    for (int64_t k = 0; k < rows->count; k++) {
        int image = 0;
        for (; image + SIMILARITY_ROWS_AT_ONCE <= rows->images; image += SIMILARITY_ROWS_AT_ONCE)
            similarity_of(rows, c, cls_norm, image, k, dtype, SIMILARITY_ROWS_AT_ONCE);
        for (; image + 2 <= rows->images; image += 2)
            similarity_of(rows, c, cls_norm, image, k, dtype, 2);
        for (; image < rows->images; image++)
            similarity_of(rows, c, cls_norm, image, k, dtype, 1);
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
