# SPDX-License-Identifier: Apache-2.0
"""Positional labels as tensors (poslabel/labels.h)."""

from __future__ import annotations

from typing import Any, Optional, Tuple, Union

from ._call import Call, Operation, choices
from ._declarations import Normalization
from ._values import integer, pair, patches, wrong
from .context import Context
from .framework import framework_like, make

NORMALIZATIONS = choices(Normalization)

_ABSOLUTE = Operation("absolute_labels")
_RELATIVE = Operation("relative_labels")
_SMOOTHING_MAP = Operation("smoothing_map")


def _made(operation: str, argument: str, grid: Tuple[int, int], rank: int, batch: Any, dtype: Any, like: Any) -> Any:
    """Fresh memory of `rank` sizes N, after those of `batch`."""
    if isinstance(batch, (list, str)):
        raise wrong(operation, "batch", batch, "an integer or a tuple of integers", types=True)
    sizes = batch if isinstance(batch, tuple) else (batch,)
    leading = [integer(operation, "batch", size, 0, 1 << 63) for size in sizes]
    shape = (*leading, *[patches(operation, *grid)] * rank)
    return make(framework_like(operation, like), operation, argument, like, shape, dtype, "dtype")


def absolute_labels(
    grid: Tuple[int, int],
    *,
    batch: Union[int, Tuple[int, ...]] = (),
    labels: Any = True,
    dtype: Any = "int64",
    like: Any = None,
    context: Optional[Context] = None,
) -> Any:
    """The label of position n is n.

    grid    (h, w), N = h * w.
    batch   leading sizes of the result.
    labels  out, [..., N], int32 or int64; made when not given, of `dtype` and in the framework of `like` (a tensor, or
            the module torch; None: NumPy).
    """
    call = Call(_ABSOLUTE)
    height, width = grid = pair("absolute_labels", grid)
    if labels is True:
        labels = _made("absolute_labels", "labels", grid, 1, batch, dtype, like)
    call.run(context, height, width, call.write("labels", labels))
    return labels


def relative_labels(
    grid: Tuple[int, int],
    *,
    batch: Union[int, Tuple[int, ...]] = (),
    labels: Any = True,
    dtype: Any = "int64",
    like: Any = None,
    context: Optional[Context] = None,
) -> Any:
    """label(i, j) = (y_i - y_j + h - 1) * (2 w - 1) + (x_i - x_j + w - 1) for all pairs of positions.

    labels  out, [..., N, N], int32 or int64; the rest as absolute_labels().
    """
    call = Call(_RELATIVE)
    height, width = grid = pair("relative_labels", grid)
    if labels is True:
        labels = _made("relative_labels", "labels", grid, 2, batch, dtype, like)
    call.run(context, height, width, call.write("labels", labels))
    return labels


def smoothing_map(
    grid: Tuple[int, int],
    sigma: Any,
    *,
    normalization: Union[str, int] = "row",
    map: Any = True,
    dtype: Any = "float32",
    like: Any = None,
    context: Optional[Context] = None,
) -> Any:
    """The position smoothing map of DropPos, a Gaussian around each position.

    grid           (h, w), N = h * w.
    sigma          patches; 0 gives the identity. A number, or a float32 or float64 scalar on the device of the call.
    normalization  "row" (the paper's) or "reference" (the published code's).
    map            out, [N, N], any float; made when not given, of `dtype` and in the framework of `like`.
    """
    call = Call(_SMOOTHING_MAP)
    height, width = grid = pair("smoothing_map", grid)
    if map is True:
        map = _made("smoothing_map", "map", grid, 2, (), dtype, like)
    rule = call.choice("normalization", NORMALIZATIONS, normalization)
    number, scalar = call.scalar("sigma", sigma)
    call.run(context, height, width, number, rule, call.write("map", map), scalar)
    return map
