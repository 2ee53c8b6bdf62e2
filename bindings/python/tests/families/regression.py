# SPDX-License-Identifier: Apache-2.0
"""Regression of small vectors."""

import numpy as np
import poslabel
from cases import TestCase, golden
from differential import FLOATS, DifferentialCase
from right import LOGITS, LOSS, NONE, Right

DECLARED = {
    "regression_loss": [Right({}, LOSS), Right(NONE, LOSS, shapes={"loss": 1})],
}

ARGUMENTS = {
    "regression_loss": dict(predictions=LOGITS, targets=LOGITS + 1),
}


def regression(difference, kind, beta):
    """Losses of rows [..., n] of differences, and their gradients."""
    size, n = np.abs(difference), difference.shape[-1]
    if kind == "mse":
        losses, slopes = difference**2, 2 * difference
    elif kind == "l1":
        losses, slopes = size, np.sign(difference)
    else:
        losses = np.where(size < beta, difference**2 / (2 * beta), size - beta / 2)
        slopes = np.where(size < beta, difference / beta, np.sign(difference))
    return losses.mean(-1), slopes / n


class Differential(DifferentialCase):
    def case_regression_loss(self, draw):
        dtype, shape, n = draw.one_of(FLOATS), (draw.size(0, 4), draw.size(1, 900)), draw.size(1, 300)
        kind, beta = draw.one_of(("l1", "smooth_l1", "mse")), draw.one_of((0.1, 1.0, 3.0))
        given, weights, upstream = self.loss_arguments(draw, shape)
        predictions = draw.lay(draw.numbers((*shape, n), dtype))
        targets = draw.lay(draw.numbers((*shape, n), draw.one_of(FLOATS)))
        difference = np.asarray(predictions, np.float64) - np.asarray(targets, np.float64)
        if draw.maybe(0.3):
            draw.one_of((predictions, targets))[weights == 0] = draw.one_of((np.nan, np.inf))
        result = poslabel.regression_loss(
            predictions,
            targets,
            kind=kind,
            beta=beta,
            grad_predictions=predictions if draw.maybe() else True,
            weight_sum=True,
            flags=True,
            **given,
        )
        loss, gradient = regression(difference, kind, beta)
        loss, inverse, real = (
            weights * loss,
            self.inverse(given, weights),
            "float64" if dtype == "float64" else "float32",
        )
        if given["reduction"] != "none":
            loss = loss.sum() * inverse
        gradient = (weights * upstream * inverse)[..., None] * gradient
        self.within(result.loss, loss, 1e-12 * np.abs(loss).max(initial=0), real)
        self.within(result.grad_predictions, gradient, 1e-12 * np.abs(gradient).max(initial=0), dtype)
        self.check_sum(result, given, weights, real)


class Golden(TestCase):
    def test_regression_loss(self):
        for pattern in ("drloc_l1*", "l1_target_*"):
            for name, case in golden(pattern):
                for dtype in ("float32", "float64"):
                    with self.subTest(name, dtype=dtype):
                        predictions = case["pred"].astype(dtype)
                        result = poslabel.regression_loss(predictions, case["target"], grad_predictions=True)
                        self.close(result.loss, case["loss"], dtype)
                        self.close(result.grad_predictions, case["grad_pred"], dtype)
