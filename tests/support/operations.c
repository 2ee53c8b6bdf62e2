/*
 * One ready call of every operation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

static tensor *add(tensor **list, tensor *t)
{
    int i = 0;
    while (list[i])
        i++;
    if (i == OPERATION_TENSORS)
        test_fail("an operation with too many tensors");
    return list[i] = t;
}

static tensor *floats(operation *op, int rank, const int64_t *shape, uint64_t seed)
{
    tensor *t = add(op->inputs, tensor_new(dtype_f32, rank, shape));
    tensor_fill_normal(t, seed, 2);
    return t;
}

static tensor *ids(operation *op, int rank, const int64_t *shape, int64_t below, uint64_t seed)
{
    tensor *t = add(op->inputs, tensor_new(dtype_i64, rank, shape));
    tensor_fill_below(t, seed, below);
    return t;
}

static const poslabel_tensor *out(operation *op, poslabel_dtype dtype, int rank, const int64_t *shape)
{
    return &add(op->outputs, tensor_new(dtype, rank, shape))->t;
}

/* clang-format off */
#define SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
/* clang-format on */

/* The init macro, the name, the size and the function of an operation. */
#define OPERATION(op, name_, MACRO)                                                                                    \
    static const poslabel_##name_##_args init = MACRO;                                                                 \
    (op)->name = #name_;                                                                                               \
    (op)->args_size = sizeof init;                                                                                     \
    (op)->init = &init;                                                                                                \
    (op)->args.name_ = init;                                                                                           \
    (op)->call = call_##name_;                                                                                         \
    poslabel_##name_##_args *const args = &(op)->args.name_

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
#ifdef TEST_HAVE_CBLAS
CALL(linear_position_loss)
#endif
CALL(droppos_loss)
CALL(scale_gradient)
CALL(sigma_schedule)

static const poslabel_grid grid = {7, 6};
enum { N = 42, V = 10, D = 24 };

static void absolute_labels(operation *op, int64_t many)
{
    OPERATION(op, absolute_labels, POSLABEL_ABSOLUTE_LABELS_ARGS_INIT);
    args->grid = grid;
    args->labels = out(op, dtype_i64, SHAPE(many, N));
}

static void relative_labels(operation *op, int64_t many)
{
    OPERATION(op, relative_labels, POSLABEL_RELATIVE_LABELS_ARGS_INIT);
    args->grid = grid;
    args->labels = out(op, dtype_i32, SHAPE(many / 10 + 1, N, N));
}

static void smoothing_map(operation *op, int64_t many)
{
    OPERATION(op, smoothing_map, POSLABEL_SMOOTHING_MAP_ARGS_INIT);
    args->grid = many > 100 ? (poslabel_grid){15, 20} : grid;
    const int64_t n = (int64_t)args->grid.height * args->grid.width;
    args->sigma = 1.5;
    args->map = out(op, dtype_f32, SHAPE(n, n));
}

static void random_mask(operation *op, int64_t many)
{
    OPERATION(op, random_mask, POSLABEL_RANDOM_MASK_ARGS_INIT);
    args->tokens = N;
    args->seed = 5;
    args->ids_keep = out(op, dtype_i64, SHAPE(many, V));
    args->ids_remove = out(op, dtype_i32, SHAPE(many, N - V));
    args->ids_restore = out(op, dtype_i64, SHAPE(many, N));
    args->mask = out(op, dtype_bool, SHAPE(many, N));
}

static void noisy_mask(operation *op, int64_t many)
{
    random_mask(op, many);
    op->variant = "noise";
    op->args.random_mask.noise = &floats(op, SHAPE(many, N), 1)->t;
}

static void regular_mask(operation *op, int64_t many)
{
    OPERATION(op, regular_mask, POSLABEL_REGULAR_MASK_ARGS_INIT);
    args->grid = grid;
    args->ids_keep = out(op, dtype_i64, SHAPE(many, 12));
    args->mask = out(op, dtype_f32, SHAPE(many, N));
}

static void block_mask(operation *op, int64_t many)
{
    OPERATION(op, block_mask, POSLABEL_BLOCK_MASK_ARGS_INIT);
    args->grid = grid;
    args->ids_restore = out(op, dtype_i64, SHAPE(many, N));
    args->mask = out(op, dtype_u8, SHAPE(many, N));
}

static void droppos_masks(operation *op, int64_t many)
{
    OPERATION(op, droppos_masks, POSLABEL_DROPPOS_MASKS_ARGS_INIT);
    args->grid = grid;
    args->wrong_positions = 1;
    args->ids_keep = out(op, dtype_i64, SHAPE(many, V));
    args->ids_restore = out(op, dtype_i64, SHAPE(many, N));
    args->ids_keep_pos = out(op, dtype_i64, SHAPE(many, 2));
    args->mask_pos = out(op, dtype_bool, SHAPE(many, V));
    args->positions = out(op, dtype_i64, SHAPE(many, V));
    args->places = out(op, dtype_i32, SHAPE(many, V));
}

static void noisy_droppos_masks(operation *op, int64_t many)
{
    droppos_masks(op, many);
    op->variant = "noise";
    op->args.droppos_masks.patch_noise = &floats(op, SHAPE(many, N), 1)->t;
    op->args.droppos_masks.pos_noise = &floats(op, SHAPE(many, V), 2)->t;
    op->args.droppos_masks.shuffle_noise = &floats(op, SHAPE(many, V), 3)->t;
}

static void assemble_tokens(operation *op, int64_t many)
{
    OPERATION(op, assemble_tokens, POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT);
    args->tokens = &floats(op, SHAPE(many, N, D), 1)->t;
    args->ids_keep = &ids(op, SHAPE(many, V), N, 2)->t;
    args->mask_pos = &ids(op, SHAPE(many, V), 2, 3)->t;
    args->prefix_tokens = &floats(op, SHAPE(1, D), 4)->t;
    args->pos_embed = &floats(op, SHAPE(1 + N, D), 5)->t;
    args->mask_token = &floats(op, SHAPE(D), 6)->t;
    tensor *places = ids(op, SHAPE(many, V), 1, 0);
    for (int64_t i = 0; i < places->count; i++)
        tensor_set(places, i, (double)((i * 3 + 1) % V));
    args->places = &places->t;
    args->x = out(op, dtype_f32, SHAPE(many, 1 + V, D));
}

static void assemble_tokens_backward(operation *op, int64_t many)
{
    OPERATION(op, assemble_tokens_backward, POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT);
    args->grad_x = &floats(op, SHAPE(many, 1 + V, D), 1)->t;
    args->tokens_per_image = N;
    args->prefix_count = 1;
    args->ids_keep = &ids(op, SHAPE(many, V), N, 2)->t;
    args->mask_pos = &ids(op, SHAPE(many, V), 2, 3)->t;
    args->grad_tokens = out(op, dtype_f32, SHAPE(many, N, D));
    args->grad_mask_token = out(op, dtype_f32, SHAPE(D));
    args->grad_prefix_tokens = out(op, dtype_f32, SHAPE(1, D));
    args->grad_pos_embed = out(op, dtype_f32, SHAPE(1 + N, D));
}

static void attentive_weights(operation *op, int64_t many)
{
    OPERATION(op, attentive_weights, POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT);
    args->tokens = &floats(op, SHAPE(many, N, D), 1)->t;
    args->cls = &floats(op, SHAPE(many, D), 2)->t;
    args->pos_embed = &floats(op, SHAPE(1 + N, D), 3)->t;
    args->ids_keep = &ids(op, SHAPE(many, V), N, 4)->t;
    args->attention = out(op, dtype_f32, SHAPE(many, N));
    args->weights = out(op, dtype_f64, SHAPE(many, V));
}

static void position_cross_entropy(operation *op, int64_t many)
{
    OPERATION(op, position_cross_entropy, POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT);
    op->variant = "explicit";
    args->labels = POSLABEL_LABELS_EXPLICIT;
    args->label_smoothing = 0.1;
    args->reduction = POSLABEL_REDUCTION_NONE;
    args->logits = &floats(op, SHAPE(many, N), 1)->t;
    args->positions = &ids(op, SHAPE(many), N, 2)->t;
    args->loss = out(op, dtype_f32, SHAPE(many));
    args->grad_logits = out(op, dtype_f32, SHAPE(many, N));
    args->flags = out(op, dtype_i32, 0, NULL);
}

static void absolute_cross_entropy(operation *op, int64_t many)
{
    OPERATION(op, position_cross_entropy, POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT);
    op->variant = "absolute";
    args->grid = grid;
    args->logits = &floats(op, SHAPE(many / 10 + 1, N, N), 1)->t;
    args->loss = out(op, dtype_f64, 0, NULL);
    args->grad_logits = out(op, dtype_f32, SHAPE(many / 10 + 1, N, N));
    args->weight_sum = out(op, dtype_f64, 0, NULL);
}

static void relative_cross_entropy(operation *op, int64_t many)
{
    OPERATION(op, position_cross_entropy, POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT);
    op->variant = "relative";
    args->grid = (poslabel_grid){2, 3};
    args->labels = POSLABEL_LABELS_RELATIVE;
    args->logits = &floats(op, SHAPE(many, 6, 6, 15), 1)->t;
    args->loss = out(op, dtype_f64, 0, NULL);
    args->grad_logits = out(op, dtype_f32, SHAPE(many, 6, 6, 15));
}

#ifdef TEST_HAVE_CBLAS
static void linear_loss(operation *op, int64_t many)
{
    OPERATION(op, linear_position_loss, POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT);
    op->variant = "explicit";
    args->labels = POSLABEL_LABELS_EXPLICIT;
    args->workspace_limit = 100000;
    args->features = &floats(op, SHAPE(many, D), 1)->t;
    args->weight = &floats(op, SHAPE(N, D), 2)->t;
    args->bias = &floats(op, SHAPE(N), 3)->t;
    args->positions = &ids(op, SHAPE(many), N, 4)->t;
    args->mask = &ids(op, SHAPE(many), 2, 5)->t;
    args->loss = out(op, dtype_f32, 0, NULL);
    args->grad_features = out(op, dtype_f32, SHAPE(many, D));
    args->grad_weight = out(op, dtype_f32, SHAPE(N, D));
    args->grad_bias = out(op, dtype_f32, SHAPE(N));
    args->accuracy = out(op, dtype_f32, 0, NULL);
    args->weight_sum = out(op, dtype_f64, 0, NULL);
    args->flags = out(op, dtype_i32, 0, NULL);
}

static void absolute_linear_loss(operation *op, int64_t many)
{
    OPERATION(op, linear_position_loss, POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT);
    op->variant = "absolute";
    args->grid = grid;
    args->features = &floats(op, SHAPE(many, N, D), 1)->t;
    args->weight = &floats(op, SHAPE(N, D), 2)->t;
    args->loss = out(op, dtype_f64, 0, NULL);
    args->grad_features = out(op, dtype_f32, SHAPE(many, N, D));
    args->grad_weight = out(op, dtype_f32, SHAPE(N, D));
}
#endif

static void droppos_loss(operation *op, int64_t many)
{
    OPERATION(op, droppos_loss, POSLABEL_DROPPOS_LOSS_ARGS_INIT);
    args->grid = grid;
    args->sigma = 1;
    args->logits = &floats(op, SHAPE(many, V, N), 1)->t;
    args->positions = &ids(op, SHAPE(many, V), N, 2)->t;
    args->mask = &ids(op, SHAPE(many, V), 2, 3)->t;
    args->loss = out(op, dtype_f32, 0, NULL);
    args->grad_logits = out(op, dtype_f32, SHAPE(many, V, N));
    args->accuracy = out(op, dtype_f64, 0, NULL);
    args->weight_sum = out(op, dtype_f64, 0, NULL);
    args->flags = out(op, dtype_i32, 0, NULL);
}

static void filtered_loss(operation *op, int64_t many)
{
    droppos_loss(op, many);
    op->variant = "filter";
    op->args.droppos_loss.confidence_filter = 1;
}

static void scale_gradient(operation *op, int64_t many)
{
    OPERATION(op, scale_gradient, POSLABEL_SCALE_GRADIENT_ARGS_INIT);
    tensor *scale = add(op->inputs, tensor_scalar(dtype_f32, 0.3));
    args->scale = &scale->t;
    args->grad = out(op, dtype_f32, SHAPE(many, V, N));
}

static void sigma_schedule(operation *op, int64_t many)
{
    OPERATION(op, sigma_schedule, POSLABEL_SIGMA_SCHEDULE_ARGS_INIT);
    (void)many;
    args->sigma_0 = 2;
    args->epoch = 30;
    args->epochs = 100;
    args->sigma = &op->number;
}

static void (*const table[])(operation *, int64_t) = {absolute_labels,
                                                      relative_labels,
                                                      smoothing_map,
                                                      random_mask,
                                                      noisy_mask,
                                                      regular_mask,
                                                      block_mask,
                                                      droppos_masks,
                                                      noisy_droppos_masks,
                                                      assemble_tokens,
                                                      assemble_tokens_backward,
                                                      attentive_weights,
                                                      position_cross_entropy,
                                                      absolute_cross_entropy,
                                                      relative_cross_entropy,
#ifdef TEST_HAVE_CBLAS
                                                      linear_loss,
                                                      absolute_linear_loss,
#endif
                                                      droppos_loss,
                                                      filtered_loss,
                                                      scale_gradient,
                                                      sigma_schedule};

int operation_count(void)
{
    return COUNT(table);
}

static const double untouched_number = -42;

void operation_new(operation *op, int number, int64_t many)
{
    memset(op, 0, sizeof *op);
    op->variant = "";
    table[number](op, many);
    operation_reset(op);
}

void operation_free(operation *op)
{
    for (int i = 0; i < OPERATION_TENSORS; i++) {
        tensor_free(op->inputs[i]);
        tensor_free(op->outputs[i]);
    }
}

poslabel_status operation_call(poslabel_context *context, const operation *op)
{
    return op->call(context, &op->args);
}

void operation_reset(operation *op)
{
    for (int i = 0; i < OPERATION_TENSORS && op->outputs[i]; i++)
        tensor_forget(op->outputs[i]);
    op->number = untouched_number;
}

bool operation_is_untouched(const operation *op)
{
    for (int i = 0; i < OPERATION_TENSORS && op->outputs[i]; i++)
        if (!tensor_is_untouched(op->outputs[i]))
            return false;
    return op->number == untouched_number;
}

unsigned char *operation_outputs(const operation *op, size_t *size)
{
    *size = sizeof op->number;
    for (int i = 0; i < OPERATION_TENSORS && op->outputs[i]; i++)
        *size += op->outputs[i]->memory.size;
    unsigned char *all = malloc(*size), *to = all;
    if (!all)
        test_fail("no memory for %zu bytes of outputs", *size);
    memcpy(to, &op->number, sizeof op->number);
    to += sizeof op->number;
    for (int i = 0; i < OPERATION_TENSORS && op->outputs[i]; i++) {
        memcpy(to, op->outputs[i]->memory.data, op->outputs[i]->memory.size);
        to += op->outputs[i]->memory.size;
    }
    return all;
}
