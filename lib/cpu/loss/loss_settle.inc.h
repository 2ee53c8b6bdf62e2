/*
 * What is left to do for a row once its first pass is done: the sums across lanes, care, the loss.
 *
 * A sum across the lanes of a vector is many small steps, each of which waits for the one before.  A gradient needs its
 * row's at once; where there is none, they are put off and formed for SETTLED rows side by side.
 *
 * SPDX-License-Identifier: Apache-2.0
 */

enum { SETTLED = 16 };

/* What is kept of each row of a batch. */
typedef struct batch {
    int64_t near, far;                 /* bytes to the logits to ask for, as if rows went on evenly             */
    float exponentials[PLB_ROW_BATCH]; /* their sum, relative to some logit or to 0                             */
    float of_label[PLB_ROW_BATCH];     /* the label's, relative to the same; 1 for a row that needed care       */
    float shift[PLB_ROW_BATCH];        /* the label's logit; the maximum for a row that needed care             */
    bool careful[PLB_ROW_BATCH];       /* whether it needed care                                                */
    double above[PLB_ROW_BATCH];       /* the label's logit - shift                                             */
    double total[PLB_ROW_BATCH];       /* the sum of the targets                                                */
    double targets[PLB_ROW_BATCH];     /* the sum of z - shift if SMOOTHED, of t (z - shift) if SOFT or WINDOWED */
    /* sums that were put off, whole lines each: a load cannot take from a store in flight that crosses lines */
    float lanes[SETTLED][VF_LANES] __attribute__((aligned(64)));
    float target_lanes[SETTLED][VF_LANES] __attribute__((aligned(64)));
} batch;

/* The exponentials of a row.  Those of the row before it are still needed. */
INLINE float *e_of(const plb_loss_rows *rows, int r)
{
    return rows->scratch + (r & 1) * plb_loss_pitch(rows->classes);
}

INLINE loss_row row_of(const plb_loss_rows *rows, const batch *b, int r, row_kind kind)
{
    return (loss_row){
        .logits = rows->logits[r],
        .near = b->near,
        .far = b->far,
        .classes = rows->classes,
        .label = rows->label[r],
        .e = e_of(rows, r),
        .t = kind == SOFT ? target_row(rows, rows->label[r]) : NULL,
    };
}

/* Whether the label is the first maximum: a pass over logits that are in the cache, for calls that ask for it. */
INLINE bool is_top(const loss_row *row, plb_dtype dtype)
{
    const float z = load_one(row->logits, row->label, dtype);
    return row_max(row->logits, row->label, dtype) < z && row_max(row->logits, row->classes, dtype) <= z;
}

/* The first pass over row r once more, for its sums are not to be trusted. */
INLINE void row_again(plb_loss_rows *rows, batch *b, int r, plb_dtype dtype, row_kind kind)
{
    const loss_row row = row_of(rows, b, r, kind);
    const careful_sums careful = dtype == PLB_F32   ? row_careful_f32(row, kind)
                                 : dtype == PLB_F16 ? row_careful_f16(row, kind)
                                                    : row_careful_bf16(row, kind);
    b->above[r] = (double)load_one(row.logits, row.label, dtype) - careful.max;
    b->careful[r] = true;
    b->exponentials[r] = careful.exponentials;
    b->of_label[r] = 1;
    b->shift[r] = careful.max;
    b->targets[r] = target_factor(rows, rows->label[r], kind) * careful.targets;
    if (rows->accuracy)
        rows->correct[r] = careful.exponentials == careful.exponentials && is_top(&row, dtype);
}

INLINE bool has_row(const plb_loss_rows *rows, int r)
{
    return r >= 0 && r < rows->count && rows->label[r] >= 0;
}

/* A row of weight 0. */
INLINE void row_nothing(batch *b, int r)
{
    b->exponentials[r] = b->of_label[r] = 1;
    b->above[r] = b->total[r] = b->targets[r] = 0;
}

/* Takes the sums of row r, or makes them and the exponentials anew. */
INLINE void row_settle(plb_loss_rows *rows, batch *b, int r, float exponentials, float targets, plb_dtype dtype,
                       row_kind kind)
{
    const bool has_targets = kind == SMOOTHED || kind == SOFT;
    b->exponentials[r] = exponentials;
    if (has_targets)
        b->targets[r] = target_factor(rows, rows->label[r], kind) * targets -
                        (kind == SMOOTHED ? (double)rows->classes : b->total[r]) * b->shift[r];
    if (!is_safe(exponentials, b->of_label[r], rows->classes) || (has_targets && targets - targets != 0))
        row_again(rows, b, r, dtype, kind);
}

/* Takes the sum of t z of a window, or makes it anew. */
INLINE void window_settle(const plb_loss_rows *rows, batch *b, int r, float targets, plb_dtype dtype)
{
    const window w = window_of(rows->gaussian, rows->label[r]);
    b->targets[r] = targets - b->total[r] * b->shift[r];
    if (b->careful[r] || targets - targets != 0)
        b->targets[r] = window_careful(&w, rows->logits[r], b->shift[r], rows->classes, dtype);
}

/* Settles the rows first .. last - 1, up to SETTLED of them, whose sums were put off. */
INLINE void settle(plb_loss_rows *rows, batch *b, int first, int last, plb_dtype dtype, row_kind kind)
{
    float sums[SETTLED], targets[SETTLED] = {0};
    vf_sums(sums, b->lanes[0], last - first);
    if (kind != ONE_HOT)
        vf_sums(targets, b->target_lanes[0], last - first);
    for (int r = first; r < last; r++) {
        if (!has_row(rows, r))
            continue;
        row_settle(rows, b, r, sums[r - first], targets[r - first], dtype, kind);
        if (kind == WINDOWED)
            window_settle(rows, b, r, targets[r - first], dtype);
    }
}

/*
 * log(sum / part) for sum >= part, within 2e-10; NaN if the sum is NaN or infinite.  A batch of them at a time is a
 * loop that the compiler turns into vectors, which calls of log() are not.
 */
INLINE double log_of_ratio(double sum, double part)
{
    uint64_t bits, part_bits;
    double fraction, n;
    memcpy(&bits, &sum, sizeof bits);
    memcpy(&part_bits, &part, sizeof part_bits);
    uint64_t exponent = (bits - part_bits + ((uint64_t)1 << 51)) >> 52; /* leaves a fraction from 2/3 to 3/2 */
    bits -= exponent << 52;
    exponent |= 0x4330000000000000; /* 2^52 + n, as a double */
    memcpy(&fraction, &bits, sizeof fraction);
    memcpy(&n, &exponent, sizeof n);
    const double s = (fraction - part) / (fraction + part), z = s * s;
    double series = 1.0 / 11;
    series = series * z + 1.0 / 9;
    series = series * z + 1.0 / 7;
    series = series * z + 1.0 / 5;
    series = series * z + 1.0 / 3;
    return (n - 0x1p52) * 0x1.62e42fefa39efp-1 + 2 * (s + s * z * series) + (sum - sum);
}

/* What the targets give the label itself. */
INLINE double target_of_label(const plb_loss_rows *rows, int32_t label)
{
    const plb_gaussian *const g = rows->gaussian;
    if (!g)
        return rows->base + rows->peak;
    const int64_t y = label / g->width, x = label % g->width;
    return g->y[y * g->height + y] * g->x[x * g->width + x];
}

/* Rows of weight 0 have been given sums that make it 0. */
INLINE void batch_losses(plb_loss_rows *rows, const batch *b, row_kind kind)
{
    const bool is_gaussian = kind == SOFT || kind == WINDOWED;
    for (int r = 0; r < rows->count; r++) {
        double loss = log_of_ratio(b->exponentials[r], b->of_label[r]);
        if (is_gaussian)
            loss = loss * b->total[r] - b->targets[r];
        else
            loss -= rows->peak * b->above[r];
        if (kind == SMOOTHED)
            loss -= rows->base * b->targets[r];
        rows->loss[r] = loss;
    }
    for (int r = 0; rows->filter && r < rows->count; r++) {
        const double p = exp(b->above[r]) * b->of_label[r] / b->exponentials[r];
        rows->confident[r] = rows->label[r] >= 0 && p >= target_of_label(rows, rows->label[r]);
    }
}
