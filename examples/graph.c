/*
 * graph.c: a loss and its gradient on a GPU, captured in a CUDA graph.
 *
 *     cc graph.c $(pkg-config --cflags --libs poslabel) -I/usr/local/cuda/include -L/usr/local/cuda/lib64 -lcudart
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <cuda_runtime_api.h>
#include <poslabel.h>
#include <stdio.h>

#define TRY(good, why)                                                                                                 \
    if (!(good))                                                                                                       \
    return fprintf(stderr, "%s: %s\n", #good, why), 1
#define CUDA(call) TRY((call) == cudaSuccess, cudaGetErrorString(cudaPeekAtLastError()))
#define POSLABEL(call) TRY((call) == POSLABEL_OK, why[0] ? why : poslabel_context_message(context))

int main(void)
{
    enum { IMAGES = 64, SIDE = 14, PATCHES = SIDE * SIDE, BYTES = IMAGES * PATCHES * PATCHES * 4 };
    float *logits, *grad, *loss, result;
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t step;
    CUDA(cudaStreamCreate(&stream));
    CUDA(cudaMalloc((void **)&logits, 2 * BYTES + 4));
    CUDA(cudaMemsetAsync(logits, 0, BYTES, stream));
    loss = (grad = logits + BYTES / 4) + BYTES / 4;
    char why[256] = "";
    poslabel_context *context = NULL;
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    options.device.type = POSLABEL_DEVICE_CUDA;
    options.stream = stream; /* all that follows is queued here, in order, and the host goes on at once */
    options.message = why;
    options.message_size = sizeof why;
    POSLABEL(poslabel_context_create(&options, &context));

    int64_t shape[] = {IMAGES, PATCHES, PATCHES}; /* images, patches, positions: patch n is at position n */
    poslabel_tensor logits_tensor = {logits, options.device, 3, POSLABEL_FLOAT32, shape, NULL, 0};
    poslabel_tensor grad_tensor = {grad, options.device, 3, POSLABEL_FLOAT32, shape, NULL, 0};
    poslabel_tensor loss_tensor = {loss, options.device, 0, POSLABEL_FLOAT32, NULL, NULL, 0};
    poslabel_position_cross_entropy_args args = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    args.grid = (poslabel_grid){SIDE, SIDE};
    args.logits = &logits_tensor;
    args.loss = &loss_tensor;
    args.grad_logits = &grad_tensor;
    POSLABEL(poslabel_position_cross_entropy(context, &args)); /* takes workspace, which must not grow in a capture */
    CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    POSLABEL(poslabel_position_cross_entropy(context, &args)); /* recorded, not run; bad arguments fail here */
    CUDA(cudaStreamEndCapture(stream, &graph));
    CUDA(cudaGraphInstantiate(&step, graph, 0));
    for (int i = 0; i < 3; i++) /* a model would write new logits before each */
        CUDA(cudaGraphLaunch(step, stream));
    CUDA(cudaMemcpyAsync(&result, loss, 4, cudaMemcpyDeviceToHost, stream));
    POSLABEL(poslabel_context_synchronize(context)); /* errors on the device surface here; result is there now */
    printf("loss %.4f, as it must be with equal logits: log %d = 5.2781\n", (double)result, PATCHES);

    CUDA(cudaGraphExecDestroy(step)); /* before the context: the graph uses its workspace */
    CUDA(cudaGraphDestroy(graph));
    poslabel_context_destroy(context); /* before the stream, to which it gives its memory back */
    CUDA(cudaFree(logits));
    return cudaStreamDestroy(stream) != cudaSuccess || !(result > 5.278f && result < 5.279f);
}
