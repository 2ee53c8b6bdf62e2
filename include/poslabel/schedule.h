/*
 * schedule.h: the weight of an auxiliary loss over the epochs of a training run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_SCHEDULE_H
#define POSLABEL_SCHEDULE_H

#include <poslabel/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The weight lambda of a translation or relative localisation loss: warm-up, decay, cut.  It is a number for grad_scale
 * of the loss, or for the host's own sum of losses.
 *
 *     lambda(e) = lambda_0 * e / warmup                            for e < warmup
 *     lambda(e) = lambda_0 * (1 - (e - warmup) / (E - warmup))     for warmup <= e <= E
 *     lambda(e) = 0                                                for e > cut * E
 *
 * The published code has warmup = 0.2 E and cut = 0.9 for translation, and warmup = 20, E = 300, cut = 1 for dense
 * relative localisation (Liu et al., NeurIPS 2021).
 *
 *   lambda_0  the largest weight, >= 0, finite.
 *   epoch     e, >= 0, finite; fractions are allowed.
 *   warmup    in epochs, in [0, epochs].  0: the weight begins with lambda_0.  With warmup = epochs it never decays.
 *   epochs    E, > 0, finite.
 *   cut       in [0, 1], a fraction of E; 1: no cut.
 *
 * Returns lambda(epoch); NaN if an argument is outside these ranges.  All in float64.  Since 0.1.
 */
POSLABEL_API double poslabel_auxiliary_weight(double lambda_0, double epoch, double warmup, double epochs, double cut);

#ifdef __cplusplus
}
#endif
#endif
