# SPDX-License-Identifier: Apache-2.0
"""Regression of small vectors (poslabel/regression.h)."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Union

from ._call import Call, Operation, choices
from ._declarations import RegressionKind
from .context import Context
from .loss import REDUCTIONS, loss_outputs

_LOSS = Operation("regression_loss")
_KINDS = choices(RegressionKind)


class RegressionResult(NamedTuple):
    """Results of a regression; None for those not asked for. Scalars are arrays of rank 0."""

    loss: Any
    grad_predictions: Any
    weight_sum: Any
    flags: Any


def regression_loss(
    predictions: Any,
    targets: Any,
    *,
    kind: Union[str, int] = "l1",
    beta: float = 1.0,
    mask: Any = None,
    weights: Any = None,
    reduction: Union[str, int] = "mean",
    grad_scale: float = 1.0,
    grad_loss: Any = None,
    normalizer: Any = None,
    loss: Any = True,
    grad_predictions: Any = False,
    weight_sum: Any = False,
    flags: Any = False,
    context: Optional[Context] = None,
) -> RegressionResult:
    """L1, smooth L1 or mean squared error of rows of n numbers, with the gradient if asked for.

    predictions  [B, n], or any [..., n], any float.
    targets      the same shape, any float; nothing is broadcast.
    kind         "l1", "smooth_l1" or "mse". The loss of a row is the mean over its n elements.
    beta         where smooth L1 turns linear, > 0.
    mask         [...]: rows where it is 0 do not count.
    weights      [...]: of the rows, >= 0.
    The rest as position_cross_entropy().
    """
    call = Call(_LOSS)
    number = call.choice("kind", _KINDS, kind)
    how = call.choice("reduction", REDUCTIONS, reduction)
    source = call.read("predictions", predictions)
    outputs = loss_outputs(
        "regression_loss: predictions", predictions, how, loss, grad_predictions, False, weight_sum, flags
    )
    result = RegressionResult(outputs.loss, outputs.grad_logits, outputs.weight_sum, outputs.flags)
    call.run(
        context,
        number,
        how,
        source,
        call.read("targets", targets),
        call.read("mask", mask),
        call.read("weights", weights),
        beta,
        grad_scale,
        call.read("grad_loss", grad_loss),
        call.read("normalizer", normalizer),
        call.write("loss", result.loss),
        call.write("grad_predictions", result.grad_predictions),
        call.write("weight_sum", result.weight_sum),
        call.write("flags", result.flags),
    )
    return result
