# SPDX-License-Identifier: Apache-2.0
"""Scaling of gradients."""

import numpy as np
import poslabel
from differential import FLOATS, ROUNDING, DifferentialCase
from right import LOGITS, LOSS, Right

DECLARED = {
    "scale_gradient": [Right({}, LOSS, shapes={"grad": 1})],
}

ARGUMENTS = {
    "scale_gradient": dict(grad=LOGITS.copy(), scale=2.0),
}


class Differential(DifferentialCase):
    def case_scale_gradient(self, draw):
        dtype, shape = draw.one_of(FLOATS), (draw.size(0, 4), draw.size(1, 9), draw.size(0, 400))
        grad = draw.lay(draw.numbers(shape, dtype))
        rows = shape[:2] if draw.maybe() else ()
        real = "float64" if dtype == "float64" else "float32"
        scale = draw.numbers(rows, draw.one_of(("float32", "float64")), draw.one_of((1.0, 1e-3, 100.0)))
        expected = np.array(grad, np.float64) * scale.astype(real).astype(np.float64).reshape(rows + (1,) * bool(rows))
        poslabel.scale_gradient(grad, draw.lay(scale), context=draw.context())
        self.within(grad, expected, 2 * ROUNDING[real][0] * np.abs(expected), dtype)
