# SPDX-License-Identifier: Apache-2.0
"""What the differential test draws: sizes, layouts, dtypes, values, contexts.

Sizes are small and odd, for that is where loops end; some are large enough for several threads.
"""

import functools

import numpy as np
import poslabel

FLOATS = ("float16", "float32", "float64")
IDS = ("int32", "int64")
MASKS = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")
REDUCTIONS = ("mean", "sum", "none")
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
