# SPDX-License-Identifier: Apache-2.0
"""Every operation against float64 NumPy, on arguments drawn at random, on every instruction set.

POSLABEL_SEED repeats a run, whose seed is printed; POSLABEL_SECONDS is the time for each operation.
"""

import math
import os
import sys
import time
import unittest
import zlib

import numpy as np
import poslabel
import reference
from cases import TestCase, declared
from differential import FLOATS, IDS, MASKS, REDUCTIONS, Draw

SEED = int(os.environ.get("POSLABEL_SEED", time.time_ns() % 10**9))
SECONDS = float(os.environ.get("POSLABEL_SECONDS", 0.5))

# The relative error of a rounding, and what is lost below the smallest normal number.
ROUNDING = {"float16": (2.0**-11, 2.0**-25), "float32": (2.0**-24, 2.0**-150), "float64": (2.0**-53, 0.0)}
GELUS = ("gelu", "gelu_tanh", "relu")
ARITHMETIC = {"float16": 1e-5, "float32": 1e-5, "float64": 1e-12}


def setUpModule():
    print(f"differential test: POSLABEL_SEED={SEED}", file=sys.stderr)


class Differential(TestCase):
    """One method case_<operation>() for each operation, which makes one call; tests of them all are made below."""

    def within(self, actual, expected, bound, dtype):
        """That actual is expected within bound and one rounding to dtype, which may overflow."""
        self.assertEqual(np.shape(actual), np.shape(expected))
        self.assertEqual(np.asarray(actual).dtype, dtype)
        actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
        relative, absolute = ROUNDING[dtype]
        allowed = bound + relative * np.abs(expected) + absolute
        overflows = np.abs(expected) + allowed >= float(np.finfo(dtype).max)
        same = (np.abs(actual - expected) <= allowed) | (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        wrong = ~(same | (overflows & (np.abs(actual) >= float(np.finfo(dtype).max) * (1 - relative))))
        if wrong.any():
            at = np.unravel_index(np.argmax(wrong), np.shape(wrong))
            error = float(np.broadcast_to(allowed, wrong.shape)[at])
            self.fail(
                f"at {[int(i) for i in at]}: {float(actual[at])!r}, expected {float(expected[at])!r} +- {error:.3g}; "
                f"{int(wrong.sum())} of {wrong.size} are wrong"
            )

    # Labels

    def labels(self, draw, compute, grid, expected):
        out = draw.output((draw.size(0, 4), *expected.shape), draw.one_of(IDS))
        compute(grid, labels=out, context=draw.context())
        self.same(out, np.broadcast_to(expected, out.shape))
        self.same(compute(grid), expected)

    def case_absolute_labels(self, draw):
        grid = draw.grid()
        self.labels(draw, poslabel.absolute_labels, grid, np.arange(grid[0] * grid[1]))

    def case_relative_labels(self, draw):
        grid = draw.grid(9)
        self.labels(draw, poslabel.relative_labels, grid, reference.relative_labels(grid))

    def case_smoothing_map(self, draw):
        grid, rule, dtype = draw.grid(12), draw.one_of(("row", "reference")), draw.one_of(FLOATS)
        sigma = draw.one_of((0, 1e-3, 0.3, 1, float(draw.rng.uniform(0, 9)), 1e4))
        given = np.float64(sigma) if draw.maybe() else sigma
        result = poslabel.smoothing_map(grid, given, normalization=rule, dtype=dtype, context=draw.context())
        expected = reference.smoothing_map(grid, sigma, rule)
        self.within(result, expected, ARITHMETIC[dtype] * expected.max(), dtype)

    # Masks

    def drawn(self, draw, batch):
        """Arguments that say what is drawn for each image; the seed, the indices of the images and the step."""
        seed, step = int(draw.rng.integers(0, 1 << 63)) * 2 + 1, int(draw.rng.integers(0, 1 << 31))
        arguments = dict(seed=seed, step=np.int64(step) if draw.maybe() else step, context=draw.context())
        if draw.maybe():
            first = int(draw.rng.integers(0, (1 << 32) - batch))
            return dict(arguments, first_sample=first, batch=batch), seed, range(first, first + batch), step
        samples = draw.rng.integers(0, 1 << 56, batch)
        return dict(arguments, samples=draw.lay(samples)), seed, [int(sample) for sample in samples], step

    def masks(self, draw, compute, sizes, given, expected):
        outputs = dict.fromkeys(("ids_keep", "ids_remove", "ids_restore", "mask"), True)
        result = compute(*sizes, **given, **outputs, dtype=draw.one_of(IDS), mask_dtype=draw.one_of(MASKS))
        for actual, value in zip(result, expected):
            self.same(actual, value)

    def case_random_mask(self, draw):
        tokens, batch, ratio = draw.size(1, 700), draw.size(1, 9), float(draw.rng.random())
        if draw.maybe():
            noise = draw.numbers((batch, tokens), draw.one_of(FLOATS), draw.one_of((0, 1, 100)))
            given = dict(noise=draw.lay(noise.round() if draw.maybe() else noise), context=draw.context())
            noise = given["noise"]
        else:
            given, seed, samples, step = self.drawn(draw, batch)
            noise = np.stack([reference.words(seed, sample, 1, step, tokens) for sample in samples])
        self.masks(draw, poslabel.random_mask, (tokens, ratio), given, reference.random_masks(noise, ratio))

    def case_regular_mask(self, draw):
        grid = draw.grid(17)
        given, *key = self.drawn(draw, draw.size(1, 5))
        self.masks(draw, poslabel.regular_mask, (grid,), given, reference.regular_masks(grid, *key))

    def case_block_mask(self, draw):
        grid, ratio = draw.grid(17), float(draw.rng.random())
        given, *key = self.drawn(draw, draw.size(1, 5))
        if math.isqrt(grid[0] * grid[1] - int(ratio * grid[0] * grid[1])) <= min(grid):  # the square fits
            expected = reference.block_masks(grid, ratio, *key)
            self.masks(draw, poslabel.block_mask, (grid, ratio), given, expected)

    def case_droppos_masks(self, draw):
        grid, batch = draw.grid(15), draw.size(1, 5)
        ratio, pos_ratio = float(draw.rng.random()), float(draw.rng.random())
        tokens = grid[0] * grid[1]
        given, seed, samples, step = self.drawn(draw, batch)
        patches = reference.random_masks(
            np.stack([reference.words(seed, sample, 1, step, tokens) for sample in samples]), ratio
        )
        visible = patches[0].shape[1]
        pos, shuffle = (
            np.stack([reference.words(seed, sample, stream, step, visible) for sample in samples])
            for stream in (2, 3)
        )
        keep_pos, _, restore_pos, mask_pos = reference.random_masks(pos, pos_ratio)
        result = poslabel.droppos_masks(
            grid, ratio, pos_ratio, **given, **dict.fromkeys(poslabel.DropposMasks._fields, True)
        )
        positions = np.where(mask_pos, -1, patches[0])
        places = reference.random_masks(shuffle, 0)[2]
        for actual, value in zip(result, (*patches, keep_pos, restore_pos, mask_pos, positions, places)):
            self.same(actual, value)

    # Pairs of cells

    def case_cell_pairs(self, draw):
        grid, batch, m = draw.grid(), draw.size(0, 5), draw.size(0, 60)
        kind = draw.one_of(("random", "all"))
        given, *key = self.drawn(draw, batch)
        expected = reference.cell_pairs(grid, m if kind == "random" else None, *key)
        shape = expected.shape
        if draw.maybe():
            given["cells"] = draw.output(shape, draw.one_of(IDS))
        self.same(poslabel.cell_pairs(grid, shape[1], kind=kind, dtype=draw.one_of(IDS), **given), expected)

    def case_cell_offsets(self, draw):
        grid, absolute, normalized = draw.grid(), draw.maybe(), draw.maybe()
        cells = draw.ids(grid[0] * grid[1], (draw.size(0, 5), draw.size(0, 40), 2))
        dtype = draw.one_of(FLOATS if normalized else FLOATS + IDS)
        expected = reference.cell_offsets(cells, grid, absolute, normalized)
        given = dict(offsets=draw.output(cells.shape, dtype)) if draw.maybe() else dict(dtype=dtype)
        result = poslabel.cell_offsets(
            cells, grid, absolute=absolute, normalized=normalized, context=draw.context(), **given
        )
        self.same(result, expected.astype(dtype))

    def pairs_case(self, draw):
        """B, N, m, C, a dtype and cells."""
        batch, count, m, channels = draw.size(0, 6), draw.size(1, 60), draw.size(0, 70), draw.size(0, 200)
        return batch, count, m, channels, draw.one_of(FLOATS), draw.ids(count, (batch, m, 2))

    def case_pair_features(self, draw):
        batch, count, m, channels, dtype, cells = self.pairs_case(draw)
        features = draw.numbers((batch, count, channels), dtype)
        given = dict(pairs=draw.output((batch, m, 2 * channels), dtype)) if draw.maybe() else {}
        result = poslabel.pair_features(self.columns(draw, features), cells, context=draw.context(), **given)
        self.same(result, reference.pair_features(features, cells))
        self.assertEqual(result.dtype, dtype)

    def case_pair_features_backward(self, draw):
        batch, count, m, channels, dtype, cells = self.pairs_case(draw)
        grad = draw.numbers((batch, m, 2 * channels), dtype)
        given = dict(count=count)
        if draw.maybe():
            given = dict(grad_features=self.columns(draw, np.full((batch, count, channels), 77, dtype)))
        result = poslabel.pair_features_backward(draw.lay(grad), cells, context=draw.context(), **given)
        expected = reference.pair_features_backward(grad, cells, count)
        size = reference.pair_features_backward(np.abs(grad), cells, count).max(initial=0)
        self.within(result, expected, (1e-14 if dtype == "float64" else 1e-6) * size, dtype)

    # Tokens

    def tokens_case(self, draw):
        batch, tokens, channels = draw.size(0, 6), draw.size(1, 40), draw.size(1, 200)
        visible = int(draw.rng.integers(0, tokens + 1))
        ids = draw.orders(batch, tokens, visible)
        lost = np.where(draw.rng.random(ids.shape) < 0.5, -1, ids)
        given = dict(ids_keep=draw.lay(ids), context=draw.context())
        kind = draw.one_of(("none", "mask_pos", "positions"))
        if kind == "none":
            lost = ids
        elif kind == "mask_pos":
            given["mask_pos"] = draw.lay((lost < 0).astype(draw.one_of(MASKS)))
        else:
            given["positions"] = draw.lay(lost.astype(draw.one_of(IDS)))
        places = None
        if draw.maybe(0.3):
            places = draw.orders(batch, visible, visible)
            given["places"] = draw.lay(places)
        return batch, tokens, channels, ids, lost, places, given

    def token_dtypes(self, draw):
        """Of tokens, and of the parameters beside them."""
        return draw.one_of((("float16", "float16"), ("float16", "float32"), ("float32",) * 2, ("float64",) * 2))

    def columns(self, draw, array):
        """[B, D, N] seen as [B, N, D], as a convolution leaves it, or rows."""
        return np.ascontiguousarray(array.swapaxes(1, 2)).swapaxes(1, 2) if draw.maybe(0.4) else draw.lay(array)

    def case_assemble_tokens(self, draw):
        batch, tokens, channels, ids, lost, places, given = self.tokens_case(draw)
        dtype, beside = self.token_dtypes(draw)
        prefix = draw.size(0, 3)
        registers = draw.size(0, prefix) if draw.maybe(0.4) else 0
        embedded = prefix - registers if registers or draw.maybe() else 0
        arrays = dict(
            prefix_tokens=draw.numbers((prefix, channels), draw.one_of((dtype, beside))) if prefix else None,
            pos_embed=draw.numbers((tokens + embedded, channels), beside) if draw.maybe(0.8) else None,
            mask_token=draw.numbers(channels, draw.one_of((dtype, beside))) if draw.maybe() else None,
        )
        source = draw.numbers((batch, tokens, channels), dtype)
        laid = {name: None if array is None else draw.lay(array) for name, array in arrays.items()}
        x = draw.output((batch, prefix + ids.shape[1], channels), dtype)
        poslabel.assemble_tokens(self.columns(draw, source), register_count=registers, x=x, **laid, **given)
        wide = [None if array is None else array.astype(np.float64) for array in arrays.values()]
        expected = reference.assemble_tokens(source.astype(np.float64), ids, lost, places, *wide)
        self.within(x, expected, 1e-6 * np.abs(expected).max(initial=0), dtype)

    def case_assemble_tokens_backward(self, draw):
        batch, tokens, channels, ids, lost, places, given = self.tokens_case(draw)
        (dtype, beside), prefix = self.token_dtypes(draw), draw.size(0, 3)
        registers = draw.size(0, prefix) if draw.maybe(0.4) else 0
        grad_x = draw.numbers((batch, prefix + ids.shape[1], channels), dtype)
        result = poslabel.assemble_tokens_backward(
            draw.lay(grad_x),
            tokens_per_image=tokens,
            prefix_count=prefix,
            register_count=registers,
            parameter_dtype=beside,
            grad_tokens=self.columns(draw, np.full((batch, tokens, channels), 77, dtype)),
            grad_mask_token=True,
            grad_prefix_tokens=prefix > 0,
            grad_pos_embed=draw.output((prefix - registers + tokens, channels), beside),
            **given,
        )
        expected = list(reference.assemble_tokens_backward(grad_x, tokens, prefix, ids, lost, places))
        expected[3] = np.delete(expected[3], np.s_[prefix - registers : prefix], 0)
        for actual, value in zip(result, expected):
            if actual is not None:
                self.within(actual, value, 1e-9, str(actual.dtype))
        self.assertEqual(result.grad_mask_token.dtype, beside)

    def decoder_case(self, draw):
        batch, tokens, channels, prefix = draw.size(0, 6), draw.size(1, 40), draw.size(1, 200), draw.size(0, 3)
        visible, embedded = int(draw.rng.integers(0, tokens + 1)), int(draw.rng.integers(0, prefix + 1))
        restore = draw.orders(batch, tokens, tokens)
        if draw.maybe(0.3):
            restore[...] = draw.rng.integers(0, tokens, restore.shape)  # no permutation
        return batch, tokens, channels, prefix, visible, embedded, restore

    def case_decoder_tokens(self, draw):
        batch, tokens, channels, prefix, visible, embedded, restore = self.decoder_case(draw)
        dtype = draw.one_of(("float16", "float32"))
        x = draw.numbers((batch, prefix + visible, channels), dtype)
        mask_token = draw.numbers(channels, dtype) if draw.maybe(0.8) else None
        pos = draw.numbers((embedded + tokens, channels), dtype) if draw.maybe(0.8) else None
        out = draw.output((batch, prefix + tokens, channels), dtype)
        poslabel.decoder_tokens(
            draw.lay(x),
            draw.lay(restore),
            prefix_count=prefix,
            mask_token=None if mask_token is None else draw.lay(mask_token),
            pos_embed=None if pos is None else draw.lay(pos),
            out=out,
            context=draw.context(),
        )
        wide = [None if array is None else array.astype(np.float64) for array in (mask_token, pos)]
        expected = reference.decoder_tokens(x.astype(np.float64), restore, prefix, *wide)
        self.within(out, expected, 1e-6 * np.abs(expected).max(initial=0), dtype)

    def case_decoder_tokens_backward(self, draw):
        batch, tokens, channels, prefix, visible, embedded, restore = self.decoder_case(draw)
        dtype = draw.one_of(("float16", "float32"))
        grad_out = draw.numbers((batch, prefix + tokens, channels), dtype)
        has_x, has_mask_token, has_pos = draw.one_of([(i & 1, i & 2, i & 4) for i in range(1, 8)])
        result = poslabel.decoder_tokens_backward(
            draw.lay(grad_out),
            draw.lay(restore),
            prefix_count=prefix,
            visible_count=-1 if has_x and draw.maybe() else visible,
            grad_x=draw.output((batch, prefix + visible, channels), dtype) if has_x else False,
            grad_mask_token=bool(has_mask_token),
            grad_pos_embed=draw.output((embedded + tokens, channels), dtype) if has_pos else False,
            context=draw.context(),
        )
        expected = reference.decoder_tokens_backward(grad_out, restore, prefix, visible, embedded)
        for has, actual, value in zip((has_x, has_mask_token, has_pos), result, expected):
            if has:
                self.within(actual, value, 1e-9, dtype)
            else:
                self.assertIsNone(actual)

    def case_attentive_weights(self, draw):
        batch, tokens, channels = draw.size(0, 6), draw.size(1, 60), draw.size(1, 200)
        dtype, temperature = draw.one_of(FLOATS), draw.one_of((0.05, 0.1, 1.0))
        source = draw.numbers((batch, tokens, channels), dtype, draw.one_of((1e-2, 1, 30)))
        cls = draw.numbers((batch, channels) if draw.maybe() else (channels,), dtype)
        pos = draw.numbers((tokens + 1, channels), dtype) if draw.maybe() else None
        ids = draw.orders(batch, tokens, int(draw.rng.integers(1, tokens + 1))) if draw.maybe() else None
        result = poslabel.attentive_weights(
            self.columns(draw, source),
            draw.lay(cls),
            pos_embed=None if pos is None else draw.lay(pos),
            ids_keep=None if ids is None else draw.lay(ids),
            temperature=temperature,
            attention=True,
            context=draw.context(),
        )
        expected = reference.attentive_weights(source, cls, pos, ids, temperature)
        real = "float64" if dtype == "float64" else "float32"
        for actual, value in zip((result.attention, result.weights), expected):
            self.within(actual, value, ARITHMETIC[dtype] * value.max(initial=0), real)

    # Losses

    outputs = dict(grad_logits=True, accuracy=True, weight_sum=True, flags=True)

    def loss_arguments(self, draw, shape):
        """Arguments that all losses of rows share; the weights of the rows, and their upstream gradients."""
        reduction = draw.one_of(REDUCTIONS)
        mask = draw.mask(shape) if draw.maybe() else None
        weights = draw.weights(shape) if draw.maybe() else None
        counts = np.ones(shape) if mask is None else (np.asarray(mask) != 0).astype(np.float64)
        total = counts if weights is None else counts * np.asarray(weights, np.float64)
        scale, grad_loss = draw.one_of((1.0, 1.0, -0.5, 1024.0)), None
        if draw.maybe(0.3):
            rows = shape if reduction == "none" and draw.maybe() else ()
            grad_loss = draw.lay(draw.numbers(rows, draw.one_of(("float32", "float64"))))
        normalizer = np.float32(draw.one_of((0, 0.5, 64))) if draw.maybe(0.2) else None
        upstream = scale * (1.0 if grad_loss is None else np.asarray(grad_loss, np.float64))
        given = dict(mask=mask, weights=weights, reduction=reduction, grad_scale=scale, grad_loss=grad_loss)
        given.update(normalizer=normalizer, context=draw.context())
        return given, total, np.broadcast_to(upstream, shape)

    def logits_case(self, draw, shape, classes, dtype):
        """As above; and logits, which hold anything in rows that do not count, and as the reference may read them."""
        given, weights, upstream = self.loss_arguments(draw, shape)
        logits = draw.logits((*shape, classes), dtype)
        read = np.array(logits, np.float64)
        if draw.maybe(0.3):
            logits[weights == 0] = draw.one_of((np.nan, np.inf, -np.inf))
        return given, weights, upstream, logits, read

    def check_loss(self, result, given, weights, upstream, logits, targets, labels):
        """`logits` are in float64; the outputs have the dtypes of the call."""
        dtype, normalizer, reduction = result.grad_logits.dtype.name, given["normalizer"], given["reduction"]
        real, arithmetic = ("float64" if dtype == "float64" else "float32"), ARITHMETIC[dtype]
        rows, *_ = reference.row_loss(logits, targets, labels, np.ones(labels.size), "none", np.ones(labels.size))
        loss, gradient, accuracy, total = reference.row_loss(
            logits, targets, labels, weights.reshape(-1), reduction, upstream, normalizer
        )
        divisor = total if normalizer is None else float(normalizer)
        inverse = 1.0 if reduction != "mean" else 0.0 if divisor == 0 else 1 / divisor
        # In float32 far targets may count as 0, though their logits may be anything.
        far = np.where(targets < 2.0**-31, targets, 0) * np.abs(reference.log_softmax(logits.reshape(targets.shape)))
        far = far.sum(1).reshape(weights.shape) if real == "float32" else 0
        rounding = 1e-6 if real == "float32" else 1e-12
        bound = weights * (arithmetic * np.abs(rows.reshape(weights.shape)) + rounding + far) * inverse
        self.within(result.loss, loss, bound if reduction == "none" else bound.sum(), real)
        largest = np.abs(weights * upstream * inverse).reshape(-1) * targets.max(1, initial=0)
        largest = np.maximum(largest, np.abs(gradient.reshape(targets.shape)).max(1, initial=0))
        bound = (arithmetic * largest).reshape(*weights.shape, 1)
        self.within(result.grad_logits, gradient, bound + (2.0**-140 if real == "float32" else 0), dtype)
        self.within(result.weight_sum, total, 1e-12 * total, real)
        self.within(result.accuracy, accuracy, 1e-12 * abs(accuracy), real)
        self.same(result.flags, poslabel.LossFlag.EMPTY if divisor == 0 else 0)

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
            logits, label_smoothing=smoothing, **targets_of, **given, **self.outputs
        )
        labels = np.broadcast_to(labels, shape).astype(np.int64).reshape(-1)
        targets = np.full((labels.size, classes), smoothing / classes)
        targets[np.arange(labels.size), labels] += 1 - smoothing
        self.check_loss(result, given, weights, upstream, read, targets, labels)

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
            **self.outputs,
        )
        if conf:
            p, own = np.take_along_axis(reference.softmax(read), labels[..., None], -1)[..., 0], table[labels, labels]
            if (np.abs(p - own) <= 1e-7 * own).any():
                return  # a tie that rounding decides
            weights = weights * (p < own)
        labels = labels.reshape(-1)
        self.check_loss(result, given, weights, upstream, read, table[labels], labels)

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
        total, normalizer, reduction = weights.sum(), given["normalizer"], given["reduction"]
        divisor = total if normalizer is None else float(normalizer)
        inverse = 1.0 if reduction != "mean" else 0.0 if divisor == 0 else 1 / divisor
        real, arithmetic = ("float64" if dtype == "float64" else "float32"), ARITHMETIC[dtype]
        solved = [reference.axis_loss(z, label, kind) for z, label in zip(read, labels.T)]
        rows = sum(losses for losses, _ in solved).reshape(shape)
        bound = weights * (arithmetic * np.abs(rows) + (2e-6 if real == "float32" else 1e-12)) * inverse
        rows = np.where(weights == 0, 0, weights * rows * inverse)
        if reduction == "none":
            self.within(result.loss, rows, bound, real)
        else:
            self.within(result.loss, rows.sum(), bound.sum(), real)
        factor = (weights * upstream * inverse)[..., None]
        grads = result.grad_logits if paired else (result.grad_logits[..., 0], result.grad_logits[..., 1])
        for grad, (_, slopes), n in zip(grads, solved, classes):
            expected = np.where(factor == 0, 0, factor * slopes.reshape(*shape, n))
            largest = np.abs(expected).max(-1, keepdims=True, initial=0) + np.abs(factor) * 1e-3
            self.within(grad, expected, arithmetic * largest + (2.0**-140 if real == "float32" else 0), dtype)
        self.within(result.weight_sum, total, 1e-12 * total, real)
        self.same(result.flags, poslabel.LossFlag.EMPTY if divisor == 0 else 0)

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
        loss, gradient = reference.regression(difference, kind, beta)
        loss, total, real = weights * loss, weights.sum(), "float64" if dtype == "float64" else "float32"
        divisor = total if given["normalizer"] is None else float(given["normalizer"])
        inverse = 1.0 if given["reduction"] != "mean" else 0.0 if divisor == 0 else 1 / divisor
        if given["reduction"] != "none":
            loss = loss.sum() * inverse
        gradient = (weights * upstream * inverse)[..., None] * gradient
        self.within(result.loss, loss, 1e-12 * np.abs(loss).max(initial=0), real)
        self.within(result.grad_predictions, gradient, 1e-12 * np.abs(gradient).max(initial=0), dtype)
        self.within(result.weight_sum, total, 1e-12 * total, real)
        self.same(result.flags, poslabel.LossFlag.EMPTY if divisor == 0 else 0)

    def needs_cblas(self):
        try:
            poslabel.linear_position_loss(np.zeros((1, 1)), np.zeros((1, 1)), positions=np.zeros(1, np.int64))
        except poslabel.UnsupportedError as error:
            self.skipTest(str(error))

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
        divisor = weights.sum() if given["normalizer"] is None else float(given["normalizer"])
        inverse = 1.0 if given["reduction"] != "mean" else 0.0 if divisor == 0 else 1 / divisor
        gradient = np.broadcast_to(np.abs(weights * upstream * inverse)[..., None], gradient.shape)
        flat = gradient.reshape(-1, classes)
        sizes = (gradient @ np.abs(weight), flat.T @ np.abs(wide.reshape(-1, channels)), flat.sum(0))
        for actual, value, size in zip(result[1:4], expected, sizes):
            self.within(actual, value, tolerance * size.max(initial=0), dtype)

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
        loss, grad, gradients = reference.mlp_position_loss(
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
        loss, grad, gradients = reference.mlp_position_loss(
            rows.reshape(-1, rows.shape[-1]), wide, how, labels, np.ones(batch * n * n), reduction
        )
        grad = grad.reshape(rows.shape)
        grads = [grad[..., :channels].sum(2), grad[..., -channels:].sum(1)]
        self.check_head(result, ["queries", "keys"], (loss, grads, gradients), layers, dtype)

    def case_scale_gradient(self, draw):
        dtype, shape = draw.one_of(FLOATS), (draw.size(0, 4), draw.size(1, 9), draw.size(0, 400))
        grad = draw.lay(draw.numbers(shape, dtype))
        rows = shape[:2] if draw.maybe() else ()
        real = "float64" if dtype == "float64" else "float32"
        scale = draw.numbers(rows, draw.one_of(("float32", "float64")), draw.one_of((1.0, 1e-3, 100.0)))
        expected = np.array(grad, np.float64) * scale.astype(real).astype(np.float64).reshape(rows + (1,) * bool(rows))
        poslabel.scale_gradient(grad, draw.lay(scale), context=draw.context())
        self.within(grad, expected, 2 * ROUNDING[real][0] * np.abs(expected), dtype)

    def case_sigma_schedule(self, draw):
        sigma, epoch, epochs = (float(number) for number in draw.rng.uniform(0, 300, 3))
        expected = max(0.0, (1 - epoch / epochs) * sigma)
        self.within(np.float64(poslabel.sigma_schedule(sigma, epoch, epochs)), expected, 1e-12, "float64")


def test_of(operation):
    """The test of an operation: calls of it, for SECONDS."""

    def test(self):
        case, end, number = getattr(self, f"case_{operation}"), time.monotonic() + SECONDS, 0
        while not number or time.monotonic() < end:
            try:
                with np.errstate(all="ignore"):
                    case(Draw([SEED, zlib.crc32(operation.encode()), number]))
            except unittest.SkipTest:
                raise
            except Exception as error:
                raise AssertionError(f"{operation}: call {number} with POSLABEL_SEED={SEED}: {error}") from error
            number += 1

    return test


for name in declared("operations"):
    setattr(Differential, f"test_{name}", test_of(name))


if __name__ == "__main__":
    unittest.main()
