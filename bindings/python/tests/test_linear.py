# SPDX-License-Identifier: Apache-2.0
"""The linear head with its loss, against the products and the loss on logits one by one."""

import itertools
import unittest

import numpy as np
import poslabel
import reference
from cases import TestCase, needs_torch, torch


def has_cblas():
    try:
        poslabel.linear_position_loss(np.ones((1, 1)), np.ones((1, 1)), grid=(1, 1))
    except poslabel.UnsupportedError:
        return False
    return True


HAS_CBLAS = has_cblas()
needs_cblas = unittest.skipUnless(HAS_CBLAS, "the library was built without a CBLAS")
OUTPUTS = dict(grad_features=True, grad_weight=True, grad_bias=True, accuracy=True, weight_sum=True, flags=True)


def head(rng, shape, classes, channels, dtype):
    features = rng.standard_normal((*shape, channels)).astype(dtype)
    return features, rng.standard_normal((classes, channels)).astype(dtype), rng.standard_normal(classes).astype(dtype)


def expected(features, weight, bias, labels, weights, reduction, smoothing):
    x, w = features.astype(np.float64), weight.astype(np.float64)
    z = x @ w.T + bias.astype(np.float64)
    loss, g, hits, total = reference.position_cross_entropy(z, labels, weights, reduction, smoothing)
    rows = g.reshape(-1, g.shape[-1])
    return loss, g @ w, rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(0), hits, total, 0


@needs_cblas
class Linear(TestCase):
    def test_against_the_parts(self):
        rng = np.random.default_rng(6)
        cases = itertools.product(
            ("absolute", "relative", "explicit"),
            ("mean", "sum", "none"),
            ("float32", "float64", "float16"),
            (0, 40000),
        )
        for labels, reduction, dtype, limit in cases:
            grid = (2, 3)
            table = {"absolute": np.arange(6), "relative": reference.relative_labels(grid)}.get(labels)
            shape = (5, 9) if table is None else (5, *table.shape)
            classes = 15 if labels == "relative" else 6
            features, weight, bias = head(rng, shape, classes, 10, dtype)
            weights = rng.random(shape) * (rng.random(shape) < 0.7)
            positions = rng.integers(0, classes, shape) if table is None else None
            ids = positions if table is None else np.broadcast_to(table, shape)
            with self.subTest(labels=labels, reduction=reduction, dtype=dtype, limit=limit):
                result = poslabel.linear_position_loss(
                    features,
                    weight,
                    bias,
                    positions,
                    grid=grid,
                    labels=labels,
                    weights=weights,
                    reduction=reduction,
                    label_smoothing=0.1,
                    workspace_limit=limit,
                    **OUTPUTS,
                )
                self.assertEqual(result.grad_weight.dtype, weight.dtype)
                self.assertEqual(result.grad_features.dtype, features.dtype)
                for got, want in zip(result, expected(features, weight, bias, ids, weights, reduction, 0.1)):
                    self.close(got, want, dtype)

    def test_accumulation(self):
        features, weight, bias = head(np.random.default_rng(7), (4, 6), 6, 5, "float32")
        grads = dict(grad_weight=np.zeros_like(weight), grad_bias=np.zeros_like(bias))
        whole = poslabel.linear_position_loss(features, weight, bias, grid=(2, 3), reduction="sum", **OUTPUTS)
        for part in (features[:3], features[3:]):
            poslabel.linear_position_loss(part, weight, bias, grid=(2, 3), reduction="sum", accumulate=True, **grads)
        self.close(grads["grad_weight"], whole.grad_weight)
        self.close(grads["grad_bias"], whole.grad_bias)

    def test_results(self):
        features, weight, _ = head(np.random.default_rng(8), (12,), 6, 5, "float32")
        result = poslabel.linear_position_loss(features, weight, grid=(3, 2))
        self.assertEqual(result[1:], (None,) * 6)
        out = np.zeros((12, 8), np.float32)[:, :5]  # rows are strided
        result = poslabel.linear_position_loss(features, weight, grid=(3, 2), loss=False, grad_features=out)
        self.assertIs(result.grad_features, out)
        self.assertTrue(out.any())
        self.assertFalse(out.base[:, 5:].any())

    def test_errors(self):
        features, weight, _ = head(np.random.default_rng(9), (12,), 6, 5, "float32")

        def fails(text, *arguments, **keywords):
            with self.assertRaisesRegex(poslabel.InvalidError, "^linear_position_loss: .*" + text):
                poslabel.linear_position_loss(*arguments, **keywords)

        fails("weight = None, must be given", features, None, grid=(2, 3))
        fails(r"weight has shape \[6, 4\]", features, weight[:, :4], grid=(2, 3))
        fails("weight has 6 classes, must have 8", features, weight, grid=(2, 4))
        fails("features have 11 rows", features[:11], weight, grid=(2, 3))
        fails("accumulate", features, weight, grid=(2, 3), accumulate=True, grad_weight=True)
        fails("accumulate = 2", features, weight, grid=(2, 3), accumulate=2)
        fails("workspace_limit = 1, must be at least", features, weight, grid=(2, 3), workspace_limit=1)
        fails("workspace_limit = -1", features, weight, grid=(2, 3), workspace_limit=-1)
        fails("grad_weight overlaps weight", features, weight, grid=(2, 3), grad_weight=weight)

    @needs_torch
    def test_torch(self):
        torch.manual_seed(0)
        for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
            layer = torch.nn.Linear(8, 6).to(dtype)
            features = torch.randn(3, 6, 8, dtype=dtype)
            x = features.double().requires_grad_()
            twin = torch.nn.Linear(8, 6).double()
            twin.load_state_dict({key: value.double() for key, value in layer.state_dict().items()})
            loss = torch.nn.functional.cross_entropy(twin(x).view(-1, 6), torch.arange(6).repeat(3))
            loss.backward()
            result = poslabel.linear_position_loss(
                features, layer.weight.detach(), layer.bias.detach(), grid=(2, 3), **OUTPUTS
            )
            self.assertEqual(result.grad_weight.dtype, dtype)
            self.close(result.loss, loss.detach(), name)
            self.close(result.grad_features.double(), x.grad, name)
            self.close(result.grad_weight.double(), twin.weight.grad, name)
            self.close(result.grad_bias.double(), twin.bias.grad, name)


@unittest.skipIf(HAS_CBLAS, "the library has a CBLAS")
class WithoutCblas(TestCase):
    def test_unsupported(self):
        with self.assertRaisesRegex(poslabel.UnsupportedError, "CBLAS"):
            poslabel.linear_position_loss(np.ones((6, 2)), np.ones((6, 2)), grid=(2, 3))


if __name__ == "__main__":
    unittest.main()
