# SPDX-License-Identifier: Apache-2.0
"""Counter-based random numbers (poslabel/random.h)."""

from __future__ import annotations

from typing import Sequence, Tuple

from ._declarations import Stream as Stream
from ._library import bind, ctypes
from ._values import integer, wrong

_Words = ctypes.c_uint32 * 4
_philox = bind("poslabel_philox", None, ctypes.c_uint64, _Words, _Words)
_random_below = bind("poslabel_random_below", ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32)
_random_unit = bind("poslabel_random_unit", ctypes.c_float, ctypes.c_uint32)


def philox(seed: int, counter: Sequence[int]) -> Tuple[int, int, int, int]:
    """One evaluation of Philox4x32-10: four 32-bit words from a 64-bit seed and a counter of four 32-bit numbers
    (image, draw, stream, step)."""
    try:
        numbers = tuple(counter)
    except Exception:
        numbers = ()
    if len(numbers) != 4:
        raise wrong("philox", "counter", counter, "four integers", types=not numbers)
    words = _Words(*(integer("philox", f"counter[{i}]", value, 0, 1 << 32) for i, value in enumerate(numbers)))
    _philox(integer("philox", "seed", seed, 0, 1 << 64), words, words)
    return tuple(words)  # type: ignore[return-value]


def random_below(word: int, n: int) -> int:
    """An integer in [0, n) from one 32-bit word; 0 for n = 0."""
    return _random_below(integer("random_below", "word", word, 0, 1 << 32), integer("random_below", "n", n, 0, 1 << 32))


def random_unit(word: int) -> float:
    """A float in [0, 1) from one 32-bit word."""
    return _random_unit(integer("random_unit", "word", word, 0, 1 << 32))
