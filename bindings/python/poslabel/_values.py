# SPDX-License-Identifier: Apache-2.0
"""Checks of numbers and pairs, and the one form of their messages: <operation>: <argument> = <value>, must be <rule>.

The library checks most values itself. The checks here are those that Python needs before it can call the library.
"""

from __future__ import annotations

import reprlib
from operator import index
from typing import Any, Tuple

import numpy as np

from .status import Error, InvalidError, InvalidTypeError

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60


def wrong(operation: str, argument: str, value: Any, rule: str, types: bool = False) -> Error:
    """The exception for a value that breaks a rule; `types`: whether it also is a TypeError."""
    try:
        text = " ".join(_repr.repr(value).split())
    except Exception:  # an integer of thousands of digits
        text = f"<{type(value).__name__}>"
    return (InvalidTypeError if types else InvalidError)(f"{operation}: {argument} = {text}, must be {rule}")


def _power(value: int) -> str:
    """`value` as a power of two where that reads better."""
    bits = abs(value).bit_length() - 1
    return f"{'-' * (value < 0)}2^{bits}" if bits > 15 and abs(value) == 1 << bits else str(value)


def integer(operation: str, argument: str, value: Any, low: int, high: int) -> int:
    """`value`, an integer in [low, high). True and False are none."""
    if type(value) is int and low <= value < high:
        return value
    rule = f"an integer in [{_power(low)}, {_power(high)})"
    try:
        number = None if isinstance(value, (bool, np.bool_)) else index(value)
    except Exception:
        number = None
    if number is None:
        raise wrong(operation, argument, value, rule, types=True)
    if not low <= number < high:
        raise wrong(operation, argument, value, rule)
    return number


def int32(operation: str, argument: str, value: Any) -> int:
    """`value`, an integer that fits into 32 bits."""
    return integer(operation, argument, value, -(1 << 31), 1 << 31)


def ratio(operation: str, argument: str, value: Any) -> float:
    """`value`, a number in [0, 1]."""
    try:
        number = float(value)
    except Exception:
        number = -1.0
    if isinstance(value, str) or not 0 <= number <= 1:
        raise wrong(operation, argument, value, "a number in [0, 1]", types=not isinstance(value, (int, float)))
    return number


def flag(operation: str, argument: str, value: Any) -> int:
    """1 for True and 0 for False; other integers are for the library to judge."""
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    try:
        return index(value)
    except Exception:
        raise wrong(operation, argument, value, "True or False", types=True) from None


def pair(operation: str, grid: Any) -> Tuple[int, int]:
    """The height and the width of a grid; whether there are such grids is for the library to judge."""
    try:
        height, width = grid
        if type(height) is int and type(width) is int:
            return height, width
        if not isinstance(height, bool) and not isinstance(width, bool):
            return index(height), index(width)
    except Exception:
        pass
    raise wrong(operation, "grid", grid, "two integers, (height, width)", types=True)


def patches(operation: str, height: int, width: int) -> int:
    """How many patches a grid has, to make outputs for them; 0 for a grid that the library refuses."""
    count = int32(operation, "grid.height", height) * int32(operation, "grid.width", width)
    return count if height > 0 and 0 < count < 1 << 31 else 0
