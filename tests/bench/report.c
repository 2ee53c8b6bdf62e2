/*
 * The table on stdout and the JSON file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

static const char *const yardstick_names[] = {"-", "copy", "read", "fill"};

/* "1.23 us", in the unit that fits. */
static void format_time(double seconds, char *text, size_t size)
{
    static const struct {
        double unit;
        const char *name;
    } units[] = {{1, "s "}, {1e-3, "ms"}, {1e-6, "us"}, {1e-9, "ns"}};
    int i = 0;
    while (i < 3 && seconds < units[i].unit)
        i++;
    const double value = seconds / units[i].unit;
    snprintf(text, size, value < 10 ? "%.2f %s" : value < 100 ? "%.1f %s" : "%.0f %s", value, units[i].name);
}

/* What the target is about, as measured; and whether more of it is better. */
static double measured(const bench_result *result, bench_target target)
{
    switch (target.kind) {
    case BENCH_RATIO_AT_LEAST:
        return result->ratio.median;
    case BENCH_RIVAL_AT_MOST:
        return result->rival.median;
    case BENCH_MICROSECONDS_AT_MOST:
        return result->seconds.median * 1e6;
    default:
        return result->figure;
    }
}

static bool met(const bench_result *result, bench_target target)
{
    const double value = measured(result, target);
    return target.kind == BENCH_RATIO_AT_LEAST ? value >= target.value : value <= target.value;
}

static void format_target(const bench_result *result, bench_target target, char *text, size_t size)
{
    text[0] = 0;
    if (target.kind == BENCH_NO_TARGET)
        return;
    const char *const rule = target.kind == BENCH_RATIO_AT_LEAST ? ">=" : "<=";
    const char *const unit = target.kind == BENCH_MICROSECONDS_AT_MOST                ? " us"
                             : target.kind == BENCH_MICROSECONDS_ABOVE_IDEAL_AT_MOST ? " us above ideal"
                                                                                     : "";
    const double value = measured(result, target), gap = value / target.value - 1;
    if (target.kind == BENCH_SPREAD_AT_MOST || target.kind == BENCH_MICROSECONDS_ABOVE_IDEAL_AT_MOST)
        snprintf(text, size, "%.2f, %s %.2f%s %s", value, rule, target.value, unit, met(result, target) ? "met" : "MISSED");
    else if (met(result, target))
        snprintf(text, size, "%s %.2f%s met", rule, target.value, unit);
    else
        snprintf(text, size, "%s %.2f%s MISSED by %.1f %%", rule, target.value, unit, 100 * (gap < 0 ? -gap : gap));
}

void bench_print_machine(const bench_run *run, const bench_machine *machine)
{
    if (machine->gpu[0])
        printf("%s\n", machine->gpu);
    printf("libposlabel %s on %s, %s\n", poslabel_version_string(), machine->cpu, machine->system);
    printf("%d cores, %d thread%s, isa %s, L2 %.0f KiB, L3 %.0f MiB, memory %.0f GiB, load %.2f, %s\n", machine->cores,
           run->threads, run->threads > 1 ? "s" : "", poslabel_isa_name(poslabel_context_isa(run->context)),
           machine->l2_kib, machine->l3_mib, machine->memory_gib, machine->load, machine->date);
    printf("compiler of the benchmark: %s; huge pages %s\n\n", COMPILER, run->huge_pages ? "asked for" : "off");
}

void bench_print_header(void)
{
    printf("%-38s %-16s %-8s %9s %9s %7s  %-4s %6s %6s %6s %6s %6s  %s\n", "operation", "size", "dtype", "traffic",
           "time", "GB/s", "vs", "GB/s", "min", "median", "max", "best", "target, remarks");
}

void bench_print_result(const bench_result *result)
{
    char time[32], remark[96], traffic[16] = "", speed[16] = "", yard[16] = "", ratio[32] = "";
    const double bytes = (double)(result->read + result->written);
    format_time(result->seconds.median, time, sizeof time);
    format_target(result, result->target, remark, sizeof remark);
    if (bytes > 0) {
        snprintf(traffic, sizeof traffic, bytes < 10 << 20 ? "%.2f MiB" : "%.0f MiB", bytes / (1 << 20));
        snprintf(speed, sizeof speed, "%.1f", 1e-9 * bytes / result->seconds.median);
    }
    if (result->yardstick != BENCH_NONE) {
        snprintf(yard, sizeof yard, "%.1f", 1e-9 * bytes / result->yardstick_seconds.median);
        snprintf(ratio, sizeof ratio, "%6.2f %6.2f %6.2f %6.2f", result->ratio.min, result->ratio.median,
                 result->ratio.max, result->best_ratio);
    }
    if (result->items) {
        char each[32];
        format_time(result->seconds.median / (double)result->items, each, sizeof each);
        snprintf(remark, sizeof remark, "%s an image", each);
    }
    const bench_spread *const spread = result->yardstick == BENCH_NONE ? &result->seconds : &result->ratio;
    printf("%-38s %-16s %-8s %9s %9s %7s  %-4s %6s %27s  %s%s\n", result->operation, result->size, result->dtype,
           traffic, time, speed, yardstick_names[result->yardstick], yard, ratio, remark,
           spread->q3 > 1.25 * spread->q1 ? " (noisy)" : "");
    if (result->rival.median > 0) {
        format_target(result, result->rival_target, remark, sizeof remark);
        char name[64];
        snprintf(name, sizeof name, "  time / time of %s", result->rival_name);
        printf("%-38s %-16s %-8s %9s %9s %7s  %-4s %6s %6.2f %6.2f %6.2f %6s  %s%s\n", name, result->size,
               result->dtype, "", "", "", "", "",
               result->rival.min, result->rival.median, result->rival.max, "", remark,
               result->rival.q3 > 1.25 * result->rival.q1 ? " (noisy)" : "");
    }
    fflush(stdout);
}

void bench_print_summary(const bench_run *run, double seconds)
{
    int targets = 0, reached = 0;
    for (int i = 0; i < run->result_count; i++) {
        const bench_result *const result = &run->results[i];
        const bench_target both[] = {result->target, result->rival_target};
        for (int k = 0; k < 2; k++)
            if (both[k].kind != BENCH_NO_TARGET) {
                targets++;
                reached += met(result, both[k]);
            }
    }
    printf("\n%d measurements in %.0f s; %d of %d targets met\n", run->result_count, seconds, reached, targets);
}

/* ---- JSON ---- */

static void write_string(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            fprintf(file, "\\%c", *text);
        else if ((unsigned char)*text >= ' ')
            fputc(*text, file);
    fputc('"', file);
}

static void write_field(FILE *file, const char *key, const char *text)
{
    fprintf(file, "\"%s\": ", key);
    write_string(file, text);
    fputs(", ", file);
}

static void write_spread(FILE *file, const char *key, const bench_spread *spread)
{
    fprintf(file, ", \"%s\": {\"min\": %.9g, \"q1\": %.9g, \"median\": %.9g, \"q3\": %.9g, \"max\": %.9g}", key,
            spread->min, spread->q1, spread->median, spread->q3, spread->max);
}

static void write_target(FILE *file, const char *key, const bench_result *result, bench_target target)
{
    static const char *const kinds[] = {"", "ratio_at_least", "rival_at_most", "microseconds_at_most",
                                        "microseconds_above_ideal_at_most", "spread_at_most"};
    if (target.kind == BENCH_NO_TARGET)
        return;
    fprintf(file, ", \"%s\": {\"kind\": \"%s\", \"value\": %g, \"measured\": %.6g, \"met\": %s}", key,
            kinds[target.kind], target.value, measured(result, target), met(result, target) ? "true" : "false");
}

static void write_result(FILE *file, const bench_result *result)
{
    fputs("    {", file);
    write_field(file, "operation", result->operation);
    write_field(file, "size", result->size);
    write_field(file, "dtype", result->dtype);
    write_field(file, "yardstick", yardstick_names[result->yardstick]);
    fprintf(file, "\"read\": %zu, \"written\": %zu, \"rounds\": %d, \"disturbed\": %d, \"calls\": %d, "
            "\"first_seconds\": %.9g",
            result->read, result->written, result->rounds, result->disturbed, result->calls, result->first);
    write_spread(file, "seconds", &result->seconds);
    if (result->yardstick != BENCH_NONE) {
        write_spread(file, "yardstick_seconds", &result->yardstick_seconds);
        fprintf(file, ", \"best_ratio\": %.6g", result->best_ratio);
        write_spread(file, "ratio", &result->ratio);
    }
    if (result->rival.median > 0) {
        write_spread(file, "rival", &result->rival);
        fprintf(file, ", \"rival_name\": \"%s\"", result->rival_name);
    }
    if (result->items)
        fprintf(file, ", \"images\": %lld", (long long)result->items);
    write_target(file, "target", result, result->target);
    write_target(file, "rival_target", result, result->rival_target);
    fputc('}', file);
}

bool bench_write_json(const bench_run *run, const bench_machine *machine, const char *command, const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return false;
    fputs("{\n  \"machine\": {", file);
    write_field(file, "library", poslabel_version_string());
    write_field(file, "command", command);
    write_field(file, "date", machine->date);
    if (machine->gpu[0])
        write_field(file, "gpu", machine->gpu);
    write_field(file, "cpu", machine->cpu);
    write_field(file, "system", machine->system);
    write_field(file, "isa", poslabel_isa_name(poslabel_context_isa(run->context)));
    write_field(file, "compiler", COMPILER);
    fprintf(file,
            "\"cores\": %d, \"threads\": %d, \"l2_kib\": %.0f, \"l3_mib\": %.0f, \"memory_gib\": %.1f, \"load\": %.2f, "
            "\"huge_pages\": %s, \"quick\": %s},\n  \"results\": [\n",
            machine->cores, run->threads, machine->l2_kib, machine->l3_mib, machine->memory_gib, machine->load,
            run->huge_pages ? "true" : "false", run->quick ? "true" : "false");
    for (int i = 0; i < run->result_count; i++) {
        write_result(file, &run->results[i]);
        fputs(i + 1 < run->result_count ? ",\n" : "\n", file);
    }
    fputs("  ]\n}\n", file);
    const bool written = !ferror(file);
    return !fclose(file) && written;
}
