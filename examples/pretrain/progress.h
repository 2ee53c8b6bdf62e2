/*
 * progress.h: the progress bar, and Ctrl-C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_PROGRESS_H
#define PRETRAIN_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

/* Seconds of a clock that only runs forward. */
double seconds_now(void);

/* From now on Ctrl-C does not end the program but makes interrupted() true; a second one ends it at once. */
void watch_for_interrupt(void);
bool interrupted(void);

/*
 * Shows one line on stderr: overwritten several times a second on a terminal, else printed every ten seconds.  `part`
 * (0 to 1) is done after `elapsed` seconds; `last` prints it in any case and ends the line.
 */
void progress_show(double part, double elapsed, size_t step, double loss, double accuracy, bool last);

#endif
