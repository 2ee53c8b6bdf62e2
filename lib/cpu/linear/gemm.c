/*
 * Matrix products: the only file that knows the CBLAS.
 *
 * The threads are ours, not those of the CBLAS: its own way of sharing a product out depends on their number, and so
 * do the bits of what comes out.  Here each thread has the CBLAS compute whole tiles of the result.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/linear/gemm.h"

#ifdef PLB_HAVE_CBLAS
#include <cblas.h>
#include <string.h>

const char *const plb_gemm_missing = NULL;

/*
 * Smaller tiles keep more threads at work, and cost more: at 128 x 128 OpenBLAS has lost a tenth of its speed.
 * Sizes are multiples of 16, but at the edges.
 */
enum { LARGEST_TILE = 512, SMALLEST_TILE = 128, ENOUGH_TILES = 16 };

typedef struct tiling {
    int64_t rows, columns; /* of a tile             */
    int64_t down, across;  /* tiles                 */
} tiling;

static int64_t tiles_of(int64_t length, int64_t tile)
{
    return (length + tile - 1) / tile;
}

/* Tiles of about equal size, none larger than `largest`. */
static int64_t even_tile(int64_t length, int64_t largest)
{
    const int64_t tiles = tiles_of(length, largest);
    return tiles_of(tiles_of(length, tiles), 16) * 16;
}

static tiling tiling_of(int64_t rows, int64_t columns)
{
    int64_t down = LARGEST_TILE, across = LARGEST_TILE;
    while (tiles_of(rows, down) * tiles_of(columns, across) < ENOUGH_TILES) {
        const int64_t high = rows < down ? rows : down, wide = columns < across ? columns : across;
        int64_t *const larger = high >= wide ? &down : &across;
        if (*larger == SMALLEST_TILE)
            break;
        *larger /= 2;
    }
    tiling t = {even_tile(rows, down), even_tile(columns, across), 0, 0};
    t.down = tiles_of(rows, t.rows);
    t.across = tiles_of(columns, t.columns);
    return t;
}

typedef struct multiply_run {
    const plb_gemm *product;
    tiling tiles;
} multiply_run;

static const void *element(const plb_gemm *p, const void *matrix, int64_t index)
{
    return (const char *)matrix + index * plb_dtype_size[p->dtype];
}

static void multiply_tile(const plb_gemm *p, int64_t row, int64_t column, int64_t rows, int64_t columns)
{
    const enum CBLAS_TRANSPOSE ta = p->transpose_a ? CblasTrans : CblasNoTrans;
    const enum CBLAS_TRANSPOSE tb = p->transpose_b ? CblasTrans : CblasNoTrans;
    const void *const a = element(p, p->a, p->transpose_a ? row : row * p->a_stride);
    const void *const b = element(p, p->b, p->transpose_b ? column * p->b_stride : column);
    char *const c = (char *)p->c + (row * p->c_stride + column) * plb_dtype_size[p->dtype];
    for (int64_t r = 0; p->start && r < rows; r++)
        memcpy(c + r * p->c_stride * plb_dtype_size[p->dtype], element(p, p->start, column),
               (size_t)columns * plb_dtype_size[p->dtype]);
    const double beta = p->add || p->start ? 1 : 0;
    if (p->dtype == PLB_F32)
        cblas_sgemm(CblasRowMajor, ta, tb, (int)rows, (int)columns, (int)p->depth, 1, a, (int)p->a_stride, b,
                    (int)p->b_stride, (float)beta, (float *)(void *)c, (int)p->c_stride);
    else
        cblas_dgemm(CblasRowMajor, ta, tb, (int)rows, (int)columns, (int)p->depth, 1, a, (int)p->a_stride, b,
                    (int)p->b_stride, beta, (double *)(void *)c, (int)p->c_stride);
}

static void multiply_tiles(void *argument, int thread, int threads)
{
    const multiply_run *const run = argument;
    const plb_gemm *const p = run->product;
    const tiling *const t = &run->tiles;
    int64_t begin, end;
    plb_share(t->down * t->across, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t row = i / t->across * t->rows, column = i % t->across * t->columns;
        multiply_tile(p, row, column, p->rows - row < t->rows ? p->rows - row : t->rows,
                      p->columns - column < t->columns ? p->columns - column : t->columns);
    }
}

void plb_multiply(poslabel_context *context, const plb_gemm *product)
{
    multiply_run run = {product, tiling_of(product->rows, product->columns)};
    /* in the time that a thread needs to copy a byte it makes several multiplications */
    const size_t work =
        plb_size_mul(plb_size_mul((size_t)product->rows, (size_t)product->columns), (size_t)product->depth) / 4;
    plb_parallel(context, work, multiply_tiles, &run);
}

#else

const char *const plb_gemm_missing = "this build of libposlabel has no CBLAS; build it with one (Debian: "
                                     "libopenblas-openmp-dev) and without -Dcblas=disabled";

void plb_multiply(poslabel_context *context, const plb_gemm *product)
{
    (void)context;
    (void)product;
}

#endif
