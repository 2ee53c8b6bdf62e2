/*
 * Cosine similarity of tokens with the class tokens of their images.  SPDX-License-Identifier: Apache-2.0
 *
 * One read of each token gives both its product with the class token and its length.  Images take turns, so that an
 * embedding comes from the L1 cache for all but the first of them.  Sums are formed in float32 over short blocks and in
 * double precision over the blocks, so that their error does not grow with the channels.
 */

enum { SIMILARITY_BLOCK = 64 * VF_LANES };

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

/* c . t and t . t for t = a + b */
INLINE token_sums multiply(const float *c, const char *a, const char *b, int64_t n, plb_dtype dtype)
{
    token_sums sums = {0, 0};
    int64_t i = 0;
    while (i < n) {
        const int64_t end = n - i < SIMILARITY_BLOCK ? n : i + SIMILARITY_BLOCK;
        vf product[4] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
        vf square[4] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
        for (; i + 4 * VF_LANES <= end; i += 4 * VF_LANES)
            for (int k = 0; k < 4; k++) {
                const vf t = load_sum(a, b, i + k * VF_LANES, dtype);
                product[k] = vf_fma(vf_load(c + i + k * VF_LANES), t, product[k]);
                square[k] = vf_fma(t, t, square[k]);
            }
        for (; i + VF_LANES <= end; i += VF_LANES) {
            const vf t = load_sum(a, b, i, dtype);
            product[0] = vf_fma(vf_load(c + i), t, product[0]);
            square[0] = vf_fma(t, t, square[0]);
        }
        if (i < end) {
            const vf t = load_sum_n(a, b, i, dtype, (int)(end - i));
            product[1] = vf_fma(vf_load_n(c + i, (int)(end - i)), t, product[1]);
            square[1] = vf_fma(t, t, square[1]);
            i = end;
        }
        sums.product += vf_sum(vf_add(vf_add(product[0], product[1]), vf_add(product[2], product[3])));
        sums.square += vf_sum(vf_add(vf_add(square[0], square[1]), vf_add(square[2], square[3])));
    }
    return sums;
}

/* c = cls + embedding; gives its norm */
INLINE double read_cls(float *c, const char *cls, const char *embedding, int64_t n, plb_dtype dtype)
{
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store(c + i, load_sum(cls, embedding, i, dtype));
    if (i < n)
        vf_store_n(c + i, load_sum_n(cls, embedding, i, dtype, (int)(n - i)), (int)(n - i));
    const double length = sqrt(multiply(c, (const char *)c, NULL, n, PLB_F32).square);
    return length < PLB_SIMILARITY_EPS ? PLB_SIMILARITY_EPS : length;
}

INLINE void similarity_rows(const plb_similarity_rows *rows, plb_dtype dtype)
{
    const int64_t n = rows->channels;
    float *c[PLB_SIMILARITY_IMAGES];
    double cls_norm[PLB_SIMILARITY_IMAGES];
    for (int image = 0; image < rows->images; image++) {
        const bool is_shared = image > 0 && rows->cls[image] == rows->cls[0];
        c[image] = is_shared ? c[0] : (float *)rows->scratch + image * n;
        cls_norm[image] = read_cls(c[image], rows->cls[image], rows->cls_embedding, n, dtype);
    }
    for (int64_t k = 0; k < rows->count; k++) {
        const char *const embedding = rows->embedding ? rows->embedding + k * rows->embedding_step : NULL;
        for (int image = 0; image < rows->images; image++) {
            const char *const token = rows->token[image] + k * rows->token_step;
            const token_sums sums =
                embedding ? multiply(c[image], token, embedding, n, dtype) : multiply(c[image], token, NULL, n, dtype);
            const double length = sqrt(sums.square);
            rows->similarity[image * rows->count + k] =
                sums.product / (cls_norm[image] * (length < PLB_SIMILARITY_EPS ? PLB_SIMILARITY_EPS : length));
        }
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
