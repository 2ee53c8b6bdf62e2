# SPDX-License-Identifier: Apache-2.0
"""What goes into MAE's decoder, and its gradient (poslabel/decoder.h)."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from ._call import Call, Operation
from ._values import integer, wrong
from .context import Context
from .framework import framework_of, last_sizes, make

_FORWARD = Operation("decoder_tokens")
_BACKWARD = Operation("decoder_tokens_backward")


class DecoderTokensGradients(NamedTuple):
    """Results of decoder_tokens_backward(); None for those not asked for."""

    grad_x: Any
    grad_mask_token: Any
    grad_pos_embed: Any


def decoder_tokens(
    x: Any,
    ids_restore: Any,
    *,
    prefix_count: int = 0,
    mask_token: Any = None,
    pos_embed: Any = None,
    out: Any = True,
    context: Optional[Context] = None,
) -> Any:
    """The input of the decoder: the encoded tokens at their places, mask tokens elsewhere, and all embeddings.

    x             [B, P + K, D], float16, bfloat16 or float32, as all float tensors here.
    ids_restore   [B, N] ids in [0, N), as random_mask() gives them: those of K and more are masked.
    prefix_count  P; MAE has one class token: 1.
    mask_token    [D];  pos_embed  [E + N, D], of which the first E <= P rows are for the first prefix tokens.
    out           out, [B, P + N, D]; made when not given.
    """
    call = Call(_FORWARD)
    source = call.read("x", x)
    if out is True:
        batch, _, channels = last_sizes("decoder_tokens: x", x, 3)
        count = 0 if ids_restore is None else last_sizes("decoder_tokens: ids_restore", ids_restore, 1)[0]
        prefix = max(integer("decoder_tokens", "prefix_count", prefix_count, -(1 << 63), 1 << 63), 0)
        framework = framework_of("decoder_tokens: x", x)
        shape = (batch, prefix + count, channels)
        out = make(framework, "decoder_tokens", "out", x, shape, framework.dtype_of(x), "dtype")
    call.run(
        context,
        source,
        prefix_count,
        call.read("ids_restore", ids_restore),
        call.read("mask_token", mask_token),
        call.read("pos_embed", pos_embed),
        call.write("out", out),
    )
    return out


def _made(outputs: DecoderTokensGradients, grad_out: Any, prefix: Any, visible: Any) -> DecoderTokensGradients:
    """The outputs of the backward pass, with fresh memory for True and for a shape. Sizes that make no sense are for
    the library to report."""
    operation = "decoder_tokens_backward"
    framework = framework_of(f"{operation}: grad_out", grad_out)
    batch, rows, channels = last_sizes(f"{operation}: grad_out", grad_out, 3)
    prefix = max(integer(operation, "prefix_count", prefix, -(1 << 63), 1 << 63), 0)
    visible = integer(operation, "visible_count", visible, -(1 << 63), 1 << 63)
    if outputs.grad_x is True and visible == -1:
        raise wrong(operation, "visible_count", visible, "given where grad_x is True")
    shapes = ((batch, prefix + max(visible, 0), channels), (channels,), (rows, channels))
    result = []
    for name, output, shape in zip(DecoderTokensGradients._fields, outputs, shapes):
        if isinstance(output, tuple):
            shape = tuple([integer(operation, f"{name}[{i}]", size, 0, 1 << 63) for i, size in enumerate(output)])
        elif output is not True:
            result.append(output)
            continue
        result.append(make(framework, operation, name, grad_out, shape, framework.dtype_of(grad_out), "dtype"))
    return DecoderTokensGradients._make(result)


def decoder_tokens_backward(
    grad_out: Any,
    ids_restore: Any,
    *,
    prefix_count: int = 0,
    visible_count: int = -1,
    grad_x: Any = True,
    grad_mask_token: Any = False,
    grad_pos_embed: Any = False,
    context: Optional[Context] = None,
) -> DecoderTokensGradients:
    """The gradient of decoder_tokens(), with the same ids_restore.

    grad_out       [B, P + N, D], float16, bfloat16 or float32.
    prefix_count   P.
    visible_count  K; may be left out where grad_x is a tensor or a shape, or neither it nor grad_mask_token is wanted.
    grad_x [B, P + K, D], grad_mask_token [D], grad_pos_embed [E + N, D]
                   out, overwritten: True makes one ([P + N, D]), False leaves it out, a tensor is written to. A tuple
                   makes one of that shape, such as x.shape; parameters may have sizes of 1 in front.
    """
    call = Call(_BACKWARD)
    source = call.read("grad_out", grad_out)
    result = DecoderTokensGradients(
        None if grad_x is False else grad_x,
        None if grad_mask_token is False else grad_mask_token,
        None if grad_pos_embed is False else grad_pos_embed,
    )
    for output in result:
        if output is True or isinstance(output, tuple):
            result = _made(result, grad_out, prefix_count, visible_count)
            break
    call.run(
        context,
        source,
        prefix_count,
        visible_count,
        call.read("ids_restore", ids_restore),
        call.write("grad_x", result.grad_x),
        call.write("grad_mask_token", result.grad_mask_token),
        call.write("grad_pos_embed", result.grad_pos_embed),
    )
    return result
