# SPDX-License-Identifier: Apache-2.0
"""Schedules."""

import numpy as np
import poslabel
from differential import DifferentialCase

DECLARED = {
    "sigma_schedule": [],  # it has no tensor,
}

ARGUMENTS = {
    "sigma_schedule": dict(sigma_0=1.0, epoch=0.0, epochs=1.0),
    "auxiliary_weight": dict(lambda_0=1.0, epoch=3.0, epochs=9.0, warmup=2.0, cut=0.5),
}


class Differential(DifferentialCase):
    def case_sigma_schedule(self, draw):
        sigma, epoch, epochs = (float(number) for number in draw.rng.uniform(0, 300, 3))
        expected = max(0.0, (1 - epoch / epochs) * sigma)
        self.within(np.float64(poslabel.sigma_schedule(sigma, epoch, epochs)), expected, 1e-12, "float64")
