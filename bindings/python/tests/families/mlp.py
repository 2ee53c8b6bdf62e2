# SPDX-License-Identifier: Apache-2.0
"""Heads with a hidden layer."""

import math

import numpy as np
import poslabel
import reference
from cases import TestCase, golden
from differential import DifferentialCase
from reference import position_cross_entropy
from right import EXPLICIT, FEATURES, GRID, LOSS, NONE, SIDES, Right

MLP = {**LOSS, "H": 6, "M": 4}
PAIR_HEAD = {**MLP, "B": 2, "Q": 5, "K": 3, "C": 35}
GELUS = ("gelu", "gelu_tanh", "relu")


def LAYER(name):
    """The tensors of a layer."""
    return tuple(f"{grad}{name}_{tensor}" for grad in ("", "grad_") for tensor in ("weight", "bias"))


DECLARED = {
    "mlp_position_loss": [
        Right(EXPLICIT, MLP),
        Right({**EXPLICIT, **NONE}, MLP, shapes={"loss": 1}),
        Right(GRID, {**MLP, "...": (2, 12), "H": 5}, without=("positions", *LAYER("hidden"))),
        Right(GRID, {**MLP, "...": (2, 12), "M": 6}, without=("positions", *LAYER("middle"))),
    ],
    "pair_position_loss": [
        Right(GRID, PAIR_HEAD),
        Right(GRID, {**PAIR_HEAD, "H": 5, "K": 5}, without=LAYER("hidden")),
        Right(GRID, {**PAIR_HEAD, "M": 6}, without=LAYER("middle")),
    ],
}

ARGUMENTS = {
    "mlp_position_loss": dict(features=FEATURES[0], weight=FEATURES[1], positions=np.zeros(4, int)),
    "pair_position_loss": dict(queries=FEATURES, keys=FEATURES, weight=np.zeros((9, FEATURES.shape[-1])), grid=SIDES),
}


def gelu(u, how):
    """An activation and its slope."""
    if how == "relu":
        return np.maximum(u, 0), (u > 0).astype(np.float64)
    if how == "gelu":
        below = 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(u / math.sqrt(2)))
        return u * below, below + u * np.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (u + 0.044715 * u**3))
    return 0.5 * u * (1 + t), 0.5 * (1 + t) + 0.5 * u * (1 - t * t) * c * (1 + 3 * 0.044715 * u * u)


def mlp_position_loss(x, layers, how, labels, weights, reduction, smoothing=0.0, **rest):
    """The loss of a head on rows x [R, D], and the gradients of x and of each (weight, bias); absent layers are None."""
    inputs, slope = [x], None
    for i, (weight, bias) in enumerate(layers):
        z = inputs[-1]
        if weight is not None:
            z = z @ weight.T + bias
        if i == 0:
            z, slope = gelu(z, how)
        inputs.append(z)
    loss, grad, *_ = position_cross_entropy(inputs[-1], labels, weights, reduction, smoothing, **rest)
    gradients = []
    for i, (weight, bias) in reversed(list(enumerate(layers))):
        if i == 0:
            grad = grad * slope
        if weight is not None:
            gradients = [grad.T @ inputs[i], grad.sum(0), *gradients]
            grad = grad @ weight
    return loss, grad, gradients


class Differential(DifferentialCase):
    def head(self, draw, inputs, hidden_from, classes, dtype):
        """Layers by name, as the library takes them and as the reference does."""
        hidden = draw.size(1, 40) if draw.maybe() else None
        middle = draw.size(1, 40) if draw.maybe() else None
        layers, wide = {}, []
        for name, height, width in (
            ("hidden_", hidden, inputs),
            ("middle_", middle, hidden or hidden_from),
            ("", classes, middle or hidden or hidden_from),
        ):
            if height is None:
                wide.append((None, None))
                continue
            weight, bias = draw.numbers((height, width), dtype, 0.5), draw.numbers(height, dtype)
            layers.update({f"{name}weight": draw.lay(weight), f"{name}bias": bias})
            wide.append((weight.astype(np.float64), bias.astype(np.float64)))
        return layers, wide

    def check_head(self, result, features, expected, layers, dtype):
        """Gradients within a tolerance of the largest of each, and a little of the largest of all."""
        loss, grads, gradients = expected
        tolerance = 1e-3 if dtype == "float32" else 1e-10
        self.within(result.loss, loss, tolerance * (1e-3 + np.abs(loss).max(initial=0)), dtype)
        largest = max(np.abs(gradient).max(initial=0) for gradient in gradients)
        for name, value in zip((*features, *layers), (*grads, *gradients)):
            size = np.abs(value).max(initial=0) + 1e-4 * largest
            self.within(getattr(result, f"grad_{name}"), value, tolerance * size, dtype)

    def case_mlp_position_loss(self, draw):
        self.needs_cblas()
        dtype, shape, how = draw.one_of(("float32", "float64")), (draw.size(0, 3), draw.size(1, 60)), draw.one_of(GELUS)
        channels, classes = draw.size(1, 50), draw.size(1, 100)
        features, positions = draw.numbers((*shape, channels), dtype), draw.ids(classes, shape)
        layers, wide = self.head(draw, channels, channels, classes, dtype)
        given, weights, upstream = self.loss_arguments(draw, shape)
        smoothing = draw.one_of((0.0, 0.1))
        result = poslabel.mlp_position_loss(
            draw.lay(features),
            positions=positions,
            activation=how,
            label_smoothing=smoothing,
            workspace_limit=draw.one_of((0, 1 << 20)),
            grad_features=True,
            **{f"grad_{name}": True for name in layers},
            **layers,
            **given,
        )
        rows, labels = features.astype(np.float64).reshape(-1, channels), np.asarray(positions, np.int64)
        rest = dict(upstream=upstream, normalizer=given["normalizer"])
        loss, grad, gradients = mlp_position_loss(
            rows, wide, how, labels, weights, given["reduction"], smoothing, **rest
        )
        loss = np.reshape(loss, shape if given["reduction"] == "none" else ())
        expected = loss, [grad.reshape(features.shape)], gradients
        self.check_head(result, ["features"], expected, layers, dtype)

    def case_pair_position_loss(self, draw):
        self.needs_cblas()
        dtype, how = draw.one_of(("float32", "float64")), draw.one_of(GELUS)
        grid, batch, channels = (draw.size(1, 4), draw.size(1, 4)), draw.size(0, 3), draw.size(1, 30)
        n, classes = grid[0] * grid[1], (2 * grid[0] - 1) * (2 * grid[1] - 1)
        layers, wide = self.head(draw, 2 * channels, channels, classes, dtype)
        queries, keys = (draw.numbers((batch, n, channels), dtype) for _ in range(2))
        reduction = draw.one_of(("mean", "sum"))
        result = poslabel.pair_position_loss(
            draw.lay(queries),
            draw.lay(keys),
            grid=grid,
            activation=how,
            reduction=reduction,
            grad_queries=True,
            grad_keys=True,
            context=draw.context(),
            **{f"grad_{name}": True for name in layers},
            **layers,
        )
        q = np.repeat(queries.astype(np.float64)[:, :, None], n, 2)
        k = np.repeat(keys.astype(np.float64)[:, None], n, 1)
        rows = q + k if wide[0][0] is None else np.concatenate((q, k), -1)
        labels = np.broadcast_to(reference.relative_labels(grid), (batch, n, n))
        loss, grad, gradients = mlp_position_loss(
            rows.reshape(-1, rows.shape[-1]), wide, how, labels, np.ones(batch * n * n), reduction
        )
        grad = grad.reshape(rows.shape)
        grads = [grad[..., :channels].sum(2), grad[..., -channels:].sum(1)]
        self.check_head(result, ["queries", "keys"], (loss, grads, gradients), layers, dtype)


class Golden(TestCase):
    def test_apl_head(self):
        for name, case in golden("apl_head_*"):
            grid = tuple(int(side) for side in name.split("_")[-1].split("x"))
            for dtype in ("float32", "float64"):
                with self.subTest(name, dtype=dtype):
                    x, half = case["x"].astype(dtype), int(case["half"])
                    names, given = self.head_arguments(case, dtype)
                    grad = np.zeros_like(x)
                    result = poslabel.mlp_position_loss(
                        x[..., :half], grid=grid, accuracy=True, grad_features=grad[..., :half], **given
                    )
                    self.close_head(result, names, case, dtype)
                    self.close(grad, case["grad_x"], dtype)
                    self.close(result.accuracy, case["acc1"], dtype)

    def test_rpl_head(self):
        for name, case in golden("rpl_head_*"):
            for dtype in ("float32", "float64"):
                with self.subTest(name, dtype=dtype):
                    x = case["x"].astype(dtype)
                    names, given = self.head_arguments(case, dtype)
                    grad, half = np.zeros_like(x), x.shape[-1] // 2
                    result = poslabel.pair_position_loss(
                        x[..., :half],
                        x[..., half:],
                        grid=(7, 7),
                        grad_queries=grad[..., :half],
                        grad_keys=grad[..., half:],
                        **given,
                    )
                    self.close_head(result, names, case, dtype)
                    self.close(grad, case["grad_x"], dtype)

    def head_arguments(self, case, dtype):
        """The layers of a published head, and which of their gradients is wanted."""
        names = dict(hidden_weight="w1", hidden_bias="b1", middle_weight="w2", middle_bias="b2", weight="wh", bias="bh")
        given = {name: case[key].astype(dtype) for name, key in names.items()}
        return names, {**given, **{f"grad_{name}": True for name in names}}

    def close_head(self, result, names, case, dtype):
        self.close(result.loss, case["loss"], dtype)
        for name, key in names.items():
            self.close(getattr(result, f"grad_{name}"), case[f"grad_{key}"], dtype)
