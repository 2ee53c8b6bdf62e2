/*
 * The kernels of attentive weights.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_ATTENTION_KERNELS_H
#define PLB_CPU_ATTENTION_KERNELS_H

#include "dtype.h"

#define PLB_SIMILARITY_EPS 1e-8 /* lengths below this count as this, as in PyTorch's cosine_similarity() */

/* The cosine similarity of the tokens of a few images, which share their embeddings, with their class tokens. */
enum { PLB_SIMILARITY_IMAGES = 4 };

typedef struct plb_similarity_rows {
    int64_t channels;
    int64_t count;                            /* tokens of an image                                             */
    int images;
    int64_t token_step, embedding_step;       /* bytes from row to row                                          */
    const char *token[PLB_SIMILARITY_IMAGES]; /* the first row of each                                          */
    const char *embedding;                    /* the first row, or NULL                                         */
    const char *cls[PLB_SIMILARITY_IMAGES];
    const char *cls_embedding;                /* or NULL                                                        */
    double *scratch;                          /* PLB_SIMILARITY_IMAGES * channels                               */
    double *similarity;                       /* out: images * count                                            */
} plb_similarity_rows;

typedef void plb_similarity_kernel(const plb_similarity_rows *rows);

typedef struct plb_attention_kernels {
    plb_similarity_kernel *similarity[PLB_F64 + 1]; /* by dtype: float32, float16, bfloat16, float64 */
} plb_attention_kernels;

/* Every instruction set uses this one for float64. */
plb_similarity_kernel plb_similarity_rows_reference_f64;

#endif
