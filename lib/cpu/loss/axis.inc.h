/*
 * Per-axis losses: a row in each lane.
 *
 * An axis has few classes (7 to 64), too few to fill vectors well and to be worth sums across lanes.  So a tile of
 * PLB_AXIS_TILE rows is turned in scratch, until each vector holds one class of as many rows; all is then arithmetic
 * between vectors.  The gradient takes the place of the exponentials there and is turned back.  axis_reference.inc.h
 * says why the sums of cycle-back are taken around a.
 *
 * Sums are formed over blocks of classes and then over the blocks, so that their error grows slowly with the classes.
 *
 * Needs the vectors of an instruction set (<isa>.h).  Gives axis_rows_f32(), axis_rows_f16() and axis_rows_bf16().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/loss/axis_rows.h"
#include "cpu/vectors/elements.inc.h"
#include "cpu/vectors/exp.inc.h"

#include <math.h>
#include <poslabel/axis.h>
#include <string.h>

enum { AXIS_BLOCK = 64 };

typedef float axis_quad __attribute__((vector_size(16)));

/* Four by four numbers, and the same turned. */
typedef struct axis_square {
    axis_quad line[4];
} axis_square;

INLINE axis_square turned_square(axis_square s)
{
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
    const axis_quad a = __builtin_shufflevector(s.line[0], s.line[2], 0, 4, 1, 5);
    const axis_quad b = __builtin_shufflevector(s.line[1], s.line[3], 0, 4, 1, 5);
    const axis_quad c = __builtin_shufflevector(s.line[0], s.line[2], 2, 6, 3, 7);
    const axis_quad d = __builtin_shufflevector(s.line[1], s.line[3], 2, 6, 3, 7);
    return (axis_square){{__builtin_shufflevector(a, b, 0, 4, 1, 5), __builtin_shufflevector(a, b, 2, 6, 3, 7),
                          __builtin_shufflevector(c, d, 0, 4, 1, 5), __builtin_shufflevector(c, d, 2, 6, 3, 7)}};
#else
    axis_square turned;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            turned.line[j][i] = s.line[i][j];
    return turned;
#endif
}

/*
 * Column c of the rows of a tile becomes line c of `turned`, and back.  Four columns are turned at a time, and the last
 * four lie over those before them; so there must be room for four, even if n is less.
 */
INLINE void turn_rows(float *turned, const float *const *row, int64_t n)
{
    for (int r = 0; r < PLB_AXIS_TILE; r += 4)
        for (int64_t c = 0; c < n; c += 4) {
            const int64_t at = c + 4 <= n || n < 4 ? c : n - 4;
            axis_square s;
            for (int i = 0; i < 4; i++)
                memcpy(&s.line[i], row[r + i] + at, sizeof s.line[i]);
            s = turned_square(s);
            for (int i = 0; i < 4; i++)
                memcpy(turned + (at + i) * PLB_AXIS_TILE + r, &s.line[i], sizeof s.line[i]);
        }
}

INLINE void turn_back(float *const *row, const float *turned, int64_t n)
{
    for (int r = 0; r < PLB_AXIS_TILE; r += 4)
        for (int64_t c = 0; c < n; c += 4) {
            const int64_t at = c + 4 <= n || n < 4 ? c : n - 4;
            axis_square s;
            for (int i = 0; i < 4; i++)
                memcpy(&s.line[i], turned + (at + i) * PLB_AXIS_TILE + r, sizeof s.line[i]);
            s = turned_square(s);
            for (int i = 0; i < 4; i++)
                memcpy(row[r + i] + at, &s.line[i], sizeof s.line[i]);
        }
}

/*
 * A row of n numbers as floats, and back.  Whole vectors are written: up to VF_LANES - 1 floats past the end.  The last
 * vector of a row lies over the one before it, for a vector that is not whole takes much longer to store.
 */
INLINE void load_axis(float *to, const char *from, int64_t n, int64_t step, plb_dtype dtype)
{
    int64_t c = 0;
    if (step != 1) {
        for (; c < n; c++)
            to[c] = load_one(from, c * step, dtype);
        return;
    }
    for (; c + VF_LANES <= n; c += VF_LANES)
        vf_store(to + c, load(from, c, dtype));
    if (c < n && c)
        vf_store(to + n - VF_LANES, load(from, n - VF_LANES, dtype));
    else if (c < n)
        vf_store(to, load_n(from, 0, dtype, (int)n));
}

INLINE void store_axis(char *to, const float *from, int64_t n, int64_t step, plb_dtype dtype)
{
    int64_t c = 0;
    if (step != 1) {
        for (; c < n; c++)
            store_n(to, c * step, dtype, vf_set(from[c]), 1);
        return;
    }
    for (; c + VF_LANES <= n; c += VF_LANES)
        store(to, c, dtype, vf_load(from + c));
    if (c < n && c)
        store(to, n - VF_LANES, dtype, vf_load(from + n - VF_LANES));
    else if (c < n)
        store_n(to, 0, dtype, vf_load(from), (int)n);
}

/* One axis of VF_LANES rows: class c of lane l is at at[c * step + l]. */
typedef struct axis_lanes {
    float *at;
    int64_t step, classes;
    const int32_t *target;
    const double *scale;
    double *loss; /* which the axis adds to */
    bool has_grad;
} axis_lanes;

INLINE vf lanes_max(const axis_lanes *axis)
{
    vf max = vf_load(axis->at);
    for (int64_t c = 1; c < axis->classes; c++)
        max = vf_max(max, vf_load(axis->at + c * axis->step));
    return max;
}

/* log x of normal x > 0, within 2e-7: x = f 2^k with f within [sqrt 1/2, sqrt 2], and log f = 2 artanh(s).  NaN for
 * NaN. */
INLINE void lanes_log(const float *x, float *logs)
{
    int32_t bits[VF_LANES], fraction[VF_LANES];
    float f[VF_LANES], k[VF_LANES];
    memcpy(bits, x, sizeof bits);
    for (int l = 0; l < VF_LANES; l++) {
        const int32_t exponent = (bits[l] - 0x3f3504f3) >> 23; /* the bits of sqrt 1/2 */
        fraction[l] = bits[l] - exponent * (1 << 23);
        k[l] = (float)exponent;
    }
    memcpy(f, fraction, sizeof f);
    for (int l = 0; l < VF_LANES; l++) {
        const float s = (f[l] - 1) / (f[l] + 1), t = s * s;
        logs[l] = k[l] * 0x1.62e43p-1f + 2 * s * (1 + t * (1 / 3.f + t * (1 / 5.f + t * (1 / 7.f + t * (1 / 9.f)))));
        logs[l] += x[l] - x[l]; /* NaN and infinity do not have such bits */
    }
}

/* The first sum over classes is of f e, the second of f^2 e or of e. */
typedef struct lanes_sums {
    float first[VF_LANES], second[VF_LANES];
} lanes_sums;

/* Exponentials in place of the logits; the sums of c e and of e. */
INLINE void lanes_exponentials(const axis_lanes *axis, vf max, lanes_sums *sums)
{
    const vf_exp_kit kit = vf_exp_begin();
    vf first = vf_set(0), second = first;
    for (int64_t begin = 0; begin < axis->classes; begin += AXIS_BLOCK) {
        const int64_t end = begin + AXIS_BLOCK < axis->classes ? begin + AXIS_BLOCK : axis->classes;
        vf part = vf_set(0), weighted = part, number = vf_set((float)begin);
        float *at = axis->at + begin * axis->step;
        for (int64_t c = begin; c < end; c++, at += axis->step) {
            const vf d = vf_sub(vf_load(at), max);
            /* the exponential of -150 is 0 in float32; NaN stays NaN */
            const vf e = vf_exp(VF_EXP_OVERFLOWS ? vf_max(vf_set(-150), d) : d, &kit);
            vf_store(at, e);
            part = vf_add(part, e);
            weighted = vf_fma(number, e, weighted);
            number = vf_add(number, vf_set(1));
        }
        first = vf_add(first, weighted);
        second = vf_add(second, part);
    }
    vf_store(sums->first, first);
    vf_store(sums->second, second);
}

/* The sums of (c - a) e and of (c - a)^2 e. */
INLINE void lanes_moments(const axis_lanes *axis, const float *a, lanes_sums *sums)
{
    const vf around = vf_load(a);
    vf first = vf_set(0), second = first;
    for (int64_t begin = 0; begin < axis->classes; begin += AXIS_BLOCK) {
        const int64_t end = begin + AXIS_BLOCK < axis->classes ? begin + AXIS_BLOCK : axis->classes;
        vf mean = vf_set(0), square = mean, d = vf_sub(vf_set((float)begin), around);
        const float *at = axis->at + begin * axis->step;
        for (int64_t c = begin; c < end; c++, at += axis->step) {
            const vf de = vf_mul(d, vf_load(at));
            mean = vf_add(mean, de);
            square = vf_fma(d, de, square);
            d = vf_add(d, vf_set(1));
        }
        first = vf_add(first, mean);
        second = vf_add(second, square);
    }
    vf_store(sums->first, first);
    vf_store(sums->second, second);
}

/* e (k0 + d (k1 + k2 d)) with d = c - a - m. */
typedef struct lanes_gradient {
    float a[VF_LANES], m[VF_LANES], k0[VF_LANES], k1[VF_LANES], k2[VF_LANES];
} lanes_gradient;

INLINE void lanes_cycle_back_gradient(const axis_lanes *axis, const lanes_gradient *by)
{
    const vf a = vf_load(by->a), m = vf_load(by->m), k0 = vf_load(by->k0), k1 = vf_load(by->k1), k2 = vf_load(by->k2);
    vf around = vf_sub(vf_set(0), a); /* c - a, which is exact */
    float *at = axis->at;
    for (int64_t c = 0; c < axis->classes; c++, at += axis->step) {
        const vf e = vf_load(at), d = vf_sub(around, m);
        /* e d first: e is small where d k2 d is so large that it may overflow */
        vf_store(at, vf_fma(vf_mul(e, d), vf_fma(k2, d, k1), vf_mul(e, k0)));
        around = vf_add(around, vf_set(1));
    }
}

INLINE void lanes_cycle_back(const axis_lanes *axis)
{
    const float magic = 0x1.8p23f; /* leaves the nearest integer */
    lanes_sums sums, moments;
    lanes_gradient by;
    lanes_exponentials(axis, lanes_max(axis), &sums);
    for (int l = 0; l < VF_LANES; l++)
        by.a[l] = (sums.first[l] / sums.second[l] + magic) - magic;
    lanes_moments(axis, by.a, &moments);
    float v[VF_LANES], logs[VF_LANES], term[VF_LANES];
    for (int l = 0; l < VF_LANES; l++) {
        const float inverse = 1 / sums.second[l], m = moments.first[l] * inverse;
        /* of which the second is at most half the first, for a is nearest to mu */
        const float variance = moments.second[l] * inverse - m * m;
        const float off = by.a[l] - (float)axis->target[l] + m;
        v[l] = variance + (float)PLB_CYCLE_BACK_VARIANCE_FLOOR;
        const float per_v = 1 / v[l];
        const double scale = axis->scale[l] * (double)inverse * (double)per_v;
        term[l] = off * off * per_v;
        const double by_variance = ((float)PLB_CYCLE_BACK_LOG_VARIANCE - term[l]) * scale;
        by.m[l] = m;
        by.k0[l] = (float)(-by_variance * (double)variance);
        by.k1[l] = (float)(2 * (double)off * scale);
        by.k2[l] = (float)by_variance;
    }
    lanes_log(v, logs);
    for (int l = 0; l < VF_LANES; l++)
        axis->loss[l] += (double)term[l] + PLB_CYCLE_BACK_LOG_VARIANCE * (double)logs[l];
    if (axis->has_grad)
        lanes_cycle_back_gradient(axis, &by);
}

INLINE void lanes_cross_entropy(const axis_lanes *axis)
{
    lanes_sums sums;
    float others[VF_LANES], own[VF_LANES], factor[VF_LANES], logit[VF_LANES], highest[VF_LANES];
    const vf max = lanes_max(axis);
    vf_store(highest, max);
    for (int l = 0; l < VF_LANES; l++)
        logit[l] = axis->at[axis->target[l] * axis->step + l];
    lanes_exponentials(axis, max, &sums);
    /* The sum without the target's exponential: where that has most of the sum, loss and gradient are what is left. */
    for (int l = 0; l < VF_LANES; l++) {
        float *const e = axis->at + axis->target[l] * axis->step + l;
        own[l] = *e;
        *e = 0;
    }
    vf rest = vf_set(0);
    for (int64_t begin = 0; begin < axis->classes; begin += AXIS_BLOCK) {
        const int64_t end = begin + AXIS_BLOCK < axis->classes ? begin + AXIS_BLOCK : axis->classes;
        vf part = vf_set(0);
        for (int64_t c = begin; c < end; c++)
            part = vf_add(part, vf_load(axis->at + c * axis->step));
        rest = vf_add(rest, part);
    }
    float sum[VF_LANES], logs[VF_LANES];
    vf_store(others, rest);
    for (int l = 0; l < VF_LANES; l++) {
        sum[l] = others[l] + own[l];
        factor[l] = (float)(axis->scale[l] / (double)sum[l]);
    }
    lanes_log(sum, logs);
    for (int l = 0; l < VF_LANES; l++) {
        /* log(1 + others), of which the rounding of the sum is taken out */
        const float small = sum[l] == 1 ? others[l] : logs[l] * (others[l] / (sum[l] - 1));
        axis->loss[l] += own[l] == 1 ? (double)small : (double)logs[l] + ((double)highest[l] - (double)logit[l]);
    }
    if (!axis->has_grad)
        return;
    for (int64_t c = 0; c < axis->classes; c++)
        vf_store(axis->at + c * axis->step, vf_mul(vf_load(axis->at + c * axis->step), vf_load(factor)));
    for (int l = 0; l < VF_LANES; l++)
        axis->at[axis->target[l] * axis->step + l] = 0 - others[l] * factor[l];
}

/* A piece of a row that lies in memory as one: a row of pairs, or one axis. */
typedef struct axis_piece {
    int64_t length, logit_step, grad_step, column; /* the first of its columns */
} axis_piece;

/* Whether rows need not become floats first. */
INLINE bool is_ready(int64_t length, int64_t step, plb_dtype dtype)
{
    return dtype == PLB_F32 && step == 1 && length >= 4;
}

/* `row` has the number of the row in each lane. */
INLINE void load_tile(const plb_axis_rows *rows, const axis_piece *pieces, int count, const int *row, float *lying,
                      int64_t pitch, float *turned, plb_dtype dtype)
{
    for (int p = 0; p < count; p++) {
        const float *from[PLB_AXIS_TILE];
        for (int r = 0; r < PLB_AXIS_TILE; r++) {
            const char *const logits = rows->logits[p][row[r]];
            from[r] = (const float *)(const void *)logits;
            if (!is_ready(pieces[p].length, pieces[p].logit_step, dtype)) {
                float *const to = lying + r * pitch;
                load_axis(to, logits, pieces[p].length, pieces[p].logit_step, dtype);
                from[r] = to;
            }
        }
        turn_rows(turned + pieces[p].column * PLB_AXIS_TILE, from, pieces[p].length);
    }
}

INLINE void store_tile(const plb_axis_rows *rows, const axis_piece *pieces, int count, const int *row, float *lying,
                       int64_t pitch, const float *turned, plb_dtype dtype)
{
    for (int p = 0; p < count; p++) {
        const bool ready = is_ready(pieces[p].length, pieces[p].grad_step, dtype);
        float *to[PLB_AXIS_TILE];
        for (int r = 0; r < PLB_AXIS_TILE; r++)
            to[r] = ready ? (float *)(void *)rows->grad[p][row[r]] : lying + r * pitch;
        turn_back(to, turned + pieces[p].column * PLB_AXIS_TILE, pieces[p].length);
        for (int r = 0; !ready && r < PLB_AXIS_TILE; r++)
            store_axis(rows->grad[p][row[r]], to[r], pieces[p].length, pieces[p].grad_step, dtype);
    }
}

/* Up to PLB_AXIS_TILE rows from `first` on; lanes without a row do once more what the last row does. */
INLINE void axis_tile(plb_axis_rows *rows, int first, plb_dtype dtype)
{
    const int count = rows->count - first < PLB_AXIS_TILE ? rows->count - first : PLB_AXIS_TILE;
    const int64_t n_y = rows->classes[0], n_x = rows->classes[1], pitch = (int64_t)plb_axis_pitch(n_y, n_x);
    const int pieces = rows->pairs ? 1 : PLB_AXES;
    const axis_piece pairs = {n_y + n_x, 1, 1, 0};
    const axis_piece axes[PLB_AXES] = {{n_y, rows->logit_step[0], rows->grad_step[0], 0},
                                       {n_x, rows->logit_step[1], rows->grad_step[1], n_y}};
    const axis_piece *const piece = rows->pairs ? &pairs : axes;
    float *const lying = rows->scratch, *const turned = lying + PLB_AXIS_TILE * pitch;
    int row[PLB_AXIS_TILE];
    int32_t target[PLB_AXES][PLB_AXIS_TILE];
    double scale[PLB_AXIS_TILE], loss[PLB_AXIS_TILE];
    for (int r = 0; r < PLB_AXIS_TILE; r++) {
        row[r] = first + (r < count ? r : count - 1);
        target[0][r] = rows->target[0][row[r]];
        target[1][r] = rows->target[1][row[r]];
        scale[r] = rows->scale[row[r]];
        loss[r] = 0;
    }
    load_tile(rows, piece, pieces, row, lying, pitch, turned, dtype);
    for (int a = 0; a < PLB_AXES; a++)
        for (int r = 0; r < PLB_AXIS_TILE; r += VF_LANES) {
            const axis_lanes axis = {
                .at = turned + (rows->pairs ? a : a * n_y) * PLB_AXIS_TILE + r,
                .step = rows->pairs ? PLB_AXES * PLB_AXIS_TILE : PLB_AXIS_TILE,
                .classes = rows->classes[a],
                .target = target[a] + r,
                .scale = scale + r,
                .loss = loss + r,
                .has_grad = rows->grad[0][first],
            };
            if (rows->kind == POSLABEL_AXIS_LOSS_CYCLE_BACK)
                lanes_cycle_back(&axis);
            else
                lanes_cross_entropy(&axis);
        }
    for (int r = 0; r < count; r++)
        rows->loss[first + r] = loss[r];
    if (rows->grad[0][first])
        store_tile(rows, piece, pieces, row, lying, pitch, turned, dtype);
}

#define AXIS_ROWS(name, dtype)                                                                                         \
    static void name(plb_axis_rows *rows)                                                                              \
    {                                                                                                                  \
        for (int first = 0; first < rows->count; first += PLB_AXIS_TILE)                                               \
            axis_tile(rows, first, dtype);                                                                             \
    }

AXIS_ROWS(axis_rows_f32, PLB_F32)
AXIS_ROWS(axis_rows_f16, PLB_F16)
AXIS_ROWS(axis_rows_bf16, PLB_BF16)
