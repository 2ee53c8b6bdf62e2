# SPDX-License-Identifier: Apache-2.0
"""Pairs of cells, what lies between them, and their features (poslabel/pairs.h)."""

from __future__ import annotations

from typing import Any, Optional, Tuple, Union

from ._call import Call, Operation, choices
from ._declarations import PairKind
from ._values import flag, integer, pair, patches, wrong
from .context import Context
from .framework import framework_like, framework_of, make

_PAIR_KINDS = choices(PairKind)

_PAIRS = Operation("cell_pairs")
_OFFSETS = Operation("cell_offsets")


def cell_pairs(
    grid: Tuple[int, int],
    pairs: Optional[int] = None,
    *,
    kind: Union[str, int] = "random",
    batch: Optional[int] = None,
    seed: int = 0,
    first_sample: int = 0,
    samples: Any = None,
    step: Any = None,
    cells: Any = True,
    dtype: Any = "int64",
    like: Any = None,
    context: Optional[Context] = None,
) -> Any:
    """Pairs of cells for dense relative localisation: cells[b, i] = (a, b), with index y * w + x for cell (y, x).

    grid          (h, w).
    pairs         m, where cells does not give it; the default is 64, and h * w for "all".
    kind          "random": every coordinate of every cell is uniform. "all": each cell once as a, in order, and a
                  random permutation as b.
    step          a new number for every batch, the iteration say, or an int32 or int64 scalar on the device of the
                  call. It must be given: seed, the index of an image and step alone decide what is drawn.
    seed          give each scale of a network its own.
    batch         B, where neither samples nor cells gives it.
    first_sample  the index of the first image in the whole batch, when that is split over ranks.
    samples       [B], int32 or int64, in [0, 2^56): the index of each image in place of first_sample + b.
    cells         out, [B, m, 2], int32 or int64; made when not given, of `dtype` and in the framework of `like` (a
                  tensor, or the module torch; None: that of samples, else NumPy).
    """
    name = "cell_pairs"
    call = Call(_PAIRS)
    height, width = pair(name, grid)
    number_of_kind = call.choice("kind", _PAIR_KINDS, kind)
    if step is None:
        raise wrong(name, "step", None, "an integer in [0, 2^32), for instance the iteration", types=True)
    if cells is True:
        if pairs is None:
            pairs = patches(name, height, width) if number_of_kind == PairKind.ALL else 64
        if batch is None:
            if samples is None:
                rule = "an integer in [0, 2^32) where neither samples nor cells is given"
                raise wrong(name, "batch", None, rule, types=True)
            what = f"{name}: samples"
            batch = (*framework_of(what, samples).shape(samples, what), 0)[0]
        like = samples if like is None else like
        shape = (integer(name, "batch", batch, 0, 1 << 32), integer(name, "pairs", pairs, 0, 1 << 31), 2)
        cells = make(framework_like(name, like), name, "cells", like, shape, dtype, "dtype")
    number, scalar = call.scalar("step", step)
    call.run(
        context,
        height,
        width,
        seed,
        first_sample,
        number,
        number_of_kind,
        call.read("samples", samples),
        scalar,
        call.write("cells", cells),
    )
    return cells


def cell_offsets(
    cells: Any,
    grid: Tuple[int, int],
    *,
    absolute: bool = False,
    normalized: bool = False,
    offsets: Any = True,
    dtype: Any = None,
    context: Optional[Context] = None,
) -> Any:
    """The offset a - b of each pair of cells for each axis, the rows (y) first.

    cells       [..., 2], int32 or int64, as cell_pairs() gives them.
    grid        (h, w).
    absolute    False: a - b + side - 1, a class in [0, 2 (side - 1)]. True: |a - b|.
    normalized  divides by the largest of these, 2 (side - 1) or side - 1.
    offsets     out, [..., 2], int32, int64 (not normalized) or any float; made when not given, of `dtype` (None: int64,
                or float32 where normalized).
    """
    name = "cell_offsets"
    call = Call(_OFFSETS)
    source = call.read("cells", cells)
    height, width = pair(name, grid)
    flags = flag(name, "absolute", absolute), flag(name, "normalized", normalized)
    if offsets is True:
        framework = framework_of(f"{name}: cells", cells)
        shape = tuple(framework.shape(cells, f"{name}: cells"))
        wanted = ("float32" if flags[1] else "int64") if dtype is None else dtype
        offsets = make(framework, name, "offsets", cells, shape, wanted, "dtype")
    call.run(context, height, width, *flags, source, call.write("offsets", offsets))
    return offsets
