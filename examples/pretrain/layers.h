/* layers.h: the parts of a vision transformer, on the CPU and on CUDA.  SPDX-License-Identifier: Apache-2.0 */
#ifndef PRETRAIN_LAYERS_H
#define PRETRAIN_LAYERS_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One number of the model.  float trains; test_gradient.c compiles the model with double, where a numerical
 * derivative is exact to seven digits.
 */
#ifdef PRETRAIN_DOUBLE
typedef double real;
#else
typedef float real;
#endif

/* What AdamW does to a weight at one step: see adamw.c. */
typedef struct adamw_step {
    real beta1, beta2, epsilon;
    real rate, correction, keep;
} adamw_step;

/*
 * All that the model asks of the machine that it runs on.  There are two: the CPU, over CBLAS (backend.c, layers.c,
 * attention.c), and CUDA, over cuBLAS (gpu.cu, layers.cu, attention.cu).  Each keeps the numbers in memory of its own,
 * which the host reads and writes by download() and upload() only.  On CUDA all other functions queue their work and
 * return.
 *
 * All tensors are compact and row-major.  A row is one token.  A backward function overwrites the gradients it is
 * given; `grad_` means the derivative of the loss by the tensor of that name.  No function starts a thread.
 */
typedef struct backend {
    const char *name; /* of the machine, to print                                                        */
    bool is_cuda;
    void *stream;  /* a cudaStream_t on CUDA, where all work is queued; else NULL                     */
    size_t shards; /* how many parts encoder.c cuts a batch into, each for one thread                 */

    /* ---- memory ---- */

    /* count * size bytes of zeros, or fail().  release() takes NULL, too. */
    void *(*allocate)(size_t count, size_t size);
    void (*release)(void *data);

    /* To and from memory of the host.  Nothing else waits for the device. */
    void (*upload)(void *data, const void *host, size_t size);
    void (*download)(void *host, const void *data, size_t size);

    void (*zero)(real *data, size_t count);

    /* `rows` rows of `width` numbers; the rows begin to_stride and from_stride numbers apart. */
    void (*copy_rows)(real *to, size_t to_stride, const real *from, size_t from_stride, size_t width, size_t rows);

    /* ---- layers ---- */

    /* y[rows, out] = x[rows, in] weight[out, in]^T + bias[out] */
    void (*linear)(const real *x, const real *weight, const real *bias, real *y, size_t rows, size_t in, size_t out);

    /* grad_x may be NULL: nothing before this layer needs it. */
    void (*linear_backward)(const real *x, const real *weight, const real *grad_y, real *grad_x, real *grad_weight,
                            real *grad_bias, size_t rows, size_t in, size_t out);

    /* y = (x - mean) * rstd * scale + shift in each row; mean[rows] and rstd[rows] are kept for the way back. */
    void (*layer_norm)(const real *x, const real *scale, const real *shift, real *y, real *mean, real *rstd,
                       size_t rows, size_t dim);

    /* grad_x += the gradient through the norm: a pre-norm block adds it to the gradient of its residual branch. */
    void (*layer_norm_backward)(const real *x, const real *scale, const real *mean, const real *rstd,
                                const real *grad_y, real *grad_x, real *grad_scale, real *grad_shift, size_t rows,
                                size_t dim);

    /* y = x * sigmoid(1.5957691 * (x + 0.044715 x^3)), which is the tanh form of GELU. */
    void (*gelu)(const real *x, real *y, size_t count);

    /* grad is the gradient of y on entry and that of x on return. */
    void (*gelu_backward)(const real *x, real *grad, size_t count);

    /* sum += x */
    void (*add)(real *sum, const real *x, size_t count);

    /*
     * Multi-head self-attention within each image.  qkv[batch * tokens, 3 * dim] holds queries, keys and values of all
     * heads; y[batch * tokens, dim]; attention[batch, heads, tokens, tokens], the softmax, is kept for the way back.
     */
    void (*attention)(const real *qkv, real *attention, real *y, size_t batch, size_t tokens, size_t dim, size_t heads);

    /* scores[batch, heads, tokens, tokens] is scratch. */
    void (*attention_backward)(const real *qkv, const real *attention, const real *grad_y, real *scores, real *grad_qkv,
                               size_t batch, size_t tokens, size_t dim, size_t heads);

    /* ---- optimizer ---- */

    /* *factor = clip / |gradient| if that is less than 1, else 1. */
    void (*clip)(const real *gradient, size_t count, real clip, real *factor);

    /* One step of AdamW, with the gradient times *factor. */
    void (*adamw)(real *weight, const real *gradient, real *moment1, real *moment2, size_t count, const real *factor,
                  adamw_step step);
} backend;

/* The CPU, or the first CUDA device; fail()s when there is none, or the trainer was built without CUDA. */
const backend *backend_open(bool cuda);

/* The constants of the layers, the same on both. */
#define LAYER_NORM_EPSILON ((real)1e-6)

/* sqrt(8 / pi): the tanh form 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) is x * sigmoid(twice that argument). */
#define GELU_SLOPE ((real)1.5957691216057308)
#define GELU_CUBE ((real)0.044715)

#ifdef __cplusplus
}
#endif
#endif
