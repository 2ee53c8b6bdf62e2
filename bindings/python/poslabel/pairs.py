# SPDX-License-Identifier: Apache-2.0
"""Pairs of cells, what lies between them, and their features (poslabel/pairs.h)."""

from __future__ import annotations

from typing import Any, Optional, Tuple, Union

from ._call import Call, Operation, choices
from ._declarations import PairKind
from ._values import flag, integer, pair, patches, wrong
from .context import Context
from .framework import framework_like, framework_of, last_sizes, make

_PAIR_KINDS = choices(PairKind)

_PAIRS = Operation("cell_pairs")
_OFFSETS = Operation("cell_offsets")
_FEATURES = Operation("pair_features")
_BACKWARD = Operation("pair_features_backward")


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


def pair_features(features: Any, cells: Any, *, pairs: Any = True, context: Optional[Context] = None) -> Any:
    """pairs[b, i] = concat(features[b, cells[b, i, 0]], features[b, cells[b, i, 1]]).

    features  [B, N, C], float16, bfloat16, float32 or float64, of any strides: maps [B, C, h, w] are passed without a
              copy as maps.reshape(B, C, h * w).swapaxes(1, 2), and tokens behind P prefix tokens as tokens[:, P:].
    cells     [B, m, 2] ids in [0, N), as cell_pairs() gives them.
    pairs     out, [B, m, 2 C]; made when not given.
    """
    name = "pair_features"
    call = Call(_FEATURES)
    source = call.read("features", features)
    if pairs is True:
        batch, _, channels = last_sizes(f"{name}: features", features, 3)
        count = 0 if cells is None else last_sizes(f"{name}: cells", cells, 2)[0]
        framework = framework_of(f"{name}: features", features)
        shape = (batch, count, 2 * channels)
        pairs = make(framework, name, "pairs", features, shape, framework.dtype_of(features), "dtype")
    call.run(context, source, call.read("cells", cells), call.write("pairs", pairs))
    return pairs


def pair_features_backward(
    grad_pairs: Any,
    cells: Any,
    *,
    count: Optional[int] = None,
    grad_features: Any = True,
    context: Optional[Context] = None,
) -> Any:
    """The gradient of pair_features(), with the same cells.

    grad_pairs     [B, m, 2 C], float16, bfloat16, float32 or float64.
    cells          [B, m, 2] ids in [0, N).
    count          N; must be given where grad_features is not.
    grad_features  out, [B, N, C], of any strides, overwritten; made when not given.
    """
    name = "pair_features_backward"
    call = Call(_BACKWARD)
    source = call.read("grad_pairs", grad_pairs)
    if grad_features is True:
        batch, _, both = last_sizes(f"{name}: grad_pairs", grad_pairs, 3)
        if count is None:
            raise wrong(name, "count", None, "an integer in [0, 2^31) where grad_features is not given", types=True)
        framework = framework_of(f"{name}: grad_pairs", grad_pairs)
        shape = (batch, integer(name, "count", count, 0, 1 << 31), both // 2)
        grad_features = make(
            framework, name, "grad_features", grad_pairs, shape, framework.dtype_of(grad_pairs), "dtype"
        )
    call.run(context, source, call.read("cells", cells), call.write("grad_features", grad_features))
    return grad_features
