# SPDX-License-Identifier: Apache-2.0
"""The weight of an auxiliary loss over the epochs (poslabel/schedule.h)."""

from __future__ import annotations

import math
from typing import Any

from ._library import bind, ctypes
from ._values import wrong

_auxiliary_weight = bind("poslabel_auxiliary_weight", ctypes.c_double, *[ctypes.c_double] * 5)


def _number(argument: str, value: Any, most: float, rule: str, least: float = 0.0) -> float:
    """`value`, a finite number in [least, most]."""
    try:
        number = math.nan if isinstance(value, (str, bytes, bool)) else float(value)
    except Exception:
        number = math.nan
    if not least <= number <= most or math.isinf(number):
        types = isinstance(value, bool) or not isinstance(value, (int, float))
        raise wrong("auxiliary_weight", argument, value, rule, types=types)
    return number


def auxiliary_weight(lambda_0: float, epoch: float, *, epochs: float, warmup: float = 0.0, cut: float = 1.0) -> float:
    """The weight of a translation or relative localisation loss: lambda_0 * epoch / warmup until warmup, then a linear
    decay to 0 at epochs, and 0 once epoch > cut * epochs."""
    at = "a number >= 0 and finite"
    total = _number("epochs", epochs, math.inf, "a number > 0 and finite", 5e-324)
    return _auxiliary_weight(
        _number("lambda_0", lambda_0, math.inf, at),
        _number("epoch", epoch, math.inf, at),
        _number("warmup", warmup, total, "a number in [0, epochs]"),
        total,
        _number("cut", cut, 1.0, "a number in [0, 1]"),
    )
