/*
 * Random arguments.  SPDX-License-Identifier: Apache-2.0
 *
 * A call that could be right is made for some operation, on tensors in one small piece of memory, and then spoilt here
 * and there: ranks, sizes, strides, dtypes, addresses, numbers, NULLs, two arguments that are one.  What is described
 * never reaches outside of that memory unless the library must refuse to touch it.  Whatever comes out,
 *
 *   - nothing outside the elements of the outputs has changed, and after a failure nothing at all;
 *   - a failure has a status and a message that begins with the operation;
 *   - nothing is read or written beyond the memory (unreadable pages), nothing leaks.
 *
 * As a test the program draws its own numbers: fuzz_args [calls [seed]].  Compiled by clang with
 * -fsanitize=fuzzer -DTEST_LIBFUZZER they come from libFuzzer.
 */
#include "test.h"

enum { ARENA = 32768, MOST = 16, RANK = 8, LARGEST_BLOCK = 64 << 20 };

typedef enum role {
    FLOATS,
    WEIGHTS,
    IDS, /* in [0, limit) */
    MASK,
    ORDER, /* a permutation in each row */
    OUTPUT
} role;

typedef struct slot {
    const poslabel_tensor **at; /* the field of the args */
    poslabel_tensor t;
    int64_t shape[12], strides[12];
    role role;
    int64_t limit;
} slot;

/* Where the numbers come from: bytes that run out, or a generator. */
typedef struct source {
    const uint8_t *bytes;
    size_t left;
    rng r;
} source;

typedef struct fuzz {
    source from;
    slot slots[MOST];
    int count;
    size_t used; /* of the arena */
    char *args;
    size_t args_size;
    const char *name;
    poslabel_status (*call)(poslabel_context *, const void *);
    double number;
} fuzz;

static unsigned char *arena;
static unsigned char before[ARENA], may_change[ARENA];
static poslabel_context *contexts[8];
static int context_count;

static uint64_t draw(fuzz *f, uint64_t below)
{
    uint64_t value = 0;
    if (!f->from.bytes)
        return rng_bits(&f->from.r) % below;
    for (uint64_t range = below - 1; range; range >>= 8) {
        value = value << 8 | (f->from.left ? *f->from.bytes : 0);
        if (f->from.left)
            f->from.bytes++, f->from.left--;
    }
    return value % below;
}

static bool one_in(fuzz *f, uint64_t n)
{
    return draw(f, n) == n - 1; /* zeros, which come when the bytes have run out, mean no */
}

/* Adds a tensor to the field `at`; its data follow those of the one before. */
static void give(fuzz *f, const poslabel_tensor **at, role what, poslabel_dtype dtype, int64_t limit, int rank,
                 const int64_t *shape)
{
    slot *s = &f->slots[f->count];
    if (f->count == MOST)
        return;
    int64_t elements = 1;
    for (int i = rank - 1; i >= 0; i--) {
        s->shape[i] = shape[i];
        s->strides[i] = elements;
        elements *= shape[i];
        if (i == rank - 1 && one_in(f, 8))
            elements += (int64_t)draw(f, 4); /* rows with gaps */
    }
    const size_t size = dtype_size(dtype);
    f->used += (size_t)-f->used % size + size * draw(f, 3);
    if (f->used + (size_t)elements * size > ARENA)
        return; /* not given */
    s->t = (poslabel_tensor){arena + f->used, {POSLABEL_DEVICE_CPU, 0}, rank, dtype, s->shape, s->strides, 0};
    if (one_in(f, 4)) {
        const uint64_t by = draw(f, 64);
        s->t.data = (char *)s->t.data - by; /* byte_offset brings it back */
        s->t.byte_offset = by;
    }
    f->used += (size_t)elements * size;
    s->at = at;
    s->role = what;
    s->limit = limit;
    *at = &s->t;
    f->count++;
}

/* clang-format off */
#define SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
/* clang-format on */
#define MAYBE if (!one_in(f, 3))

static poslabel_dtype a_float(fuzz *f)
{
    const poslabel_dtype all[] = {dtype_f32, dtype_f16, dtype_bf16, dtype_f64};
    return all[draw(f, 4)];
}

static poslabel_dtype a_scalar(fuzz *f)
{
    return draw(f, 2) ? dtype_f64 : dtype_f32;
}

static poslabel_dtype an_id(fuzz *f)
{
    return draw(f, 2) ? dtype_i64 : dtype_i32;
}

static poslabel_dtype a_mask(fuzz *f)
{
    const poslabel_dtype all[] = {dtype_bool, dtype_u8,  dtype_i32,  dtype_i64,
                                  dtype_f32,  dtype_f16, dtype_bf16, dtype_f64};
    return all[draw(f, 8)];
}

#define START(name_, MACRO)                                                                                            \
    static poslabel_##name_##_args storage, *const a = &storage;                                                       \
    static const poslabel_##name_##_args init = MACRO;                                                                 \
    storage = init;                                                                                                    \
    f->name = #name_;                                                                                                  \
    f->args = (char *)a;                                                                                               \
    f->args_size = sizeof storage;                                                                                     \
    f->call = call_##name_

#define CALL(name)                                                                                                     \
    static poslabel_status call_##name(poslabel_context *context, const void *args)                                    \
    {                                                                                                                  \
        return poslabel_##name(context, args);                                                                         \
    }
CALL(absolute_labels)
CALL(relative_labels)
CALL(smoothing_map)
CALL(random_mask)
CALL(regular_mask)
CALL(block_mask)
CALL(droppos_masks)
CALL(assemble_tokens)
CALL(assemble_tokens_backward)
CALL(attentive_weights)
CALL(position_cross_entropy)
CALL(droppos_loss)
CALL(linear_position_loss)
CALL(scale_gradient)

static poslabel_grid a_grid(fuzz *f)
{
    return (poslabel_grid){1 + (int32_t)draw(f, 4), 1 + (int32_t)draw(f, 4)};
}

static void make_labels(fuzz *f, int which)
{
    const poslabel_grid grid = a_grid(f);
    const int64_t b = (int64_t)draw(f, 4), n = (int64_t)grid.height * grid.width;
    if (which == 0) {
        START(absolute_labels, POSLABEL_ABSOLUTE_LABELS_ARGS_INIT);
        a->grid = grid;
        give(f, &a->labels, OUTPUT, an_id(f), 0, SHAPE(b, n));
    } else if (which == 1) {
        START(relative_labels, POSLABEL_RELATIVE_LABELS_ARGS_INIT);
        a->grid = grid;
        give(f, &a->labels, OUTPUT, an_id(f), 0, SHAPE(b, n, n));
    } else {
        START(smoothing_map, POSLABEL_SMOOTHING_MAP_ARGS_INIT);
        a->grid = grid;
        a->sigma = (double)draw(f, 5) / 2;
        a->normalization = (int32_t)draw(f, 2);
        give(f, &a->map, OUTPUT, a_float(f), 0, SHAPE(n, n));
    }
}

static void make_masks(fuzz *f, int which)
{
    const poslabel_grid grid = a_grid(f);
    const int64_t b = (int64_t)draw(f, 4), n = (int64_t)grid.height * grid.width;
    const double ratio = (double)draw(f, 5) / 4;
    const int patch_mask = (int)draw(f, 3), kind = which < 3 ? which : patch_mask;
    int64_t k = kind == 0   ? poslabel_random_mask_keep(n, ratio)
                : kind == 1 ? poslabel_regular_mask_keep(grid)
                            : poslabel_block_mask_keep(grid, ratio);
    k = k < 0 ? 0 : k;
#define MASK_OUTPUTS                                                                                                   \
    a->seed = draw(f, UINT64_MAX);                                                                                     \
    MAYBE give(f, &a->ids_keep, OUTPUT, an_id(f), 0, SHAPE(b, k));                                                     \
    MAYBE give(f, &a->ids_remove, OUTPUT, an_id(f), 0, SHAPE(b, n - k));                                               \
    MAYBE give(f, &a->ids_restore, OUTPUT, an_id(f), 0, SHAPE(b, n));                                                  \
    MAYBE give(f, &a->mask, OUTPUT, a_mask(f), 0, SHAPE(b, n))
    if (which == 0) {
        START(random_mask, POSLABEL_RANDOM_MASK_ARGS_INIT);
        a->tokens = n;
        a->mask_ratio = ratio;
        MAYBE give(f, &a->noise, FLOATS, a_float(f), 0, SHAPE(b, n));
        MASK_OUTPUTS;
    } else if (which == 1) {
        START(regular_mask, POSLABEL_REGULAR_MASK_ARGS_INIT);
        a->grid = grid;
        MASK_OUTPUTS;
    } else if (which == 2) {
        START(block_mask, POSLABEL_BLOCK_MASK_ARGS_INIT);
        a->grid = grid;
        a->mask_ratio = ratio;
        MASK_OUTPUTS;
    } else {
        START(droppos_masks, POSLABEL_DROPPOS_MASKS_ARGS_INIT);
        a->grid = grid;
        a->patch_mask = patch_mask;
        a->mask_ratio = ratio;
        a->wrong_positions = (int32_t)draw(f, 2);
        MASK_OUTPUTS;
        MAYBE give(f, &a->patch_noise, FLOATS, a_float(f), 0, SHAPE(b, n));
        MAYBE give(f, &a->pos_noise, FLOATS, a_float(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->shuffle_noise, FLOATS, a_float(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->ids_keep_pos, OUTPUT, an_id(f), 0, SHAPE(b, poslabel_random_mask_keep(k, a->pos_mask_ratio)));
        MAYBE give(f, &a->ids_restore_pos, OUTPUT, an_id(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->mask_pos, OUTPUT, a_mask(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->positions, OUTPUT, an_id(f), 0, SHAPE(b, k));
        MAYBE give(f, &a->places, OUTPUT, an_id(f), 0, SHAPE(b, k));
    }
}

static void make_tokens(fuzz *f, int which)
{
    const int64_t b = (int64_t)draw(f, 4), n = 1 + (int64_t)draw(f, 12), d = 1 + (int64_t)draw(f, 20),
                  p = (int64_t)draw(f, 3);
    const bool all = one_in(f, 4);
    const int64_t v = all ? n : 1 + (int64_t)draw(f, (uint64_t)n);
    const poslabel_dtype halves[] = {dtype_f32, dtype_f16, dtype_bf16}, dtype = halves[draw(f, 3)];
    if (which == 0) {
        START(assemble_tokens, POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT);
        give(f, &a->tokens, FLOATS, dtype, 0, SHAPE(b, n, d));
        if (!all)
            give(f, &a->ids_keep, IDS, an_id(f), n, SHAPE(b, v));
        if (draw(f, 2))
            give(f, &a->mask_pos, MASK, a_mask(f), 0, SHAPE(b, v));
        else
            MAYBE give(f, &a->positions, IDS, an_id(f), n, SHAPE(b, v));
        MAYBE give(f, &a->places, ORDER, an_id(f), v, SHAPE(b, v));
        if (p)
            give(f, &a->prefix_tokens, FLOATS, dtype, 0, SHAPE(p, d));
        MAYBE give(f, &a->pos_embed, FLOATS, dtype, 0, SHAPE(draw(f, 2) ? n : p + n, d));
        MAYBE give(f, &a->mask_token, FLOATS, dtype, 0, SHAPE(d));
        give(f, &a->x, OUTPUT, dtype, 0, SHAPE(b, p + v, d));
    } else if (which == 1) {
        START(assemble_tokens_backward, POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT);
        a->tokens_per_image = one_in(f, 3) ? 0 : n;
        a->prefix_count = p;
        give(f, &a->grad_x, FLOATS, dtype, 0, SHAPE(b, p + v, d));
        if (!all)
            give(f, &a->ids_keep, IDS, an_id(f), n, SHAPE(b, v));
        if (draw(f, 2))
            give(f, &a->mask_pos, MASK, a_mask(f), 0, SHAPE(b, v));
        else
            MAYBE give(f, &a->positions, IDS, an_id(f), n, SHAPE(b, v));
        MAYBE give(f, &a->places, ORDER, an_id(f), v, SHAPE(b, v));
        MAYBE give(f, &a->grad_tokens, OUTPUT, dtype, 0, SHAPE(b, n, d));
        MAYBE give(f, &a->grad_mask_token, OUTPUT, dtype, 0, SHAPE(d));
        if (p)
            MAYBE give(f, &a->grad_prefix_tokens, OUTPUT, dtype, 0, SHAPE(p, d));
        MAYBE give(f, &a->grad_pos_embed, OUTPUT, dtype, 0, SHAPE(draw(f, 2) ? n : p + n, d));
    } else {
        START(attentive_weights, POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT);
        const poslabel_dtype any = a_float(f);
        give(f, &a->tokens, FLOATS, any, 0, SHAPE(b, n, d));
        if (draw(f, 2))
            give(f, &a->cls, FLOATS, any, 0, SHAPE(d));
        else
            give(f, &a->cls, FLOATS, any, 0, SHAPE(b, d));
        MAYBE give(f, &a->pos_embed, FLOATS, any, 0, SHAPE(1 + p + n, d));
        if (!all)
            give(f, &a->ids_keep, IDS, an_id(f), n, SHAPE(b, v));
        MAYBE give(f, &a->attention, OUTPUT, a_scalar(f), 0, SHAPE(b, n));
        MAYBE give(f, &a->weights, OUTPUT, a_scalar(f), 0, SHAPE(b, v));
    }
}

static void make_losses(fuzz *f, int which)
{
    const poslabel_grid grid =
        which == 2 ? (poslabel_grid){1 + (int32_t)draw(f, 2), 1 + (int32_t)draw(f, 3)} : a_grid(f);
    const int64_t n = (int64_t)grid.height * grid.width, b = (int64_t)draw(f, 3);
    const int64_t rows = which == 1 ? n : which == 2 ? n * n : 1 + (int64_t)draw(f, 70 / (uint64_t)n + 1);
    const int64_t c = which == 2 ? (2 * (int64_t)grid.height - 1) * (2 * grid.width - 1) : n;
    const poslabel_dtype dtype = a_float(f);
    const int reduction = (int)draw(f, 3);
#define LOSS_TENSORS                                                                                                   \
    a->reduction = reduction;                                                                                          \
    a->grad_scale = (double)draw(f, 4) - 1;                                                                            \
    give(f, &a->logits, FLOATS, dtype, 0, SHAPE(b, rows, c));                                                          \
    if (which == 0 || which == 3)                                                                                      \
        give(f, &a->positions, IDS, an_id(f), c, SHAPE(b, rows));                                                      \
    MAYBE give(f, &a->mask, MASK, a_mask(f), 0, SHAPE(b, rows));                                                       \
    MAYBE give(f, &a->weights, WEIGHTS, a_float(f), 0, SHAPE(b, rows));                                                \
    MAYBE give(f, &a->grad_loss, FLOATS, a_scalar(f), 0, 0, NULL);                                                     \
    MAYBE give(f, &a->normalizer, FLOATS, a_scalar(f), 0, SHAPE(1));                                                   \
    MAYBE give(f, &a->loss, OUTPUT, a_scalar(f), 0, reduction == POSLABEL_REDUCTION_NONE ? 2 : 0,                      \
               (int64_t[]){b, rows});                                                                                  \
    if (one_in(f, 4))                                                                                                  \
        a->grad_logits = a->logits;                                                                                    \
    else                                                                                                               \
        MAYBE give(f, &a->grad_logits, OUTPUT, dtype, 0, SHAPE(b, rows, c));                                           \
    MAYBE give(f, &a->accuracy, OUTPUT, a_scalar(f), 0, 0, NULL);                                                      \
    MAYBE give(f, &a->weight_sum, OUTPUT, a_scalar(f), 0, 0, NULL);                                                    \
    MAYBE give(f, &a->flags, OUTPUT, dtype_i32, 0, 0, NULL);                                                           \
    if (a->grad_logits == a->logits && a->logits && f->count < MOST) { /* an output, too */                            \
        f->slots[f->count] = f->slots[0];                                                                              \
        slot *const same = &f->slots[f->count++];                                                                      \
        same->t.shape = same->shape;                                                                                   \
        same->t.strides = same->strides;                                                                               \
        same->role = OUTPUT;                                                                                           \
        same->at = &a->grad_logits;                                                                                    \
        a->grad_logits = &same->t;                                                                                     \
    }
    if (which == 3) {
        START(droppos_loss, POSLABEL_DROPPOS_LOSS_ARGS_INIT);
        a->grid = grid;
        a->sigma = (double)draw(f, 4) / 2;
        a->normalization = (int32_t)draw(f, 2);
        a->confidence_filter = (int32_t)draw(f, 2);
        LOSS_TENSORS
    } else {
        START(position_cross_entropy, POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT);
        a->grid = grid;
        a->labels = which == 0   ? POSLABEL_LABELS_EXPLICIT
                    : which == 1 ? POSLABEL_LABELS_ABSOLUTE
                                 : POSLABEL_LABELS_RELATIVE;
        a->label_smoothing = (double)draw(f, 3) / 4;
        LOSS_TENSORS
    }
}

static void make_linear(fuzz *f)
{
    START(linear_position_loss, POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT);
    const int labels = (int)draw(f, 3);
    const poslabel_grid grid = {1 + (int32_t)draw(f, 2), 1 + (int32_t)draw(f, 3)};
    const int64_t n = (int64_t)grid.height * grid.width, b = (int64_t)draw(f, 3), d = 1 + (int64_t)draw(f, 9);
    const int64_t rows = labels == POSLABEL_LABELS_ABSOLUTE   ? n
                         : labels == POSLABEL_LABELS_RELATIVE ? n * n
                                                              : 1 + (int64_t)draw(f, 20);
    const int64_t c = labels == POSLABEL_LABELS_RELATIVE ? (2 * (int64_t)grid.height - 1) * (2 * grid.width - 1) : n;
    const poslabel_dtype dtype = a_float(f);
    const poslabel_dtype parameters = dtype_is(dtype, dtype_f64) || draw(f, 2) ? dtype : dtype_f32;
    a->grid = grid;
    a->labels = labels;
    a->label_smoothing = (double)draw(f, 3) / 4;
    a->reduction = (int32_t)draw(f, 3);
    a->grad_scale = (double)draw(f, 4) - 1;
    a->accumulate = (int32_t)draw(f, 2);
    a->workspace_limit = one_in(f, 2) ? draw(f, 8192) : 0;
    give(f, &a->features, FLOATS, dtype, 0, SHAPE(b, rows, d));
    give(f, &a->weight, FLOATS, dtype, 0, SHAPE(c, d));
    MAYBE give(f, &a->bias, FLOATS, parameters, 0, SHAPE(c));
    if (labels == POSLABEL_LABELS_EXPLICIT)
        give(f, &a->positions, IDS, an_id(f), c, SHAPE(b, rows));
    MAYBE give(f, &a->mask, MASK, a_mask(f), 0, SHAPE(b, rows));
    MAYBE give(f, &a->weights, WEIGHTS, a_float(f), 0, SHAPE(b, rows));
    MAYBE give(f, &a->grad_loss, FLOATS, a_scalar(f), 0, 0, NULL);
    MAYBE give(f, &a->normalizer, FLOATS, a_scalar(f), 0, SHAPE(1));
    MAYBE give(f, &a->loss, OUTPUT, a_scalar(f), 0, a->reduction == POSLABEL_REDUCTION_NONE ? 2 : 0,
               (int64_t[]){b, rows});
    MAYBE give(f, &a->grad_features, OUTPUT, dtype, 0, SHAPE(b, rows, d));
    MAYBE give(f, &a->grad_weight, OUTPUT, parameters, 0, SHAPE(c, d));
    MAYBE give(f, &a->grad_bias, OUTPUT, parameters, 0, SHAPE(c));
    MAYBE give(f, &a->accuracy, OUTPUT, a_scalar(f), 0, 0, NULL);
    MAYBE give(f, &a->weight_sum, OUTPUT, a_scalar(f), 0, 0, NULL);
    MAYBE give(f, &a->flags, OUTPUT, dtype_i32, 0, 0, NULL);
}

static void make_scale(fuzz *f)
{
    START(scale_gradient, POSLABEL_SCALE_GRADIENT_ARGS_INIT);
    const int64_t b = (int64_t)draw(f, 4), v = 1 + (int64_t)draw(f, 5), c = (int64_t)draw(f, 40);
    give(f, &a->grad, OUTPUT, a_float(f), 0, SHAPE(b, v, c));
    if (draw(f, 2))
        give(f, &a->scale, FLOATS, a_scalar(f), 0, SHAPE(b, v));
    else
        give(f, &a->scale, FLOATS, a_scalar(f), 0, 0, NULL);
}

static int64_t a_strange_number(fuzz *f)
{
    /* clang-format off */
    static const int64_t strange[] = {
        0, 1, -1, 2, 3, 7, 8, 16, 100, -2, 1024, INT32_MAX, INT32_MIN, (int64_t)1 << 31, (int64_t)1 << 32,
        (int64_t)1 << 40, INT64_MAX, INT64_MIN, INT64_MAX / 16, (int64_t)1 << 62,
    };
    /* clang-format on */
    return strange[draw(f, COUNT(strange))];
}

static void nudge(fuzz *f, int64_t *number)
{
    *number = (int64_t)((uint64_t)*number + (draw(f, 2) ? 1 : UINT64_MAX));
}

static void spoil_tensor(fuzz *f)
{
    slot *const s = &f->slots[draw(f, (uint64_t)f->count)];
    const uint64_t dimension = draw(f, RANK);
    switch (draw(f, 14)) {
    case 0:
        s->t.ndim = (int32_t)a_strange_number(f);
        break;
    case 1:
        s->t.ndim = (int32_t)((uint32_t)s->t.ndim + (draw(f, 2) ? 1u : UINT32_MAX));
        break;
    case 2:
        s->shape[dimension % 4] = a_strange_number(f);
        break;
    case 3:
        nudge(f, &s->shape[dimension % 4]);
        break;
    case 4:
        s->strides[dimension % 4] = a_strange_number(f);
        break;
    case 5:
        nudge(f, &s->strides[dimension % 4]);
        break;
    case 6:
        s->t.dtype = draw(f, 2)
                         ? a_mask(f)
                         : (poslabel_dtype){(uint8_t)draw(f, 8), (uint8_t)(8 << draw(f, 5)), (uint16_t)draw(f, 3)};
        break;
    case 7:
        s->t.device.type = (int32_t)a_strange_number(f);
        break;
    case 8:
        s->t.data = NULL;
        break;
    case 9:
        s->t.data = (void *)((uintptr_t)s->t.data + (uintptr_t)draw(f, 33) - 16);
        break;
    case 10:
        s->t.shape = NULL;
        break;
    case 11:
        s->t.strides = NULL;
        break;
    case 12:
        *s->at = NULL;
        break;
    default: { /* two arguments that share memory, or are one */
        slot *const other = &f->slots[draw(f, (uint64_t)f->count)];
        if (draw(f, 2))
            s->t.data = other->t.data, s->t.byte_offset = other->t.byte_offset;
        else
            *s->at = &other->t;
    }
    }
}

/* Another number in a field that holds no tensor. */
static void spoil_number(fuzz *f)
{
    const size_t at = 8 + 4 * draw(f, (f->args_size - 8) / 4);
    for (int i = 0; i < f->count; i++) {
        const size_t pointer = (size_t)((char *)f->slots[i].at - f->args);
        if (at - at % 8 == pointer)
            return;
    }
    void *word;
    memcpy(&word, f->args + at - at % 8, sizeof word);
    const int64_t value = a_strange_number(f);
    static const double doubles[] = {-1, 0.5, 1.5, 1e300, -0.0};
    if (at % 8 == 0 && draw(f, 2)) {
        const double number = draw(f, 2) ? (double)NAN : doubles[draw(f, COUNT(doubles))];
        if (word) /* a field of zeros may be a tensor that was not given */
            memcpy(f->args + at, &number, sizeof number);
    } else if (word) {
        memcpy(f->args + at, &value, 4);
    }
}

/*
 * That a tensor reaches only where it may: what the library must refuse stays as it is, what it would read or write
 * outside of the arena is made small.
 */
static void keep_inside(slot *s)
{
    poslabel_tensor *const t = &s->t;
    if (t->ndim < 0 || t->ndim > RANK || (t->ndim && !t->shape) || !t->data)
        return;
    __int128 last = 0, compact = 1;
    bool empty = false, backwards = false, huge = false;
    for (int i = t->ndim - 1; i >= 0; i--) {
        const int64_t size = t->shape[i];
        if (size < 0)
            return;
        const __int128 stride = size <= 1 ? 0 : t->strides ? (__int128)t->strides[i] : compact;
        empty = empty || size == 0;
        backwards = backwards || (stride < 0 && size > 1);
        last += (__int128)(size > 0 ? size - 1 : 0) * stride;
        compact *= size > 0 ? size : 1;
        huge = huge || compact > INT64_MAX / 16 || last > INT64_MAX / 16 || last < -(__int128)(INT64_MAX / 16);
        if (huge)
            break;
    }
    if (empty && !huge)
        for (int i = 0; i < t->ndim; i++)
            if (t->shape[i] > ARENA) /* nothing in each of billions of images: legal, but it takes its time */
                s->shape[i] = 3;
    if (empty || backwards || huge)
        return;
    const size_t element = t->dtype.bits > 8 ? t->dtype.bits / 8u : 1;
    const uintptr_t start = (uintptr_t)arena;
    for (int attempt = 0;; attempt++) {
        const uintptr_t from = (uintptr_t)t->data + t->byte_offset;
        if (from >= start && from < start + ARENA && (last + 1) * (__int128)element <= (__int128)(start + ARENA - from))
            return;
        if (attempt == 0) {
            t->data = arena;
            t->byte_offset = 0;
        } else {
            for (int i = 0; i < t->ndim; i++)
                s->shape[i] = 1;
            t->shape = s->shape;
            t->strides = NULL;
            last = 0;
        }
    }
}

/* Calls `each` with every element of a tensor that keep_inside() has approved. */
static void for_elements(const slot *s, void (*each)(const slot *, unsigned char *, int64_t, void *), void *argument)
{
    const poslabel_tensor *const t = &s->t;
    int64_t at[RANK] = {0}, strides[RANK], count = 1;
    if (t->ndim < 0 || t->ndim > RANK || !t->data || (t->ndim && !t->shape))
        return;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] <= 0 || t->shape[i] > ARENA)
            return;
        strides[i] = t->shape[i] == 1 ? 0 : t->strides ? t->strides[i] : count;
        count *= t->shape[i];
        if (count > ARENA || strides[i] < -ARENA || strides[i] > ARENA)
            return;
    }
    const int64_t size = t->dtype.bits > 8 ? t->dtype.bits / 8 : 1;
    for (int64_t k = 0; k < count; k++) {
        int64_t offset = 0;
        for (int i = 0; i < t->ndim; i++)
            offset += at[i] * strides[i];
        const uintptr_t place = (uintptr_t)t->data + t->byte_offset + (uintptr_t)(offset * size) - (uintptr_t)arena;
        if (place <= (uintptr_t)(ARENA - size))
            each(s, arena + place, k, argument);
        for (int i = t->ndim - 1; i >= 0 && ++at[i] == t->shape[i]; i--)
            at[i] = 0;
    }
}

static void fill_element(const slot *s, unsigned char *p, int64_t k, void *argument)
{
    fuzz *const f = argument;
    const poslabel_dtype known[] = {dtype_f16, dtype_bf16, dtype_f32, dtype_f64,
                                    dtype_i32, dtype_i64,  dtype_u8,  dtype_bool};
    bool is_known = false;
    for (int i = 0; i < COUNT(known); i++)
        is_known = is_known || dtype_is(s->t.dtype, known[i]);
    if (!is_known)
        return;
    double value = (double)draw(f, 64) / 8 - 4;
    if (s->role == WEIGHTS)
        value = (double)draw(f, 3) / 2;
    if (s->role == IDS)
        value = (double)draw(f, (uint64_t)(s->limit > 0 ? s->limit : 1));
    if (s->role == MASK)
        value = (double)draw(f, 2);
    if (s->role == ORDER)
        value = (double)(k % (s->limit > 0 ? s->limit : 1));
    number_store(p, s->t.dtype, 0, value);
}

static void mark_element(const slot *s, unsigned char *p, int64_t k, void *argument)
{
    (void)k;
    (void)argument;
    memset(may_change + (p - arena), 1, s->t.dtype.bits > 8 ? s->t.dtype.bits / 8u : 1);
}

/* Workspace, but no more than a little: a spoilt size must not take the machine's memory. */
static void *allocate(void *user, size_t size, size_t alignment)
{
    (void)user;
    return size > LARGEST_BLOCK ? NULL : aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void release(void *user, void *data, size_t size)
{
    (void)user;
    (void)size;
    free(data);
}

static void open_contexts(void)
{
    poslabel_isa levels[ISA_LEVELS];
    context_count = isa_levels(levels);
    for (int i = 0; i < context_count; i++) {
        poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
        options.isa = (int)levels[i];
        options.threads = 1 + i % 2;
        options.allocator = (poslabel_allocator){NULL, allocate, release};
        if (poslabel_context_create(&options, &contexts[i]) != POSLABEL_OK)
            abort();
    }
    static guard g;
    g = guard_new(ARENA, GUARD_END, 0);
    arena = g.data;
}

/* Shows the call, for whoever has to find out what is wrong with it. */
static void die(const fuzz *f, const char *what, long detail)
{
    fprintf(stderr, "%s: %s (%ld)\n", f->name, what, detail);
    for (int i = 0; i < f->count; i++) {
        const slot *const s = &f->slots[i];
        fprintf(stderr, "  field at %td, role %d: %s, rank %d, {%d, %d, %d}, at %td + %llu,", (char *)s->at - f->args,
                (int)s->role,
                *s->at == &s->t ? "given"
                : *s->at        ? "another's"
                                : "NULL",
                (int)s->t.ndim, s->t.dtype.code, s->t.dtype.bits, s->t.dtype.lanes, (unsigned char *)s->t.data - arena,
                (unsigned long long)s->t.byte_offset);
        for (int k = 0; k < s->t.ndim && k < RANK && s->t.shape; k++)
            fprintf(stderr, " %lld by %lld", (long long)s->t.shape[k], s->t.strides ? (long long)s->t.strides[k] : -1);
        fprintf(stderr, "\n");
    }
    abort();
}

/* Makes one call; gives its status. */
static poslabel_status fuzz_call(source from)
{
    static fuzz storage;
    fuzz *const f = &storage;
    memset(f, 0, sizeof *f);
    f->from = from;
    const int which = (int)draw(f, 17);
    if (which < 3)
        make_labels(f, which);
    else if (which < 7)
        make_masks(f, which - 3);
    else if (which < 10)
        make_tokens(f, which - 7);
    else if (which < 14)
        make_losses(f, which - 10);
    else if (which < 16)
        make_linear(f);
    else
        make_scale(f);
    for (uint64_t spoils = draw(f, 4); spoils > 0; spoils--)
        if (f->count && draw(f, 4))
            spoil_tensor(f);
        else
            spoil_number(f);
    const size_t full = f->args_size;
    if (one_in(f, 16))
        *(size_t *)(void *)f->args = 8 * draw(f, full / 8 + 1); /* an older caller */
    for (int i = 0; i < f->count; i++)
        keep_inside(&f->slots[i]);
    for (int i = 0; i < f->count; i++)
        for_elements(&f->slots[i], fill_element, f);

    memcpy(before, arena, ARENA);
    poslabel_context *const context = contexts[draw(f, (uint64_t)context_count)];
    const poslabel_status status = f->call(context, f->args);
    memset(may_change, 0, ARENA);
    if (status == POSLABEL_OK) {
        for (int i = 0; i < f->count; i++)
            for (int k = 0; k < f->count; k++)
                if (*f->slots[i].at == &f->slots[k].t && f->slots[i].role == OUTPUT)
                    for_elements(&f->slots[k], mark_element, NULL);
    } else {
        if (status != POSLABEL_ERROR_INVALID && status != POSLABEL_ERROR_UNSUPPORTED && status != POSLABEL_ERROR_MEMORY)
            die(f, "an odd status", status);
        const char *message = poslabel_context_message(context);
        if (strncmp(message, f->name, strlen(f->name)) || strncmp(message + strlen(f->name), ": ", 2) ||
            strlen(message) < strlen(f->name) + 10)
            die(f, message, status);
    }
    if (memcmp(before, arena, ARENA))
        for (size_t i = 0; i < ARENA; i++)
            if (before[i] != arena[i] && !may_change[i])
                die(f, status == POSLABEL_OK ? "a byte outside of the outputs was changed" : "a call that failed wrote",
                    (long)i);
    return status;
}

#ifdef TEST_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!arena)
        open_contexts();
    fuzz_call((source){data, size, {0}});
    return 0;
}

#else

int main(int argc, char **argv)
{
    const long calls = argc > 1 ? atol(argv[1]) : test_is_quick() ? 20000 : 200000;
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    long right = 0;
    open_contexts();
    for (long i = 0; i < calls; i++) {
        const source from = {NULL, 0, {seed * 0x9e3779b97f4a7c15u + (uint64_t)i}};
        right += fuzz_call(from) == POSLABEL_OK;
    }
    for (int i = 0; i < context_count; i++)
        poslabel_context_destroy(contexts[i]);
    printf("%ld calls, %ld of them right\n", calls, right);
    if (right < calls / 5 || right > calls - calls / 5) {
        fprintf(stderr, "hardly any calls are right, or wrong: this shows little\n");
        return 1;
    }
    return 0;
}

#endif
