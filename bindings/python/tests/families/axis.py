# SPDX-License-Identifier: Apache-2.0
"""Per-axis losses of dense relative localisation."""

import numpy as np
import poslabel
from cases import TestCase, golden
from differential import ARITHMETIC, FLOATS, IDS, DifferentialCase
from reference import log_softmax, softmax
from right import NONE, Right

AXES = {"...": (2, 3), "n": 5, "n_y": 4, "n_x": 7}

DECLARED = {
    "axis_loss": [
        Right({}, AXES, without=("logits_y", "logits_x", "grad_logits_y", "grad_logits_x")),
        Right(NONE, AXES, without=("logits", "grad_logits"), shapes={"loss": 1, "grad_loss": 1}),
    ],
}

ARGUMENTS = {
    "axis_loss": dict(logits=np.zeros((2, 4, 2), np.float32), targets=np.zeros((2, 2), int)),
}


def axis_loss(z, targets, kind):
    """Losses [R] and gradients [R, n] of one axis, and how large the terms of the latter are; z in float64."""
    rows, c = np.arange(len(z)), np.arange(z.shape[1])
    b = softmax(z)
    if kind == "cross_entropy":
        gradient = b - (c == targets[:, None])
        return -log_softmax(z)[rows, targets], gradient, np.abs(gradient)
    # Around the likeliest class: where that is nearly certain, the variance is nothing beside the square of its number.
    around = c - z.argmax(1)[:, None]
    m = (around * b).sum(1, keepdims=True)
    d = around - m
    variance = (d**2 * b).sum(1, keepdims=True)
    v, off = variance + 1e-8, z.argmax(1)[:, None] - targets[:, None] + m
    by_mu, by_v = 2 * off / v, 0.001 / v - off**2 / v**2
    gradient = b * (by_mu * d + by_v * (d**2 - variance))
    about = np.abs(off) + (np.abs(around) * b).sum(1, keepdims=True)  # what the distance from the target is summed from
    size = b * (2 * about / v * np.abs(d) + (0.001 / v + np.abs(off) * about / v**2) * (d**2 + variance))
    return (off**2 / v + 0.001 * np.log(v))[:, 0], gradient, size


class Differential(DifferentialCase):
    def case_axis_loss(self, draw):
        kind, dtype, paired = draw.one_of(("cross_entropy", "cycle_back")), draw.one_of(FLOATS), draw.maybe()
        shape = (draw.size(0, 4), draw.size(1, 70))
        classes = [draw.size(1, 70)] * 2 if not paired else [draw.size(1, 70), draw.size(1, 70)]
        given, weights, upstream = self.loss_arguments(draw, shape)
        arrays = [draw.numbers((*shape, n), dtype, draw.one_of((0, 1, 4))) for n in classes]
        read = [array.astype(np.float64).reshape(-1, n) for array, n in zip(arrays, classes)]
        if draw.maybe(0.3):
            arrays[0][weights == 0] = draw.one_of((np.nan, np.inf, -np.inf))
        targets = np.stack([draw.rng.integers(0, n, shape) for n in classes], -1)
        labels = targets.reshape(-1, 2).copy()
        if draw.maybe(0.3):
            targets[weights == 0] = -1
        if paired:
            logits = tuple(draw.lay(array) for array in arrays)
        else:  # [..., n, 2], or the view of [..., 2, n]
            logits = np.stack(arrays, -1) if draw.maybe() else np.swapaxes(np.stack(arrays, -2), -1, -2)
        result = poslabel.axis_loss(
            logits,
            draw.lay(targets.astype(draw.one_of(IDS))),
            kind=kind,
            grad_logits=True,
            weight_sum=True,
            flags=True,
            **given,
        )
        inverse = self.inverse(given, weights)
        real, arithmetic = ("float64" if dtype == "float64" else "float32"), ARITHMETIC[dtype]
        solved = [axis_loss(z, label, kind) for z, label in zip(read, labels.T)]
        rows = sum(losses for losses, *_ in solved).reshape(shape)
        bound = weights * (arithmetic * np.abs(rows) + (2e-6 if real == "float32" else 1e-12)) * inverse
        rows = np.where(weights == 0, 0, weights * rows * inverse)
        if given["reduction"] == "none":
            self.within(result.loss, rows, bound, real)
        else:
            self.within(result.loss, rows.sum(), bound.sum(), real)
        factor = (weights * upstream * inverse)[..., None]
        grads = result.grad_logits if paired else (result.grad_logits[..., 0], result.grad_logits[..., 1])
        for grad, (_, slopes, sizes), n in zip(grads, solved, classes):
            expected = np.where(factor == 0, 0, factor * slopes.reshape(*shape, n))
            largest = np.abs(factor) * (sizes.reshape(*shape, n).max(-1, keepdims=True, initial=0) + 1e-3)
            self.within(grad, expected, arithmetic * largest + (2.0**-140 if real == "float32" else 0), dtype)
        self.check_sum(result, given, weights, real)


class Golden(TestCase):
    def test_drloc_axes(self):
        for kind, pattern in (("cross_entropy", "drloc_ce*"), ("cycle_back", "drloc_cbr*")):
            for name, case in golden(pattern):
                for dtype in ("float32", "float64"):
                    with self.subTest(name, dtype=dtype):
                        target = case["target"].astype(np.int64)
                        pred, given = case["pred"].astype(dtype), dict(kind=kind, grad_logits=True)
                        stacked = poslabel.axis_loss(pred, target, **given)
                        pair = poslabel.axis_loss((pred[..., 0], pred[..., 1]), target, **given)
                        for loss in (stacked.loss, pair.loss):
                            self.close(loss, case["loss"], dtype)
                        for grad in (stacked.grad_logits, np.stack(pair.grad_logits, -1)):
                            self.close(grad, case["grad_pred"], dtype)
