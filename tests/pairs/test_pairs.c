/*
 * Pairs of cells and their offsets: golden vectors, known values, the definition at every level and layout, chi-square,
 * splits of the batch, every documented error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#define INVALID POSLABEL_ERROR_INVALID
#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED

static poslabel_context *levels[ISA_LEVELS]; /* one of each, the last with three threads */
static int level_count;

static int open_levels(void **state)
{
    poslabel_isa isa[ISA_LEVELS];
    (void)state;
    level_count = isa_levels(isa);
    for (int i = 0; i < level_count; i++)
        levels[i] = context_new(isa[i], i + 1 < level_count ? 1 : 3);
    return 0;
}

static int close_levels(void **state)
{
    (void)state;
    for (int i = 0; i < level_count; i++)
        poslabel_context_destroy(levels[i]);
    return 0;
}

static const poslabel_grid grids[] = {{1, 1}, {1, 6}, {5, 1}, {2, 3}, {7, 7}, {3, 17}, {14, 14}, {28, 20}};

static int64_t cells_of(poslabel_grid grid)
{
    return (int64_t)grid.height * grid.width;
}

/* ---- pairs ---- */

static poslabel_cell_pairs_args pairs_args(poslabel_grid grid, int kind, const tensor *cells)
{
    poslabel_cell_pairs_args args = POSLABEL_CELL_PAIRS_ARGS_INIT;
    args.grid = grid;
    args.kind = kind;
    args.seed = 0x123456789abcdef0;
    args.step = 9;
    args.cells = tensor_of(cells);
    return args;
}

/* Word n of the stream, from the public function. */
static uint32_t word_of(const poslabel_cell_pairs_args *args, int64_t sample, uint32_t step, int64_t n)
{
    const uint64_t index = (uint64_t)sample;
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(n / 4), 6 + 256 * (uint32_t)(index >> 32), step};
    uint32_t words[4];
    poslabel_philox(args->seed, counter, words);
    return words[n % 4];
}

/* By counting the words that come before: slow, and unlike any sort. */
static int64_t rank_of(const uint32_t *words, int64_t count, int64_t n)
{
    int64_t rank = 0;
    for (int64_t k = 0; k < count; k++)
        rank += words[k] < words[n] || (words[k] == words[n] && k < n);
    return rank;
}

/* The m pairs of one image, as the header defines them. */
static void solve(const poslabel_cell_pairs_args *args, int64_t sample, uint32_t step, int64_t m, int64_t *cells)
{
    const int64_t w = args->grid.width;
    const uint32_t side[2] = {(uint32_t)args->grid.height, (uint32_t)w};
    uint32_t *const words = malloc((size_t)(4 * m + 1) * sizeof *words);
    for (int64_t n = 0; n < 4 * m; n++)
        words[n] = word_of(args, sample, step, n);
    for (int64_t i = 0; i < m; i++)
        if (args->kind == POSLABEL_PAIRS_RANDOM) {
            int64_t at[4];
            for (int k = 0; k < 4; k++)
                at[k] = poslabel_random_below(words[4 * i + k], side[k % 2]);
            cells[2 * i] = at[0] * w + at[1];
            cells[2 * i + 1] = at[2] * w + at[3];
        } else {
            cells[2 * i] = i;
            cells[2 * rank_of(words, m, i) + 1] = i;
        }
    free(words);
}

static void expect_pairs(const poslabel_cell_pairs_args *args, const tensor *cells, const int64_t *samples,
                         uint32_t step)
{
    const int64_t m = cells->shape[1];
    int64_t *const want = malloc((size_t)(2 * m + 1) * sizeof *want);
    for (int64_t b = 0; b < cells->shape[0]; b++) {
        solve(args, samples ? samples[b] : args->first_sample + b, step, m, want);
        for (int64_t i = 0; i < 2 * m; i++)
            if (tensor_get(cells, 2 * m * b + i) != (double)want[i])
                test_fail("image %lld, pair %lld, cell %lld is %g, want %lld", (long long)b, (long long)(i / 2),
                          (long long)(i % 2), tensor_get(cells, 2 * m * b + i), (long long)want[i]);
    }
    free(want);
    tensor_check(cells);
}

static void pairs_of_every_grid_and_layout(void **state)
{
    (void)state;
    for (int g = 0; g < COUNT(grids); g++)
        for (int kind = 0; kind < 2; kind++)
            for (int k = 0; k < 4; k++) {
                const int64_t m = kind ? cells_of(grids[g]) : 1 + 13 * k, images = 1 + k % 3;
                tensor *const cells = tensor_laid_out(k % 2 ? dtype_i32 : dtype_i64, SHAPE(images, m, 2),
                                                      (layout){.row_padding = k / 2 * 3});
                poslabel_cell_pairs_args args = pairs_args(grids[g], kind, cells);
                args.first_sample = k ? UINT32_MAX - 7 : 0;
                for (int l = 0; l < level_count; l++) {
                    test_case_is("%d x %d, kind %d, case %d, level %d", (int)grids[g].height, (int)grids[g].width, kind,
                                 k, l);
                    tensor_forget(cells);
                    expect_ok(levels[l], poslabel_cell_pairs(levels[l], &args));
                    expect_pairs(&args, cells, NULL, 9);
                }
                tensor_free(cells);
            }
    test_case_is("%s", "");
}

/* What any version must draw. */
static void known_values(void **state)
{
    (void)state;
    static const int64_t want[2][12] = {
        {87, 114, 89, 101, 89, 84, 47, 118, 67, 115, 23, 110},
        {0, 3, 1, 4, 2, 0, 3, 1, 4, 2, 5, 5},
    };
    for (int kind = 0; kind < 2; kind++) {
        const poslabel_grid grid = kind ? (poslabel_grid){2, 3} : (poslabel_grid){14, 10};
        tensor *const cells = tensor_new(dtype_i64, SHAPE(1, 6, 2));
        poslabel_cell_pairs_args args = pairs_args(grid, kind, cells);
        args.seed = 42;
        args.first_sample = 7;
        args.step = 3;
        expect_ok(levels[0], poslabel_cell_pairs(levels[0], &args));
        for (int i = 0; i < 12; i++)
            if (tensor_get(cells, i) != (double)want[kind][i])
                test_fail("kind %d, number %d is %g, want %lld", kind, i, tensor_get(cells, i),
                          (long long)want[kind][i]);
        tensor_free(cells);
    }
}

static void samples_and_steps(void **state)
{
    (void)state;
    const int64_t ids[] = {7, 0, 123456, UINT32_MAX, (int64_t)1 << 32, 7, ((int64_t)1 << 56) - 1};
    for (int kind = 0; kind < 2; kind++)
        for (int narrow = 0; narrow < 2; narrow++) {
            const int64_t images = narrow ? 3 : COUNT(ids), m = 15;
            const poslabel_dtype dtype = narrow ? dtype_i32 : dtype_i64;
            tensor *const cells = tensor_new(dtype_i64, SHAPE(images, m, 2)), *const samples =
                                                                                  tensor_new(dtype, 1, &images);
            tensor *const step = tensor_scalar(dtype, narrow ? 12 : UINT32_MAX);
            for (int64_t b = 0; b < images; b++)
                tensor_set(samples, b, (double)ids[b]);
            memcpy(samples->t.data, ids, narrow ? 0 : sizeof ids); /* beyond what a double holds */
            poslabel_cell_pairs_args args = pairs_args((poslabel_grid){3, 5}, kind, cells);
            args.first_sample = UINT32_MAX; /* not used */
            args.samples = &samples->t;
            args.step_scalar = &step->t;
            for (int l = 0; l < level_count; l++) {
                expect_ok(levels[l], poslabel_cell_pairs(levels[l], &args));
                expect_pairs(&args, cells, ids, narrow ? 12 : UINT32_MAX);
            }
            tensor_free(cells);
            tensor_free(samples);
            tensor_free(step);
        }
}

/* Neither threads, nor how a batch is split, nor how many pairs follow. */
static void splits_do_not_matter(void **state)
{
    (void)state;
    enum { IMAGES = 301, M = 49 };
    for (int kind = 0; kind < 2; kind++) {
        tensor *const want = tensor_new(dtype_i64, SHAPE(IMAGES, M, 2));
        poslabel_cell_pairs_args args = pairs_args((poslabel_grid){7, 7}, kind, want);
        expect_ok(levels[0], poslabel_cell_pairs(levels[0], &args));
        for (int threads = 1; threads < 5; threads++) {
            tensor *const got = tensor_new(dtype_i64, SHAPE(IMAGES, M, 2));
            poslabel_context *const context = context_new(POSLABEL_ISA_AUTO, threads);
            args.cells = &got->t;
            args.first_sample = 0;
            expect_ok(context, poslabel_cell_pairs(context, &args));
            expect_same_tensor("cells", got, want);
            poslabel_context_destroy(context);
            tensor_free(got);
        }
        for (int64_t first = 0; first < IMAGES; first += 43) {
            const int64_t m = kind ? M : 20;
            tensor *const got = tensor_new(dtype_i64, SHAPE(43, m, 2));
            args.cells = &got->t;
            args.first_sample = (uint32_t)first;
            expect_ok(levels[0], poslabel_cell_pairs(levels[0], &args));
            for (int64_t b = 0; b < 43; b++)
                expect_same_bits("cells", tensor_at(got, 2 * m * b), tensor_at(want, 2 * M * (first + b)),
                                 (size_t)(2 * m), 8);
            tensor_free(got);
        }
        tensor_free(want);
    }
}

/* Chi-square of counts that should be equal, in standard deviations from its mean. */
static double deviations(const int64_t *counts, int64_t bins, int64_t draws)
{
    const double expected = (double)draws / (double)bins;
    double chi = 0;
    for (int64_t k = 0; k < bins; k++)
        chi += ((double)counts[k] - expected) * ((double)counts[k] - expected) / expected;
    return (chi - (double)(bins - 1)) / sqrt(2 * (double)(bins - 1));
}

/* Rows, columns, cells and pairs are as often as one another. */
static void pairs_are_uniform(void **state)
{
    (void)state;
    enum { H = 5, W = 3, CELLS = H * W };
    const int64_t images = test_is_quick() ? 40 : 1000, m = 64, draws = images * m;
    tensor *const cells = tensor_new(dtype_i64, SHAPE(images, m, 2));
    const poslabel_cell_pairs_args args = pairs_args((poslabel_grid){H, W}, POSLABEL_PAIRS_RANDOM, cells);
    expect_ok(levels[0], poslabel_cell_pairs(levels[0], &args));
    int64_t pair[CELLS * CELLS] = {0}, row[2][H] = {{0}}, column[2][W] = {{0}}, offset[H * H * W * W] = {0};
    for (int64_t i = 0; i < draws; i++) {
        const int64_t a = (int64_t)tensor_get(cells, 2 * i), b = (int64_t)tensor_get(cells, 2 * i + 1);
        pair[a * CELLS + b]++;
        row[0][a / W]++, row[1][b / W]++, column[0][a % W]++, column[1][b % W]++;
        offset[(a / W * H + b / W) * W * W + a % W * W + b % W]++;
    }
    assert_true(fabs(deviations(pair, CELLS * CELLS, draws)) < 4);
    assert_true(fabs(deviations(offset, CELLS * CELLS, draws)) < 4);
    for (int k = 0; k < 2; k++) {
        assert_true(deviations(row[k], H, draws) < 5);
        assert_true(deviations(column[k], W, draws) < 5);
    }
    /* one pair and the next, of an image and of two */
    int64_t next[CELLS * CELLS] = {0}, across[CELLS * CELLS] = {0};
    for (int64_t i = 0; i + m < draws; i++) {
        const int64_t b = (int64_t)tensor_get(cells, 2 * i + 1);
        next[b * CELLS + (int64_t)tensor_get(cells, 2 * i + 2)]++;
        across[b * CELLS + (int64_t)tensor_get(cells, 2 * (i + m) + 1)]++;
    }
    assert_true(fabs(deviations(next, CELLS * CELLS, draws - m)) < 4);
    assert_true(fabs(deviations(across, CELLS * CELLS, draws - m)) < 4);
    tensor_free(cells);
}

/* Every permutation of four cells, as often as the others; of more cells, a permutation. */
static void permutations_are_uniform(void **state)
{
    (void)state;
    const int64_t images = test_is_quick() ? 1000 : 24000;
    tensor *const cells = tensor_new(dtype_i32, SHAPE(images, 4, 2));
    poslabel_cell_pairs_args args = pairs_args((poslabel_grid){2, 2}, POSLABEL_PAIRS_ALL, cells);
    int64_t counts[256] = {0}, legal[24];
    int found = 0;
    expect_ok(levels[0], poslabel_cell_pairs(levels[0], &args));
    for (int64_t b = 0; b < images; b++) {
        int code = 0;
        for (int i = 0; i < 4; i++) {
            assert_true(tensor_get(cells, 8 * b + 2 * i) == i);
            code = 4 * code + (int)tensor_get(cells, 8 * b + 2 * i + 1);
        }
        counts[code]++;
    }
    for (int code = 0; code < 256; code++) {
        const unsigned seen = 1u << code / 64 | 1u << code / 16 % 4 | 1u << code / 4 % 4 | 1u << code % 4;
        assert_true(seen == 15 ? found < 24 : counts[code] == 0);
        if (seen == 15)
            legal[found++] = counts[code];
    }
    assert_true(found == 24 && deviations(legal, 24, images) < 4);
    tensor_free(cells);

    enum { H = 40, W = 41 };
    tensor *const many = tensor_new(dtype_i64, SHAPE(9, H * W, 2));
    args = pairs_args((poslabel_grid){H, W}, POSLABEL_PAIRS_ALL, many);
    expect_ok(levels[0], poslabel_cell_pairs(levels[0], &args));
    for (int b = 0; b < 9; b++) {
        bool seen[H * W] = {false};
        for (int i = 0; i < H * W; i++) {
            const int64_t cell = (int64_t)tensor_get(many, 2 * ((int64_t)b * H * W + i) + 1);
            assert_true(cell >= 0 && cell < H * W && !seen[cell]);
            seen[cell] = true;
        }
    }
    tensor_free(many);
}

/* ---- offsets ---- */

static poslabel_cell_offsets_args offsets_args(poslabel_grid grid, int form, const tensor *cells, const tensor *offsets)
{
    poslabel_cell_offsets_args args = POSLABEL_CELL_OFFSETS_ARGS_INIT;
    args.grid = grid;
    args.absolute = form & 1;
    args.normalized = form >> 1;
    args.cells = tensor_of(cells);
    args.offsets = tensor_of(offsets);
    return args;
}

static void golden_offsets(void **state)
{
    (void)state;
    static const char *const names[] = {"drloc_ce",     "drloc_cbr",     "drloc_l1",
                                        "drloc_ce_abs", "drloc_cbr_abs", "drloc_l1_abs"};
    for (int f = 0; f < COUNT(names); f++) {
        npz *const file = npz_open(names[f]);
        const npz_array *const of[2] = {npz_get(file, "pts_a"), npz_get(file, "pts_b")};
        const npz_array *const target = npz_get(file, "target"), *const feats = npz_get(file, "feats");
        const int64_t rows = of[0]->count / 2;
        const poslabel_grid grid = {(int32_t)feats->shape[2], (int32_t)feats->shape[3]};
        tensor *const cells = tensor_new(dtype_i64, SHAPE(rows, 2)), *const offsets =
                                                                         tensor_new(dtype_f64, SHAPE(rows, 2));
        for (int64_t i = 0; i < 2 * rows; i++)
            tensor_set(cells, i, npz_at(of[i % 2], i / 2 * 2) * grid.width + npz_at(of[i % 2], i / 2 * 2 + 1));
        const int form = (npz_number(file, "use_abs") != 0) + 2 * (npz_number(file, "normalize") != 0);
        const poslabel_cell_offsets_args args = offsets_args(grid, form, cells, offsets);
        for (int l = 0; l < level_count; l++) {
            test_case_is("%s, level %d", names[f], l);
            tensor_forget(offsets);
            expect_ok(levels[l], poslabel_cell_offsets(levels[l], &args));
            for (int64_t i = 0; i < 2 * rows; i++)
                if (tensor_get(offsets, i) != npz_at(target, i))
                    test_fail("offset %lld is %.17g, want %.17g", (long long)i, tensor_get(offsets, i),
                              npz_at(target, i));
        }
        tensor_free(cells);
        tensor_free(offsets);
        npz_close(file);
    }
    test_case_is("%s", "");
}

static double offset_of(int form, int64_t a, int64_t b, int64_t side)
{
    const int64_t most = form & 1 ? side - 1 : 2 * (side - 1);
    const int64_t offset = form & 1 ? llabs(a - b) : a - b + side - 1;
    return form < 2 ? (double)offset : most ? (double)offset / (double)most : 0;
}

/* Every pair of cells of a grid, or many of a large one, in each form, dtype and layout. */
static void offsets_of_every_form(void **state)
{
    (void)state;
    const poslabel_dtype dtypes[] = {dtype_i32, dtype_i64, dtype_f16, dtype_bf16, dtype_f32, dtype_f64};
    const poslabel_grid more[] = {{3000, 2}, {1, 3000}};
    for (int g = 0; g < COUNT(grids) + COUNT(more); g++)
        for (int form = 0; form < 4; form++)
            for (int d = form / 2 * 2; d < COUNT(dtypes); d++) {
                const poslabel_grid grid = g < COUNT(grids) ? grids[g] : more[g - COUNT(grids)];
                const int64_t n = cells_of(grid), w = grid.width, m = n * n < 3000 ? n * n : 3000;
                const layout how = {.row_padding = (g + form) % 3};
                tensor *const cells = tensor_laid_out(d % 2 ? dtype_i32 : dtype_i64, SHAPE(1, m, 2), how);
                tensor *const offsets = tensor_laid_out(dtypes[d], SHAPE(1, m, 2), (layout){.row_padding = d % 2});
                for (int64_t i = 0; i < m; i++) {
                    const int64_t pair = m < n * n ? i * 7919 * 31 % (n * n) : i;
                    tensor_set(cells, 2 * i, (double)(pair / n));
                    tensor_set(cells, 2 * i + 1, (double)(pair % n));
                }
                const poslabel_cell_offsets_args args = offsets_args(grid, form, cells, offsets);
                for (int l = 0; l < level_count; l++) {
                    test_case_is("%d x %d, form %d, %s, level %d", (int)grid.height, (int)grid.width, form,
                                 dtype_name(dtypes[d]), l);
                    tensor_forget(offsets);
                    expect_ok(levels[l], poslabel_cell_offsets(levels[l], &args));
                    for (int64_t i = 0; i < m; i++) {
                        const int64_t a = (int64_t)tensor_get(cells, 2 * i), b = (int64_t)tensor_get(cells, 2 * i + 1);
                        const double y = number_round(dtypes[d], offset_of(form, a / w, b / w, grid.height));
                        const double x = number_round(dtypes[d], offset_of(form, a % w, b % w, w));
                        if (tensor_get(offsets, 2 * i) != y || tensor_get(offsets, 2 * i + 1) != x)
                            test_fail("cells %lld, %lld: %g, %g, want %g, %g", (long long)a, (long long)b,
                                      tensor_get(offsets, 2 * i), tensor_get(offsets, 2 * i + 1), y, x);
                    }
                    tensor_check(offsets);
                }
                tensor_free(cells);
                tensor_free(offsets);
            }
    test_case_is("%s", "");
}

/* Any dimensions before the two: one pair, a batch, scales of batches. */
static void offsets_of_every_rank(void **state)
{
    (void)state;
    const int64_t shape[] = {3, 2, 4, 2};
    for (int rank = 1; rank <= 4; rank++) {
        tensor *const cells = tensor_new(dtype_i64, rank, shape + 4 - rank);
        tensor *const offsets = tensor_new(dtype_i64, rank, shape + 4 - rank);
        tensor_fill_below(cells, (uint64_t)rank, 35);
        const poslabel_cell_offsets_args args = offsets_args((poslabel_grid){5, 7}, 0, cells, offsets);
        expect_ok(levels[0], poslabel_cell_offsets(levels[0], &args));
        for (int64_t i = 0; i < cells->count; i++) {
            const int64_t a = (int64_t)tensor_get(cells, i / 2 * 2), b = (int64_t)tensor_get(cells, i / 2 * 2 + 1);
            assert_true(tensor_get(offsets, i) == (double)(i % 2 ? a % 7 - b % 7 + 6 : a / 7 - b / 7 + 4));
        }
        tensor_free(cells);
        tensor_free(offsets);
    }
}

static void nothing_to_do(void **state)
{
    (void)state;
    const int64_t shapes[][3] = {{0, 6, 2}, {3, 0, 2}};
    for (int s = 0; s < COUNT(shapes); s++)
        for (int kind = 0; kind < 2 - s; kind++) {
            tensor *const none = tensor_new(dtype_i64, 3, shapes[s]), *const offsets =
                                                                          tensor_new(dtype_f32, 3, shapes[s]);
            const poslabel_cell_pairs_args pairs = pairs_args((poslabel_grid){2, 3}, kind, none);
            const poslabel_cell_offsets_args args = offsets_args((poslabel_grid){2, 3}, 0, none, offsets);
            expect_ok(levels[0], poslabel_cell_pairs(levels[0], &pairs));
            expect_ok(levels[0], poslabel_cell_offsets(levels[0], &args));
            tensor_free(none);
            tensor_free(offsets);
        }
}

/* ---- errors ---- */

static void pair_errors(void **state)
{
    (void)state;
    poslabel_context *const context = levels[0];
    tensor *const cells = tensor_new(dtype_i64, SHAPE(4, 6, 2)), *const samples = tensor_new(dtype_i64, SHAPE(4));
    tensor *const few = tensor_new(dtype_i64, SHAPE(3)), *const floats = tensor_new(dtype_f32, SHAPE(4));
    tensor *const step = tensor_scalar(dtype_i64, -1);
    tensor_fill(samples, 5);
    tensor_set(samples, 2, -1);
    poslabel_tensor changed;
    const int64_t wrong[] = {4, 6, 3}, many[] = {1, (int64_t)1 << 30, 2}, apart[] = {24, 4, 2}, deep[] = {4, 1, 6, 2};
    const int64_t still[] = {0, 0, 1};

#define REFUSED(change, status, ...)                                                                                   \
    do {                                                                                                               \
        poslabel_cell_pairs_args args = pairs_args((poslabel_grid){2, 3}, POSLABEL_PAIRS_RANDOM, cells);               \
        changed = cells->t;                                                                                            \
        change;                                                                                                        \
        expect_error(context, poslabel_cell_pairs(context, &args), (status), "cell_pairs: ", __VA_ARGS__);             \
        if (!tensor_is_untouched(cells))                                                                               \
            test_fail("%s: the call failed, but the output was written", #change);                                     \
    } while (0)
    poslabel_cell_pairs_args none = POSLABEL_CELL_PAIRS_ARGS_INIT;
    assert_int_equal(poslabel_cell_pairs(NULL, &none), INVALID);
    expect_error(context, poslabel_cell_pairs(context, NULL), INVALID, "args is NULL");
    REFUSED(args.struct_size = 2, INVALID, "struct_size = 2");
    REFUSED(args.grid.height = 0, INVALID, "grid is 0 x 3");
    REFUSED((args.grid.height = args.grid.width = 46341), INVALID, "grid is 46341 x 46341", "2^31");
    REFUSED(args.kind = 2, INVALID, "kind = 2, must be POSLABEL_PAIRS_RANDOM (0) or POSLABEL_PAIRS_ALL (1)");
    REFUSED(args.kind = -1, INVALID, "kind = -1");
    REFUSED(args.cells = NULL, INVALID, "cells is NULL, must be given");
    REFUSED((args.kind = 1, args.grid.width = 4), INVALID, "cells has 6 pairs an image, must be 8", "2 x 4");
    REFUSED(args.first_sample = UINT32_MAX - 2, INVALID, "first_sample = 4294967293 and 4 images", "2^32");
    REFUSED((changed.dtype = dtype_f32, args.cells = &changed), INVALID, "cells has dtype float32");
    REFUSED((changed.shape = wrong, args.cells = &changed), INVALID, "cells has shape [4, 6, 3]");
    REFUSED((changed.ndim = 4, changed.shape = deep, args.cells = &changed), INVALID, "cells has shape [4, 1, 6, 2]");
    REFUSED((changed.shape = many, changed.dtype = dtype_i32, args.cells = &changed), INVALID,
            "cells has 1073741824 pairs an image, must be fewer than 2^30");
    REFUSED((changed.device.type = test_other_device(), args.cells = &changed), INVALID, "is on device");
    REFUSED((changed.data = NULL, args.cells = &changed), INVALID, ".data is NULL");
    REFUSED((changed.strides = apart, args.cells = &changed), UNSUPPORTED, "stride 2 in its last dimension");
    REFUSED((changed.strides = still, args.cells = &changed), INVALID, "share memory");
    REFUSED(args.samples = &samples->t, INVALID, "samples[2] = -1, must be in [0, 72057594037927936)");
    REFUSED(args.samples = &few->t, INVALID, "cells has shape [4, 6, 2], must be [3, ");
    REFUSED(args.samples = &floats->t, INVALID, "samples has dtype float32");
    REFUSED(args.step_scalar = &step->t, INVALID, "step_scalar = -1, must be in [0, 2^32)");
    REFUSED(args.step_scalar = &few->t, INVALID, "step_scalar has shape [3]");
    REFUSED((changed = few->t, changed.data = cells->t.data, changed.shape = (int64_t[]){4}, args.samples = &changed),
            INVALID, "overlaps");
#undef REFUSED

    counting_allocator counter;
    counting_allocator_init(&counter);
    poslabel_context *const counted = context_counted(&counter, POSLABEL_ISA_REFERENCE, 1, NULL);
    const poslabel_cell_pairs_args args = pairs_args((poslabel_grid){2, 3}, POSLABEL_PAIRS_ALL, cells);
    counter.fail_at = counter.allocations + 1;
    expect_error(counted, poslabel_cell_pairs(counted, &args), POSLABEL_ERROR_MEMORY, "cell_pairs: ", "no memory");
    assert_true(tensor_is_untouched(cells));
    expect_ok(counted, poslabel_cell_pairs(counted, &args));
    poslabel_context_destroy(counted);
    counting_allocator_check(&counter);
    tensor_free(cells);
    tensor_free(samples);
    tensor_free(few);
    tensor_free(floats);
    tensor_free(step);
}

static void offset_errors(void **state)
{
    (void)state;
    poslabel_context *const context = levels[0];
    tensor *const cells = tensor_new(dtype_i64, SHAPE(3, 4, 2)), *const offsets = tensor_new(dtype_f32, SHAPE(3, 4, 2));
    poslabel_tensor changed;
    const int64_t wrong[] = {3, 4, 1}, other[] = {3, 5, 2}, apart[] = {16, 4, 2};
    tensor_fill_below(cells, 1, 6);

#define REFUSED(change, status, ...)                                                                                   \
    do {                                                                                                               \
        poslabel_cell_offsets_args args = offsets_args((poslabel_grid){2, 3}, 0, cells, offsets);                      \
        changed = offsets->t;                                                                                          \
        change;                                                                                                        \
        expect_error(context, poslabel_cell_offsets(context, &args), (status), "cell_offsets: ", __VA_ARGS__);         \
        if (!tensor_is_untouched(offsets))                                                                             \
            test_fail("%s: the call failed, but the output was written", #change);                                     \
    } while (0)
    poslabel_cell_offsets_args none = POSLABEL_CELL_OFFSETS_ARGS_INIT;
    assert_int_equal(poslabel_cell_offsets(NULL, &none), INVALID);
    expect_error(context, poslabel_cell_offsets(context, NULL), INVALID, "args is NULL");
    REFUSED(args.struct_size = 2, INVALID, "struct_size = 2");
    REFUSED(args.grid.width = -1, INVALID, "grid is 2 x -1");
    REFUSED(args.absolute = 2, INVALID, "absolute = 2, must be 0 or 1");
    REFUSED(args.normalized = -1, INVALID, "normalized = -1, must be 0 or 1");
    REFUSED(args.cells = NULL, INVALID, "cells is NULL, must be given");
    REFUSED(args.offsets = NULL, INVALID, "offsets is NULL, must be given");
    REFUSED(args.cells = &offsets->t, INVALID, "cells has dtype float32");
    REFUSED((changed.dtype = dtype_u8, args.offsets = &changed), INVALID, "offsets has dtype uint8");
    REFUSED((changed.dtype = dtype_i32, args.offsets = &changed, args.normalized = 1), INVALID,
            "offsets has dtype int32, must be ");
    REFUSED((changed.shape = wrong, args.offsets = &changed), INVALID, "offsets has shape [3, 4, 1]");
    REFUSED((changed.shape = other, args.offsets = &changed), INVALID, "offsets has shape [3, 5, 2]");
    REFUSED((changed.ndim = 0, args.offsets = &changed), INVALID, "offsets has shape");
    REFUSED((changed.device.type = test_other_device(), args.offsets = &changed), INVALID, "is on device");
    REFUSED((changed.data = NULL, args.offsets = &changed), INVALID, ".data is NULL");
    REFUSED((changed.strides = apart, args.offsets = &changed), UNSUPPORTED, "stride 2 in its last dimension");
    REFUSED((changed = cells->t, args.offsets = &changed), INVALID, "offsets overlaps cells");
    tensor_set(cells, 11, 6);
    tensor_set(cells, 12, -3);
    REFUSED((void)0, INVALID, "cells[1, 1, 1] = 6, must be in [0, 6)");
    tensor_set(cells, 11, 0);
    REFUSED((void)0, INVALID, "cells[1, 2, 0] = -3, must be in [0, 6)");
#undef REFUSED
    tensor_free(cells);
    tensor_free(offsets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_of_every_grid_and_layout),
        cmocka_unit_test(known_values),
        cmocka_unit_test(samples_and_steps),
        cmocka_unit_test(splits_do_not_matter),
        cmocka_unit_test(pairs_are_uniform),
        cmocka_unit_test(permutations_are_uniform),
        cmocka_unit_test(golden_offsets),
        cmocka_unit_test(offsets_of_every_form),
        cmocka_unit_test(offsets_of_every_rank),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(pair_errors),
        cmocka_unit_test(offset_errors),
    };
    return cmocka_run_group_tests_name("pairs", tests, open_levels, close_levels);
}
