/*
 * The tokens of MAE's decoder, their gradient, and their definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/decoder.h"

static tensor *new_values(poslabel_dtype dtype, int ndim, const int64_t *shape, layout how, uint64_t seed)
{
    tensor *t = tensor_laid_out(dtype, ndim, shape, how);
    tensor_fill_normal(t, seed, 1);
    return t;
}

/* Each row a permutation of 0 .. n - 1. */
static void fill_permutations(tensor *t, uint64_t seed)
{
    const int64_t n = t->shape[1];
    rng r = {seed};
    for (int64_t b = 0; b < t->shape[0]; b++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t k = rng_below(&r, i + 1);
            if (k < i)
                tensor_set(t, b * n + i, tensor_get(t, b * n + k));
            tensor_set(t, b * n + k, (double)i);
        }
}

decoder_case decoder_case_new(decoder_sizes size, poslabel_dtype dtype, unsigned options, layout how, uint64_t seed)
{
    const int64_t b = size.images, n = size.tokens, k = size.visible, p = size.prefix, d = size.channels;
    const int64_t ids[] = {b, n}, x[] = {b, p + k, d}, out[] = {b, p + n, d}, embed[] = {size.embedded + n, d};
    const layout one_row = {.side = how.side, .gap = how.gap};
    decoder_case c = {.size = size};
    c.ids_restore = tensor_laid_out(options & DECODER_INT32 ? dtype_i32 : dtype_i64, 2, ids,
                                    (layout){.row_padding = how.row_padding, .side = how.side});
    if (options & DECODER_ANY_IDS)
        tensor_fill_below(c.ids_restore, seed + 1, n);
    else
        fill_permutations(c.ids_restore, seed + 1);
    c.x = new_values(dtype, 3, x, how, seed + 2);
    c.grad_out = new_values(dtype, 3, out, how, seed + 3);
    if (options & DECODER_MASK_TOKEN)
        c.mask_token = new_values(dtype, 1, &d, one_row, seed + 4);
    if (options & DECODER_POS_EMBED)
        c.pos_embed = new_values(dtype, 2, embed, how, seed + 5);
    c.out = tensor_laid_out(dtype, 3, out, how);
    c.grad_x = tensor_laid_out(dtype, 3, x, how);
    c.grad_mask_token = tensor_laid_out(dtype, 1, &d, one_row);
    c.grad_pos_embed = tensor_laid_out(dtype, 2, embed, how);
    return c;
}

void decoder_case_free(decoder_case *c)
{
    tensor *const all[] = {c->ids_restore, c->x,      c->mask_token,      c->pos_embed,     c->out,
                           c->grad_out,    c->grad_x, c->grad_mask_token, c->grad_pos_embed};
    for (int i = 0; i < COUNT(all); i++)
        tensor_free(all[i]);
    *c = (decoder_case){.size = {0}};
}

poslabel_decoder_tokens_args decoder_args(const decoder_case *c)
{
    poslabel_decoder_tokens_args args = POSLABEL_DECODER_TOKENS_ARGS_INIT;
    args.x = tensor_of(c->x);
    args.prefix_count = c->size.prefix;
    args.ids_restore = tensor_of(c->ids_restore);
    args.mask_token = tensor_of(c->mask_token);
    args.pos_embed = tensor_of(c->pos_embed);
    args.out = tensor_of(c->out);
    return args;
}

poslabel_decoder_tokens_backward_args decoder_backward_args(const decoder_case *c)
{
    poslabel_decoder_tokens_backward_args args = POSLABEL_DECODER_TOKENS_BACKWARD_ARGS_INIT;
    args.grad_out = tensor_of(c->grad_out);
    args.prefix_count = c->size.prefix;
    args.visible_count = c->size.visible;
    args.ids_restore = tensor_of(c->ids_restore);
    args.grad_x = tensor_of(c->grad_x);
    args.grad_mask_token = tensor_of(c->grad_mask_token);
    args.grad_pos_embed = tensor_of(c->grad_pos_embed);
    return args;
}

poslabel_status decoder_forward(poslabel_context *context, const decoder_case *c)
{
    const poslabel_decoder_tokens_args args = decoder_args(c);
    return poslabel_decoder_tokens(context, &args);
}

poslabel_status decoder_backward(poslabel_context *context, const decoder_case *c)
{
    const poslabel_decoder_tokens_backward_args args = decoder_backward_args(c);
    return poslabel_decoder_tokens_backward(context, &args);
}

void decoder_list_outputs(const decoder_case *c, tensor *outputs[DECODER_OUTPUTS])
{
    tensor *const all[DECODER_OUTPUTS] = {c->out, c->grad_x, c->grad_mask_token, c->grad_pos_embed};
    memcpy(outputs, all, sizeof all);
}

void decoder_case_forget_outputs(decoder_case *c)
{
    tensor *outputs[DECODER_OUTPUTS];
    decoder_list_outputs(c, outputs);
    for (int i = 0; i < DECODER_OUTPUTS; i++)
        if (outputs[i])
            tensor_forget(outputs[i]);
}

bool decoder_case_outputs_untouched(const decoder_case *c)
{
    tensor *outputs[DECODER_OUTPUTS];
    decoder_list_outputs(c, outputs);
    for (int i = 0; i < DECODER_OUTPUTS; i++)
        if (outputs[i] && !tensor_is_untouched(outputs[i]))
            return false;
    return true;
}

void decoder_case_check_outputs(const decoder_case *c)
{
    tensor *outputs[DECODER_OUTPUTS];
    decoder_list_outputs(c, outputs);
    for (int i = 0; i < DECODER_OUTPUTS; i++)
        if (outputs[i])
            tensor_check(outputs[i]);
}

void decoder_case_protect_inputs(decoder_case *c, bool on)
{
    tensor *const all[] = {c->ids_restore, c->x, c->mask_token, c->pos_embed, c->grad_out};
    for (int i = 0; i < COUNT(all); i++)
        if (all[i])
            guard_read_only(&all[i]->memory, on);
}

/* ---- the definition ---- */

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

void expect_decoder_tokens_at(const char *file, int line, const decoder_case *c)
{
    const decoder_sizes s = c->size;
    const int64_t height = s.prefix + s.tokens, rows = s.prefix + s.visible;
    for (int64_t b = 0; b < s.images; b++)
        for (int64_t i = 0; i < s.channels; i++) {
            for (int64_t p = 0; p < s.prefix; p++)
                expect_rounded(file, line, "out", c->out, b * height + p, i,
                               at(c->x, b * rows + p, i) + (p < s.embedded ? at(c->pos_embed, p, i) : 0), 0);
            for (int64_t n = 0; n < s.tokens; n++) {
                const int64_t id = (int64_t)tensor_get(c->ids_restore, b * s.tokens + n);
                const double token = id < s.visible ? at(c->x, b * rows + s.prefix + id, i) : at(c->mask_token, 0, i);
                expect_rounded(file, line, "out", c->out, b * height + s.prefix + n, i,
                               token + at(c->pos_embed, s.embedded + n, i), 0);
            }
        }
}

/* A sum and the sum of the magnitudes, which bounds what rounding in double precision can do. */
typedef struct exact_sum {
    long double value, magnitude;
} exact_sum;

static void add(exact_sum *sum, double value)
{
    sum->value += value;
    sum->magnitude += fabs(value);
}

static void expect_sums(const char *file, int line, const char *what, const tensor *got, const exact_sum *sums)
{
    const int64_t channels = got ? got->shape[got->t.ndim - 1] : 0;
    for (int64_t i = 0; got && i < got->count; i++)
        expect_rounded(file, line, what, got, i / channels, i % channels, (double)sums[i].value,
                       (double)sums[i].magnitude * 1e-13);
}

void expect_decoder_gradients_at(const char *file, int line, const decoder_case *c)
{
    const decoder_sizes s = c->size;
    const int64_t d = s.channels, height = s.prefix + s.tokens, rows = s.prefix + s.visible;
    exact_sum *x = calloc((size_t)(s.images * rows * d) + 1, sizeof *x);
    exact_sum *mask = calloc((size_t)d + 1, sizeof *mask);
    exact_sum *embed = calloc((size_t)((s.embedded + s.tokens) * d) + 1, sizeof *embed);
    for (int64_t b = 0; b < s.images; b++)
        for (int64_t i = 0; i < d; i++) {
            for (int64_t p = 0; p < s.prefix; p++) {
                const double g = at(c->grad_out, b * height + p, i);
                add(&x[(b * rows + p) * d + i], g);
                if (p < s.embedded)
                    add(&embed[p * d + i], g);
            }
            for (int64_t n = 0; n < s.tokens; n++) {
                const double g = at(c->grad_out, b * height + s.prefix + n, i);
                const int64_t id = (int64_t)tensor_get(c->ids_restore, b * s.tokens + n);
                add(id < s.visible ? &x[(b * rows + s.prefix + id) * d + i] : &mask[i], g);
                add(&embed[(s.embedded + n) * d + i], g);
            }
        }
    expect_sums(file, line, "grad_x", c->grad_x, x);
    expect_sums(file, line, "grad_mask_token", c->grad_mask_token, mask);
    expect_sums(file, line, "grad_pos_embed", c->grad_pos_embed, embed);
    free(x);
    free(mask);
    free(embed);
}
