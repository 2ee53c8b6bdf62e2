# SPDX-License-Identifier: Apache-2.0
"""The loss and the schedule of DropPos (poslabel/droppos.h)."""

from __future__ import annotations

import ctypes
from typing import Any, Optional, Tuple, Union

from ._call import Call, Operation
from ._values import flag, pair
from .context import Context
from .labels import NORMALIZATIONS
from .loss import REDUCTIONS, LossResult, loss_outputs

_LOSS = Operation("droppos_loss")
_SCHEDULE = Operation("sigma_schedule")


def droppos_loss(
    logits: Any,
    positions: Any,
    *,
    grid: Tuple[int, int],
    mask: Any = None,
    weights: Any = None,
    sigma: Any = 0.0,
    normalization: Union[str, int] = "row",
    confidence_filter: bool = False,
    reduction: Union[str, int] = "mean",
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
    """Cross-entropy of each visible patch against a Gaussian around its true position, with the gradient if asked for.

    logits             [B, V, N], or any [..., N], any float.
    positions          [B, V] ids in [0, N): ids_keep of droppos_masks().
    grid               (h, w), N = h * w.
    mask, weights      [B, V]: mask_pos of droppos_masks(), and attentive weights.
    sigma              in patches; 0 is one-hot. A number, or a float32 or float64 scalar on the device of the call.
    normalization      "row" (the paper's) or "reference" (the published code's).
    confidence_filter  leave out rows that the model already locates better than the target asks.
    The rest as position_cross_entropy().
    """
    call = Call(_LOSS)
    height, width = pair("droppos_loss", grid)
    rule = call.choice("normalization", NORMALIZATIONS, normalization)
    how = call.choice("reduction", REDUCTIONS, reduction)
    source = call.read("logits", logits)
    number, scalar = call.scalar("sigma", sigma)
    result = loss_outputs("droppos_loss: logits", logits, how, loss, grad_logits, accuracy, weight_sum, flags)
    call.run(
        context,
        height,
        width,
        rule,
        flag("droppos_loss", "confidence_filter", confidence_filter),
        how,
        source,
        call.read("positions", positions),
        call.read("mask", mask),
        call.read("weights", weights),
        number,
        grad_scale,
        call.read("grad_loss", grad_loss),
        call.read("normalizer", normalizer),
        call.write("loss", result.loss),
        call.write("grad_logits", result.grad_logits),
        call.write("accuracy", result.accuracy),
        call.write("weight_sum", result.weight_sum),
        call.write("flags", result.flags),
        scalar,
    )
    return result


def sigma_schedule(sigma_0: float, epoch: float, epochs: float, *, context: Optional[Context] = None) -> float:
    """sigma(epoch) = (1 - epoch / epochs) * sigma_0, never below 0."""
    sigma = ctypes.c_double()
    Call(_SCHEDULE).run(context, sigma_0, epoch, epochs, ctypes.addressof(sigma))
    return sigma.value
