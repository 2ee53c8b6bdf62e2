/*
 * loss.c: the DropPos loss, its gradient and its accuracy, in one call.
 *
 *     cc loss.c $(pkg-config --cflags --libs poslabel) && ./a.out
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <poslabel.h>
#include <stdio.h>

int main(void)
{
    /* One image of 2 x 3 patches, 2 of them visible.  For each of these a model has scored all 6 positions. */
    float logits[1][2][6] = {{{0, 1, 4, 0, 0, 1}, {0, 3, 0, 0, 2, 0}}};
    int32_t positions[1][2] = {{2, 4}}; /* where the two really are */
    float loss, accuracy, grad[1][2][6];

    int64_t shape[] = {1, 2, 6}; /* images, visible patches, positions */
    poslabel_tensor logits_tensor = POSLABEL_CPU_TENSOR(logits, POSLABEL_FLOAT32, 3, shape);
    poslabel_tensor positions_tensor = POSLABEL_CPU_TENSOR(positions, POSLABEL_INT32, 2, shape);
    poslabel_tensor loss_tensor = POSLABEL_CPU_TENSOR(&loss, POSLABEL_FLOAT32, 0, NULL);
    poslabel_tensor accuracy_tensor = POSLABEL_CPU_TENSOR(&accuracy, POSLABEL_FLOAT32, 0, NULL);
    poslabel_tensor grad_tensor = POSLABEL_CPU_TENSOR(grad, POSLABEL_FLOAT32, 3, shape);

    poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    args.grid = (poslabel_grid){.height = 2, .width = 3};
    args.logits = &logits_tensor;
    args.positions = &positions_tensor;
    args.sigma = 1; /* the neighbours of the true position count a little */
    args.loss = &loss_tensor;
    args.accuracy = &accuracy_tensor;
    args.grad_logits = &grad_tensor;

    poslabel_context *context = NULL;
    poslabel_status status = poslabel_context_create(NULL, &context);
    if (status == POSLABEL_OK)
        status = poslabel_droppos_loss(context, &args);
    if (status == POSLABEL_OK) {
        printf("loss %.4f, accuracy %.0f %%\n", (double)loss, 100 * (double)accuracy);
        for (int n = 0; n < 6; n++)
            printf("position %d: gradient %+.4f %+.4f\n", n, (double)grad[0][0][n], (double)grad[0][1][n]);
    } else {
        fprintf(stderr, "%s\n", poslabel_context_message(context));
    }
    poslabel_context_destroy(context);
    return status != POSLABEL_OK;
}
