# SPDX-License-Identifier: Apache-2.0
"""Every operation on random cases, most of them on grids that are not square, against reference.py."""

import itertools
import unittest

import numpy as np
import poslabel
import reference
from cases import TestCase

GRIDS = ((3, 5), (4, 4), (7, 2), (1, 9))


class Labels(TestCase):
    def test_absolute(self):
        for grid in GRIDS:
            expected = np.arange(grid[0] * grid[1])
            self.same(poslabel.absolute_labels(grid), expected)
            batched = poslabel.absolute_labels(grid, batch=(2, 3), dtype="int32")
            self.assertEqual(batched.dtype, np.int32)
            self.same(batched, np.broadcast_to(expected, (2, 3, expected.size)))

    def test_relative(self):
        for grid in GRIDS:
            expected = reference.relative_labels(grid)
            self.same(poslabel.relative_labels(grid), expected)
            self.same(poslabel.relative_labels(grid, batch=2), np.stack([expected, expected]))

    def test_smoothing_map(self):
        for grid, sigma, rule in itertools.product(GRIDS, (0, 0.5, 1, 3.5), ("row", "reference")):
            for dtype in ("float16", "float32", "float64"):
                with self.subTest(grid=grid, sigma=sigma, rule=rule, dtype=dtype):
                    result = poslabel.smoothing_map(grid, sigma, normalization=rule, dtype=dtype)
                    self.assertEqual(result.dtype, dtype)
                    self.close(result, reference.smoothing_map(grid, sigma, rule), dtype)

    def test_given_output(self):
        out = np.zeros((2, 3, 20), np.int32)[:, :, :15]  # rows are strided
        self.assertIs(poslabel.absolute_labels((3, 5), labels=out), out)
        self.same(out, np.broadcast_to(np.arange(15), (2, 3, 15)))
        self.assertFalse(out.base[:, :, 15:].any())


class Random(TestCase):
    def test_philox(self):
        self.assertEqual(poslabel.philox(0, (0, 0, 0, 0)), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8))
        for seed, counter in ((2**64 - 1, (2**32 - 1,) * 4), (0x123456789ABCDEF0, (1, 2, 3, 4))):
            self.assertEqual(poslabel.philox(seed, counter), reference.philox(seed, counter))

    def test_conversions(self):
        for word, n in itertools.product((0, 1, 2**31, 2**32 - 1), (0, 1, 7, 2**32 - 1)):
            self.assertEqual(poslabel.random_below(word, n), word * n >> 32)
        self.assertEqual(poslabel.random_unit(2**32 - 1), 1 - 2.0**-24)
        self.assertEqual(poslabel.random_unit(0x80000000), 0.5)


class Schedule(TestCase):
    def test_auxiliary_weight(self):
        for epoch in range(0, 110, 5):
            expected = 0.3 * (epoch / 20 if epoch < 20 else max(0, 1 - (epoch - 20) / 80))
            given = dict(epochs=100, warmup=20)
            self.assertAlmostEqual(poslabel.auxiliary_weight(0.3, epoch, **given), expected, places=15)
            expected *= epoch <= 90
            self.assertAlmostEqual(poslabel.auxiliary_weight(0.3, epoch, cut=0.9, **given), expected, places=15)
        self.assertEqual(poslabel.auxiliary_weight(2, 25, epochs=100), 1.5)


class Masks(TestCase):
    outputs = dict(ids_keep=True, ids_remove=True, ids_restore=True, mask=True)
    draw = dict(seed=2**63 + 12345, first_sample=3, step=77)

    def test_keep(self):
        self.assertEqual(poslabel.random_mask_keep(196, 0.75), 49)
        self.assertEqual(poslabel.random_mask_keep(49, 0.6), 19)
        self.assertEqual(poslabel.regular_mask_keep((5, 4)), 6)
        self.assertEqual(poslabel.block_mask_keep((14, 14), 0.75), 49)

    def test_random_from_noise(self):
        rng = np.random.default_rng(1)
        for count, ratio, dtype in itertools.product(
            (1, 15, 196), (0, 0.25, 0.75, 1), ("float16", "float32", "float64")
        ):
            noise = rng.random((4, count)).astype(dtype)
            noise[0] = np.round(noise[0] * 4)  # equal values
            result = poslabel.random_mask(count, ratio, noise=noise, **self.outputs)
            for actual, expected in zip(result, reference.random_masks(noise, ratio)):
                self.same(actual, expected)

    def test_random_from_seed(self):
        noise = np.stack([reference.words(self.draw["seed"], b, 1, 77, 35) for b in range(3, 8)])
        result = poslabel.random_mask(35, 0.6, batch=5, **self.draw, **self.outputs)
        for actual, expected in zip(result, reference.random_masks(noise, 0.6)):
            self.same(actual, expected)

    def test_regular(self):
        for grid in GRIDS:
            result = poslabel.regular_mask(grid, batch=4, **self.draw, **self.outputs)
            for actual, expected in zip(result, reference.regular_masks(grid, self.draw["seed"], range(3, 7), 77)):
                self.same(actual, expected)

    def test_block(self):
        for grid, ratio in (((4, 5), 0.5), ((6, 4), 0.75), ((14, 14), 0.75)):
            result = poslabel.block_mask(grid, ratio, batch=4, **self.draw, **self.outputs)
            for actual, expected in zip(result, reference.block_masks(grid, ratio, self.draw["seed"], range(3, 7), 77)):
                self.same(actual, expected)

    def test_dtypes(self):
        for dtype, mask_dtype in itertools.product(
            ("int32", "int64"), ("bool", "uint8", "int32", "float16", "float64")
        ):
            result = poslabel.random_mask(8, 0.5, batch=2, step=0, dtype=dtype, mask_dtype=mask_dtype)
            self.assertEqual(result.ids_keep.dtype, dtype)
            self.assertEqual(result.mask.dtype, mask_dtype)
            self.assertIsNone(result.ids_remove)
            self.same(result.mask.astype(int).sum(1), [4, 4])
            self.same(result.mask, poslabel.random_mask(8, 0.5, batch=2, step=0).mask)

    def test_droppos(self):
        grid, batch = (4, 6), 3
        seed, first, step = self.draw.values()
        patch_masks = {
            "random": lambda: reference.random_masks(
                np.stack([reference.words(seed, first + b, 1, step, 24) for b in range(batch)]), 0.5
            ),
            "regular": lambda: reference.regular_masks(grid, seed, range(first, first + batch), step),
            "block": lambda: reference.block_masks(grid, 0.5, seed, range(first, first + batch), step),
        }
        wanted = dict.fromkeys(poslabel.DropposMasks._fields, True)
        for kind, patches in patch_masks.items():
            expected = patches()
            visible = expected[0].shape[1]
            noise = [
                np.stack([reference.words(seed, first + b, stream, step, visible) for b in range(batch)])
                for stream in (2, 3)
            ]
            keep_pos, _, restore_pos, mask_pos = reference.random_masks(noise[0], 0.6)
            places = reference.random_masks(noise[1], 0)[2]
            for wrong in (False, True):
                with self.subTest(kind, wrong=wrong):
                    result = poslabel.droppos_masks(
                        grid, 0.5, 0.6, batch=batch, patch_mask=kind, wrong_positions=wrong, **self.draw, **wanted
                    )
                    for actual, want in zip(result[:4], expected):
                        self.same(actual, want)
                    self.same(result.ids_keep_pos, keep_pos)
                    self.same(result.ids_restore_pos, restore_pos)
                    self.same(result.mask_pos, mask_pos)
                    self.same(result.places, places)
                    self.same(result.positions[~mask_pos], expected[0][~mask_pos])
                    if not wrong:
                        self.assertTrue((result.positions[mask_pos] == -1).all())
                        continue
                    for b in range(batch):  # the ring
                        lost = np.argsort(noise[0][b], kind="stable")[keep_pos.shape[1] :]
                        got, own = result.positions[b, lost], expected[0][b, lost]
                        self.assertEqual(sorted(got), sorted(own))
                        self.assertTrue((got != own).all())
                        self.assertIn(list(got), (list(np.roll(own, 1)), list(np.roll(own, -1))))


class Tokens(TestCase):
    def case(self, seed):
        rng = np.random.default_rng(seed)
        batch, count, visible, channels = 3, 15, 6, 9
        ids = np.stack([rng.permutation(count)[:visible] for _ in range(batch)])
        mask = rng.random((batch, visible)) < 0.5
        places = np.stack([rng.permutation(visible) for _ in range(batch)])
        tokens, pos, prefix, mask_token = (
            rng.standard_normal(shape).astype(np.float32)
            for shape in ((batch, count, channels), (count + 2, channels), (2, channels), (channels,))
        )
        return rng, ids, mask, places, tokens, pos, prefix, mask_token

    def test_forward_and_backward(self):
        for seed, (use_places, use_prefix, short) in enumerate(itertools.product((False, True), repeat=3)):
            rng, ids, mask, places, tokens, pos, prefix, mask_token = self.case(seed)
            prefix = prefix if use_prefix else None
            places = places if use_places else None
            pos = pos if use_prefix and not short else pos[2:]
            lost = np.where(mask, -1, ids)
            expected = reference.assemble_tokens(tokens, ids, lost, places, prefix, pos, mask_token)
            for kind in ({"mask_pos": mask}, {"positions": lost}):
                with self.subTest(places=use_places, prefix=use_prefix, short=short, kind=list(kind)):
                    common = dict(ids_keep=ids, places=places, **kind)
                    x = poslabel.assemble_tokens(
                        tokens, prefix_tokens=prefix, pos_embed=pos, mask_token=mask_token, **common
                    )
                    self.close(x, expected)
                    grad_x = rng.standard_normal(x.shape).astype(np.float32)
                    heads = 2 if use_prefix else 0
                    result = poslabel.assemble_tokens_backward(
                        grad_x,
                        tokens_per_image=15,
                        prefix_count=heads,
                        grad_mask_token=True,
                        grad_prefix_tokens=use_prefix,
                        grad_pos_embed=True,
                        **common,
                    )
                    want = reference.assemble_tokens_backward(grad_x, 15, heads, ids, lost, places)
                    for name, actual, value in zip(result._fields, result, want):
                        if name == "grad_prefix_tokens" and not use_prefix:
                            self.assertIsNone(actual)
                        else:
                            self.close(actual, value)

    def test_all_tokens(self):
        _, _, _, _, tokens, pos, _, _ = self.case(99)
        self.close(poslabel.assemble_tokens(tokens, pos_embed=pos[2:]), tokens + pos[2:])
        back = poslabel.assemble_tokens_backward(tokens)
        self.same(back.grad_tokens, tokens)
        self.assertEqual(back[1:], (None, None, None))

    def test_attentive_weights(self):
        for dtype, with_pos, with_ids, batched in itertools.product(
            ("float32", "float64"), (False, True), (False, True), (False, True)
        ):
            rng, ids, _, _, tokens, pos, prefix, mask_token = self.case(5)
            tokens, pos = tokens.astype(dtype), pos.astype(dtype) if with_pos else None
            cls = rng.standard_normal((3, 9) if batched else 9).astype(dtype)
            ids = ids if with_ids else None
            with self.subTest(dtype=dtype, with_pos=with_pos, with_ids=with_ids, batched=batched):
                result = poslabel.attentive_weights(
                    tokens, cls, pos_embed=pos, ids_keep=ids, temperature=0.2, attention=True
                )
                expected = reference.attentive_weights(tokens, cls, pos, ids, 0.2)
                self.close(result.attention, expected[0], dtype)
                self.close(result.weights, expected[1], dtype)
                self.assertIsNone(poslabel.attentive_weights(tokens, cls).attention)


class Losses(TestCase):
    wanted = dict(grad_logits=True, accuracy=True, weight_sum=True, flags=True)

    def check(self, result, expected, dtype, flags=0):
        for actual, want in zip((result.loss, result.grad_logits, result.accuracy, result.weight_sum), expected):
            self.close(actual, want, dtype)
        self.assertEqual(int(result.flags), flags)
        self.assertEqual(result.loss.dtype, "float64" if dtype == "float64" else "float32")
        self.assertEqual(result.grad_logits.dtype, dtype)

    def upstream(self, reduction, rows):
        rng = np.random.default_rng(0)
        return rng.standard_normal(rows).astype(np.float32) if reduction == "none" else np.float32(-1.5)

    def test_droppos(self):
        rng = np.random.default_rng(2)
        cases = itertools.product(
            GRIDS[:3], (0, 1, 2.5), ("row", "reference"), (False, True), ("mean", "sum", "none"), ("float32", "float64")
        )
        for grid, sigma, rule, conf, reduction, dtype in cases:
            count = grid[0] * grid[1]
            logits = (2 * rng.standard_normal((2, 5, count))).astype(dtype)
            positions = rng.integers(0, count, (2, 5))
            logits[0, 0, positions[0, 0]] += 9  # one row that the filter leaves out
            mask = rng.random((2, 5)) < 0.7
            mask[0, :2] = True
            weights = rng.random((2, 5)).astype(np.float32)
            grad_loss = self.upstream(reduction, (2, 5))
            with self.subTest(grid=grid, sigma=sigma, rule=rule, conf=conf, reduction=reduction, dtype=dtype):
                result = poslabel.droppos_loss(
                    logits,
                    positions,
                    grid=grid,
                    mask=mask,
                    weights=weights,
                    sigma=sigma,
                    normalization=rule,
                    confidence_filter=conf,
                    reduction=reduction,
                    grad_scale=3,
                    grad_loss=grad_loss,
                    **self.wanted,
                )
                expected = reference.droppos_loss(
                    logits, positions, grid, mask * weights, sigma, rule, conf, reduction, upstream=3.0 * grad_loss
                )
                self.check(result, expected, dtype)

    def test_implied_labels(self):
        rng = np.random.default_rng(3)
        cases = itertools.product(
            ((2, 3), (3, 3), (4, 1)),
            ("absolute", "relative"),
            ("mean", "sum", "none"),
            (0, 0.1),
            ("float32", "float64"),
        )
        for grid, labels, reduction, smoothing, dtype in cases:
            n = grid[0] * grid[1]
            if labels == "absolute":
                shape, classes, table = (3, n), n, np.arange(n)
            else:
                shape, classes, table = (
                    (3, n, n),
                    (2 * grid[0] - 1) * (2 * grid[1] - 1),
                    reference.relative_labels(grid),
                )
            logits = (3 * rng.standard_normal((*shape, classes))).astype(dtype)
            weights = rng.random(shape)
            grad_loss = self.upstream(reduction, shape)
            with self.subTest(grid=grid, labels=labels, reduction=reduction, smoothing=smoothing, dtype=dtype):
                result = poslabel.position_cross_entropy(
                    logits,
                    grid=grid,
                    labels=labels,
                    weights=weights,
                    reduction=reduction,
                    label_smoothing=smoothing,
                    grad_loss=grad_loss,
                    **self.wanted,
                )
                ids = np.broadcast_to(table, shape)
                expected = reference.position_cross_entropy(
                    logits, ids, weights, reduction, smoothing, upstream=grad_loss
                )
                self.check(result, expected, dtype)

    def test_explicit_labels(self):
        rng = np.random.default_rng(4)
        cases = itertools.product(
            ("mean", "sum", "none"), (0, 0.2), (-100, 3), ("int32", "int64"), ("float32", "float64")
        )
        for reduction, smoothing, ignored, ids, dtype in cases:
            logits = (3 * rng.standard_normal((4, 6, 11))).astype(dtype)
            positions = rng.integers(0, 11, (4, 6)).astype(ids)
            positions[1, 1:4] = ignored
            mask = (rng.random((4, 6)) < 0.8).astype(np.int32)
            counted = mask * (positions != ignored)
            with self.subTest(reduction=reduction, smoothing=smoothing, ignored=ignored, ids=ids, dtype=dtype):
                result = poslabel.position_cross_entropy(
                    logits,
                    positions,
                    mask=mask,
                    reduction=reduction,
                    label_smoothing=smoothing,
                    ignore_index=ignored,
                    **self.wanted,
                )
                labels = np.where(counted, positions, 0)
                expected = reference.position_cross_entropy(logits, labels, counted, reduction, smoothing)
                self.check(result, expected, dtype)

    def test_normalizer(self):
        rng = np.random.default_rng(5)
        logits, weights = rng.standard_normal((6, 12)), rng.random(6)
        positions = rng.integers(0, 12, 6)
        whole = poslabel.position_cross_entropy(logits, positions, weights=weights, **self.wanted)
        parts = [
            poslabel.position_cross_entropy(
                logits[part], positions[part], weights=weights[part], normalizer=whole.weight_sum, **self.wanted
            )
            for part in (slice(0, 2), slice(2, 6))
        ]
        self.close(parts[0].loss + parts[1].loss, whole.loss, "float64")
        self.close(np.concatenate([part.grad_logits for part in parts]), whole.grad_logits, "float64")
        self.close(parts[0].weight_sum + parts[1].weight_sum, whole.weight_sum, "float64")

    def test_empty(self):
        logits = np.ones((2, 3, 6), np.float32)
        positions = np.zeros((2, 3), np.int64)
        nothing = dict(mask=np.zeros((2, 3), bool)), dict(weights=np.zeros((2, 3)))
        for case in nothing:
            result = poslabel.droppos_loss(logits, positions, grid=(2, 3), sigma=1, **case, **self.wanted)
            self.assertEqual(result.flags, poslabel.LossFlag.EMPTY)
            self.assertEqual((result.loss, result.accuracy, result.weight_sum), (0, 0, 0))
            self.assertFalse(result.grad_logits.any())
        result = poslabel.droppos_loss(logits[:0], positions[:0], grid=(2, 3), **self.wanted)
        self.assertEqual(result.flags, poslabel.LossFlag.EMPTY)
        self.assertEqual(result.grad_logits.shape, (0, 3, 6))

    def test_gradient_only(self):
        logits = np.random.default_rng(6).standard_normal((4, 6)).astype(np.float32)
        positions = np.arange(4)
        full = poslabel.position_cross_entropy(logits, positions, grad_logits=True)
        only = poslabel.position_cross_entropy(logits, positions, loss=False, grad_logits=True)
        self.assertIsNone(only.loss)
        self.same(only.grad_logits, full.grad_logits)
        self.assertEqual(poslabel.position_cross_entropy(logits, positions)[1:], (None,) * 4)

    def test_scale_gradient(self):
        gradient = np.random.default_rng(7).standard_normal((3, 4, 5)).astype(np.float32)
        for scale in (1, 0.5, np.float64(-2), np.array([3], np.float32)):
            work = gradient.copy()
            self.assertIs(poslabel.scale_gradient(work, scale), work)
            self.close(work, gradient * np.float32(scale))
        rows = np.arange(12.0).reshape(3, 4)
        self.close(poslabel.scale_gradient(gradient.copy(), rows), gradient * rows[..., None])

    def test_sigma_schedule(self):
        self.assertEqual(poslabel.sigma_schedule(2.0, 0, 200), 2.0)
        self.assertEqual(poslabel.sigma_schedule(2.0, 50, 200), 1.5)
        self.assertEqual(poslabel.sigma_schedule(2, 300, 200), 0.0)


if __name__ == "__main__":
    unittest.main()
