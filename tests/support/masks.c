/*
 * Masks: cases, and the definition that every level is held against.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/masks.h"

#include "support/test.h"

const char *const mask_output_names[MASK_OUTPUTS] = {
    "ids_keep",        "ids_remove", "ids_restore", "mask",  "ids_keep_pos",
    "ids_restore_pos", "mask_pos",   "positions",   "places"};

/* Which operation chooses the patches. */
static int patch_mask_of(const mask_case *c)
{
    switch (c->kind) {
    case MASK_REGULAR:
        return POSLABEL_PATCH_MASK_REGULAR;
    case MASK_BLOCK:
        return POSLABEL_PATCH_MASK_BLOCK;
    case MASK_DROPPOS:
        return c->patch_mask;
    default:
        return POSLABEL_PATCH_MASK_RANDOM;
    }
}

int64_t mask_tokens(const mask_case *c)
{
    return (int64_t)c->grid.height * c->grid.width;
}

static int64_t block_side(const mask_case *c)
{
    const int64_t n = mask_tokens(c), visible = n - (int64_t)(c->mask_ratio * (double)n);
    int64_t side = 0;
    while ((side + 1) * (side + 1) <= visible)
        side++;
    return side;
}

int64_t mask_visible(const mask_case *c)
{
    const int64_t h = c->grid.height, w = c->grid.width;
    if (patch_mask_of(c) == POSLABEL_PATCH_MASK_REGULAR)
        return (h / 2 + h % 2) * (w / 2 + w % 2);
    if (patch_mask_of(c) == POSLABEL_PATCH_MASK_BLOCK)
        return block_side(c) * block_side(c);
    return (int64_t)((double)mask_tokens(c) * (1 - c->mask_ratio));
}

int64_t mask_keep_pos(const mask_case *c)
{
    return (int64_t)((double)mask_visible(c) * (1 - c->pos_mask_ratio));
}

int64_t mask_output_length(const mask_case *c, mask_output output)
{
    switch (output) {
    case IDS_KEEP:
        return mask_visible(c);
    case IDS_REMOVE:
        return mask_tokens(c) - mask_visible(c);
    case IDS_RESTORE:
    case MASK:
        return mask_tokens(c);
    case IDS_KEEP_POS:
        return mask_keep_pos(c);
    default:
        return mask_visible(c);
    }
}

int64_t mask_noise_length(const mask_case *c, mask_noise noise)
{
    return noise == PATCH_NOISE ? mask_tokens(c) : mask_visible(c);
}

static int outputs_of(const mask_case *c)
{
    return c->kind == MASK_DROPPOS ? MASK_OUTPUTS : PATCH_OUTPUTS;
}

void mask_case_add_outputs(mask_case *c, poslabel_dtype ids, poslabel_dtype masks, layout how)
{
    for (int o = 0; o < outputs_of(c); o++) {
        const int64_t shape[] = {c->images, mask_output_length(c, (mask_output)o)};
        c->output[o] = tensor_laid_out(o == MASK || o == MASK_POS ? masks : ids, 2, shape, how);
    }
}

void mask_case_add_noise(mask_case *c, poslabel_dtype dtype, layout how, uint64_t seed)
{
    for (int i = 0; i < MASK_NOISES; i++) {
        if (i == PATCH_NOISE ? patch_mask_of(c) != POSLABEL_PATCH_MASK_RANDOM : c->kind != MASK_DROPPOS)
            continue;
        const int64_t shape[] = {c->images, mask_noise_length(c, (mask_noise)i)};
        c->noise[i] = tensor_laid_out(dtype, 2, shape, how);
        tensor_fill_between(c->noise[i], seed + (uint64_t)i, 0, 1);
    }
}

void mask_case_free(mask_case *c)
{
    for (int i = 0; i < MASK_NOISES; i++)
        tensor_free(c->noise[i]);
    for (int o = 0; o < MASK_OUTPUTS; o++)
        tensor_free(c->output[o]);
    tensor_free(c->samples);
    tensor_free(c->step_scalar);
    c->samples = c->step_scalar = NULL;
    memset(c->noise, 0, sizeof c->noise);
    memset(c->output, 0, sizeof c->output);
}

void mask_case_forget_outputs(const mask_case *c)
{
    for (int o = 0; o < MASK_OUTPUTS; o++)
        if (c->output[o])
            tensor_forget(c->output[o]);
}

bool mask_case_outputs_untouched(const mask_case *c)
{
    for (int o = 0; o < MASK_OUTPUTS; o++)
        if (c->output[o] && !tensor_is_untouched(c->output[o]))
            return false;
    return true;
}

#define COMMON_ARGS(args)                                                                                              \
    (args).seed = c->seed;                                                                                             \
    (args).first_sample = c->first_sample;                                                                             \
    (args).step = c->step;                                                                                             \
    (args).samples = c->samples ? &c->samples->t : NULL;                                                               \
    (args).step_scalar = c->step_scalar ? &c->step_scalar->t : NULL;                                                   \
    (args).ids_keep = tensor_of(c->output[IDS_KEEP]);                                                                  \
    (args).ids_remove = tensor_of(c->output[IDS_REMOVE]);                                                              \
    (args).ids_restore = tensor_of(c->output[IDS_RESTORE]);                                                            \
    (args).mask = tensor_of(c->output[MASK])

poslabel_random_mask_args mask_random_args(const mask_case *c)
{
    poslabel_random_mask_args args = POSLABEL_RANDOM_MASK_ARGS_INIT;
    args.tokens = mask_tokens(c);
    args.mask_ratio = c->mask_ratio;
    args.noise = tensor_of(c->noise[PATCH_NOISE]);
    COMMON_ARGS(args);
    return args;
}

poslabel_regular_mask_args mask_regular_args(const mask_case *c)
{
    poslabel_regular_mask_args args = POSLABEL_REGULAR_MASK_ARGS_INIT;
    args.grid = c->grid;
    COMMON_ARGS(args);
    return args;
}

poslabel_block_mask_args mask_block_args(const mask_case *c)
{
    poslabel_block_mask_args args = POSLABEL_BLOCK_MASK_ARGS_INIT;
    args.grid = c->grid;
    args.mask_ratio = c->mask_ratio;
    COMMON_ARGS(args);
    return args;
}

poslabel_droppos_masks_args mask_droppos_args(const mask_case *c)
{
    poslabel_droppos_masks_args args = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    args.grid = c->grid;
    args.patch_mask = c->patch_mask;
    args.wrong_positions = c->wrong_positions;
    args.mask_ratio = c->mask_ratio;
    args.pos_mask_ratio = c->pos_mask_ratio;
    args.patch_noise = tensor_of(c->noise[PATCH_NOISE]);
    args.pos_noise = tensor_of(c->noise[POS_NOISE]);
    args.shuffle_noise = tensor_of(c->noise[SHUFFLE_NOISE]);
    args.ids_keep_pos = tensor_of(c->output[IDS_KEEP_POS]);
    args.ids_restore_pos = tensor_of(c->output[IDS_RESTORE_POS]);
    args.mask_pos = tensor_of(c->output[MASK_POS]);
    args.positions = tensor_of(c->output[POSITIONS]);
    args.places = tensor_of(c->output[PLACES]);
    COMMON_ARGS(args);
    return args;
}

poslabel_status mask_call(poslabel_context *context, const mask_case *c)
{
    if (c->kind == MASK_RANDOM) {
        const poslabel_random_mask_args args = mask_random_args(c);
        return poslabel_random_mask(context, &args);
    }
    if (c->kind == MASK_REGULAR) {
        const poslabel_regular_mask_args args = mask_regular_args(c);
        return poslabel_regular_mask(context, &args);
    }
    if (c->kind == MASK_BLOCK) {
        const poslabel_block_mask_args args = mask_block_args(c);
        return poslabel_block_mask(context, &args);
    }
    const poslabel_droppos_masks_args args = mask_droppos_args(c);
    return poslabel_droppos_masks(context, &args);
}

/* ---- the definition ---- */

typedef struct entry {
    double value;
    int64_t index;
} entry;

static int compare_entries(const void *a, const void *b)
{
    const entry *const x = a, *const y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static uint32_t word(const mask_case *c, int64_t image, uint32_t stream, int64_t n)
{
    const int64_t sample = c->samples ? ((const int64_t *)c->samples->t.data)[image] : c->first_sample + image;
    const uint32_t step = c->step_scalar ? (uint32_t) * (const int64_t *)c->step_scalar->t.data : c->step;
    const uint32_t counter[4] = {(uint32_t)sample, (uint32_t)(n / 4), stream + 256 * (uint32_t)(sample >> 32), step};
    uint32_t words[4];
    poslabel_philox(c->seed, counter, words);
    return words[n % 4];
}

/* order = argsort of the noise of an image. */
static void sort_noise(const mask_case *c, int64_t image, mask_noise noise, uint32_t stream, int64_t *order)
{
    const int64_t n = mask_noise_length(c, noise);
    entry *const entries = malloc((size_t)(n + 1) * sizeof *entries);
    for (int64_t i = 0; i < n; i++)
        entries[i] = (entry){c->noise[noise] ? tensor_get(c->noise[noise], image * n + i)
                                             : (double)word(c, image, stream, i), i};
    qsort(entries, (size_t)n, sizeof *entries, compare_entries);
    for (int64_t i = 0; i < n; i++)
        order[i] = entries[i].index;
    free(entries);
}

static bool contains(const int64_t *ids, int64_t count, int64_t id)
{
    for (int64_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* The visible patches, then the others. */
static void choose_patches(const mask_case *c, int64_t image, int64_t *order)
{
    const int64_t h = c->grid.height, w = c->grid.width, side = block_side(c);
    int64_t count = 0;
    if (patch_mask_of(c) == POSLABEL_PATCH_MASK_RANDOM) {
        sort_noise(c, image, PATCH_NOISE, POSLABEL_STREAM_PATCH_MASK, order);
        return;
    }
    if (patch_mask_of(c) == POSLABEL_PATCH_MASK_REGULAR) {
        for (int64_t cell = 0; cell < ((h + 1) / 2) * ((w + 1) / 2); cell++) {
            int64_t patches[4], m = 0;
            const int64_t top = cell / ((w + 1) / 2) * 2, left = cell % ((w + 1) / 2) * 2;
            for (int64_t k = 0; k < 4; k++)
                if (top + k / 2 < h && left + k % 2 < w)
                    patches[m++] = (top + k / 2) * w + left + k % 2;
            const double share = (double)word(c, image, POSLABEL_STREAM_REGULAR_MASK, cell) / 4294967296.0;
            order[count++] = patches[(int64_t)(share * (double)m)];
        }
    } else {
        const double y = (double)word(c, image, POSLABEL_STREAM_BLOCK_MASK, 0) / 4294967296.0;
        const double x = (double)word(c, image, POSLABEL_STREAM_BLOCK_MASK, 1) / 4294967296.0;
        const int64_t top = (int64_t)(y * (double)(h - side + 1)), left = (int64_t)(x * (double)(w - side + 1));
        for (int64_t n = 0; n < h * w; n++)
            if (n / w >= top && n / w < top + side && n % w >= left && n % w < left + side)
                order[count++] = n;
    }
    const int64_t visible = count;
    for (int64_t n = 0; n < h * w; n++)
        if (!contains(order, visible, n))
            order[count++] = n;
}

static void solve_image(const mask_case *c, int64_t image, mask_answer *a)
{
    const int64_t n = mask_tokens(c), v = mask_visible(c), k = mask_keep_pos(c);
    int64_t *const order = malloc((size_t)(n + 1) * sizeof *order);
    int64_t *row[MASK_OUTPUTS];
    for (int o = 0; o < MASK_OUTPUTS; o++)
        row[o] = a->output[o] + image * mask_output_length(c, (mask_output)o);
    choose_patches(c, image, order);
    for (int64_t p = 0; p < n; p++) {
        if (p < v)
            row[IDS_KEEP][p] = order[p];
        else
            row[IDS_REMOVE][p - v] = order[p];
        row[IDS_RESTORE][order[p]] = p;
        row[MASK][order[p]] = p >= v;
    }
    if (c->kind == MASK_DROPPOS) {
        sort_noise(c, image, POS_NOISE, POSLABEL_STREAM_POSITION_MASK, order);
        for (int64_t p = 0; p < v; p++) {
            if (p < k)
                row[IDS_KEEP_POS][p] = order[p];
            row[IDS_RESTORE_POS][order[p]] = p;
            row[MASK_POS][order[p]] = p >= k;
            row[POSITIONS][order[p]] = p < k ? row[IDS_KEEP][order[p]] : -1;
        }
        /* the dropped stand at k .. v - 1 of the order; each hands its position to the next, the last to the first */
        for (int64_t p = k; c->wrong_positions && v - k > 1 && p < v; p++)
            row[POSITIONS][order[p + 1 < v ? p + 1 : k]] = row[IDS_KEEP][order[p]];
        sort_noise(c, image, SHUFFLE_NOISE, POSLABEL_STREAM_SHUFFLE, order);
        for (int64_t p = 0; p < v; p++)
            row[PLACES][order[p]] = p;
    }
    free(order);
}

mask_answer mask_solve(const mask_case *c)
{
    mask_answer a;
    for (int o = 0; o < MASK_OUTPUTS; o++)
        a.output[o] = calloc((size_t)(c->images * mask_output_length(c, (mask_output)o) + 1), sizeof(int64_t));
    for (int64_t image = 0; image < c->images; image++)
        solve_image(c, image, &a);
    return a;
}

void mask_answer_free(mask_answer *a)
{
    for (int o = 0; o < MASK_OUTPUTS; o++)
        free(a->output[o]);
}

void expect_masks_at(const char *file, int line, const mask_case *c, const mask_answer *answer)
{
    for (int o = 0; o < MASK_OUTPUTS; o++) {
        const tensor *const t = c->output[o];
        if (!t)
            continue;
        const int64_t length = mask_output_length(c, (mask_output)o);
        for (int64_t i = 0; i < t->count; i++)
            if (tensor_get(t, i) != (double)answer->output[o][i])
                test_fail_at(file, line, "%s[%lld, %lld] = %.17g, want %lld", mask_output_names[o],
                             (long long)(i / length), (long long)(i % length), tensor_get(t, i),
                             (long long)answer->output[o][i]);
        tensor_check_at(file, line, t);
    }
}

/* ---- every level ---- */

poslabel_context *mask_levels[ISA_LEVELS];
int mask_level_count;

int mask_open_levels(void **state)
{
    poslabel_isa isa[ISA_LEVELS];
    (void)state;
    mask_level_count = isa_levels(isa);
    for (int i = 0; i < mask_level_count; i++)
        mask_levels[i] = context_new(isa[i], 1);
    return 0;
}

int mask_close_levels(void **state)
{
    (void)state;
    for (int i = 0; i < mask_level_count; i++)
        poslabel_context_destroy(mask_levels[i]);
    return 0;
}

const char *mask_level_name(const poslabel_context *context)
{
    return poslabel_isa_name(poslabel_context_isa(context));
}

void expect_masks_every_level(const mask_case *c, const char *what)
{
    mask_answer answer = mask_solve(c);
    for (int i = 0; i < mask_level_count; i++) {
        test_case_is("%s, kind %d, %d x %d, %s", what, (int)c->kind, (int)c->grid.height, (int)c->grid.width,
                     mask_level_name(mask_levels[i]));
        mask_case_forget_outputs(c);
        expect_ok(mask_levels[i], mask_call(mask_levels[i], c));
        expect_masks(c, &answer);
    }
    mask_answer_free(&answer);
    test_case_is("%s", "");
}

mask_case mask_random_case(int64_t tokens, int64_t images, double mask_ratio)
{
    return (mask_case){.kind = MASK_RANDOM,
                       .grid = {1, (int32_t)tokens},
                       .mask_ratio = mask_ratio,
                       .pos_mask_ratio = 0.75,
                       .images = images,
                       .seed = UINT64_C(0x123456789abcdef) + (uint64_t)tokens,
                       .first_sample = 77,
                       .step = 5};
}

mask_case mask_droppos_case(poslabel_grid grid, int patch_mask, int64_t images)
{
    return (mask_case){.kind = MASK_DROPPOS,
                       .grid = grid,
                       .patch_mask = patch_mask,
                       .mask_ratio = 0.75,
                       .pos_mask_ratio = 0.75,
                       .images = images,
                       .seed = 99,
                       .first_sample = 3,
                       .step = 1};
}
