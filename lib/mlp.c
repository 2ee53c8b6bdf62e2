/*
 * Heads with a hidden layer and their position cross-entropy: checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mlp.h"

#include "backend.h"

#include <poslabel/mlp.h>

enum { LARGEST_SIDE = 1 << 30 }; /* of a matrix */

enum { C = 1, D, H, M, B, N, Q, K };

/* The parameters of a head, as both functions have them. */
typedef struct parameters {
    int32_t activation, accumulate;
    const poslabel_tensor *hidden_weight, *hidden_bias, *middle_weight, *middle_bias, *weight, *bias;
    const poslabel_tensor *grad_hidden_weight, *grad_hidden_bias, *grad_middle_weight, *grad_middle_bias, *grad_weight,
        *grad_bias;
} parameters;

#define PARAMETERS(args)                                                                                               \
    {                                                                                                                  \
        (args).activation, (args).accumulate, (args).hidden_weight, (args).hidden_bias, (args).middle_weight,          \
            (args).middle_bias, (args).weight, (args).bias, (args).grad_hidden_weight, (args).grad_hidden_bias,        \
            (args).grad_middle_weight, (args).grad_middle_bias, (args).grad_weight, (args).grad_bias                   \
    }

/* A layer that is not there has neither a bias nor gradients. */
static poslabel_status check_layer(const plb_call *call, const char *layer, const poslabel_tensor *weight,
                                   const poslabel_tensor *bias, const poslabel_tensor *grad_weight,
                                   const poslabel_tensor *grad_bias)
{
    const char *const what = bias ? "bias" : NULL;
    if (weight || (!bias && !grad_weight && !grad_bias))
        return POSLABEL_OK;
    return plb_fail(call, POSLABEL_ERROR_INVALID, "%s%s_%s is given, but %s_weight is NULL", what ? "" : "grad_", layer,
                    what          ? what
                    : grad_weight ? "weight"
                                  : "bias",
                    layer);
}

static poslabel_status check_parameters(const plb_call *call, const parameters *given, plb_mlp_job *job)
{
    PLB_TRY(plb_check_flag(call, "accumulate", given->accumulate));
    if (given->activation < POSLABEL_ACTIVATION_GELU || given->activation > POSLABEL_ACTIVATION_RELU)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "activation = %d, must be gelu (0), gelu_tanh (1) or relu (2)",
                        (int)given->activation);
    PLB_TRY(check_layer(call, "hidden", given->hidden_weight, given->hidden_bias, given->grad_hidden_weight,
                        given->grad_hidden_bias));
    PLB_TRY(check_layer(call, "middle", given->middle_weight, given->middle_bias, given->grad_middle_weight,
                        given->grad_middle_bias));
    job->activation = given->activation;
    job->accumulate = given->accumulate;
    return POSLABEL_OK;
}

static poslabel_status check_size(const plb_call *call, const char *name, const plb_rows *rows)
{
    if (rows->data &&
        (rows->count < 1 || rows->count > LARGEST_SIDE || rows->length < 1 || rows->length > LARGEST_SIDE))
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s has shape [%lld, %lld], sizes must be 1 to 2^30", name,
                        (long long)rows->count, (long long)rows->length);
    return POSLABEL_OK;
}

/* Reads the matrices in the order of the layers, each of which tells the size of the next. */
static poslabel_status read_weights(plb_reader *reader, const parameters *given, int channels, int channels_of_keys,
                                    plb_mlp_job *job)
{
    const int rule = PLB_IN | PLB_PARAMETER;
    const int16_t inputs = (int16_t)(channels_of_keys ? PLB_SUM(channels, channels_of_keys) : channels);
    const plb_argument hidden = {"hidden_weight", given->hidden_weight, &job->hidden.weight, PLB_LIKE_FIRST, rule,
                                 {H, inputs}};
    PLB_TRY(plb_read(reader, &hidden, 1));
    if (!given->hidden_weight)
        reader->size[H] = reader->size[channels];
    const plb_argument middle = {"middle_weight", given->middle_weight, &job->middle.weight, PLB_LIKE_FIRST, rule,
                                 {M, H}};
    PLB_TRY(plb_read(reader, &middle, 1));
    if (!given->middle_weight)
        reader->size[M] = reader->size[H];
    const plb_argument last = {"weight", given->weight, &job->last.weight, PLB_LIKE_FIRST, rule | PLB_REQUIRED, {C, M}};
    PLB_TRY(plb_read(reader, &last, 1));
    PLB_TRY(check_size(reader->call, "hidden_weight", &job->hidden.weight));
    PLB_TRY(check_size(reader->call, "middle_weight", &job->middle.weight));
    return check_size(reader->call, "weight", &job->last.weight);
}

static poslabel_status read_others(plb_reader *reader, const parameters *given, int channels, int channels_of_keys,
                                   plb_mlp_job *job)
{
    const int in = PLB_IN | PLB_PARAMETER, out = PLB_OUT | PLB_PARAMETER;
    const int16_t inputs = (int16_t)(channels_of_keys ? PLB_SUM(channels, channels_of_keys) : channels);
    plb_layer *const hidden = &job->hidden, *const middle = &job->middle, *const last = &job->last;
    const plb_argument others[] = {
        {"hidden_bias", given->hidden_bias, &hidden->bias, PLB_LIKE_FIRST_OR_F32, in, {H}},
        {"middle_bias", given->middle_bias, &middle->bias, PLB_LIKE_FIRST_OR_F32, in, {M}},
        {"bias", given->bias, &last->bias, PLB_LIKE_FIRST_OR_F32, in, {C}},
        {"grad_hidden_weight",
         given->grad_hidden_weight,
         &hidden->grad_weight,
         PLB_LIKE_FIRST_OR_F32,
         out,
         {H, inputs}},
        {"grad_hidden_bias", given->grad_hidden_bias, &hidden->grad_bias, PLB_LIKE_FIRST_OR_F32, out, {H}},
        {"grad_middle_weight", given->grad_middle_weight, &middle->grad_weight, PLB_LIKE_FIRST_OR_F32, out, {M, H}},
        {"grad_middle_bias", given->grad_middle_bias, &middle->grad_bias, PLB_LIKE_FIRST_OR_F32, out, {M}},
        {"grad_weight", given->grad_weight, &last->grad_weight, PLB_LIKE_FIRST_OR_F32, out, {C, M}},
        {"grad_bias", given->grad_bias, &last->grad_bias, PLB_LIKE_FIRST_OR_F32, out, {C}},
    };
    PLB_TRY(plb_read(reader, others, PLB_COUNT(others)));
    hidden->inputs = reader->size[channels] + (channels_of_keys ? reader->size[channels_of_keys] : 0);
    hidden->outputs = middle->inputs = reader->size[H];
    middle->outputs = last->inputs = reader->size[M];
    last->outputs = job->targets.classes = reader->size[C];
    return POSLABEL_OK;
}

static bool has_gradient(const plb_mlp_job *job)
{
    return job->side[0].grad.data || job->side[1].grad.data || job->hidden.grad_weight.data ||
           job->hidden.grad_bias.data || job->middle.grad_weight.data || job->middle.grad_bias.data ||
           job->last.grad_weight.data || job->last.grad_bias.data;
}

static poslabel_status check_output(const plb_call *call, const plb_mlp_job *job)
{
    if (job->reduction.loss.data || has_gradient(job))
        return POSLABEL_OK;
    return plb_fail(call, POSLABEL_ERROR_INVALID, "loss and all gradients are NULL, one must be given");
}

poslabel_status poslabel_mlp_position_loss(poslabel_context *context, const poslabel_mlp_position_loss_args *given)
{
    poslabel_mlp_position_loss_args args = POSLABEL_MLP_POSITION_LOSS_ARGS_INIT;
    plb_mlp_job job = {.pairs = false};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "mlp_position_loss", given, &args, sizeof args));
    call.lent = args.workspace;
    const parameters head = PARAMETERS(args);
    PLB_TRY(check_parameters(&call, &head, &job));
    PLB_TRY(plb_check_reduction(&call, args.reduction, args.grad_scale, &job.reduction));

    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument features[] = {
        {"features", args.features, &job.side[0].features, PLB_LOGITS, PLB_IN | PLB_REQUIRED, {PLB_DOTS, D}},
    };
    PLB_TRY(plb_read(&reader, features, PLB_COUNT(features)));
    PLB_TRY(read_weights(&reader, &head, D, 0, &job));
    PLB_TRY(read_others(&reader, &head, D, 0, &job));
    const plb_argument others[] = {
        {"grad_features", args.grad_features, &job.side[0].grad, PLB_LIKE_FIRST, PLB_OUT, {PLB_DOTS, D}},
        {"positions", args.positions, &job.targets.ids, PLB_IDS, PLB_IN, {PLB_DOTS}},
        PLB_REDUCTION_ARGUMENTS(args, args.features, job.reduction),
        PLB_ACCURACY_ARGUMENT(args, job.reduction),
    };
    PLB_TRY(plb_read(&reader, others, PLB_COUNT(others)));
    PLB_TRY(check_output(&call, &job));

    job.side[0].channels = reader.size[D];
    job.reduction.rows = job.side[0].features.count;
    job.workspace_limit = args.workspace_limit;
    const plb_position_labels labels = PLB_POSITION_LABELS(args);
    PLB_TRY(plb_check_position_labels(&call, &labels, job.reduction.rows, "features have", "weight has", &job.targets));
    return PLB_RUN(&call, mlp_loss, &job);
}

poslabel_status poslabel_pair_position_loss(poslabel_context *context, const poslabel_pair_position_loss_args *given)
{
    poslabel_pair_position_loss_args args = POSLABEL_PAIR_POSITION_LOSS_ARGS_INIT;
    plb_mlp_job job = {.pairs = true};
    plb_call call;
    PLB_TRY(plb_begin(&call, context, "pair_position_loss", given, &args, sizeof args));
    call.lent = args.workspace;
    const parameters head = PARAMETERS(args);
    PLB_TRY(check_parameters(&call, &head, &job));
    PLB_TRY(plb_check_reduction(&call, args.reduction, args.grad_scale, &job.reduction));
    if (args.reduction == POSLABEL_REDUCTION_NONE)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "reduction = none (2), must be mean (0) or sum (1)");

    plb_reader reader;
    plb_reader_begin(&reader, &call);
    const plb_argument sides[] = {
        {"queries", args.queries, &job.side[0].features, PLB_LOGITS, PLB_IN | PLB_REQUIRED, {B, N, Q}},
        {"keys",
         args.keys,
         &job.side[1].features,
         PLB_LIKE_FIRST,
         PLB_IN | PLB_REQUIRED,
         {B, N, args.hidden_weight ? K : Q}},
    };
    PLB_TRY(plb_read(&reader, sides, PLB_COUNT(sides)));
    const int keys = args.hidden_weight ? K : Q;
    PLB_TRY(read_weights(&reader, &head, Q, args.hidden_weight ? K : 0, &job));
    PLB_TRY(read_others(&reader, &head, Q, args.hidden_weight ? K : 0, &job));
    const plb_argument others[] = {
        {"grad_queries", args.grad_queries, &job.side[0].grad, PLB_LIKE_FIRST, PLB_OUT, {B, N, Q}},
        {"grad_keys", args.grad_keys, &job.side[1].grad, PLB_LIKE_FIRST, PLB_OUT, {B, N, (int16_t)keys}},
        {"grad_loss", args.grad_loss, &job.reduction.grad_loss, PLB_SCALARS, PLB_IN, {0}},
        {"normalizer", args.normalizer, &job.reduction.normalizer, PLB_SCALARS, PLB_IN, {0}},
        {"loss", args.loss, &job.reduction.loss, PLB_SCALARS, PLB_OUT, {0}},
        {"weight_sum", args.weight_sum, &job.reduction.weight_sum, PLB_SCALARS, PLB_OUT, {0}},
        {"flags", args.flags, &job.reduction.flags, PLB_FLAGS, PLB_OUT, {0}},
        PLB_ACCURACY_ARGUMENT(args, job.reduction),
    };
    PLB_TRY(plb_read(&reader, others, PLB_COUNT(others)));
    PLB_TRY(check_output(&call, &job));

    const int64_t tokens = reader.size[N];
    job.tokens = tokens;
    job.side[0].channels = reader.size[Q];
    job.side[1].channels = reader.size[keys];
    PLB_TRY(plb_check_grid(&call, args.grid));
    if (tokens != (int64_t)args.grid.height * args.grid.width)
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "queries have %lld tokens, must have %lld on a %d x %d grid",
                        (long long)tokens, (long long)args.grid.height * args.grid.width, (int)args.grid.height,
                        (int)args.grid.width);
    if (tokens > INT32_MAX / tokens || reader.size[B] > INT64_MAX / (tokens * tokens))
        return plb_fail(&call, POSLABEL_ERROR_INVALID, "queries have %lld tokens, whose pairs are too many",
                        (long long)tokens);
    job.reduction.rows = reader.size[B] * tokens * tokens;
    job.workspace_limit = args.workspace_limit;
    const plb_position_labels labels = {args.grid, POSLABEL_LABELS_RELATIVE, NULL, 0, args.label_smoothing};
    PLB_TRY(plb_check_position_labels(&call, &labels, job.reduction.rows, "queries have", "weight has", &job.targets));
    return PLB_RUN(&call, mlp_loss, &job);
}
