/*
 * What the process that the library runs in can do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CPU_PROCESS_H
#define PLB_CPU_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whether this process is a forked child that has not called exec(), as Linux tells in /proc/self/stat.  false where
 * there is no such file.
 */
bool plb_process_was_forked(void);

/*
 * Whether the shared object with the code at `first` was loaded before the one with the code at `second`, or is the
 * same.  true if the dynamic loader does not know them.
 */
bool plb_process_loaded_before(uintptr_t first, uintptr_t second);

/* The most threads that a process is asked for: the limit of poslabel_context_options. */
enum { PLB_MOST_THREADS = 1024 };

/*
 * Tries whether the process gets `count` more threads with stacks of stack_size bytes (0: the default), 1 to
 * PLB_MOST_THREADS of them: starts them, ends them, and waits until they are gone.
 */
bool plb_process_gets_threads(int count, size_t stack_size);

#endif
