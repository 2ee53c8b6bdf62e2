# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy against positional labels (poslabel/position.h)."""

from __future__ import annotations

from typing import Any, Optional, Tuple, Union

from ._call import Call, Operation, choices
from ._declarations import LabelKind
from ._values import pair
from .context import Context
from .loss import REDUCTIONS, LossResult, loss_outputs

LABEL_KINDS = choices(LabelKind)

_OPERATION = Operation("position_cross_entropy")


def position_cross_entropy(
    logits: Any,
    positions: Any = None,
    *,
    grid: Optional[Tuple[int, int]] = None,
    labels: Union[str, int, None] = None,
    mask: Any = None,
    weights: Any = None,
    reduction: Union[str, int] = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    grad_scale: float = 1.0,
    grad_loss: Any = None,
    normalizer: Any = None,
    loss: Any = True,
    grad_logits: Any = False,
    accuracy: Any = False,
    weight_sum: Any = False,
    flags: Any = False,
    context: Optional[Context] = None,
) -> LossResult:
    """The losses of Absolute and Relative Positional Label, with the gradient where asked for.

    logits          [..., C], any float.
    positions       [...] ids in [0, C), for explicit labels; rows of ignore_index do not count.
    grid            (h, w), N = h * w; not used with explicit labels.
    labels          "absolute" (logits [..., N, N], row n has label n), "relative" (logits [..., N, N, C], the pairs in
                    the order of relative_labels()) or "explicit"; None: explicit where positions are given, else
                    absolute.
    mask, weights   [...]: which rows count, and how much.
    reduction       "mean", "sum" or "none".
    grad_scale, grad_loss   the upstream gradient as a number and as a float32 or float64 tensor.
    normalizer      a scalar in place of the weight sum.
    loss, grad_logits, accuracy, weight_sum, flags
                    out: True makes one, False leaves it out, a tensor is written to; grad_logits may be logits. Made
                    scalars are float32 (float64 for float64 logits), flags int32.
    """
    call = Call(_OPERATION)
    height, width = (0, 0) if grid is None else pair("position_cross_entropy", grid)
    if labels is None:
        kind = 0 if positions is None else 2
    else:
        kind = call.choice("labels", LABEL_KINDS, labels)
    how = call.choice("reduction", REDUCTIONS, reduction)
    source = call.read("logits", logits)
    result = loss_outputs("position_cross_entropy: logits", logits, how, loss, grad_logits, accuracy, weight_sum, flags)
    call.run(
        context,
        height,
        width,
        kind,
        how,
        source,
        call.read("positions", positions),
        call.read("mask", mask),
        call.read("weights", weights),
        ignore_index,
        label_smoothing,
        grad_scale,
        call.read("grad_loss", grad_loss),
        call.read("normalizer", normalizer),
        call.write("loss", result.loss),
        call.write("grad_logits", result.grad_logits),
        call.write("accuracy", result.accuracy),
        call.write("weight_sum", result.weight_sum),
        call.write("flags", result.flags),
    )
    return result
