/*
 * Heads with a hidden layer, on rows and on pairs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/mlp.h"

const char *const mlp_names[MLP_TENSORS] = {"features",      "keys",        "hidden_weight", "hidden_bias",
                                            "middle_weight", "middle_bias", "weight",        "bias"};

static void add(mlp_case *c, int which, poslabel_dtype dtype, poslabel_dtype grad, int rank, const int64_t *shape,
                layout how, double scale, uint64_t seed)
{
    layout flat = how;
    flat.row_padding = rank < 2 ? 0 : how.row_padding;
    c->in[which] = tensor_laid_out(dtype, rank, shape, flat);
    c->grad[which] = tensor_laid_out(grad, rank, shape, flat);
    tensor_fill_normal(c->in[which], seed + (uint64_t)which, scale);
}

mlp_case mlp_case_new(mlp_sizes size, poslabel_dtype dtype, poslabel_dtype parameters, layout how, uint64_t seed)
{
    mlp_case c = {.size = size, .grad_scale = 1};
    const int64_t n = (int64_t)size.grid.height * size.grid.width, d = size.channels;
    const int64_t inputs = d + (size.pairs ? size.keys : 0);
    const int64_t classes = size.pairs ? (2 * size.grid.height - 1) * (2 * size.grid.width - 1) : n;
    const int64_t h = size.hidden ? size.hidden : d, m = size.middle ? size.middle : h;
    add(&c, MLP_FEATURES, dtype, dtype, SHAPE(size.images, n, d), how, 1, seed);
    if (size.pairs)
        add(&c, MLP_KEYS, dtype, dtype, SHAPE(size.images, n, size.keys), how, 1, seed);
    if (size.hidden) {
        add(&c, MLP_HIDDEN_WEIGHT, dtype, parameters, SHAPE(h, inputs), how, 1 / sqrt((double)inputs), seed);
        add(&c, MLP_HIDDEN_BIAS, parameters, parameters, SHAPE(h), how, 0.5, seed);
    }
    if (size.middle) {
        add(&c, MLP_MIDDLE_WEIGHT, dtype, parameters, SHAPE(m, h), how, 1 / sqrt((double)h), seed);
        add(&c, MLP_MIDDLE_BIAS, parameters, parameters, SHAPE(m), how, 0.5, seed);
    }
    add(&c, MLP_WEIGHT, dtype, parameters, SHAPE(classes, m), how, 2 / sqrt((double)m), seed);
    add(&c, MLP_BIAS, parameters, parameters, SHAPE(classes), how, 0.5, seed);
    c.loss = tensor_new(dtype_f64, 0, NULL);
    c.accuracy = tensor_new(dtype_f64, 0, NULL);
    return c;
}

void mlp_case_free(mlp_case *c)
{
    for (int i = 0; i < MLP_TENSORS; i++) {
        tensor_free(c->in[i]);
        tensor_free(c->grad[i]);
    }
    tensor *const others[] = {c->mask, c->weights, c->normalizer, c->loss, c->accuracy};
    for (int i = 0; i < COUNT(others); i++)
        tensor_free(others[i]);
}

#define SET_HEAD(args, c)                                                                                              \
    do {                                                                                                               \
        (args).grid = (c)->size.grid;                                                                                  \
        (args).activation = (c)->activation;                                                                           \
        (args).reduction = (c)->reduction;                                                                             \
        (args).accumulate = (c)->accumulate;                                                                           \
        (args).grad_scale = (c)->grad_scale;                                                                           \
        (args).label_smoothing = (c)->smoothing;                                                                       \
        (args).workspace_limit = (c)->limit;                                                                           \
        (args).hidden_weight = tensor_of((c)->in[MLP_HIDDEN_WEIGHT]);                                                  \
        (args).hidden_bias = tensor_of((c)->in[MLP_HIDDEN_BIAS]);                                                      \
        (args).middle_weight = tensor_of((c)->in[MLP_MIDDLE_WEIGHT]);                                                  \
        (args).middle_bias = tensor_of((c)->in[MLP_MIDDLE_BIAS]);                                                      \
        (args).weight = tensor_of((c)->in[MLP_WEIGHT]);                                                                \
        (args).bias = tensor_of((c)->in[MLP_BIAS]);                                                                    \
        (args).grad_hidden_weight = tensor_of((c)->grad[MLP_HIDDEN_WEIGHT]);                                           \
        (args).grad_hidden_bias = tensor_of((c)->grad[MLP_HIDDEN_BIAS]);                                               \
        (args).grad_middle_weight = tensor_of((c)->grad[MLP_MIDDLE_WEIGHT]);                                           \
        (args).grad_middle_bias = tensor_of((c)->grad[MLP_MIDDLE_BIAS]);                                               \
        (args).grad_weight = tensor_of((c)->grad[MLP_WEIGHT]);                                                         \
        (args).grad_bias = tensor_of((c)->grad[MLP_BIAS]);                                                             \
        (args).normalizer = tensor_of((c)->normalizer);                                                                \
        (args).loss = tensor_of((c)->loss);                                                                            \
        (args).accuracy = tensor_of((c)->accuracy);                                                                    \
    } while (0)

poslabel_mlp_position_loss_args mlp_args(const mlp_case *c)
{
    poslabel_mlp_position_loss_args args = POSLABEL_MLP_POSITION_LOSS_ARGS_INIT;
    SET_HEAD(args, c);
    args.features = tensor_of(c->in[MLP_FEATURES]);
    args.grad_features = tensor_of(c->grad[MLP_FEATURES]);
    args.mask = tensor_of(c->mask);
    args.weights = tensor_of(c->weights);
    return args;
}

poslabel_pair_position_loss_args mlp_pair_args(const mlp_case *c)
{
    poslabel_pair_position_loss_args args = POSLABEL_PAIR_POSITION_LOSS_ARGS_INIT;
    SET_HEAD(args, c);
    args.queries = tensor_of(c->in[MLP_FEATURES]);
    args.keys = tensor_of(c->in[MLP_KEYS]);
    args.grad_queries = tensor_of(c->grad[MLP_FEATURES]);
    args.grad_keys = tensor_of(c->grad[MLP_KEYS]);
    return args;
}

poslabel_status mlp_call(poslabel_context *context, const mlp_case *c)
{
    const poslabel_mlp_position_loss_args rows = mlp_args(c);
    const poslabel_pair_position_loss_args pairs = mlp_pair_args(c);
    return c->size.pairs ? poslabel_pair_position_loss(context, &pairs) : poslabel_mlp_position_loss(context, &rows);
}

static int list_outputs(const mlp_case *c, tensor *all[MLP_TENSORS + 2])
{
    int count = 0;
    for (int i = 0; i < MLP_TENSORS; i++)
        if (c->grad[i])
            all[count++] = c->grad[i];
    if (c->loss)
        all[count++] = c->loss;
    if (c->accuracy)
        all[count++] = c->accuracy;
    return count;
}

void mlp_forget(const mlp_case *c)
{
    tensor *all[MLP_TENSORS + 2];
    for (int i = list_outputs(c, all); i-- > 0;)
        tensor_forget(all[i]);
}

bool mlp_untouched(const mlp_case *c)
{
    tensor *all[MLP_TENSORS + 2];
    bool untouched = true;
    for (int i = list_outputs(c, all); i-- > 0;)
        untouched = untouched && tensor_is_untouched(all[i]);
    return untouched;
}
