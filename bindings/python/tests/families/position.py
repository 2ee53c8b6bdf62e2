# SPDX-License-Identifier: Apache-2.0
"""Position cross-entropy."""

import numpy as np
import poslabel
import reference
from cases import TestCase, golden
from differential import ALL_OUTPUTS, FLOATS, DifferentialCase
from right import LOGITS, POSITIONS, POSITION_LOSS

DECLARED = {
    "position_cross_entropy": POSITION_LOSS,
}

ARGUMENTS = {
    "position_cross_entropy": dict(logits=LOGITS, positions=POSITIONS),
}


class Differential(DifferentialCase):
    def case_position_cross_entropy(self, draw):
        kind, smoothing = draw.one_of(("absolute", "relative", "explicit")), draw.one_of((0.0, 0.0, 0.1, 1.0))
        grid = draw.grid(6 if kind == "relative" else 20)
        n = grid[0] * grid[1]
        targets_of = dict(grid=grid, labels=kind)
        if kind == "absolute":
            shape, classes, labels = (draw.size(0, 4), n), n, np.arange(n)
        elif kind == "relative":
            shape, classes = (draw.size(0, 3), n, n), (2 * grid[0] - 1) * (2 * grid[1] - 1)
            labels = reference.relative_labels(grid)
        else:
            shape, classes = (draw.size(0, 4), draw.size(1, 70)), draw.size(1, 900)
            labels = draw.ids(classes, shape)
            targets_of = dict(positions=labels)
        given, weights, upstream, logits, read = self.logits_case(draw, shape, classes, draw.one_of(FLOATS))
        result = poslabel.position_cross_entropy(
            logits, label_smoothing=smoothing, **targets_of, **given, **ALL_OUTPUTS
        )
        labels = np.broadcast_to(labels, shape).astype(np.int64).reshape(-1)
        targets = np.full((labels.size, classes), smoothing / classes)
        targets[np.arange(labels.size), labels] += 1 - smoothing
        self.check_loss(result, given, weights, upstream, read, targets, labels)


class Golden(TestCase):
    def test_apl_loss(self):
        for name, case in golden("apl_loss_*"):
            side = int(round(case["logits"].shape[-1] ** 0.5))
            for labels in ("absolute", "explicit"):
                with self.subTest(name, labels=labels):
                    self.cross_entropy(case, (side, side), labels)
            self.same(np.tile(poslabel.absolute_labels((side, side)), len(case["logits"])), case["labels"])

    def test_rpl_loss(self):
        for name, case in golden("rpl_loss_*"):
            grid = (int(case["h"]), int(case["w"]))
            for labels in ("relative", "explicit"):
                with self.subTest(name, labels=labels):
                    self.cross_entropy(case, grid, labels)
            self.same(poslabel.relative_labels(grid), case["labels"])

    def cross_entropy(self, case, grid, labels):
        positions = None
        if labels == "explicit":
            shape = case["logits"].shape[:-1]
            positions = np.resize(case["labels"], shape)  # relative labels repeat for each image
        for dtype in ("float32", "float64"):
            result = poslabel.position_cross_entropy(
                case["logits"].astype(dtype), positions, grid=grid, labels=labels, grad_logits=True, accuracy=True
            )
            self.close(result.loss, case["loss"], dtype)
            self.close(result.grad_logits, case["grad_logits"], dtype)
            if "acc1" in case:
                self.close(result.accuracy, case["acc1"], dtype)
