# SPDX-License-Identifier: Apache-2.0
"""PyTorch tensors: gradients against autograd, half precisions, and results in the framework of the arguments."""

import contextlib
import io
import itertools
import pathlib
import re
import unittest
import warnings

import numpy as np
import poslabel
import reference
from cases import TOLERANCE, TestCase, needs_torch, torch
from poslabel import _pytorch


def name_of(dtype):
    return str(dtype).partition(".")[2]


@needs_torch
class Autograd(TestCase):
    """The same loss written with torch.log_softmax in float64, differentiated by autograd."""

    dtypes = ("float64", "float32", "float16", "bfloat16")

    def setUp(self):
        self.random = torch.Generator().manual_seed(0)

    def normal(self, *shape, dtype="float32", scale=2.0):
        return (scale * torch.randn(shape, generator=self.random, dtype=torch.float64)).to(getattr(torch, dtype))

    def near(self, actual, expected, dtype):
        self.assertEqual(tuple(actual.shape), tuple(expected.shape))
        largest = expected.abs().max().item()
        error = (actual.double() - expected.double()).abs().max().item()
        self.assertLessEqual(error, TOLERANCE[dtype] * largest)

    def autograd(self, logits, targets, weights, reduction, upstream=None):
        z = logits.double().clone().requires_grad_()
        rows = -(targets * torch.log_softmax(z, -1)).sum(-1) * weights
        loss = {"mean": rows.sum() / weights.sum(), "sum": rows.sum(), "none": rows}[reduction]
        loss.backward(torch.ones_like(loss) if upstream is None else upstream.double())
        return loss.detach(), z.grad

    def compare(self, result, expected, dtype):
        real = "float64" if dtype == "float64" else "float32"
        self.assertEqual(name_of(result.loss.dtype), real)
        self.assertEqual(name_of(result.grad_logits.dtype), dtype)
        self.near(result.loss, expected[0], real)
        self.near(result.grad_logits, expected[1], dtype)

    def test_droppos(self):
        grid = (3, 5)
        for dtype, rule, reduction in itertools.product(self.dtypes, ("row", "reference"), ("mean", "sum", "none")):
            with self.subTest(dtype=dtype, rule=rule, reduction=reduction):
                logits = self.normal(2, 6, 15, dtype=dtype)
                positions = torch.randint(0, 15, (2, 6), generator=self.random)
                mask = torch.rand((2, 6), generator=self.random) < 0.7
                weights = torch.rand((2, 6), generator=self.random)
                table = torch.from_numpy(reference.smoothing_map(grid, 1.5, rule))
                result = poslabel.droppos_loss(
                    logits,
                    positions,
                    grid=grid,
                    mask=mask,
                    weights=weights,
                    sigma=1.5,
                    normalization=rule,
                    reduction=reduction,
                    grad_logits=True,
                )
                expected = self.autograd(logits, table[positions], mask * weights.double(), reduction)
                self.compare(result, expected, dtype)

    def test_position_cross_entropy(self):
        for dtype, reduction, smoothing in itertools.product(self.dtypes, ("mean", "sum", "none"), (0.0, 0.1)):
            with self.subTest(dtype=dtype, reduction=reduction, smoothing=smoothing):
                logits = self.normal(4, 10, 10, dtype=dtype)
                upstream = self.normal(4, 10) if reduction == "none" else self.normal()
                z = logits.double().clone().requires_grad_()
                labels = torch.arange(10).repeat(4)
                loss = torch.nn.functional.cross_entropy(
                    z.view(-1, 10), labels, reduction=reduction, label_smoothing=smoothing
                ).view(upstream.shape)
                loss.backward(upstream.double())
                result = poslabel.position_cross_entropy(
                    logits,
                    grid=(2, 5),
                    reduction=reduction,
                    label_smoothing=smoothing,
                    grad_loss=upstream,
                    grad_logits=True,
                )
                self.compare(result, (loss.detach(), z.grad), dtype)

    def test_ignore_index(self):
        logits, labels = self.normal(7, 9), torch.tensor([0, -100, 8, 3, -100, 1, 1])
        z = logits.double().clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(z, labels)
        loss.backward()
        result = poslabel.position_cross_entropy(logits, labels, grad_logits=True, weight_sum=True)
        self.compare(result, (loss.detach(), z.grad), "float32")
        self.assertEqual(result.weight_sum.item(), 5)

    def test_assemble_tokens(self):
        for dtype in self.dtypes[1:]:
            with self.subTest(dtype):
                tokens, prefix, pos, mask_token = (
                    self.normal(*shape, dtype=dtype) for shape in ((2, 12, 8), (1, 8), (13, 8), (8,))
                )
                ids = torch.stack([torch.randperm(12, generator=self.random)[:5] for _ in range(2)])
                mask = torch.rand((2, 5), generator=self.random) < 0.5
                leaves = [leaf.double().requires_grad_() for leaf in (tokens, mask_token, prefix, pos)]
                t, m, c, e = leaves
                kept = torch.gather(t, 1, ids[..., None].expand(-1, -1, 8))
                x = torch.cat([(c + e[:1]).expand(2, 1, 8), kept + torch.where(mask[..., None], m, e[1 + ids])], 1)
                made = poslabel.assemble_tokens(
                    tokens, ids_keep=ids, mask_pos=mask, prefix_tokens=prefix, pos_embed=pos, mask_token=mask_token
                )
                self.assertEqual(made.dtype, tokens.dtype)
                self.near(made, x.detach(), dtype)
                grad_x = self.normal(2, 6, 8, dtype=dtype)
                x.backward(grad_x.double())
                result = poslabel.assemble_tokens_backward(
                    grad_x,
                    tokens_per_image=12,
                    prefix_count=1,
                    ids_keep=ids,
                    mask_pos=mask,
                    grad_mask_token=True,
                    grad_prefix_tokens=True,
                    grad_pos_embed=True,
                )
                for actual, leaf in zip(result, leaves):
                    self.near(actual, leaf.grad, dtype)

    def test_attentive_weights(self):
        for dtype in self.dtypes:
            tokens, cls = self.normal(2, 9, 6, dtype=dtype), self.normal(2, 6, dtype=dtype)
            ids = torch.stack([torch.randperm(9, generator=self.random)[:4] for _ in range(2)])
            result = poslabel.attentive_weights(tokens, cls, ids_keep=ids, attention=True)
            similarity = torch.cosine_similarity(tokens.double(), cls.double()[:, None], -1)
            attention = torch.softmax(similarity / 0.1, -1)
            weights = attention.gather(1, ids)
            real = "float64" if dtype == "float64" else "float32"
            self.assertEqual(name_of(result.weights.dtype), real)
            self.near(result.attention, attention, real)
            self.near(result.weights, weights / weights.sum(1, keepdim=True), real)


@needs_torch
class Tensors(TestCase):
    def test_results_are_tensors(self):
        masks = poslabel.droppos_masks((4, 4), batch=2, step=0, like=torch, ids_remove=True, places=True)
        self.assertTrue(all(isinstance(value, torch.Tensor) for value in masks if value is not None))
        self.assertEqual((masks.ids_keep.dtype, masks.mask.dtype), (torch.int64, torch.bool))
        same = poslabel.droppos_masks((4, 4), batch=2, step=0, ids_remove=True, places=True)
        for actual, expected in zip(masks, same):
            if expected is not None:
                self.same(actual, expected)
        self.assertIsInstance(poslabel.random_mask(8, noise=torch.rand(2, 8)).mask, torch.Tensor)
        self.assertEqual(poslabel.relative_labels((2, 2), like=masks.mask, dtype=torch.int32).dtype, torch.int32)
        self.assertEqual(poslabel.smoothing_map((2, 2), 1, like=torch, dtype="bfloat16").dtype, torch.bfloat16)
        with self.assertRaisesRegex(poslabel.InvalidError, "dtype = 'complex'"):
            poslabel.absolute_labels((2, 2), like=torch, dtype="complex")

    def test_in_place_gradient(self):
        logits = torch.randn(3, 4, 6)
        positions = torch.zeros(3, 4, dtype=torch.int32)
        apart = poslabel.droppos_loss(logits, positions, grid=(2, 3), sigma=1, grad_logits=True)
        pointer = logits.data_ptr()
        result = poslabel.droppos_loss(logits, positions, grid=(2, 3), sigma=1, grad_logits=logits)
        self.assertIs(result.grad_logits, logits)
        self.assertEqual(logits.data_ptr(), pointer)
        self.assertTrue(torch.equal(logits, apart.grad_logits))

    def test_strided_and_expanded(self):
        wide = torch.randn(3, 4, 10)
        positions = torch.tensor([1, 5, 0, 3])
        rows, every = wide[..., 2:8], positions.expand(3, 4)
        result = poslabel.droppos_loss(rows, every, grid=(2, 3), sigma=1, grad_logits=True)
        plain = poslabel.droppos_loss(rows.contiguous(), every.contiguous(), grid=(2, 3), sigma=1, grad_logits=True)
        self.assertEqual(result.loss, plain.loss)
        self.assertTrue(torch.equal(result.grad_logits, plain.grad_logits))
        before = wide.clone()
        poslabel.droppos_loss(rows, every, grid=(2, 3), sigma=1, grad_logits=rows)
        self.assertTrue(torch.equal(rows, plain.grad_logits))
        self.assertTrue(torch.equal(wide[..., :2], before[..., :2]) and torch.equal(wide[..., 8:], before[..., 8:]))
        with self.assertRaises(poslabel.InvalidError):
            poslabel.absolute_labels((2, 2), labels=torch.zeros(4, dtype=torch.int64).expand(3, 4))

    def test_parameters_and_subclasses(self):
        logits = torch.nn.Parameter(torch.randn(5, 6))
        with torch.no_grad():
            result = poslabel.position_cross_entropy(logits, torch.arange(5), grad_logits=True)
        self.assertIs(type(result.grad_logits), torch.Tensor)
        self.assertFalse(result.grad_logits.requires_grad)

        class Mine(torch.Tensor):
            pass

        mine = logits.detach().as_subclass(Mine)
        self.assertEqual(poslabel.position_cross_entropy(mine, torch.arange(5)).loss.item(), result.loss.item())

    def test_mixed_frameworks(self):
        logits, positions = torch.randn(5, 6), np.arange(5)
        result = poslabel.position_cross_entropy(logits, positions)
        self.assertIsInstance(result.loss, torch.Tensor)
        self.assertIsInstance(poslabel.position_cross_entropy(logits.numpy(), torch.arange(5)).loss, np.ndarray)

    def test_tensors_that_cannot_be_exported(self):
        for tensor in (torch.zeros(2, 3, device="meta"), torch.eye(3).to_sparse()):
            with self.assertRaisesRegex(
                poslabel.UnsupportedError,
                "^position_cross_entropy: logits is a Tensor, must be one that DLPack can carry: ",
            ):
                poslabel.position_cross_entropy(tensor, torch.zeros(2, dtype=torch.int64), loss=torch.zeros(()))


@needs_torch
class NotOnlyMemory(TestCase):
    """Tensors that say less, or other, than their memory holds."""

    def test_negative_bit(self):
        logits, labels = torch.randn(3, 4), torch.arange(3)
        negative = torch._neg_view(logits)
        imaginary = torch.randn(3, 4, dtype=torch.complex64).conj().imag
        self.assertTrue(negative.is_neg() and imaginary.is_neg())
        for tensor in (negative, imaginary, negative.as_subclass(type("Mine", (torch.Tensor,), {}))):
            text = r"logits is a tensor with the negative bit, must be one without: pass logits.resolve_neg\(\)$"
            with self.assertRaisesRegex(poslabel.InvalidError, f"^position_cross_entropy: {text}"):
                poslabel.position_cross_entropy(tensor, labels)
            result = poslabel.position_cross_entropy(tensor.resolve_neg(), labels)
            expected = torch.nn.functional.cross_entropy(tensor.resolve_neg(), labels)
            self.close(result.loss, expected)
        before = logits.clone()
        with self.assertRaisesRegex(
            poslabel.InvalidError, "^position_cross_entropy: grad_logits is a tensor with the neg"
        ):
            poslabel.position_cross_entropy(logits, labels, grad_logits=negative)
        self.assertTrue(torch.equal(logits, before))

    def test_complex(self):
        logits = torch.randn(3, 4, dtype=torch.complex64)
        for tensor in (logits, logits.conj(), torch._neg_view(logits.conj()).resolve_neg()):
            with self.assertRaisesRegex(poslabel.InvalidError, "logits has dtype complex64, must be"):
                poslabel.position_cross_entropy(tensor, torch.arange(3))


@needs_torch
class Warnings(TestCase):
    """A gradient that would be lost is a warning, once for each operation."""

    def setUp(self):
        before = set(_pytorch.warned)
        _pytorch.warned.clear()
        self.addCleanup(_pytorch.warned.update, before)

    def caught(self, call):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        return [(str(warning.message), warning.filename) for warning in caught]

    def test_a_lost_gradient(self):
        leaf = torch.randn(3, 4, requires_grad=True)
        for logits in (
            leaf,
            2 * leaf,
            torch.nn.Parameter(torch.randn(3, 4)),
            leaf.as_subclass(type("Mine", (torch.Tensor,), {})),
        ):
            _pytorch.warned.clear()
            for _ in range(2):  # the second call knows the type
                _pytorch.warned.clear()
                ((text, file),) = self.caught(lambda: poslabel.position_cross_entropy(logits, torch.arange(3)))
                self.assertRegex(
                    text,
                    "^position_cross_entropy: logits requires grad, but autograd does not record poslabel.pos",
                )
                self.assertIn("torch.autograd.Function", text)
                self.assertIn("torch.no_grad()", text)
                self.assertEqual(file, __file__)
            self.assertEqual(self.caught(lambda: poslabel.position_cross_entropy(logits, torch.arange(3))), [])

    def test_each_operation(self):
        logits = torch.randn(1, 4, requires_grad=True)
        tokens = torch.randn(1, 4, 3)
        for name, call in (
            ("droppos_loss: logits", lambda: poslabel.droppos_loss(logits, torch.tensor([1]), grid=(2, 2))),
            (
                "assemble_tokens: mask_token",
                lambda: poslabel.assemble_tokens(tokens, mask_token=torch.zeros(3, requires_grad=True)),
            ),
            ("attentive_weights: cls", lambda: poslabel.attentive_weights(tokens, torch.ones(3, requires_grad=True))),
            ("scale_gradient: grad", lambda: poslabel.scale_gradient(logits, 2.0)),
        ):
            for count in (1, 0):
                found = self.caught(call)
                self.assertEqual([text.startswith(name + " requires grad") for text, _ in found], [True] * count, name)

    def test_as_an_error(self):
        logits = torch.randn(3, 4, requires_grad=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(2):
                with self.assertRaisesRegex(UserWarning, "logits requires grad"):
                    poslabel.position_cross_entropy(logits, torch.arange(3))

    def test_where_nothing_is_lost(self):
        logits = torch.randn(3, 4, requires_grad=True)
        with torch.no_grad():
            self.assertEqual(self.caught(lambda: poslabel.position_cross_entropy(logits, torch.arange(3))), [])
        with torch.inference_mode():
            self.assertEqual(self.caught(lambda: poslabel.position_cross_entropy(logits, torch.arange(3))), [])
        self.assertEqual(self.caught(lambda: poslabel.position_cross_entropy(logits.detach(), torch.arange(3))), [])


@needs_torch
class Readme(TestCase):
    """The code of the README, as it stands there."""

    @classmethod
    def setUpClass(cls):
        text = (pathlib.Path(__file__).resolve().parents[1] / "README.md").read_text()
        cls.blocks = re.findall(r"```python\n(.*?)```", text, re.S)
        cls.scope = {}
        with contextlib.redirect_stdout(io.StringIO()) as cls.printed, warnings.catch_warnings():
            warnings.simplefilter("error")
            for block in cls.blocks:
                exec(compile(block, "README.md", "exec"), cls.scope)

    def test_output(self):
        self.assertGreaterEqual(len(self.blocks), 3)
        self.assertIn("(64, 49, 196)", self.printed.getvalue())

    def autograd(self, logits, positions, mask, grid, sigma):
        """The loss by PyTorch in float64."""
        table = torch.from_numpy(reference.smoothing_map(grid, sigma, "row"))
        rows = -(table[positions] * torch.log_softmax(logits.double(), -1)).sum(-1)
        return (rows * mask).sum() / mask.sum()

    def test_loss(self):
        masks, logits, loss = (self.scope[name] for name in ("masks", "logits", "loss"))
        z = logits.detach().double().requires_grad_()
        expected = self.autograd(z, masks.ids_keep, masks.mask_pos, (14, 14), 1.0)
        (0.5 * expected).backward()
        self.close(loss.detach(), expected.detach())
        self.close(logits.grad, z.grad)

    def test_no_counted_row(self):
        logits = torch.randn(2, 49, 196, requires_grad=True)
        positions, mask = torch.zeros(2, 49, dtype=torch.int64), torch.zeros(2, 49, dtype=torch.bool)
        loss = self.scope["DropPosLoss"].apply(logits, positions, mask, (14, 14), 1.0)
        loss.backward()
        self.assertEqual(loss.item(), 0)
        self.assertFalse(logits.grad.any())

    def test_a_second_backward(self):
        masks = self.scope["masks"]
        logits = torch.randn(8, 49, 196, requires_grad=True)
        loss = self.scope["DropPosLoss"].apply(logits, masks.ids_keep, masks.mask_pos, (14, 14), 1.0)
        loss.backward(retain_graph=True)
        first = logits.grad.clone()
        loss.backward()
        self.close(logits.grad, 2 * first)
        with self.assertRaisesRegex(RuntimeError, "backward through the graph a second time"):
            loss.backward()

    def test_half_precision_and_a_loss_scale(self):
        grid, batch, scale = (28, 28), 16, 65536.0
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(batch, 196, 784, generator=generator).half().requires_grad_()
        positions = torch.randint(0, 784, (batch, 196), generator=generator)
        mask = torch.rand(batch, 196, generator=generator) < 0.75
        (scale * self.scope["DropPosLoss"].apply(logits, positions, mask, grid, 1.0)).backward()
        z = logits.detach().double().requires_grad_()
        (scale * self.autograd(z, positions, mask, grid, 1.0)).backward()
        actual = logits.grad.double()
        self.assertLess(((actual - z.grad).norm() / z.grad.norm()).item(), 5e-4)
        self.assertLess((actual[mask] == 0).double().mean().item(), 1e-3)

    def test_tokens(self):
        names = ("tokens", "cls_token", "pos_embed", "mask_token")
        leaves = [self.scope[name].detach().clone().requires_grad_() for name in names]
        masks = self.scope["masks"]
        tokens, cls_token, pos_embed, mask_token = twins = [leaf.detach().double().requires_grad_() for leaf in leaves]
        x = self.scope["AssembleTokens"].apply(*leaves, masks.ids_keep, masks.mask_pos)
        ids = masks.ids_keep
        kept = torch.gather(tokens, 1, ids[..., None].expand(-1, -1, 64))
        added = torch.where(masks.mask_pos[..., None], mask_token, pos_embed[0, 1 + ids])
        expected = torch.cat([(cls_token + pos_embed[:, :1]).expand(8, 1, 64), kept + added], 1)
        self.close(x.detach(), expected.detach())
        upstream = torch.randn(x.shape)
        x.backward(upstream)
        expected.backward(upstream.double())
        for name, leaf, twin in zip(names, leaves, twins):
            with self.subTest(name):
                self.assertEqual(leaf.grad.shape, leaf.shape)
                self.close(leaf.grad, twin.grad)


if __name__ == "__main__":
    unittest.main()
