# SPDX-License-Identifier: Apache-2.0
"""Heads with a hidden layer, on tokens or on pairs, and their position cross-entropy (poslabel/mlp.h)."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple, Union

from ._call import Call, Operation
from ._values import flag, pair, wrong
from .context import Context
from .framework import framework_of
from .loss import REDUCTIONS, loss_outputs
from .position import LABEL_KINDS

ACTIVATIONS = {"gelu": 0, "gelu_tanh": 1, "relu": 2}

_PARAMETERS = ("hidden_weight", "hidden_bias", "middle_weight", "middle_bias", "weight", "bias")


class MlpLossResult(NamedTuple):
    """Results of mlp_position_loss(); None for those not asked for. Scalars are arrays of rank 0."""

    loss: Any
    grad_features: Any
    grad_hidden_weight: Any
    grad_hidden_bias: Any
    grad_middle_weight: Any
    grad_middle_bias: Any
    grad_weight: Any
    grad_bias: Any
    accuracy: Any
    weight_sum: Any
    flags: Any


class PairLossResult(NamedTuple):
    """Results of pair_position_loss(); None for those not asked for. Scalars are arrays of rank 0."""

    loss: Any
    grad_queries: Any
    grad_keys: Any
    grad_hidden_weight: Any
    grad_hidden_bias: Any
    grad_middle_weight: Any
    grad_middle_bias: Any
    grad_weight: Any
    grad_bias: Any
    accuracy: Any
    weight_sum: Any
    flags: Any


def _made(operation: str, accumulate: bool, values: Tuple[Any, ...], weights: Tuple[Any, ...]) -> Tuple[Any, ...]:
    """The gradients of the parameters `values`: True is replaced by fresh memory, False by None."""
    result = []
    for i, (name, output) in enumerate(zip(_PARAMETERS, values)):
        if output is True:
            if accumulate:
                raise wrong(operation, "grad_" + name, True, "a tensor to add to, as accumulate is True")
            matrix = weights[i // 2]
            if matrix is None:
                raise wrong(operation, "grad_" + name, True, f"False, as {_PARAMETERS[i // 2 * 2]} is None")
            framework = framework_of(f"{operation}: {name}", matrix)
            shape = tuple(framework.shape(matrix, f"{operation}: {name}"))
            output = framework.empty(
                matrix, (1, 1, *shape)[-2:-1] if i % 2 else shape, framework.dtype_of(matrix)
            )
        result.append(None if output is False else output)
    return tuple(result)


_MLP = Operation("mlp_position_loss")
_PAIR = Operation("pair_position_loss")


def mlp_position_loss(
    features: Any,
    weight: Any,
    bias: Any = None,
    positions: Any = None,
    *,
    hidden_weight: Any = None,
    hidden_bias: Any = None,
    middle_weight: Any = None,
    middle_bias: Any = None,
    activation: Union[str, int] = "gelu",
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
    grad_hidden_weight: Any = False,
    grad_hidden_bias: Any = False,
    grad_middle_weight: Any = False,
    grad_middle_bias: Any = False,
    grad_weight: Any = False,
    grad_bias: Any = False,
    accuracy: Any = False,
    weight_sum: Any = False,
    flags: Any = False,
    context: Optional[Context] = None,
) -> MlpLossResult:
    """position_cross_entropy() of an MLP on each row of features, and all its gradients, without its logits.

    features        [..., D], any float.
    hidden_weight, hidden_bias
                    [H, D] and [H]; None: no such layer, H = D.
    activation      "gelu", "gelu_tanh" or "relu", after the hidden layer.
    middle_weight, middle_bias
                    [M, H] and [M]; None: no such layer, M = H.
    weight, bias    [C, M] and [C], the layer that gives the logits. Biases may be None.
    accumulate      True: the gradients of parameters, which must be given as tensors, are added to.
    workspace_limit bytes; 0: the library's default of 64 MiB.
    loss, grad_*, accuracy, weight_sum, flags
                    out: True makes one, False leaves it out, a tensor is written to. Made gradients have the dtypes of
                    what they are gradients of, scalars are float32 (float64 for float64 features), flags int32.

    The rest as position_cross_entropy(), with rows of features in place of rows of logits.
    """
    call = Call(_MLP)
    height, width = (0, 0) if grid is None else pair("mlp_position_loss", grid)
    if labels is None:
        kind = 0 if positions is None else 2
    else:
        kind = call.choice("labels", LABEL_KINDS, labels)
    how = call.choice("reduction", REDUCTIONS, reduction)
    function = call.choice("activation", ACTIVATIONS, activation)
    adds = flag("mlp_position_loss", "accumulate", accumulate)
    source = call.read("features", features)
    scalars = loss_outputs("mlp_position_loss: features", features, how, loss, grad_features, accuracy, weight_sum, flags)
    result = MlpLossResult(
        scalars.loss,
        scalars.grad_logits,
        *_made(
            "mlp_position_loss",
            adds,
            (grad_hidden_weight, grad_hidden_bias, grad_middle_weight, grad_middle_bias, grad_weight, grad_bias),
            (hidden_weight, middle_weight, weight),
        ),
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
        function,
        adds,
        source,
        call.read("hidden_weight", hidden_weight),
        call.read("hidden_bias", hidden_bias),
        call.read("middle_weight", middle_weight),
        call.read("middle_bias", middle_bias),
        call.read("weight", weight),
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
        *(call.write(name, output) for name, output in zip(result._fields, result)),
    )
    return result


def pair_position_loss(
    queries: Any,
    keys: Any,
    weight: Any,
    bias: Any = None,
    *,
    grid: Tuple[int, int],
    hidden_weight: Any = None,
    hidden_bias: Any = None,
    middle_weight: Any = None,
    middle_bias: Any = None,
    activation: Union[str, int] = "gelu",
    reduction: Union[str, int] = "mean",
    accumulate: bool = False,
    label_smoothing: float = 0.0,
    grad_scale: float = 1.0,
    grad_loss: Any = None,
    normalizer: Any = None,
    workspace_limit: int = 0,
    loss: Any = True,
    grad_queries: Any = False,
    grad_keys: Any = False,
    grad_hidden_weight: Any = False,
    grad_hidden_bias: Any = False,
    grad_middle_weight: Any = False,
    grad_middle_bias: Any = False,
    grad_weight: Any = False,
    grad_bias: Any = False,
    accuracy: Any = False,
    weight_sum: Any = False,
    flags: Any = False,
    context: Optional[Context] = None,
) -> PairLossResult:
    """The cross-entropy of relative positional labels of an MLP on all pairs of tokens, which are never concatenated.

    queries, keys   [B, N, Q] and [B, N, K], any float: x[..., : D // 2] and x[..., D // 2 :] for the published head.
    grid            (h, w) with N = h w and C = (2 h - 1)(2 w - 1).
    hidden_weight   [H, Q + K]; None: queries and keys are added, H = Q = K.
    reduction       "mean" or "sum".

    The rest as mlp_position_loss().
    """
    call = Call(_PAIR)
    height, width = pair("pair_position_loss", grid)
    how = call.choice("reduction", REDUCTIONS, reduction)
    function = call.choice("activation", ACTIVATIONS, activation)
    adds = flag("pair_position_loss", "accumulate", accumulate)
    sides = call.read("queries", queries), call.read("keys", keys)
    scalars = loss_outputs("pair_position_loss: queries", queries, 0, loss, grad_queries, accuracy, weight_sum, flags)
    if grad_keys is True:
        grad_keys = framework_of("pair_position_loss: keys", keys).empty_like(keys)
    result = PairLossResult(
        scalars.loss,
        scalars.grad_logits,
        None if grad_keys is False else grad_keys,
        *_made(
            "pair_position_loss",
            adds,
            (grad_hidden_weight, grad_hidden_bias, grad_middle_weight, grad_middle_bias, grad_weight, grad_bias),
            (hidden_weight, middle_weight, weight),
        ),
        scalars.accuracy,
        scalars.weight_sum,
        scalars.flags,
    )
    call.run(
        context,
        height,
        width,
        how,
        function,
        adds,
        *sides,
        call.read("hidden_weight", hidden_weight),
        call.read("hidden_bias", hidden_bias),
        call.read("middle_weight", middle_weight),
        call.read("middle_bias", middle_bias),
        call.read("weight", weight),
        call.read("bias", bias),
        label_smoothing,
        grad_scale,
        call.read("grad_loss", grad_loss),
        call.read("normalizer", normalizer),
        workspace_limit,
        *(call.write(name, output) for name, output in zip(result._fields, result)),
    )
    return result
