/*
 * Per-axis losses: a row in each lane.
 *
 * An axis has few classes (7 to 64), too few to fill vectors well and to be worth sums across lanes.  So a tile of
 * PLB_AXIS_TILE rows is turned in scratch, until each vector holds one class of as many rows; all is then arithmetic
 * between vectors.  The gradient takes the place of the exponentials there and is turned back.  axis_reference.inc.h says
 * why the sums of cycle-back are taken around a.
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

/* to[j][i] = from[i][j] for i, j < 4. */
INLINE void turn_quads(float *to, int64_t to_step, const float *from, int64_t from_step)
{
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
    axis_quad a, b, c, d;
    memcpy(&a, from, sizeof a);
    memcpy(&b, from + from_step, sizeof b);
    memcpy(&c, from + 2 * from_step, sizeof c);
    memcpy(&d, from + 3 * from_step, sizeof d);
    const axis_quad ac = __builtin_shufflevector(a, c, 0, 4, 1, 5), ac_high = __builtin_shufflevector(a, c, 2, 6, 3, 7);
    const axis_quad bd = __builtin_shufflevector(b, d, 0, 4, 1, 5), bd_high = __builtin_shufflevector(b, d, 2, 6, 3, 7);
    a = __builtin_shufflevector(ac, bd, 0, 4, 1, 5);
    b = __builtin_shufflevector(ac, bd, 2, 6, 3, 7);
    c = __builtin_shufflevector(ac_high, bd_high, 0, 4, 1, 5);
    d = __builtin_shufflevector(ac_high, bd_high, 2, 6, 3, 7);
    memcpy(to, &a, sizeof a);
    memcpy(to + to_step, &b, sizeof b);
    memcpy(to + 2 * to_step, &c, sizeof c);
    memcpy(to + 3 * to_step, &d, sizeof d);
#else
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            to[j * to_step + i] = from[i * from_step + j];
#endif
}

/* A row of n numbers as floats, and back.  Whole vectors are written: up to VF_LANES - 1 floats past the end. */
INLINE void load_axis(float *to, const char *from, int64_t n, int64_t step, plb_dtype dtype)
{
    int64_t c = 0;
    for (; step == 1 && c + VF_LANES <= n; c += VF_LANES)
        vf_store(to + c, load(from, c, dtype));
    if (step == 1 && c < n)
        vf_store(to + c, load_n(from, c, dtype, (int)(n - c)));
    for (; step != 1 && c < n; c++)
        to[c] = load_one(from, c * step, dtype);
}

INLINE void store_axis(char *to, const float *from, int64_t n, int64_t step, plb_dtype dtype)
{
    int64_t c = 0;
    for (; step == 1 && c + VF_LANES <= n; c += VF_LANES)
        store(to, c, dtype, vf_load(from + c));
    if (step == 1 && c < n)
        store_n(to, c, dtype, vf_load(from + c), (int)(n - c));
    for (; step != 1 && c < n; c++)
        store_n(to, c * step, dtype, vf_set(from[c]), 1);
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
        vf part = vf_set(0), weighted = part;
        for (int64_t c = begin; c < end; c++) {
            float *const at = axis->at + c * axis->step;
            /* whose exponential is 0 in float32; NaN stays NaN */
            const vf e = vf_exp(vf_max(vf_set(-150), vf_sub(vf_load(at), max)), &kit);
            vf_store(at, e);
            part = vf_add(part, e);
            weighted = vf_fma(vf_set((float)c), e, weighted);
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
        vf mean = vf_set(0), square = mean;
        for (int64_t c = begin; c < end; c++) {
            const vf d = vf_sub(vf_set((float)c), around), de = vf_mul(d, vf_load(axis->at + c * axis->step));
            mean = vf_add(mean, de);
            square = vf_fma(d, de, square);
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
    for (int64_t c = 0; c < axis->classes; c++) {
        float *const at = axis->at + c * axis->step;
        const vf e = vf_load(at), d = vf_sub(vf_sub(vf_set((float)c), a), m);
        /* e d first: e is small where d k2 d is so large that it may overflow */
        vf_store(at, vf_fma(vf_mul(e, d), vf_fma(k2, d, k1), vf_mul(e, k0)));
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
    double variances[VF_LANES], off[VF_LANES];
    for (int l = 0; l < VF_LANES; l++) {
        const double inverse = 1 / (double)sums.second[l], m = (double)moments.first[l] * inverse;
        /* of which the second is at most half the first, for a is nearest to mu */
        const double variance = (double)moments.second[l] * inverse - m * m;
        const double v = variance + PLB_CYCLE_BACK_VARIANCE_FLOOR, per_v = 1 / v;
        const double scale = axis->scale[l] * inverse * per_v;
        off[l] = (double)by.a[l] - (double)axis->target[l] + m;
        variances[l] = v;
        const double term = off[l] * off[l] * per_v, by_variance = (PLB_CYCLE_BACK_LOG_VARIANCE - term) * scale;
        by.m[l] = (float)m;
        by.k0[l] = (float)(-by_variance * variance);
        by.k1[l] = (float)(2 * off[l] * scale);
        by.k2[l] = (float)by_variance;
        axis->loss[l] += term;
    }
    for (int l = 0; l < VF_LANES; l++)
        axis->loss[l] += PLB_CYCLE_BACK_LOG_VARIANCE * log(variances[l]);
    if (axis->has_grad)
        lanes_cycle_back_gradient(axis, &by);
}

INLINE void lanes_cross_entropy(const axis_lanes *axis)
{
    lanes_sums sums, others;
    float own[VF_LANES], factor[VF_LANES], logit[VF_LANES], highest[VF_LANES];
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
    vf_store(others.first, rest);
    for (int l = 0; l < VF_LANES; l++) {
        const double sum = (double)others.first[l] + (double)own[l];
        axis->loss[l] += own[l] == 1 ? log1p((double)others.first[l]) : log(sum) + ((double)highest[l] - (double)logit[l]);
        factor[l] = (float)(axis->scale[l] / sum);
    }
    if (!axis->has_grad)
        return;
    for (int64_t c = 0; c < axis->classes; c++)
        vf_store(axis->at + c * axis->step, vf_mul(vf_load(axis->at + c * axis->step), vf_load(factor)));
    for (int l = 0; l < VF_LANES; l++)
        axis->at[axis->target[l] * axis->step + l] = 0 - others.first[l] * factor[l];
}

/* Up to PLB_AXIS_TILE rows from `first` on; lanes without a row do what the last row does, and store nothing. */
INLINE void axis_tile(plb_axis_rows *rows, int first, plb_dtype dtype)
{
    const int count = rows->count - first < PLB_AXIS_TILE ? rows->count - first : PLB_AXIS_TILE;
    const int64_t columns = rows->classes[0] + rows->classes[1];
    const int64_t pitch = (int64_t)plb_axis_pitch(rows->classes[0], rows->classes[1]);
    const int pieces = rows->pairs ? 1 : PLB_AXES;
    const int64_t length[PLB_AXES] = {rows->pairs ? columns : rows->classes[0], rows->classes[1]};
    float *const lying = rows->scratch, *const turned = lying + PLB_AXIS_TILE * pitch;
    int32_t target[PLB_AXES][PLB_AXIS_TILE];
    double scale[PLB_AXIS_TILE], loss[PLB_AXIS_TILE] = {0};
    for (int r = 0; r < PLB_AXIS_TILE; r++) {
        const int from = first + (r < count ? r : count - 1);
        for (int p = 0; p < pieces; p++)
            load_axis(lying + r * pitch + p * length[0], rows->logits[p][from], length[p],
                      rows->pairs ? 1 : rows->logit_step[p], dtype);
        for (int a = 0; a < PLB_AXES; a++)
            target[a][r] = rows->target[a][from];
        scale[r] = rows->scale[from];
    }
    for (int r = 0; r < PLB_AXIS_TILE; r += 4)
        for (int64_t c = 0; c < columns; c += 4)
            turn_quads(turned + c * PLB_AXIS_TILE + r, PLB_AXIS_TILE, lying + r * pitch + c, pitch);

    for (int a = 0; a < PLB_AXES; a++)
        for (int r = 0; r < PLB_AXIS_TILE; r += VF_LANES) {
            const axis_lanes axis = {
                .at = turned + (rows->pairs ? a : a * rows->classes[0]) * PLB_AXIS_TILE + r,
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
    if (!rows->grad[0][first])
        return;
    for (int64_t c = 0; c < columns; c += 4)
        for (int r = 0; r < PLB_AXIS_TILE; r += 4)
            turn_quads(lying + r * pitch + c, pitch, turned + c * PLB_AXIS_TILE + r, PLB_AXIS_TILE);
    for (int r = 0; r < count; r++)
        for (int p = 0; p < pieces; p++)
            store_axis(rows->grad[p][first + r], lying + r * pitch + p * length[0], length[p],
                       rows->pairs ? 1 : rows->grad_step[p], dtype);
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
