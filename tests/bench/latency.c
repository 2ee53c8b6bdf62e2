/*
 * What a call costs when there is next to nothing to do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

static poslabel_status position_cross_entropy(poslabel_context *context, void *args)
{
    return poslabel_position_cross_entropy(context, args);
}

static poslabel_status droppos_loss(poslabel_context *context, void *args)
{
    return poslabel_droppos_loss(context, args);
}

typedef struct tiny {
    poslabel_context_options options;
    poslabel_position_cross_entropy_args args;
} tiny;

static poslabel_status first_call(poslabel_context *context, void *args)
{
    const tiny *const what = args;
    poslabel_context *fresh;
    (void)context;
    poslabel_status status = poslabel_context_create(&what->options, &fresh);
    if (status == POSLABEL_OK)
        status = poslabel_position_cross_entropy(fresh, &what->args);
    poslabel_context_destroy(fresh);
    return status;
}

void bench_latency(bench_run *run)
{
    static float z[4 * 16], gradient[4 * 16], loss_value;
    static int64_t ids[4] = {3, 0, 15, 6};
    uint64_t seed = 3;
    for (int i = 0; i < 4 * 16; i++)
        z[i] = (float)((double)(bench_random(&seed) >> 40) * 0x1p-22 - 2);
    bench_tensor logits, grad, positions, loss;
    bench_view(&logits, z, BENCH_F32, 3, 1, 4, 16);
    bench_view(&grad, gradient, BENCH_F32, 3, 1, 4, 16);
    bench_view(&positions, ids, BENCH_I64, 2, 1, 4, 0);
    bench_view(&loss, &loss_value, BENCH_F32, 0, 0, 0, 0);

    tiny hard = {POSLABEL_CONTEXT_OPTIONS_INIT, POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT};
    hard.options.threads = run->threads;
    hard.options.isa = (int32_t)poslabel_context_isa(run->context);
    hard.args.labels = POSLABEL_LABELS_EXPLICIT;
    hard.args.logits = &logits.tensor;
    hard.args.positions = &positions.tensor;
    hard.args.loss = &loss.tensor;
    hard.args.grad_logits = &grad.tensor;
    poslabel_droppos_loss_args soft = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    soft.grid = (poslabel_grid){4, 4};
    soft.logits = &logits.tensor;
    soft.positions = &positions.tensor;
    soft.sigma = 1;
    soft.loss = &loss.tensor;
    soft.grad_logits = &grad.tensor;

    const bench_target two = {BENCH_MICROSECONDS_AT_MOST, 2};
    const bench_output outputs[] = {{gradient, BENCH_F32, 64, 16}, {&loss_value, BENCH_F32, 1, 0}};
    const struct {
        const char *operation;
        bench_call *call;
        void *args;
        bench_target target;
    } calls[] = {{"one call, explicit", position_cross_entropy, &hard.args, two},
                 {"one call, droppos sigma 1", droppos_loss, &soft, two},
                 {"context, one call, destroyed", first_call, &hard, {0}}};
    for (int i = 0; i < 3; i++)
        if (bench_wanted(run, calls[i].operation, "1x4x16", "float32"))
            bench_measure(run, &(bench_case){.operation = calls[i].operation,
                                               .size = "1x4x16",
                                               .dtype = "float32",
                                               .call = calls[i].call,
                                               .args = calls[i].args,
                                               .calls = 20,
                                               .target = calls[i].target,
                                               .outputs = {outputs[0], outputs[1]}});
}
