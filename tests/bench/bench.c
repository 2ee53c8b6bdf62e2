/*
 * bench: how fast libposlabel is on this machine.
 *
 * Every operation is measured against memcpy (or a plain read, or memset) that moves as many bytes on as many threads,
 * in turns in the same run.  README.md beside this file says how to read the table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* OpenMP off: yardsticks and the library run on one thread. */
static int default_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

static _Noreturn void usage(FILE *out, int status)
{
    fputs("usage: bench [options]\n"
          "  --threads N        threads of the library and of the yardsticks (default: as OpenMP)\n"
          "  --isa LEVEL        reference, baseline, avx2, avx512 (default: the best of this CPU)\n"
          "  --only TEXT        measure what has TEXT in \"operation size dtype\"\n"
          "  --quick            a few seconds: small sizes and few rounds, for a smoke test\n"
          "  --max-bytes N      largest traffic of a call, suffix K, M or G (default 1G; 32M with --quick)\n"
          "  --pause SECONDS    sleep after each measurement: for a machine that others need too\n"
          "  --small-pages      4 KiB pages, as frameworks have them by default, in place of huge pages\n"
          "  --json FILE        also write the results there\n",
          out);
    exit(status);
}

static size_t parse_bytes(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    const char *const suffixes = "KMG", *const suffix = *end ? strchr(suffixes, *end) : NULL;
    if (suffix) {
        value <<= 10 * (suffix - suffixes + 1);
        end++;
    }
    if (*end || end == text || value < 1 << 20 || value > 1ull << 40)
        bench_fail("--max-bytes %s: must be 1M to 1024G", text);
    return (size_t)value;
}

static int32_t parse_isa(const char *text)
{
    static const poslabel_isa levels[] = {POSLABEL_ISA_AUTO, POSLABEL_ISA_REFERENCE, POSLABEL_ISA_BASELINE,
                                          POSLABEL_ISA_AVX2, POSLABEL_ISA_AVX512};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (!strcmp(text, poslabel_isa_name(levels[i])))
            return levels[i];
    bench_fail("--isa %s: unknown", text);
}

static void run_suites(bench_run *run)
{
    bench_latency(run); /* first, while nothing large has been touched */
    bench_bandwidth(run);
    bench_losses(run);
    bench_axis(run);
    bench_linear(run);
    bench_regression(run);
    bench_scale(run);
    bench_tokens(run);
    bench_decoder(run);
    bench_pairs(run);
    bench_masks(run);
    bench_labels(run);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"threads", required_argument, NULL, 't'},
                                            {"isa", required_argument, NULL, 'i'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"quick", no_argument, NULL, 'q'},
                                            {"max-bytes", required_argument, NULL, 'm'},
                                            {"pause", required_argument, NULL, 'p'},
                                            {"small-pages", no_argument, NULL, 's'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    bench_run run = {.threads = default_threads(), .huge_pages = true};
    const char *json = NULL;
    char command[512] = "bench", message[256];
    poslabel_context_options context = POSLABEL_CONTEXT_OPTIONS_INIT;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 't':
            run.threads = atoi(optarg);
            if (run.threads < 1 || run.threads > 1024)
                bench_fail("--threads %s: must be 1 to 1024", optarg);
            break;
        case 'i':
            context.isa = parse_isa(optarg);
            break;
        case 'o':
            run.only = optarg;
            break;
        case 'q':
            run.quick = true;
            break;
        case 'm':
            run.max_bytes = parse_bytes(optarg);
            break;
        case 'p':
            run.pause = atof(optarg);
            if (!(run.pause >= 0 && run.pause <= 60))
                bench_fail("--pause %s: must be 0 to 60", optarg);
            break;
        case 's':
            run.huge_pages = false;
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
    if (!run.max_bytes)
        run.max_bytes = (size_t)1 << (run.quick ? 25 : 30);
    run.arena_bytes = run.max_bytes / 2 + (1 << 20);

    context.threads = run.threads;
    context.message = message;
    context.message_size = sizeof message;
    if (poslabel_context_create(&context, &run.context) != POSLABEL_OK)
        bench_fail("%s", message);

    bench_machine machine;
    bench_read_machine(&machine);
    bench_print_machine(&run, &machine);
    run.counting = true;
    run_suites(&run);
    run.counting = false;
    if (!run.cases)
        bench_fail("--only %s: no such measurement", run.only);
    if (!(run.results = calloc((size_t)run.cases, sizeof *run.results)))
        bench_fail("no memory");
    bench_open_arenas(&run);
    const double start = bench_now();
    bench_print_header();
    run_suites(&run);
    bench_print_summary(&run, bench_now() - start);
    const bool written = !json || bench_write_json(&run, &machine, command, json);
    bench_close_arenas(&run);
    free(run.results);
    poslabel_context_destroy(run.context);
    if (!written)
        bench_fail("cannot write %s", json);
    return 0;
}
