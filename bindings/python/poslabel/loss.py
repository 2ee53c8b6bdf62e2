# SPDX-License-Identifier: Apache-2.0
"""What all losses have in common (poslabel/loss.h)."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from ._call import Call, Operation, choices
from ._declarations import LossFlag as LossFlag
from ._declarations import Reduction
from ._values import wrong
from .context import Context
from .framework import framework_of

REDUCTIONS = choices(Reduction)


class LossResult(NamedTuple):
    """Results of a loss; None for those not asked for. Scalars are arrays of rank 0."""

    loss: Any
    grad_logits: Any
    accuracy: Any
    weight_sum: Any
    flags: Any


def loss_outputs(
    name: str,
    logits: Any,
    reduction: int,
    loss: Any,
    grad_logits: Any,
    accuracy: Any,
    weight_sum: Any,
    flags: Any,
) -> LossResult:
    """The outputs of a loss: True is replaced by fresh memory, False by None."""
    if loss is True or grad_logits is True or accuracy is True or weight_sum is True or flags is True:
        framework = framework_of(name, logits)
        real = framework.real(logits)
        if loss is True:
            loss = framework.empty(logits, framework.shape(logits, name)[:-1] if reduction == 2 else (), real)
        if grad_logits is True:
            grad_logits = framework.empty_like(logits)
        if accuracy is True:
            accuracy = framework.empty(logits, (), real)
        if weight_sum is True:
            weight_sum = framework.empty(logits, (), real)
        if flags is True:
            flags = framework.empty(logits, (), "int32")
    return LossResult(
        None if loss is False else loss,
        None if grad_logits is False else grad_logits,
        None if accuracy is False else accuracy,
        None if weight_sum is False else weight_sum,
        None if flags is False else flags,
    )


_SCALE = Operation("scale_gradient")


def scale_gradient(grad: Any, scale: Any, *, context: Optional[Context] = None) -> Any:
    """grad *= scale in place; nothing is touched when the scale is 1. Returns grad.

    grad   in and out, any shape and float.
    scale  a number or a float32 or float64 scalar; or one for each row, in the leading shape of grad.

    The gradient was rounded to its dtype before: where it is float16, small entries are 0 already, and a large scale
    does not bring them back. So give the scale to the loss, as grad_loss or grad_scale, where that is possible.
    """
    if grad is None:
        rule = "a tensor; a gradient scaled in place serves one backward pass, so compute it again for a second one"
        raise wrong("scale_gradient", "grad", grad, rule, types=True)
    call = Call(_SCALE)
    call.run(context, call.write("grad", grad), call.read("scale", scale))
    return grad
