/*
 * A module that uses OpenMP, as a program may that later loads libposlabel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <unistd.h>

/* Starts a team, whose threads stay in the pool. */
__attribute__((visibility("default"))) void host_team(int threads);

void host_team(int threads)
{
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
    usleep(100);
#else
    (void)threads;
#endif
}
