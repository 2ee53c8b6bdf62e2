# SPDX-License-Identifier: Apache-2.0
"""What goes into the encoder, and its gradient (poslabel/tokens.h)."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from ._call import Call, Operation
from ._values import integer
from .context import Context
from .framework import framework_of, last_sizes, make

_FORWARD = Operation("assemble_tokens")
_BACKWARD = Operation("assemble_tokens_backward")


class AssembleTokensGradients(NamedTuple):
    """Results of assemble_tokens_backward(); None for those not asked for."""

    grad_tokens: Any
    grad_mask_token: Any
    grad_prefix_tokens: Any
    grad_pos_embed: Any


def assemble_tokens(
    tokens: Any,
    *,
    ids_keep: Any = None,
    mask_pos: Any = None,
    positions: Any = None,
    places: Any = None,
    prefix_tokens: Any = None,
    pos_embed: Any = None,
    mask_token: Any = None,
    register_count: int = 0,
    x: Any = True,
    context: Optional[Context] = None,
) -> Any:
    """The input of the encoder: prefix tokens, then the visible patch tokens with the position embeddings they keep.

    tokens         [B, N, D], float16, bfloat16, float32 or float64; channels may be strided, as a convolution's output is
                   seen by conv(image).flatten(2).transpose(1, 2).
    ids_keep       [B, V] ids in [0, N); None: all tokens in order.
    mask_pos       [B, V], not 0: the position was lost. Or positions [B, V]: whose embedding, -1 for lost.
    places         [B, V], where each visible token is stored; None: in order.
    prefix_tokens  [P, D];  pos_embed  [P + N, D] or [N, D];  mask_token  [D]. Beside 16-bit tokens each may be float32.
    register_count how many of the last prefix tokens have no embedding (DINOv2's registers); pos_embed is then
                   [P - register_count + N, D].
    x              out, [B, P + V, D]; made when not given.
    """
    call = Call(_FORWARD)
    source = call.read("tokens", tokens)
    if x is True:
        batch, visible, channels = last_sizes("assemble_tokens: tokens", tokens, 3)
        if ids_keep is not None:
            visible = last_sizes("assemble_tokens: ids_keep", ids_keep, 1)[0]
        prefix = 0 if prefix_tokens is None else last_sizes("assemble_tokens: prefix_tokens", prefix_tokens, 2)[0]
        framework = framework_of("assemble_tokens: tokens", tokens)
        x = framework.empty(tokens, (batch, prefix + visible, channels), framework.dtype_of(tokens))
    call.run(
        context,
        source,
        call.read("ids_keep", ids_keep),
        call.read("mask_pos", mask_pos),
        call.read("positions", positions),
        call.read("places", places),
        call.read("prefix_tokens", prefix_tokens),
        call.read("pos_embed", pos_embed),
        call.read("mask_token", mask_token),
        call.write("x", x),
        0,  # the workspace is the context's
        register_count,
    )
    return x


def _made(
    outputs: AssembleTokensGradients, grad_x: Any, tokens: Any, prefix: Any, registers: Any, dtype: Any, all_tokens: bool
) -> AssembleTokensGradients:
    """The outputs of the backward pass, with fresh memory for True and for a shape. Sizes that make no sense are for
    the library to report."""
    operation = "assemble_tokens_backward"
    framework = framework_of(f"{operation}: grad_x", grad_x)
    batch, stored, channels = last_sizes(f"{operation}: grad_x", grad_x, 3)
    count = max(integer(operation, "tokens_per_image", tokens, -(1 << 63), 1 << 63), 0)
    prefix = max(integer(operation, "prefix_count", prefix, -(1 << 63), 1 << 63), 0)
    embedded = max(prefix - max(integer(operation, "register_count", registers, -(1 << 63), 1 << 63), 0), 0)
    if not count and all_tokens:
        count = max(stored - prefix, 0)
    elif not count and not isinstance(outputs[0], (bool, tuple, type(None))):
        count = last_sizes(f"{operation}: grad_tokens", outputs[0], 2)[0]
    elif not count and isinstance(outputs[0], tuple):
        count = (0, 0, *outputs[0])[-2]
    shapes = ((batch, count, channels), (channels,), (prefix, channels), (embedded + count, channels))
    result = []
    for name, output, shape in zip(AssembleTokensGradients._fields, outputs, shapes):
        if isinstance(output, tuple):
            shape = tuple([integer(operation, f"{name}[{i}]", size, 0, 1 << 63) for i, size in enumerate(output)])
        elif output is not True:
            result.append(output)
            continue
        like_grad_x = dtype is None or name == "grad_tokens"
        wanted = framework.dtype_of(grad_x) if like_grad_x else dtype
        result.append(make(framework, operation, name, grad_x, shape, wanted, "parameter_dtype"))
    return AssembleTokensGradients._make(result)


def assemble_tokens_backward(
    grad_x: Any,
    *,
    tokens_per_image: int = 0,
    prefix_count: int = 0,
    register_count: int = 0,
    ids_keep: Any = None,
    mask_pos: Any = None,
    positions: Any = None,
    places: Any = None,
    grad_tokens: Any = True,
    grad_mask_token: Any = False,
    grad_prefix_tokens: Any = False,
    grad_pos_embed: Any = False,
    parameter_dtype: Any = None,
    context: Optional[Context] = None,
) -> AssembleTokensGradients:
    """The gradient of assemble_tokens(), with the same ids_keep, mask_pos or positions, and places.

    grad_x              [B, P + V, D], float16, bfloat16, float32 or float64.
    tokens_per_image    N; may be left out where grad_tokens is a tensor or a shape, or ids_keep is None.
    prefix_count        P;  register_count  as there.
    grad_tokens [B, N, D], grad_mask_token [D], grad_prefix_tokens [P, D], grad_pos_embed [P + N, D] or [N, D]
                        out, overwritten: True makes one ([P + N, D]), False leaves it out, a tensor is written to. A
                        tuple makes one of that shape, which may have sizes of 1 in front: grad_mask_token =
                        mask_token.shape gives the gradient of a parameter the parameter's own shape.
    parameter_dtype     of the gradients of parameters that are made here: grad_x's own, or float32 beside 16 bits.
    """
    call = Call(_BACKWARD)
    source = call.read("grad_x", grad_x)
    result = AssembleTokensGradients(
        None if grad_tokens is False else grad_tokens,
        None if grad_mask_token is False else grad_mask_token,
        None if grad_prefix_tokens is False else grad_prefix_tokens,
        None if grad_pos_embed is False else grad_pos_embed,
    )
    for output in result:
        if output is True or isinstance(output, tuple):
            result = _made(
                result, grad_x, tokens_per_image, prefix_count, register_count, parameter_dtype, ids_keep is None
            )
            break
    call.run(
        context,
        source,
        tokens_per_image,
        prefix_count,
        call.read("ids_keep", ids_keep),
        call.read("mask_pos", mask_pos),
        call.read("positions", positions),
        call.read("places", places),
        call.write("grad_tokens", result.grad_tokens),
        call.write("grad_mask_token", result.grad_mask_token),
        call.write("grad_prefix_tokens", result.grad_prefix_tokens),
        call.write("grad_pos_embed", result.grad_pos_embed),
        0,  # the workspace is the context's
        register_count,
    )
    return result
