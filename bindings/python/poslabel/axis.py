# SPDX-License-Identifier: Apache-2.0
"""The per-axis losses of dense relative localisation (poslabel/axis.h)."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Union

from ._call import Call, Operation, choices
from ._declarations import AxisLossKind
from ._values import wrong
from .context import Context
from .framework import framework_of
from .loss import REDUCTIONS

KINDS = choices(AxisLossKind)

# The tensors of the logits, by whether they are a pair.
_NAMES = {False: ("logits",), True: ("logits_y", "logits_x")}

_OPERATION = Operation("axis_loss")


class AxisLossResult(NamedTuple):
    """Results of axis_loss(); None for those not asked for. grad_logits is a pair where the logits are one."""

    loss: Any
    grad_logits: Any
    weight_sum: Any
    flags: Any


def _pair(name: str, value: Any) -> Any:
    """Both tensors of a pair, which is a tuple or a list."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise wrong("axis_loss", name, value, "a pair of tensors (y, x)", types=not isinstance(value, (tuple, list)))
    return tuple(value)


def axis_loss(
    logits: Any,
    targets: Any,
    *,
    kind: Union[str, int] = "cross_entropy",
    mask: Any = None,
    weights: Any = None,
    reduction: Union[str, int] = "mean",
    grad_scale: float = 1.0,
    grad_loss: Any = None,
    normalizer: Any = None,
    loss: Any = True,
    grad_logits: Any = False,
    weight_sum: Any = False,
    flags: Any = False,
    context: Optional[Context] = None,
) -> AxisLossResult:
    """The loss of each pair of cells: the sum of those of its offsets along both axes, with the gradient if asked for.

    logits       [..., n, 2], any float and any strides; or a pair (y, x) of [..., n_y] and [..., n_x].
    targets      [..., 2] ids (y, x), each in [0, n of its axis).
    kind         "cross_entropy" or "cycle_back".
    mask, weights, reduction, grad_scale, grad_loss, normalizer
                 as position_cross_entropy().
    grad_logits  as logits: a tensor, or a pair.
    loss, weight_sum, flags
                 as position_cross_entropy().
    """
    call = Call(_OPERATION)
    what = call.choice("kind", KINDS, kind)
    how = call.choice("reduction", REDUCTIONS, reduction)
    paired = isinstance(logits, (tuple, list))
    both = _pair("logits", logits) if paired else (logits,)
    sources = [call.read(name, source) for name, source in zip(_NAMES[paired], both)]
    if loss is True or grad_logits is True or weight_sum is True or flags is True:
        name = f"axis_loss: {_NAMES[paired][0]}"
        framework = framework_of(name, both[0])
        real = framework.real(both[0])
        if loss is True:
            rows = framework.shape(both[0], name)[: -1 if paired else -2] if how == 2 else ()
            loss = framework.empty(both[0], rows, real)
        if grad_logits is True:
            grads = tuple(
                framework_of(f"axis_loss: {name}", source).empty_like(source)
                for name, source in zip(_NAMES[paired], both)
            )
            grad_logits = grads if paired else grads[0]
        if weight_sum is True:
            weight_sum = framework.empty(both[0], (), real)
        if flags is True:
            flags = framework.empty(both[0], (), "int32")
    result = AxisLossResult(
        None if loss is False else loss,
        None if grad_logits is False else grad_logits,
        None if weight_sum is False else weight_sum,
        None if flags is False else flags,
    )
    grads = result.grad_logits
    grads = (None,) * len(both) if grads is None else _pair("grad_logits", grads) if paired else (grads,)
    given = dict(zip(_NAMES[paired], sources))
    wanted = {f"grad_{name}": grad for name, grad in zip(_NAMES[paired], grads)}
    call.run(
        context,
        what,
        how,
        *(given.get(name, 0) for name in ("logits", "logits_y", "logits_x")),
        call.read("targets", targets),
        call.read("mask", mask),
        call.read("weights", weights),
        grad_scale,
        call.read("grad_loss", grad_loss),
        call.read("normalizer", normalizer),
        call.write("loss", result.loss),
        *(call.write(name, wanted.get(name)) for name in ("grad_logits", "grad_logits_y", "grad_logits_x")),
        call.write("weight_sum", result.weight_sum),
        call.write("flags", result.flags),
    )
    return result
