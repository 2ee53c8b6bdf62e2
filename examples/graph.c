/*
 * graph.c: a loss and its gradient on a GPU, captured in a CUDA graph.  SPDX-License-Identifier: Apache-2.0
 *
 *     cc graph.c $(pkg-config --cflags --libs poslabel) -I/usr/local/cuda/include -L/usr/local/cuda/lib64 -lcudart && ./a.out
 */
#include <cuda_runtime_api.h>
#include <poslabel.h>
#include <stdio.h>
#include <stdlib.h>

#define CUDA(call) check((call) == cudaSuccess, #call, cudaGetErrorString(cudaPeekAtLastError()))
#define POSLABEL(call) check((call) == POSLABEL_OK, #call, poslabel_context_message(context))

static void check(int good, const char *call, const char *message)
{
    if (good)
        return;
    fprintf(stderr, "%s: %s\n", call, message);
    exit(1);
}

int main(void)
{
    enum { IMAGES = 64, SIDE = 14, PATCHES = SIDE * SIDE, BYTES = IMAGES * PATCHES * PATCHES * 4 };
    poslabel_context *context = NULL;
    float *logits, *grad, *loss, result;
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t step;
    CUDA(cudaStreamCreate(&stream));
    CUDA(cudaMalloc((void **)&logits, BYTES));
    CUDA(cudaMalloc((void **)&grad, BYTES));
    CUDA(cudaMalloc((void **)&loss, 4));

    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    char why[256] = "";
    options.device.type = POSLABEL_DEVICE_CUDA;
    options.stream = stream; /* everything below is queued here, in order, and the host goes on at once */
    options.message = why;
    options.message_size = sizeof why;
    check(poslabel_context_create(&options, &context) == POSLABEL_OK, "poslabel_context_create", why);

    int64_t shape[] = {IMAGES, PATCHES, PATCHES}; /* images, patches, positions: patch n is at position n */
    poslabel_tensor logits_tensor = {logits, options.device, 3, POSLABEL_FLOAT32, shape, NULL, 0};
    poslabel_tensor grad_tensor = {grad, options.device, 3, POSLABEL_FLOAT32, shape, NULL, 0};
    poslabel_tensor loss_tensor = {loss, options.device, 0, POSLABEL_FLOAT32, NULL, NULL, 0};
    poslabel_position_cross_entropy_args args = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    args.grid = (poslabel_grid){SIDE, SIDE};
    args.logits = &logits_tensor;
    args.loss = &loss_tensor;
    args.grad_logits = &grad_tensor;

    /* The first call takes the workspace, which must not grow during the capture; poslabel_context_reserve() would do. */
    CUDA(cudaMemsetAsync(logits, 0, BYTES, stream));
    POSLABEL(poslabel_position_cross_entropy(context, &args));

    CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    POSLABEL(poslabel_position_cross_entropy(context, &args)); /* recorded, not run; bad arguments fail here */
    CUDA(cudaStreamEndCapture(stream, &graph));
    CUDA(cudaGraphInstantiate(&step, graph, 0));

    for (int i = 0; i < 3; i++) /* a model would write new logits before each */
        CUDA(cudaGraphLaunch(step, stream));
    CUDA(cudaMemcpyAsync(&result, loss, 4, cudaMemcpyDeviceToHost, stream));
    POSLABEL(poslabel_context_synchronize(context)); /* what went wrong on the device surfaces here; result is there now */
    printf("loss %.4f, as it must be with equal logits: log %d = 5.2781\n", (double)result, PATCHES);

    CUDA(cudaGraphExecDestroy(step)); /* before the context: the graph uses its workspace */
    CUDA(cudaGraphDestroy(graph));
    poslabel_context_destroy(context); /* before the stream, to which it gives its memory back */
    CUDA(cudaFree(logits));
    CUDA(cudaFree(grad));
    CUDA(cudaFree(loss));
    CUDA(cudaStreamDestroy(stream));
    return !(result > 5.278f && result < 5.279f);
}
