# SPDX-License-Identifier: Apache-2.0
"""PyTorch tensors as arguments. PyTorch is never imported here.

A DLPack capsule describes the memory of a tensor and nothing else. So two kinds of tensor are looked at here: one with
the negative bit, whose memory holds the negated values, and one that requires a gradient, which autograd does not get
from these functions.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, Callable, Set

from .status import InvalidError, UnsupportedError

# The operations that have warned about autograd.
warned: Set[str] = set()


def is_torch(kind: type) -> bool:
    """Whether `kind` is torch.Tensor or derives from it."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return isinstance(tensor, type) and issubclass(kind, tensor)


def is_common(kind: type) -> bool:
    """Whether `kind` is one of the two types that live as long as PyTorch."""
    torch = sys.modules["torch"]
    return kind is torch.Tensor or kind is torch.nn.Parameter


def exporter() -> Callable[[Any], Any]:
    """The function that gives the capsule of an ordinary tensor, and None for one that export() has to look at."""
    torch = sys.modules["torch"]
    to_dlpack, grad_enabled = torch.utils.dlpack.to_dlpack, torch.is_grad_enabled

    def capsule(tensor: Any) -> Any:
        if tensor.requires_grad and grad_enabled() or tensor.is_neg():
            return None
        return to_dlpack(tensor)

    return capsule


def export(tensor: Any, what: str) -> Any:
    """The capsule of any tensor; `what` is "<operation>: <argument>"."""
    torch = sys.modules["torch"]
    if tensor.is_neg():
        argument = what.rpartition(" ")[2]
        raise InvalidError(
            f"{what} is a tensor with the negative bit, must be one without: pass {argument}.resolve_neg()"
        )
    if tensor.requires_grad and torch.is_grad_enabled():
        _warn(what)
    try:
        return torch.utils.dlpack.to_dlpack(tensor)
    except Exception as error:
        name = type(tensor).__name__
        raise UnsupportedError(f"{what} is a {name}, must be one that DLPack can carry: {error}") from error


def _warn(what: str) -> None:
    """Warns once for each operation, at the caller's line."""
    operation, _, argument = what.partition(": ")
    if operation in warned:
        return
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_globals.get("__package__") == __package__:
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(
        f"{what} requires grad, but autograd does not record poslabel.{operation}(): backward() passes nothing on to "
        f"{argument}. To train, use a torch.autograd.Function as in the README of poslabel. For values alone, call it "
        f"under torch.no_grad(). (This warning is given once for each operation.)",
        UserWarning,
        stacklevel=level,
    )
    warned.add(operation)
