/*
 * What is compiled once for each instruction set.  SPDX-License-Identifier: Apache-2.0
 *
 * The *_rows.inc.h files hold the kernels, written over the vectors of simd_*.h; simd_<isa>.c includes them and exports
 * one table, everything else in it being static, so that no function compiled with ISA flags can be called from
 * elsewhere.  simd_reference.c fills the same table in plain C and double precision: the definition of correct, and
 * what float64 runs on at every level.
 */
#ifndef PLB_CPU_SIMD_H
#define PLB_CPU_SIMD_H

#include "masks.h"

enum { PLB_ROW_BATCH = 64 };

/*
 * Gaussian targets of a position i, as a row of numbers.  On small grids, with rows that sum to 1, they lie ready: those
 * of positions above one another are the same but for a shift and a factor, so that all come from a few long rows, which
 * fit in the L1 cache.
 */
typedef struct plb_gaussian_row {
    const float *targets; /* t_ij = factor * targets[j]; may be anything finite past the end */
    double factor;
} plb_gaussian_row;

/*
 * Factors of the Gaussian targets: t_ij = y[y_i][y_j] * x[x_i][x_j], each axis already normalised.
 *
 * What float32 arithmetic cannot tell from 0 beside the maximum (below 2^-32 of it) is left out by the vectors: a window
 * of window_rows x window_columns patches counts, as large for every position, which begins at first_row[y_i] and
 * first_column[x_i] and has the factors y_window[y_i] and x_window[x_i].
 */
typedef struct plb_gaussian {
    int32_t height, width;
    const double *y, *x;         /* height x height and width x width                                        */
    const double *total;         /* by position i: sum_j t_ij                                                  */
    int32_t window_rows, window_columns;
    const int32_t *first_row, *first_column;
    const float *y_window;       /* height x window_rows                                                      */
    const float *x_window;       /* width x x_pitch, zeros from window_columns on                             */
    int64_t x_pitch;             /* a multiple of 16                                                          */
    const plb_gaussian_row *rows; /* by position i, or NULL */
} plb_gaussian;

/* Up to PLB_ROW_BATCH rows of a loss. */
typedef struct plb_loss_rows {
    int64_t classes;
    int count;
    const void *logits[PLB_ROW_BATCH];
    void *grad[PLB_ROW_BATCH];      /* NULL throughout: loss only                                               */
    int32_t label[PLB_ROW_BATCH];   /* class, or position of the Gaussian; -1: weight 0, row not read, grad 0   */
    double scale[PLB_ROW_BATCH];    /* of the gradient                                                          */
    const plb_gaussian *gaussian;   /* NULL: one peak over a constant                                           */
    void *work;                     /* PLB_LOSS_WORK bytes for the kernel, aligned to 64                        */
    float *table;                   /* if it has no rows, and not NULL: plb_loss_table_floats(), of this thread */
    uint8_t *has_row;               /* `classes` of them: whether a row of targets is in the table yet          */
    double base, peak;              /* then t = base + peak * [c = label]                                       */
    bool stream;                    /* store gradients past the caches                                          */
    bool accuracy;                  /* whether `correct` is wanted                                              */
    float *scratch;                 /* plb_loss_scratch() bytes, aligned to 64                                  */
    double loss[PLB_ROW_BATCH];     /* out: unweighted                                                          */
    bool correct[PLB_ROW_BATCH];    /* out: the label is the first maximum, if `accuracy`                       */
    bool filter;                    /* whether `confident` is wanted                                            */
    bool confident[PLB_ROW_BATCH];  /* out: p_label >= t_label                                                  */
} plb_loss_rows;

/* Room for what a kernel keeps of the rows of a batch; it checks that this is enough. */
enum { PLB_LOSS_WORK = 5120 };

/* Floats from one row of scratch to the next: slack for whole vectors past the end. */
static inline int64_t plb_loss_pitch(int64_t classes)
{
    return (classes + 64) / 16 * 16;
}

/* Grids whose Gaussian targets are kept as rows of numbers. */
enum { PLB_MOST_TABLE_CLASSES = 400 };

/*
 * Where rows of targets differ by more than a shift and a factor, a thread works out those of a position when it first
 * meets it.  A table for all threads would have to be made by one, and the others would wait for it line by line.
 */
static inline int64_t plb_loss_table_pitch(int64_t classes)
{
    return (classes + 31) / 16 * 16; /* 16 zeros past the end at the least */
}

static inline size_t plb_loss_table_floats(int64_t classes)
{
    return (size_t)(classes * plb_loss_table_pitch(classes));
}

/* Exponentials of two rows: while those of one become gradients, those of the next are made. */
static inline size_t plb_loss_scratch(int64_t classes)
{
    return plb_size_mul(2 * sizeof(float), (size_t)plb_loss_pitch(classes));
}

typedef void plb_loss_kernel(plb_loss_rows *rows);

/* Up to PLB_TOKEN_BATCH rows of assembled tokens: the kernels look ahead in the list. */
enum { PLB_TOKEN_BATCH = 256 };

typedef struct plb_token_rows {
    int64_t channels;
    int count;
    bool stream;                            /* store x past the caches                                          */
    const void *token[PLB_TOKEN_BATCH];
    const void *embedding[PLB_TOKEN_BATCH]; /* NULL: the token as it is                                         */
    void *x[PLB_TOKEN_BATCH];               /* token + embedding                                                */
} plb_token_rows;

typedef void plb_token_kernel(const plb_token_rows *rows);

/* Up to PLB_TOKEN_BATCH rows of a gradient, each copied to one place and added to one sum. */
typedef struct plb_token_grads {
    int64_t channels;
    int count;
    bool stream;                       /* store the copies past the caches                                      */
    const void *grad[PLB_TOKEN_BATCH]; /* NULL: zeros, and no sum                                               */
    void *to[PLB_TOKEN_BATCH];         /* NULL: not copied                                                      */
    double *sum[PLB_TOKEN_BATCH];      /* plb_sum_pitch(channels) numbers; NULL: not added                      */
} plb_token_grads;

typedef void plb_token_grad_kernel(const plb_token_grads *rows);

/* to = such a sum, rounded once. */
typedef void plb_round_kernel(void *to, const double *sum, int64_t channels);

/* Doubles from one sum to the next: whole vectors are added. */
static inline size_t plb_sum_pitch(int64_t channels)
{
    return ((size_t)channels + 15) / 16 * 16;
}

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

typedef struct plb_simd {
    poslabel_isa isa;
    plb_loss_kernel *loss_rows[PLB_F64 + 1]; /* by dtype: float32, float16, bfloat16, float64 */
    plb_token_kernel *token_rows[PLB_BF16 + 1]; /* float32, float16, bfloat16 */
    plb_token_grad_kernel *token_grads[PLB_BF16 + 1];
    plb_round_kernel *round_sum[PLB_BF16 + 1];
    plb_similarity_kernel *similarity_rows[PLB_F64 + 1];
    plb_mask_kernels masks;
} plb_simd;

/* What every level uses for float64. */
plb_loss_kernel plb_loss_rows_reference_f64;
plb_similarity_kernel plb_similarity_rows_reference_f64;

extern const plb_simd plb_simd_reference, plb_simd_baseline;
#ifdef PLB_HAVE_X86
extern const plb_simd plb_simd_avx2, plb_simd_avx512;
#endif

#endif
