/*
 * progress.c: the progress bar, and Ctrl-C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "progress.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupt_seen;

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void on_interrupt(int number)
{
    (void)number;
    interrupt_seen = 1;
}

void watch_for_interrupt(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    action.sa_flags = (int)SA_RESETHAND | SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

bool interrupted(void)
{
    return interrupt_seen != 0;
}

void progress_show(double part, double elapsed, size_t step, double loss, double accuracy, bool last)
{
    static double shown_at = -1e9;
    static size_t shown_step = 0;
    const bool terminal = isatty(STDERR_FILENO);
    double now = seconds_now();
    if (last ? !terminal && step == shown_step : now - shown_at < (terminal ? 0.2 : 10))
        return;
    shown_at = now;
    shown_step = step;

    /* Less than 80 characters, so that a terminal does not break the line. */
    char bar[17] = "................";
    for (int i = 0; i < (int)(16 * part); i++)
        bar[i] = '#';
    long left = part > 0 ? (long)(elapsed * (1 - part) / part + 0.5) : 0;
    fprintf(stderr, "%s[%s] step %zu, loss %.2f, position accuracy %.1f %%, %ld:%02ld left%s", terminal ? "\r" : "",
            bar, step, loss, 100 * accuracy, left / 60, left % 60, terminal ? "\033[K" : "\n");
    if (terminal && last)
        fputc('\n', stderr);
    fflush(stderr);
}
