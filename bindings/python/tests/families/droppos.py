# SPDX-License-Identifier: Apache-2.0
"""The loss of DropPos."""

import numpy as np
import poslabel
import reference
from cases import TestCase, golden, grid_of
from differential import ALL_OUTPUTS, FLOATS, DifferentialCase
from right import GRID, LOGITS, LOSS, NONE, POSITIONS, SIDES, Right

DECLARED = {
    "droppos_loss": [Right(GRID, LOSS), Right({**GRID, **NONE}, LOSS, shapes={"loss": 1})],
}

ARGUMENTS = {
    "droppos_loss": dict(logits=LOGITS, positions=POSITIONS, grid=SIDES),
}


class Differential(DifferentialCase):
    def case_droppos_loss(self, draw):
        grid, rule, conf = draw.grid(16), draw.one_of(("row", "reference")), draw.maybe(0.3)
        classes, shape = grid[0] * grid[1], (draw.size(0, 4), draw.size(1, 50))
        sigma = draw.one_of((0.0, 0.4, 1.0, 2.0, float(draw.rng.uniform(0, 6))))
        positions = draw.ids(classes, shape)
        labels, table = np.array(positions, np.int64), reference.smoothing_map(grid, sigma, rule)
        given, weights, upstream, logits, read = self.logits_case(draw, shape, classes, draw.one_of(FLOATS))
        if draw.maybe(0.3):
            positions[weights == 0] = draw.one_of((-1, classes, -(2**31)))
        result = poslabel.droppos_loss(
            logits,
            positions,
            grid=grid,
            sigma=np.float64(sigma) if draw.maybe() else sigma,
            normalization=rule,
            confidence_filter=conf,
            **given,
            **ALL_OUTPUTS,
        )
        if conf:
            p, own = np.take_along_axis(reference.softmax(read), labels[..., None], -1)[..., 0], table[labels, labels]
            if (np.abs(p - own) <= 1e-7 * own).any():
                return  # a tie that rounding decides
            weights = weights * (p < own)
        labels = labels.reshape(-1)
        self.check_loss(result, given, weights, upstream, read, table[labels], labels)


class Golden(TestCase):
    def test_droppos_loss(self):
        for name, case in golden("droppos_loss_*"):
            for dtype in ("float32", "float64"):
                with self.subTest(name, dtype=dtype):
                    result = poslabel.droppos_loss(
                        case["pred"].astype(dtype),
                        case["ids_keep"],
                        grid=grid_of(case),
                        mask=case["mask_pos"],
                        weights=case.get("attn"),
                        sigma=float(case["sigma"]),
                        normalization="reference",
                        confidence_filter=bool(case["conf_ignore"]),
                        grad_logits=True,
                        accuracy=True,
                    )
                    self.close(result.loss, case["loss"], dtype)
                    self.close(result.grad_logits, case["grad_pred"], dtype)
                    self.close(result.accuracy, case["acc1"], dtype)
