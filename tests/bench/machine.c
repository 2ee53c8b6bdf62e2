/*
 * Facts about the machine that a number means nothing without.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

/* The value of the first line "key : value" of /proc/cpuinfo; left as it is when there is none. */
static void read_cpuinfo(const char *key, char *value, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file)
        return;
    char line[512];
    while (fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)))
            continue;
        char *end = line + strlen(key);
        while (*end == ' ' || *end == '\t')
            end++;
        if (end != colon)
            continue;
        colon += 1 + (colon[1] == ' ');
        colon[strcspn(colon, "\n")] = 0;
        snprintf(value, size, "%s", colon);
        break;
    }
    fclose(file);
}

/* KiB of a cache of core 0; 0 when the system does not say.  sysconf() is no help: in virtual machines it may give the
 * L3 of the whole socket. */
static double cache_kib(int level)
{
    for (int index = 0; index < 8; index++) {
        char path[96], unit[16] = "";
        double kib = 0;
        int found = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", index);
        FILE *file = fopen(path, "r");
        if (!file)
            break;
        const bool read = fscanf(file, "%d", &found) == 1;
        fclose(file);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        if (!read || found != level || !(file = fopen(path, "r")))
            continue;
        if (fscanf(file, "%lf%15s", &kib, unit) < 2)
            unit[0] = 0;
        fclose(file);
        return unit[0] == 'M' ? kib * 1024 : kib;
    }
    return 0;
}

void bench_read_machine(bench_machine *machine)
{
    *machine = (bench_machine){.cores = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    char model[80] = "unknown", family[16] = "?", number[16] = "?";
    read_cpuinfo("model name", model, sizeof model);
    read_cpuinfo("cpu family", family, sizeof family);
    read_cpuinfo("model", number, sizeof number);
    if (family[0] != '?') /* virtual machines tend to shorten the name */
        snprintf(machine->cpu, sizeof machine->cpu, "%s (family %s, model %s)", model, family, number);
    else
        snprintf(machine->cpu, sizeof machine->cpu, "%s", model);

    struct utsname name;
    if (!uname(&name))
        snprintf(machine->system, sizeof machine->system, "%.30s %.60s %.20s", name.sysname, name.release,
                 name.machine);
#ifdef __GLIBC__
    const size_t length = strlen(machine->system);
    snprintf(machine->system + length, sizeof machine->system - length, ", glibc %s", gnu_get_libc_version());
#endif
    machine->memory_gib = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1 << 30);
    machine->l2_kib = cache_kib(2);
    machine->l3_mib = cache_kib(3) / 1024;
    double load[1];
    if (getloadavg(load, 1) == 1)
        machine->load = load[0];
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc))
        strftime(machine->date, sizeof machine->date, "%Y-%m-%d %H:%M UTC", &utc);
}
