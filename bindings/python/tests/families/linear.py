# SPDX-License-Identifier: Apache-2.0
"""The linear head."""

import numpy as np
import poslabel
import reference
from differential import DifferentialCase
from right import FEATURES, POSITION_LOSS

DECLARED = {
    "linear_position_loss": POSITION_LOSS,
}

ARGUMENTS = {
    "linear_position_loss": dict(features=FEATURES[0], weight=FEATURES[1], positions=np.zeros(4, int)),
}


class Differential(DifferentialCase):
    def case_linear_position_loss(self, draw):
        self.needs_cblas()
        dtype, shape = draw.one_of(("float32", "float64")), (draw.size(0, 3), draw.size(1, 60))
        channels, classes = draw.size(1, 70), draw.size(1, 300)
        features = draw.numbers((*shape, channels), dtype)
        weight, bias = draw.numbers((classes, channels), dtype), draw.numbers(classes, dtype)
        positions = draw.ids(classes, shape)
        given, weights, upstream = self.loss_arguments(draw, shape)
        result = poslabel.linear_position_loss(
            draw.lay(features),
            draw.lay(weight),
            bias,
            positions,
            grad_features=True,
            grad_weight=True,
            grad_bias=True,
            workspace_limit=draw.one_of((0, 1 << 16)),
            **given,
        )
        wide = features.astype(np.float64)
        logits = wide @ weight.T.astype(np.float64) + bias
        labels = np.asarray(positions, np.int64)
        targets = np.eye(classes)[labels.reshape(-1)]
        loss, gradient, *_ = reference.row_loss(
            logits, targets, labels.reshape(-1), weights.reshape(-1), given["reduction"], upstream, given["normalizer"]
        )
        flat = gradient.reshape(-1, classes)
        expected = (gradient @ weight, flat.T @ wide.reshape(-1, channels), flat.sum(0))
        tolerance = 1e-4 if dtype == "float32" else 1e-11
        self.within(result.loss, loss, tolerance * (np.abs(loss).max(initial=0) + weights.max(initial=0)), dtype)
        # A nearly certain row has a gradient that is a difference of larger numbers, here as in the library.
        size = np.abs(weights * upstream * self.inverse(given, weights))
        gradient = np.broadcast_to(size[..., None], gradient.shape)
        flat = gradient.reshape(-1, classes)
        sizes = (gradient @ np.abs(weight), flat.T @ np.abs(wide.reshape(-1, channels)), flat.sum(0))
        for actual, value, size in zip(result[1:4], expected, sizes):
            self.within(actual, value, tolerance * size.max(initial=0), dtype)
