/*
 * Token assembly, its gradient, and their definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/tokens.h"

const unsigned token_option_sets[TOKEN_OPTION_SETS] = {
    0,
    TOKENS_POS_EMBED,
    TOKENS_IDS | TOKENS_MASK | TOKENS_POS_EMBED | TOKENS_PREFIX_EMBED | TOKENS_MASK_TOKEN,
    TOKENS_IDS | TOKENS_MASK | TOKENS_POS_EMBED | TOKENS_PREFIX_EMBED | TOKENS_INT32,
    TOKENS_IDS | TOKENS_POSITIONS | TOKENS_POS_EMBED | TOKENS_PLACES | TOKENS_MASK_TOKEN,
    TOKENS_IDS | TOKENS_MASK | TOKENS_MASK_TOKEN | TOKENS_PLACES | TOKENS_INT32,
    TOKENS_IDS | TOKENS_DUPLICATES | TOKENS_MASK | TOKENS_POS_EMBED | TOKENS_MASK_TOKEN | TOKENS_PREFIX_EMBED,
    (TOKENS_ALL & ~TOKENS_MASK) | TOKENS_PLACES,
    TOKENS_PLACES | TOKENS_POSITIONS | TOKENS_POS_EMBED,
};

static tensor *new_values(poslabel_dtype dtype, int ndim, const int64_t *shape, layout how, uint64_t seed)
{
    tensor *t = tensor_laid_out(dtype, ndim, shape, how);
    tensor_fill_normal(t, seed, 1);
    return t;
}

/* Each row `count` different numbers below n, or, with replacement, any. */
static void fill_choice(tensor *t, int64_t n, bool replacement, uint64_t seed)
{
    const int64_t count = t->shape[1];
    rng r = {seed};
    int64_t *all = malloc(sizeof *all * (size_t)(n + 1));
    for (int64_t b = 0; b < t->shape[0]; b++) {
        for (int64_t i = 0; i < n; i++)
            all[i] = i;
        for (int64_t i = 0; i < count; i++) {
            const int64_t k = replacement ? rng_below(&r, n) : i + rng_below(&r, n - i), chosen = all[k];
            if (!replacement) {
                all[k] = all[i];
                all[i] = chosen;
            }
            tensor_set(t, b * count + i, (double)chosen);
        }
    }
    free(all);
}

token_case token_case_new(token_sizes size, poslabel_dtype dtype, unsigned options, layout how, uint64_t seed)
{
    const int64_t b = size.images, n = size.tokens, v = size.visible, p = size.prefix, d = size.channels;
    const bool prefix_embed = options & TOKENS_PREFIX_EMBED;
    const int64_t registers = prefix_embed && options & TOKENS_REGISTER && p > 0,
                  embedded = prefix_embed ? p - registers : 0;
    const poslabel_dtype parameters = options & TOKENS_F32 && dtype_size(dtype) == 2 ? dtype_f32 : dtype;
    const poslabel_dtype ids = options & TOKENS_INT32 ? dtype_i32 : dtype_i64;
    const layout ids_how = {.row_padding = how.row_padding, .side = how.side};
    token_case c = {.size = size, .dtype = dtype, .embedded = embedded, .registers = registers};
    const int64_t kept[] = {b, v}, tokens[] = {b, n, d}, x[] = {b, p + v, d}, prefix[] = {p, d};
    const int64_t embed[] = {n + embedded, d};
    if (options & TOKENS_IDS) {
        c.ids_keep = tensor_laid_out(ids, 2, kept, ids_how);
        fill_choice(c.ids_keep, n, options & TOKENS_DUPLICATES, seed + 1);
    }
    if (options & TOKENS_POSITIONS) {
        c.positions = tensor_laid_out(ids, 2, kept, ids_how);
        rng r = {seed + 2};
        for (int64_t i = 0; i < c.positions->count; i++)
            tensor_set(c.positions, i, rng_below(&r, 4) ? (double)rng_below(&r, n) : -1);
    } else if (options & TOKENS_MASK) {
        c.mask_pos = tensor_laid_out(dtype_u8, 2, kept, ids_how);
        tensor_fill_below(c.mask_pos, seed + 3, 3); /* any number but 0 is "dropped" */
    }
    if (options & TOKENS_PLACES) {
        c.places = tensor_laid_out(ids, 2, kept, ids_how);
        fill_choice(c.places, v, false, seed + 4);
    }
    layout apart = how, of_parameters = how;
    of_parameters.gap *= dtype_size(parameters) / dtype_size(dtype);
    apart.columns = options & TOKENS_COLUMNS;
    layout of_tokens = apart;
    of_tokens.shared = options & TOKENS_SHARED;
    c.tokens = new_values(dtype, 3, tokens, of_tokens, seed + 5);
    c.x = tensor_laid_out(dtype, 3, x, how);
    c.grad_x = new_values(dtype, 3, x, how, seed + 6);
    c.grad_tokens = tensor_laid_out(dtype, 3, tokens, apart);
    c.grad_mask_token = tensor_laid_out(parameters, 1, &d, (layout){.side = how.side, .gap = of_parameters.gap});
    if (p > 0) {
        c.prefix_tokens = new_values(parameters, 2, prefix, of_parameters, seed + 7);
        c.grad_prefix_tokens = tensor_laid_out(parameters, 2, prefix, of_parameters);
    }
    if (options & TOKENS_POS_EMBED) {
        c.pos_embed = new_values(parameters, 2, embed, of_parameters, seed + 8);
        c.grad_pos_embed = tensor_laid_out(parameters, 2, embed, of_parameters);
    }
    if (options & TOKENS_MASK_TOKEN)
        c.mask_token = new_values(options & TOKENS_16 ? dtype : parameters, 1, &d,
                                  (layout){.side = how.side, .gap = of_parameters.gap}, seed + 9);
    return c;
}

void token_case_free(token_case *c)
{
    tensor *const all[] = {
        c->ids_keep,           c->mask_pos,      c->positions, c->places, c->tokens,      c->pos_embed,
        c->mask_token,         c->prefix_tokens, c->x,         c->grad_x, c->grad_tokens, c->grad_mask_token,
        c->grad_prefix_tokens, c->grad_pos_embed};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
    *c = (token_case){.size = {0}};
}

poslabel_assemble_tokens_args token_args(const token_case *c)
{
    poslabel_assemble_tokens_args args = POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT;
    args.tokens = tensor_of(c->tokens);
    args.ids_keep = tensor_of(c->ids_keep);
    args.mask_pos = tensor_of(c->mask_pos);
    args.positions = tensor_of(c->positions);
    args.places = tensor_of(c->places);
    args.prefix_tokens = tensor_of(c->prefix_tokens);
    args.pos_embed = tensor_of(c->pos_embed);
    args.mask_token = tensor_of(c->mask_token);
    args.x = tensor_of(c->x);
    args.register_count = c->registers;
    return args;
}

poslabel_assemble_tokens_backward_args token_backward_args(const token_case *c)
{
    poslabel_assemble_tokens_backward_args args = POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT;
    args.grad_x = tensor_of(c->grad_x);
    args.tokens_per_image = c->size.tokens;
    args.prefix_count = c->size.prefix;
    args.ids_keep = tensor_of(c->ids_keep);
    args.mask_pos = tensor_of(c->mask_pos);
    args.positions = tensor_of(c->positions);
    args.places = tensor_of(c->places);
    args.grad_tokens = tensor_of(c->grad_tokens);
    args.grad_mask_token = tensor_of(c->grad_mask_token);
    args.grad_prefix_tokens = tensor_of(c->grad_prefix_tokens);
    args.grad_pos_embed = tensor_of(c->grad_pos_embed);
    args.register_count = c->registers;
    return args;
}

poslabel_status token_assemble(poslabel_context *context, const token_case *c)
{
    const poslabel_assemble_tokens_args args = token_args(c);
    return poslabel_assemble_tokens(context, &args);
}

poslabel_status token_backward(poslabel_context *context, const token_case *c)
{
    const poslabel_assemble_tokens_backward_args args = token_backward_args(c);
    return poslabel_assemble_tokens_backward(context, &args);
}

enum { OUTPUTS = 5, INPUTS = 9 };

static void list_outputs(const token_case *c, tensor *out[OUTPUTS])
{
    tensor *const all[OUTPUTS] = {c->x, c->grad_tokens, c->grad_mask_token, c->grad_prefix_tokens, c->grad_pos_embed};
    memcpy(out, all, sizeof all);
}

void token_case_forget_outputs(token_case *c)
{
    tensor *out[OUTPUTS];
    list_outputs(c, out);
    for (int i = 0; i < OUTPUTS; i++)
        if (out[i])
            tensor_forget(out[i]);
}

bool token_case_outputs_untouched(const token_case *c)
{
    tensor *out[OUTPUTS];
    list_outputs(c, out);
    for (int i = 0; i < OUTPUTS; i++)
        if (out[i] && !tensor_is_untouched(out[i]))
            return false;
    return true;
}

void token_case_check_outputs(const token_case *c)
{
    tensor *out[OUTPUTS];
    list_outputs(c, out);
    for (int i = 0; i < OUTPUTS; i++)
        if (out[i])
            tensor_check(out[i]);
}

void token_case_protect_inputs(token_case *c, bool on)
{
    tensor *const all[INPUTS] = {c->ids_keep, c->mask_pos,  c->positions,  c->places,       c->tokens,
                                 c->grad_x,   c->pos_embed, c->mask_token, c->prefix_tokens};
    for (int i = 0; i < INPUTS; i++)
        if (all[i])
            guard_read_only(&all[i]->memory, on);
}

/* ---- the definition ---- */

static int64_t index_at(const tensor *t, int64_t i)
{
    return (int64_t)tensor_get(t, i);
}

static int64_t id_of(const token_case *c, int64_t b, int64_t r)
{
    return c->ids_keep ? index_at(c->ids_keep, b * c->size.visible + r) : r;
}

static int64_t place_of(const token_case *c, int64_t b, int64_t r)
{
    return c->places ? index_at(c->places, b * c->size.visible + r) : r;
}

static int64_t position_of(const token_case *c, int64_t b, int64_t r)
{
    if (c->positions)
        return index_at(c->positions, b * c->size.visible + r);
    return c->mask_pos && tensor_get(c->mask_pos, b * c->size.visible + r) != 0 ? -1 : id_of(c, b, r);
}

/* One element of one row of a tensor of rows, or 0 when it is not given. */
static double at(const tensor *t, int64_t row, int64_t i)
{
    return t ? tensor_get(t, row * t->shape[t->t.ndim - 1] + i) : 0;
}

static void expect_rounded(const char *file, int line, const char *what, const tensor *got, int64_t row, int64_t i,
                           double want, double slack)
{
    const poslabel_dtype dtype = got->t.dtype;
    const double value = at(got, row, i), low = number_round(dtype, want - slack),
                 high = number_round(dtype, want + slack);
    if (!(value >= low && value <= high))
        test_fail_at(file, line, "%s, row %lld, channel %lld: got %.17g, want %.17g, which rounds to %.17g", what,
                     (long long)row, (long long)i, value, want, number_round(dtype, want));
}

/* Formed in float32, but for float64. */
static double sum_of(const token_case *c, double token, double embedding)
{
    return dtype_size(c->dtype) == 8 ? token + embedding : (float)(token + embedding);
}

void expect_assembled_at(const char *file, int line, const token_case *c)
{
    const token_sizes s = c->size;
    const int64_t height = s.prefix + s.visible, first = c->embedded;
    for (int64_t b = 0; b < s.images; b++)
        for (int64_t i = 0; i < s.channels; i++) {
            for (int64_t p = 0; p < s.prefix; p++)
                expect_rounded(file, line, "x", c->x, b * height + p, i,
                               sum_of(c, at(c->prefix_tokens, p, i), p < c->embedded ? at(c->pos_embed, p, i) : 0), 0);
            for (int64_t r = 0; r < s.visible; r++) {
                const int64_t q = position_of(c, b, r);
                const double embedding = q < 0 ? at(c->mask_token, 0, i) : at(c->pos_embed, first + q, i);
                expect_rounded(file, line, "x", c->x, b * height + s.prefix + place_of(c, b, r), i,
                               sum_of(c, at(c->tokens, b * s.tokens + id_of(c, b, r), i), embedding), 0);
            }
        }
}

/* A sum and the sum of the magnitudes, which bounds what rounding in double precision can do. */
typedef struct exact_sum {
    long double value, magnitude;
} exact_sum;

static void add(exact_sum *sums, int64_t row, int64_t i, int64_t channels, double value)
{
    sums[row * channels + i].value += value;
    sums[row * channels + i].magnitude += fabs(value);
}

static void expect_sums(const char *file, int line, const char *what, const tensor *got, const exact_sum *sums)
{
    if (!got)
        return;
    const int64_t channels = got->shape[got->t.ndim - 1], rows = channels ? got->count / channels : 0;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < channels; i++) {
            const exact_sum s = sums[row * channels + i];
            expect_rounded(file, line, what, got, row, i, (double)s.value, (double)s.magnitude * 1e-13);
        }
}

void expect_token_gradients_at(const char *file, int line, const token_case *c)
{
    const token_sizes s = c->size;
    const int64_t d = s.channels, height = s.prefix + s.visible, first = c->embedded;
    exact_sum *tokens = calloc((size_t)(s.images * s.tokens * d) + 1, sizeof *tokens);
    exact_sum *mask = calloc((size_t)d + 1, sizeof *mask), *prefix = calloc((size_t)(s.prefix * d) + 1, sizeof *prefix);
    exact_sum *embed = calloc((size_t)((s.prefix + s.tokens) * d) + 1, sizeof *embed);
    for (int64_t b = 0; b < s.images; b++)
        for (int64_t i = 0; i < d; i++) {
            for (int64_t p = 0; p < s.prefix; p++) {
                const double g = at(c->grad_x, b * height + p, i);
                add(prefix, p, i, d, g);
                if (p < c->embedded)
                    add(embed, p, i, d, g);
            }
            for (int64_t r = 0; r < s.visible; r++) {
                const double g = at(c->grad_x, b * height + s.prefix + place_of(c, b, r), i);
                const int64_t q = position_of(c, b, r);
                add(tokens, b * s.tokens + id_of(c, b, r), i, d, g);
                if (q < 0)
                    add(mask, 0, i, d, g);
                else
                    add(embed, first + q, i, d, g);
            }
        }
    expect_sums(file, line, "grad_tokens", c->grad_tokens, tokens);
    expect_sums(file, line, "grad_mask_token", c->grad_mask_token, mask);
    expect_sums(file, line, "grad_prefix_tokens", c->grad_prefix_tokens, prefix);
    expect_sums(file, line, "grad_pos_embed", c->grad_pos_embed, embed);
    free(tokens);
    free(mask);
    free(prefix);
    free(embed);
}
