# SPDX-License-Identifier: Apache-2.0
"""How much each visible patch should count (poslabel/attention.h)."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from ._call import Call, Operation
from .context import Context
from .framework import framework_of

_OPERATION = Operation("attentive_weights")


class AttentiveWeights(NamedTuple):
    """Results of attentive_weights(); None for those not asked for."""

    weights: Any
    attention: Any


def attentive_weights(
    tokens: Any,
    cls: Any,
    *,
    pos_embed: Any = None,
    ids_keep: Any = None,
    temperature: float = 0.1,
    attention: Any = False,
    weights: Any = True,
    context: Optional[Context] = None,
) -> AttentiveWeights:
    """Weights of the visible patches: softmax of their cosine similarity to the class token.

    tokens     [B, N, D], any float;  cls  [B, D] or [D];  pos_embed  [P + N, D], row 0 for cls; all of one dtype.
    ids_keep   [B, V] ids in [0, N); None: all tokens in order.
    attention  out, [B, N]: the softmax over all tokens.  weights  out, [B, V]: those of the visible ones, summing to 1.
               float32 or float64: True makes one (float64 for float64 tokens), False leaves it out, a tensor is set.
    """
    call = Call(_OPERATION)
    source = call.read("tokens", tokens)
    if weights is True or attention is True:
        framework = framework_of("attentive_weights: tokens", tokens)
        batch, count = (*framework.shape(tokens, "attentive_weights: tokens"), 1, 1)[:2]
        real = framework.real(tokens)
        if attention is True:
            attention = framework.empty(tokens, (batch, count), real)
        if weights is True:
            if ids_keep is not None:
                what = "attentive_weights: ids_keep"
                count = (1, *framework_of(what, ids_keep).shape(ids_keep, what))[-1]
            weights = framework.empty(tokens, (batch, count), real)
    call.run(
        context,
        source,
        call.read("cls", cls),
        call.read("pos_embed", pos_embed),
        call.read("ids_keep", ids_keep),
        temperature,
        call.write("attention", attention),
        call.write("weights", weights),
    )
    return AttentiveWeights(None if weights is False else weights, None if attention is False else attention)
