# SPDX-License-Identifier: Apache-2.0
"""A linear head and its position cross-entropy in one call (poslabel/linear.h)."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple, Union

from ._call import Call, Operation
from ._values import flag, pair, wrong
from .context import Context
from .framework import framework_of
from .loss import REDUCTIONS, loss_outputs
from .position import LABEL_KINDS


class LinearLossResult(NamedTuple):
    """Results of linear_position_loss(); None for those not asked for. Scalars are arrays of rank 0."""

    loss: Any
    grad_features: Any
    grad_weight: Any
    grad_bias: Any
    accuracy: Any
    weight_sum: Any
    flags: Any


_OPERATION = Operation("linear_position_loss")


def linear_position_loss(
    features: Any,
    weight: Any,
    bias: Any = None,
    positions: Any = None,
    *,
    grid: Optional[Tuple[int, int]] = None,
    labels: Union[str, int, None] = None,
    mask: Any = None,
    weights: Any = None,
    reduction: Union[str, int] = "mean",
    accumulate: bool = False,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    grad_scale: float = 1.0,
    grad_loss: Any = None,
    normalizer: Any = None,
    workspace_limit: int = 0,
    loss: Any = True,
    grad_features: Any = False,
    grad_weight: Any = False,
    grad_bias: Any = False,
    accuracy: Any = False,
    weight_sum: Any = False,
    flags: Any = False,
    context: Optional[Context] = None,
) -> LinearLossResult:
    """position_cross_entropy() of features @ weight.T + bias, whose logits never exist as a whole, and its gradients.

    features        [..., D], any float.
    weight, bias    [C, D], dtype of features; [C], the same or float32, or None.
    accumulate      True: grad_weight and grad_bias, which must be given as tensors, are added to.
    workspace_limit bytes; 0: the library's default of 64 MiB.
    loss, grad_features, grad_weight, grad_bias, accuracy, weight_sum, flags
                    out: True makes one, False leaves it out, a tensor is written to. Made gradients have the dtypes of
                    features and weight, scalars are float32 (float64 for float64 features), flags int32.

    The rest as position_cross_entropy(), with rows of features in place of rows of logits.
    """
    call = Call(_OPERATION)
    height, width = (0, 0) if grid is None else pair("linear_position_loss", grid)
    if labels is None:
        kind = 0 if positions is None else 2
    else:
        kind = call.choice("labels", LABEL_KINDS, labels)
    how = call.choice("reduction", REDUCTIONS, reduction)
    adds = flag("linear_position_loss", "accumulate", accumulate)
    if adds and (grad_weight is True or grad_bias is True):
        name = "grad_weight" if grad_weight is True else "grad_bias"
        raise wrong("linear_position_loss", name, True, "a tensor to add to, as accumulate is True")
    source = call.read("features", features)
    matrix = call.read("weight", weight)
    scalars = loss_outputs(
        "linear_position_loss: features", features, how, loss, grad_features, accuracy, weight_sum, flags
    )
    if grad_weight is True or grad_bias is True:
        framework = framework_of("linear_position_loss: weight", weight)
        shape, dtype = tuple(framework.shape(weight, "linear_position_loss: weight")), framework.dtype_of(weight)
        if grad_weight is True:
            grad_weight = framework.empty(weight, shape, dtype)
        if grad_bias is True:
            grad_bias = framework.empty(weight, (1, 1, *shape)[-2:-1], dtype)
    result = LinearLossResult(
        scalars.loss,
        scalars.grad_logits,
        None if grad_weight is False else grad_weight,
        None if grad_bias is False else grad_bias,
        scalars.accuracy,
        scalars.weight_sum,
        scalars.flags,
    )
    call.run(
        context,
        height,
        width,
        kind,
        how,
        adds,
        source,
        matrix,
        call.read("bias", bias),
        call.read("positions", positions),
        call.read("mask", mask),
        call.read("weights", weights),
        ignore_index,
        label_smoothing,
        grad_scale,
        call.read("grad_loss", grad_loss),
        call.read("normalizer", normalizer),
        workspace_limit,
        call.write("loss", result.loss),
        call.write("grad_features", result.grad_features),
        call.write("grad_weight", result.grad_weight),
        call.write("grad_bias", result.grad_bias),
        call.write("accuracy", result.accuracy),
        call.write("weight_sum", result.weight_sum),
        call.write("flags", result.flags),
    )
    return result
