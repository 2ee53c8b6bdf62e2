# SPDX-License-Identifier: Apache-2.0
"""What the differential test draws: sizes, layouts, dtypes, values, contexts; and what its cases share.

Sizes are small and odd, for that is where loops end; some are large enough for several threads.
"""

import functools

import numpy as np
import poslabel
import reference
from cases import TestCase

FLOATS = ("float16", "float32", "float64")
IDS = ("int32", "int64")
MASKS = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")
REDUCTIONS = ("mean", "sum", "none")

# The relative error of a rounding, and what is lost below the smallest normal number.
ROUNDING = {"float16": (2.0**-11, 2.0**-25), "float32": (2.0**-24, 2.0**-150), "float64": (2.0**-53, 0.0)}
ARITHMETIC = {"float16": 1e-5, "float32": 1e-5, "float64": 1e-12}
ALL_OUTPUTS = dict(grad_logits=True, accuracy=True, weight_sum=True, flags=True)


@functools.lru_cache(maxsize=None)
def contexts():
    """Contexts of every instruction set that this CPU has, with one thread and with several."""
    result = []
    for isa in poslabel.Isa:
        try:
            result += [poslabel.Context(threads=threads, isa=isa) for threads in (1, 2, 3)]
        except poslabel.UnsupportedError:
            pass
    return result


class Draw:
    """A source of random arguments; the same seed gives the same ones."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def one_of(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def maybe(self, probability=0.5):
        return bool(self.rng.random() < probability)

    def size(self, least, most):
        """Mostly a small one."""
        most = most if self.maybe(0.1) else min(most, least + 9)
        return int(self.rng.integers(least, most + 1))

    def grid(self, most=20):
        return self.size(1, most), self.size(1, most)

    def context(self):
        return self.one_of(contexts())

    def lay(self, array):
        """The same values in another layout: rows with gaps, images with gaps, one image for all, an odd address."""
        array = np.asarray(array)
        if not array.ndim or self.maybe(0.4):
            return array
        gaps = self.rng.integers(0, 4, array.ndim)
        if array.ndim > 2:
            gaps[1:-1] = 0  # the leading axes must fold into one
        place = np.zeros([size + gap for size, gap in zip(array.shape, gaps)], array.dtype)
        view = place[tuple(slice(gap, None) for gap in gaps)]
        view[...] = array
        return view

    def output(self, shape, dtype):
        """An array of that shape, full of numbers that must not be taken for results."""
        return self.lay(np.full(shape, 77, dtype))

    def numbers(self, shape, dtype, scale=1.0):
        return (self.rng.standard_normal(shape) * scale).astype(dtype)

    def logits(self, shape, dtype):
        """Logits of a fresh, a trained and a broken model: equal ones, nearly certain rows, huge values."""
        largest = {"float16": 2e4, "float32": 1e37, "float64": 1e300}[dtype]
        scale = self.one_of((0, 1e-3, 1, 1, 4, 30, 300, largest))
        logits = self.rng.standard_normal(shape) * scale
        if self.maybe(0.2):
            logits += self.one_of((-1e4, 1e3, 3e4))
        if self.maybe(0.3) and logits.size:
            logits[..., int(self.rng.integers(shape[-1]))] += 10 ** self.rng.uniform(-1, 2)
        return self.lay(np.clip(logits, -largest, largest).astype(dtype))

    def ids(self, limit, shape):
        return self.lay(self.rng.integers(0, limit, shape).astype(self.one_of(IDS)))

    def orders(self, batch, tokens, count):
        """[batch, count] different ids in each row."""
        rows = [self.rng.permutation(tokens)[:count] for _ in range(batch)]
        return np.array(rows, self.one_of(IDS)).reshape(batch, count)

    def mask(self, shape):
        chance = self.one_of((0.0, 0.3, 0.9, 1.0))
        return self.lay((self.rng.random(shape) < chance).astype(self.one_of(MASKS)))

    def weights(self, shape):
        unit = self.one_of((1e-4, 1.0, 1e3))
        weights = self.rng.random(shape) * unit * (self.rng.random(shape) < 0.8)
        return self.lay(weights.astype(self.one_of(FLOATS)))


class DifferentialCase(TestCase):
    """What the cases of several families share."""

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

    def drawn(self, draw, batch):
        """Arguments that say what is drawn for each image; the seed, the indices of the images and the step."""
        seed, step = int(draw.rng.integers(0, 1 << 63)) * 2 + 1, int(draw.rng.integers(0, 1 << 31))
        arguments = dict(seed=seed, step=np.int64(step) if draw.maybe() else step, context=draw.context())
        if draw.maybe():
            first = int(draw.rng.integers(0, (1 << 32) - batch))
            return dict(arguments, first_sample=first, batch=batch), seed, range(first, first + batch), step
        samples = draw.rng.integers(0, 1 << 56, batch)
        return dict(arguments, samples=draw.lay(samples)), seed, [int(sample) for sample in samples], step

    def columns(self, draw, array):
        """[B, D, N] seen as [B, N, D], as a convolution leaves it, or rows."""
        return np.ascontiguousarray(array.swapaxes(1, 2)).swapaxes(1, 2) if draw.maybe(0.4) else draw.lay(array)

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

    def divisor(self, given, weights):
        """What a mean is divided by."""
        return weights.sum() if given["normalizer"] is None else float(given["normalizer"])

    def inverse(self, given, weights):
        """What a sum over the rows is multiplied by."""
        divisor = self.divisor(given, weights)
        return 1.0 if given["reduction"] != "mean" else 0.0 if divisor == 0 else 1 / divisor

    def check_sum(self, result, given, weights, real):
        """The sum of the weights, and the flag of a mean over nothing."""
        self.within(result.weight_sum, weights.sum(), 1e-12 * weights.sum(), real)
        self.same(result.flags, poslabel.LossFlag.EMPTY if self.divisor(given, weights) == 0 else 0)

    def check_loss(self, result, given, weights, upstream, logits, targets, labels):
        """`logits` are in float64; the outputs have the dtypes of the call."""
        dtype, normalizer, reduction = result.grad_logits.dtype.name, given["normalizer"], given["reduction"]
        real, arithmetic = ("float64" if dtype == "float64" else "float32"), ARITHMETIC[dtype]
        rows, *_ = reference.row_loss(logits, targets, labels, np.ones(labels.size), "none", np.ones(labels.size))
        loss, gradient, accuracy, _ = reference.row_loss(
            logits, targets, labels, weights.reshape(-1), reduction, upstream, normalizer
        )
        inverse = self.inverse(given, weights)
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
        self.within(result.accuracy, accuracy, 1e-12 * abs(accuracy), real)
        self.check_sum(result, given, weights, real)

    def needs_cblas(self):
        try:
            poslabel.linear_position_loss(np.zeros((1, 1)), np.zeros((1, 1)), positions=np.zeros(1, np.int64))
        except poslabel.UnsupportedError as error:
            self.skipTest(str(error))
