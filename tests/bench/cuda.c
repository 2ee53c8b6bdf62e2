/*
 * bench_cuda: how fast the CUDA backend of libposlabel is on this card.
 *
 * Every operation is measured against cudaMemcpyAsync() inside the device that moves as many bytes, in turns in the same
 * run.  README.md beside this file says how to read the table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cuda.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void usage(FILE *out, int status)
{
    fputs("usage: bench_cuda [options]\n"
          "  --device N     which card (default 0)\n"
          "  --only TEXT    measure what has TEXT in \"operation size dtype\"\n"
          "  --quick        few rounds\n"
          "  --smoke[=KIB]  tiny sizes, with KIB of traffic (default 32), and one round: whether it runs, not how fast\n"
          "  --json FILE    also write the results there\n",
          out);
    exit(status);
}

/* ---- the card ---- */

/* "580.65.06", the release of the driver; "" where it cannot be told. */
static void read_driver(char *text, size_t size)
{
    char line[256] = "";
    text[0] = 0;
    FILE *file = fopen("/proc/driver/nvidia/version", "r");
    if (!file)
        return;
    if (fgets(line, sizeof line, file))
        for (char *word = strtok(line, " \t\n"); word; word = strtok(NULL, " \t\n"))
            if (word[0] >= '1' && word[0] <= '9' && strchr(word, '.')) {
                snprintf(text, size, " %.40s", word);
                break;
            }
    fclose(file);
}

static void read_card(cuda_run *run, int device, char *text, size_t size)
{
    struct cudaDeviceProp card;
    int driver = 0, runtime = 0;
    char release[48];
    CUDA(cudaGetDeviceProperties(&card, device));
    CUDA(cudaDriverGetVersion(&driver));
    CUDA(cudaRuntimeGetVersion(&runtime));
    read_driver(release, sizeof release);
    snprintf(text, size,
             "%s, compute capability %d.%d, %d multiprocessors, memory %.0f GiB, L2 %.0f MiB, driver%s for CUDA %d.%d, CUDA "
             "runtime %d.%d%s",
             card.name, card.major, card.minor, card.multiProcessorCount, (double)card.totalGlobalMem / (1 << 30),
             (double)card.l2CacheSize / (1 << 20), release, driver / 1000, driver % 1000 / 10, runtime / 1000,
             runtime % 1000 / 10, run->smoke ? "; a smoke test, whose times mean nothing" : "");
}

/* ---- copies ---- */

static poslabel_status copy_call(poslabel_context *context, void *args)
{
    const void *const *const copy = args;
    (void)context;
    CUDA(cudaMemcpyAsync((void *)copy[1], copy[0], *(const size_t *)copy[2], cudaMemcpyDeviceToDevice,
                         *(const cudaStream_t *)copy[3]));
    return POSLABEL_OK;
}

/* A copy against itself is the noise of the card; the fastest sets what is ideal for all that follow. */
static void measure_copies(cuda_run *run)
{
    const size_t sizes[] = {run->large / 2, run->large * 2};
    for (int i = 0; i < 2; i++) {
        size_t bytes = sizes[i];
        const void *const copy[] = {run->a, run->b, &bytes, &run->stream};
        char size[72];
        snprintf(size, sizeof size, "%zu MiB", bytes >> 20);
        if (bytes > run->arena_bytes)
            continue;
        if (run->base.counting) {
            run->base.cases++;
            continue;
        }
        cuda_normal(run, BENCH_F32);
        const bench_result *const result = cuda_measure(run, &(bench_case){.operation = "cudaMemcpyAsync",
                                                                           .size = size,
                                                                           .dtype = "bytes",
                                                                           .call = copy_call,
                                                                           .args = (void *)copy,
                                                                           .read = bytes,
                                                                           .written = bytes});
        const double bandwidth = 2 * (double)bytes / result->yardstick_seconds.median;
        if (bandwidth > run->copy_bandwidth)
            run->copy_bandwidth = bandwidth;
    }
}

/* ---- what a call costs the host ---- */

static void measure_host(cuda_run *run)
{
    enum { ROWS = 64, CLASSES = 196, CALLS = 50, SAMPLES = 41 };
    if (!bench_wanted(&run->base, "host time of a call, droppos", "64x196", "float32"))
        return;
    int64_t ids[ROWS];
    for (int r = 0; r < ROWS; r++)
        ids[r] = r;
    void *const ids_there = cuda_upload(run, ids, sizeof ids), *const loss_there = cuda_new(run, 4);
    bench_tensor logits, grad, positions, loss;
    cuda_view(&logits, cuda_normal(run, BENCH_F32), BENCH_F32, 2, ROWS, CLASSES, 0);
    cuda_view(&grad, run->b, BENCH_F32, 2, ROWS, CLASSES, 0);
    cuda_view(&positions, ids_there, BENCH_I64, 1, ROWS, 0, 0);
    cuda_view(&loss, loss_there, BENCH_F32, 0, 0, 0, 0);
    poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    args.grid = (poslabel_grid){14, 14};
    args.logits = &logits.tensor;
    args.positions = &positions.tensor;
    args.sigma = 1;
    args.loss = &loss.tensor;
    args.grad_logits = &grad.tensor;
    double seconds[SAMPLES];
    const int calls = run->smoke ? 1 : CALLS;
    for (int i = -1; i < SAMPLES; i++) { /* the first takes the workspace */
        const double start = bench_now();
        for (int k = 0; k < calls; k++)
            if (poslabel_droppos_loss(run->base.context, &args) != POSLABEL_OK)
                bench_fail("%s", poslabel_context_message(run->base.context));
        if (i >= 0)
            seconds[i] = (bench_now() - start) / calls;
        cuda_synchronize(run);
    }
    bench_result *const result = &run->base.results[run->base.result_count++];
    *result = (bench_result){.operation = "host time of a call, droppos", .size = "64x196", .dtype = "float32",
                             .rounds = SAMPLES, .calls = calls};
    result->seconds = bench_spread_of(seconds, SAMPLES);
    run->base.done++;
    bench_print_result(result);
    CUDA(cudaFree(ids_there));
    CUDA(cudaFree(loss_there));
}

/* ---- the run ---- */

/* A card that has been idle runs slowly at first. */
static void warm_up(cuda_run *run)
{
    const double start = bench_now();
    while (!run->smoke && bench_now() - start < 1) {
        CUDA(cudaMemcpyAsync(run->b, run->a, run->large / 2, cudaMemcpyDeviceToDevice, run->stream));
        CUDA(cudaStreamSynchronize(run->stream));
    }
}

static void run_suites(cuda_run *run)
{
    measure_copies(run);
    measure_host(run);
    cuda_losses(run);
    cuda_other(run);
}

static poslabel_context *new_context(const poslabel_context_options *wanted)
{
    char message[512] = "";
    poslabel_context *context;
    poslabel_context_options options = *wanted;
    options.message = message;
    options.message_size = sizeof message;
    if (poslabel_context_create(&options, &context) != POSLABEL_OK)
        bench_fail("%s", message);
    return context;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"device", required_argument, NULL, 'd'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"quick", no_argument, NULL, 'q'},
                                            {"smoke", optional_argument, NULL, 's'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    cuda_run run = {.base = {.threads = 2, .huge_pages = false}};
    const char *json = NULL;
    char command[512] = "bench_cuda";
    int device = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'd':
            device = atoi(optarg);
            break;
        case 'o':
            run.base.only = optarg;
            break;
        case 'q':
            run.base.quick = true;
            break;
        case 's':
            run.smoke = true;
            run.large = (size_t)(optarg ? atoi(optarg) : 32) << 10;
            break;
        case 'j':
            json = optarg;
            break;
        default:
            usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : 2);
        }
    if (optind < argc)
        usage(stderr, 2);
    for (int i = 1; i < argc; i++)
        snprintf(command + strlen(command), sizeof command - strlen(command), " %s", argv[i]);

    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || device < 0 || device >= devices)
        bench_fail("no CUDA device %d: %s", device, error == cudaSuccess ? "there are fewer" : cudaGetErrorString(error));
    CUDA(cudaSetDevice(device));
    CUDA(cudaStreamCreateWithFlags(&run.stream, cudaStreamNonBlocking));
    poslabel_context_options wanted = POSLABEL_CONTEXT_OPTIONS_INIT;
    run.host = new_context(&wanted);
    wanted.device = (poslabel_device){POSLABEL_DEVICE_CUDA, device};
    wanted.stream = run.stream;
    run.base.context = new_context(&wanted);

    bench_machine machine;
    bench_read_machine(&machine);
    read_card(&run, device, machine.gpu, sizeof machine.gpu);
    bench_print_machine(&run.base, &machine);
    cuda_open(&run);
    run.base.counting = true;
    run_suites(&run);
    run.base.counting = false;
    if (!(run.base.results = calloc((size_t)run.base.cases + 16, sizeof *run.base.results))) /* 16: lines over others */
        bench_fail("no memory");
    const double start = bench_now();
    warm_up(&run);
    bench_print_header();
    run_suites(&run);
    bench_print_summary(&run.base, bench_now() - start);
    if (run.no_room)
        printf("%d measurements left out: the card has not the memory for them\n", run.no_room);
    if (run.unsupported)
        printf("%d measurements left out: the backend does not have the operation\n", run.unsupported);
    const bool written = !json || bench_write_json(&run.base, &machine, command, json);
    cuda_synchronize(&run);
    cuda_close(&run);
    free(run.base.results);
    poslabel_context_destroy(run.base.context);
    poslabel_context_destroy(run.host);
    CUDA(cudaStreamDestroy(run.stream));
    if (!written)
        bench_fail("cannot write %s", json);
    return 0;
}
