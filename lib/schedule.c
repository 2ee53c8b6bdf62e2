/*
 * The weight of an auxiliary loss.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <float.h>
#include <math.h>
#include <poslabel/schedule.h>
#include <stdbool.h>

static bool is_in(double value, double low, double high)
{
    return value >= low && value <= high;
}

double poslabel_auxiliary_weight(double lambda_0, double epoch, double warmup, double epochs, double cut)
{
    if (!is_in(lambda_0, 0, DBL_MAX) || !is_in(epoch, 0, DBL_MAX) || !(epochs > 0) || !is_in(epochs, 0, DBL_MAX) ||
        !is_in(warmup, 0, epochs) || !is_in(cut, 0, 1))
        return NAN;
    if (epoch > cut * epochs)
        return 0;
    if (epoch < warmup)
        return lambda_0 * (epoch / warmup);
    return epoch == warmup ? lambda_0 : lambda_0 * (1 - (epoch - warmup) / (epochs - warmup));
}
